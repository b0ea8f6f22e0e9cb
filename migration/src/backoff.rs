//! How long to wait before trying again: 1, 2, 4 … seconds, at most 30, and how often. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
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
        Backoff { next: FIRST, left: tries }
    }

    /// As many pauses as it takes to wait for so long.
    #[must_use]
    pub fn within(limit: Duration) -> Backoff {
        let mut waited = Duration::ZERO;
        let is_short = |pause: &Duration| {
            let is_short = waited < limit;
            waited += *pause;
            is_short
        };
        let pauses = Backoff::new(u32::MAX).take_while(is_short).count();
        Backoff::new(u32::try_from(pauses).unwrap_or(u32::MAX))
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
        for (limit, pauses) in [(0, 0), (1, 1), (2, 2), (210, 11)] {
            let within = Backoff::within(Duration::from_secs(limit));
            assert_eq!(within.count(), pauses, "{limit}");
        }
    }
}
