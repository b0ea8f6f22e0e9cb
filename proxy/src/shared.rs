//! What every worker, the control plane and the admin interface see of each other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use shardway_routing::key::KeyValue;
use shardway_routing::topology::{Topology, TableId};

use crate::gate::{Gate, GateName, Gates};

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
        let database = |id: shardway_routing::topology::DatabaseId| topology.databases[usize::from(id.0)].name.clone();
        let table_gates = topology
            .tables
            .iter()
            .map(|table| gates.gate(&GateName::Table(database(table.database), table.name.to_ascii_lowercase())))
            .collect();
        let database_gates =
            topology.databases.iter().map(|database| gates.gate(&GateName::Database(database.name.clone()))).collect();
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

    /// Tables with dirty keys.
    #[must_use]
    pub fn tables(&self) -> HashSet<String> {
        self.keys.iter().map(|entry| entry.key().0.clone()).collect()
    }
}

/// The state of the process that everybody shares.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    pub gates: Gates,
    pub dirty: DirtyKeys,
}

impl Shared {
    /// The rules in force now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a topology in force. Only the rule store calls this, behind whatever barrier the change needs.
    pub fn publish(&self, topology: Topology) {
        self.snapshot.store(Arc::new(Snapshot::new(topology, &self.gates)));
    }
}
