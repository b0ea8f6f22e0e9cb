//! The stored functions that the backends have in the databases of the rules.
//!
//! What a server told last counts until it tells something else: one that does not answer still has its functions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mysql_async::prelude::Queryable as _;
use shardway_routing::stored::{self, StoredFunction};
use shardway_routing::topology::{BackendId, DatabaseId, Server, Topology};

use crate::control_connection::{answer_within, connect};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stored {
    told: Mutex<BTreeMap<Schema, Vec<StoredFunction>>>,
}

/// A database of a server: host, port, its name there.
type Schema = (String, u16, String);

/// A database that a backend carries: what the rules and what the server call it.
type Carried = (DatabaseId, Schema);

/// Which backends are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    All,
    /// Those that have not told yet.
    Unknown,
}

impl Stored {
    /// Asks backends, and gives the topology what all of them have told. One that has never answered has told nothing:
    /// statements that need it fail there as well.
    pub(super) async fn attach(&self, topology: &mut Topology, ask: Ask) {
        let carried: Vec<(BackendId, Vec<Carried>)> = (0..)
            .map(BackendId)
            .take(topology.backends.len())
            .map(|backend| (backend, carried(topology, backend)))
            .collect();
        let asked = carried.iter().filter(|(_, carried)| match ask {
            Ask::All => !carried.is_empty(),
            Ask::Unknown => carried.iter().any(|(_, schema)| !self.has_told(schema)),
        });
        let asked = asked.map(|(id, carried)| self.ask(&topology.backend(*id).primary, carried));
        for error in futures_util::future::join_all(asked).await.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "a backend's stored functions cannot be read");
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, schema) in carried.iter().flat_map(|(_, carried)| carried) {
            if let Some(functions) = told.get(schema) {
                stored::add(topology, *id, functions);
            }
        }
    }

    async fn ask(&self, server: &Server, carried: &[Carried]) -> Result<(), mysql_async::Error> {
        let mut connection = connect(server).await?;
        for (_, schema) in carried {
            let routines = connection.exec::<(String, Option<String>), _, _>(
                "SELECT CONVERT(ROUTINE_NAME USING utf8mb4), CONVERT(ROUTINE_DEFINITION USING utf8mb4) \
                 FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'FUNCTION' AND ROUTINE_SCHEMA = ?",
                (&schema.2,),
            );
            let found = answer_within(routines).await?;
            let found = found.into_iter().map(|(name, text)| StoredFunction { name, text }).collect();
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(schema.clone(), found);
        }
        answer_within(connection.disconnect()).await
    }

    fn has_told(&self, schema: &Schema) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).contains_key(schema)
    }
}

fn carried(topology: &Topology, backend: BackendId) -> Vec<Carried> {
    let server = &topology.backend(backend).primary;
    let schema =
        |name| (server.host.clone(), server.port, topology.physical_database(backend, name).to_owned());
    (0..)
        .map(DatabaseId)
        .zip(&topology.databases)
        .filter(|(_, database)| topology.carries(backend, &database.name))
        .map(|(id, database)| (id, schema(&database.name)))
        .collect()
}
