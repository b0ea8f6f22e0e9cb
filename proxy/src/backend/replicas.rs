//! Replicas as the whole process sees them: until when each one provably has everything, and what it has served.
//!
//! - `complete until` is a moment of this process at which nobody could see a row on the primary that the replica
//!   lacks now. It is measured by the control plane, and read by workers without a lock.
//! - A replica that fails begins a new life, in which nothing of the last one counts: a server that comes back may have
//!   lost what it had.
//! - One entry stands for a pair of servers. Another primary makes another entry, of which nothing is known.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use shardway_routing::topology::{Server, Topology};

use super::health::Health;

/// µs since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago another moment was, in ms.
    #[must_use]
    pub fn ms_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }
}

/// A server that a session may read from, for as long as that server loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Primary,
    Replica { number: u32, life: u16 },
}

/// What a replica is known to have: in which life, and everything until when. `None`: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub life: u16,
    pub complete_until: Option<Moment>,
}

/// The moment's bits; those above are the life's.
const MOMENT: u32 = 48;

/// One replica of one primary.
#[derive(Debug)]
pub struct Replica {
    pub health: Arc<Health>,
    /// `host:port`.
    address: String,
    number: u32,
    known: AtomicU64,
    /// Statements that it has answered.
    served: AtomicU64,
    /// Statements that it failed to answer, and its primary was asked.
    failed: AtomicU64,
    /// Why it is not measured, for people.
    lacks: Mutex<Option<String>>,
    is_watched: AtomicBool,
}

/// All replicas of the process.
#[derive(Debug, Default)]
pub struct Replicas {
    /// By the addresses of primary and replica.
    all: DashMap<(String, String), Arc<Replica>>,
    next: AtomicU32,
    /// Are there any?
    any: AtomicBool,
}

impl Replicas {
    /// Do the rules in force name a replica?
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The entries of a topology's replicas, by backend. Those of others are forgotten.
    #[must_use]
    pub fn of(&self, topology: &Topology) -> Vec<Vec<Arc<Replica>>> {
        let key = |primary: &Server, server: &Server| (primary.address(), server.address());
        let mut kept = Vec::new();
        let entries = topology.backends.iter().map(|backend| {
            let entry = |server: &Server| {
                let key = key(&backend.primary, server);
                let number = || self.next.fetch_add(1, Ordering::Relaxed);
                let new = || Arc::new(Replica::new(number(), key.1.clone()));
                let entry = self.all.entry(key.clone()).or_insert_with(new);
                kept.push(key);
                Arc::clone(&entry)
            };
            backend.replicas.iter().map(|replica| &replica.server).map(entry).collect()
        });
        let entries = entries.collect();
        self.any.store(!kept.is_empty(), Ordering::Relaxed);
        self.all.retain(|key, _| kept.contains(key));
        entries
    }
}

impl Replica {
    #[must_use]
    pub fn new(number: u32, address: String) -> Replica {
        Replica {
            health: Arc::default(),
            address,
            number,
            known: AtomicU64::new(0),
            served: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lacks: Mutex::new(Some("it has not been measured yet".to_owned())),
            is_watched: AtomicBool::new(false),
        }
    }

    #[must_use]
    pub fn known(&self) -> Known {
        unpack(self.known.load(Ordering::Acquire))
    }

    /// Itself in its present life.
    #[must_use]
    pub fn source(&self, life: u16) -> Source {
        Source::Replica { number: self.number, life }
    }

    /// It has everything until that moment, unless that life is over.
    pub fn measured(&self, life: u16, until: Moment) {
        let set = |word: u64| {
            let known = unpack(word);
            let later = known.complete_until.is_none_or(|before| before < until);
            (known.life == life && later).then(|| pack(life, until))
        };
        let _ = self.known.fetch_update(Ordering::AcqRel, Ordering::Acquire, set);
    }

    /// Nothing of it is known any more.
    pub fn lost(&self, why: &str) {
        let forget = |word: u64| {
            let known = unpack(word);
            known.complete_until.map(|_| pack(known.life.wrapping_add(1), Moment(0)))
        };
        if self.known.fetch_update(Ordering::AcqRel, Ordering::Acquire, forget).is_ok() {
            tracing::warn!(replica = self.address, why, "a replica gets no reads until it is measured again");
        }
        self.lacks(Some(why.to_owned()));
    }

    /// Why it cannot be measured at present; what has been measured stays true.
    pub fn lacks(&self, why: Option<String>) {
        *self.lacks.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why it is not measured.
    #[must_use]
    pub fn lacking(&self) -> Option<String> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn has_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    pub fn has_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// True for the one who is to watch it from now on.
    #[must_use]
    pub fn takes_watcher(&self) -> bool {
        !self.is_watched.swap(true, Ordering::AcqRel)
    }
}

fn pack(life: u16, until: Moment) -> u64 {
    u64::from(life) << MOMENT | (until.0 & ((1 << MOMENT) - 1))
}

/// No measurement began in the first µs of the process, so 0 stands for none.
fn unpack(word: u64) -> Known {
    let until = word & ((1 << MOMENT) - 1);
    let life = u16::try_from(word >> MOMENT).unwrap_or_default();
    Known { life, complete_until: (until > 0).then_some(Moment(until)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_has_grows_until_it_is_lost() {
        let replica = Replica::new(3, "h:1".to_owned());
        assert_eq!(replica.known(), Known { life: 0, complete_until: None });
        replica.measured(0, Moment(70));
        replica.measured(0, Moment(60));
        assert_eq!(replica.known(), Known { life: 0, complete_until: Some(Moment(70)) });
        replica.lost("gone");
        replica.lost("still gone");
        assert_eq!(replica.known(), Known { life: 1, complete_until: None });
        replica.measured(0, Moment(80));
        assert_eq!(replica.known().complete_until, None, "measured in the life before");
        replica.measured(1, Moment(90));
        assert_eq!(replica.known(), Known { life: 1, complete_until: Some(Moment(90)) });
        assert_eq!(replica.lacking().as_deref(), Some("still gone"));
    }
}
