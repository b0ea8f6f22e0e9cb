//! Connections that several workers of one run share. They close when the run ends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mysql_async::Conn;
use shardway_routing::topology::Server;

use crate::connection::connect;
use crate::tables::WorkError;

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
