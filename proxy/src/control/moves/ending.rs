//! Double write that has ended while the target was behind: when the streams are past all that it brought over.
//!
//! That is one place of the streams, where they ended when the journal was found empty. It is waited for however long it
//! takes: a stream under guard may be slower than clients write, and then it never is where its log ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use shardway_migration::apply::tail::Tail;
use shardway_migration::tables::WorkError;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Another mark is written after so long, since a server may lose one with its latest transactions.
const MARK_EVERY: Duration = Duration::from_secs(60);
/// Later than this somebody wants to know.
const LONG: Duration = Duration::from_secs(5);

/// What is waited for, by move.
#[derive(Debug, Default)]
pub(super) struct Endings(Mutex<HashMap<String, Ending>>);

#[derive(Debug)]
struct Ending {
    since: Instant,
    /// Said once.
    is_told: bool,
    passed: JoinSet<Result<(), WorkError>>,
}

/// Are the streams past that place?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Yes,
    NotYet,
    /// The same, for so long that it should be told. Comes once.
    NotYetLong,
}

impl Endings {
    /// Asks whether these streams are past everything that was committed when this was first asked for the move.
    ///
    /// # Errors
    /// Why it cannot be known. The next time it is asked as if for the first time.
    pub(super) fn passed(&self, name: &str, tails: Vec<Arc<Tail>>) -> Result<Passed, String> {
        let mut all = self.lock();
        let ending = all.entry(name.to_owned()).or_insert_with(|| {
            let mut passed = JoinSet::new();
            passed.spawn(pass(tails));
            Ending { since: Instant::now(), is_told: false, passed }
        });
        let Some(done) = ending.passed.try_join_next() else {
            let is_news = !ending.is_told && ending.since.elapsed() >= LONG;
            ending.is_told |= is_news;
            return Ok(if is_news { Passed::NotYetLong } else { Passed::NotYet });
        };
        all.remove(name);
        match done {
            Ok(passed) => passed.map(|()| Passed::Yes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// More has been brought over since, or nothing is left to wait for.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when every stream has shown a mark that was written after the call.
async fn pass(tails: Vec<Arc<Tail>>) -> Result<(), WorkError> {
    let mut marks = FuturesUnordered::new();
    loop {
        marks.push(try_join_all(tails.iter().map(|tail| tail.catch_up())));
        while let Ok(Some(passed)) = tokio::time::timeout(MARK_EVERY, marks.next()).await {
            match passed {
                Ok(_) => return Ok(()),
                // An earlier mark may still come by.
                Err(_) if !marks.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
    }
}
