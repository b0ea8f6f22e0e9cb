//! Shadow reads: a share of reads is run again on both sides of a move, beside the clients, and compared.
//!
//! A session only notes the statement's text; nothing waits for it. Who runs them is [`crate::control`].

mod tally;
mod text;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use shardway_routing::bind::Hint;
use shardway_routing::gray::BUCKETS;
use shardway_routing::lex::Quoting;
use shardway_routing::plan::{Access, Pin};
use shardway_routing::topology::{Move, TableId};
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub use self::tally::{Ran, Tally};
use crate::backend::vars::{Difference, Vars};
use crate::execute::Job;
use crate::session::Session;

/// Statements that wait to be run at most.
const WAITING_MAX: usize = 1_000;
/// Bytes of a statement that is noted.
const LENGTH_MAX: usize = 16 << 10;

/// A read to be run on both sides.
#[derive(Debug)]
pub struct Offer {
    pub move_name: String,
    /// Of the rules it was read under.
    pub version: u64,
    /// As text, also when it was prepared.
    pub sql: String,
    pub tables: Vec<TableId>,
    pub database: String,
    pub quoting: Quoting,
    /// What brings a fresh connection to the client's settings; empty: nothing.
    pub settings: String,
    pub tally: Arc<Tally>,
}

/// See the module.
#[derive(Debug)]
pub struct Shadow {
    offers: Sender<Offer>,
    /// Taken once, by the task that runs them.
    queue: Mutex<Option<Receiver<Offer>>>,
    /// By move.
    tallies: DashMap<String, Arc<Tally>>,
}

impl Default for Shadow {
    fn default() -> Shadow {
        let (offers, queue) = channel(WAITING_MAX);
        Shadow { offers, queue: Mutex::new(Some(queue)), tallies: DashMap::new() }
    }
}

impl Shadow {
    /// What has been seen of a move's reads.
    #[must_use]
    pub fn of(&self, move_name: &str) -> Arc<Tally> {
        Arc::clone(&self.tallies.entry(move_name.to_owned()).or_default())
    }

    /// A move begins anew.
    pub fn forget(&self, move_name: &str) {
        self.tallies.remove(move_name);
    }

    /// The statements to run, for their one reader.
    pub fn take_queue(&self) -> Option<Receiver<Offer>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Notes a read that a client has had answered, if chance takes it and it can be compared at all.
pub fn offer(session: &Session, job: &Job<'_>, of: &Move) {
    let is_taken = rand::random_range(0..BUCKETS) < of.shadow_reads;
    let is_plain = job.plan.access == Access::Read
        && job.plan.pin == Pin::None
        && job.request.hint == Hint::None
        && session.transaction.is_none();
    if !is_taken || !is_plain {
        return;
    }
    let shadow = &session.worker.shared.shadow;
    let tally = shadow.of(&of.name);
    if let Err(why) = noted(session, job, of, &tally, shadow) {
        tally.skip(&why);
    }
}

fn noted(
    session: &Session,
    job: &Job<'_>,
    of: &Move,
    tally: &Arc<Tally>,
    shadow: &Shadow,
) -> Result<(), String> {
    let place = shadow.offers.try_reserve().map_err(|_| "too many at once".to_owned())?;
    let database = session.database.as_deref().ok_or_else(|| "no database".to_owned())?;
    let values = job.request.values;
    if values.sql.len() > LENGTH_MAX {
        return Err("too long".to_owned());
    }
    let sql = text::written(values).ok_or_else(|| "a value that text cannot say".to_owned())?;
    let settings = match Vars::default().difference(&session.vars) {
        Difference::None => String::new(),
        Difference::Set(settings) | Difference::Reset(settings) => settings,
    };
    place.send(Offer {
        move_name: of.name.clone(),
        version: job.topology().version,
        tables: job.plan.tables.clone(),
        sql,
        database: database.to_owned(),
        quoting: session.quoting,
        settings,
        tally: Arc::clone(tally),
    });
    session.worker.shared.metrics.shadowed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
