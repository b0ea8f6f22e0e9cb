//! Where databases and tables are physically: what two of them shared would mix their rows.

use std::collections::HashMap;
use std::ops::Range;

use super::check::Check;
use super::raw::Raw;
use crate::topology::{BackendId, Database, DatabaseId, Node, Side, Table};

/// A server and a physical database on it.
type Place<'a> = (&'a str, u16, &'a str);

impl Check<'_> {
    pub(super) fn places_are_used_once(&self, raw: &Raw) {
        self.databases_are_apart(raw);
        self.tables_are_apart(raw);
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
                let message = if is_same && of != side {
                    format!(
                        "{shown} belongs to both layouts of `{}`: one would see rows that are the other's; give the \
                         tables of the new layout names of their own",
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

/// The physical tables of both sides, each with a side it is of.
fn nodes(table: &Table) -> impl Iterator<Item = (&Node, Side)> {
    let source = table.moving.as_ref().map(|moving| moving.source.nodes()).unwrap_or_default();
    let target = table.placement.nodes().iter().map(|node| (node, Side::Target));
    source.iter().map(|node| (node, Side::Source)).chain(target)
}
