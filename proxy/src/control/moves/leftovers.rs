//! What finished moves leave behind, and what of it is still in use.
//!
//! It is noted when the way back closes, in a file for each move, so that it is known after the rules have forgotten the
//! move. Nothing is removed here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql_async::Conn;
use serde::{Deserialize, Serialize};
use shardway_migration::cleanup::{self, Holder, Leftover, Stage};
use shardway_migration::image::quoted;
use shardway_migration::place::{self, Place};
use shardway_migration::tables::WorkError;
use shardway_routing::topology::{
    Backend, BackendId, DoubleWrite, MoveId, Node, Placement, ShardId, Side, TableId, Topology,
};

use super::{Moves, moves};
use crate::durable;

/// What each finished move has left behind.
#[derive(Debug)]
pub(super) struct Cleanups {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Record>>,
    /// One at a time.
    pub running: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub leftovers: Vec<Leftover>,
    /// Where the tables may be that the move kept for itself.
    pub holders: Vec<Holder>,
}

impl Cleanups {
    pub(super) fn open(state: &Path) -> io::Result<Cleanups> {
        let folder = state.join("cleanup");
        std::fs::create_dir_all(&folder)?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let record = serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| {
                io::Error::other(format!(
                    "{}: {error}; restore it, or move it away and remove the tables yourself",
                    path.display()
                ))
            })?;
            if let Some(name) = path.file_stem() {
                known.insert(name.to_string_lossy().into_owned(), record);
            }
        }
        Ok(Cleanups { folder, known: Mutex::new(known), running: tokio::sync::Mutex::new(()) })
    }

    pub(super) fn of(&self, name: &str) -> Option<Record> {
        self.lock().get(name).cloned()
    }

    /// Has a finished move left rows in tables that it split in place, or has nobody noted yet whether it has?
    pub(super) fn keeps_rows_that_left(&self, name: &str) -> bool {
        let kept = |of: &Leftover| of.only.is_some() && !of.is_gone();
        self.lock().get(name).is_none_or(|record| record.leftovers.iter().any(kept))
    }

    /// The moves whose record is such.
    pub(super) fn names(&self, is_wanted: impl Fn(&Record) -> bool) -> Vec<String> {
        self.lock().iter().filter(|(_, record)| is_wanted(record)).map(|(name, _)| name.clone()).collect()
    }

    /// Saved before anybody relies on it.
    pub(super) fn save(&self, name: &str, record: &Record) -> Result<(), String> {
        let path = self.folder.join(format!("{name}.json"));
        let saved = serde_json::to_vec_pretty(record)
            .map_err(io::Error::from)
            .and_then(|bytes| durable::write(&path, &bytes));
        saved.map_err(|error| format!("the state of the cleanup cannot be saved: {error}"))?;
        self.lock().insert(name.to_owned(), record.clone());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moves {
    /// Notes what the move leaves behind. Its source may be away for ever, which is no reason not to finish.
    pub(super) async fn note_leftovers(&self, topology: &Topology, by: MoveId) -> Result<(), WorkError> {
        let of = topology.move_of(by);
        let mut record = self.cleanups.of(&of.name).unwrap_or_default();
        for places in place::of_move(topology, by) {
            for side in [Side::Source, Side::Target] {
                for holder in places.of(side).iter().map(holder) {
                    if !record.holders.contains(&holder) {
                        record.holders.push(holder);
                    }
                }
            }
            for (place, source) in places.sources.iter().enumerate() {
                let only = match places.targets.iter().position(|target| target.is_same(source)) {
                    None => None,
                    Some(shard) => Some(left(topology, places.id, place, shard).ok_or_else(|| {
                        WorkError::Stopped(format!("nobody can tell which rows have left {source}"))
                    })?),
                };
                let holder = holder(source);
                let rows = match of.double_write {
                    DoubleWrite::Off => rows_of(topology, &holder, &source.table, only.as_deref()).await,
                    DoubleWrite::Async | DoubleWrite::Sync | DoubleWrite::Strict => None,
                };
                let is_it = |known: &Leftover| known.holder == holder && known.table == source.table;
                record.leftovers.retain(|known| !(is_it(known) && known.stage == Stage::Left));
                record.leftovers.push(Leftover {
                    holder,
                    logical: places.name.clone(),
                    table: source.table.clone(),
                    only,
                    rows,
                    stage: Stage::Left,
                });
            }
        }
        self.cleanups.save(&of.name, &record).map_err(WorkError::Stopped)
    }
}

fn holder(place: &Place) -> Holder {
    Holder {
        backend: place.backend_name.clone(),
        address: format!("{}:{}", place.server.host, place.server.port),
        database: place.database.clone(),
    }
}

/// The rows that were at home on a node of the source and are not on the shard of the target that it is now, as a
/// condition.
fn left(topology: &Topology, id: TableId, place: usize, shard: usize) -> Option<String> {
    let table = topology.table_of(id);
    let at_home = |side, place: usize| match table.placement(side) {
        Placement::Sharded(layout) => {
            let column = table.schema.as_ref()?.column(&layout.key)?;
            let shard = ShardId(u32::try_from(place).ok()?);
            layout.at_home(&quoted(&column.name), &column.kind, shard)
        }
        Placement::Single(_) | Placement::Broadcast(_) => Some("TRUE".to_owned()),
    };
    Some(format!("{} AND NOT {}", at_home(Side::Source, place)?, at_home(Side::Target, shard)?))
}

async fn rows_of(topology: &Topology, holder: &Holder, table: &str, only: Option<&str>) -> Option<u64> {
    let counted = async {
        let mut connection = connect(topology, holder).await.map_err(WorkError::Stopped)?;
        cleanup::count(&mut connection, &holder.database, table, only).await
    };
    counted.await.unwrap_or_else(|error| {
        tracing::warn!(%holder, table, %error, "nobody knows how many rows are left there");
        None
    })
}

/// Why statements may still be sent to a leftover, under either of its names.
pub(super) fn routed(topology: &Topology, name: &str, of: &Leftover) -> Option<String> {
    let place = format!("{}.{}", of.holder, of.table);
    if of.only.is_some() {
        return seen(topology, name, of);
    }
    for table in &topology.tables {
        let logical = &topology.database_of(table.database).name;
        let is_here = |node: &Node| {
            let is_named =
                [of.table.as_str(), of.name()].iter().any(|name| name.eq_ignore_ascii_case(&node.table));
            is_named && holds(topology, node.backend, logical, &of.holder)
        };
        if table.placement.nodes().iter().any(is_here) {
            return Some(format!("{place}: [tables.{}] has its rows there", table.name));
        }
        let Some(moving) = table.moving.as_ref().filter(|moving| moving.source.nodes().iter().any(is_here))
        else {
            continue;
        };
        let by = topology.move_of(moving.by);
        if by.name != name {
            return Some(format!("{place}: [moves.{}] carries rows from there", by.name));
        }
        if !by.leaves_the_source_alone() {
            return Some(format!(
                "{place}: [moves.{name}] may still send statements there; take it out of the rules, or set \
                 writes = \"target\", reads = 100 and double_write = \"off\", without never, history and functions"
            ));
        }
    }
    // A table that no rule names any more is sought where its database's default is.
    let (database, table) = of.logical.split_once('.')?;
    let id = topology.database(database)?;
    let default = topology.database_of(id).default;
    let is_sought = of.table.eq_ignore_ascii_case(table)
        && topology.table(id, table).is_none()
        && holds(topology, default, database, &of.holder);
    is_sought.then(|| format!("{place}: no rule names {}, so it is sought there", of.logical))
}

/// Why statements may still see rows that have left a table split in place: nothing but the move keeps them out.
fn seen(topology: &Topology, name: &str, of: &Leftover) -> Option<String> {
    let place = format!("{}.{}", of.holder, of.table);
    let found = of.logical.split_once('.').and_then(|(database, table)| {
        let id = topology.table(topology.database(database)?, table)?;
        topology.table_of(id).moving.as_ref()
    });
    let by = found.map(|moving| topology.move_of(moving.by)).filter(|by| by.name == name);
    match by {
        None => {
            Some(format!("{place}: the rules have no [moves.{name}] of {} any more; put it back", of.logical))
        }
        Some(by) if !by.leaves_the_source_alone() => Some(format!(
            "{place}: [moves.{name}] may still send statements to rows that have left; set writes = \"target\", \
             reads = 100 and double_write = \"off\", without never, history and functions"
        )),
        Some(_) => None,
    }
}

/// Does a logical database lie there, on that backend?
fn holds(topology: &Topology, backend: BackendId, logical: &str, holder: &Holder) -> bool {
    let server = &topology.backend(backend).primary;
    format!("{}:{}", server.host, server.port) == holder.address
        && topology.physical_database(backend, logical) == holder.database
}

/// Another move with tables there, whose own tables must stay.
pub(super) fn other_move(topology: &Topology, name: &str, of: &Holder) -> Option<String> {
    let is_there = |by: MoveId| {
        place::of_move(topology, by).iter().any(|places| {
            [Side::Source, Side::Target]
                .iter()
                .any(|side| places.of(*side).iter().any(|place| holder(place) == *of))
        })
    };
    let mut others = moves(topology).filter(|(_, other)| other.name != name);
    others.find(|(by, _)| is_there(*by)).map(|(_, other)| format!("move {}", other.name))
}

/// Reaches the server that the holder names, if the rules still mean the same one.
pub(super) async fn connect(topology: &Topology, holder: &Holder) -> Result<Conn, String> {
    place::reach(backend_of(topology, holder)?).await.map_err(told)
}

/// The backend that the holder names, if the rules still mean the same one.
pub(super) fn backend_of<'a>(topology: &'a Topology, holder: &Holder) -> Result<&'a Backend, String> {
    topology.backends.iter().find(|backend| is_holder(backend, holder)).ok_or_else(|| {
        format!(
            "the rules have no backend `{}` at {} any more; add it again for the time of the cleanup",
            holder.backend, holder.address
        )
    })
}

fn is_holder(backend: &Backend, holder: &Holder) -> bool {
    backend.name == holder.backend
        && format!("{}:{}", backend.primary.host, backend.primary.port) == holder.address
}

pub(super) fn told(error: impl Into<WorkError>) -> String {
    error.into().to_string()
}

#[cfg(test)]
mod tests {
    use shardway_routing::rules;

    use super::*;

    const BASE: &str = "[backends.a]\nprimary = \"mysql://u@h:1/d\"\n[backends.b]\nprimary = \"mysql://u@h:2/d\"\n\
                        [databases.shop]\ndefault = \"a\"\n";
    const ON_B: &str = "[tables.t]\nkind = \"single\"\nnodes = \"b\"\n";
    const MOVE: &str = "[moves.m]\ntables = [\"t\"]\nfrom = \"a\"\n";
    const AWAY: &str = "writes = \"target\"\nreads = 100\n";

    /// Why `d.t` on the first backend may still be asked under these rules, once the move `m` has taken its rows away.
    fn why(rules: &str) -> Option<String> {
        let topology = rules::load(&format!("{BASE}{rules}"), &|_| None, 1).expect(rules);
        let holder = Holder { backend: "a".into(), address: "h:1".into(), database: "d".into() };
        let logical = "shop.t".to_owned();
        let of = Leftover { holder, logical, table: "t".into(), only: None, rows: None, stage: Stage::Left };
        routed(&topology, "m", &of)
    }

    #[test]
    fn a_table_goes_only_when_no_rule_leads_to_it() {
        assert_eq!(why(ON_B), None);
        assert_eq!(why(&format!("{ON_B}{MOVE}{AWAY}")), None);
        for (rules, reason) in [
            ("[tables.t]\nkind = \"single\"\nnodes = \"a\"\n".to_owned(), "[tables.t] has its rows there"),
            (format!("{ON_B}{MOVE}"), "may still send statements there"),
            (format!("{ON_B}{MOVE}writes = \"target\"\nreads = 99\n"), "may still send statements there"),
            (format!("{ON_B}{MOVE}{AWAY}double_write = \"sync\"\n"), "may still send statements there"),
            (format!("{ON_B}{MOVE}{AWAY}never = [1]\n"), "may still send statements there"),
            (
                format!("{ON_B}{MOVE}{AWAY}").replace("moves.m", "moves.n"),
                "[moves.n] carries rows from there",
            ),
            (String::new(), "no rule names shop.t, so it is sought there"),
        ] {
            let why = why(&rules).unwrap_or_else(|| panic!("{rules}"));
            assert!(why.contains(reason), "{rules}: {why}");
        }
    }
}
