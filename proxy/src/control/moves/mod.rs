//! Moves under way: what each is doing, what it has achieved, and what operators ask of it.
//!
//! `runner` acts on what [`shardway_migration::phase`] decides; `barrier` brings both sides together while a rule
//! change holds their statements; `journal` heals dirty keys, and `ending` knows when the last double write is history;
//! `equal` compares and repairs; `touched` compares what was written last before a switch is final; `check` runs the five
//! checks before a switch, whose questions `ask` answers; `cleanup` removes what `leftovers` has noted; `monitor` watches,
//! asks those `around`, samples what it has `looked` at and tells how far the work is that is `counted`.
//! `points` keeps rollback points, `rollback` goes back to them, `part` takes writes back without waiting; `tuning` gives
//! servers other parameters for a while; `backup` dumps and restores with the servers' own `tools`. A move's state is saved
//! before anything is done about it, and is taken back before it stops being true.

mod around;
mod ask;
pub mod backup;
mod barrier;
mod carried;
mod check;
mod cleanup;
mod copying;
mod counted;
mod drift;
mod ending;
mod equal;
mod guards;
mod headroom;
mod journal;
mod leftovers;
mod looked;
pub(super) mod monitor;
mod nearing;
mod part;
mod points;
mod readers;
mod ready;
pub mod rollback;
mod runner;
mod schedule;
mod shadowed;
mod single;
mod starts;
mod state;
mod tools;
mod touched;
mod tuning;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use shardway_migration::apply::follow::Follower;
use shardway_migration::apply::tail::{Tail, TailState};
use shardway_migration::copy::{Pace, Progress};
use shardway_migration::phase::{Event, Phase, State};
use shardway_migration::settings::{MoveSettings, Settings};
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_routing::refusal;
use shardway_routing::topology::{Move, MoveId, Topology};
use shardway_routing::transition::{Carried, Cleaned, Facts, SourceKept, Synced};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Control;
use crate::shared::Shared;
pub(super) use around::servers;
pub(super) use backup::drop_trials_left;
pub use check::{Checked, HowFar};
pub(super) use cleanup::resume_cleanups;
pub use cleanup::{CleanupRun, cleanup};
use counted::Counted;
pub(super) use drift::look_always;
pub(super) use journal::{await_streams_always, forget_always, heal_always, load_dirty};
use monitor::Shown;
pub(super) use part::Parting;
pub use part::{Gap, NotSynchronised, Parted, READ_PATIENTLY};
pub use points::Point;
use points::Points;
use rollback::Rollbacks;
pub(super) use shadowed::shadow_always;
use single::SingleRows;
pub use state::MoveState;
use state::States;

/// What has been achieved for each move, and what runs for it.
#[derive(Debug)]
pub struct Moves {
    shared: Arc<Shared>,
    states: States,
    live: Mutex<BTreeMap<String, Live>>,
    /// How rows travel, by the rules in force.
    settings: ArcSwap<Settings>,
    /// One event at a time.
    events: tokio::sync::Mutex<()>,
    single: SingleRows,
    /// The five checks, where they run.
    checking: check::Running,
    cleanups: leftovers::Cleanups,
    endings: ending::Endings,
    points: Points,
    rollbacks: Rollbacks,
    /// One backup at a time.
    backing_up: tokio::sync::Mutex<()>,
    /// Parameters of servers are set or put back, never both at a time.
    tuning: tokio::sync::Mutex<()>,
}

/// What runs for a move.
#[derive(Debug)]
struct Live {
    followers: Vec<Follower>,
    work: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
    pace: watch::Sender<Pace>,
    /// The pace of comparisons.
    comparing: watch::Sender<Pace>,
    /// Attempts of its work, and at its dirty keys, that failed and are made again.
    failures: u64,
    shown: Shown,
    /// Why a phase has to be tried again.
    waits_for: Option<String>,
    /// What began last of that which is counted and no copy, while it goes on.
    counted: Option<Counted>,
}

impl Default for Live {
    fn default() -> Live {
        let concurrency = shardway_migration::copy::Limits::default().parallel;
        let (pace, _) = watch::channel(Pace { concurrency, pause: Duration::ZERO });
        let (comparing, _) = watch::channel(Pace { concurrency: usize::MAX, pause: Duration::ZERO });
        Live {
            followers: Vec::new(),
            work: None,
            progress: Arc::default(),
            pace,
            comparing,
            failures: 0,
            shown: Shown::default(),
            waits_for: None,
            counted: None,
        }
    }
}

/// How the streams of a move are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// By backend's address: state, position, changes applied.
    pub tails: Vec<(String, String, Option<String>, u64)>,
    /// The largest; `None`: not known.
    pub lag: Option<Duration>,
    /// What was committed longer ago than this has been applied.
    pub arrived: Option<Duration>,
    /// Why it cannot be relied on that the other side follows.
    pub waits_for: Option<String>,
}

impl Facts for Moves {
    fn synced(&self, move_name: &str) -> Synced {
        let of = self.of(move_name);
        // Rows that are not carried would be hidden.
        let State::Running { phase: Phase::Synced | Phase::Divided } = of.state else { return Synced::No };
        let in_step = of.carried.is_empty();
        if in_step && !of.is_behind_double_write && !of.may_differ() && self.is_kept(move_name, &of) {
            Synced::Yes
        } else {
            Synced::No
        }
    }

    fn source_kept(&self, move_name: &str) -> SourceKept {
        let of = self.of(move_name);
        let follows = matches!(of.state.phase(), Phase::Divided | Phase::ReverseSync);
        if follows && self.is_kept(move_name, &of) { SourceKept::Yes } else { SourceKept::No }
    }

    fn carried(&self, move_name: &str) -> Carried {
        if self.of(move_name).is_carried() { Carried::Yes } else { Carried::No }
    }

    fn cleaned(&self, move_name: &str) -> Cleaned {
        let is_done = self.of(move_name).state.phase() == Phase::Done;
        if is_done && !self.cleanups.keeps_rows_that_left(move_name) { Cleaned::Yes } else { Cleaned::No }
    }
}

impl Moves {
    /// What earlier processes achieved.
    ///
    /// # Errors
    /// When the folder cannot be used, or what is in it cannot be read.
    pub fn open(shared: Arc<Shared>) -> std::io::Result<Moves> {
        let states = States::open(&shared.config.state_dir)?;
        let points = Points::open(&shared.config.state_dir)?;
        let rollbacks = Rollbacks::open(&shared.config.state_dir)?;
        let settings = ArcSwap::default();
        let cleanups = leftovers::Cleanups::open(&shared.config.state_dir)?;
        Ok(Moves {
            shared,
            states,
            live: Mutex::default(),
            settings,
            events: tokio::sync::Mutex::default(),
            single: SingleRows::default(),
            checking: check::Running::default(),
            cleanups,
            endings: ending::Endings::default(),
            points,
            rollbacks,
            backing_up: tokio::sync::Mutex::default(),
            tuning: tokio::sync::Mutex::default(),
        })
    }

    #[must_use]
    pub fn of(&self, name: &str) -> MoveState {
        self.states.of(name)
    }

    /// New rules are in force.
    pub fn set_settings(&self, settings: Arc<Settings>) {
        self.settings.store(settings);
    }

    fn settings(&self, name: &str) -> MoveSettings {
        self.settings.load().moves.get(name).cloned().unwrap_or_default()
    }

    fn show(&self, name: &str, shown: Shown) {
        self.live().entry(name.to_owned()).or_default().shown = shown;
    }

    /// What is shown of a move beside its state.
    #[must_use]
    pub fn shown(&self, name: &str) -> Shown {
        self.live().get(name).map(|live| live.shown.clone()).unwrap_or_default()
    }

    /// Something that is done for a move has failed, and is tried again.
    fn note_failures(&self, name: &str, count: usize) {
        self.live().entry(name.to_owned()).or_default().failures += count as u64;
    }

    /// How often something failed since the process started that is tried again: of the copy, of the streams, of
    /// everything else. Another copy and other streams begin with none.
    fn failures(&self, name: &str) -> [u64; 3] {
        let streams = self.tails(name).iter().map(|tail| tail.failures.load(Ordering::Relaxed)).sum();
        let live = self.live();
        live.get(name)
            .map_or([0; 3], |live| [live.progress.failures.load(Ordering::Relaxed), streams, live.failures])
    }

    fn set_pace(&self, name: &str, pace: Pace) {
        // Only a change wakes the workers.
        let set = |before: &mut Pace| std::mem::replace(before, pace) != pace;
        self.live().entry(name.to_owned()).or_default().pace.send_if_modified(set);
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tails(&self, name: &str) -> Vec<Arc<Tail>> {
        let live = self.live();
        let followers = live.get(name).map(|live| live.followers.as_slice()).unwrap_or_default();
        followers.iter().map(|follower| Arc::clone(&follower.tail)).collect()
    }

    fn waits(&self, name: &str, why: Option<String>) {
        self.live().entry(name.to_owned()).or_default().waits_for = why;
    }

    /// Which error the work of a move waits out; `None`: it goes on, or does not run.
    #[must_use]
    pub fn waits_out(&self, name: &str) -> Option<String> {
        let State::Running { .. } = self.of(name).state else { return None };
        let live = self.live();
        let live = live.get(name)?;
        live.waits_for.clone().or_else(|| live.progress.waits_for())
    }

    /// Rows copied and expected, while a copy runs or after it.
    #[must_use]
    pub fn progress(&self, name: &str) -> Option<Arc<Progress>> {
        self.live().get(name).map(|live| Arc::clone(&live.progress))
    }

    /// How the streams of a move are doing; `None`: it has none.
    #[must_use]
    pub fn streams(&self, name: &str) -> Option<Streams> {
        let tails = self.tails(name);
        if tails.is_empty() {
            return None;
        }
        let longest = |of: fn(&Tail) -> Option<Duration>| {
            tails
                .iter()
                .map(|tail| of(tail))
                .collect::<Option<Vec<_>>>()
                .and_then(|all| all.into_iter().max())
        };
        let told = |tail: &Arc<Tail>| {
            let position = tail.position().map(|position| position.to_string());
            let applied = tail.applied_changes.load(Ordering::Relaxed);
            (
                format!("{}:{}", tail.server().host, tail.server().port),
                tail.state().to_string(),
                position,
                applied,
            )
        };
        Some(Streams {
            tails: tails.iter().map(told).collect(),
            lag: longest(Tail::lag),
            arrived: longest(Tail::arrived),
            waits_for: tails.iter().find_map(|tail| waits_for(tail)),
        })
    }

    /// Does every write reach the other side? Beside a stream double write does not answer for that alone, because it
    /// knows nothing of what others write to the servers; but then a switch may wait for the stream to catch up.
    fn is_kept(&self, name: &str, of: &MoveState) -> bool {
        let tails = self.tails(name);
        let has_stream = !of.starts.is_empty();
        if of.is_kept_by_double_write {
            return !has_stream || !tails.is_empty();
        }
        !tails.is_empty() && tails.iter().all(|tail| waits_for(tail).is_none())
    }
}

/// What keeps a stream from being relied on. `None`: it follows, and it is known how closely.
fn waits_for(tail: &Tail) -> Option<String> {
    let server = format!("{}:{}", tail.server().host, tail.server().port);
    match tail.state() {
        TailState::Following if tail.lag().is_some() => None,
        TailState::Following => Some(format!("the first heartbeat of {server}")),
        state => Some(format!("the stream of {server}: {state}")),
    }
}

/// Begins a move, or goes on with one that failed.
///
/// # Errors
/// Why it cannot.
pub async fn start(control: &Arc<Control>, name: &str) -> Result<(), String> {
    let snapshot = control.shared.snapshot();
    find(&snapshot.topology, name)?;
    control.moves.happen(name, Event::Start).await
}

/// Lets what copies or compares rest.
///
/// # Errors
/// Why it cannot.
pub async fn pause(control: &Arc<Control>, name: &str) -> Result<(), String> {
    find(&control.shared.snapshot().topology, name)?;
    control.moves.happen(name, Event::Pause("an operator paused it".to_owned())).await
}

/// Goes on.
///
/// # Errors
/// Why it cannot.
pub async fn resume(control: &Arc<Control>, name: &str) -> Result<(), String> {
    find(&control.shared.snapshot().topology, name)?;
    control.moves.happen(name, Event::Resume).await
}

/// Closes the way back.
///
/// # Errors
/// Why it cannot.
pub async fn finish(control: &Arc<Control>, name: &str) -> Result<(), String> {
    find(&control.shared.snapshot().topology, name)?;
    control.moves.happen(name, Event::Finish).await
}

fn find<'a>(topology: &'a Topology, name: &str) -> Result<(MoveId, &'a Move), String> {
    let found = moves(topology).find(|(_, of)| of.name == name);
    found.ok_or_else(|| format!("no move `{name}` is in force; `shardway status` lists those that are"))
}

/// The tables of a move whose rows are on their way. Columns that a server could not tell when the rules came are asked
/// for again, so what needs them may be tried again.
fn on_their_way(topology: &Topology, by: MoveId) -> Result<Vec<MovingTable>, WorkError> {
    tables::of_move(topology, by).map_err(|refusal| match refusal.kind.id {
        id if id == refusal::SCHEMA_UNKNOWN.id => WorkError::Interrupted(refusal.to_string()),
        _ => refusal.into(),
    })
}

fn moves(topology: &Topology) -> impl Iterator<Item = (MoveId, &Move)> {
    (0..).map(MoveId).zip(&topology.moves)
}
