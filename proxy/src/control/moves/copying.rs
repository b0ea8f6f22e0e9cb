//! Carrying the rows of a move over that exist already: which way, how far it is, and what may go on from there.
//!
//! How far a copy is commits with its rows, on the target; what is noted here is for whoever asks. Without a stream, what
//! was carried over counts only while double write has carried every write since.

use std::sync::Arc;
use std::time::Duration;

use shardway_migration::copy::{self, Pace, Progress, locking};
use shardway_migration::report;
use shardway_migration::settings::{Locks, MoveSettings};
use shardway_migration::tables::WorkError;
use shardway_routing::topology::{DoubleWrite, Move, MoveId, Seen, Side, Topology};

use super::{Live, Moves};

impl Moves {
    pub(super) async fn copy(&self, name: &str, topology: &Topology, by: MoveId) -> Result<(), WorkError> {
        let of = topology.move_of(by);
        let moving = Arc::new(self.moving(topology, by)?);
        let seen = of.capture.seen(Side::Source);
        if seen == Seen::Not {
            self.keep_by_double_write(of).map_err(WorkError::Stopped)?;
        }
        let (MoveSettings { copy: settings, wait, .. }, known) = (self.settings(name), self.of(name));
        let progress = Arc::new(Progress::of(&moving, &known.copied));
        let pace = {
            let mut live = self.live();
            let live: &mut Live = live.entry(name.to_owned()).or_default();
            live.progress = Arc::clone(&progress);
            live.pace.send_replace(Pace {
                concurrency: settings.parallel as usize,
                pause: Duration::from_millis(settings.pause_ms),
            });
            live.pace.subscribe()
        };
        let limits = copy::Limits {
            rows: settings.rows as usize,
            bytes: usize::try_from(settings.max_bytes).unwrap_or(usize::MAX),
            parallel: settings.parallel as usize,
            order: settings.order,
            wire: settings.wire,
            wait,
        };
        let job = copy::Job {
            name: format!("{name}/{}", known.epoch),
            tables: moving,
            tails: self.tails(name),
            limits,
            pace,
            progress: Arc::clone(&progress),
        };
        let copied = match (seen, settings.locks) {
            (Seen::ByLog | Seen::ByColumn(_), Locks::Share) => locking::run(&job).await,
            (Seen::ByLog | Seen::ByColumn(_), Locks::None) => copy::run(&job).await,
            (Seen::Not, _) => self.copy_under_double_write(name, &job).await,
        };
        self.note_copied(name, &progress).map_err(WorkError::Stopped)?;
        copied
    }

    /// Notes how far a copy is, for whoever asks when it is no more.
    pub(super) fn note_copied(&self, name: &str, progress: &Progress) -> Result<(), String> {
        let (rows_copied, rows_total) = progress.rows();
        self.states.change(name, |state| {
            (state.rows_copied, state.rows_total) = (rows_copied, rows_total);
            state.copied = progress.report();
        })
    }

    /// What was carried over before double write was off for a while may lack writes: then the copy begins anew.
    fn keep_by_double_write(&self, of: &Move) -> Result<(), String> {
        if self.of(&of.name).is_kept_by_double_write {
            return Ok(());
        }
        if of.double_write == DoubleWrite::Off {
            return Err(format!(
                "without a stream the copy needs double write in force: set double_write of {} first",
                of.name
            ));
        }
        self.states.change(&of.name, |state| {
            state.epoch += 1;
            state.copied = report::Progress::default();
            state.is_kept_by_double_write = true;
        })
    }

    /// Right only if double write carries every write from the first page to the last.
    async fn copy_under_double_write(&self, name: &str, job: &copy::Job) -> Result<(), WorkError> {
        locking::run(job).await?;
        if self.of(name).is_kept_by_double_write {
            return Ok(());
        }
        Err(WorkError::Stopped(
            "double write was off while the rows were carried over; switch it on and start again".into(),
        ))
    }
}
