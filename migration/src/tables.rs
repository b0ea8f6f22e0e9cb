//! The tables of a move, with everything the workers need to know of each; and connections to both sides.

use std::time::Duration;

use mysql_async::{Conn, OptsBuilder, Value};
use shardway_routing::key::{KeyType, KeyValue};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{BackendId, MoveId, Placement, Server, Side, TableId, Topology};

use crate::image::{Image, ImageShape, Key, SESSION, quoted};

/// A table on its way.
#[derive(Debug, Clone)]
pub struct MovingTable {
    pub id: TableId,
    /// Logical `database.table`, lower case.
    pub name: String,
    pub shape: ImageShape,
    shard_key: Option<(String, KeyType)>,
    source: Ends,
    target: Ends,
}

/// Where one side has its rows.
#[derive(Debug, Clone)]
struct Ends {
    placement: Placement,
    nodes: Vec<End>,
}

/// A physical table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub backend: BackendId,
    pub server: Server,
    /// The physical database.
    pub database: String,
    /// `` `database`.`table` ``
    pub table: String,
}

/// What stopped a worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("{0}")]
    Server(#[from] mysql_async::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{table}: the row {key} has a shard key that no shard takes")]
    Homeless { table: String, key: String },
    #[error("{0}")]
    Stopped(String),
}

/// The tables of a move.
///
/// # Errors
/// A table that cannot be carried exactly, or whose columns are not known.
pub fn of_move(topology: &Topology, by: MoveId) -> Result<Vec<MovingTable>, Refusal> {
    topology.move_of(by).tables.iter().map(|table| of_table(topology, *table)).collect()
}

/// One table of a move.
///
/// # Errors
/// See [`of_move`].
pub fn of_table(topology: &Topology, id: TableId) -> Result<MovingTable, Refusal> {
    let table = topology.table_of(id);
    let schema = table.schema.as_ref().ok_or_else(|| refusal::SCHEMA_UNKNOWN.because(table.name.clone()))?;
    let ends = |side| ends(topology, id, side);
    Ok(MovingTable {
        id,
        name: topology.full_name(id),
        shape: ImageShape::of(schema)?,
        shard_key: table.shard_key().map(str::to_owned).zip(table.key_type().cloned()),
        source: ends(Side::Source),
        target: ends(Side::Target),
    })
}

fn ends(topology: &Topology, id: TableId, side: Side) -> Ends {
    let table = topology.table_of(id);
    let placement = table.placement(side).clone();
    let logical = &topology.database_of(table.database).name;
    let end = |node: &shardway_routing::topology::Node| {
        let database = topology.physical_database(node.backend, logical).to_owned();
        let table = format!("{}.{}", quoted(&database), quoted(&node.table));
        End { backend: node.backend, server: topology.backend(node.backend).primary.clone(), database, table }
    };
    let nodes = placement.nodes().iter().map(end).collect();
    Ends { placement, nodes }
}

impl MovingTable {
    fn side(&self, side: Side) -> &Ends {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Every physical table of a side.
    #[must_use]
    pub fn ends(&self, side: Side) -> &[End] {
        &self.side(side).nodes
    }

    /// Where on a side a row belongs.
    ///
    /// # Errors
    /// When no shard takes its key.
    pub fn home(&self, side: Side, image: &Image) -> Result<usize, WorkError> {
        let of = self.side(side);
        let Placement::Sharded(layout) = &of.placement else { return Ok(0) };
        let key = self.shape.shard_key(image, &layout.key, &layout.key_type);
        let shard = key.and_then(|key| layout.function.shard(&key));
        shard.map(|shard| shard.0 as usize).ok_or_else(|| {
            let key = self.shape.key_of(image);
            let parts: Vec<String> =
                key.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            WorkError::Homeless { table: self.name.clone(), key: parts.join("-") }
        })
    }

    /// The shard key of a row, which gray reads look at.
    #[must_use]
    pub fn shard_key(&self, image: &Image) -> Option<KeyValue> {
        let (column, key_type) = self.shard_key.as_ref()?;
        self.shape.shard_key(image, column, key_type)
    }

    /// The same from the primary key, where that contains it: then no write can change it.
    #[must_use]
    pub fn shard_key_of(&self, key: &Key) -> Option<KeyValue> {
        let (column, key_type) = self.shard_key.as_ref()?;
        self.shape.shard_key_of(key, column, key_type)
    }
}

/// A connection that reads and writes images.
///
/// # Errors
/// Whatever connecting reports; it takes five seconds at most.
pub async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    let assignments: Vec<String> =
        SESSION.iter().map(|(name, value)| format!("SESSION {name} = {value}")).collect();
    let options = OptsBuilder::default()
        .ip_or_hostname(server.host.clone())
        .tcp_port(server.port)
        .user(Some(server.user.clone()))
        .pass(Some(server.password.clone()))
        .db_name(server.database.clone())
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .setup(vec![format!("SET {}", assignments.join(", "))]);
    match tokio::time::timeout(Duration::from_secs(5), Conn::new(options)).await {
        Ok(connected) => connected,
        Err(_) => Err(mysql_async::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
    }
}

/// A row of the text protocol as an image.
#[must_use]
pub fn image(row: mysql_async::Row) -> Image {
    let field = |value: Option<Value>| match value {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    Image(row.unwrap_raw().into_iter().map(field).collect())
}
