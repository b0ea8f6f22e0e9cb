//! Moves as the rules write them: which tables, from where, under which traffic.

use std::sync::Arc;

use super::check::Check;
use super::raw::{RawFrom, RawFunctions, RawHistory, RawLayout, RawMove};
use crate::document::Found;
use crate::moment::Moment;
use crate::topology::{
    Capture, DoubleWrite, Functions, History, Layout, Move, MoveId, Moving, Node, Placement, ReadKind,
    TableId,
};

impl Check<'_> {
    pub(super) fn moving(&mut self, raw: &RawMove) {
        let key = format!("moves.{}", raw.name);
        let by = MoveId(u16::try_from(self.topology.moves.len()).unwrap_or(u16::MAX));
        let mut of = Move { reads: raw.reads, hold_ms: raw.hold_ms, ..Move::idle(&raw.name) };
        of.always.clone_from(&raw.always);
        of.never.clone_from(&raw.never);
        of.lag_max_ms = raw.lag_max_ms;
        of.shadow_reads = raw.shadow_reads;
        if let Some(both) = raw.always.iter().find(|key| raw.never.contains(key)) {
            self.report(&raw.at, &key, format!("{both} is in `always` and in `never`"));
        }
        of.capture = self.capture(raw, &key);
        of.double_write = self.choice(
            &raw.double_write,
            &format!("{key}.double_write"),
            DoubleWrite::Off,
            &[DoubleWrite::Off, DoubleWrite::Async, DoubleWrite::Sync, DoubleWrite::Strict]
                .map(|mode| (mode.name(), mode)),
        );
        self.owners(raw, &mut of, &key);
        let (Some(tables), Some(from)) = (&raw.tables, &raw.from) else {
            self.report(&raw.at, &key, "`tables` and `from` are needed: which rows move, and from where");
            return;
        };
        if let RawFrom::Layouts(layouts) = from {
            self.layouts_are_of(layouts, &tables.value, &key);
        }
        for name in &tables.value {
            let table_key = format!("{key}.tables");
            let Some((database, name)) = self.table_name(name, &tables.at, &table_key) else { continue };
            let Some(id) = self.topology.table(database, name) else {
                self.report(
                    &tables.at,
                    &table_key,
                    format!("`{name}` has no [tables.{name}], which says where its rows go"),
                );
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
        if let Some(history) = &raw.history {
            of.history = self.history(history, &format!("{key}.history"));
        }
        if let Some(functions) = &raw.functions {
            of.functions = self.functions_of_move(functions, &of, &format!("{key}.functions"));
        }
        self.may_divide(raw, &of, &key);
        self.topology.moves.push(of);
    }

    fn layouts_are_of(&self, layouts: &[(String, RawLayout)], tables: &[String], key: &str) {
        let is_named = |layout: &str| {
            tables
                .iter()
                .any(|table| table.rsplit('.').next().is_some_and(|bare| bare.eq_ignore_ascii_case(layout)))
        };
        for (name, layout) in layouts {
            if !name.is_empty() && !is_named(name) {
                self.report(&layout.at, &format!("{key}.from.{name}"), "is no table of this move");
            }
        }
    }

    fn history(&self, raw: &RawHistory, key: &str) -> Option<History> {
        let (Some(column), Some(since)) = (&raw.column, &raw.since) else {
            self.report(&raw.at, key, "`column` and `since` are needed: which rows are new");
            return None;
        };
        let Some(moment) = Moment::read(since.value.as_bytes()) else {
            let why = "must be a time like \"2024-01-31\" or \"2024-01-31 12:00:00\"";
            self.report(&since.at, &format!("{key}.since"), why);
            return None;
        };
        Some(History { column: column.value.to_lowercase(), since: moment })
    }

    fn functions_of_move(&mut self, raw: &RawFunctions, of: &Move, key: &str) -> Functions {
        let reads_of =
            raw.reads_of.as_ref().map(|found| self.moved_tables(found, of, &format!("{key}.reads_of")));
        let writes_of =
            raw.writes_of.as_ref().map(|found| self.moved_tables(found, of, &format!("{key}.writes_of")));
        if let Some(found) = &raw.writes_of
            && of.capture != Capture::Binlog
        {
            let why = "leaves writes to the streams, so it needs capture = \"binlog\"";
            self.report(&found.at, &format!("{key}.writes_of"), why);
        }
        let statements = raw.statements.as_ref().map(|found| {
            let known = [("point", ReadKind::Point), ("join", ReadKind::Join), ("scan", ReadKind::Scan)];
            let kind = |name: &String| {
                let kind = known.iter().find(|(known, _)| known == name);
                if kind.is_none() {
                    let why = format!("`{name}` is none of point, join, scan");
                    self.report(&found.at, &format!("{key}.statements"), why);
                }
                kind.map(|(_, kind)| *kind)
            };
            found.value.iter().filter_map(kind).collect()
        });
        let accounts = raw.accounts.as_ref().map(|found| found.value.clone());
        Functions { reads_of, writes_of, statements, accounts }
    }

    /// Tables that a move must have.
    fn moved_tables(&mut self, found: &Found<Vec<String>>, of: &Move, key: &str) -> Vec<TableId> {
        let mut tables = Vec::new();
        for name in &found.value {
            let Some((database, bare)) = self.table_name(name, &found.at, key) else { continue };
            match self.topology.table(database, bare).filter(|table| of.tables.contains(table)) {
                Some(table) => tables.push(table),
                None => self.report(&found.at, key, format!("`{name}` is no table of this move")),
            }
        }
        tables
    }

    fn capture(&self, raw: &RawMove, key: &str) -> Capture {
        let column = raw.column.as_ref().map(|column| column.value.clone());
        if let Some(found) = &raw.column
            && raw.capture.as_ref().is_none_or(|capture| capture.value != "timestamp")
        {
            self.report(&found.at, &format!("{key}.column"), "is for capture = \"timestamp\"");
        }
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
                self.report(
                    at,
                    &format!("{key}.capture"),
                    format!("`{other}` is none of binlog, timestamp, none"),
                );
                Capture::Binlog
            }
        }
    }

    pub(super) fn choice<T: Copy>(
        &self,
        found: &Option<Found<String>>,
        key: &str,
        default: T,
        known: &[(&str, T)],
    ) -> T {
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
                let of =
                    |(table, _): &&(String, RawLayout)| table.is_empty() || table.eq_ignore_ascii_case(&name);
                let Some((_, layout)) = layouts.iter().find(of) else {
                    self.document.report(
                        None,
                        &format!("{key}.from"),
                        format!("says nothing about `{name}`"),
                    );
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
        let function = self.function(function, nodes.len(), key)?;
        self.fits(&function, &nodes, &raw.at, key)?;
        // Old layouts of one move with the same function over the same backends are co-located, as the new ones are.
        let like = |layout: &Layout| {
            layout.function == function
                && layout.nodes.len() == nodes.len()
                && layout.nodes.iter().zip(&nodes).all(|(one, other)| one.backend == other.backend)
        };
        let sources = self
            .topology
            .tables
            .iter()
            .filter_map(|table| table.moving.as_ref().map(|moving| &moving.source));
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
        Some(Placement::Sharded(Arc::new(Layout::new(shard_key, function, nodes, group))))
    }
}
