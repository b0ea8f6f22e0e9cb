//! From one statement shape to a plan that fits every statement of the shape.
//!
//! [`plan`] runs once per shape and topology; [`crate::bind`] runs once per statement. A plan says which keys decide
//! the shards, which bytes change per shard, and how the answers become one. What cannot be answered exactly as one
//! server would is a [`Plan::Refused`].

mod conditions;
pub mod explain;
mod names;
mod order;
mod parse;
mod passed;
mod planner;
mod read;
mod scopes;
mod session;
mod sides;
mod touch;
mod write;

use std::sync::Arc;

pub use planner::plan;

use crate::refusal::Refusal;
use crate::topology::{BackendId, DatabaseId, Layout, MoveId, Node, TableId};

/// What a statement shape means under one topology and one current database.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Answered by the session itself, or about the session.
    Session(SessionCommand),
    /// Runs on backends.
    Data(Box<DataPlan>),
    Refused(Refusal),
}

/// Statements about the session. Their operands are read from the statement text when they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    Begin(Begin),
    Commit(Completion),
    Rollback(Completion),
    /// `SAVEPOINT x`, `ROLLBACK TO x`, `RELEASE SAVEPOINT x`: sent as they are to every branch of the transaction.
    Savepoint,
    Use {
        database: String,
    },
    Set(Vec<Assignment>),
    ShowWarnings,
    ShowErrors,
    ShowProcesslist,
    /// `KILL [CONNECTION|QUERY] id`.
    Kill {
        query_only: KillScope,
        id: u64,
    },
    /// `EXPLAIN ROUTE <statement>`: the statement starts at this byte.
    ExplainRoute {
        offset: u32,
    },
    /// `SELECT LAST_INSERT_ID()` alone: the name of the answer's only column.
    LastInsertId {
        column: String,
    },
    /// `SELECT DATABASE()` alone.
    CurrentDatabase {
        column: String,
    },
    /// `SELECT CONNECTION_ID()` alone.
    ConnectionId {
        column: String,
    },
    /// `SHOW DATABASES`.
    ShowDatabases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    Connection,
    Query,
}

/// `BEGIN`, `START TRANSACTION …`. The text is sent on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    pub access: TransactionAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionAccess {
    ReadWrite,
    ReadOnly,
}

/// What follows `COMMIT` or `ROLLBACK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    Plain,
    Chain,
    Release,
}

/// One assignment of a `SET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// `autocommit = 0|1|on|off|…` as a literal.
    Autocommit(Autocommit),
    /// A session variable, lower case, without scope prefix. Evaluated on a backend, then read back and kept.
    Variable(String),
    /// `NAMES …` or `CHARACTER SET …`: `character_set_client`, `_results` and `collation_connection` are read back.
    Names,
    /// `SET [SESSION] TRANSACTION …`; without a scope it is for the next transaction only.
    SessionTransaction,
    NextTransaction,
    /// `@x = …`: pins the session to its backend connection.
    UserVariable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autocommit {
    On,
    Off,
}

/// A statement that runs on backends.
#[derive(Debug, Clone)]
pub struct DataPlan {
    pub access: Access,
    /// What the statement does, for `EXPLAIN ROUTE`: `SELECT`, `INSERT`.
    pub verb: &'static str,
    /// Tables named by the rules that the statement touches, without repetition.
    pub tables: Vec<TableId>,
    /// Databases whose unnamed tables it touches.
    pub databases: Vec<DatabaseId>,
    /// What of the session's backend connection the statement reads or changes beyond tables.
    pub pin: Pin,
    /// `?` placeholders in the statement.
    pub placeholders: u16,
    pub sides: Sides,
}

/// Does it read or write, and does it end the open transaction?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// `FOR UPDATE`, `FOR SHARE`, `LOCK IN SHARE MODE`: goes where writes go.
    LockingRead,
    Write,
    /// DDL and other statements that commit implicitly.
    Definition,
}

/// Why the session must keep one backend connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    None,
    /// Reads or sets `@x`.
    UserVariable,
    TemporaryTable,
    /// `GET_LOCK` and its family.
    NamedLock,
    /// `LOCK TABLES`, `UNLOCK TABLES`, `FLUSH TABLES … WITH READ LOCK`.
    TableLock,
    /// `FOUND_ROWS()`, `ROW_COUNT()`: about the previous statement of the same connection.
    Previous,
    /// `PREPARE x FROM`, `EXECUTE x`, `DEALLOCATE PREPARE x`.
    SqlPrepared,
    /// `HANDLER … OPEN`.
    Handler,
}

/// The plan on each side of a move; a statement on tables that do not move has one side.
#[derive(Debug, Clone)]
pub enum Sides {
    One(SidePlan),
    /// All moving tables of the statement belong to this move.
    Moving(Box<MovingSides>),
}

#[derive(Debug, Clone)]
pub struct MovingSides {
    pub by: MoveId,
    /// A statement may be answerable by one side only.
    pub source: Result<SidePlan, Refusal>,
    pub target: Result<SidePlan, Refusal>,
    /// The rows' shard keys, for gray buckets: on the target's key column, whatever the source's placement.
    pub keys: Keys,
    /// How a write's touched rows are found; `None` for reads.
    pub touch: Option<Result<Touch, Refusal>>,
}

/// Where one side runs the statement, with which bytes, and how answers become one.
#[derive(Debug, Clone)]
pub struct SidePlan {
    pub route: RoutePlan,
    /// In order of position, not overlapping.
    pub splices: Vec<Splice>,
    pub gather: Gather,
    /// A sentence for `EXPLAIN ROUTE` when more than one shard is asked: `no condition on user_id`.
    pub because: String,
}

#[derive(Debug, Clone)]
pub enum RoutePlan {
    /// Whole, to one backend.
    Backend(BackendId),
    /// Whole, to any of these: broadcast tables, read.
    AnyNode(Vec<Node>),
    /// Whole, to each of these: broadcast tables, written.
    EveryNode(Vec<Node>),
    /// Whole, to the shards that hold the keys.
    ByKey(ByKey),
    /// `INSERT`/`REPLACE … VALUES`: each row to its shard.
    ByRow { layout: Arc<Layout>, rows: Vec<Row> },
}

/// Which shards a statement concerns.
#[derive(Debug, Clone)]
pub struct ByKey {
    pub layout: Arc<Layout>,
    pub keys: Keys,
    /// Tables that nothing ties to the others: each of these must name the same single shard.
    pub also: Vec<Keys>,
    /// An `UPDATE` writes this to the shard key: it must be the key that the condition names.
    pub unchanged: Option<Operand>,
}

/// A row of `VALUES`.
#[derive(Debug, Clone)]
pub struct Row {
    /// The shard key's value.
    pub key: Operand,
    /// The value of the `AUTO_INCREMENT` column, if the table has one: it must be given.
    pub id: Option<Operand>,
    /// From its `(` to its `)`; the commas between rows belong to nobody.
    pub span: Span,
}

/// A condition on the shard key, as far as it prunes shards.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// No usable condition.
    All,
    Equal(Operand),
    In(Vec<Operand>),
    /// Inclusive; an open end is `None`. Strict comparisons become inclusive: pruning may keep a shard too many.
    Between(Option<Operand>, Option<Operand>),
    And(Vec<Keys>),
    Or(Vec<Keys>),
}

/// Where a value of the statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The literal in this region, with a minus sign before it or not.
    Literal { region: u32, sign: OperandSign },
    /// The n-th placeholder, from 0.
    Parameter(u16),
    /// Written as `NULL`.
    Null,
    /// `DEFAULT`, a function call, a column: no value to be had.
    Computed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandSign {
    Plus,
    Minus,
}

/// A byte range of the representative statement, told so that it fits every statement of the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: Place,
    pub end: Place,
}

/// `delta` bytes after the end of region `after - 1`; `after == 0` counts from the statement's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub after: u32,
    pub delta: u32,
}

/// Bytes to replace on the way to a shard. `span.start == span.end` inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    pub span: Span,
    pub with: Replacement,
    pub when: When,
}

/// For which routes a splice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only when several shards are asked.
    Scattered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// The physical name of this table on the shard's node, quoted.
    Table { table: TableId, written: Written, alias: Option<String> },
    /// The physical database of the backend, quoted.
    Database { logical: DatabaseId },
    /// The same for every shard.
    Text(String),
    /// The session's `LAST_INSERT_ID()`.
    LastInsertId,
    /// `LIMIT`'s count, pushed down as `offset + count`.
    LimitSum,
}

/// How a table's name stands in the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Bare,
    /// With its database before it.
    Qualified,
}

/// How the answers of several shards become one.
#[derive(Debug, Clone, PartialEq)]
pub enum Gather {
    /// One shard alone answers; more than one shard is refused with this reason.
    Single(Refusal),
    /// Reads: rows as they come, `limit` of them.
    Concat { limit: Option<Limit> },
    /// Reads: every shard is sorted; merged, `hidden` trailing columns dropped.
    Merge { order: Vec<SortKey>, hidden: u16, limit: Option<Limit> },
    /// Writes: affected rows and warnings are added up.
    Sum,
    /// Writes to every copy of a broadcast table: the first copy's answer counts.
    First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub offset: Option<Operand>,
    pub count: Operand,
}

/// One `ORDER BY` term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// Place among the hidden columns, which are the last ones, from 0.
    pub column: u16,
    pub direction: Direction,
    pub compare: Comparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// How two values of a sort column compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// By the column type in the result's own metadata: numbers and temporal types.
    ByType,
    /// Bytewise: binary strings, and `WEIGHT_STRING()` of strings, which carries the collation's order.
    Bytes,
    /// Bytewise `WEIGHT_STRING()` under a `PAD SPACE` collation: the shorter one goes on with this space weight.
    PaddedWeights { space: [u8; 4], width: u8 },
}

/// How the primary keys are found of the rows that a write to a moving table touches.
#[derive(Debug, Clone, PartialEq)]
pub struct Touch {
    pub table: TableId,
    pub how: TouchHow,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TouchHow {
    /// The statement names every primary key: one list of operands per row, in primary-key order. An
    /// [`Operand::Computed`] or NULL in the `AUTO_INCREMENT` column means "from the OK packet's insert id, counting up".
    Keys(Vec<Vec<Operand>>),
    /// Run this first, `… FOR UPDATE`: the statement's own `FROM/WHERE/ORDER BY/LIMIT` from this span on, with the
    /// primary-key columns selected. Its placeholders are the statement's from `first_placeholder` on.
    Select { from: Span, first_placeholder: u16, table_alias: Option<String> },
}

/// What the planner must know of the session.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub topology: &'a crate::topology::Topology,
    /// The session's current logical database.
    pub database: Option<&'a str>,
    pub quoting: crate::lex::Quoting,
    pub server: crate::lex::ServerVersion,
}
