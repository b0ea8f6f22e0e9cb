//! Full-featured connections beside the query path: metadata, health, `KILL`.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_migration::connection::{plain, within_time};
use shardway_routing::topology::Server;

/// A server that takes longer to answer has not answered.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A new connection, or an error within five seconds.
///
/// # Errors
/// Whatever connecting reports.
pub async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    within_time(plain(server)).await
}

/// What is asked for, or an error when it takes longer than a few seconds: a server may take a connection and then say
/// nothing more.
///
/// # Errors
/// Whatever asking reports.
pub async fn answer_within<T>(
    asking: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, mysql_async::Error> {
    match tokio::time::timeout(ANSWER_MAX, asking).await {
        Ok(answer) => answer,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_has_not_answered() {
        let told = answer_within::<()>(std::future::pending()).await;
        assert!(matches!(told, Err(mysql_async::Error::Io(_))), "{told:?}");
        assert_eq!(answer_within(async { Ok(7) }).await.unwrap(), 7);
    }
}
