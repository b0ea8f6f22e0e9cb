//! Connections that several workers of one run share. They close when the run ends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Server;

use crate::connection::connect;
use crate::tables::WorkError;

/// How long a server may say nothing before nobody waits for it who holds rows of another one, or is about to.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// How much longer it may take for each KiB that it is sent: 2 Mbit/s.
const PER_KIB: Duration = Duration::from_millis(4);

/// Idle connections, by address and user.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Address, Vec<Conn>>>,
}

type Address = (String, u16, String);

fn address(server: &Server) -> Address {
    (server.host.clone(), server.port, server.user.clone())
}

impl Pool {
    /// An idle connection, or a new one.
    pub(crate) async fn take(&self, server: &Server) -> Result<Conn, WorkError> {
        let idle = self.lock().get_mut(&address(server)).and_then(Vec::pop);
        match idle {
            Some(connection) => Ok(connection),
            None => Ok(connect(server).await?),
        }
    }

    /// Returns when the server answers. To be asked before rows of another one are locked, which would be held for it.
    ///
    /// # Errors
    /// Whatever connecting reports; that it says nothing.
    pub(crate) async fn answers(&self, server: &Server) -> Result<(), WorkError> {
        let asked = async {
            let mut connection = self.take(server).await?;
            if connection.ping().await.is_err() {
                // It may have idled for too long.
                connection = connect(server).await?;
            }
            Ok(connection)
        };
        let connection = promptly(&server.address(), 0, asked).await?;
        self.give(server, connection);
        Ok(())
    }

    /// Gives back a connection that is outside a transaction. One that failed is dropped instead.
    pub(crate) fn give(&self, server: &Server, connection: Conn) {
        self.lock().entry(address(server)).or_default().push(connection);
    }

    /// Closes them all.
    pub(crate) async fn close(&self) {
        let idle: Vec<Conn> = self.lock().drain().flat_map(|(_, idle)| idle).collect();
        for connection in idle {
            // What cannot say goodbye is gone already.
            let _ = connection.disconnect().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Vec<Conn>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what a server must answer soon, since rows of another one are held for it.
///
/// # Errors
/// Those of the work; that the server says nothing. Its connections must be dropped then.
pub(crate) async fn promptly<T>(
    server: &str,
    bytes: usize,
    work: impl Future<Output = Result<T, WorkError>>,
) -> Result<T, WorkError> {
    let longer = PER_KIB.saturating_mul(u32::try_from(bytes / 1024).unwrap_or(u32::MAX));
    match tokio::time::timeout(SILENT_MAX.saturating_add(longer), work).await {
        Ok(done) => done,
        Err(_) => Err(WorkError::Interrupted(format!("{server} does not answer"))),
    }
}
