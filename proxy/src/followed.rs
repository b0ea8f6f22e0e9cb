//! Moves that streams follow, as sessions see them, and transactions whose rows only a stream can name.
//!
//! - While no stream follows, nothing is noted that is left to one: the authority answers all reads of the move, and a
//!   stream that begins doubts every row until it has caught up.
//! - A stream that lags has keys noted up to a bound. Beyond it no more are, and the authority answers all reads of the
//!   move, until half of them are settled: then, too, every row is doubted first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use shardway_migration::apply::tail::Tail;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A transaction that left something of a move to its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub move_name: String,
    /// Of the transaction, in the dirty keys.
    pub token: u64,
    /// How many of them.
    pub keys: u64,
}

/// Keys of one move that may be left to its streams at once.
const LEFT_MAX: u64 = 100_000;

/// What is left to the streams of one move.
#[derive(Debug, Default, PartialEq, Eq)]
struct Backlog {
    keys: u64,
    noted: Noted,
}

/// Which of the keys that are left to streams readers are told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Noted {
    #[default]
    Each,
    /// There were too many: the authority answers all reads.
    NoMore,
}

impl Backlog {
    /// `NoMore`: these were the first too many.
    fn add(&mut self, keys: u64) -> Noted {
        let before = self.noted;
        self.keys += keys;
        if self.keys > LEFT_MAX {
            self.noted = Noted::NoMore;
        }
        if before == Noted::Each { self.noted } else { Noted::Each }
    }

    fn settle(&mut self, keys: u64) {
        self.keys = self.keys.saturating_sub(keys);
    }

    /// Is there room again for half as many as there may be?
    fn has_room(&self) -> bool {
        self.keys <= LEFT_MAX / 2
    }
}

/// The streams of one move.
#[derive(Debug, Default)]
struct Streams {
    tails: Vec<Arc<Tail>>,
    backlog: Backlog,
}

/// See the module.
#[derive(Debug)]
pub struct Followed {
    /// By move.
    streams: DashMap<String, Streams>,
    left: UnboundedSender<Left>,
    /// Taken once, by the task that waits for the streams.
    queue: Mutex<Option<UnboundedReceiver<Left>>>,
}

impl Streams {
    fn notes(&self) -> bool {
        !self.tails.is_empty() && self.backlog.noted == Noted::Each
    }
}

impl Default for Followed {
    fn default() -> Followed {
        let (left, queue) = unbounded_channel();
        Followed { streams: DashMap::new(), left, queue: Mutex::new(Some(queue)) }
    }
}

impl Followed {
    /// The streams of a move that are followed from now on; none, when they have stopped.
    pub fn set(&self, move_name: &str, tails: Vec<Arc<Tail>>) {
        self.streams.entry(move_name.to_owned()).or_default().tails = tails;
        self.forget(move_name);
    }

    /// Nothing need be known of a move without streams to which nothing is left.
    fn forget(&self, move_name: &str) {
        self.streams.remove_if(move_name, |_, of| of.tails.is_empty() && of.backlog.keys == 0);
    }

    /// The streams of a move.
    #[must_use]
    pub fn of(&self, move_name: &str) -> Vec<Arc<Tail>> {
        self.streams.get(move_name).map(|of| of.tails.clone()).unwrap_or_default()
    }

    /// Does a stream bring over what is written from now on?
    #[must_use]
    pub fn carries(&self, move_name: &str) -> bool {
        let is_whole = |tail: &Arc<Tail>| tail.brings_everything();
        self.streams.get(move_name).is_some_and(|of| !of.tails.is_empty() && of.tails.iter().all(is_whole))
    }

    /// Are the keys noted that are left to the streams of a move? If not, the authority answers all its reads.
    #[must_use]
    pub fn notes(&self, move_name: &str) -> bool {
        self.streams.get(move_name).is_some_and(|of| of.notes())
    }

    /// Does a move note the keys that are left to its streams, and is every stream known to be at most so far behind?
    #[must_use]
    pub fn is_within(&self, move_name: &str, most: Duration) -> bool {
        let is_within = |tail: &Arc<Tail>| tail.lag().is_some_and(|lag| lag <= most);
        self.streams.get(move_name).is_some_and(|of| of.notes() && of.tails.iter().all(is_within))
    }

    /// A transaction is over that left something to the streams.
    pub fn leave(&self, left: Left) {
        let noted = self.streams.entry(left.move_name.clone()).or_default().backlog.add(left.keys);
        if noted == Noted::NoMore {
            tracing::warn!(
                r#move = left.move_name,
                "the streams are behind by too many keys; the authority answers all reads"
            );
        }
        // Without a receiver the process is ending.
        let _ = self.left.send(left);
    }

    /// What a transaction left need not be waited for any longer.
    pub fn settle(&self, left: &Left) {
        if let Some(mut of) = self.streams.get_mut(&left.move_name) {
            of.backlog.settle(left.keys);
        }
        self.forget(&left.move_name);
    }

    /// Have keys of a move not been noted, and may they be again?
    #[must_use]
    pub fn may_note_again(&self, move_name: &str) -> bool {
        self.streams.get(move_name).is_some_and(|of| {
            !of.tails.is_empty() && of.backlog.noted == Noted::NoMore && of.backlog.has_room()
        })
    }

    /// Keys of a move are noted from now on. To be called after everything is doubted that may not have been noted.
    pub fn note_again(&self, move_name: &str) {
        if let Some(mut of) = self.streams.get_mut(move_name) {
            of.backlog.noted = Noted::Each;
        }
    }

    /// The queue of [`Followed::leave`], for its one reader.
    pub fn take_queue(&self) -> Option<UnboundedReceiver<Left>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_keys_are_noted_until_half_of_them_are_settled() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.add(LEFT_MAX), Noted::Each);
        assert_eq!(backlog.add(1), Noted::NoMore, "told once");
        assert_eq!(backlog.add(1), Noted::Each);
        backlog.settle(LEFT_MAX / 2);
        assert_eq!((backlog.noted, backlog.has_room()), (Noted::NoMore, false));
        backlog.settle(2);
        assert!(backlog.has_room());
        backlog.noted = Noted::Each;
        backlog.settle(LEFT_MAX);
        assert_eq!(backlog, Backlog::default());
    }
}
