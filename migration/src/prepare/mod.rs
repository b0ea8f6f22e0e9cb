//! Making the targets ready: databases, tables as on the source, and the engine's own tables on both sides.
//!
//! - A target's table is made from the source's own `SHOW CREATE TABLE`; only its name, its counter and its foreign keys
//!   are taken out. What the target's server does not accept stops the preparation with that server's words.
//! - A table that is there already is kept if it is the same, and refused if it is not; nothing is ever dropped.
//! - Every step looks first at what is there. So a preparation that was cut off is continued by running it again, and
//!   running it once more changes nothing.
//! - [`tune`] changes parameters of a server for the time of a move, and puts them back.

mod counters;
mod definition;
mod indexes;
#[cfg(test)]
mod tests;
pub mod tune;

pub(crate) use counters::next_id;
pub use counters::{Raised, Room, raise_auto_increment};
pub use indexes::indexes_after;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::Serialize;
use shardway_routing::topology::{Capture, MoveId, Seen, Side, Topology};

use crate::image::quoted;
use crate::place::{self, Place, Places, reach_server, run};
use crate::preflight::compare::differences;
use crate::preflight::facts::Flavour;
use crate::tables::WorkError;
use crate::{dirty, mark, preflight};
use definition::Definition;

/// When the indexes are built that are not unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// With the tables.
    Now,
    /// By [`indexes_after`]: filling a table without them is faster.
    AfterCopy,
}

/// One thing that is as it should be now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    pub backend: String,
    /// A database or a table, in backticks.
    pub object: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Created,
    AlreadyThere,
    /// The table was there and has got these indexes.
    Indexed(Vec<String>),
    /// The table was made without this.
    LeftOut(String),
}

impl Done {
    fn new(backend: &str, object: impl Into<String>, what: What) -> Done {
        Done { backend: backend.to_owned(), object: object.into(), what }
    }
}

/// Makes databases and tables on the targets, and the engine's tables on both sides.
///
/// # Errors
/// [`WorkError::Stopped`] with the backend, the statement and what the server said, or the difference of a table that
/// is there and not the same.
pub async fn structures(topology: &Topology, by: MoveId, indexes: Indexes) -> Result<Vec<Done>, WorkError> {
    let all = place::of_move(topology, by);
    let mut done = Vec::new();
    for places in &all {
        let model = Model::read(places).await?;
        for target in places.new_targets() {
            let mut connection = reach_server(&target.backend_name, &target.server).await?;
            done.extend(database(&mut connection, target, &model).await?);
            done.extend(table(&mut connection, target, &model, indexes).await?);
            connection.disconnect().await?;
        }
    }
    for (side, place) in databases(&all) {
        own_tables(&place, side, &topology.move_of(by).capture).await?;
    }
    Ok(done)
}

/// The source's table that the targets' are made after.
struct Model {
    place: Place,
    found: preflight::facts::Definition,
    definition: Definition,
    charset: String,
    collation: String,
}

impl Model {
    async fn read(places: &Places) -> Result<Model, WorkError> {
        let place = places
            .sources
            .first()
            .ok_or_else(|| WorkError::Stopped(format!("{} has no source", places.name)))?;
        let mut connection = reach_server(&place.backend_name, &place.server).await?;
        let found = preflight::definition(&mut connection, &place.database, &place.table).await?;
        let found = found.ok_or_else(|| WorkError::Stopped(format!("{place} is not there")))?;
        let definition = show_create(&mut connection, place).await?;
        let defaults: Option<(String, String)> = connection
            .exec_first(
                "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
                 WHERE SCHEMA_NAME = ?",
                (&place.database,),
            )
            .await?;
        connection.disconnect().await?;
        let (charset, collation) = defaults.unwrap_or_default();
        Ok(Model { place: place.clone(), found, definition, charset, collation })
    }
}

/// The table's definition in its server's words.
async fn show_create(connection: &mut Conn, place: &Place) -> Result<Definition, WorkError> {
    connection.query_drop("SET SESSION sql_quote_show_create = 1").await?;
    let shown: Option<(String, String)> =
        connection.query_first(format!("SHOW CREATE TABLE {}", place.quoted())).await?;
    let text = shown.map(|(_, text)| text).unwrap_or_default();
    Definition::parse(&text)
        .ok_or_else(|| WorkError::Stopped(format!("{place} is defined in an unknown way: {text}")))
}

async fn database(connection: &mut Conn, target: &Place, model: &Model) -> Result<Option<Done>, WorkError> {
    let there: Option<u8> = connection
        .exec_first("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", (&target.database,))
        .await?;
    if there.is_some() {
        return Ok(None);
    }
    let name = quoted(&target.database);
    let sql = format!(
        "CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET {} COLLATE {}",
        model.charset, model.collation
    );
    run(connection, &target.backend_name, &sql).await?;
    Ok(Some(Done::new(&target.backend_name, name, What::Created)))
}

async fn table(
    connection: &mut Conn,
    target: &Place,
    model: &Model,
    indexes: Indexes,
) -> Result<Vec<Done>, WorkError> {
    if let Some(found) = preflight::definition(connection, &target.database, &target.table).await? {
        let differ = differences(&model.found, &found);
        if !differ.is_empty() {
            return Err(WorkError::Stopped(format!(
                "{target} is there and differs from {}: {}",
                model.place,
                differ.join("; ")
            )));
        }
        return Ok(match indexes {
            Indexes::Now => vec![indexes::complete(connection, target, &model.definition).await?],
            Indexes::AfterCopy => vec![Done::new(&target.backend_name, target.quoted(), What::AlreadyThere)],
        });
    }
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    let flavour = Flavour::of(&version.unwrap_or_default());
    run(connection, &target.backend_name, &model.definition.create(target, flavour, indexes)).await?;
    let left_out = model.definition.foreign_keys();
    let mut done = vec![Done::new(&target.backend_name, target.quoted(), What::Created)];
    done.extend(
        left_out.map(|key| Done::new(&target.backend_name, target.quoted(), What::LeftOut(key.to_owned()))),
    );
    Ok(done)
}

/// The physical databases of a move, one place in each.
fn databases(all: &[Places]) -> Vec<(Side, Place)> {
    let mut found: Vec<(Side, Place)> = Vec::new();
    for side in [Side::Source, Side::Target] {
        for place in all.iter().flat_map(|places| places.of(side)) {
            let same = |(of, other): &(Side, Place)| {
                *of == side && other.backend == place.backend && other.database == place.database
            };
            if !found.iter().any(same) {
                found.push((side, place.clone()));
            }
        }
    }
    found
}

async fn own_tables(place: &Place, side: Side, capture: &Capture) -> Result<(), WorkError> {
    let mut connection = reach_server(&place.backend_name, &place.server).await?;
    run(&mut connection, &place.backend_name, &dirty::create(&place.database)).await?;
    if side == Side::Source && capture.seen(side) == Seen::ByLog {
        run(&mut connection, &place.backend_name, &mark::create(&place.database)).await?;
    }
    connection.disconnect().await?;
    Ok(())
}
