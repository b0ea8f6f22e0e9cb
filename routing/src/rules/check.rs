//! From the file as written to a topology: names get their meaning, contradictions are found.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::raw::{Raw, RawFrom, RawFunction, RawLayout, RawMove, RawTable};
use super::{expand, url};
use crate::document::{Document, Found, nearest};
use crate::function::ShardFunction;
use crate::key::KeyType;
use crate::topology::{
    AcrossShards, Backend, BackendId, Capture, Database, DatabaseId, DoubleWrite, Layout, Move, MoveId, Moving, Node,
    Placement, Replica, Side, Table, TableId, Topology,
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
    check.nodes_are_used_once(raw);
    check.topology.across_shards = check.across_shards(raw);
    check.topology
}

struct Check<'a> {
    document: &'a Document<'a>,
    topology: Topology,
    groups: u32,
}

impl Check<'_> {
    fn report(&self, at: &Range<usize>, key: &str, message: impl Into<String>) {
        self.document.report(Some(at), key, message);
    }

    fn backends(&mut self, raw: &Raw, variable: &dyn Fn(&str) -> Option<String>) {
        for backend in &raw.backends {
            let key = format!("backends.{}", backend.name);
            let Some(primary) = &backend.primary else {
                self.report(&backend.at, &key, "`primary` is missing: mysql://user:password@host:port/database");
                continue;
            };
            let server = |found: &Found<String>, key: &str| match url::server(&found.value, variable) {
                Ok(server) => Some(server),
                Err(error) => {
                    self.report(&found.at, key, error);
                    None
                }
            };
            let replica = |(url, weight): &(Found<String>, u32)| {
                Some(Replica { server: server(url, &format!("{key}.replicas"))?, weight: *weight })
            };
            let replicas = backend.replicas.iter().filter_map(replica).collect();
            if let Some(primary) = server(primary, &format!("{key}.primary")) {
                let name = backend.name.clone();
                self.topology.backends.push(Backend { name, primary, replicas, pool_max: backend.pool_max });
            }
        }
    }

    fn backend(&self, name: &str, at: &Range<usize>, key: &str) -> Option<BackendId> {
        let found = self.topology.backends.iter().position(|backend| backend.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.topology.backends.iter().map(|backend| backend.name.as_str()).collect();
            let hint = nearest(name, &names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            self.report(at, key, format!("there is no backend `{name}`{hint}"));
        }
        found.and_then(|id| u16::try_from(id).ok()).map(BackendId)
    }

    fn databases(&mut self, raw: &Raw) {
        for database in &raw.databases {
            let key = format!("databases.{}", database.name);
            let Some(default) = &database.default else {
                self.report(&database.at, &key, "`default` is missing: the backend of tables that no rule names");
                continue;
            };
            let Some(backend) = self.backend(&default.value, &default.at, &format!("{key}.default")) else { continue };
            if database.name == "*" {
                self.topology.other_databases = Some(backend);
            } else {
                self.topology.databases.push(Database { name: database.name.clone(), default: backend });
            }
        }
        if raw.databases.is_empty() {
            self.document.report(None, "databases", "no [databases.*]: name at least one, with its default backend");
        }
    }

    /// `table`, or `database.table`.
    fn table_name<'n>(&self, name: &'n str, at: &Range<usize>, key: &str) -> Option<(DatabaseId, &'n str)> {
        match name.split_once('.') {
            Some((database, table)) => match self.topology.database(database) {
                Some(id) => Some((id, table)),
                None => {
                    self.report(at, key, format!("there is no database `{database}` in [databases]"));
                    None
                }
            },
            None if self.topology.databases.len() == 1 => Some((DatabaseId(0), name)),
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
            let id = TableId(u32::try_from(self.topology.tables.len()).unwrap_or(u32::MAX));
            self.topology.names.insert(lower, id);
            let name = name.to_owned();
            self.topology.tables.push(Table { database, name, placement, moving: None, id: None, schema: None });
        }
    }

    fn placement(&mut self, table: &RawTable, name: &str, key: &str) -> Option<Placement> {
        let nodes = match &table.nodes {
            Some(patterns) => self.nodes(patterns, name, key)?,
            None => {
                self.report(&table.at, key, "`nodes` is missing: where the table is");
                return None;
            }
        };
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

    fn nodes(&self, patterns: &Found<Vec<String>>, table: &str, key: &str) -> Option<Vec<Node>> {
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
                (self.function(function, key)?, self.groups)
            }
            (None, Some(with)) => self.with(with, &nodes, key)?,
        };
        self.fits(&function, &nodes, &table.at, key)?;
        let layout =
            Layout { key: shard_key.value.clone(), key_type: KeyType::Assumed, function, nodes, group };
        Some(Placement::Sharded(Arc::new(layout)))
    }

    fn with(&self, with: &Found<String>, nodes: &[Node], key: &str) -> Option<(ShardFunction, u32)> {
        let (database, name) = self.table_name(&with.value, &with.at, key)?;
        let found = self.topology.table(database, name).map(|id| &self.topology.table_of(id).placement);
        let Some(Placement::Sharded(layout)) = found else {
            self.report(&with.at, &format!("{key}.with"), format!("there is no sharded table `{}` with a function", with.value));
            return None;
        };
        let same = layout.nodes.len() == nodes.len()
            && layout.nodes.iter().zip(nodes).all(|(one, other)| one.backend == other.backend);
        if !same {
            let message = format!("the shards of `{}` are on other backends, or in another order", with.value);
            self.report(&with.at, &format!("{key}.with"), message);
            return None;
        }
        Some((layout.function.clone(), layout.group))
    }

    fn fits(&self, function: &ShardFunction, nodes: &[Node], at: &Range<usize>, key: &str) -> Option<()> {
        let shards = function.shards() as usize;
        if shards == nodes.len() {
            return Some(());
        }
        self.report(at, key, format!("the function has {shards} shards, `nodes` names {}", nodes.len()));
        None
    }

    fn function(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let key = &format!("{key}.function");
        let refuse = |message: String| {
            self.report(&raw.at, key, message);
            None
        };
        let Some(kind) = &raw.kind else { return refuse("`kind` is missing".to_owned()) };
        let shards = |check: &Check<'_>| {
            if raw.shards.is_none() {
                check.report(&raw.at, key, "`shards` is missing");
            }
            raw.shards
        };
        match kind.value.as_str() {
            "mod" => Some(ShardFunction::Mod { shards: shards(self)? }),
            "hash" => Some(ShardFunction::hash(shards(self)?)),
            "slots" => self.slots(raw, key),
            "range" => {
                let integers = raw.bounds.iter().all(|bound| matches!(bound, crate::key::KeyValue::Integer(_)));
                let rising = raw.bounds.windows(2).all(|pair| pair[0] < pair[1]);
                if raw.bounds.is_empty() || !integers || !rising {
                    return refuse("`bounds` must be rising whole numbers, like [1000000, 2000000]".to_owned());
                }
                Some(ShardFunction::Range { bounds: raw.bounds.clone().into() })
            }
            "list" => self.list(raw, key),
            "time" => refuse("kind = \"time\" is not supported by this version".to_owned()),
            other => {
                let known = ["mod", "hash", "slots", "range", "list"];
                let hint = nearest(other, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                refuse(format!("there is no function `{other}`{hint}"))
            }
        }
    }

    fn slots(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let slots = raw.slots.unwrap_or(4096);
        let mut owners = vec![u32::MAX; slots as usize];
        for (shard, (first, last)) in (0..).zip(&raw.owners) {
            for slot in *first..=*last {
                match owners.get_mut(slot as usize) {
                    Some(owner) if *owner == u32::MAX => *owner = shard,
                    _ => {
                        self.report(&raw.at, key, format!("slot {slot} is owned twice, or is not below {slots}"));
                        return None;
                    }
                }
            }
        }
        if let Some(free) = owners.iter().position(|owner| *owner == u32::MAX) {
            self.report(&raw.at, key, format!("slot {free} has no owner"));
            return None;
        }
        Some(ShardFunction::Slots { owners: owners.into() })
    }

    fn list(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let shards = u32::try_from(raw.values.len()).unwrap_or(u32::MAX);
        let mut values = Vec::new();
        for (shard, of) in (0..).zip(&raw.values) {
            values.extend(of.iter().map(|value| (value.clone(), shard)));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some((twice, _)) = values.iter().find(|(value, _)| !seen.insert(value.clone())) {
            self.report(&raw.at, key, format!("{twice} is listed twice"));
            return None;
        }
        if values.is_empty() || raw.default.is_some_and(|default| default >= shards) {
            self.report(&raw.at, key, "`values` lists the values of each shard; `default` is the number of one of them");
            return None;
        }
        Some(ShardFunction::List { values, shards, default: raw.default })
    }

    fn moving(&mut self, raw: &RawMove) {
        let key = format!("moves.{}", raw.name);
        let by = MoveId(u16::try_from(self.topology.moves.len()).unwrap_or(u16::MAX));
        let mut of = Move { reads: raw.reads, hold_ms: raw.hold_ms, ..Move::idle(&raw.name) };
        of.always.clone_from(&raw.always);
        of.never.clone_from(&raw.never);
        of.capture = self.capture(raw, &key);
        of.double_write = self.choice(&raw.double_write, &format!("{key}.double_write"), DoubleWrite::Off, &[
            ("off", DoubleWrite::Off),
            ("async", DoubleWrite::Async),
            ("sync", DoubleWrite::Sync),
            ("strict", DoubleWrite::Strict),
        ]);
        if let (DoubleWrite::Async, Some(found)) = (of.double_write, &raw.double_write) {
            self.report(&found.at, &format!("{key}.double_write"), "\"async\" is not supported by this version");
        }
        let sides = [("source", Side::Source), ("target", Side::Target)];
        of.writes = self.choice(&raw.writes, &format!("{key}.writes"), Side::Source, &sides);
        let (Some(tables), Some(from)) = (&raw.tables, &raw.from) else {
            self.report(&raw.at, &key, "`tables` and `from` are needed: which rows move, and from where");
            return;
        };
        for name in &tables.value {
            let table_key = format!("{key}.tables");
            let Some((database, name)) = self.table_name(name, &tables.at, &table_key) else { continue };
            let Some(id) = self.topology.table(database, name) else {
                self.report(&tables.at, &table_key, format!("`{name}` has no [tables.{name}], which says where its rows go"));
                continue;
            };
            of.tables.push(id);
            let Some(source) = self.source(from, id, &key) else { continue };
            let table = &mut self.topology.tables[id.0 as usize];
            let problem = if table.moving.is_some() {
                Some(format!("`{name}` is in two moves"))
            } else if table.placement == source {
                Some(format!("`{name}` would move to where it is"))
            } else {
                table.moving = Some(Moving { by, source });
                None
            };
            if let Some(problem) = problem {
                self.report(&tables.at, &table_key, problem);
            }
        }
        self.topology.moves.push(of);
    }

    fn capture(&self, raw: &RawMove, key: &str) -> Capture {
        let column = raw.column.as_ref().map(|column| column.value.clone());
        match raw.capture.as_ref().map(|found| (found.value.as_str(), &found.at)) {
            None | Some(("binlog", _)) => Capture::Binlog,
            Some(("none", _)) => Capture::None,
            Some(("timestamp", at)) => {
                if column.is_none() {
                    self.report(at, key, "capture = \"timestamp\" needs `column`");
                }
                Capture::Timestamp { column: column.unwrap_or_default() }
            }
            Some((other, at)) => {
                self.report(at, &format!("{key}.capture"), format!("`{other}` is none of binlog, timestamp, none"));
                Capture::Binlog
            }
        }
    }

    fn choice<T: Copy>(&self, found: &Option<Found<String>>, key: &str, default: T, known: &[(&str, T)]) -> T {
        let Some(found) = found else { return default };
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == found.value) {
            return *value;
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        self.report(&found.at, key, format!("`{}` is none of {}", found.value, names.join(", ")));
        default
    }

    fn source(&mut self, from: &RawFrom, table: TableId, key: &str) -> Option<Placement> {
        let name = self.topology.table_of(table).name.clone();
        match from {
            RawFrom::Backend(backend) => {
                let backend = self.backend(&backend.value, &backend.at, &format!("{key}.from"))?;
                Some(Placement::Single(Node { backend, table: name }))
            }
            RawFrom::Layouts(layouts) => {
                let of = |(table, _): &&(String, RawLayout)| table.is_empty() || table.eq_ignore_ascii_case(&name);
                let Some((_, layout)) = layouts.iter().find(of) else {
                    self.document.report(None, &format!("{key}.from"), format!("says nothing about `{name}`"));
                    return None;
                };
                self.old_layout(layout, table, &name, key)
            }
        }
    }

    fn old_layout(&mut self, raw: &RawLayout, table: TableId, name: &str, key: &str) -> Option<Placement> {
        let key = &format!("{key}.from");
        let (Some(function), Some(nodes)) = (&raw.function, &raw.nodes) else {
            self.report(&raw.at, key, "an older layout needs `function` and `nodes`");
            return None;
        };
        let shard_key = self.topology.table_of(table).shard_key().map(str::to_owned);
        let Some(shard_key) = shard_key else {
            self.report(&raw.at, key, format!("`{name}` is not sharded, so it has no older layout"));
            return None;
        };
        let nodes = self.nodes(nodes, name, key)?;
        let function = self.function(function, key)?;
        self.fits(&function, &nodes, &raw.at, key)?;
        // Old layouts of one move with the same function over the same backends are co-located, as the new ones are.
        let like = |layout: &Layout| {
            layout.function == function
                && layout.nodes.len() == nodes.len()
                && layout.nodes.iter().zip(&nodes).all(|(one, other)| one.backend == other.backend)
        };
        let sources = self.topology.tables.iter().filter_map(|table| table.moving.as_ref().map(|moving| &moving.source));
        let group = sources
            .filter_map(|source| match source {
                Placement::Sharded(layout) if like(layout) => Some(layout.group),
                _ => None,
            })
            .next()
            .unwrap_or_else(|| {
                self.groups += 1;
                self.groups
            });
        Some(Placement::Sharded(Arc::new(Layout { key: shard_key, key_type: KeyType::Assumed, function, nodes, group })))
    }

    /// Two logical tables in one physical one would mix their rows.
    fn nodes_are_used_once(&self, raw: &Raw) {
        let mut owners: HashMap<(DatabaseId, &Node), &str> = HashMap::new();
        for table in &self.topology.tables {
            for node in table.placement.nodes() {
                let Some(other) = owners.insert((table.database, node), &table.name) else { continue };
                let at = raw.tables.iter().find(|raw| raw.name.ends_with(&table.name)).map(|raw| raw.at.clone());
                let backend = &self.topology.backend(node.backend).name;
                let message = format!("{backend}.{} is a node of `{other}` already", node.table);
                self.document.report(at.as_ref(), &format!("tables.{}.nodes", table.name), message);
            }
        }
    }

    fn across_shards(&self, raw: &Raw) -> AcrossShards {
        let known = [("best_effort", AcrossShards::BestEffort), ("refuse", AcrossShards::Refuse)];
        self.choice(&raw.across_shards, "transactions.across_shards", AcrossShards::BestEffort, &known)
    }
}
