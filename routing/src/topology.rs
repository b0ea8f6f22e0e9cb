//! The checked, immutable picture of where rows live, which every statement is planned against.
//!
//! A `Topology` is built once per rules version ([`crate::rules`]) and never changes; the proxy swaps the pointer.
//! It says where rows are *routed*; it knows that a table is moving and who has authority, but not how rows travel.

use std::collections::HashMap;
use std::sync::Arc;

use crate::function::ShardFunction;
use crate::key::{KeyType, KeyValue};
use crate::schema::TableSchema;

/// Index of a backend in [`Topology::backends`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u16);

/// Index of a logical database in [`Topology::databases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub u16);

/// Index of a table named by the rules in [`Topology::tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u32);

/// Index of a move in [`Topology::moves`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoveId(pub u16);

/// Index of a shard in its table's [`Layout::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

/// One version of the rules, ready to plan against.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Grows by one with every rules version that takes effect.
    pub version: u64,
    pub backends: Vec<Backend>,
    pub databases: Vec<Database>,
    /// The backend of `[databases."*"]`, which carries every database that is not named.
    pub other_databases: Option<BackendId>,
    pub tables: Vec<Table>,
    pub moves: Vec<Move>,
    /// What a transaction that writes on several backends may do.
    pub across_shards: AcrossShards,
    /// Lower-case table name per database, for [`Topology::table`].
    pub names: HashMap<(DatabaseId, String), TableId>,
}

/// How transactions over several backends end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcrossShards {
    /// One commit after the other; a partial commit is reported with its own code.
    BestEffort,
    /// A write that would make a second backend take part is refused.
    Refuse,
}

/// A MySQL or MariaDB server with the physical database it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub name: String,
    pub primary: Server,
    pub replicas: Vec<Replica>,
    /// Connections at most, over all workers.
    pub pool_max: u32,
}

/// Where and as whom to connect: a parsed `mysql://user:password@host:port/database`.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    /// The physical database that carries the logical one; `None` uses the logical name.
    pub database: Option<String>,
}

impl std::fmt::Debug for Server {
    /// Without the password: topologies end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "mysql://{}@{}:{}/{}",
            self.user,
            self.host,
            self.port,
            self.database.as_deref().unwrap_or("")
        )
    }
}

/// A read-only copy of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub server: Server,
    pub weight: u32,
}

/// A logical database, as clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// Where the tables live that no rule names.
    pub default: BackendId,
}

/// A table that a rule names.
#[derive(Debug, Clone)]
pub struct Table {
    pub database: DatabaseId,
    /// The logical name, as written in the rules.
    pub name: String,
    /// Where `[tables.*]` says the rows are: the target, while the table moves.
    pub placement: Placement,
    /// Where the rows come from, and under which move, while the table moves.
    pub moving: Option<Moving>,
    pub id: Option<IdColumn>,
    /// Columns as read from a backend; `None` offline (`explain`, `check`) or while no backend could be asked.
    pub schema: Option<Arc<TableSchema>>,
}

/// The source side of a moving table.
#[derive(Debug, Clone)]
pub struct Moving {
    pub by: MoveId,
    pub source: Placement,
}

/// Where the rows of a table are.
#[derive(Debug, Clone, PartialEq)]
pub enum Placement {
    /// Whole, on one node.
    Single(Node),
    /// A full copy on every node.
    Broadcast(Vec<Node>),
    /// Each row on the shard that the function names for its key.
    Sharded(Arc<Layout>),
}

/// A shard key, its function, and the node of every shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The shard-key column, as written in the rules.
    pub key: String,
    /// How the key's column compares; [`KeyType::Assumed`] until the table's schema has been attached.
    pub key_type: KeyType,
    pub function: ShardFunction,
    /// One node per shard, in shard order.
    pub nodes: Vec<Node>,
    /// Tables of the same group have the same function over the same backends in the same order, so a join on
    /// their shard keys never leaves a shard.
    pub group: u32,
}

/// A physical table on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub backend: BackendId,
    pub table: String,
}

/// A column whose values the proxy generates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdColumn {
    pub column: String,
    pub generator: Generator,
}

/// How ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    Snowflake,
    Sequence,
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
    /// Who owns writes.
    pub writes: Side,
    /// How long a barrier of this move may hold statements.
    pub hold_ms: u64,
    /// Keys whose reads always go to the target.
    pub always: Vec<KeyValue>,
    /// Keys whose reads never go to the target.
    pub never: Vec<KeyValue>,
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
            writes: Side::Source,
            hold_ms: 3000,
            always: Vec::new(),
            never: Vec::new(),
        }
    }
}

/// How changes on the source are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    Binlog,
    Timestamp { column: String },
    None,
}

/// What a write to the authority does to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoubleWrite {
    Off,
    Async,
    Sync,
    Strict,
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
}

impl Topology {
    /// No rules at all: what a process knows before its first rule file.
    #[must_use]
    pub fn empty() -> Topology {
        Topology {
            version: 0,
            backends: Vec::new(),
            databases: Vec::new(),
            other_databases: None,
            tables: Vec::new(),
            moves: Vec::new(),
            across_shards: AcrossShards::BestEffort,
            names: HashMap::new(),
        }
    }

    /// `database.table` in lower case, for logs, dirty keys and gates.
    #[must_use]
    pub fn full_name(&self, id: TableId) -> String {
        let table = self.table_of(id);
        format!("{}.{}", self.database_of(table.database).name, table.name).to_ascii_lowercase()
    }

    /// Is there a logical database of that name, named or passed on whole?
    #[must_use]
    pub fn serves(&self, database: &str) -> bool {
        self.database(database).is_some() || self.other_databases.is_some() || is_system(database)
    }

    /// Does that backend have a physical database for the logical one?
    #[must_use]
    pub fn carries(&self, backend: BackendId, database: &str) -> bool {
        let Some(id) = self.database(database) else {
            return self.other_databases == Some(backend) || is_system(database);
        };
        let nodes = |table: &Table| {
            let source = table.moving.as_ref().map(|moving| &moving.source);
            let all = source.into_iter().chain([&table.placement]).flat_map(Placement::nodes);
            table.database == id && all.into_iter().any(|node| node.backend == backend)
        };
        self.database_of(id).default == backend || self.tables.iter().any(nodes)
    }

    /// The table that rules name, by its database and name in any letter case.
    #[must_use]
    pub fn table(&self, database: DatabaseId, name: &str) -> Option<TableId> {
        self.names.get(&(database, name.to_ascii_lowercase())).copied()
    }

    /// The logical database of that exact name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<DatabaseId> {
        let found = self.databases.iter().position(|database| database.name == name)?;
        Some(DatabaseId(u16::try_from(found).ok()?))
    }

    /// The physical database that carries `logical` on `backend`.
    #[must_use]
    pub fn physical_database<'a>(&'a self, backend: BackendId, logical: &'a str) -> &'a str {
        self.backend(backend).primary.database.as_deref().unwrap_or(logical)
    }

    #[must_use]
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[usize::from(id.0)]
    }

    #[must_use]
    pub fn database_of(&self, id: DatabaseId) -> &Database {
        &self.databases[usize::from(id.0)]
    }

    #[must_use]
    pub fn table_of(&self, id: TableId) -> &Table {
        &self.tables[id.0 as usize]
    }

    #[must_use]
    pub fn move_of(&self, id: MoveId) -> &Move {
        &self.moves[usize::from(id.0)]
    }
}

/// Databases that every server has, whose contents no rule moves.
#[must_use]
pub fn is_system(database: &str) -> bool {
    ["information_schema", "performance_schema", "mysql", "sys"]
        .iter()
        .any(|system| database.eq_ignore_ascii_case(system))
}

impl Table {
    /// Where the rows are as `side` sees it; a table that does not move has one placement.
    #[must_use]
    pub fn placement(&self, side: Side) -> &Placement {
        match (&self.moving, side) {
            (Some(moving), Side::Source) => &moving.source,
            _ => &self.placement,
        }
    }

    /// How the shard key compares, on the side where the table is sharded.
    #[must_use]
    pub fn key_type(&self) -> Option<&KeyType> {
        match (&self.placement, &self.moving) {
            (Placement::Sharded(layout), _) => Some(&layout.key_type),
            (_, Some(Moving { source: Placement::Sharded(layout), .. })) => Some(&layout.key_type),
            _ => None,
        }
    }

    /// The shard key that identifies a row's owner: the target's while the table moves, for gray buckets too.
    #[must_use]
    pub fn shard_key(&self) -> Option<&str> {
        match (&self.placement, &self.moving) {
            (Placement::Sharded(layout), _) => Some(&layout.key),
            (_, Some(Moving { source: Placement::Sharded(layout), .. })) => Some(&layout.key),
            _ => None,
        }
    }
}

impl Placement {
    /// Every node, in shard order where there are shards.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        match self {
            Placement::Single(node) => std::slice::from_ref(node),
            Placement::Broadcast(nodes) => nodes,
            Placement::Sharded(layout) => &layout.nodes,
        }
    }
}
