//! Rules desired and in force.
//!
//! One change at a time: read, check, ask the backends for columns, compare with what is in force, close the gates that
//! the change needs, publish, note in the history. Whatever fails, the old rules stay in force, and the status says why.

mod asked;
mod at_once;
mod status;

pub use status::RulesStatus;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardway_migration::report::Evidence;
use shardway_migration::settings::{Holds, Settings};
use shardway_routing::refusal;
use shardway_routing::rules;
use shardway_routing::topology::{Move, Topology};
use shardway_routing::transition::{Change, Hold, Transition, transition};
use tokio::sync::{RwLockWriteGuard, watch};

use super::columns::{Ask, Attached, Columns};
use super::deadline::Deadline;
use super::history::{History, Version};
use super::moves::Moves;
use super::rule_file;
use super::steps::{Step, reached};
use super::stored::{self, Stored};
use crate::gate::GateName;
use crate::shared::Shared;

/// How long a barrier that belongs to no move waits.
const HOLD: Duration = Duration::from_secs(3);

/// The rules of this process.
#[derive(Debug)]
pub struct RuleStore {
    shared: Arc<Shared>,
    moves: Arc<Moves>,
    /// Held while a version is brought into force.
    changing: tokio::sync::Mutex<()>,
    /// How many wait to change the rules at once.
    emergency: watch::Sender<usize>,
    columns: Columns,
    stored: Stored,
    /// Whether a backend has told its version yet.
    is_announced: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    history: History,
    desired: String,
    desired_version: u64,
    /// The last number that a text was given; none is given twice.
    last_version: u64,
    last_error: Option<String>,
    /// Of the version in force.
    settings: Arc<Settings>,
    /// Tables that are served by columns which their home has not told.
    unconfirmed: BTreeSet<String>,
    /// What contradicts the rules in force of what backends have told since.
    columns_error: Option<String>,
}

/// A text that can be brought into force.
struct Loaded {
    topology: Topology,
    settings: Settings,
    unconfirmed: BTreeSet<String>,
}

/// A change that may be made, before anything is held for it.
struct Near<'a> {
    loaded: Loaded,
    before: Before,
    /// What it holds.
    names: Vec<GateName>,
    limit: Duration,
    evidence: BTreeMap<String, Evidence>,
    /// Keeps single rows from being copied meanwhile.
    quiet: Option<RwLockWriteGuard<'a, ()>>,
}

/// The rules that a change starts from.
struct Before {
    topology: Topology,
    /// Said after a refusal when they are not those in force.
    told: String,
}

impl RuleStore {
    /// A store with the history of earlier processes, and no rules in force.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub fn open(shared: Arc<Shared>, moves: Arc<Moves>) -> io::Result<RuleStore> {
        let history = History::open(&shared.config.state_dir)?;
        let desired_version = history.last().map_or(0, |version| version.version);
        let state = State {
            history,
            desired: String::new(),
            desired_version,
            last_version: desired_version,
            last_error: None,
            settings: Arc::default(),
            unconfirmed: BTreeSet::new(),
            columns_error: None,
        };
        let is_announced = AtomicBool::new(false);
        let columns = Columns::open(&shared.config.state_dir);
        Ok(RuleStore {
            shared,
            moves,
            changing: tokio::sync::Mutex::new(()),
            emergency: watch::Sender::new(0),
            columns,
            stored: Stored::default(),
            is_announced,
            state: Mutex::new(state),
        })
    }

    /// Brings a rule file's text into force. Returns the version in force.
    ///
    /// # Errors
    /// Every reason why not; the old rules stay in force.
    pub async fn apply(&self, text: &str, reason: &str) -> Result<u64, String> {
        let _changing = self.changing.lock().await;
        if self.is_in_force(text) {
            return Ok(self.desire_what_is_in_force(text));
        }
        let version = self.desire(text);
        match self.bring_into_force(text, version, reason).await {
            Ok(()) => {
                self.lock().last_error = None;
                tracing::info!(version, reason, "rules are in force");
                Ok(version)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A change was refused: the rules that it began with are desired again, unless somebody has changed them since.
    pub async fn take_back(&self, text: &str) {
        let _changing = self.changing.lock().await;
        if self.is_in_force(text) {
            self.desire_what_is_in_force(text);
        }
    }

    /// Brings the first rules of a process into force: the file's. A switch that the file asks for cannot be judged before
    /// the streams are followed, so the rules that an earlier process had in force begin again then, and the status says
    /// what is desired beyond them.
    ///
    /// # Errors
    /// Why no rules can be in force.
    pub async fn begin(&self, text: &str) -> Result<u64, String> {
        self.moves.recover(&self.before()?.topology)?;
        let refused = match self.apply(text, "start").await {
            Ok(version) => return Ok(version),
            Err(refused) => refused,
        };
        let Some(last) = self.lock().history.last().cloned() else { return Err(refused) };
        if !self.waits_for_moves(text).await {
            return Err(refused);
        }
        let _changing = self.changing.lock().await;
        self.bring_into_force(&last.text, last.version, "start").await?;
        self.failed(format!("{refused}; version {} goes on; save the file again to retry", last.version));
        Ok(last.version)
    }

    /// Does nothing but the state of moves speak against a rule file?
    async fn waits_for_moves(&self, text: &str) -> bool {
        let ids = [refusal::NOT_SYNCED.id, refusal::SOURCE_NOT_KEPT.id, refusal::ROWS_LEFT.id];
        self.plan(text)
            .await
            .is_ok_and(|change| change.refusals().all(|(_, refused)| ids.contains(&refused.kind.id)))
    }

    /// What a rule file's text would change, without changing it.
    ///
    /// # Errors
    /// The problems of the text.
    pub async fn plan(&self, text: &str) -> Result<Transition, String> {
        let next = self.lock().last_version + 1;
        let loaded = self.load(text, next).await?;
        let mut planned = transition(&self.before()?.topology, &loaded.topology, &*self.moves);
        let travel = loaded.settings.changed_since(&self.settings());
        let to = |holds| match holds {
            Holds::AtOnce => "as written now",
            Holds::FromTheNextStart => "as written now, from the next start or resume of the copy on",
        };
        let travel = travel.into_iter().map(|(rule, holds)| Change::instant(rule, "as before", to(holds)));
        planned.changes.extend(travel);
        Ok(planned)
    }

    /// Notes why the desired rules are not in force.
    pub fn failed(&self, error: String) -> String {
        tracing::error!(error, "the rules in force stay");
        self.lock().last_error = Some(error.clone());
        error
    }

    /// A text that differs from the last one desired gets the next version.
    fn desire(&self, text: &str) -> u64 {
        let mut state = self.lock();
        if state.desired != text {
            state.desired = text.to_owned();
            // What was said of the last text says nothing of this one.
            state.last_error = None;
            // At the start the file may be what was in force before.
            let same = state
                .history
                .last()
                .is_some_and(|last| last.text == text && last.version == state.desired_version);
            if !same {
                state.last_version += 1;
                state.desired_version = state.last_version;
            }
        }
        state.desired_version
    }

    /// The text of the rules in force is desired, whatever was before.
    fn desire_what_is_in_force(&self, text: &str) -> u64 {
        let mut state = self.lock();
        state.desired = text.to_owned();
        state.desired_version = self.shared.snapshot().topology.version;
        state.last_error = None;
        state.desired_version
    }

    /// Judges a text, and does for it what can be done before statements are held.
    async fn near(&self, text: &str, version: u64) -> Result<Near<'_>, String> {
        let loaded = self.load(text, version).await?;
        let Loaded { topology, settings, .. } = &loaded;
        let mut before = self.before()?;
        if self.shared.snapshot().topology.version == 0 {
            // Keys of lists are what their column makes of them. A table that has changed since stays without.
            if let Err(error) = at_once::keep_columns(topology, &mut before.topology) {
                tracing::warn!(error, "the rules that were in force do not fit the tables as they are");
            }
        }
        let change = transition(&before.topology, topology, &*self.moves);
        let refusals: Vec<String> =
            change.refusals().map(|(change, refusal)| format!("{}: {refusal}", change.rule)).collect();
        if !refusals.is_empty() {
            return Err(format!("{}{}", refusals.join("\n"), before.told));
        }
        self.moves.capture_stays(&before.topology, topology)?;
        self.moves.were_equal(&before.topology, topology, settings)?;
        self.moves.look_for_drift(&before.topology, topology, settings).await?;
        let limit = hold_limit(&before.topology, topology);
        let names: Vec<GateName> = change.holds().into_iter().map(gate_name).collect();
        let quiet = if names.is_empty() { None } else { Some(self.moves.quiet().await?) };
        self.moves.before_hold(&before.topology, topology, limit).await?;
        if let Some(in_force) = self.in_force() {
            self.moves.points_before(&before.topology, topology, &in_force).await;
        }
        self.moves.near(&before.topology, topology, limit).await?;
        let evidence = self.moves.evidence(&before.topology, topology);
        Ok(Near { loaded, before, names, limit, evidence, quiet })
    }

    async fn bring_into_force(&self, text: &str, version: u64, reason: &str) -> Result<(), String> {
        let near = self.unless_emergency(self.near(text, version)).await.flatten()?;
        let Near { loaded, before, names, limit, evidence, quiet } = near;
        let Loaded { topology, settings, unconfirmed } = loaded;
        let (began, deadline) = (Instant::now(), Deadline::after(limit));
        let held = self.unless_emergency(self.shared.gates.hold(&names, deadline.left())).await?;
        let held = held.map_err(|error| format!("{error}; save the file again to retry"))?;
        reached(Step::Hold).await;
        let prepared = self.moves.before_publish(&before.topology, &topology, deadline);
        let prepared = self.unless_emergency(prepared).await;
        let prepared = prepared.unwrap_or_else(|emergency| Err(emergency.into()));
        // The point of no return: a process that ends after this begins again with the new rules.
        let noted = prepared.and_then(|passed| Ok((passed, self.note(text, version, reason)?)));
        let passed = match noted {
            Ok((passed, ())) => passed,
            Err(unready) => {
                // Those who wait go on at once; what the old rules need follows by itself.
                drop(held);
                self.moves.undo(&before.topology).await;
                return Err(self.moves.told(unready).await);
            }
        };
        reached(Step::Journal).await;
        self.moves.before_division(&before.topology, &topology);
        self.shared.publish(topology);
        let settings = Arc::new(settings);
        self.moves.set_settings(Arc::clone(&settings));
        {
            let mut state = self.lock();
            state.settings = settings;
            state.unconfirmed = unconfirmed;
            state.columns_error = None;
        }
        drop((held, quiet));
        let in_force = self.shared.snapshot();
        self.moves.note_switches(&before.topology, &in_force.topology, began.elapsed(), evidence, passed);
        reached(Step::Publish).await;
        self.moves.after_publish(&self.shared.snapshot().topology).await;
        if let Some(in_force) = self.in_force() {
            self.moves.points_after(&before.topology, in_force);
        }
        Ok(())
    }

    /// What a change is measured against. A restart forgets the topology but not where the rows are, so the first
    /// rules of a process are compared with the last that an earlier one had in force.
    fn before(&self) -> Result<Before, String> {
        let snapshot = self.shared.snapshot();
        if snapshot.topology.version > 0 {
            return Ok(Before { topology: snapshot.topology.clone(), told: String::new() });
        }
        let Some(last) = self.lock().history.last().cloned() else {
            return Ok(Before { topology: Topology::empty(), told: String::new() });
        };
        let number = last.version;
        let variable = |name: &str| std::env::var(name).ok();
        let mut topology = rules::load(&last.text, &variable, number).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let folder = self.shared.config.state_dir.join("rules");
            format!(
                "version {number}, in force before this start, cannot be read any more, so nobody can tell whether \
                 these rules hide rows: {}; restore what it needs, or move {} away if you are sure",
                problems.join("; "),
                folder.display()
            )
        })?;
        topology.settle(&rule_file::folder(&self.shared.config.rules));
        let told = format!("\n(compared with version {number}, which was in force before this start)");
        Ok(Before { topology, told })
    }

    /// A table whose columns nobody can tell stays without; statements on it are refused until somebody does.
    async fn load(&self, text: &str, version: u64) -> Result<Loaded, String> {
        let (mut topology, settings) = rule_file::load(&self.shared.config.rules, text, version)?;
        let attached = self.columns.attach(&self.shared, &mut topology, &BTreeSet::new(), Ask::All).await;
        self.announce(&attached);
        self.stored.attach(&mut topology, stored::Ask::Unknown).await;
        if attached.problems.is_empty() {
            Ok(Loaded { topology, settings, unconfirmed: attached.unconfirmed })
        } else {
            Err(attached.problems.join("\n"))
        }
    }

    /// Greets clients as the first backend that answered.
    fn announce(&self, attached: &Attached) {
        if let Some(server) = &attached.server {
            self.shared.announce(server);
            self.is_announced.store(true, Ordering::Release);
        }
    }

    fn note(&self, text: &str, version: u64, reason: &str) -> Result<(), String> {
        let in_force_since = now_s();
        let mut state = self.lock();
        if state.history.last().is_some_and(|last| last.version == version && last.text == text) {
            return Ok(());
        }
        let version = Version { version, in_force_since, reason: reason.to_owned(), text: text.to_owned() };
        state.history.add(version).map_err(|error| format!("the history of rules cannot be written: {error}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The shortest patience among the moves that change: their statements are held together.
fn hold_limit(old: &Topology, new: &Topology) -> Duration {
    let stays = |of: &Move| {
        let before = old.moves.iter().find(|before| before.name == of.name);
        before.is_some_and(|before| (before.owners(), before.double_write) == (of.owners(), of.double_write))
    };
    let limits = new.moves.iter().filter(|of| !stays(of)).map(|of| Duration::from_millis(of.hold_ms));
    limits.min().unwrap_or(HOLD)
}

fn gate_name(hold: Hold) -> GateName {
    match hold {
        Hold::Table { database, table } => GateName::Table(database, table),
        Hold::Unnamed { database } => GateName::Database(database),
    }
}
