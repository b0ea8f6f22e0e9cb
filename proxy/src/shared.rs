//! What every worker, the control plane and the admin interface see of each other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use shardway_migration::heal::Journal;
use shardway_routing::key::KeyValue;
use shardway_routing::lex::{Flavour, ServerVersion};
use shardway_routing::topology::{TableId, Topology};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::backend::health::Health;
use crate::config::Config;
use crate::gate::{Gate, GateName, Gates};
use crate::metrics::Metrics;
use crate::session_info::SessionInfo;

/// One version of the rules in force, with the gates of its tables looked up.
#[derive(Debug)]
pub struct Snapshot {
    pub topology: Topology,
    /// By [`TableId`].
    pub table_gates: Vec<Arc<Gate>>,
    /// By database id.
    pub database_gates: Vec<Arc<Gate>>,
}

impl Snapshot {
    #[must_use]
    pub fn new(topology: Topology, gates: &Gates) -> Snapshot {
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
        Snapshot { topology, table_gates, database_gates }
    }

    #[must_use]
    pub fn table_gate(&self, table: TableId) -> &Arc<Gate> {
        &self.table_gates[table.0 as usize]
    }
}

/// Shard keys whose rows may differ between the two sides of a move until they are healed.
///
/// In memory for reads: the durable record is the journal on the authority. Loaded from there at start.
#[derive(Debug, Default)]
pub struct DirtyKeys {
    /// By the transaction's token.
    transactions: DashMap<u64, Vec<Dirty>>,
    /// Transactions by table and key.
    keys: DashMap<Dirty, u32>,
}

/// Logical `database.table` and shard key; `None` is a key that nobody knows, so any may be meant.
pub type Dirty = (String, Option<KeyValue>);

impl DirtyKeys {
    pub fn add(&self, token: u64, keys: Vec<Dirty>) {
        if !self.transactions.contains_key(&token) {
            for key in &keys {
                *self.keys.entry(key.clone()).or_insert(0) += 1;
            }
            self.transactions.insert(token, keys);
        }
    }

    pub fn remove(&self, token: u64) {
        let Some((_, keys)) = self.transactions.remove(&token) else { return };
        for key in keys {
            if let dashmap::Entry::Occupied(mut entry) = self.keys.entry(key) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }

    #[must_use]
    pub fn contains(&self, table: &str, key: &KeyValue) -> bool {
        let known = |key| self.keys.contains_key(&(table.to_owned(), key));
        !self.is_empty() && (known(Some(key.clone())) || known(None))
    }

    /// Tokens of the transactions that left them.
    #[must_use]
    pub fn tokens(&self) -> Vec<u64> {
        self.transactions.iter().map(|entry| *entry.key()).collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[must_use]
    pub fn has_table(&self, table: &str) -> bool {
        self.keys.iter().any(|entry| entry.key().0 == table)
    }
}

/// The state of the process that everybody shares.
#[derive(Debug)]
pub struct Shared {
    pub config: Arc<Config>,
    pub started: Instant,
    snapshot: ArcSwap<Snapshot>,
    pub gates: Gates,
    pub dirty: DirtyKeys,
    /// By connection id.
    pub sessions: DashMap<u64, Arc<SessionInfo>>,
    /// By backend name.
    health: DashMap<String, Arc<Health>>,
    pub metrics: Metrics,
    version: ArcSwap<Announced>,
    next_session: AtomicU64,
    forgotten: UnboundedSender<(Journal, u64)>,
    /// Taken once, by the task that empties journals.
    to_forget: Mutex<Option<UnboundedReceiver<(Journal, u64)>>>,
}

/// What the greeting says, and what it means for lexing.
#[derive(Debug)]
struct Announced {
    text: String,
    number: ServerVersion,
}

impl Shared {
    /// A process with no rules in force yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Shared {
        let gates = Gates::new(config.limits.held_statements);
        let snapshot = Snapshot::new(Topology::empty(), &gates);
        let (forgotten, to_forget) = unbounded_channel();
        let announced = config.server_version.clone().unwrap_or_else(|| "8.0.0-shardway".to_owned());
        Shared {
            started: Instant::now(),
            snapshot: ArcSwap::from_pointee(snapshot),
            gates,
            dirty: DirtyKeys::default(),
            sessions: DashMap::new(),
            health: DashMap::new(),
            metrics: Metrics::default(),
            version: ArcSwap::from_pointee(Announced { number: version_number(&announced), text: announced }),
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

    #[must_use]
    pub fn is_current(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot.load(), snapshot)
    }

    /// Puts a topology in force. Only the rule store calls this, behind whatever barrier the change needs.
    pub fn publish(&self, topology: Topology) {
        self.snapshot.store(Arc::new(Snapshot::new(topology, &self.gates)));
    }

    /// The health of a backend, by its name in the rules.
    #[must_use]
    pub fn health(&self, backend: &str) -> Arc<Health> {
        Arc::clone(&self.health.entry(backend.to_owned()).or_default())
    }

    /// Tells the version that a backend greeted with; the configuration's own wins.
    pub fn announce(&self, backend: &str) {
        if self.config.server_version.is_none() {
            let announced = Announced { number: version_number(backend), text: backend.to_owned() };
            self.version.store(Arc::new(announced));
        }
    }

    /// Both sides have a transaction's rows: its journal entries may go, when somebody has time.
    pub fn forget(&self, journal: Journal, token: u64) {
        // Without a receiver the process is ending; healing will remove the entries.
        let _ = self.forgotten.send((journal, token));
    }

    /// The queue of [`Shared::forget`], for its one reader.
    pub fn take_forgotten(&self) -> Option<UnboundedReceiver<(Journal, u64)>> {
        self.to_forget.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The version string of the greeting.
    #[must_use]
    pub fn greeting_version(&self) -> String {
        self.version.load().text.clone()
    }

    #[must_use]
    pub fn server_version(&self) -> ServerVersion {
        self.version.load().number
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

/// `8.0.32-…` or `5.5.5-10.11.6-MariaDB-…` as flavour and number.
fn version_number(text: &str) -> ServerVersion {
    let flavour = if text.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    let digits = text.strip_prefix("5.5.5-").filter(|_| flavour == Flavour::MariaDb).unwrap_or(text);
    let mut parts = digits.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0_u32));
    let mut next = || parts.next().unwrap_or(0).min(99);
    let number = next() * 10_000 + next() * 100 + next();
    ServerVersion { flavour, number }
}
