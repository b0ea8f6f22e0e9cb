//! The hold barrier: no statement of the old rules runs beside one of the new.
//!
//! - Every transaction (and every statement outside of one) enters the gates of the tables it touches and leaves them
//!   at its end.
//! - [`Gates::hold`] closes gates: newcomers wait, transactions that are inside finish, and go on passing the closing
//!   gates so that two of them cannot wait for the barrier that waits for them.
//! - If the last one has not left in time the gates open again and nothing has changed. Nothing is ever killed.
//! - A [`Held`] opens its gates when dropped, on every path out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

const CLOSING: u64 = 1 << 63;
const CLOSED: u64 = 1 << 62;
const ACTIVE: u64 = CLOSED - 1;

/// What a gate stands before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GateName {
    /// A table that rules name: logical database and lower-case table.
    Table(String, String),
    /// All tables of a logical database that no rule names.
    Database(String),
}

/// All gates of this process, by name. They outlive the topologies, so a table keeps its gate across reloads.
#[derive(Debug)]
pub struct Gates {
    gates: DashMap<GateName, Arc<Gate>>,
    queue: Arc<Queue>,
}

/// Sessions waiting before closed gates, counted over all gates.
#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    limit: usize,
}

/// One gate.
#[derive(Debug)]
pub struct Gate {
    /// Entered and not left, with the mode in the top bits.
    state: AtomicU64,
    opened: Notify,
    drained: Notify,
    queue: Arc<Queue>,
}

/// Who asks to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// A statement or transaction that is inside no gate yet.
    New,
    /// A transaction that is inside some gate: a closing gate lets it pass, a closed one does not.
    Inside,
}

/// Being inside a gate; leaves it when dropped.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

/// Too many sessions wait before closed gates.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many statements are waiting for a rule change")]
pub struct QueueFull;

/// Why a barrier was not reached. The gates are open again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    #[error("{inside} had not ended after {waited_ms} ms")]
    TimedOut { inside: Inside, waited_ms: u128 },
    #[error("another rule change holds the same tables")]
    Busy,
}

/// How many transactions are inside some gates. One that is inside several cannot be told from several, since gates know
/// numbers only, so there are bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// In the fullest gate.
    pub at_least: u64,
    /// Over all gates.
    pub at_most: u64,
}

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let about = if self.at_least == self.at_most { "" } else { "at least " };
        let plural = if self.at_least == 1 { "" } else { "s" };
        write!(f, "{about}{} transaction{plural}", self.at_least)
    }
}

/// Closed gates with nobody inside; open again when dropped.
#[derive(Debug)]
pub struct Held {
    gates: Vec<Arc<Gate>>,
}

impl Gates {
    /// Gates that let at most `queue_limit` sessions wait.
    #[must_use]
    pub fn new(queue_limit: usize) -> Gates {
        Gates {
            gates: DashMap::new(),
            queue: Arc::new(Queue { waiting: AtomicUsize::new(0), limit: queue_limit }),
        }
    }

    /// The gate of that name, made when it is first asked for.
    pub fn gate(&self, name: &GateName) -> Arc<Gate> {
        if let Some(gate) = self.gates.get(name) {
            return Arc::clone(&gate);
        }
        let new = || {
            Arc::new(Gate {
                state: AtomicU64::new(0),
                opened: Notify::new(),
                drained: Notify::new(),
                queue: Arc::clone(&self.queue),
            })
        };
        Arc::clone(&self.gates.entry(name.clone()).or_insert_with(new))
    }

    /// Sessions waiting before closed gates now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting.load(Ordering::Relaxed)
    }

    /// Closes the gates and waits until everybody inside has left.
    ///
    /// # Errors
    /// [`NotHeld`], with the gates open again.
    pub async fn hold(&self, names: &[GateName], limit: Duration) -> Result<Held, NotHeld> {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let started = Instant::now();
        let mut held = Held { gates: Vec::with_capacity(names.len()) };
        for gate in names.iter().map(|name| self.gate(name)) {
            gate.start_closing()?;
            held.gates.push(gate);
        }
        for gate in &held.gates {
            if tokio::time::timeout_at(started + limit, gate.emptied()).await.is_err() {
                return Err(NotHeld::TimedOut {
                    inside: held.inside(),
                    waited_ms: started.elapsed().as_millis(),
                });
            }
        }
        // A transaction inside a gate that emptied late may have passed one that emptied early, so close all at once.
        while let Some(busy) = held.close() {
            if tokio::time::timeout_at(started + limit, busy.emptied()).await.is_err() {
                return Err(NotHeld::TimedOut {
                    inside: held.inside(),
                    waited_ms: started.elapsed().as_millis(),
                });
            }
        }
        Ok(held)
    }
}

impl Gate {
    /// Enters, waiting while the gate is closed.
    ///
    /// # Errors
    /// When the queue before all gates is full.
    pub async fn enter(self: &Arc<Gate>, visitor: Visitor) -> Result<Pass, QueueFull> {
        if let Some(pass) = self.try_enter(visitor) {
            return Ok(pass);
        }
        let _place = self.queue.join()?;
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            // Registered before the second look, so an opening between the two is not missed.
            opened.as_mut().enable();
            if let Some(pass) = self.try_enter(visitor) {
                return Ok(pass);
            }
            opened.await;
        }
    }

    /// Enters if nothing stands in the way.
    pub fn try_enter(self: &Arc<Gate>, visitor: Visitor) -> Option<Pass> {
        let barred = match visitor {
            Visitor::New => CLOSING | CLOSED,
            Visitor::Inside => CLOSED,
        };
        let entered = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state & barred == 0).then_some(state + 1)
        });
        entered.ok().map(|_| Pass(Arc::clone(self)))
    }

    fn start_closing(&self) -> Result<(), NotHeld> {
        let before = self.state.fetch_or(CLOSING, Ordering::AcqRel);
        if before & CLOSING == 0 { Ok(()) } else { Err(NotHeld::Busy) }
    }

    async fn emptied(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.state.load(Ordering::Acquire) & ACTIVE == 0 {
                return;
            }
            drained.await;
        }
    }

    /// From closing to closed, if nobody is inside.
    fn close(&self) -> bool {
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & ACTIVE == 0).then_some(CLOSING | CLOSED)
            })
            .is_ok()
    }

    /// From closed back to closing.
    fn let_pass(&self) {
        self.state.fetch_and(!CLOSED, Ordering::AcqRel);
        self.opened.notify_waiters();
    }

    fn open(&self) {
        self.state.fetch_and(ACTIVE, Ordering::AcqRel);
        self.opened.notify_waiters();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & ACTIVE > 0, "left a gate that nobody had entered");
        if before & ACTIVE == 1 && before & CLOSING != 0 {
            self.0.drained.notify_waiters();
        }
    }
}

impl Held {
    /// Closes all gates, or none: whoever has just entered one of them may need another before it can leave. Returns the
    /// gate that somebody is inside.
    fn close(&self) -> Option<&Gate> {
        let busy = self.gates.iter().position(|gate| !gate.close())?;
        self.gates[..busy].iter().for_each(|gate| gate.let_pass());
        Some(&self.gates[busy])
    }

    fn inside(&self) -> Inside {
        let none = Inside { at_least: 0, at_most: 0 };
        self.gates.iter().map(|gate| gate.state.load(Ordering::Acquire) & ACTIVE).fold(
            none,
            |inside, active| Inside {
                at_least: inside.at_least.max(active),
                at_most: inside.at_most + active,
            },
        )
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for gate in &self.gates {
            gate.open();
        }
    }
}

impl Queue {
    fn join(self: &Arc<Queue>) -> Result<Waiting, QueueFull> {
        let place = Waiting(Arc::clone(self));
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.limit { Err(QueueFull) } else { Ok(place) }
    }
}

struct Waiting(Arc<Queue>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
