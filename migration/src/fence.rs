//! The fence of a switch: past it, nothing that was begun before writes to a side's tables any more.
//!
//! Gates hold what goes through one process. A statement that an earlier process sent, or one whose client has gone, may
//! still wait at the server for a row, and would be written after the other side has taken over. Such a writer holds the
//! metadata of its tables: who gets `LOCK TABLES … READ` has waited for all of them, for open transactions that have
//! written, and for prepared ones. Readers neither wait nor are waited for. The lock is given back at once, since whoever
//! writes past the proxy after that is not its to stop.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::connection;
use crate::tables::{MovingTable, WorkError};

/// Waits until nothing that was begun before can write to the tables of a side.
///
/// # Errors
/// When something has not ended in that time, told by server; when a server does not answer or lacks `LOCK TABLES`.
pub async fn pass(moving: &[MovingTable], side: Side, limit: Duration) -> Result<(), WorkError> {
    let mut by_server: Vec<(&Server, Vec<&str>)> = Vec::new();
    for end in moving.iter().flat_map(|table| table.ends(side)) {
        match by_server.iter_mut().find(|(server, _)| server.is_same_process(&end.server)) {
            Some((_, tables)) => tables.push(&end.table),
            None => by_server.push((&end.server, vec![&end.table])),
        }
    }
    let passed = by_server.into_iter().map(|(server, mut tables)| async move {
        tables.sort_unstable();
        tables.dedup();
        lock_once(server, &tables, limit).await
    });
    futures_util::future::try_join_all(passed).await.map(drop)
}

async fn lock_once(server: &Server, tables: &[&str], limit: Duration) -> Result<(), WorkError> {
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    let mut connection = connection::connect(server).await?;
    // Whole seconds, at least one: where we give up first, the server gives up soon after.
    connection.query_drop(format!("SET SESSION lock_wait_timeout = {}", limit.as_secs().max(1))).await?;
    match connection.query_drop(format!("LOCK TABLES {} READ", tables.join(" READ, "))).await {
        Err(mysql_async::Error::Server(error)) if error.code == LOCK_WAIT_TIMEOUT => {
            return Err(WorkError::Stopped(format!(
                "on {}:{} a statement or a transaction that has written to {} has not ended; SHOW PROCESSLIST there \
                 shows it, and XA RECOVER if it is a prepared one",
                server.host,
                server.port,
                tables.join(" or ")
            )));
        }
        locked => locked?,
    }
    connection.query_drop("UNLOCK TABLES").await?;
    connection.disconnect().await?;
    Ok(())
}
