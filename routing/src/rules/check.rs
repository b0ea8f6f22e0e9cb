//! From the file as written to a topology: names get their meaning, contradictions are found.

use std::ops::Range;
use std::sync::Arc;

use super::raw::{Raw, RawBackend, RawId, RawTable, RawTls};
use super::{expand, url};
use crate::document::{Document, Found, nearest};
use crate::function::ShardFunction;
use crate::stored::StoredFunctions;
use crate::topology::{
    AcrossShards, Backend, BackendId, Database, DatabaseId, Generator, IdColumn, Layout, Node, Placement,
    Replica, Server, Table, TableId, Tls, Topology,
};

/// The topology of a file. When something has been reported it is incomplete and must not be used.
pub(super) fn topology(
    document: &Document<'_>,
    raw: &Raw,
    variable: &dyn Fn(&str) -> Option<String>,
    version: u64,
) -> Topology {
    let mut check = Check { document, topology: Topology { version, ..Topology::empty() }, groups: 0 };
    check.backends(raw, variable);
    check.databases(raw);
    check.tables(raw);
    for moving in &raw.moves {
        check.moving(moving);
    }
    check.splits_in_place();
    check.places_are_used_once(raw);
    check.topology.across_shards = check.across_shards(raw);
    check.topology
}

/// A file on its way to a topology.
pub(super) struct Check<'a> {
    pub document: &'a Document<'a>,
    pub topology: Topology,
    pub groups: u32,
}

impl Check<'_> {
    pub(super) fn report(&self, at: &Range<usize>, key: &str, message: impl Into<String>) {
        self.document.report(Some(at), key, message);
    }

    fn backends(&mut self, raw: &Raw, variable: &dyn Fn(&str) -> Option<String>) {
        for backend in &raw.backends {
            let key = format!("backends.{}", backend.name);
            let Some(primary) = &backend.primary else {
                self.report(
                    &backend.at,
                    &key,
                    "`primary` is missing: mysql://user:password@host:port/database",
                );
                continue;
            };
            let Some(primary) = self.server(primary, &format!("{key}.primary"), variable) else { continue };
            let tls = backend.tls.as_ref().map_or(Tls::Off, |tls| self.tls(tls, &format!("{key}.tls")));
            let primary = Server { tls, ..primary };
            let replicas = self.replicas(backend, &primary, &format!("{key}.replicas"), variable);
            let name = backend.name.clone();
            self.topology.backends.push(Backend { name, primary, replicas, pool_max: backend.pool_max });
        }
    }

    fn server(
        &self,
        url: &Found<String>,
        key: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Server> {
        url::server(&url.value, variable).map_err(|error| self.report(&url.at, key, error)).ok()
    }

    fn replicas(
        &self,
        of: &RawBackend,
        primary: &Server,
        key: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<Replica> {
        let mut replicas: Vec<Replica> = Vec::with_capacity(of.replicas.len());
        for raw in &of.replicas {
            let Some(mut server) = self.server(&raw.url, key, variable) else { continue };
            let is_known = replicas.iter().any(|known| known.server.is_same_process(&server));
            if is_known || primary.is_same_process(&server) {
                self.report(&raw.url.at, key, format!("{} is named twice", server.address()));
            }
            if server.database.is_some() && server.database != primary.database {
                self.report(&raw.url.at, key, "a replica carries the same database as its primary");
            }
            server.database.clone_from(&primary.database);
            server.tls.clone_from(&primary.tls);
            replicas.push(Replica { server, weight: raw.weight, max_lag_ms: raw.max_lag_ms });
        }
        replicas
    }

    fn tls(&self, raw: &RawTls, key: &str) -> Tls {
        let Some(mode) = &raw.mode else {
            self.report(&raw.at, key, "`mode` is missing: \"required\" or \"verify_identity\"");
            return Tls::Off;
        };
        let (at, part, message) = match (mode.value.as_str(), &raw.ca) {
            ("off", _) => return Tls::Off,
            ("required", None) => return Tls::Required,
            ("verify_identity", Some(ca)) => return Tls::VerifyIdentity(ca.value.clone().into()),
            ("required", Some(ca)) => (
                &ca.at,
                "ca",
                "\"required\" verifies nothing; say mode = \"verify_identity\", or leave `ca` out".to_owned(),
            ),
            ("verify_identity", None) => (
                &mode.at,
                "mode",
                "`ca` is missing: the PEM file of the authorities that vouch for the server".to_owned(),
            ),
            ("verify_ca", _) => (
                &mode.at,
                "mode",
                "\"verify_ca\" would take every server that the authority vouches for to be this one; say \
                 \"verify_identity\", and in the URL the name that its certificate is for"
                    .to_owned(),
            ),
            (other, _) => {
                (&mode.at, "mode", format!("`{other}` is none of \"off\", \"required\", \"verify_identity\""))
            }
        };
        self.report(at, &format!("{key}.{part}"), message);
        Tls::Off
    }

    pub(super) fn backend(&self, name: &str, at: &Range<usize>, key: &str) -> Option<BackendId> {
        let found = self.topology.backends.iter().position(|backend| backend.name == name);
        if found.is_none() {
            let names: Vec<&str> =
                self.topology.backends.iter().map(|backend| backend.name.as_str()).collect();
            let hint =
                nearest(name, &names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            self.report(at, key, format!("there is no backend `{name}`{hint}"));
        }
        found.and_then(|id| u16::try_from(id).ok()).map(BackendId)
    }

    fn databases(&mut self, raw: &Raw) {
        for database in &raw.databases {
            let key = format!("databases.{}", database.name);
            let Some(default) = &database.default else {
                self.report(
                    &database.at,
                    &key,
                    "`default` is missing: the backend of tables that no rule names",
                );
                continue;
            };
            let Some(backend) = self.backend(&default.value, &default.at, &format!("{key}.default")) else {
                continue;
            };
            if database.name == "*" {
                self.topology.other_databases = Some(backend);
            } else {
                self.topology.databases.push(Database {
                    name: database.name.clone(),
                    default: backend,
                    stored: StoredFunctions::default(),
                });
            }
        }
        if raw.databases.is_empty() {
            self.document.report(
                None,
                "databases",
                "no [databases.*]: name at least one, with its default backend",
            );
        }
    }

    /// `table`, or `database.table`.
    pub(super) fn table_name<'n>(
        &self,
        name: &'n str,
        at: &Range<usize>,
        key: &str,
    ) -> Option<(DatabaseId, &'n str)> {
        match name.split_once('.') {
            Some((database, table)) => match self.topology.database(database) {
                Some(id) => Some((id, table)),
                None => {
                    self.report(at, key, format!("there is no database `{database}` in [databases]"));
                    None
                }
            },
            None if self.topology.databases.len() == 1 => Some((DatabaseId(0), name)),
            // What is wrong with the databases has been told.
            None if self.topology.databases.is_empty() => None,
            None => {
                self.report(at, key, "with several databases a table is written \"database.table\"");
                None
            }
        }
    }

    fn tables(&mut self, raw: &Raw) {
        // A table that others go `with` comes first, whatever its name.
        let (alone, together): (Vec<_>, Vec<_>) = raw.tables.iter().partition(|table| table.with.is_none());
        for table in alone.into_iter().chain(together) {
            let key = format!("tables.{}", table.name);
            let Some((database, name)) = self.table_name(&table.name, &table.at, &key) else { continue };
            let lower = (database, name.to_lowercase());
            if self.topology.names.contains_key(&lower) {
                self.report(&table.at, &key, "the table is named twice");
                continue;
            }
            let Some(placement) = self.placement(table, name, &key) else { continue };
            let generated = table.id.as_ref().and_then(|raw| self.id(raw, &placement, &format!("{key}.id")));
            let id = TableId(u32::try_from(self.topology.tables.len()).unwrap_or(u32::MAX));
            self.topology.names.insert(lower, id);
            let name = name.to_owned();
            self.topology.tables.push(Table {
                database,
                name,
                placement,
                moving: None,
                id: generated,
                schema: None,
            });
        }
    }

    fn id(&self, raw: &RawId, placement: &Placement, key: &str) -> Option<IdColumn> {
        let (Some(column), Some(_)) = (&raw.column, &raw.generator) else {
            self.report(&raw.at, key, "`column` and `generator` are needed");
            return None;
        };
        if !matches!(placement, Placement::Sharded(_)) {
            self.report(&raw.at, key, "is for sharded tables: elsewhere one server counts");
        }
        let known = [("snowflake", Generator::Snowflake), ("sequence", Generator::Sequence)];
        let at = format!("{key}.generator");
        let generator = self.choice(&raw.generator, &at, Generator::Snowflake, &known);
        Some(IdColumn { column: column.value.clone(), generator })
    }

    fn placement(&mut self, table: &RawTable, name: &str, key: &str) -> Option<Placement> {
        let nodes = match &table.nodes {
            Some(patterns) => self.nodes(patterns, name, key)?,
            None => {
                self.report(&table.at, key, "`nodes` is missing: where the table is");
                return None;
            }
        };
        if table.kind.is_some() {
            self.has_no_shards(table, key);
        }
        match table.kind.as_ref().map(|kind| (kind.value.as_str(), kind)) {
            None => self.sharded(table, nodes, key),
            Some(("broadcast", _)) => Some(Placement::Broadcast(nodes)),
            Some(("single", _)) if nodes.len() == 1 => Some(Placement::Single(nodes.into_iter().next()?)),
            Some(("single", kind)) => {
                self.report(&kind.at, key, "a single table has exactly one node");
                None
            }
            Some((other, kind)) => {
                self.report(&kind.at, key, format!("`{other}` is no kind; \"broadcast\" and \"single\" are"));
                None
            }
        }
    }

    /// A broadcast or single table, which says nothing of shards.
    fn has_no_shards(&self, table: &RawTable, key: &str) {
        let of_shards = [
            ("shard_key", table.shard_key.as_ref().map(|found| &found.at)),
            ("function", table.function.as_ref().map(|function| &function.at)),
            ("with", table.with.as_ref().map(|found| &found.at)),
        ];
        for (name, at) in of_shards {
            if let Some(at) = at {
                self.report(at, &format!("{key}.{name}"), "is for sharded tables: leave it out, or `kind`");
            }
        }
    }

    pub(super) fn nodes(&self, patterns: &Found<Vec<String>>, table: &str, key: &str) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        for pattern in &patterns.value {
            match expand::nodes(pattern) {
                Ok(names) => {
                    for name in names {
                        let backend = self.backend(&name.backend, &patterns.at, &format!("{key}.nodes"))?;
                        nodes.push(Node { backend, table: name.table.unwrap_or_else(|| table.to_owned()) });
                    }
                }
                Err(error) => {
                    self.report(&patterns.at, &format!("{key}.nodes"), error);
                    return None;
                }
            }
        }
        if nodes.is_empty() {
            self.report(&patterns.at, &format!("{key}.nodes"), "names no node");
            return None;
        }
        Some(nodes)
    }

    fn sharded(&mut self, table: &RawTable, nodes: Vec<Node>, key: &str) -> Option<Placement> {
        let Some(shard_key) = &table.shard_key else {
            self.report(&table.at, key, "`shard_key` is missing, or kind = \"broadcast\" or \"single\"");
            return None;
        };
        let (function, group) = match (&table.function, &table.with) {
            (Some(_), Some(with)) => {
                self.report(&with.at, key, "`with` takes the other table's function: give one of the two");
                return None;
            }
            (None, None) => {
                self.report(&table.at, key, "`function` is missing, or `with` another table");
                return None;
            }
            (Some(function), None) => {
                self.groups += 1;
                (self.function(function, nodes.len(), key)?, self.groups)
            }
            (None, Some(with)) => self.with(with, &nodes, key)?,
        };
        self.fits(&function, &nodes, &table.at, key)?;
        let layout = Layout::new(shard_key.value.clone(), function, nodes, group);
        Some(Placement::Sharded(Arc::new(layout)))
    }

    fn with(&self, with: &Found<String>, nodes: &[Node], key: &str) -> Option<(ShardFunction, u32)> {
        let (database, name) = self.table_name(&with.value, &with.at, key)?;
        let found = self.topology.table(database, name).map(|id| &self.topology.table_of(id).placement);
        let Some(Placement::Sharded(layout)) = found else {
            self.report(
                &with.at,
                &format!("{key}.with"),
                format!("there is no sharded table `{}` with a function", with.value),
            );
            return None;
        };
        let same = layout.nodes.len() == nodes.len()
            && layout.nodes.iter().zip(nodes).all(|(one, other)| one.backend == other.backend);
        if !same {
            let message =
                format!("the shards of `{}` are on other backends, or in another order", with.value);
            self.report(&with.at, &format!("{key}.with"), message);
            return None;
        }
        Some((layout.function.clone(), layout.group))
    }

    pub(super) fn fits(
        &self,
        function: &ShardFunction,
        nodes: &[Node],
        at: &Range<usize>,
        key: &str,
    ) -> Option<()> {
        let shards = function.shards() as usize;
        if shards == nodes.len() {
            return Some(());
        }
        self.report(at, key, format!("the function has {shards} shards, `nodes` names {}", nodes.len()));
        None
    }

    fn across_shards(&self, raw: &Raw) -> AcrossShards {
        let known = [("best_effort", AcrossShards::BestEffort), ("refuse", AcrossShards::Refuse)];
        self.choice(&raw.across_shards, "transactions.across_shards", AcrossShards::BestEffort, &known)
    }
}
