//! What every worker, the control plane and the admin interface see of each other.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use shardway_routing::key::KeyValue;
use shardway_routing::lex::{Flavour, ServerVersion};
use shardway_routing::topology::{TableId, Topology};

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
/// In memory for reads: the durable record is the dirty-key table on the authority. Loaded from there at start.
#[derive(Debug, Default)]
pub struct DirtyKeys {
    /// Counts per logical `database.table` (lower case) and shard key.
    keys: DashMap<(String, KeyValue), u32>,
    total: AtomicU64,
}

impl DirtyKeys {
    pub fn add(&self, table: &str, key: KeyValue) {
        *self.keys.entry((table.to_owned(), key)).or_insert(0) += 1;
        self.total.fetch_add(1, Ordering::AcqRel);
    }

    pub fn remove(&self, table: &str, key: KeyValue) {
        if let dashmap::Entry::Occupied(mut entry) = self.keys.entry((table.to_owned(), key)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
            self.total.fetch_sub(1, Ordering::AcqRel);
        }
    }

    #[must_use]
    pub fn contains(&self, table: &str, key: &KeyValue) -> bool {
        self.total.load(Ordering::Acquire) > 0 && self.keys.contains_key(&(table.to_owned(), key.clone()))
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn has_table(&self, table: &str) -> bool {
        self.keys.iter().any(|entry| entry.key().0 == table)
    }

    /// Tables with dirty keys.
    #[must_use]
    pub fn tables(&self) -> HashSet<String> {
        self.keys.iter().map(|entry| entry.key().0.clone()).collect()
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
