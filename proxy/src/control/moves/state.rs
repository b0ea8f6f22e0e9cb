//! What is known of each move, in a file of its own. It survives a restart, and is saved before anybody relies on it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shardway_migration::cleanup::Holder;
use shardway_migration::phase::{Event, State};
use shardway_migration::position::Position;
use shardway_migration::report::{LastSwitch, LastVerify, Progress};
use shardway_migration::schedule;
use shardway_routing::topology::{Owners, Side};

use super::drift::Drift;
use super::part::Parted;
use crate::durable;

/// One move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveState {
    pub state: State,
    /// Grows with every capture and every switch: positions of one epoch mean nothing in another.
    pub epoch: u64,
    /// Where the streams of the epoch begin, by backend.
    pub starts: BTreeMap<String, Position>,
    /// A switch between its intent and its publication.
    pub pending: Option<Pending>,
    /// Double write has carried every write since the sides were equal, or since the last switch. Counts where no
    /// stream does.
    pub is_kept_by_double_write: bool,
    /// Double write was ended while the target had not got everything: its journal may hold keys, and streams may be behind
    /// what it brought over. Nothing goes to the target until both are in line again.
    #[serde(default)]
    pub is_behind_double_write: bool,
    /// The version of the rules with which double write began while the source was followed by a time column: the target
    /// may have rows that were deleted before, until a comparison of every row that began later is clean.
    #[serde(default)]
    pub unproved_since: Option<u64>,
    /// What came to the tables after the preflight.
    #[serde(default)]
    pub drift: Option<Drift>,
    /// Conditions on the rows that are carried, by the full name of their table; fixed since the epoch began.
    #[serde(default)]
    pub carried: BTreeMap<String, String>,
    pub rows_copied: u64,
    pub rows_total: u64,
    /// How far the last copy came.
    #[serde(default)]
    pub copied: Progress,
    pub last_verify: Option<LastVerify>,
    #[serde(default)]
    pub last_switch: Option<LastSwitch>,
    /// Entries of the table of differences that are open.
    #[serde(default)]
    pub open_mismatches: u64,
    pub last_error: Option<String>,
    /// Where parameters of servers are changed, or are about to be.
    #[serde(default)]
    pub tuned: Vec<Holder>,
    /// What the schedule of its reads must not forget.
    #[serde(default)]
    pub scheduled: schedule::Kept,
    /// Since an emergency rollback, until a person has taken care of what the target alone has.
    #[serde(default)]
    pub parted: Option<Parted>,
}

/// A switch that has begun. The version of the rules that is in force says whether it took place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub to: Authority,
    pub epoch: u64,
    pub starts: BTreeMap<String, Position>,
    pub is_kept_by_double_write: bool,
    /// An emergency rollback: the source is taken as it is.
    #[serde(default)]
    pub parted: Option<Parted>,
}

impl Pending {
    /// What has happened when the version in force says that it took place.
    pub fn event(&self) -> Event {
        match &self.parted {
            Some(parted) => Event::Parted(parted.reason.clone()),
            None => self.to.event(),
        }
    }
}

/// Who owns writes, as it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    Source,
    Target,
    /// Each side owns some keys.
    Divided,
}

impl Authority {
    /// What has happened when writes have gone there.
    pub fn event(self) -> Event {
        match self {
            Authority::Source => Event::Switched(Side::Source),
            Authority::Target => Event::Switched(Side::Target),
            Authority::Divided => Event::Divided,
        }
    }

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Authority::Source => Side::Source.name(),
            Authority::Target => Side::Target.name(),
            Authority::Divided => "divided",
        }
    }
}

impl From<Owners<'_>> for Authority {
    fn from(owners: Owners<'_>) -> Authority {
        match owners {
            Owners::One(Side::Source) => Authority::Source,
            Owners::One(Side::Target) => Authority::Target,
            Owners::Divided { .. } => Authority::Divided,
        }
    }
}

impl Default for MoveState {
    fn default() -> MoveState {
        MoveState {
            state: State::draft(),
            epoch: 0,
            starts: BTreeMap::new(),
            pending: None,
            is_kept_by_double_write: false,
            is_behind_double_write: false,
            unproved_since: None,
            drift: None,
            carried: BTreeMap::new(),
            rows_copied: 0,
            rows_total: 0,
            copied: Progress::default(),
            last_verify: None,
            last_switch: None,
            open_mismatches: 0,
            last_error: None,
            tuned: Vec::new(),
            scheduled: schedule::Kept::default(),
            parted: None,
        }
    }
}

/// The files of all moves.
#[derive(Debug)]
pub(super) struct States {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, MoveState>>,
}

impl States {
    /// What earlier processes saved.
    pub(super) fn open(state: &Path) -> io::Result<States> {
        let folder = state.join("moves");
        std::fs::create_dir_all(&folder)?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            let (Some(name), Some("json")) =
                (name, path.extension().and_then(|extension| extension.to_str()))
            else {
                continue;
            };
            // A state that cannot be read could be one after a switch: nobody may guess that it is a new move.
            let state = serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{} cannot be read: {error}; restore it, or move it away if the move is new",
                        path.display()
                    ),
                )
            })?;
            known.insert(name, state);
        }
        Ok(States { folder, known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, MoveState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, name: &str) -> MoveState {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    /// The moves whose state is such, those that no rule names any more among them.
    pub(super) fn names(&self, is_wanted: impl Fn(&MoveState) -> bool) -> Vec<String> {
        self.lock().iter().filter(|(_, state)| is_wanted(state)).map(|(name, _)| name.clone()).collect()
    }

    /// Changes and saves what is known.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut MoveState)) -> Result<(), String> {
        let mut known = self.lock();
        let mut state = known.get(name).cloned().unwrap_or_default();
        change(&mut state);
        let path = self.folder.join(format!("{name}.json"));
        let saved = serde_json::to_vec_pretty(&state)
            .map_err(io::Error::from)
            .and_then(|bytes| durable::write(&path, &bytes));
        saved.map_err(|error| format!("the state of the move cannot be saved: {error}"))?;
        known.insert(name.to_owned(), state);
        Ok(())
    }
}
