//! Full-featured connections beside the query path: metadata, health, `KILL`.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_migration::connection::{plain, within_time};
use shardway_routing::topology::Server;

/// A new connection, or an error within five seconds.
///
/// # Errors
/// Whatever connecting reports.
pub async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    within_time(plain(server)).await
}

/// Ends the statement that a connection of that server runs.
///
/// # Errors
/// Whatever the server reports; a connection that has gone is not an error.
pub async fn kill_query(server: &Server, id: u32) -> Result<(), mysql_async::Error> {
    const UNKNOWN_THREAD: u16 = 1094;
    let mut connection = connect(server).await?;
    match connection.query_drop(format!("KILL QUERY {id}")).await {
        Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_THREAD => {}
        other => other?,
    }
    connection.disconnect().await
}
