//! Counters of `AUTO_INCREMENT` columns, before a side takes the writes of clients.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::Serialize;
use shardway_routing::topology::{MoveId, Server, Side, Topology};

use crate::image::quoted;
use crate::place::{self, Place, Places, reach_server, run};
use crate::schema;
use crate::tables::WorkError;

/// A counter that is high enough now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    pub backend: String,
    pub table: String,
    pub from: u64,
    pub to: u64,
}

/// Raises the counters of `side` above every id that either side has or would give next. Never lowers one, so running it
/// again is harmless; returns those that were raised.
///
/// # Errors
/// [`WorkError::Stopped`] with the backend and what the server said.
pub async fn raise_auto_increment(
    topology: &Topology,
    by: MoveId,
    side: Side,
) -> Result<Vec<Raised>, WorkError> {
    let (mut raised, mut open) = (Vec::new(), Open::default());
    for places in place::of_move(topology, by) {
        let next = highest(&places, &mut open).await?;
        if next == 0 {
            continue;
        }
        // A table split in place has every row that its own counter must be above; another definition would end the streams
        // that still follow it.
        let is_shared = |place: &&Place| places.of(side.other()).iter().any(|other| other.is_same(place));
        for place in places.of(side).iter().filter(|place| !is_shared(place)) {
            let connection = open.to(place).await?;
            if let Some(from) = next_id(connection, place).await?
                && from < next
            {
                let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {next}", place.quoted());
                run(connection, &place.backend_name, &sql).await?;
                raised.push(Raised {
                    backend: place.backend_name.clone(),
                    table: place.quoted(),
                    from,
                    to: next,
                });
            }
        }
    }
    for (_, connection) in open.0 {
        connection.disconnect().await?;
    }
    Ok(raised)
}

/// One connection to each server: statements are held while this runs.
#[derive(Default)]
struct Open(Vec<(Server, Conn)>);

impl Open {
    async fn to(&mut self, place: &Place) -> Result<&mut Conn, WorkError> {
        let known = self.0.iter().position(|(server, _)| server.is_same_process(&place.server));
        let known = match known {
            Some(known) => known,
            None => {
                let connection = reach_server(&place.backend_name, &place.server).await?;
                self.0.push((place.server.clone(), connection));
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[known].1)
    }
}

/// Above every id of both sides; zero where no table has a counter.
async fn highest(places: &Places, open: &mut Open) -> Result<u64, WorkError> {
    let mut next = 0;
    for place in places.sources.iter().chain(&places.targets) {
        next = next.max(next_id(open.to(place).await?, place).await?.unwrap_or(0));
    }
    Ok(next)
}

/// The id that a table gives next: its counter, or what follows its highest row. `None`: it has no counter.
pub(crate) async fn next_id(connection: &mut Conn, place: &Place) -> Result<Option<u64>, WorkError> {
    let schema = schema::read(connection, &place.database, &place.table).await?;
    let Some(column) = schema.as_ref().and_then(|schema| schema.auto_increment()) else { return Ok(None) };
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    if !version.unwrap_or_default().to_ascii_lowercase().contains("mariadb") {
        // The counter as it is, not as it was yesterday.
        connection.query_drop("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    let counter: Option<Option<u64>> = connection
        .exec_first(
            "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (&place.database, &place.table),
        )
        .await?;
    let name = quoted(&column.name);
    let highest: Option<Option<String>> =
        connection.query_first(format!("SELECT CONCAT(MAX({name})) FROM {}", place.quoted())).await?;
    // Negative ids lie below every counter.
    let highest: u64 = highest.flatten().and_then(|id| id.parse().ok()).unwrap_or(0);
    Ok(Some(counter.flatten().unwrap_or(1).max(highest.saturating_add(1))))
}
