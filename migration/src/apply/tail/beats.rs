//! Heartbeats on their way through a stream, which tell how far it is behind. Pure.

use std::time::Instant;

use crate::mark::Token;

/// How many are waited for. Of a stream that is further behind only every second one is, then every fourth, and so on.
const KEPT: usize = 600;

/// Those that have been written and not seen yet.
#[derive(Debug, Default)]
pub(super) struct Beats {
    /// Oldest first, spread evenly over the time that the stream is behind.
    waiting: Vec<(Token, Instant)>,
    /// How many are left out between two that are waited for.
    gap: u32,
    left_out: u32,
}

impl Beats {
    pub(super) fn written(&mut self, token: Token, at: Instant) {
        if self.left_out < self.gap {
            self.left_out += 1;
            return;
        }
        self.left_out = 0;
        self.waiting.push((token, at));
        if self.waiting.len() > KEPT {
            // The oldest stays.
            let mut stays = false;
            self.waiting.retain(|_| {
                stays = !stays;
                stays
            });
            self.gap = self.gap * 2 + 1;
        }
    }

    /// When the oldest was written.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.first().map(|(_, at)| *at)
    }

    pub(super) fn waits_for(&self, token: Token) -> bool {
        self.waiting.iter().any(|(beat, _)| *beat == token)
    }

    /// One has come by: when it was written. Those before it are not waited for any more.
    pub(super) fn seen(&mut self, token: Token) -> Option<Instant> {
        let place = self.waiting.iter().position(|(beat, _)| *beat == token)?;
        let written = self.waiting.drain(..=place).next_back().map(|(_, at)| at);
        if self.waiting.is_empty() {
            self.gap = 0;
        } else if self.waiting.len() < KEPT / 4 {
            self.gap /= 2;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stream_that_is_hours_behind_knows_it_all_the_way() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let behind = 6 * 3_600;
        for second in 0..behind {
            beats.written(Token(second), at(second));
            assert_eq!(beats.oldest(), Some(start));
            assert!(beats.waiting.len() <= KEPT);
        }
        // It applies at twice the speed of what is written: what it tells is never far from the truth.
        let mut told = start;
        for second in 0..2 * behind {
            if second % 2 == 0 {
                beats.written(Token(behind + second / 2), at(behind + second / 2));
            }
            told = beats.seen(Token(second)).unwrap_or(told);
            let (told, really) = (told.duration_since(start).as_secs(), second);
            assert!(told <= really && really - told <= behind / 100, "{told} at {really}");
        }
        assert_eq!(beats.oldest(), None);
    }
}
