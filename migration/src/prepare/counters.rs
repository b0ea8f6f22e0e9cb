//! Counters of `AUTO_INCREMENT` columns, before a side takes the writes of clients.

use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::Serialize;
use shardway_routing::schema::{Column, ColumnKind, Sign};
use shardway_routing::topology::{MoveId, Server, Side, Topology};

use crate::connection::{plain, within_time};
use crate::image::quoted;
use crate::place::{self, Place, Places, reach_server, run};
use crate::schema;
use crate::tables::WorkError;

/// A counter that is high enough now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    pub backend: String,
    pub table: String,
    pub from: u64,
    pub to: u64,
}

/// How far a counter goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// To the id that comes next.
    Exact,
    /// Further: ids are being given meanwhile.
    Ahead,
}

/// Ids that are left out for those given meanwhile.
const AHEAD: u64 = 1_000;
/// The part of the ids that are left which that may be at most.
const AHEAD_SHARE: u64 = 100;

impl Room {
    /// Where the counter of a column goes whose next id is known.
    fn above(self, next: u64, column: &ColumnKind) -> u64 {
        let last = match column {
            ColumnKind::Integer { bits, sign: Sign::Unsigned } => u64::MAX >> (64 - u32::from(*bits)),
            ColumnKind::Integer { bits, sign: Sign::Signed } => u64::MAX >> (65 - u32::from(*bits)),
            _ => next,
        };
        match self {
            Room::Exact => next,
            Room::Ahead => next + AHEAD.min(last.saturating_sub(next) / AHEAD_SHARE),
        }
    }
}

/// Raises the counters of `side` above every id that either side has or would give next. Never lowers one, so running it
/// again is harmless; returns those that were raised.
///
/// A change of a definition waits for whoever reads the table, and everybody else waits behind it. So it gives up after
/// `wait`, in whole seconds and at least one, and whoever drops this half-way takes it back.
///
/// # Errors
/// [`WorkError::Stopped`] with the backend and what the server said.
pub async fn raise_auto_increment(
    topology: &Topology,
    by: MoveId,
    side: Side,
    room: Room,
    wait: Duration,
) -> Result<Vec<Raised>, WorkError> {
    let all = place::of_move(topology, by);
    let places: Vec<&Place> = all.iter().flat_map(|of| of.sources.iter().chain(&of.targets)).collect();
    let mut open = Open::reach(&places, wait).await?;
    let mut asked = Vec::new();
    for of in &all {
        let Some(column) = open.numbered(topology, of).await? else { continue };
        let both = of.sources.iter().chain(&of.targets);
        asked.extend(both.map(|place| Counter { of, place, column: column.clone(), next: 0 }));
    }
    open.ask(&mut asked).await?;
    let mut raised = Vec::new();
    for counters in asked.chunk_by(|one, other| one.of.id == other.of.id) {
        let next = counters.iter().map(|counter| counter.next).max().unwrap_or(0);
        for Counter { of, place, column, next: from } in counters {
            if *from < next && of.is_raised(place, side) {
                let to = room.above(next, &column.kind);
                let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {to}", place.quoted());
                run(open.to(place), &place.backend_name, &sql).await?;
                let (backend, table) = (place.backend_name.clone(), place.quoted());
                raised.push(Raised { backend, table, from: *from, to });
            }
        }
    }
    for (_, connection) in std::mem::take(&mut open.connections) {
        connection.disconnect().await?;
    }
    Ok(raised)
}

impl Places {
    /// May the counter of a side's table be raised? One split in place has every row that its own must be above; another
    /// definition would end the streams that still follow it.
    fn is_raised(&self, place: &Place, side: Side) -> bool {
        self.of(side).iter().any(|of| of.is_same(place))
            && !self.of(side.other()).iter().any(|other| other.is_same(place))
    }
}

/// What one node of a table gives next.
struct Counter<'a> {
    of: &'a Places,
    place: &'a Place,
    column: Column,
    next: u64,
}

/// One connection to each server: statements are held while this runs, so all of them are asked at the same time.
struct Open {
    connections: Vec<(Server, Conn)>,
}

impl Open {
    /// Connects to the servers of these places.
    async fn reach(places: &[&Place], wait: Duration) -> Result<Open, WorkError> {
        let mut servers: Vec<&Place> = Vec::new();
        for place in places {
            if !servers.iter().any(|known| known.server.is_same_process(&place.server)) {
                servers.push(place);
            }
        }
        let setup = format!("SET SESSION lock_wait_timeout = {}", wait.as_secs().max(1));
        let setup = &setup;
        let connected = servers.into_iter().map(|place| async move {
            let mut connection = reach_server(&place.backend_name, &place.server).await?;
            run(&mut connection, &place.backend_name, setup).await?;
            Ok::<_, WorkError>((place.server.clone(), connection))
        });
        Ok(Open { connections: try_join_all(connected).await? })
    }

    fn to(&mut self, place: &Place) -> &mut Conn {
        let is_it = |(server, _): &&mut (Server, Conn)| server.is_same_process(&place.server);
        &mut self.connections.iter_mut().find(is_it).expect("every server has been reached").1
    }

    /// The column of a table that its servers number, as the topology knows it.
    async fn numbered(&mut self, topology: &Topology, of: &Places) -> Result<Option<Column>, WorkError> {
        if let Some(known) = &topology.table_of(of.id).schema {
            return Ok(known.auto_increment().cloned());
        }
        let Some(first) = of.sources.first() else { return Ok(None) };
        let read = schema::read(self.to(first), &first.database, &first.table).await?;
        Ok(read.and_then(|schema| schema.auto_increment().cloned()))
    }

    /// Asks what the nodes give next.
    async fn ask(&mut self, counters: &mut [Counter<'_>]) -> Result<(), WorkError> {
        let counted: Vec<(&Place, &str)> =
            counters.iter().map(|counter| (counter.place, counter.column.name.as_str())).collect();
        let counted = &counted;
        let of_each = self.connections.iter_mut().map(|(server, connection)| async move {
            let mut told = Vec::new();
            for (at, (place, column)) in counted.iter().enumerate() {
                if server.is_same_process(&place.server) {
                    told.push((at, next(connection, place, column).await?));
                }
            }
            Ok::<_, WorkError>(told)
        });
        for (at, next) in try_join_all(of_each).await?.into_iter().flatten() {
            counters[at].next = next;
        }
        Ok(())
    }
}

impl Drop for Open {
    /// What is on its way would wait there for a table, with everybody else behind it.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for (server, connection) in self.connections.drain(..) {
            runtime.spawn(end(server, connection.id()));
        }
    }
}

async fn end(server: Server, id: u32) {
    let ended = async {
        let mut connection = within_time(plain(&server)).await?;
        connection.query_drop(format!("KILL {id}")).await?;
        connection.disconnect().await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, id, "a connection that counters were to be raised over ends by itself");
    }
}

/// The id that a table gives next. `None`: its server numbers no column of it.
pub(crate) async fn next_id(connection: &mut Conn, place: &Place) -> Result<Option<u64>, WorkError> {
    let schema = schema::read(connection, &place.database, &place.table).await?;
    let Some(column) = schema.as_ref().and_then(|schema| schema.auto_increment()) else { return Ok(None) };
    next(connection, place, &column.name).await.map(Some)
}

/// A table's counter, or what follows its highest row.
async fn next(connection: &mut Conn, place: &Place, column: &str) -> Result<u64, WorkError> {
    let counter: Option<Option<u64>> = connection
        .exec_first(
            "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (&place.database, &place.table),
        )
        .await?;
    let highest: Option<Option<String>> = connection
        .query_first(format!("SELECT CONCAT(MAX({})) FROM {}", quoted(column), place.quoted()))
        .await?;
    // Negative ids lie below every counter.
    let highest: u64 = highest.flatten().and_then(|id| id.parse().ok()).unwrap_or(0);
    Ok(counter.flatten().unwrap_or(1).max(highest.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_the_ids_that_are_left_are_left_out() {
        let kind = |bits, sign| ColumnKind::Integer { bits, sign };
        for (next, kind, expected) in [
            (700, kind(64, Sign::Signed), 1_700),
            (700, kind(64, Sign::Unsigned), 1_700),
            (2_147_480_000, kind(32, Sign::Signed), 2_147_480_036),
            (2_147_480_000, kind(32, Sign::Unsigned), 2_147_481_000),
            (120, kind(8, Sign::Signed), 120),
            (1 << 40, kind(32, Sign::Signed), 1 << 40),
            (u64::MAX, kind(64, Sign::Unsigned), u64::MAX),
        ] {
            assert_eq!(Room::Ahead.above(next, &kind), expected, "{kind:?}");
            assert_eq!(Room::Exact.above(next, &kind), next);
        }
    }
}
