//! How far a piece of work is that is no copy, and how fast it may go: a comparison, the building of indexes. The time is
//! passed in.
//!
//! Whoever works counts; whoever watches makes a report of the counters from time to time, and sets the pace. A total is an
//! estimate, and nothing is called complete before it ends: then its report is gone.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::copy::Pace;
use crate::progress::{Rate, TableState, eta_s, percent};
use crate::report::WorkReport;

/// The counters of one piece of work.
#[derive(Debug, Default)]
pub struct Tally {
    done: AtomicU64,
    total: AtomicU64,
    different: AtomicU64,
    /// `None`: as fast as it goes.
    pace: Option<watch::Receiver<Pace>>,
}

impl Tally {
    /// Of work whose pace somebody sets.
    #[must_use]
    pub fn paced(pace: watch::Receiver<Pace>) -> Tally {
        Tally { pace: Some(pace), ..Tally::default() }
    }

    /// Returns when something more may begin beside `working` pieces that go on; at once where nobody sets a pace. `false`:
    /// one of those must end first.
    pub(crate) async fn may_begin(&self, working: usize) -> bool {
        let Some(mut pace) = self.pace.clone() else { return true };
        if working > 0 {
            return working < pace.borrow().concurrency;
        }
        // Nobody sets the pace any more when the move is forgotten.
        let _ = pace.wait_for(|pace| pace.concurrency > 0).await;
        true
    }

    /// Rests between two pieces of the work.
    pub(crate) async fn rest(&self) {
        if let Some(pause) =
            self.pace.as_ref().map(|pace| pace.borrow().pause).filter(|pause| !pause.is_zero())
        {
            tokio::time::sleep(pause).await;
        }
    }

    /// So much more is done.
    pub fn did(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// So much more is to be done, as far as one can tell.
    pub fn expect(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    /// So many more rows differ.
    pub fn differ(&self, count: u64) {
        self.different.fetch_add(count, Ordering::Relaxed);
    }

    /// How much is done, and how much there is as far as one can tell.
    #[must_use]
    pub fn now(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// Watches one piece of work.
#[derive(Debug, Clone)]
pub struct Meter {
    started_ms: u64,
    rate: Rate,
    /// What was done when it last became more, and when that was.
    moved: (u64, u64),
}

impl Meter {
    /// For work that begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Meter {
        Meter { started_ms: now_ms, rate: Rate::default(), moved: (0, now_ms) }
    }

    /// Takes the counters in and says how far the work is. It counts `unit`s, and is called `what`.
    pub fn on(&mut self, tally: &Tally, (what, unit): (&str, &str), now_ms: u64) -> WorkReport {
        let (done, total) = tally.now();
        let total = total.max(done);
        self.rate.on(done, now_ms);
        if done > self.moved.0 {
            self.moved = (done, now_ms);
        }
        WorkReport {
            what: what.to_owned(),
            unit: unit.to_owned(),
            done,
            total: Some(total),
            percent: Some(percent(done, total, TableState::Copying)),
            per_s: self.rate.per_s().unwrap_or(0.0),
            elapsed_s: now_ms.saturating_sub(self.started_ms) / 1000,
            eta_s: eta_s(done, total, TableState::Copying, self.rate.per_s()),
            different: tally.different.load(Ordering::Relaxed),
        }
    }

    /// How long nothing has come to what is done.
    #[must_use]
    pub fn still_for_s(&self, now_ms: u64) -> f64 {
        now_ms.saturating_sub(self.moved.1) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_a_share_a_speed_and_an_end() {
        let (tally, mut meter) = (Tally::default(), Meter::new(5_000));
        tally.expect(1_000);
        let comparing = ("comparing", "rows");
        let begun = meter.on(&tally, comparing, 5_000);
        assert_eq!((begun.percent, begun.eta_s, begun.per_s), (Some(0.0), None, 0.0));
        tally.did(250);
        tally.differ(3);
        let later = meter.on(&tally, comparing, 7_000);
        assert_eq!((later.what.as_str(), later.unit.as_str()), comparing);
        assert_eq!((later.done, later.total, later.percent), (250, Some(1_000), Some(25.0)));
        assert_eq!((later.per_s, later.eta_s, later.elapsed_s, later.different), (125.0, Some(6), 2, 3));
        assert_eq!(meter.still_for_s(7_000), 0.0);
        meter.on(&tally, comparing, 10_000);
        assert_eq!(meter.still_for_s(10_500), 3.5);
    }

    #[test]
    fn more_than_was_expected_is_not_the_end() {
        let (tally, mut meter) = (Tally::default(), Meter::new(0));
        tally.expect(10);
        tally.did(20);
        let report = meter.on(&tally, ("comparing", "rows"), 1_000);
        assert_eq!((report.done, report.total, report.percent), (20, Some(20), Some(99.9)));
    }
}
