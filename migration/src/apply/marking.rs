//! How what others ask a stream to show comes to be in it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Server;
use tokio::sync::Notify;

use super::progress::StreamName;
use crate::connection::connect;
use crate::mark::{self, Slot, Token};
use crate::stamps::Rule;
use crate::tables::WorkError;

/// The two ways.
#[derive(Debug)]
pub(super) enum Marking {
    /// By rows that the log shows in their order.
    Logged(Logged),
    /// By a pass over the stamps that has begun after they were asked for.
    Passed(Passed),
}

/// Writes marks.
#[derive(Debug)]
pub(super) struct Logged {
    server: Server,
    /// Physical databases that hold marks; the first is written to.
    databases: Vec<String>,
    name: StreamName,
    kept: tokio::sync::Mutex<Option<Kept>>,
}

/// A connection that marks are written over, and since when.
#[derive(Debug)]
struct Kept {
    connection: Conn,
    since: Instant,
}

/// So long at most marks go to a server that no longer answers at the address it had.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Marks that no pass has shown yet, in their order.
#[derive(Debug)]
pub(super) struct Passed {
    pub rule: Rule,
    asked: Mutex<Vec<(Token, Purpose)>>,
    hurry: Notify,
}

impl Logged {
    pub(super) fn new(server: Server, databases: Vec<String>, name: &StreamName) -> Logged {
        Logged { server, databases, name: name.clone(), kept: tokio::sync::Mutex::default() }
    }

    /// Makes the tables that hold marks.
    pub(super) async fn prepare(&self) -> Result<(), WorkError> {
        let mut connection = connect(&self.server).await?;
        for database in &self.databases {
            connection.query_drop(mark::create(database)).await?;
        }
        connection.disconnect().await?;
        Ok(())
    }

    pub(super) async fn write(&self, slot: &str, token: Token, purpose: Purpose) -> Result<(), WorkError> {
        let slot = Slot(format!("{}/{slot}", self.name.0));
        let statement = mark::write(&self.databases[0], &slot, token);
        let mut kept = self.kept.lock().await;
        // Only put back when it is in a known state.
        let usable = kept.take().filter(|kept| purpose.may_go_over(kept));
        if let Some(mut usable) = usable
            && usable.connection.query_drop(&statement).await.is_ok()
        {
            *kept = Some(usable);
            return Ok(());
        }
        // A kept connection may have died with a server that is back; a mark may be written twice.
        let mut connection = connect(&self.server).await?;
        connection.query_drop(&statement).await?;
        *kept = Some(Kept { connection, since: Instant::now() });
        Ok(())
    }
}

/// What a mark is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It can wait until something else is asked for.
    Heartbeat,
    Chunk,
    /// Both sides count as equal behind it, so it is written to the server that the address leads to now: a stream that
    /// still reads another one does not show it.
    CatchUp,
}

impl Purpose {
    fn may_go_over(self, kept: &Kept) -> bool {
        self != Purpose::CatchUp && kept.since.elapsed() < KEPT_FOR
    }
}

impl Passed {
    pub(super) fn new(rule: Rule) -> Passed {
        Passed { rule, asked: Mutex::default(), hurry: Notify::new() }
    }

    /// Of what can wait, the latest are kept.
    pub(super) fn ask(&self, token: Token, purpose: Purpose) {
        const BEATS_KEPT: usize = 600;
        let mut asked = self.lock();
        asked.push((token, purpose));
        let beats = asked.iter().filter(|(_, purpose)| *purpose == Purpose::Heartbeat).count();
        let oldest = asked.iter().position(|(_, purpose)| *purpose == Purpose::Heartbeat);
        if let Some(oldest) = oldest.filter(|_| beats > BEATS_KEPT) {
            asked.remove(oldest);
        }
        drop(asked);
        if purpose != Purpose::Heartbeat {
            self.hurry.notify_one();
        }
    }

    /// Those that a pass which begins now will have shown.
    pub(super) fn asked(&self) -> Vec<Token> {
        self.lock().iter().map(|(token, _)| *token).collect()
    }

    /// A pass has shown them.
    pub(super) fn shown(&self, tokens: &[Token]) {
        self.lock().retain(|(token, _)| !tokens.contains(token));
    }

    /// Until somebody waits for a pass, or for so long.
    pub(super) async fn pause(&self, every: Duration) {
        // Running out of time is one of the two.
        let _ = tokio::time::timeout(every, self.hurry.notified()).await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Token, Purpose)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
