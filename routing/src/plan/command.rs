//! Statements about the session: what they say, as the planner found it. The session acts on it.

use super::Pin;
use super::rights::Needs;

/// Statements about the session. Their operands are read from the statement text when they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    /// `BEGIN`, `START TRANSACTION …`. The text is sent on as it is.
    Begin,
    Commit(Completion),
    Rollback(Completion),
    /// Sent as it is to every branch of the transaction.
    Savepoint(Savepoint),
    Use {
        database: String,
    },
    Set(Set),
    /// `SET TRANSACTION …` without a scope.
    NextTransaction(Characteristics),
    /// No words at all, but perhaps comments.
    Empty,
    /// Words about transactions that no server takes; a backend says what is wrong with them.
    Malformed,
    ShowWarnings(Shown),
    ShowErrors(Shown),
    /// `SHOW COUNT(*) WARNINGS`.
    CountWarnings,
    CountErrors,
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

/// What is done about the savepoint of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Savepoint {
    /// `SAVEPOINT x`
    Set(String),
    /// `ROLLBACK TO x`
    RollbackTo(String),
    /// `RELEASE SAVEPOINT x`
    Release(String),
}

/// `LIMIT` of a `SHOW WARNINGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub skip: u64,
    pub take: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    Connection,
    Query,
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

/// `SET`: what it assigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Never sent to a backend beside other assignments: there it would commit, or not, before the rest has its say.
    pub autocommit: Option<NewAutocommit>,
    pub others: Vec<Assignment>,
    /// The statement without autocommit; empty where it says nothing of it.
    pub without_autocommit: Vec<u8>,
    pub needs: Needs,
    /// What it uses of the state of the connection that evaluates it.
    pub pin: Pin,
}

/// `autocommit = …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewAutocommit {
    Literal(Autocommit),
    /// An expression, which a backend evaluates.
    Computed(Vec<u8>),
}

/// One assignment of a `SET`, other than that of autocommit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// A session variable, lower case, without scope prefix. Evaluated on a backend, then read back and kept.
    Variable(String),
    /// `NAMES …` or `CHARACTER SET …`: `character_set_client`, `_results` and `collation_connection` are read back.
    Names,
    /// `SET SESSION TRANSACTION …`.
    SessionTransaction,
    /// `@x = …`: pins the session to its backend connection.
    UserVariable,
}

/// What `SET TRANSACTION` says of one transaction; what it does not name is the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Characteristics {
    pub isolation: Option<Isolation>,
    pub access: Option<TransactionAccess>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Characteristics {
    /// These, changed by what a later statement names.
    #[must_use]
    pub fn changed(self, later: Characteristics) -> Characteristics {
        Characteristics {
            isolation: later.isolation.or(self.isolation),
            access: later.access.or(self.access),
        }
    }

    /// The statement that says so; `None`: nothing is to be said.
    #[must_use]
    pub fn statement(self) -> Option<String> {
        let isolation = self.isolation.map(|isolation| match isolation {
            Isolation::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
        });
        let access = self.access.map(|access| match access {
            TransactionAccess::ReadWrite => "READ WRITE",
            TransactionAccess::ReadOnly => "READ ONLY",
        });
        let named: Vec<&str> = isolation.into_iter().chain(access).collect();
        (!named.is_empty()).then(|| format!("SET TRANSACTION {}", named.join(", ")))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autocommit {
    On,
    Off,
}
