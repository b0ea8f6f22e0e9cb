//! Counters of `AUTO_INCREMENT` columns, before a side takes the writes of clients.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::Serialize;
use shardway_routing::schema::{ColumnKind, Sign};
use shardway_routing::topology::{MoveId, Server, Side, Topology};

use crate::connection::{plain, within_time};
use crate::image::quoted;
use crate::place::{self, Place, reach_server, run};
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
    let (mut raised, mut open) = (Vec::new(), Open { wait, connections: Vec::new() });
    for places in place::of_move(topology, by) {
        let mut counters = Vec::new();
        for place in places.sources.iter().chain(&places.targets) {
            if let Some(counter) = counter(open.to(place).await?, place).await? {
                counters.push((place, counter));
            }
        }
        let Some(next) = counters.iter().map(|(_, counter)| counter.next).max() else { continue };
        // A table split in place has every row that its own counter must be above; another definition would end the streams
        // that still follow it.
        let is_raised = |place: &Place| {
            places.of(side).iter().any(|of| of.is_same(place))
                && !places.of(side.other()).iter().any(|other| other.is_same(place))
        };
        let low = counters.iter().filter(|(place, counter)| is_raised(place) && counter.next < next);
        for (place, Counter { next: from, column }) in low {
            let to = room.above(next, column);
            let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {to}", place.quoted());
            run(open.to(place).await?, &place.backend_name, &sql).await?;
            raised.push(Raised {
                backend: place.backend_name.clone(),
                table: place.quoted(),
                from: *from,
                to,
            });
        }
    }
    for (_, connection) in std::mem::take(&mut open.connections) {
        connection.disconnect().await?;
    }
    Ok(raised)
}

/// One connection to each server: statements are held while this runs.
struct Open {
    wait: Duration,
    connections: Vec<(Server, Conn)>,
}

impl Open {
    async fn to(&mut self, place: &Place) -> Result<&mut Conn, WorkError> {
        let known = self.connections.iter().position(|(server, _)| server.is_same_process(&place.server));
        let known = match known {
            Some(known) => known,
            None => {
                let mut connection = reach_server(&place.backend_name, &place.server).await?;
                let wait = format!("SET SESSION lock_wait_timeout = {}", self.wait.as_secs().max(1));
                run(&mut connection, &place.backend_name, &wait).await?;
                self.connections.push((place.server.clone(), connection));
                self.connections.len() - 1
            }
        };
        Ok(&mut self.connections[known].1)
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

/// What a table gives next.
struct Counter {
    next: u64,
    column: ColumnKind,
}

/// The id that a table gives next: its counter, or what follows its highest row. `None`: it has no counter.
pub(crate) async fn next_id(connection: &mut Conn, place: &Place) -> Result<Option<u64>, WorkError> {
    Ok(counter(connection, place).await?.map(|counter| counter.next))
}

async fn counter(connection: &mut Conn, place: &Place) -> Result<Option<Counter>, WorkError> {
    let schema = schema::read(connection, &place.database, &place.table).await?;
    let Some(column) = schema.as_ref().and_then(|schema| schema.auto_increment()) else { return Ok(None) };
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    if !version.unwrap_or_default().to_ascii_lowercase().contains("mariadb") {
        // The counter as it is, not as it was yesterday.
        connection.query_drop("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    let counter: Option<Option<u64>> = connection
        .exec_first(
            "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (&place.database, &place.table),
        )
        .await?;
    let name = quoted(&column.name);
    let highest: Option<Option<String>> =
        connection.query_first(format!("SELECT CONCAT(MAX({name})) FROM {}", place.quoted())).await?;
    // Negative ids lie below every counter.
    let highest: u64 = highest.flatten().and_then(|id| id.parse().ok()).unwrap_or(0);
    let next = counter.flatten().unwrap_or(1).max(highest.saturating_add(1));
    Ok(Some(Counter { next, column: column.kind.clone() }))
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
