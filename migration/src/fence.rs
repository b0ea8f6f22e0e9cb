//! The fence of a switch: past it, nothing that was begun before writes to a side's tables any more.
//!
//! Gates hold what goes through one process. A statement that an earlier process sent, or one whose client has gone,
//! may still wait at the server for a row, and would be written after the other side has taken over. Such a writer
//! holds the metadata of its tables: who gets `LOCK TABLES … READ` has waited for all of them, and for open
//! transactions that have written. Prepared ones are asked for besides. Readers neither wait nor are waited for. The
//! lock is given back at once, since whoever writes past the proxy after that is not its to stop.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::connection;
use crate::tables::{MovingTable, WorkError};

/// Between two looks at prepared transactions.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    let began = Instant::now();
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
    prepared_end(&mut connection, server, limit.saturating_sub(began.elapsed())).await?;
    connection.disconnect().await?;
    Ok(())
}

/// Waits for the transactions that are prepared now. One whose client has gone, or whose server was started anew, may hold
/// rows only, which no lock of a table waits for, and may still be committed.
async fn prepared_end(connection: &mut Conn, server: &Server, limit: Duration) -> Result<(), WorkError> {
    let began = Instant::now();
    let prepared = prepared(connection).await?;
    let mut open = prepared.clone();
    while !open.is_empty() {
        // Before whoever bounds all of this does it without a reason.
        if began.elapsed() + 2 * LOOK_EVERY >= limit {
            return Err(WorkError::Stopped(format!(
                "{} prepared transactions of {}:{} have not ended; XA RECOVER there shows them",
                open.len(),
                server.host,
                server.port
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        open = self::prepared(connection).await?;
        open.retain(|one| prepared.contains(one));
    }
    Ok(())
}

/// Format, lengths and bytes of each.
async fn prepared(connection: &mut Conn) -> Result<HashSet<(i64, u64, u64, Vec<u8>)>, mysql_async::Error> {
    Ok(connection.query::<_, _>("XA RECOVER").await?.into_iter().collect())
}
