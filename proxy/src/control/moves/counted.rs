//! Work that is counted and no copy: comparisons, the building of indexes.
//!
//! What began last is shown for as long as it goes on; then nobody holds its counters any more.

use std::sync::{Arc, Weak};

use shardway_migration::copy::Pace;
use shardway_migration::reading::Reading;
use shardway_migration::report::WorkReport;
use shardway_migration::tally::{Meter, Tally};
use tokio::sync::watch;

use super::Moves;

/// A piece of work that is counted.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    what: What,
    tally: Weak<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Comparing,
    /// Comparing while statements are held, which nothing slows down.
    Proving,
    Indexing,
}

impl What {
    /// What it is called, and what it counts.
    fn named(self) -> (&'static str, &'static str) {
        match self {
            What::Comparing | What::Proving => ("comparing", "rows"),
            What::Indexing => ("building indexes", "tables"),
        }
    }
}

impl Moves {
    /// Counters for work that begins.
    pub(super) fn count(&self, name: &str, what: What) -> Arc<Tally> {
        let tally = Arc::new(match what {
            What::Comparing => Tally::paced(self.comparing_pace(name)),
            What::Proving | What::Indexing => Tally::default(),
        });
        let counted = Counted { what, tally: Arc::downgrade(&tally) };
        self.live().entry(name.to_owned()).or_default().counted = Some(counted);
        tally
    }

    /// How fast comparisons of a move may go.
    pub(super) fn comparing_pace(&self, name: &str) -> watch::Receiver<Pace> {
        self.live().entry(name.to_owned()).or_default().comparing.subscribe()
    }

    /// Does anybody compare at the pace that is set?
    pub(super) fn compares(&self, name: &str) -> bool {
        self.live().get(name).is_some_and(|live| live.comparing.receiver_count() > 0)
    }

    /// Sets that pace.
    pub(super) fn set_comparing_pace(&self, name: &str, pace: Pace) {
        self.live().entry(name.to_owned()).or_default().comparing.send_replace(pace);
    }

    fn counted(&self, name: &str) -> Option<(What, Arc<Tally>)> {
        let counted = self.live().get(name)?.counted.clone()?;
        Some((counted.what, counted.tally.upgrade()?))
    }
}

/// What is remembered of such work between two looks.
#[derive(Debug, Default)]
pub(super) struct Gauged(Option<(What, Weak<Tally>, Meter)>);

impl Gauged {
    /// How far it is. `None`: there is none.
    pub(super) fn look(&mut self, moves: &Moves, name: &str, now_ms: u64) -> Option<WorkReport> {
        let before = self.0.take();
        let (what, tally) = moves.counted(name)?;
        let before = before.filter(|(_, of, _)| of.as_ptr() == Arc::as_ptr(&tally));
        let mut meter = before.map_or_else(|| Meter::new(now_ms), |(.., meter)| meter);
        let report = meter.on(&tally, what.named(), now_ms);
        self.0 = Some((what, Arc::downgrade(&tally), meter));
        Some(report)
    }

    /// Seconds without a row that a comparison has come forward by. The building of an index tells of no rows.
    pub(super) fn still_s(&self, now_ms: u64) -> Reading {
        match &self.0 {
            Some((What::Comparing | What::Proving, _, meter)) => Reading::Is(meter.still_for_s(now_ms)),
            _ => Reading::NotNow,
        }
    }
}
