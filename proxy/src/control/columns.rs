//! What only a backend can tell of the rules' tables: their columns.
//!
//! - The table's home is asked: a node of the side that owns its writes. When it is down, another backend that holds the
//!   same table is; when none answers, what was told last stands in, also after a restart. So a backend that is down
//!   takes no shard from the others.
//! - What the home has not told is unconfirmed: it is asked until it answers, and what it says counts.
//! - What was told is kept in one file of the state folder. A crash leaves the old file or the new one; an entry that
//!   does not fit its fingerprint, or is of a table that is elsewhere now, is not used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::schema;
use shardway_routing::rules;
use shardway_routing::schema::TableSchema;
use shardway_routing::topology::{BackendId, Node, Side, TableId, Topology};

use crate::control_connection::{answer_within, connect};
use crate::durable;
use crate::shared::{Announcement, Shared, UTF8MB4};
use crate::wire::charset::SessionCharset;

/// The columns of tables as they were told last, by the table's full name.
#[derive(Debug)]
pub(super) struct Columns {
    file: PathBuf,
    known: Mutex<BTreeMap<String, Remembered>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// `host:port/database.table`.
    told_by: String,
    fingerprint: String,
    columns: TableSchema,
}

/// Which backends are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    All,
    /// Not those that did not answer just now: waiting for them again would keep rule changes waiting.
    Answering,
}

/// What came of asking.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// The first backend that answered.
    pub server: Option<Announcement>,
    /// Tables with columns that their home has not told.
    pub unconfirmed: BTreeSet<String>,
    /// Tables that have got columns, or others than before.
    pub changed: usize,
    /// Columns that contradict the rules.
    pub problems: Vec<String>,
}

/// Columns, and who told them.
struct Found {
    columns: TableSchema,
    by: Teller,
}

enum Teller {
    Home,
    Other,
    Memory,
}

/// A physical table.
struct Place {
    node: Node,
    database: String,
    /// `host:port/database.table`.
    name: String,
}

impl Columns {
    /// What earlier processes were told. A file that cannot be read is like none: everything in it can be asked for again.
    pub(super) fn open(state: &Path) -> Columns {
        let file = state.join("columns.json");
        let mut known: BTreeMap<String, Remembered> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "the remembered columns cannot be read");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        known.retain(|table, of| {
            let fits = of.fingerprint == fingerprint(&of.columns);
            if !fits {
                tracing::warn!(table, "the remembered columns do not fit their fingerprint and are not used");
            }
            fits
        });
        Columns { file, known: Mutex::new(known) }
    }

    /// Gives columns to every table that has none, and asks the home of those in `unconfirmed` again.
    pub(super) async fn attach(
        &self,
        shared: &Shared,
        topology: &mut Topology,
        unconfirmed: &BTreeSet<String>,
        ask: Ask,
    ) -> Attached {
        let mut servers = Servers { shared, ask, open: BTreeMap::new(), server: None };
        for id in (0..).map(BackendId).take(topology.backends.len()) {
            if servers.connection(topology, id).await.is_some() {
                break;
            }
        }
        let mut attached = Attached { server: servers.server.clone(), ..Attached::default() };
        for id in (0..).map(TableId).take(topology.tables.len()) {
            let name = topology.full_name(id);
            let before = topology.table_of(id).schema.clone();
            if before.is_some() && !unconfirmed.contains(&name) {
                continue;
            }
            let found = match &before {
                Some(_) => servers.home(topology, id).await,
                None => self.find(&mut servers, topology, id, &name).await,
            };
            let Some(found) = found else {
                if before.is_some() {
                    attached.unconfirmed.insert(name);
                }
                continue;
            };
            if !matches!(found.by, Teller::Home) {
                attached.unconfirmed.insert(name.clone());
            }
            if before.as_deref() == Some(&found.columns) {
                tracing::info!(table = name, "the columns are confirmed");
                continue;
            }
            if before.is_some() {
                tracing::warn!(
                    table = name,
                    "the columns are others than those that the table was served by"
                );
            }
            let mut next = topology.clone();
            match rules::attach(&mut next, id, Arc::new(found.columns)) {
                Ok(()) => {
                    *topology = next;
                    attached.changed += 1;
                }
                Err(error) => attached.problems.push(format!("tables.{name}: {error}")),
            }
        }
        self.remember(topology, &attached.unconfirmed);
        servers.close().await;
        attached
    }

    /// From the home, from another backend that has the table, or from memory.
    async fn find(
        &self,
        servers: &mut Servers<'_>,
        topology: &Topology,
        id: TableId,
        name: &str,
    ) -> Option<Found> {
        for (index, place) in places(topology, id).iter().enumerate() {
            match servers.ask(topology, place).await {
                Answer::Told(columns) => {
                    let by = if index == 0 { Teller::Home } else { Teller::Other };
                    return Some(Found { columns: *columns, by });
                }
                Answer::NoTable if index == 0 => {
                    tracing::warn!(place = place.name, table = name, "the table is not there yet");
                    return None;
                }
                Answer::NoTable | Answer::Silent => {}
            }
        }
        let known = self.lock().get(name).cloned()?;
        let is_there = every_place(topology, id).iter().any(|place| place.name == known.told_by);
        if !is_there {
            return None;
        }
        tracing::warn!(
            table = name,
            told_by = known.told_by,
            "no backend tells the columns; those told last stand in"
        );
        Some(Found { columns: known.columns, by: Teller::Memory })
    }

    /// Keeps what the homes have told. What another backend or the memory told adds nothing to it.
    fn remember(&self, topology: &Topology, unconfirmed: &BTreeSet<String>) {
        let mut known = self.lock();
        let before = known.clone();
        for id in (0..).map(TableId).take(topology.tables.len()) {
            let name = topology.full_name(id);
            let Some(columns) = topology.table_of(id).schema.as_deref() else { continue };
            if unconfirmed.contains(&name) {
                continue;
            }
            let Some(home) = places(topology, id).into_iter().next() else { continue };
            let fingerprint = fingerprint(columns);
            known.insert(name, Remembered { told_by: home.name, fingerprint, columns: columns.clone() });
        }
        if *known == before {
            return;
        }
        let written = serde_json::to_vec_pretty(&*known)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&self.file, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "the columns are not remembered over a restart");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(columns: &TableSchema) -> String {
    format!("{:016x}", columns.fingerprint())
}

/// One node for each backend that has the table on the side that owns its writes, the home first.
fn places(topology: &Topology, id: TableId) -> Vec<Place> {
    let table = topology.table_of(id);
    let side = table.moving.as_ref().map_or(Side::Target, |moving| topology.move_of(moving.by).writes);
    let mut found: Vec<Place> = Vec::new();
    for place in of_side(topology, id, side) {
        if found.iter().all(|known| known.node.backend != place.node.backend) {
            found.push(place);
        }
    }
    found
}

fn every_place(topology: &Topology, id: TableId) -> Vec<Place> {
    let mut found = of_side(topology, id, Side::Target);
    if topology.table_of(id).moving.is_some() {
        found.extend(of_side(topology, id, Side::Source));
    }
    found
}

fn of_side(topology: &Topology, id: TableId, side: Side) -> Vec<Place> {
    let table = topology.table_of(id);
    let logical = &topology.database_of(table.database).name;
    let place = |node: &Node| {
        let database = topology.physical_database(node.backend, logical).to_owned();
        let server = &topology.backend(node.backend).primary;
        let name = format!("{}:{}/{database}.{}", server.host, server.port, node.table);
        Place { node: node.clone(), database, name }
    };
    table.placement(side).nodes().iter().map(place).collect()
}

enum Answer {
    Told(Box<TableSchema>),
    NoTable,
    Silent,
}

/// Connections for one round of questions, each backend's made when it is first asked.
struct Servers<'a> {
    shared: &'a Shared,
    ask: Ask,
    /// `None`: it does not answer.
    open: BTreeMap<u16, Option<Conn>>,
    /// The first that answered.
    server: Option<Announcement>,
}

/// The version, the character sets of clients and of results, the collation, and the number to greet with.
type Told = (String, String, Option<String>, String, Option<u8>);

/// What a backend says of itself.
async fn announcement(connection: &mut Conn) -> Result<Option<Announcement>, mysql_async::Error> {
    let sql = "SELECT VERSION(), @@global.character_set_client, @@global.character_set_results, \
               @@global.collation_connection, (SELECT ID FROM information_schema.COLLATIONS \
               WHERE COLLATION_NAME = @@global.collation_server AND CHARACTER_SET_NAME = 'utf8mb4' AND ID < 256)";
    let told: Option<Told> = connection.query_first(sql).await?;
    Ok(told.map(|(version, client, results, collation, number)| Announcement {
        version,
        // Drivers that await session tracking write in the greeting's character set until told otherwise, and nobody
        // tells them: so it is one that loses nothing.
        collation: number.unwrap_or(UTF8MB4),
        charset: SessionCharset { client, results, collation },
    }))
}

impl Servers<'_> {
    async fn home(&mut self, topology: &Topology, id: TableId) -> Option<Found> {
        let home = places(topology, id).into_iter().next()?;
        match self.ask(topology, &home).await {
            Answer::Told(columns) => Some(Found { columns: *columns, by: Teller::Home }),
            Answer::NoTable | Answer::Silent => None,
        }
    }

    async fn ask(&mut self, topology: &Topology, place: &Place) -> Answer {
        let id = place.node.backend;
        let Some(connection) = self.connection(topology, id).await else { return Answer::Silent };
        match answer_within(schema::read(connection, &place.database, &place.node.table)).await {
            Ok(Some(columns)) => Answer::Told(Box::new(columns)),
            Ok(None) => Answer::NoTable,
            Err(error) => {
                self.shared.health(&topology.backend(id).name).failed(&error.to_string());
                self.open.insert(id.0, None);
                Answer::Silent
            }
        }
    }

    async fn connection(&mut self, topology: &Topology, id: BackendId) -> Option<&mut Conn> {
        if !self.open.contains_key(&id.0) {
            let backend = topology.backend(id);
            let health = self.shared.health(&backend.name);
            let opened = if self.ask == Ask::Answering && health.down().is_some() {
                None
            } else {
                let opened = async {
                    let mut connection = connect(&backend.primary).await?;
                    let server = answer_within(announcement(&mut connection)).await?;
                    Ok::<_, mysql_async::Error>((connection, server))
                };
                match opened.await {
                    Ok((connection, server)) => {
                        self.server = self.server.take().or(server);
                        Some(connection)
                    }
                    Err(error) => {
                        health.failed(&error.to_string());
                        None
                    }
                }
            };
            self.open.insert(id.0, opened);
        }
        self.open.get_mut(&id.0)?.as_mut()
    }

    async fn close(self) {
        for connection in self.open.into_values().flatten() {
            // What was told is told, however the connection ends.
            let _ = answer_within(connection.disconnect()).await;
        }
    }
}
