//! Reads of keys that both sides of a move own: the source answers them, once it has what the target had got by then.
//!
//! So they see every write that was acknowledged before they came. Rows of one transaction on the target may arrive one
//! after the other, as rows of several shards do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use shardway_migration::apply::tail::Tail;
use shardway_migration::tables::WorkError;
use shardway_routing::refusal;
use shardway_routing::topology::{MoveId, Placement, Server, Topology};

use crate::session::{Failure, Session};
use crate::shared::Shared;

/// Between two looks for streams that are about to begin.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until the source has what the target owned at the moment of the call.
///
/// # Errors
/// SHD1443 inside a transaction, whose view of the source is older than its statement; SHD1606 when the streams do not
/// bring it in time.
pub(super) async fn wait(session: &Session, topology: &Topology, by: MoveId) -> Result<(), Failure> {
    let of = topology.move_of(by);
    if session.transaction.is_some() {
        return Err(refusal::KEYS_DIVIDED.because(format!("{}, inside a transaction", of.name)).into());
    }
    let shared = &session.worker.shared;
    let servers = servers(topology, by);
    let arrived = async {
        // Right after a switch they are just being begun.
        let tails = loop {
            match followed(shared, &of.name, &servers) {
                Some(tails) => break tails,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        try_join_all(tails.iter().map(|tail| tail.catch_up_together())).await?;
        Ok::<(), WorkError>(())
    };
    // A division has no double write, so there is a bound.
    let limit = of.lag_max().unwrap_or_default();
    let late = |why: String| refusal::SOURCE_NOT_KEPT.because(format!("{}: {why}", of.name));
    match tokio::time::timeout(limit, arrived).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(late(format!("it cannot be brought up to date: {error}")).into()),
        Err(_) => Err(late(format!("it was more than {} ms behind", limit.as_millis())).into()),
    }
}

/// Where the target has the tables of a move.
fn servers(topology: &Topology, by: MoveId) -> Vec<&Server> {
    let mut servers: Vec<&Server> = Vec::new();
    let tables = topology.move_of(by).tables.iter().map(|id| &topology.table_of(*id).placement);
    for node in tables.flat_map(Placement::nodes) {
        let server = &topology.backend(node.backend).primary;
        if !servers.iter().any(|known| known.is_same_process(server)) {
            servers.push(server);
        }
    }
    servers
}

/// The streams of these servers, once all of them are followed.
fn followed(shared: &Shared, move_name: &str, servers: &[&Server]) -> Option<Vec<Arc<Tail>>> {
    let tails = shared.followed.of(move_name);
    let of = |server: &&Server| tails.iter().find(|tail| tail.server().is_same_process(server)).cloned();
    servers.iter().map(of).collect()
}
