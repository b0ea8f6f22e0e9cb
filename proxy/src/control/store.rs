//! Rules desired and in force.
//!
//! One change at a time: read, check, ask the backends for columns, compare with what is in force, close the gates that
//! the change needs, publish, note in the history. Whatever fails, the old rules stay in force, and the status says why.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable as _;
use shardway_migration::schema;
use shardway_routing::rules;
use shardway_routing::schema::TableSchema;
use shardway_routing::topology::{Node, Server, Side, TableId, Topology};
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
    /// Whether a backend has told its version yet.
    is_announced: AtomicBool,
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
        let state = State { history, desired: String::new(), desired_version, last_error: None };
        let is_announced = AtomicBool::new(false);
        Ok(RuleStore {
            shared,
            moves,
            changing: tokio::sync::Mutex::new(()),
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
        Ok(transition(&self.before()?.topology, &topology, &*self.moves))
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

    /// Is something unknown that only a backend can tell?
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        let snapshot = self.shared.snapshot();
        let unknown = snapshot.topology.tables.iter().any(|table| table.schema.is_none());
        unknown || !self.is_announced.load(Ordering::Acquire)
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
        let before = self.before()?;
        let change = transition(&before.topology, &topology, &*self.moves);
        let refusals: Vec<String> =
            change.refusals().map(|(change, refusal)| format!("{}: {refusal}", change.rule)).collect();
        if !refusals.is_empty() {
            return Err(format!("{}{}", refusals.join("\n"), before.told));
        }
        let names: Vec<GateName> = change.holds().into_iter().map(gate_name).collect();
        let limit = topology.moves.iter().map(|of| Duration::from_millis(of.hold_ms)).max().unwrap_or(HOLD);
        let held = if names.is_empty() {
            None
        } else {
            let held = self.shared.gates.hold(&names, limit).await;
            Some(held.map_err(|error| format!("{error}; save the file again to retry"))?)
        };
        self.moves.before_publish(&self.shared, &before.topology, &topology).await?;
        self.note(text, version, reason)?;
        self.shared.publish(topology);
        drop(held);
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
        let topology = rules::load(&last.text, &variable, number).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let folder = self.shared.config.state_dir.join("rules");
            format!(
                "version {number}, in force before this start, cannot be read any more, so nobody can tell whether \
                 these rules hide rows: {}; restore what it needs, or move {} away if you are sure",
                problems.join("; "),
                folder.display()
            )
        })?;
        let told = format!("\n(compared with version {number}, which was in force before this start)");
        Ok(Before { topology, told })
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

    /// Asks the tables' own backends for their columns, each backend over one connection, and announces the version of
    /// the first that answers. A backend that is down is asked again later; until then statements on its tables are
    /// refused.
    async fn attach(&self, topology: &mut Topology) -> Result<(), String> {
        let mut wanted: Vec<Vec<Wanted>> = topology.backends.iter().map(|_| Vec::new()).collect();
        for id in (0..).map(TableId).take(topology.tables.len()) {
            if topology.table_of(id).schema.is_none()
                && let Some(home) = home(topology, id)
            {
                wanted[usize::from(home.node.backend.0)].push(home);
            }
        }
        let mut announced = false;
        for (backend, wanted) in topology.backends.clone().iter().zip(wanted) {
            if announced && wanted.is_empty() {
                continue;
            }
            let (version, schemas) = match ask(&backend.primary, &wanted).await {
                Ok(answers) => answers,
                Err(error) => {
                    self.shared.health(&backend.name).failed(&error.to_string());
                    continue;
                }
            };
            if let Some(version) = version.filter(|_| !announced) {
                self.shared.announce(&version);
                self.is_announced.store(true, Ordering::Release);
                announced = true;
            }
            for (home, schema) in wanted.into_iter().zip(schemas) {
                let name = topology.full_name(home.id);
                match schema {
                    Some(schema) => rules::attach(topology, home.id, Arc::new(schema))
                        .map_err(|error| format!("tables.{name}: {error}"))?,
                    None => {
                        tracing::warn!(backend = backend.name, table = name, "the table is not there yet")
                    }
                }
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

/// A table whose columns are to be read, and where.
struct Wanted {
    id: TableId,
    node: Node,
    /// The physical one.
    database: String,
}

/// A node that has the table now: one of the side that owns writes.
fn home(topology: &Topology, id: TableId) -> Option<Wanted> {
    let table = topology.table_of(id);
    let side = table.moving.as_ref().map_or(Side::Target, |moving| topology.move_of(moving.by).writes);
    let node = table.placement(side).nodes().first()?.clone();
    let logical = &topology.database_of(table.database).name;
    let database = topology.physical_database(node.backend, logical).to_owned();
    Some(Wanted { id, node, database })
}

/// The version of a server, and the columns of each table that it has.
async fn ask(
    server: &Server,
    wanted: &[Wanted],
) -> Result<(Option<String>, Vec<Option<TableSchema>>), mysql_async::Error> {
    let mut connection = control_connection::connect(server).await?;
    let version = connection.query_first("SELECT VERSION()").await?;
    let mut schemas = Vec::with_capacity(wanted.len());
    for table in wanted {
        schemas.push(schema::read(&mut connection, &table.database, &table.node.table).await?);
    }
    connection.disconnect().await?;
    Ok((version, schemas))
}

fn gate_name(hold: Hold) -> GateName {
    match hold {
        Hold::Table { database, table } => GateName::Table(database, table),
        Hold::Unnamed { database } => GateName::Database(database),
    }
}
