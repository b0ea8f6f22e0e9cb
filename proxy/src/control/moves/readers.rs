//! Connections that put questions to one side of a move: read-only, with the settings of who asks, kept for the next
//! question of the same kind.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_migration::connection::connect;
use shardway_migration::tables::WorkError;
use shardway_routing::topology::{BackendId, Topology};
use tokio::sync::Mutex;

use crate::control_connection;

/// Connections that wait for the next question, of one backend.
const IDLE_MAX: usize = 8;
/// What ends a client's question on the server itself: whoever stops waiting for it does not stop it. Each kind of
/// server takes the other's variable for a comment.
const LIMIT: &str = "SET SESSION /*M! max_statement_time = 10 */ /*!50708 max_execution_time = 10000 */";

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker<'a> {
    /// An operator, whose counts and sums over all shards are put together, under the engine's own settings.
    Operator,
    /// A client, under these settings: what it would be refused is refused, and its columns are part of the answer.
    Client(&'a str),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind<'a> {
    pub backend: BackendId,
    /// As clients call it.
    pub database: &'a str,
    pub asker: Asker<'a>,
}

/// Connections that wait, by backend and by database and settings.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<(BackendId, String), Vec<Conn>>>);

impl Readers {
    /// A connection of that kind.
    ///
    /// # Errors
    /// Whatever connecting reports.
    pub(super) async fn take(&self, topology: &Topology, kind: Kind<'_>) -> Result<Conn, WorkError> {
        let waiting = {
            let mut idle = self.0.lock().await;
            let key = kind.key();
            let waiting = idle.get_mut(&key).and_then(Vec::pop);
            if idle.get(&key).is_some_and(Vec::is_empty) {
                idle.remove(&key);
            }
            waiting
        };
        match waiting {
            Some(connection) => Ok(connection),
            None => connected(topology, kind).await,
        }
    }

    /// Keeps a connection for the next question. Some of another kind give way when there are too many.
    pub(super) async fn keep(&self, kind: Kind<'_>, connection: Conn) {
        let key = kind.key();
        let mut idle = self.0.lock().await;
        let of_backend = || idle.iter().filter(|((backend, _), _)| *backend == kind.backend);
        if of_backend().map(|(_, waiting)| waiting.len()).sum::<usize>() >= IDLE_MAX {
            let other = of_backend().map(|(other, _)| other).find(|other| **other != key).cloned();
            match other {
                Some(other) => idle.remove(&other),
                None => return,
            };
        }
        idle.entry(key).or_default().push(connection);
    }

    /// Closes them all.
    pub(super) async fn close(self) {
        for connection in self.0.into_inner().into_values().flatten() {
            // What cannot say goodbye is gone already.
            let _ = connection.disconnect().await;
        }
    }
}

impl Kind<'_> {
    fn key(&self) -> (BackendId, String) {
        let settings = match self.asker {
            Asker::Operator => "",
            Asker::Client(settings) => settings,
        };
        (self.backend, format!("{} {settings}", self.database))
    }
}

/// A connection that only reads.
async fn connected(topology: &Topology, kind: Kind<'_>) -> Result<Conn, WorkError> {
    let Kind { backend, database, asker } = kind;
    let server = &topology.backend(backend).primary;
    let mut connection = match asker {
        Asker::Operator => connect(server).await?,
        Asker::Client(_) => control_connection::connect(server).await?,
    };
    let database = topology.physical_database(backend, database);
    connection.query_drop(format!("USE `{}`", database.replace('`', "``"))).await?;
    if let Asker::Client(settings) = asker {
        if !settings.is_empty() {
            connection.query_drop(settings).await?;
        }
        connection.query_drop(LIMIT).await?;
    }
    // A function that a question calls must not write either.
    connection.query_drop("SET SESSION TRANSACTION READ ONLY").await?;
    Ok(connection)
}
