//! Where the streams of a move begin.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use shardway_migration::position::Position;
use shardway_migration::prepare::{self, Room};
use shardway_migration::stamps;
use shardway_migration::stream;
use shardway_migration::tables::MovingTable;
use shardway_routing::topology::{Move, MoveId, Owners, Seen, Server, Side, Topology};

use crate::control::deadline::Deadline;
use crate::control_connection;

/// Makes room for new numbers on a side that is about to own writes and did not own any, and tells where the streams of
/// those that own some begin.
pub(super) async fn starts(
    before: Owners<'_>,
    of: &Move,
    by: MoveId,
    new: &Topology,
    moving: &[MovingTable],
    deadline: Deadline,
) -> Result<BTreeMap<String, Position>, String> {
    // Before the positions are noted: a stream must not find the change of a definition.
    make_room(before, of, by, new, Room::Exact, deadline.left()).await?;
    let mut starts = BTreeMap::new();
    for side in of.owners().sides() {
        starts.extend(positions(new, of, moving, side).await?);
    }
    Ok(starts)
}

/// Raises the counters of a side that is about to own writes and does not own any yet.
pub(super) async fn make_room(
    before: Owners<'_>,
    of: &Move,
    by: MoveId,
    new: &Topology,
    room: Room,
    wait: Duration,
) -> Result<(), String> {
    for side in of.owners().sides().filter(|side| !before.include(*side)) {
        let raised = prepare::raise_auto_increment(new, by, side, room, wait).await;
        for raised in raised.map_err(|error| error.to_string())? {
            let (backend, table, next) = (raised.backend, raised.table, raised.to);
            tracing::info!(r#move = of.name, backend, table, next, "a counter was raised");
        }
    }
    Ok(())
}

/// The servers that a side's rows are read from, with the backend's name, each once.
pub(super) fn servers(topology: &Topology, moving: &[MovingTable], side: Side) -> Vec<(String, Server)> {
    let mut servers: Vec<(String, Server)> = Vec::new();
    for end in moving.iter().flat_map(|table| table.origins(side)) {
        if servers.iter().all(|(_, server)| !server.is_same_process(&end.server)) {
            servers.push((topology.backend(end.backend).name.clone(), end.server.clone()));
        }
    }
    servers
}

/// Where the streams of a side's servers are now, by backend; none where its changes are not seen.
pub(super) async fn positions(
    topology: &Topology,
    of: &Move,
    moving: &[MovingTable],
    side: Side,
) -> Result<BTreeMap<String, Position>, String> {
    let seen = of.capture.seen(side);
    if seen == Seen::Not {
        return Ok(BTreeMap::new());
    }
    let asked = servers(topology, moving, side).into_iter().map(|(name, server)| async move {
        let position = async {
            let mut connection =
                control_connection::connect(&server).await.map_err(|error| error.to_string())?;
            let position = match seen {
                Seen::ByColumn(_) => stamps::now(&mut connection).await.map_err(|error| error.to_string())?,
                Seen::ByLog | Seen::Not => {
                    stream::current(&mut connection).await.map_err(|error| error.to_string())?
                }
            };
            connection.disconnect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(position)
        };
        let position = position.await.map_err(|error| format!("{name} cannot be followed: {error}"))?;
        Ok::<_, String>((name, position))
    });
    Ok(try_join_all(asked).await?.into_iter().collect())
}
