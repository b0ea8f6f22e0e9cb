//! What every worker, the control plane and the admin interface see of each other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use shardway_migration::heal::Journal;
use shardway_migration::lately::Lately;
use shardway_routing::lex::{Flavour, ServerVersion};
use shardway_routing::topology::{BackendId, Move, MoveId, TableId, Topology};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::backend::health::Health;
use crate::backend::replicas::{Moment, Replica, Replicas};
use crate::backend::warm::Warmth;
use crate::config::Config;
use crate::control::alarm::Alarm;
use crate::dirty::{DirtyKeys, Until};
use crate::followed::{Followed, Left};
use crate::gate::{Gate, GateName, Gates};
use crate::ids::Ids;
use crate::metrics::{Metrics, MoveMetrics};
use crate::session_info::SessionInfo;
use crate::shadow::Shadow;
use crate::wire::charset::SessionCharset;

/// The number of `utf8mb4_general_ci`.
pub const UTF8MB4: u8 = 45;

/// One version of the rules in force, with the gates of its tables looked up.
#[derive(Debug)]
pub struct Snapshot {
    pub topology: Topology,
    /// By [`TableId`].
    pub table_gates: Vec<Arc<Gate>>,
    /// By database id.
    pub database_gates: Vec<Arc<Gate>>,
    /// By move id.
    move_metrics: Vec<Arc<MoveMetrics>>,
    /// By backend id, in the order of its replicas.
    replicas: Vec<Vec<Arc<Replica>>>,
    /// Since when these rules are in force. What was seen before may have been on other backends, as far as replicas
    /// know: they answer once they have what was there by then.
    pub since: Moment,
}

impl Snapshot {
    #[must_use]
    pub fn new(
        topology: Topology,
        gates: &Gates,
        metrics: &Metrics,
        replicas: &Replicas,
        since: Moment,
    ) -> Snapshot {
        let database =
            |id: shardway_routing::topology::DatabaseId| topology.databases[usize::from(id.0)].name.clone();
        let table_gates = topology
            .tables
            .iter()
            .map(|table| {
                gates.gate(&GateName::Table(database(table.database), table.name.to_ascii_lowercase()))
            })
            .collect();
        let database_gates = topology
            .databases
            .iter()
            .map(|database| gates.gate(&GateName::Database(database.name.clone())))
            .collect();
        let move_metrics = topology.moves.iter().map(|of| metrics.of_move(&of.name)).collect();
        let replicas = replicas.of(&topology);
        Snapshot { topology, table_gates, database_gates, move_metrics, replicas, since }
    }

    /// A backend's replicas, in the order of the rules.
    #[must_use]
    pub fn replicas(&self, backend: BackendId) -> &[Arc<Replica>] {
        &self.replicas[usize::from(backend.0)]
    }

    #[must_use]
    pub fn metrics_of(&self, by: MoveId) -> &MoveMetrics {
        &self.move_metrics[usize::from(by.0)]
    }

    #[must_use]
    pub fn table_gate(&self, table: TableId) -> &Arc<Gate> {
        &self.table_gates[table.0 as usize]
    }
}

/// The state of the process that everybody shares.
#[derive(Debug)]
pub struct Shared {
    /// As the process was started.
    pub config: Arc<Config>,
    /// As its file says now.
    configured: ArcSwap<Config>,
    pub started: Instant,
    snapshot: ArcSwap<Snapshot>,
    pub gates: Gates,
    pub dirty: DirtyKeys,
    /// What double write wrote last of moves that no stream follows.
    pub lately: Lately,
    pub followed: Followed,
    pub ids: Ids,
    pub shadow: Shadow,
    /// By connection id.
    pub sessions: DashMap<u64, Arc<SessionInfo>>,
    /// By backend name.
    health: DashMap<String, Arc<Health>>,
    pub replicas: Replicas,
    pub warmth: Warmth,
    pub metrics: Metrics,
    pub alarm: Alarm,
    server: ArcSwap<Announced>,
    next_session: AtomicU64,
    forgotten: UnboundedSender<(Journal, u64)>,
    /// Taken once, by the task that empties journals.
    to_forget: Mutex<Option<UnboundedReceiver<(Journal, u64)>>>,
}

/// What a backend says of itself that clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// As `VERSION()` has it.
    pub version: String,
    /// The number of its collation, if that is one of `utf8mb4`.
    pub collation: u8,
    /// Of sessions that ask for none.
    pub charset: SessionCharset,
}

/// What the greeting says, and what it means for lexing.
#[derive(Debug)]
struct Announced {
    text: String,
    number: ServerVersion,
    collation: u8,
    charset: SessionCharset,
}

impl Announced {
    fn new(text: String, collation: u8, charset: SessionCharset) -> Announced {
        Announced { number: version_number(&text), text, collation, charset }
    }
}

impl Shared {
    /// Users, the admin token, TLS and limits, for whoever comes now.
    #[must_use]
    pub fn configured(&self) -> Arc<Config> {
        self.configured.load_full()
    }

    /// The configuration has been read again.
    pub fn renewed(&self, config: Config) {
        self.configured.store(Arc::new(config));
    }

    /// A process with no rules in force yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Shared {
        let gates = Gates::new(config.limits.held_statements);
        let metrics = Metrics::default();
        let replicas = Replicas::default();
        let snapshot = Snapshot::new(Topology::empty(), &gates, &metrics, &replicas, Moment(0));
        let (forgotten, to_forget) = unbounded_channel();
        let announced = config.server_version.clone().unwrap_or_else(|| "8.0.0-shardway".to_owned());
        Shared {
            configured: ArcSwap::new(Arc::clone(&config)),
            started: Instant::now(),
            snapshot: ArcSwap::from_pointee(snapshot),
            gates,
            dirty: DirtyKeys::default(),
            lately: Lately::default(),
            followed: Followed::default(),
            ids: Ids::new(&config),
            shadow: Shadow::default(),
            sessions: DashMap::new(),
            health: DashMap::new(),
            replicas,
            warmth: Warmth::default(),
            metrics,
            alarm: Alarm::default(),
            server: ArcSwap::from_pointee(Announced::new(announced, UTF8MB4, SessionCharset::default())),
            next_session: AtomicU64::new(1),
            forgotten,
            to_forget: Mutex::new(Some(to_forget)),
            config,
        }
    }

    /// The rules in force now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// By the process's own clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    #[must_use]
    pub fn is_current(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot.load(), snapshot)
    }

    /// Puts a topology in force. Only the rule store calls this, behind whatever barrier the change needs.
    pub fn publish(&self, topology: Topology) {
        let next = Snapshot::new(topology, &self.gates, &self.metrics, &self.replicas, self.now());
        self.snapshot.store(Arc::new(next));
    }

    /// The health of a backend, by its name in the rules.
    #[must_use]
    pub fn health(&self, backend: &str) -> Arc<Health> {
        Arc::clone(&self.health.entry(backend.to_owned()).or_default())
    }

    /// Greets clients as this backend does; the configuration's own version wins.
    pub fn announce(&self, backend: &Announcement) {
        let text = self.config.server_version.clone().unwrap_or_else(|| greeted(&backend.version));
        self.server.store(Arc::new(Announced::new(text, backend.collation, backend.charset.clone())));
    }

    /// Both sides have a transaction's rows: its journal entries may go, when somebody has time.
    pub fn forget(&self, journal: Journal, token: u64) {
        // Without a receiver the process is ending; healing will remove the entries.
        let _ = self.forgotten.send((journal, token));
    }

    /// From now on the authority answers all reads of a move's tables, until its streams have brought over what was
    /// written before; the answer is to be left to them.
    #[must_use]
    pub fn doubt(&self, topology: &Topology, of: &Move) -> Left {
        let token = rand::random();
        let tables: Vec<_> = topology.full_names(of).into_iter().map(|table| (table, None)).collect();
        let keys = tables.len() as u64;
        self.dirty.add(token, tables, Until::Streamed);
        Left { move_name: of.name.clone(), token, keys }
    }

    /// Where keys have not been noted because they were too many, and few enough are left: notes them again.
    pub fn note_again(&self, move_name: &str) {
        let snapshot = self.snapshot();
        let of = snapshot.topology.moves.iter().find(|of| of.name == move_name);
        let Some(of) = of.filter(|_| self.followed.may_note_again(move_name)) else { return };
        let left = self.doubt(&snapshot.topology, of);
        self.followed.note_again(move_name);
        self.followed.leave(left);
    }

    /// The queue of [`Shared::forget`], for its one reader.
    pub fn take_forgotten(&self) -> Option<UnboundedReceiver<(Journal, u64)>> {
        self.to_forget.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The version string of the greeting.
    #[must_use]
    pub fn greeting_version(&self) -> String {
        self.server.load().text.clone()
    }

    /// The collation's number in the greeting.
    #[must_use]
    pub fn greeting_collation(&self) -> u8 {
        self.server.load().collation
    }

    /// What sessions get that ask for no character set.
    #[must_use]
    pub fn default_charset(&self) -> SessionCharset {
        self.server.load().charset.clone()
    }

    #[must_use]
    pub fn server_version(&self) -> ServerVersion {
        self.server.load().number
    }

    /// Registers a client's connection; it is forgotten when the returned guard goes.
    pub fn enter_session(self: &Arc<Shared>, peer: SocketAddr) -> Registered {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let info = Arc::new(SessionInfo::new(id, peer));
        self.sessions.insert(id, Arc::clone(&info));
        Registered { info, shared: Arc::clone(self) }
    }
}

/// A session's place in [`Shared::sessions`].
#[derive(Debug)]
pub struct Registered {
    pub info: Arc<SessionInfo>,
    shared: Arc<Shared>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.sessions.remove(&self.info.id);
    }
}

/// How a server of this `VERSION()` greets: MariaDB before 11 says that it is 5.5.5, and clients look for that.
fn greeted(version: &str) -> String {
    let number = version_number(version);
    let hides =
        number.flavour == Flavour::MariaDb && number.number < 110_000 && !version.starts_with("5.5.5-");
    if hides { format!("5.5.5-{version}") } else { version.to_owned() }
}

/// `8.0.32-…` or `5.5.5-10.11.6-MariaDB-…` as flavour and number.
fn version_number(text: &str) -> ServerVersion {
    let flavour = if text.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    let digits = text.strip_prefix("5.5.5-").filter(|_| flavour == Flavour::MariaDb).unwrap_or(text);
    let mut parts = digits.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0_u32));
    let mut next = || parts.next().unwrap_or(0).min(99);
    let number = next() * 10_000 + next() * 100 + next();
    ServerVersion { flavour, number }
}
