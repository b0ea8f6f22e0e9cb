//! Where databases and tables are physically: what two of them shared would mix their rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::check::Check;
use super::raw::Raw;
use crate::function::ShardFunction;
use crate::topology::{BackendId, Database, DatabaseId, Layout, Node, Placement, ShardId, Side, Table};

/// A server and a physical database on it.
type Place<'a> = (&'a str, u16, &'a str);

impl Check<'_> {
    pub(super) fn places_are_used_once(&self, raw: &Raw) {
        self.databases_are_apart(raw);
        self.tables_are_apart(raw);
    }

    /// Notes which shards of a moving table stay where they were, so that only a part of their rows leaves.
    pub(super) fn splits_in_place(&mut self) {
        for table in &mut self.topology.tables {
            let Some(moving) = &table.moving else { continue };
            let Placement::Sharded(layout) = &mut table.placement else { continue };
            let shards = (0..).map(ShardId).zip(&layout.nodes);
            let stays = |(shard, node): &(ShardId, &Node)| is_split(layout, *shard, node, &moving.source);
            let shared: Vec<ShardId> = shards.filter(stays).map(|(shard, _)| shard).collect();
            Arc::make_mut(layout).shared = shared;
        }
    }

    fn place(&self, backend: BackendId, database: DatabaseId) -> Place<'_> {
        let server = &self.topology.backend(backend).primary;
        let logical = &self.topology.database_of(database).name;
        (&server.host, server.port, self.topology.physical_database(backend, logical))
    }

    fn databases_are_apart(&self, raw: &Raw) {
        let mut owners: HashMap<Place<'_>, DatabaseId> = HashMap::new();
        let of_default = |(id, database): (u16, &Database)| (DatabaseId(id), database.default);
        let defaults = (0..).zip(&self.topology.databases).map(of_default);
        let of_nodes = |table: &Table| {
            let nodes = nodes(table).map(|(node, _)| (table.database, node.backend));
            nodes.collect::<Vec<_>>()
        };
        let mut told = Vec::new();
        for (database, backend) in defaults.chain(self.topology.tables.iter().flat_map(of_nodes)) {
            let owner = *owners.entry(self.place(backend, database)).or_insert(database);
            if owner == database || told.contains(&database) {
                continue;
            }
            told.push(database);
            let name = |of: DatabaseId| self.topology.database_of(of).name.as_str();
            let at = raw.databases.iter().find(|raw| raw.name == name(database)).map(|raw| raw.at.clone());
            let (backend, (_, _, physical)) = (self.topology.backend(backend), self.place(backend, database));
            let message = format!(
                "on {} it would be `{physical}`, as `{}` is: give each a backend with its own database in the URL, or \
                 leave the database out of the URL",
                backend.name,
                name(owner)
            );
            self.document.report(at.as_ref(), &format!("databases.{}", name(database)), message);
        }
    }

    fn tables_are_apart(&self, raw: &Raw) {
        let mut owners: HashMap<(Place<'_>, &str), (&Table, Side)> = HashMap::new();
        for table in &self.topology.tables {
            for (node, side) in nodes(table) {
                let place = (self.place(node.backend, table.database), node.table.as_str());
                let Some((other, of)) = owners.insert(place, (table, side)) else { continue };
                let shown = format!("{}.{}", self.topology.backend(node.backend).name, node.table);
                let is_same = other.database == table.database && other.name == table.name;
                if is_same && of != side && is_shared(table, node) {
                    continue;
                }
                let message = if is_same && of != side {
                    format!(
                        "{shown} belongs to both layouts of `{}`, and rows would come to it that are not there, or \
                         nobody could tell which of its rows have left: a table is split in place by mod, range, list or \
                         time alone, and keeps none but rows of its own; else give the tables of the new layout names of \
                         their own",
                        table.name
                    )
                } else {
                    format!("{shown} is a node of `{}` already", other.name)
                };
                let key = format!("tables.{}.nodes", table.name);
                self.document.report(self.written(raw, table).as_ref(), &key, message);
            }
        }
    }

    fn written(&self, raw: &Raw, table: &Table) -> Option<Range<usize>> {
        let database = &self.topology.database_of(table.database).name;
        let is = |name: &str| name == table.name || name == format!("{database}.{}", table.name);
        raw.tables.iter().find(|raw| is(&raw.name)).map(|raw| raw.at.clone())
    }
}

/// Has the older layout every row of the shard on this node, and can a server tell those that have left?
fn is_split(layout: &Layout, shard: ShardId, node: &Node, source: &Placement) -> bool {
    let is_told = !matches!(layout.function, ShardFunction::Slots { .. });
    is_told
        && match source {
            Placement::Single(whole) => whole == node,
            Placement::Broadcast(_) => false,
            Placement::Sharded(older) => {
                let place = (0..).map(ShardId).zip(&older.nodes).find(|(_, whole)| *whole == node);
                older.key.eq_ignore_ascii_case(&layout.key)
                    && place
                        .is_some_and(|(place, _)| layout.function.is_within(shard, &older.function, place))
            }
        }
}

fn is_shared(table: &Table, node: &Node) -> bool {
    let Placement::Sharded(layout) = &table.placement else { return false };
    layout.shared.iter().any(|shard| layout.nodes[shard.0 as usize] == *node)
}

/// The physical tables of both sides, each with a side it is of.
fn nodes(table: &Table) -> impl Iterator<Item = (&Node, Side)> {
    let source = table.moving.as_ref().map(|moving| moving.source.nodes()).unwrap_or_default();
    let target = table.placement.nodes().iter().map(|node| (node, Side::Target));
    source.iter().map(|node| (node, Side::Source)).chain(target)
}
