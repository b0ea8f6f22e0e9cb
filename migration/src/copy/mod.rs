//! Carrying existing rows over while the source goes on being written.
//!
//! A scout walks each table's primary key and deals chunks to several workers. A chunk is read without locks between
//! two marks in the source's stream ([`crate::apply::windows`]) and inserted where absent, so it neither waits for an
//! application nor makes one wait. A table's progress is the gap-free end of its finished chunks and those finished beyond
//! it, saved on every server of the target in the transaction that inserts the last of them; a copy that was cut off goes
//! on from there (`kept`).
//! A source that is away is waited for ([`crate::patience`]), one that has gone silent too ([`crate::pulse`]). A server of
//! the target that has gone may come back without what it had committed last, so the copy is cut off (`witness`).
//!
//! [`locking`] holds the rows of a page under share locks instead: for moves without a stream, where double write
//! carries every other change, and for whoever asks for it.

mod busy;
mod chunk;
mod count;
mod insert;
mod kept;
pub(crate) mod ledger;
pub mod locking;
mod pace;
mod read;
mod scout;
mod setbacks;
pub(crate) mod witness;
mod writing;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use shardway_routing::topology::Side;
use tokio::sync::watch;

pub use busy::Busy;
pub use chunk::Limits;
pub use ledger::TABLE;
pub use pace::Pace;

use self::count::Expected;
use self::witness::Witnesses;
use crate::apply::tail::Tail;
use crate::patience::Patience;
use crate::progress::{Counts, Speedometer, TableCounts, TableState};
use crate::pulse::Pulse;
use crate::report;
use crate::tables::{MovingTable, WorkError};

/// Workers that may be at chunks at once, if the pace allows.
pub const WORKERS_MAX: u32 = 64;

/// How far a copy is; read while it runs.
#[derive(Debug)]
pub struct Progress {
    /// Time of the workers that carry chunks.
    pub busy: Busy,
    began: Instant,
    /// How long this run took, once it has ended.
    took_s: OnceLock<u64>,
    /// How long earlier runs took.
    took_before_s: u64,
    /// How many chunks may be copied at once, whatever the pace.
    workers_max: AtomicU32,
    /// Attempts at a chunk that failed and were repeated.
    pub failures: AtomicU64,
    /// By table of the move.
    pub tables: Vec<TableProgress>,
    /// Why a piece of work has to be tried again, until one is done.
    waits_for: Mutex<Option<String>>,
}

/// How far one table is.
#[derive(Debug, Default)]
pub struct TableProgress {
    pub name: String,
    /// Rows and bytes that this run has copied.
    copied: AtomicU64,
    bytes: AtomicU64,
    /// Those of earlier runs.
    copied_before: AtomicU64,
    bytes_before: u64,
    total: AtomicU64,
    /// The total is no count.
    is_estimated: AtomicBool,
    /// Every row has been carried over.
    is_whole: AtomicBool,
}

impl TableProgress {
    #[must_use]
    pub fn state(&self) -> TableState {
        if self.is_whole.load(Ordering::Relaxed) { TableState::Complete } else { TableState::Copying }
    }
}

impl Progress {
    /// Of a run that goes on where an earlier one was, as far as that is known.
    #[must_use]
    pub fn of(tables: &[MovingTable], before: &report::Progress) -> Progress {
        let table = |table: &MovingTable| {
            let before = before.per_table.iter().find(|before| before.table == table.name);
            let bytes_before = before.map_or(0, |before| before.bytes_copied);
            TableProgress { name: table.name.clone(), bytes_before, ..TableProgress::default() }
        };
        Progress {
            busy: Busy::default(),
            began: Instant::now(),
            took_s: OnceLock::new(),
            took_before_s: before.elapsed_s,
            workers_max: AtomicU32::new(WORKERS_MAX),
            failures: AtomicU64::new(0),
            tables: tables.iter().map(table).collect(),
            waits_for: Mutex::default(),
        }
    }

    /// Rows that are there, those of earlier runs among them, and how many there are to be.
    #[must_use]
    pub fn rows(&self) -> (u64, u64) {
        let counts = self.counts();
        let sum = |of: fn(&TableCounts) -> u64| counts.tables.iter().map(of).sum();
        (sum(|table| table.rows_before + table.rows_now), sum(|table| table.rows_total))
    }

    /// Rows that this run has copied.
    #[must_use]
    pub fn rows_now(&self) -> u64 {
        self.counts().tables.iter().map(|table| table.rows_now).sum()
    }

    /// How many chunks may be copied at once, whatever the pace.
    #[must_use]
    pub fn workers_max(&self) -> u32 {
        self.workers_max.load(Ordering::Relaxed)
    }

    /// What the copy waits for with its next try; `None`: it goes on.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.lock_waits().clone()
    }

    /// How far every table is. Speeds are for those who watch.
    #[must_use]
    pub fn report(&self) -> report::Progress {
        Speedometer::default().on(&self.counts(), 0)
    }

    /// The counters as they are now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let table = |table: &TableProgress| TableCounts {
            table: table.name.clone(),
            state: table.state(),
            rows_now: count(&table.copied),
            rows_before: count(&table.copied_before),
            bytes_now: count(&table.bytes),
            bytes_before: table.bytes_before,
            rows_total: count(&table.total),
        };
        let took_s = self.took_s.get().copied().unwrap_or_else(|| self.began.elapsed().as_secs());
        let elapsed_s = self.took_before_s + took_s;
        Counts { tables: self.tables.iter().map(table).collect(), elapsed_s }
    }

    /// Returns when the work is worth another try, and tells meanwhile why it waits.
    async fn wait(&self, patience: &mut Patience, work: &str, error: WorkError) -> Result<(), WorkError> {
        *self.lock_waits() = Some(format!("another try at {work}: {error}"));
        patience.after(work, error).await
    }

    fn lock_waits(&self) -> MutexGuard<'_, Option<String>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_whole(&self, table: usize) {
        if let Some(of) = self.tables.get(table) {
            of.is_whole.store(true, Ordering::Relaxed);
            if of.is_estimated.load(Ordering::Relaxed) {
                let rows = of.copied.load(Ordering::Relaxed) + of.copied_before.load(Ordering::Relaxed);
                of.total.store(rows, Ordering::Relaxed);
            }
        }
    }

    /// The run goes on until this is dropped.
    fn running(&self) -> impl Drop {
        Running(self)
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn expect(&self, table: usize, rows: Expected) {
        *self.lock_waits() = None;
        if let Some(of) = self.tables.get(table) {
            let rows = match rows {
                Expected::Counted(rows) => rows,
                Expected::Estimated(rows) => {
                    of.is_estimated.store(true, Ordering::Relaxed);
                    rows
                }
            };
            of.total.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// So many rows of a table are there since an earlier run. They are no speed of this one.
    fn had(&self, table: usize, rows: u64) {
        *self.lock_waits() = None;
        if let Some(of) = self.tables.get(table) {
            of.copied_before.fetch_add(rows, Ordering::Relaxed);
        }
    }

    fn add(&self, table: usize, rows: u64, bytes: u64) {
        *self.lock_waits() = None;
        if let Some(of) = self.tables.get(table) {
            of.copied.fetch_add(rows, Ordering::Relaxed);
            of.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

struct Running<'a>(&'a Progress);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.0.took_s.set(self.0.began.elapsed().as_secs());
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::of(&[], &report::Progress::default())
    }
}

/// What a copy needs.
#[derive(Debug)]
pub struct Job {
    /// Names the progress rows: the move, and the epoch whose capture the copy belongs to.
    pub name: String,
    pub tables: Arc<Vec<MovingTable>>,
    /// The streams of the source's servers; [`locking`] needs none.
    pub tails: Vec<Arc<Tail>>,
    pub limits: Limits,
    pub pace: watch::Receiver<Pace>,
    pub progress: Arc<Progress>,
}

/// Copies every row of the tables from the source to where they belong on the target.
///
/// # Errors
/// See [`WorkError`]; what has been copied stays, and the same call goes on from there.
pub async fn run(job: &Job) -> Result<(), WorkError> {
    let _running = job.progress.running();
    let pulse = Pulse::of(&job.tables);
    pulse.beside(all(job, &pulse)).await
}

async fn all(job: &Job, pulse: &Pulse) -> Result<(), WorkError> {
    // First: while a target is away, nobody counts the rows of the source again and again.
    let witnesses = pulse.during(Witnesses::open(&job.tables)).await?;
    count::all(job, pulse).await?;
    for (number, table) in job.tables.iter().enumerate() {
        for source in table.origins(Side::Source) {
            let tail = job.tails.iter().find(|tail| tail.server().is_same_process(&source.server));
            let tail =
                tail.ok_or_else(|| WorkError::Stopped(format!("no stream follows {}", source.table)))?;
            let witnesses = &witnesses;
            let source = chunk::Source { number, table, source, tail, pulse, witnesses };
            witnesses.beside(chunk::table(job, source)).await?;
        }
        job.progress.note_whole(number);
    }
    // Nobody looks back at what was copied.
    pulse.during(witnesses.settle()).await
}
