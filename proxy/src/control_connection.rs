//! Full-featured connections beside the query path: metadata, health, `KILL`.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use shardway_migration::connection::tls;
use shardway_routing::topology::Server;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Options that connect to this server, over TCP and without extra round trips.
#[must_use]
pub fn options(server: &Server) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(server.host.clone())
        .tcp_port(server.port)
        .user(Some(server.user.clone()))
        .pass(Some(server.password.clone()))
        .db_name(server.database.clone())
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .ssl_opts(tls(server))
        .into()
}

/// A new connection, or an error within five seconds.
///
/// # Errors
/// Whatever connecting reports.
pub async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    match tokio::time::timeout(TIMEOUT, Conn::new(options(server))).await {
        Ok(connected) => connected,
        Err(_) => Err(mysql_async::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
    }
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
