//! The five checks before a switch: running them, keeping the reports of each move, and showing how far a run is.
//!
//! Reports lie beside the moves' states: the last of a move in a file of its name, and the last [`KEPT`], by when they ended,
//! in a folder of its name. They hold values of rows where an assertion differs, so they are for the eyes that may read the
//! state folder and the admin interface.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shardway_migration::checkpoint::report::CheckpointReport;
use shardway_migration::checkpoint::{self, Checks, Progress};
use shardway_migration::settings::MoveSettings;
use shardway_migration::tables::MovingTable;
use shardway_migration::verify::Mode;

use super::ask::BothSides;
use super::equal::{CatchUp, Repairs};
use super::{Moves, find};
use crate::control::store::now_s;
use crate::durable;
use crate::utc::rfc3339;

/// Reports of a move that are kept.
const KEPT: usize = 50;

/// Runs under way, by move.
pub(super) type Running = Mutex<BTreeMap<String, Arc<Progress>>>;

/// What is known of a move's checks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checked {
    pub running: Option<HowFar>,
    /// The last that ended.
    pub last: Option<CheckpointReport>,
}

/// How far a run is.
#[derive(Debug, Serialize, Deserialize)]
pub struct HowFar {
    /// Its name, as in reports.
    pub check: String,
    pub rows_compared: u64,
    /// As the servers estimate.
    pub rows_total: u64,
}

/// Takes a run out of those under way, also when its caller goes away.
struct Entered<'a> {
    running: &'a Running,
    name: &'a str,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(self.name);
    }
}

impl Moves {
    /// Runs the five checks and keeps the report.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn check(&self, name: &str) -> Result<CheckpointReport, String> {
        let snapshot = self.shared.snapshot();
        let (by, of) = find(&snapshot.topology, name)?;
        let moving = self.moving(&snapshot.topology, by).map_err(|error| error.to_string())?;
        let (progress, _entered) = self.enter_check(name)?;
        let converge = CatchUp { moves: self, moving: &moving, of, repairs: Repairs::Unlocked };
        let sides = BothSides::of(&snapshot.topology, by, self.shared.server_version());
        let checks = checks(&self.settings(name), &moving);
        let unproved = self.of(name).unproved_since;
        let report = checkpoint::run(&moving, of.writes, &converge, &sides, &checks, &progress).await;
        sides.close().await;
        let report = report.map_err(|error| error.to_string())?;
        self.keep_found(name, &moving, &report.hash, unproved).await.map_err(|error| error.to_string())?;
        let saved = serde_json::to_vec_pretty(&report).map_err(std::io::Error::from);
        let saved = saved.and_then(|bytes| self.keep_report(name, &bytes));
        saved.map_err(|error| format!("the report cannot be kept: {error}"))?;
        tracing::info!(r#move = name, passed = report.passed, "the five checks have run");
        Ok(report)
    }

    /// What is known of a move's checks.
    ///
    /// # Errors
    /// When the last report cannot be read, or there is no such move.
    pub fn checked(&self, name: &str) -> Result<Checked, String> {
        find(&self.shared.snapshot().topology, name)?;
        let file = self.check_file(name);
        let last = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("{} cannot be read: {error}; remove it", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
        };
        let running =
            self.checking.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|progress| {
                let (check, rows_compared, rows_total) = progress.now();
                HowFar { check: check.to_string(), rows_compared, rows_total }
            });
        Ok(Checked { running, last })
    }

    fn enter_check<'a>(&'a self, name: &'a str) -> Result<(Arc<Progress>, Entered<'a>), String> {
        let mut running = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(name) {
            return Err(format!(
                "the checks of {name} are running already; `shardway move check {name} --last` shows how far they are"
            ));
        }
        let progress = Arc::new(Progress::paced(&self.comparing_pace(name)));
        running.insert(name.to_owned(), Arc::clone(&progress));
        Ok((progress, Entered { running: &self.checking, name }))
    }

    fn keep_report(&self, name: &str, report: &[u8]) -> std::io::Result<()> {
        let folder = self.checks_folder().join(name);
        std::fs::create_dir_all(&folder)?;
        durable::write(&folder.join(format!("{}.json", rfc3339(now_s()))), report)?;
        durable::write(&self.check_file(name), report)?;
        let all = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
        let mut all = all.collect::<std::io::Result<Vec<_>>>()?;
        // Their names are moments, so this is from the oldest to the newest.
        all.sort();
        let old = all.len().saturating_sub(KEPT);
        all.iter().take(old).try_for_each(std::fs::remove_file)
    }

    fn checks_folder(&self) -> PathBuf {
        self.shared.config.state_dir.join("checks")
    }

    fn check_file(&self, name: &str) -> PathBuf {
        self.checks_folder().join(format!("{name}.json"))
    }
}

fn checks(settings: &MoveSettings, moving: &[MovingTable]) -> Checks {
    Checks {
        count: as_ruled(Mode::count(), settings, moving),
        sample: as_ruled(Mode::sample(), settings, moving),
        assertions: settings.asserts.clone(),
        baselines: settings.baselines.clone(),
        lanes: settings.verify.parallel as usize,
    }
}

/// A mode with what the rules say about it.
pub(super) fn as_ruled(mode: Mode, settings: &MoveSettings, moving: &[MovingTable]) -> Mode {
    let verify = &settings.verify;
    match mode {
        Mode::Count { .. } => {
            let full = |table: &String| {
                let named = table.to_ascii_lowercase();
                let is_it = |of: &&MovingTable| {
                    of.name == named || of.name.split_once('.').is_some_and(|(_, bare)| bare == named)
                };
                moving.iter().find(is_it).map_or(named.clone(), |of| of.name.clone())
            };
            let by = verify.group_by.iter().map(|(table, columns)| (full(table), columns.clone()));
            Mode::Count { by: by.collect() }
        }
        Mode::Sample { .. } => {
            Mode::Sample { keys: verify.sample, tolerated: verify.threshold_percent / 100.0 }
        }
        Mode::Hash | Mode::Exact => mode,
    }
}
