//! What the rules say about a move: which tables, how changes are seen, who answers reads, who owns writes.

use std::time::Duration;

use super::{MoveId, Placement, TableId};
use crate::key::KeyValue;
use crate::moment::Moment;

/// The source side of a moving table.
#[derive(Debug, Clone)]
pub struct Moving {
    pub by: MoveId,
    pub source: Placement,
}

/// A migration of some tables' rows from one placement to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub name: String,
    pub tables: Vec<TableId>,
    pub capture: Capture,
    pub double_write: DoubleWrite,
    /// Share of keys whose reads the target serves, in hundredths of a percent: 0 to 10,000.
    pub reads: u16,
    /// Share of reads that are run on both sides and compared, in hundredths of a percent.
    pub shadow_reads: u16,
    /// Who owns writes; of keys that are divided, the side of those that are not the target's: the source.
    pub writes: Side,
    /// Each side owns the writes of some keys: the share of keys that the target owns, in hundredths of a percent,
    /// beside those of `always` and without those of `never`.
    pub divided: Option<u16>,
    /// How long a barrier of this move may hold statements.
    pub hold_ms: u64,
    /// Keys whose reads always go to the target; where keys are divided, their writes too.
    pub always: Vec<KeyValue>,
    /// Keys whose reads never go to the target; where keys are divided, their writes neither.
    pub never: Vec<KeyValue>,
    /// From when on rows are new: reads that may concern older ones are the source's.
    pub history: Option<History>,
    /// Which statements take part in gray reads and double write.
    pub functions: Functions,
    /// How far the side that is not the authority may be behind and still answer reads. `None`: as far as
    /// [`Move::lag_max`] says.
    pub lag_max_ms: Option<u64>,
}

impl Move {
    /// A move that nothing has begun of.
    #[must_use]
    pub fn idle(name: &str) -> Move {
        Move {
            name: name.to_owned(),
            tables: Vec::new(),
            capture: Capture::Binlog,
            double_write: DoubleWrite::Off,
            reads: 0,
            shadow_reads: 0,
            writes: Side::Source,
            divided: None,
            hold_ms: 3000,
            always: Vec::new(),
            never: Vec::new(),
            history: None,
            functions: Functions::default(),
            lag_max_ms: None,
        }
    }

    /// Who owns which keys.
    #[must_use]
    pub fn owners(&self) -> Owners<'_> {
        match self.divided {
            None => Owners::One(self.writes),
            Some(share) => Owners::Divided { share, always: &self.always, never: &self.never },
        }
    }

    /// As rules and reports call who owns writes.
    #[must_use]
    pub fn writes_name(&self) -> String {
        match self.divided {
            None => self.writes.name().to_owned(),
            Some(share) => format!("{}%", f64::from(share) / 100.0),
        }
    }

    /// Does no statement go to the source, whatever its keys?
    #[must_use]
    pub fn leaves_the_source_alone(&self) -> bool {
        self.writes == Side::Target
            && self.double_write == DoubleWrite::Off
            && self.reads == crate::gray::BUCKETS
            && self.never.is_empty()
            && self.history.is_none()
            && self.functions == Functions::default()
    }

    /// How far the side that is not the authority may be behind and still answer reads. Double write keeps it current
    /// only with what comes through this process, so there is a bound as well where a log shows what others write; where
    /// none does, only the rules can name one.
    #[must_use]
    pub fn lag_max(&self) -> Option<Duration> {
        const UNLESS_SAID: u64 = 10_000;
        let has_bound =
            self.double_write == DoubleWrite::Off || self.capture.seen(self.writes) == Seen::ByLog;
        let default = has_bound.then_some(UNLESS_SAID);
        self.lag_max_ms.or(default).map(Duration::from_millis)
    }
}

/// Who owns the writes of which keys: at any time one side for each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Owners<'a> {
    One(Side),
    /// The target a share of all keys and some more, the source the others.
    Divided {
        share: u16,
        always: &'a [KeyValue],
        never: &'a [KeyValue],
    },
}

impl Owners<'_> {
    /// Does a side own some keys?
    #[must_use]
    pub fn include(&self, side: Side) -> bool {
        match self {
            Owners::One(owner) => *owner == side,
            Owners::Divided { .. } => true,
        }
    }

    /// The sides that own keys.
    pub fn sides(&self) -> impl Iterator<Item = Side> {
        [Side::Source, Side::Target].into_iter().filter(|side| self.include(*side))
    }
}

/// A boundary between old and new rows, by a column of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// A `DATE` or `DATETIME`, lower case: a `TIMESTAMP`'s text depends on the session's time zone.
    pub column: String,
    pub since: Moment,
}

/// A part of the application that goes over before the others. `None` stands for everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Functions {
    /// Reads that touch no other table of the move.
    pub reads_of: Option<Vec<TableId>>,
    /// Tables that are written twice under double write; writes to the others are left to the streams.
    pub writes_of: Option<Vec<TableId>>,
    /// Reads of these kinds.
    pub statements: Option<Vec<ReadKind>>,
    /// Reads of these accounts of the proxy.
    pub accounts: Option<Vec<String>>,
}

/// Kinds of reads, by what they ask of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// Rows of one table by their shard keys.
    Point,
    /// Rows of several tables.
    Join,
    /// Everything else.
    Scan,
}

impl Functions {
    /// Does such a read take part?
    #[must_use]
    pub fn reads(&self, tables: &[TableId], kind: ReadKind, account: &str) -> bool {
        self.reads_of.as_ref().is_none_or(|of| tables.iter().all(|table| of.contains(table)))
            && self.statements.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.accounts.as_ref().is_none_or(|accounts| accounts.iter().any(|of| of == account))
    }

    /// Does a write to these tables take part?
    #[must_use]
    pub fn writes(&self, tables: &[TableId]) -> bool {
        self.writes_of.as_ref().is_none_or(|of| tables.iter().all(|table| of.contains(table)))
    }
}

/// How changes on the source are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    Binlog,
    Timestamp { column: String },
    None,
}

/// By what the changes of the side that owns writes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    ByLog,
    /// By this column, which says when a row was written last; deletions are not seen.
    ByColumn(&'a str),
    Not,
}

impl Capture {
    /// A column is for sources that have no log to be read: what the target owns is always seen by its log.
    #[must_use]
    pub fn seen(&self, authority: Side) -> Seen<'_> {
        match (self, authority) {
            (Capture::Timestamp { column }, Side::Source) => Seen::ByColumn(column),
            (Capture::Binlog, _) | (Capture::Timestamp { .. }, Side::Target) => Seen::ByLog,
            (Capture::None, _) => Seen::Not,
        }
    }

    /// Are changes seen, but not all of them?
    #[must_use]
    pub fn is_degraded(&self, authority: Side) -> bool {
        matches!(self.seen(authority), Seen::ByColumn(_))
    }
}

/// What a write to the authority does to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoubleWrite {
    Off,
    Async,
    Sync,
    Strict,
}

impl DoubleWrite {
    /// As rules and reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DoubleWrite::Off => "off",
            DoubleWrite::Async => "async",
            DoubleWrite::Sync => "sync",
            DoubleWrite::Strict => "strict",
        }
    }
}

/// One of the two places a moving row can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    /// The side across the move.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }

    /// As rules and reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}
