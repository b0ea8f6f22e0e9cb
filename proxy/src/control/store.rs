//! Rules desired and in force.
//!
//! One change at a time: read, check, ask the backends for columns, compare with what is in force, close the gates that
//! the change needs, publish, note in the history. Whatever fails, the old rules stay in force, and the status says why.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shardway_migration::schema;
use shardway_routing::rules;
use shardway_routing::topology::{Node, Side, TableId, Topology};
use shardway_routing::transition::{Hold, Transition, transition};

use super::history::{History, Version};
use super::moves::Moves;
use crate::control_connection;
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
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    history: History,
    desired: String,
    desired_version: u64,
    last_error: Option<String>,
}

/// What the status says about the rules.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RulesStatus {
    pub file: PathBuf,
    pub desired_version: u64,
    pub in_force_version: u64,
    pub last_error: Option<String>,
}

impl RuleStore {
    /// A store with the history of earlier processes, and no rules in force.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub fn open(shared: Arc<Shared>, moves: Arc<Moves>) -> io::Result<RuleStore> {
        let history = History::open(&shared.config.state_dir)?;
        let desired_version = history.last().map_or(0, |version| version.version);
        let state = State { history, desired: String::new(), desired_version, last_error: None };
        Ok(RuleStore { shared, moves, changing: tokio::sync::Mutex::new(()), state: Mutex::new(state) })
    }

    /// Brings a rule file's text into force. Returns the version in force.
    ///
    /// # Errors
    /// Every reason why not; the old rules stay in force.
    pub async fn apply(&self, text: &str, reason: &str) -> Result<u64, String> {
        let _changing = self.changing.lock().await;
        let version = self.desire(text);
        if self.is_in_force(text) {
            self.lock().last_error = None;
            return Ok(version);
        }
        match self.bring_into_force(text, version, reason).await {
            Ok(()) => {
                self.lock().last_error = None;
                tracing::info!(version, reason, "rules are in force");
                Ok(version)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What a rule file's text would change, without changing it.
    ///
    /// # Errors
    /// The problems of the text.
    pub async fn plan(&self, text: &str) -> Result<Transition, String> {
        let next = self.lock().desired_version + 1;
        let topology = self.load(text, next).await?;
        Ok(transition(&self.shared.snapshot().topology, &topology, &*self.moves))
    }

    /// Notes why the desired rules are not in force.
    pub fn failed(&self, error: String) -> String {
        tracing::error!(error, "the rules in force stay");
        self.lock().last_error = Some(error.clone());
        error
    }

    #[must_use]
    pub fn status(&self) -> RulesStatus {
        let state = self.lock();
        RulesStatus {
            file: self.shared.config.rules.clone(),
            desired_version: state.desired_version,
            in_force_version: self.shared.snapshot().topology.version,
            last_error: state.last_error.clone(),
        }
    }

    /// The versions that have been in force, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Version> {
        self.lock().history.all().to_vec()
    }

    /// Reads the columns that could not be read when the rules came.
    pub async fn complete(&self) {
        let _changing = self.changing.lock().await;
        let mut topology = self.shared.snapshot().topology.clone();
        let missing =
            |topology: &Topology| topology.tables.iter().filter(|table| table.schema.is_none()).count();
        let before = missing(&topology);
        match self.attach(&mut topology).await {
            Ok(()) if missing(&topology) < before => self.shared.publish(topology),
            Ok(()) => {}
            Err(error) => {
                self.failed(error);
            }
        }
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
                state.desired_version += 1;
            }
        }
        state.desired_version
    }

    fn is_in_force(&self, text: &str) -> bool {
        let version = self.shared.snapshot().topology.version;
        let state = self.lock();
        version > 0 && state.history.last().is_some_and(|last| last.version == version && last.text == text)
    }

    async fn bring_into_force(&self, text: &str, version: u64, reason: &str) -> Result<(), String> {
        let topology = self.load(text, version).await?;
        let in_force = self.shared.snapshot();
        let change = transition(&in_force.topology, &topology, &*self.moves);
        let refusals: Vec<String> =
            change.refusals().map(|(change, refusal)| format!("{}: {refusal}", change.rule)).collect();
        if !refusals.is_empty() {
            return Err(refusals.join("\n"));
        }
        let names: Vec<GateName> = change.holds().into_iter().map(gate_name).collect();
        let limit = topology.moves.iter().map(|of| Duration::from_millis(of.hold_ms)).max().unwrap_or(HOLD);
        let held = if names.is_empty() {
            None
        } else {
            let held = self.shared.gates.hold(&names, limit).await;
            Some(held.map_err(|error| format!("{error}; save the file again to retry"))?)
        };
        self.moves.before_publish(&self.shared, &in_force.topology, &topology).await?;
        self.note(text, version, reason)?;
        self.shared.publish(topology);
        drop(held);
        Ok(())
    }

    async fn load(&self, text: &str, version: u64) -> Result<Topology, String> {
        let file = &self.shared.config.rules;
        let variable = |name: &str| std::env::var(name).ok();
        let mut topology = rules::load(text, &variable, version).map_err(|problems| {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
            lines.join("\n")
        })?;
        self.attach(&mut topology).await?;
        Ok(topology)
    }

    /// Asks the tables' own backends for their columns. A backend that is down is asked again later; until then
    /// statements on the table are refused.
    async fn attach(&self, topology: &mut Topology) -> Result<(), String> {
        let mut announced = false;
        for id in (0..topology.tables.len()).filter_map(|id| u32::try_from(id).ok()).map(TableId) {
            if topology.table_of(id).schema.is_some() {
                continue;
            }
            let Some((node, database)) = home(topology, id) else { continue };
            let backend = topology.backend(node.backend).clone();
            let physical = topology.physical_database(node.backend, &database).to_owned();
            let health = self.shared.health(&backend.name);
            let read = async {
                let mut connection = control_connection::connect(&backend.primary).await?;
                if !announced {
                    let version =
                        mysql_async::prelude::Queryable::query_first(&mut connection, "SELECT VERSION()")
                            .await?;
                    let version: Option<String> = version;
                    self.shared.announce(&version.unwrap_or_default());
                }
                let schema = schema::read(&mut connection, &physical, &node.table).await?;
                connection.disconnect().await?;
                Ok::<_, mysql_async::Error>(schema)
            };
            match read.await {
                Ok(Some(schema)) => {
                    announced = true;
                    let name = topology.full_name(id);
                    rules::attach(topology, id, Arc::new(schema))
                        .map_err(|error| format!("tables.{name}: {error}"))?;
                }
                Ok(None) => {
                    tracing::warn!(
                        backend = backend.name,
                        table = node.table,
                        "the table does not exist there yet"
                    );
                }
                Err(error) => health.failed(&error.to_string()),
            }
        }
        Ok(())
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

/// A node that has the table now: one of the side that owns writes.
fn home(topology: &Topology, id: TableId) -> Option<(Node, String)> {
    let table = topology.table_of(id);
    let side = table.moving.as_ref().map_or(Side::Target, |moving| topology.move_of(moving.by).writes);
    let node = table.placement(side).nodes().first()?.clone();
    Some((node, topology.database_of(table.database).name.clone()))
}

fn gate_name(hold: Hold) -> GateName {
    match hold {
        Hold::Table { database, table } => GateName::Table(database, table),
        Hold::Unnamed { database } => GateName::Database(database),
    }
}
