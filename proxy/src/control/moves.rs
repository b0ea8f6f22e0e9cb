//! Moves under way: copying, healing, verifying, and what has been achieved, which survives a restart.
//!
//! What is achieved is saved before anybody relies on it, and forgotten before it stops being true.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::copy::{self, Progress};
use shardway_migration::heal::{self, Journal};
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_migration::{dirty, verify};
use shardway_routing::topology::{DoubleWrite, MoveId, Side, Topology};
use shardway_routing::transition::{Facts, SourceKept, Synced};

use super::Control;
use crate::gate::GateName;
use crate::shared::Shared;

/// Younger journal entries are about to be removed by the transaction that wrote them.
const MIN_AGE_MS: u64 = 1_000;
const HEAL_EVERY: Duration = Duration::from_millis(300);

/// What has been achieved for each move.
#[derive(Debug)]
pub struct Moves {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Achieved>>,
    running: Mutex<BTreeMap<String, Arc<Progress>>>,
}

/// What has been achieved for one move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Achieved {
    /// Every row is on the target, and double write has been in force ever since the copy began.
    pub synced: bool,
    /// The source has received every write since the target owns them.
    pub source_kept: bool,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub last_verify: Option<Verified>,
    pub last_error: Option<String>,
}

/// A comparison of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub mode: String,
    pub checked: u64,
    pub different: u64,
    pub clean: bool,
    /// Seconds since 1970.
    pub finished_at: u64,
    pub samples: Vec<String>,
}

impl Facts for Moves {
    fn synced(&self, move_name: &str) -> Synced {
        if self.of(move_name).synced { Synced::Yes } else { Synced::No }
    }

    fn source_kept(&self, move_name: &str) -> SourceKept {
        if self.of(move_name).source_kept { SourceKept::Yes } else { SourceKept::No }
    }
}

impl Moves {
    /// What earlier processes achieved.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(state: &std::path::Path) -> std::io::Result<Moves> {
        let folder = state.join("moves");
        std::fs::create_dir_all(&folder)?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            // A damaged file achieves nothing.
            if let (Some(name), Ok(achieved)) = (name, serde_json::from_slice(&std::fs::read(&path)?)) {
                known.insert(name, achieved);
            }
        }
        Ok(Moves { folder, known: Mutex::new(known), running: Mutex::default() })
    }

    #[must_use]
    pub fn of(&self, name: &str) -> Achieved {
        lock(&self.known).get(name).cloned().unwrap_or_default()
    }

    /// The copy that runs, if one does.
    #[must_use]
    pub fn progress(&self, name: &str) -> Option<Arc<Progress>> {
        lock(&self.running).get(name).cloned()
    }

    /// Changes and saves what has been achieved.
    ///
    /// # Errors
    /// When it cannot be saved: then it is not achieved either.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Achieved)) -> Result<(), String> {
        let mut achieved = self.of(name);
        change(&mut achieved);
        let path = self.folder.join(format!("{name}.json"));
        let beside = path.with_extension("tmp");
        let saved = serde_json::to_vec_pretty(&achieved)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::write(&beside, bytes))
            .and_then(|()| std::fs::rename(&beside, &path));
        saved.map_err(|error| format!("the state of the move cannot be saved: {error}"))?;
        lock(&self.known).insert(name.to_owned(), achieved);
        Ok(())
    }

    /// While all statements on changing moves are held: brings both sides to where the new rules may begin.
    ///
    /// # Errors
    /// Why the new rules must not take effect.
    pub async fn before_publish(
        &self,
        shared: &Shared,
        old: &Topology,
        new: &Topology,
    ) -> Result<(), String> {
        for (by, of) in (0..).map(MoveId).zip(&new.moves) {
            let before = old.moves.iter().find(|before| before.name == of.name);
            let was = before.map_or(DoubleWrite::Off, |before| before.double_write);
            let owner = before.map_or(of.writes, |before| before.writes);
            let (on, off) = (of.double_write != DoubleWrite::Off, of.double_write == DoubleWrite::Off);
            let flips = owner != of.writes;
            if off {
                // A copy that runs now will not have seen every write.
                lock(&self.running).remove(&of.name);
            }
            if !flips && (was == DoubleWrite::Off) == off {
                if off && self.of(&of.name) != Achieved::default() {
                    self.change(&of.name, |achieved| {
                        (achieved.synced, achieved.source_kept) = (false, false)
                    })?;
                }
                continue;
            }
            let moving = tables::of_move(new, by).map_err(|refusal| refusal.to_string())?;
            if was != DoubleWrite::Off {
                drain(shared, &moving, owner).await.map_err(|error| format!("{}: {error}", of.name))?;
            }
            if on {
                make_journals(&moving).await.map_err(|error| format!("{}: {error}", of.name))?;
            }
            self.change(&of.name, |achieved| match of.writes {
                Side::Source => {
                    achieved.synced &= on;
                    achieved.source_kept = false;
                }
                Side::Target => achieved.source_kept = on && (flips || achieved.source_kept),
            })?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Heals until the journals are empty.
async fn drain(shared: &Shared, moving: &[MovingTable], authority: Side) -> Result<(), WorkError> {
    for journal in heal::journals(moving, authority) {
        for _ in 0..100 {
            if heal::entries(&journal, 0).await?.is_empty() {
                break;
            }
            heal::run(moving, authority, &journal, 0).await?;
        }
        if !heal::entries(&journal, 0).await?.is_empty() {
            return Err(WorkError::Stopped(
                "there are dirty keys left that cannot be healed; the log says why".into(),
            ));
        }
    }
    for token in shared.dirty.tokens() {
        shared.dirty.remove(token);
    }
    Ok(())
}

async fn make_journals(moving: &[MovingTable]) -> Result<(), WorkError> {
    for side in [Side::Source, Side::Target] {
        for Journal { server, database } in heal::journals(moving, side) {
            let mut connection = tables::connect(&server).await?;
            connection.query_drop(dirty::create(&database)).await?;
            connection.disconnect().await?;
        }
    }
    Ok(())
}

/// Loads the journals, so that nobody reads a row that may be behind.
///
/// # Errors
/// When an authority cannot be asked.
pub(super) async fn load_dirty(control: &Control, topology: &Topology) -> Result<(), String> {
    for (by, of) in (0..).map(MoveId).zip(&topology.moves) {
        if of.double_write == DoubleWrite::Off {
            continue;
        }
        let moving = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
        for journal in heal::journals(&moving, of.writes) {
            let entries =
                heal::entries(&journal, 0).await.map_err(|error| format!("reading dirty keys: {error}"))?;
            for stored in entries {
                let key = stored.entry.shard_keys.first();
                let key = key.and_then(|key| shardway_routing::key::KeyValue::from_canonical(key));
                control.shared.dirty.add(stored.entry.token, vec![(stored.entry.table, key)]);
            }
        }
    }
    Ok(())
}

/// Heals for as long as the process runs.
pub(super) async fn heal_always(control: Arc<Control>) {
    loop {
        tokio::time::sleep(HEAL_EVERY).await;
        let snapshot = control.shared.snapshot();
        for (by, of) in (0..).map(MoveId).zip(&snapshot.topology.moves) {
            if of.double_write == DoubleWrite::Off {
                continue;
            }
            let Ok(moving) = tables::of_move(&snapshot.topology, by) else { continue };
            for journal in heal::journals(&moving, of.writes) {
                if let Err(error) = pass(&control.shared, &moving, of.writes, &journal).await {
                    tracing::warn!(%error, r#move = of.name, "cannot heal dirty keys");
                }
            }
        }
    }
}

async fn pass(
    shared: &Shared,
    moving: &[MovingTable],
    authority: Side,
    journal: &Journal,
) -> Result<(), WorkError> {
    let healed = heal::run(moving, authority, journal, MIN_AGE_MS).await?;
    if healed.is_empty() {
        return Ok(());
    }
    tracing::info!(keys = healed.len(), "healed dirty keys");
    let left = heal::entries(journal, 0).await?;
    for entry in healed {
        if left.iter().all(|stored| stored.entry.token != entry.token) {
            shared.dirty.remove(entry.token);
        }
    }
    Ok(())
}

/// Empties journals of what both sides have, many entries at a time.
pub(super) async fn forget_always(control: Arc<Control>) {
    const AT_ONCE: usize = 500;
    let Some(mut queue) = control.shared.take_forgotten() else { return };
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, AT_ONCE).await > 0 {
        while let Some((journal, _)) = batch.first().cloned() {
            let tokens: Vec<u64> =
                batch.iter().filter(|(of, _)| *of == journal).map(|(_, token)| *token).collect();
            batch.retain(|(of, _)| *of != journal);
            let removed = async {
                let mut connection = tables::connect(&journal.server).await?;
                connection.query_drop(dirty::forget(&journal.database, &tokens)).await?;
                connection.disconnect().await
            };
            if let Err(error) = removed.await {
                tracing::debug!(%error, "journal entries stay until they are healed");
            }
        }
    }
}

/// Begins to carry a move's rows over.
///
/// # Errors
/// Why it cannot.
pub fn start(control: &Arc<Control>, name: &str) -> Result<(), String> {
    let snapshot = control.shared.snapshot();
    let (by, of) = find(&snapshot.topology, name)?;
    if of.double_write == DoubleWrite::Off || of.writes == Side::Target {
        return Err(format!(
            "the copy needs double write in force and the source as authority: set double_write of {name} first"
        ));
    }
    let moving = tables::of_move(&snapshot.topology, by).map_err(|refusal| refusal.to_string())?;
    let progress = Arc::new(Progress::default());
    if lock(&control.moves.running).insert(name.to_owned(), Arc::clone(&progress)).is_some() {
        return Err("the copy is running already".to_owned());
    }
    let (control, name) = (Arc::clone(control), name.to_owned());
    tokio::spawn(async move {
        let result = copy::run(&moving, &progress).await;
        let copied = progress.copied.load(std::sync::atomic::Ordering::Relaxed);
        // Gone if double write has been off meanwhile, even if it is on again.
        let still = control.moves.progress(&name).is_some_and(|running| Arc::ptr_eq(&running, &progress));
        let saved = control.moves.change(&name, |achieved| {
            achieved.rows_copied = copied;
            achieved.rows_total = progress.total.load(std::sync::atomic::Ordering::Relaxed);
            achieved.synced = result.is_ok() && still;
            achieved.last_error = result.as_ref().err().map(ToString::to_string);
        });
        match (result, saved) {
            (Ok(()), Ok(())) => tracing::info!(r#move = name, rows = copied, "every row is on the target"),
            (Err(error), _) => tracing::error!(r#move = name, %error, "the copy has stopped"),
            (_, Err(error)) => tracing::error!(r#move = name, error),
        }
        if still {
            lock(&control.moves.running).remove(&name);
        }
    });
    Ok(())
}

/// Compares both sides while their writes are held.
///
/// # Errors
/// Why it cannot.
pub async fn verify(control: &Control, name: &str, mode: verify::Mode) -> Result<Verified, String> {
    let snapshot = control.shared.snapshot();
    let (by, of) = find(&snapshot.topology, name)?;
    let moving = tables::of_move(&snapshot.topology, by).map_err(|refusal| refusal.to_string())?;
    let gates: Vec<GateName> = of
        .tables
        .iter()
        .map(|table| {
            let of = snapshot.topology.table_of(*table);
            GateName::Table(snapshot.topology.database_of(of.database).name.clone(), of.name.to_lowercase())
        })
        .collect();
    let held = control.shared.gates.hold(&gates, Duration::from_millis(of.hold_ms)).await;
    let held = held.map_err(|error| error.to_string())?;
    if of.double_write != DoubleWrite::Off {
        drain(&control.shared, &moving, of.writes).await.map_err(|error| error.to_string())?;
    }
    let report = verify::run(&moving, mode).await.map_err(|error| error.to_string())?;
    drop(held);
    let verified = Verified {
        mode: if mode == verify::Mode::Count { "count" } else { "hash" }.to_owned(),
        checked: report.checked,
        different: report.different,
        clean: report.different == 0,
        finished_at: super::store::now_s(),
        samples: report.samples,
    };
    control.moves.change(name, |achieved| achieved.last_verify = Some(verified.clone()))?;
    Ok(verified)
}

fn find<'a>(
    topology: &'a Topology,
    name: &str,
) -> Result<(MoveId, &'a shardway_routing::topology::Move), String> {
    let found = (0..).map(MoveId).zip(&topology.moves).find(|(_, of)| of.name == name);
    found.ok_or_else(|| format!("no move `{name}` is in force; `shardway status` lists those that are"))
}
