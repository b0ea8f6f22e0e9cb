//! From one statement shape to a plan that fits every statement of the shape.
//!
//! [`plan`] runs once per shape and topology; [`crate::bind`] runs once per statement. A plan says which keys decide
//! the shards, which bytes change per shard, and how the answers become one. What cannot be answered exactly as one
//! server would is a [`Plan::Refused`].

mod aggregates;
mod called;
pub mod catalogue;
mod command;
pub mod comparable;
mod conditions;
mod divided;
pub mod explain;
pub mod having;
mod items;
mod names;
mod number;
mod order;
mod parse;
mod passed;
mod planner;
mod read;
mod replica;
pub mod rights;
mod scopes;
mod session;
mod set;
mod sides;
mod splice;
mod split;
mod steady;
mod touch;
pub mod whole;
mod write;

use std::sync::Arc;

pub use command::{
    Assignment, Autocommit, Characteristics, Completion, Isolation, KillScope, NewAutocommit, Savepoint,
    SessionCommand, Set, Shown, TransactionAccess,
};
pub use planner::plan;
pub use replica::ServedBy;
pub use splice::{Fact, OwnRows, Place, Replacement, Span, Splice, When, Written};

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
    /// Of an `INSERT` into a table whose ids are generated: which rows have none.
    pub numbering: Option<Box<Numbering>>,
    /// What an account must be allowed.
    pub needs: rights::Needs,
    pub served_by: ServedBy,
    pub sides: Sides,
}

/// The ids of an `INSERT`'s rows.
#[derive(Debug, Clone)]
pub struct Numbering {
    pub table: TableId,
    /// What to write, and where, so that the column is named.
    pub name: Option<(Span, String)>,
    /// In order.
    pub rows: Vec<RowNumber>,
}

/// The id of one row.
#[derive(Debug, Clone)]
pub enum RowNumber {
    /// It has none: to be written there, between these texts.
    Missing { at: Span, before: String, after: String },
    /// It has this one, which may be NULL or zero.
    Given { operand: Operand, span: Span },
    /// Only the server could tell.
    Computed,
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
    /// `SQL_CALC_FOUND_ROWS`: the connection is asked for the number afterwards, and is free then.
    FoundRows,
    /// `PREPARE x FROM`, `EXECUTE x`, `DEALLOCATE PREPARE x`.
    SqlPrepared,
    /// `HANDLER … OPEN`.
    Handler,
    /// `CALL`: what a procedure sets or begins in its session stays there.
    Procedure,
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
    /// Conditions on the column of the move's history boundary, one for each of its tables in the statement. `None`:
    /// some rows may be of any time.
    pub times: Option<Vec<Keys>>,
    /// Why a write may reach rows of other keys than it names, where the move divides its keys.
    pub reaches_others: Option<Refusal>,
    /// The rows of an `INSERT` that must have ids of the proxy, and why, where the move divides its keys.
    pub numbered: Option<(usize, Refusal)>,
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
    ByRow { layout: Arc<Layout>, rows: Vec<Row>, insert_id: InsertId },
}

/// What `LAST_INSERT_ID()` answers after an `INSERT` whose rows all bring their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertId {
    /// What it answered before.
    Kept,
    /// What the statement sets by `LAST_INSERT_ID(…)` itself.
    Set,
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
    /// `DATE '…'` or `TIMESTAMP '…'`, whose string is in this region.
    Moment { region: u32, form: MomentForm },
    /// The n-th placeholder, from 0.
    Parameter(u16),
    /// Written as `NULL`.
    Null,
    /// `DEFAULT`, a function call, a column: no value to be had.
    Computed,
}

/// The word before the string of a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentForm {
    Date,
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandSign {
    Plus,
    Minus,
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
    /// A node shows itself, and is given the logical name.
    Renamed(ShownNode),
}

/// A node that answers for its logical table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownNode {
    pub table: TableId,
    pub backend: BackendId,
    pub node: String,
    pub what: ShownAs,
}

/// Where the node's name stands in the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownAs {
    /// In the first column.
    Name,
    /// There, and in the statement in the second column that would make the table.
    Definition,
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
    /// The statement names every primary key: one list of operands per row, in primary-key order. NULL in the
    /// `AUTO_INCREMENT` column, or no value for it, means "from the OK packet's insert id".
    Keys(Vec<Vec<Operand>>),
    /// Run this first, `… FOR UPDATE`: the statement's own `FROM/WHERE/ORDER BY/LIMIT` from this span on, with the
    /// primary-key columns selected. Its placeholders are the statement's from `first_placeholder` on.
    Select { from: Span, first_placeholder: u16, table_alias: Option<String>, picks: Picks },
}

/// Which of the rows that a condition finds a write touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picks {
    All,
    /// The first in an order that the primary key decides. Another transaction may put a row before them, unless gaps
    /// are locked.
    First,
}

/// What the planner must know of the session.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub topology: &'a crate::topology::Topology,
    /// The session's current logical database.
    pub database: Option<&'a str>,
    pub quoting: crate::lex::Quoting,
    pub server: crate::lex::ServerVersion,
    /// The session's own answers are text: where rows must be binary, a backend answers `SELECT DATABASE()` too.
    pub protocol: crate::merge::RowProtocol,
}
