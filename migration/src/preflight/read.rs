//! Gathers the facts of a move from its servers. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{BackendId, MoveId, Placement, Side, TableId, Topology};

use super::ask_server;
use super::ask_table::{definition, has_rows, ids};
use super::facts::{Facts, Home, Occupied, Physical, TableFacts, Unnamed};
use crate::cleanup;
use crate::place::{self, Place, Places};
use crate::tables::WorkError;

pub(super) async fn facts(topology: &Topology, by: MoveId) -> Result<Facts, WorkError> {
    let of = topology.move_of(by);
    let all = place::of_move(topology, by);
    let mut connections = BTreeMap::new();
    let mut facts = Facts {
        by: of.name.clone(),
        capture: of.capture.clone(),
        double_write: of.double_write,
        servers: Vec::new(),
        tables: Vec::new(),
        shared: shared(topology, by, &all),
        unnamed: Vec::new(),
        tuned: Vec::new(),
        moves: topology.moves.iter().map(|of| of.name.clone()).collect(),
    };
    for (id, part) in taking_part(&all) {
        let backend = topology.backend(id);
        let mut connection = place::reach(backend).await?;
        let asked = ask_server::ask(&mut connection, backend, part.sides, part.databases).await;
        facts.servers.push(asked.map_err(|error| about(&backend.name, &error))?);
        connections.insert(id, connection);
    }
    for places in &all {
        facts.tables.push(table(topology, places, &mut connections).await?);
    }
    for connection in connections.into_values() {
        connection.disconnect().await?;
    }
    Ok(facts)
}

/// By logical database: base tables that no rule names, which stay on its default backend while tables of the move leave it.
pub(super) async fn unnamed(topology: &Topology, by: MoveId) -> Result<Vec<Unnamed>, WorkError> {
    let mut found: Vec<Unnamed> = Vec::new();
    for places in place::of_move(topology, by) {
        let id = topology.table_of(places.id).database;
        let database = topology.database_of(id);
        let Some(left) = places.sources.iter().find(|source| source.backend == database.default) else {
            continue;
        };
        if found.iter().any(|known| known.database == database.name) {
            continue;
        }
        let mut tables = base_tables(left).await?;
        let named = named(topology, left);
        tables.retain(|table| {
            let is_own = table.starts_with("shardway_") || table.starts_with(cleanup::PREFIX);
            let is_named = topology.table(id, table).is_some() || named.contains(&table.to_lowercase());
            !is_own && !is_named
        });
        found.push(Unnamed { database: database.name.clone(), place: left.backend_name.clone(), tables });
    }
    found.retain(|unnamed| !unnamed.tables.is_empty());
    Ok(found)
}

async fn base_tables(beside: &Place) -> Result<Vec<String>, WorkError> {
    let ask = "SELECT TABLE_NAME FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME";
    let mut connection = place::reach_server(&beside.backend_name, &beside.server).await?;
    let tables = connection.exec(ask, (&beside.database,)).await;
    connection.disconnect().await?;
    tables.map_err(|error| about(&beside.backend_name, &error))
}

/// What the rules make of their tables in the physical database of that place, in lower case.
fn named(topology: &Topology, beside: &Place) -> BTreeSet<String> {
    let tables = (0..).take(topology.tables.len()).map(TableId);
    let places = tables.flat_map(|id| {
        [Side::Source, Side::Target].into_iter().flat_map(move |side| place::of_table(topology, id, side))
    });
    let there = places.filter(|of| {
        of.server.is_same_process(&beside.server) && of.database.eq_ignore_ascii_case(&beside.database)
    });
    there.map(|of| of.table.to_lowercase()).collect()
}

fn about(backend: &str, error: &mysql_async::Error) -> WorkError {
    WorkError::Stopped(format!("asking {backend}: {error}"))
}

/// What a backend is to the move.
#[derive(Default)]
struct Part {
    sides: Vec<Side>,
    databases: Vec<String>,
}

fn taking_part(all: &[Places]) -> BTreeMap<BackendId, Part> {
    let mut parts: BTreeMap<BackendId, Part> = BTreeMap::new();
    for side in [Side::Source, Side::Target] {
        for place in all.iter().flat_map(|places| places.of(side)) {
            let part = parts.entry(place.backend).or_default();
            if !part.sides.contains(&side) {
                part.sides.push(side);
            }
            if !part.databases.contains(&place.database) {
                part.databases.push(place.database.clone());
            }
        }
    }
    parts
}

/// Physical tables of this move that another one has too.
fn shared(topology: &Topology, by: MoveId, all: &[Places]) -> Vec<(String, String)> {
    let mut shared = Vec::new();
    for (number, other) in (0..).zip(&topology.moves).filter(|(number, _)| *number != by.0) {
        let theirs = place::of_move(topology, MoveId(number));
        let is_theirs = |place: &Place| {
            theirs
                .iter()
                .flat_map(|places| places.sources.iter().chain(&places.targets))
                .any(|their| their.is_same(place))
        };
        let both = all.iter().filter(|places| places.sources.iter().chain(&places.targets).any(is_theirs));
        shared.extend(both.map(|places| (places.name.clone(), other.name.clone())));
    }
    shared
}

async fn table(
    topology: &Topology,
    places: &Places,
    connections: &mut BTreeMap<BackendId, Conn>,
) -> Result<TableFacts, WorkError> {
    let of = topology.table_of(places.id);
    let home = match of.placement(Side::Target) {
        Placement::Single(node) => Home::Whole(topology.backend(node.backend).name.clone()),
        Placement::Broadcast(_) => Home::Copied,
        Placement::Sharded(layout) => Home::Sharded { key: layout.key.clone(), group: layout.group },
    };
    let source_key = match of.placement(Side::Source) {
        Placement::Sharded(layout) => Some(layout.key.clone()),
        _ => None,
    };
    let mut table = TableFacts { name: places.name.clone(), home, source_key, physical: Vec::new() };
    let arriving = places.new_targets();
    for (place, side) in places
        .sources
        .iter()
        .map(|place| (place, Side::Source))
        .chain(arriving.map(|place| (place, Side::Target)))
    {
        let mut sides = vec![side];
        let shard = places.targets.iter().position(|target| target.is_same(place));
        if side == Side::Source && shard.is_some() {
            sides.push(Side::Target);
        }
        let connection =
            connections.get_mut(&place.backend).expect("every backend of the move was connected to");
        let found = physical(connection, place, sides, places.sources.len()).await;
        let found = found.map_err(|error| about(&place.backend_name, &error))?;
        table.physical.push(Physical { shard, ..found });
    }
    Ok(table)
}

async fn physical(
    connection: &mut Conn,
    place: &Place,
    sides: Vec<Side>,
    sources: usize,
) -> Result<Physical, mysql_async::Error> {
    let mut definition = definition(connection, &place.database, &place.table).await?;
    let mut rows = Occupied::No;
    if let Some(found) = &mut definition
        && found.table_type == "BASE TABLE"
    {
        if !sides.contains(&Side::Source) {
            rows = has_rows(connection, &place.quoted()).await?;
        } else if sources > 1 {
            found.ids = ids(connection, &place.quoted(), &found.schema).await?;
        }
    }
    Ok(Physical {
        backend: place.backend_name.clone(),
        sides,
        database: place.database.clone(),
        table: place.table.clone(),
        shard: None,
        definition,
        rows,
    })
}
