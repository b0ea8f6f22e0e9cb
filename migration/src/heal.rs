//! Bringing dirty keys in line: the authority's row, as it is, becomes the other side's.
//!
//! Per entry: lock the authority's row, write it where it belongs on the other side and delete it everywhere else there,
//! commit the other side, remove the entry in the authority's transaction. Running it twice changes nothing; a crash
//! between the commits leaves the entry.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::dirty::{self, Entry, Stored};
use crate::image::Image;
use crate::tables::{MovingTable, WorkError, connect, image};

/// Entries looked at in one pass.
const BATCH: usize = 500;

/// A journal: a physical database of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub server: Server,
    pub database: String,
}

/// The journals of a move's tables, without repetition.
#[must_use]
pub fn journals(tables: &[MovingTable], authority: Side) -> Vec<Journal> {
    let mut journals: Vec<Journal> = Vec::new();
    for end in tables.iter().flat_map(|table| table.ends(authority)) {
        let journal = Journal { server: end.server.clone(), database: end.database.clone() };
        if !journals.contains(&journal) {
            journals.push(journal);
        }
    }
    journals
}

/// The entries of a journal that are at least so old; none if there is no journal.
///
/// # Errors
/// Whatever the server reports.
pub async fn entries(journal: &Journal, min_age_ms: u64) -> Result<Vec<Stored>, WorkError> {
    const NO_SUCH_TABLE: u16 = 1146;
    let mut connection = connect(&journal.server).await?;
    let found = read(&mut connection, journal, min_age_ms).await;
    connection.disconnect().await?;
    match found {
        Err(WorkError::Server(mysql_async::Error::Server(error))) if error.code == NO_SUCH_TABLE => {
            Ok(Vec::new())
        }
        other => other,
    }
}

async fn read(connection: &mut Conn, journal: &Journal, min_age_ms: u64) -> Result<Vec<Stored>, WorkError> {
    let rows: Vec<(u64, u64, String, String, String)> =
        connection.query(dirty::select(&journal.database, min_age_ms, BATCH)).await?;
    let decoded = rows.into_iter().map(|(id, token, table, key, shard_keys)| {
        dirty::decode(id, token, &table, &key, &shard_keys)
            .ok_or_else(|| WorkError::Stopped(format!("the journal's entry {id} cannot be read")))
    });
    decoded.collect()
}

/// Heals the entries of one journal. Returns those that are healed; the rest must be tried again.
///
/// # Errors
/// When the authority cannot be asked. A row of the other side that is locked is left for the next time.
pub async fn run(
    tables: &[MovingTable],
    authority: Side,
    journal: &Journal,
    min_age_ms: u64,
) -> Result<Vec<Entry>, WorkError> {
    let mut healed = Vec::new();
    let mut connections = Connections::default();
    for stored in entries(journal, min_age_ms).await? {
        let Some(table) = tables.iter().find(|table| table.name == stored.entry.table) else { continue };
        match one(table, authority, journal, &stored, &mut connections).await {
            Ok(()) => healed.push(stored.entry),
            Err(error) => {
                tracing::warn!(table = table.name, %error, "a dirty key is not healed yet");
                connections = Connections::default();
            }
        }
    }
    Ok(healed)
}

/// Connections of one pass, by address.
#[derive(Default)]
struct Connections(HashMap<(String, u16), Conn>);

impl Connections {
    async fn to(&mut self, server: &Server) -> Result<&mut Conn, WorkError> {
        let address = (server.host.clone(), server.port);
        if !self.0.contains_key(&address) {
            self.0.insert(address.clone(), connect(server).await?);
        }
        Ok(self.0.get_mut(&address).expect("just put there"))
    }
}

async fn one(
    table: &MovingTable,
    authority: Side,
    journal: &Journal,
    stored: &Stored,
    connections: &mut Connections,
) -> Result<(), WorkError> {
    let key = &stored.entry.key;
    let condition = table.shape.with_keys(std::slice::from_ref(key));
    let mut found: Option<Image> = None;
    // The row may have gone to another node of the authority since, so all of them are asked.
    let mut begun: Vec<Server> = Vec::new();
    for end in table.ends(authority) {
        let connection = connections.to(&end.server).await?;
        if !begun.contains(&end.server) {
            connection.query_drop("BEGIN").await?;
            begun.push(end.server.clone());
        }
        let rows: Vec<mysql_async::Row> =
            connection.query(table.shape.select(&end.table, &format!("{condition} FOR UPDATE"))).await?;
        if let Some(row) = rows.into_iter().next() {
            found = Some(image(row));
        }
    }
    let other = authority.other();
    let home = found.as_ref().map(|image| table.home(other, image)).transpose()?;
    for (place, end) in table.ends(other).iter().enumerate() {
        // Statements one by one: each is right by itself and the entry is there until all have run.
        let statements = match &found {
            Some(image) if home == Some(place) => table.shape.upsert(&end.table, std::slice::from_ref(image)),
            _ => vec![table.shape.delete(&end.table, std::slice::from_ref(key))],
        };
        let mut connection = connect(&end.server).await?;
        for statement in statements {
            connection.query_drop(statement).await?;
        }
        connection.disconnect().await?;
    }
    let connection = connections.to(&journal.server).await?;
    connection.query_drop(dirty::remove(&journal.database, &[stored.id])).await?;
    for server in begun {
        connections.to(&server).await?.query_drop("COMMIT").await?;
    }
    Ok(())
}
