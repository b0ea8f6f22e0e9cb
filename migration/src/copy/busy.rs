//! How long the workers of a copy have been at it, those included that still are.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Time that workers have spent on chunks, all together.
#[derive(Debug)]
pub struct Busy {
    began: Instant,
    spent: Mutex<Spent>,
}

/// The same by a clock that is passed in.
#[derive(Debug, Default)]
struct Spent {
    ms: u64,
    /// Up to when `ms` counts.
    at_ms: u64,
    workers: u32,
}

/// A worker that is at a chunk, until this is dropped.
#[derive(Debug)]
pub(super) struct Working<'a>(&'a Busy);

impl Default for Busy {
    fn default() -> Busy {
        Busy { began: Instant::now(), spent: Mutex::default() }
    }
}

impl Busy {
    /// Another worker begins with a chunk.
    pub(super) fn work(&self) -> Working<'_> {
        self.until_now().workers += 1;
        Working(self)
    }

    /// Milliseconds until now, and how many workers are at a chunk.
    #[must_use]
    pub fn spent(&self) -> (u64, u32) {
        let spent = self.until_now();
        (spent.ms, spent.workers)
    }

    fn until_now(&self) -> MutexGuard<'_, Spent> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.until(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        spent
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.until_now().workers -= 1;
    }
}

impl Spent {
    fn until(&mut self, now_ms: u64) {
        self.ms += u64::from(self.workers) * now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_while_it_is_spent() {
        let mut spent = Spent::default();
        let mut seen = Vec::new();
        for (now_ms, workers) in [(100, 1), (300, 2), (400, 2), (1_400, 0), (9_000, 1), (9_010, 1)] {
            spent.until(now_ms);
            spent.workers = workers;
            seen.push(spent.ms);
        }
        assert_eq!(seen, [0, 200, 400, 2_400, 2_400, 2_410]);
    }

    #[test]
    fn a_worker_counts_until_it_is_done_or_dropped() {
        let busy = Busy::default();
        let (one, other) = (busy.work(), busy.work());
        assert_eq!(busy.spent().1, 2);
        drop(one);
        assert_eq!(busy.spent().1, 1);
        drop(other);
        assert_eq!(busy.spent().1, 0);
    }
}
