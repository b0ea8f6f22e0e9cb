//! The other side's transactions: opened, written to and committed, all within a limit.
//!
//! The authority's row locks are held meanwhile, so a server that says nothing is not waited for: a frozen process, a host
//! that has gone. Its connection is closed, which rolls back there what was not committed, and its pool sends nobody there
//! for a while. What it was to commit it may still commit; until then its locks keep the rows from whoever heals them.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use shardway_migration::image::SESSION;
use shardway_migration::image::write::{Warning, Write};
use shardway_migration::tables::End;
use tokio::time::{Instant, timeout_at};

use super::commit::NotTaken;
use crate::backend::connection::{CommandError, Connection, Rows};
use crate::backend::settings::Reset;
use crate::backend::vars::Vars;
use crate::backend::{Checkout, Class, Purpose};
use crate::session::Session;
use crate::wire::parse::OkPacket;
use crate::worker::View;

/// How long the other side may take to have a transaction's rows, with the second that it may wait for a lock. Shorter than
/// statements are usually held, so that a change of the rules outlasts whoever waits for a silent server.
const WRITING_MAX: Duration = Duration::from_millis(2_500);
/// So much longer for every row.
const ROW_MAX: Duration = Duration::from_micros(250);
/// Who has not answered for so long is silent: longer than a lock is waited for.
const SILENT_FOR: Duration = Duration::from_millis(1_500);
/// How long it may take to commit them.
const COMMIT_MAX: Duration = Duration::from_secs(2);
/// As rows are waited for, so are definitions.
const DEFINITION_WAIT: (&str, &str) = ("lock_wait_timeout", "1");

/// When the other side is not waited for any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(Instant);

impl Limit {
    fn of(rows: usize) -> Limit {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        Limit(Instant::now() + WRITING_MAX + ROW_MAX.saturating_mul(rows))
    }

    async fn bound<T>(self, asked: impl Future<Output = Result<T, NotTaken>>) -> Result<T, NotTaken> {
        timeout_at(self.0, asked).await.unwrap_or(Err(NotTaken::Silent))
    }

    /// Asks over a connection for images. One that does not answer in time must be closed.
    async fn ask<T>(
        self,
        other: &mut Checkout,
        ask: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
    ) -> Result<T, NotTaken> {
        let asked_at = Instant::now();
        let answer = self.bound(async { Ok(ask(&mut other.connection).await?) }).await;
        if let Err(NotTaken::Silent) = answer {
            other.connection.spoil();
            // Others may have used the time up.
            if asked_at.elapsed() >= SILENT_FOR {
                other.pool().note_silence();
            }
        } else {
            other.pool().note_answer();
        }
        answer
    }

    /// Reads over a connection for images.
    pub(super) async fn rows(self, other: &mut Checkout, sql: &str) -> Result<Rows, NotTaken> {
        self.ask(other, async |connection| connection.rows(sql.as_bytes()).await).await
    }

    async fn run(self, other: &mut Checkout, sql: &[u8]) -> Result<OkPacket, NotTaken> {
        self.ask(other, async |connection| connection.run(sql).await).await
    }

    /// A connection for images to a node's backend.
    pub(super) async fn engine(
        self,
        session: &Session,
        view: &View,
        end: &End,
    ) -> Result<Checkout, NotTaken> {
        let class = Class { capabilities: session.class().capabilities, purpose: Purpose::Engine };
        let lent = view.pool(end.backend).checkout(class);
        let lent = self.bound(async { lent.await.map_err(|refusal| NotTaken::Error(refusal.to_string())) });
        let mut other = lent.await?;
        let vars = Rc::new(Vars::of(&[&SESSION[..], &[DEFINITION_WAIT]].concat()));
        let prepare =
            async |connection: &mut Connection| connection.prepare_for(&vars, None, Reset::Allowed).await;
        self.ask(&mut other, prepare).await?;
        Ok(other)
    }
}

/// The transactions on the other side, one for each of its backends.
#[derive(Debug)]
pub(super) struct Others {
    pub limit: Limit,
    open: Vec<Checkout>,
}

/// Has the other side committed?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    Yes,
    /// Some of it may not have.
    Unknown,
}

impl Others {
    /// None yet, for so many rows.
    pub(super) fn new(rows: usize) -> Others {
        Others { limit: Limit::of(rows), open: Vec::new() }
    }

    /// The connection whose transaction writes to a node.
    pub(super) async fn to(
        &mut self,
        session: &Session,
        view: &View,
        end: &End,
    ) -> Result<&mut Checkout, NotTaken> {
        let pool = view.pool(end.backend);
        let at = match self.open.iter().position(|other| Rc::ptr_eq(other.pool(), pool)) {
            Some(at) => at,
            None => {
                let mut other = self.limit.engine(session, view, end).await?;
                self.limit.run(&mut other, b"BEGIN").await?;
                self.open.push(other);
                self.open.len() - 1
            }
        };
        Ok(&mut self.open[at])
    }

    /// Writes rows as they are; whoever is told that they did not go in so gives up, which closes the connections.
    pub(super) async fn write(
        &mut self,
        session: &Session,
        view: &View,
        end: &End,
        write: &Write,
    ) -> Result<(), NotTaken> {
        let limit = self.limit;
        let other = self.to(session, view, end).await?;
        let count = limit.run(other, write.sql()).await?.warnings;
        if write.is_whole(count) {
            return Ok(());
        }
        let found = limit.rows(other, "SHOW WARNINGS").await?;
        let text = |field: Option<&Option<Vec<u8>>>| {
            field.and_then(Option::as_ref).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let warning = |row: &Vec<Option<Vec<u8>>>| -> Option<Warning> {
            Some((text(row.get(1))?.parse().ok()?, text(row.get(2))?))
        };
        let listed: Vec<Warning> = found.rows.iter().filter_map(warning).collect();
        write.judged(count, &listed).map_err(NotTaken::Error)
    }

    /// Commits on all backends at once. A connection whose answer does not come is closed.
    pub(super) async fn commit(self) -> Committed {
        let limit = Limit(Instant::now() + COMMIT_MAX);
        let commits = self.open.into_iter().map(|mut other| async move {
            let is_done = limit.run(&mut other, b"COMMIT").await.is_ok();
            if is_done {
                other.give_back();
            }
            is_done
        });
        let done = join_all(commits).await;
        if done.contains(&false) { Committed::Unknown } else { Committed::Yes }
    }
}
