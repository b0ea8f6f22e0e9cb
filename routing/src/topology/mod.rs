//! The checked, immutable picture of where rows live, which every statement is planned against.
//!
//! A `Topology` is built once per rules version ([`crate::rules`]) and never changes; the proxy swaps the pointer.
//! It says where rows are *routed*; it knows that a table is moving and who has authority, but not how rows travel.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::key::KeyType;
use crate::refusal::{self, Refusal};
use crate::schema::TableSchema;
use crate::stored::StoredFunctions;

mod at_home;
mod backend;
mod moves;
mod placement;

pub use backend::{Backend, Replica, Server, Tls};
pub use moves::{Capture, DoubleWrite, Functions, History, Move, Moving, Owners, ReadKind, Seen, Side};
pub use placement::{Layout, Node, Placement};

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

/// A logical database, as clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// Where the tables live that no rule names.
    pub default: BackendId,
    /// Stored functions of its servers, as far as they have told.
    pub stored: StoredFunctions,
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

    /// Takes files that the rules name to be relative to this folder.
    pub fn settle(&mut self, folder: &Path) {
        for backend in &mut self.backends {
            for server in std::iter::once(&mut backend.primary)
                .chain(backend.replicas.iter_mut().map(|of| &mut of.server))
            {
                if let Tls::VerifyIdentity(ca) = &mut server.tls {
                    *ca = folder.join(&*ca);
                }
            }
        }
    }

    /// `database.table` in lower case, for logs, dirty keys and gates.
    #[must_use]
    pub fn full_name(&self, id: TableId) -> String {
        let table = self.table_of(id);
        format!("{}.{}", self.database_of(table.database).name, table.name).to_ascii_lowercase()
    }

    /// The full names of a move's tables.
    #[must_use]
    pub fn full_names(&self, of: &Move) -> Vec<String> {
        of.tables.iter().map(|table| self.full_name(*table)).collect()
    }

    /// Is there a logical database of that name, named or passed on whole?
    #[must_use]
    pub fn serves(&self, database: &str) -> bool {
        self.database(database).is_some() || self.other_databases.is_some() || is_system(database)
    }

    /// Where statements run that name no table: the default backend of the current database, or of the first one.
    ///
    /// # Errors
    /// When there are no rules.
    pub fn home(&self, database: Option<&str>) -> Result<BackendId, Refusal> {
        let of = |id: DatabaseId| self.database_of(id).default;
        let current = database.and_then(|name| self.database(name)).map(of);
        current
            .or(database.and(self.other_databases))
            .or_else(|| self.databases.first().map(|database| database.default))
            .or(self.other_databases)
            .ok_or_else(|| refusal::NO_RULES.because(""))
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

    /// The databases on that backend's server that carry logical ones of the rules, which clients see under their logical
    /// names only.
    pub fn carriers_beside(&self, backend: BackendId) -> impl Iterator<Item = &str> {
        let beside = &self.backend(backend).primary;
        let ids = (0..self.backends.len()).filter_map(|id| Some(BackendId(u16::try_from(id).ok()?)));
        ids.filter_map(move |id| {
            let server = &self.backend(id).primary;
            let carries =
                server.is_same_process(beside) && self.databases.iter().any(|of| self.carries(id, &of.name));
            server.database.as_deref().filter(|_| carries)
        })
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

    /// The physical database that carries `logical` on `backend`. One that no rule names, as `mysql`, has its own name.
    #[must_use]
    pub fn physical_database<'a>(&'a self, backend: BackendId, logical: &'a str) -> &'a str {
        let of_url = self.backend(backend).primary.database.as_deref();
        of_url.filter(|_| self.database(logical).is_some()).unwrap_or(logical)
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

    /// The layout of the side where the table is sharded: the target's where both are.
    fn layout(&self) -> Option<&Layout> {
        match (&self.placement, &self.moving) {
            (Placement::Sharded(layout), _) => Some(layout),
            (_, Some(Moving { source: Placement::Sharded(layout), .. })) => Some(layout),
            _ => None,
        }
    }

    /// How the shard key compares, on the side where the table is sharded.
    #[must_use]
    pub fn key_type(&self) -> Option<&KeyType> {
        self.layout().map(|layout| &layout.key_type)
    }

    /// The shard key that identifies a row's owner: the target's while the table moves, for gray buckets too.
    #[must_use]
    pub fn shard_key(&self) -> Option<&str> {
        self.layout().map(|layout| layout.key.as_str())
    }
}
