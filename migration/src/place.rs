//! Where the tables of a move are and shall be, by names alone: known before any server has been asked for columns, and
//! before the tables of the target exist.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Backend, BackendId, MoveId, Server, Side, TableId, Topology};

use crate::connection::connect_with;
use crate::image::quoted;
use crate::tables::WorkError;

/// Texts come and go in utf8mb4, literals mean the same everywhere, nothing needs a privilege, and a definition that
/// waits for a long transaction gives up before everybody else queues behind it. Counters are told as they are and not as
/// they were yesterday: only MySQL would do that, and reads the comment.
const SETUP: &str = "SET NAMES utf8mb4, SESSION time_zone = '+00:00', \
     SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', SESSION foreign_key_checks = 0, \
     SESSION lock_wait_timeout = 10 \
     /*!80000 , SESSION information_schema_stats_expiry = 0 */";

/// A physical table, which may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub backend: BackendId,
    /// The backend's name, for people.
    pub backend_name: String,
    pub server: Server,
    /// The physical database.
    pub database: String,
    /// The physical table's bare name.
    pub table: String,
}

impl Place {
    /// `` `database`.`table` ``
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.database), quoted(&self.table))
    }

    /// Do both name the same table of the same server?
    #[must_use]
    pub fn is_same(&self, other: &Place) -> bool {
        let address = |place: &Place| (place.server.host.clone(), place.server.port);
        address(self) == address(other) && self.database == other.database && self.table == other.table
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}.{}", self.backend_name, self.database, self.table)
    }
}

/// The places of one table of a move.
#[derive(Debug, Clone)]
pub struct Places {
    pub id: TableId,
    /// Logical `database.table`, lower case.
    pub name: String,
    pub sources: Vec<Place>,
    pub targets: Vec<Place>,
}

impl Places {
    #[must_use]
    pub fn of(&self, side: Side) -> &[Place] {
        match side {
            Side::Source => &self.sources,
            Side::Target => &self.targets,
        }
    }

    /// The target's tables but those that stay where they are, so that only a part of their rows leaves.
    pub fn new_targets(&self) -> impl Iterator<Item = &Place> {
        let is_in_place = |target: &Place| self.sources.iter().any(|source| source.is_same(target));
        self.targets.iter().filter(move |target| !is_in_place(target))
    }
}

/// The places of every table of a move.
#[must_use]
pub fn of_move(topology: &Topology, by: MoveId) -> Vec<Places> {
    let table = |id: &TableId| Places {
        id: *id,
        name: topology.full_name(*id),
        sources: of_table(topology, *id, Side::Source),
        targets: of_table(topology, *id, Side::Target),
    };
    topology.move_of(by).tables.iter().map(table).collect()
}

/// The places of a table on one side; one that does not move has the same on both.
#[must_use]
pub fn of_table(topology: &Topology, id: TableId, side: Side) -> Vec<Place> {
    let placement = topology.table_of(id).placement(side);
    let logical = &topology.database_of(topology.table_of(id).database).name;
    let place = |node: &shardway_routing::topology::Node| {
        let backend = topology.backend(node.backend);
        Place {
            backend: node.backend,
            backend_name: backend.name.clone(),
            server: backend.primary.clone(),
            database: topology.physical_database(node.backend, logical).to_owned(),
            table: node.table.clone(),
        }
    };
    placement.nodes().iter().map(place).collect()
}

/// Connects to a backend without choosing a database, which may not exist yet.
///
/// # Errors
/// One that names the backend.
pub async fn reach(backend: &Backend) -> Result<Conn, WorkError> {
    reach_server(&backend.name, &backend.primary).await
}

pub(crate) async fn reach_server(name: &str, server: &Server) -> Result<Conn, WorkError> {
    let connected = connect_with(&Server { database: None, ..server.clone() }, SETUP).await;
    connected.map_err(|error| WorkError::from(error).of(&format!("connecting to {name}")))
}

/// Runs a statement, and says on which backend if it fails.
pub(crate) async fn run(connection: &mut Conn, backend: &str, sql: &str) -> Result<(), WorkError> {
    failed_at(connection.query_drop(sql).await, backend, sql)
}

/// What a statement did on a backend, which is said if it failed.
pub(crate) fn failed_at(
    done: Result<(), mysql_async::Error>,
    backend: &str,
    sql: &str,
) -> Result<(), WorkError> {
    done.map_err(|error| WorkError::from(error).of(&format!("{backend}: {sql}")))
}
