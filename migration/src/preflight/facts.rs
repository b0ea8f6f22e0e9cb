//! What is known of the servers and tables of a move before it begins. Values only: `read` gathers them, `decide` judges.

use std::collections::BTreeMap;

use shardway_routing::schema::TableSchema;
use shardway_routing::topology::{Capture, DoubleWrite, Side};

use super::grants::Grants;

/// Everything a decision looks at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The move's name.
    pub by: String,
    pub capture: Capture,
    pub double_write: DoubleWrite,
    pub servers: Vec<ServerFacts>,
    pub tables: Vec<TableFacts>,
    /// `database.table` and the other move of the same rules that has one of its physical tables.
    pub shared: Vec<(String, String)>,
    pub unnamed: Vec<Unnamed>,
    /// Parameters of the target's servers that the move sets.
    pub tuned: Vec<String>,
    /// The names of all moves of the rules.
    pub moves: Vec<String>,
}

/// Tables of a move's source that no rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// The logical database.
    pub database: String,
    /// The backend where they are.
    pub place: String,
    pub tables: Vec<String>,
}

/// Whose product a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
    /// As `@@version` tells.
    #[must_use]
    pub fn of(version: &str) -> Flavour {
        if version.to_ascii_lowercase().contains("mariadb") { Flavour::MariaDb } else { Flavour::MySql }
    }
}

/// One backend that takes part.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub backend: String,
    /// `host:port`: several backends may be on one server.
    pub address: String,
    /// One of them, or both.
    pub sides: Vec<Side>,
    pub flavour: Flavour,
    pub version: String,
    pub variables: BTreeMap<String, String>,
    pub user: String,
    pub grants: Grants,
    /// The physical databases that the move reads or writes there.
    pub databases: Vec<String>,
    pub prepared: Prepared,
    /// `binlog_do_db` and `binlog_ignore_db`, where there is a binary log and we may ask.
    pub filters: Option<(String, String)>,
    pub follows: Follows,
    /// Where that can be read.
    pub disk_free_bytes: Option<u64>,
    /// Physical database and stream name of every saved position.
    pub streams: Vec<(String, String)>,
    pub foreign_keys: Vec<ForeignKey>,
    pub triggers: Vec<Trigger>,
    pub events: Vec<Body>,
    pub views: Vec<Body>,
}

impl ServerFacts {
    /// A variable, in lower case; empty where the server has none of that name.
    #[must_use]
    pub fn variable(&self, name: &str) -> String {
        self.variables.get(name).map(|value| value.to_ascii_lowercase()).unwrap_or_default()
    }

    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.variables.get(name)?.parse().ok()
    }

    /// The first number of its version; 0 when it tells none.
    #[must_use]
    pub fn major(&self) -> u32 {
        // MariaDB may say for old clients' sake that it is a MySQL of its own.
        let version = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    #[must_use]
    pub fn is(&self, side: Side) -> bool {
        self.sides.contains(&side)
    }
}

/// Transactions between the two phases of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    Count(usize),
    /// What the server said when asked.
    Unknown(String),
}

/// The servers that a server replicates from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// Each as `host:port`; none of a server that is no replica.
    These(Vec<String>),
    /// What the server said when asked.
    Unknown(String),
}

/// A foreign key of either side's tables, or onto them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKey {
    pub name: String,
    /// Physical database and table.
    pub child: (String, String),
    pub parent: (String, String),
    /// Pairs of a child's column and the parent's.
    pub columns: Vec<(String, String)>,
    /// What happens to children when a parent is updated or deleted.
    pub rules: [String; 2],
}

/// A trigger, and on which table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub on: (String, String),
    pub body: Body,
}

/// Something of a database with statements in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    pub database: String,
    pub name: String,
    pub text: String,
}

/// One table of the move.
#[derive(Debug, Clone)]
pub struct TableFacts {
    /// Logical `database.table`.
    pub name: String,
    /// Where its rows go.
    pub home: Home,
    /// The shard key of the source's layout, if it has one.
    pub source_key: Option<String>,
    pub physical: Vec<Physical>,
}

/// How the target holds a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// On one backend.
    Whole(String),
    /// On every one.
    Copied,
    /// By a key; tables of the same group are together.
    Sharded { key: String, group: u32 },
}

impl TableFacts {
    /// The physical tables of a side. One that stays in place is on both.
    pub fn of(&self, side: Side) -> impl Iterator<Item = &Physical> {
        self.physical.iter().filter(move |physical| physical.sides.contains(&side))
    }

    /// A source's table that stands for all.
    #[must_use]
    pub fn model(&self) -> Option<&Definition> {
        self.of(Side::Source).find_map(|physical| physical.definition.as_ref())
    }

    /// The column that says where a row belongs, on either side.
    #[must_use]
    pub fn shard_key(&self) -> Option<&str> {
        match &self.home {
            Home::Sharded { key, .. } => Some(key),
            _ => self.source_key.as_deref(),
        }
    }
}

/// One physical table.
#[derive(Debug, Clone)]
pub struct Physical {
    pub backend: String,
    pub sides: Vec<Side>,
    pub database: String,
    pub table: String,
    /// Which of the target's nodes it is.
    pub shard: Option<usize>,
    /// `None`: it is not there.
    pub definition: Option<Definition>,
    pub rows: Occupied,
}

impl std::fmt::Display for Physical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}.{}", self.backend, self.database, self.table)
    }
}

/// Has a table rows?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    No,
    Yes,
}

/// A table as its server describes it.
#[derive(Debug, Clone)]
pub struct Definition {
    pub flavour: Flavour,
    /// `BASE TABLE`, or something else.
    pub table_type: String,
    pub engine: String,
    pub schema: TableSchema,
    pub columns: Vec<ColumnText>,
    /// What speaks for UUIDs in a form that streams do not read; looked at by the preflight alone.
    pub older_uuids: Option<String>,
    /// Columns of the primary key of which only a prefix counts.
    pub primary_prefixes: Vec<String>,
    /// The first column of every index.
    pub indexed: Vec<String>,
    pub size: Size,
    /// Lowest and highest value of the `AUTO_INCREMENT` column.
    pub ids: Option<(i128, i128)>,
}

/// What the server estimates of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub rows: u64,
    pub data_bytes: u64,
    pub index_bytes: u64,
    /// The longest row that the columns allow.
    pub row_bytes_max: u64,
}

/// A column as its server writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnText {
    pub name: String,
    /// `int(10) unsigned`, `enum('a','b')`
    pub full_type: String,
    pub nullable: String,
    pub default: Option<String>,
    pub extra: String,
    pub charset: Option<String>,
    pub collation: Option<String>,
    pub expression: Option<String>,
}
