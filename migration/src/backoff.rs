//! How long to wait before trying again: 1, 2, 4 … seconds, at most 30, and how often. Pure.

use std::time::Duration;

const MOST: Duration = Duration::from_secs(30);

/// The pauses before the next tries; at its end it is time to stop and say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
    left: u32,
}

impl Backoff {
    /// As many pauses as there are further tries.
    #[must_use]
    pub fn new(tries: u32) -> Backoff {
        Backoff { next: Duration::from_secs(1), left: tries }
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.next;
        self.next = (pause * 2).min(MOST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_end() {
        let seconds: Vec<u64> = Backoff::new(8).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(Backoff::new(0).next(), None);
    }
}
