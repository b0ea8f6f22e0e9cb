//! Which bytes of a statement are replaced on the way to a shard, and with what.

use crate::topology::{DatabaseId, ShardId, TableId};

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
    /// The physical name of this table on the shard's node, quoted. Where several shards are asked, some of whose nodes
    /// have rows of others as well, the table of its own.
    Table { table: TableId, written: Written, alias: Option<String>, own: Option<OwnRows> },
    /// The end of a condition in parentheses, and that the rows are the shard's own.
    AlsoOwn(OwnRows),
    /// A condition, where there is none: that the rows are the shard's own.
    OnlyOwn(OwnRows),
    /// The physical database of the backend, quoted.
    Database { logical: DatabaseId },
    /// The same for every shard.
    Text(String),
    /// `AS` and the client's own bytes of this span: they would have named the column.
    Name(Span),
    /// What the session knows better than the connection.
    Fact(Fact),
    /// `LIMIT`'s count, pushed down as `offset + count`.
    LimitSum,
}

/// The conditions under which rows belong on nodes that have others as well, by shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRows(pub Vec<(ShardId, String)>);

impl OwnRows {
    /// The condition of one shard; `None` where every row of its node belongs there.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Option<&str> {
        self.0.iter().find(|(of, _)| *of == shard).map(|(_, condition)| condition.as_str())
    }
}

/// A function or variable about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// `LAST_INSERT_ID()`, `@@identity`.
    LastInsertId,
    RowCount,
    FoundRows,
    ConnectionId,
    /// `DATABASE()`: a backend may carry the logical database under another name.
    Database,
    /// `USER()`: a backend knows the proxy's own account.
    User,
}

/// How a table's name stands in the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Bare,
    /// With its database before it.
    Qualified,
}
