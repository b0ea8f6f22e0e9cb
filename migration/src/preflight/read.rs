//! Gathers the facts of a move from its servers. Decides nothing.

use std::collections::BTreeMap;

use mysql_async::Conn;
use shardway_routing::topology::{BackendId, MoveId, Placement, Side, Topology};

use super::ask_server;
use super::ask_table::{definition, has_rows, ids};
use super::facts::{Facts, Home, Occupied, Physical, TableFacts};
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
        tuned: Vec::new(),
        moves: topology.moves.iter().map(|of| of.name.clone()).collect(),
    };
    for (id, part) in taking_part(&all) {
        let mut connection = place::reach(topology.backend(id)).await?;
        let asked =
            ask_server::ask(&mut connection, &topology.backend(id).name, part.sides, part.databases).await;
        facts.servers.push(asked.map_err(|error| about(&topology.backend(id).name, &error))?);
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
