//! What the rule file says about how rows travel, and when somebody is to be told.
//!
//! Routing knows only where rows go and leaves these sections alone ([`rules::TRAVEL`], [`rules::ALERTS`]); the same
//! text is read a second time here, with the same machinery, so that every problem has its line, its key, and the
//! nearest key that is known. [`Settings`] exist only once checked; what a file does not say has the default written
//! beside each field. Reading is all that happens here: nothing is started, stopped or connected. Pure.

mod alert;
mod copy;
mod difference;
pub mod metric;
pub mod quantity;
mod read;
mod schedule;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use shardway_routing::document::{Document, Problem};
#[cfg(doc)]
use shardway_routing::rules;

pub use alert::{Action, AlertRule, Comparison, Condition, Level};
pub use difference::Holds;
pub use window::Window;

use crate::patience::WaitMax;

/// The sections of one rule file that are not for routing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// By name; every move of the file is there.
    pub moves: BTreeMap<String, MoveSettings>,
    pub alerts: Vec<AlertRule>,
}

/// How the rows of one move travel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoveSettings {
    /// How long work waits for a server that is away, before the move is paused and a person is asked.
    pub wait: WaitMax,
    pub copy: CopySettings,
    pub apply: ApplySettings,
    pub throttle: Throttle,
    /// Server parameters of the target for the time of the move, by name, as SQL would show their values.
    pub tune: BTreeMap<String, String>,
    /// Findings of the preflight that the operator accepts, by id (`PF209`) or name (`unique_across_shards`).
    pub waive: Vec<String>,
    pub verify: VerifySettings,
    pub repair: RepairSettings,
    /// Statements that must answer the same on both sides.
    pub asserts: Vec<Assertion>,
    /// Statements that must not be much slower on the target.
    pub baselines: Vec<Baseline>,
    pub schedule: Option<Schedule>,
    pub cleanup: CleanupSettings,
    pub backup: BackupSettings,
}

/// `cleanup = { … }`: how what a finished move leaves behind is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupSettings {
    /// Between putting a table aside and dropping it: 7 days.
    pub grace: Duration,
    /// Rows that are deleted at once: 1,000. A table with no more is dropped as it is.
    pub rows: u32,
    /// Between two such deletions: 100 ms.
    pub pause_ms: u64,
}

impl Default for CleanupSettings {
    fn default() -> CleanupSettings {
        CleanupSettings { grace: Duration::from_secs(7 * 86_400), rows: 1_000, pause_ms: 100 }
    }
}

/// `backup = { … }`: the servers' own tools, as words of a command; found in `PATH` where there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupSettings {
    /// `mariadb-dump` or `mysqldump`.
    pub dump: Vec<String>,
    /// `mariadb-binlog` or `mysqlbinlog`.
    pub log: Vec<String>,
}

/// `copy = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct CopySettings {
    /// Rows of one chunk: 2,000.
    pub rows: u32,
    /// Bytes of one chunk: 1 MiB. A single larger row is a chunk of its own.
    pub max_bytes: u64,
    /// Chunks at the same time: 4.
    pub parallel: u32,
    /// Between two chunks of a worker: none.
    pub pause_ms: u64,
    /// Only rows that this condition is true for, by table; under an empty name, of every table. All rows.
    pub predicates: BTreeMap<String, String>,
    /// Only rows of this time. All rows.
    pub span: Option<Span>,
    pub order: Order,
    pub locks: Locks,
    pub wire: Wire,
    pub indexes: Indexes,
}

/// Rows by a time column: `column`, `since` and `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub column: String,
    /// The first moment that is copied.
    pub since: Option<String>,
    /// The first moment that is not.
    pub until: Option<String>,
}

/// Which end of the primary key is copied first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    /// Where keys grow with time: the newest rows first.
    Descending,
}

/// How a chunk agrees with the changes that arrive while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Locks {
    /// By its position in the stream.
    #[default]
    None,
    /// By share locks held until the target has committed.
    Share,
}

/// How rows travel over the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    #[default]
    Plain,
    Compressed,
}

/// When secondary indexes are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Indexes {
    /// With the table.
    #[default]
    Now,
    AfterCopy,
}

/// `apply = { … }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplySettings {
    /// Connections to each server that is written: 4.
    pub parallel: u32,
    /// Changes of one transaction: 2,000.
    pub batch_rows: u32,
    /// Bytes of one transaction: 4 MiB.
    pub batch_bytes: u64,
    /// Under `capture = "timestamp"`, how long after its stamp a row may be committed and still be seen: 60 s.
    pub overlap: Duration,
    /// Between two looks at the stamps: 1 s.
    pub every: Duration,
}

/// `throttle = { … }`: what slows copies, comparisons and cleanups down. A limit that is not there does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throttle {
    pub replica_lag_s: Option<f64>,
    pub threads_running: Option<u64>,
    pub history_length: Option<u64>,
    /// Of client statements.
    pub latency_ms: Option<f64>,
    /// At least this much.
    pub disk_free_percent: Option<f64>,
    /// Below half of it, servers are taken to be overloaded.
    pub min_rows_per_s: Option<f64>,
    /// Asked with GET: 200 is go, 429 and 503 are wait, everything else is unknown.
    pub check_url: Option<String>,
    /// When the copy may run, in UTC; always, when there are none.
    pub windows: Vec<Window>,
}

impl Throttle {
    /// The limits that comparisons heed: what is told of servers while they are read. When a copy may run, and how fast it is
    /// expected to be, is about copies.
    #[must_use]
    pub fn of_comparisons(&self) -> Throttle {
        Throttle { windows: Vec::new(), min_rows_per_s: None, disk_free_percent: None, ..self.clone() }
    }
}

/// `verify = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// Keys of a sampling check: 10,000.
    pub sample: u64,
    /// A sampling check passes below this share of different keys: 0.1 percent.
    pub threshold_percent: f64,
    /// Columns by which rows are counted, by table.
    pub group_by: BTreeMap<String, Vec<String>>,
    /// Ranges compared at the same time: 4.
    pub parallel: u32,
    /// How old a clean comparison may be when writes go to the target: 24 hours (`"24 h"`).
    pub max_age: Duration,
}

/// `repair = { … }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairSettings {
    /// Rows that one run may repair; more is not drift but a bug, and a person is asked: 100.
    pub cap: u64,
}

/// `[moves.NAME.schedule]`: reads that go over by themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Shares of the reads in hundredths of a percent, each larger than the one before.
    pub steps: Vec<u16>,
    /// How long everything must have been fine at a step before the next.
    pub dwell: Duration,
    pub gates: Gates,
}

/// What must hold at every step. A gate that is not there is open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates {
    /// At most this percentage of the target's statements failed.
    pub error_rate: Option<f64>,
    /// At most this many times the source's time for 99 of 100 statements.
    pub p99_ratio: Option<f64>,
    /// At most so many rows differed in the last verification.
    pub mismatches: Option<u64>,
    /// At most so far behind.
    pub lag_s: Option<f64>,
}

/// `[[moves.NAME.assert]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    pub name: String,
    pub sql: String,
}

/// `[[moves.NAME.baseline]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    pub sql: String,
    /// Time on the side that follows over time on the side that owns writes: 1.5.
    pub ratio_max: f64,
    /// How often it is timed on each side: 100.
    pub runs: u32,
}

impl Default for CopySettings {
    fn default() -> CopySettings {
        CopySettings {
            rows: 2_000,
            max_bytes: 1 << 20,
            parallel: 4,
            pause_ms: 0,
            predicates: BTreeMap::new(),
            span: None,
            order: Order::Ascending,
            locks: Locks::None,
            wire: Wire::Plain,
            indexes: Indexes::Now,
        }
    }
}

impl Default for ApplySettings {
    fn default() -> ApplySettings {
        ApplySettings {
            parallel: 4,
            batch_rows: 2_000,
            batch_bytes: 4 << 20,
            overlap: Duration::from_secs(60),
            every: Duration::from_secs(1),
        }
    }
}

impl Default for VerifySettings {
    fn default() -> VerifySettings {
        VerifySettings {
            sample: 10_000,
            threshold_percent: 0.1,
            group_by: BTreeMap::new(),
            parallel: 4,
            max_age: Duration::from_secs(86_400),
        }
    }
}

impl Default for RepairSettings {
    fn default() -> RepairSettings {
        RepairSettings { cap: 100 }
    }
}

/// Reads and checks these sections of a rule file's text.
///
/// # Errors
/// Every problem of them, in the order of the file.
pub fn load(text: &str) -> Result<Settings, Vec<Problem>> {
    let document = Document::new(text);
    let settings = read::settings(document.root());
    let problems = document.problems();
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}
