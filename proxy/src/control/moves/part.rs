//! The sides of a move have parted: an emergency rollback took writes to the source without waiting for the streams.
//!
//! From then on nothing is carried in either direction, because every direction would destroy acknowledged writes: the
//! target's older ones would overwrite what clients write to the source now, and the source's would overwrite what only
//! the target has. What is not synchronised is noted with the switch itself, and the move stays still, also over a
//! restart, until a person has looked at it and closes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::apply::follow::Follower;
use shardway_migration::apply::progress::{self, Saved, StreamName};
use shardway_migration::heal::{self, Journal};
use shardway_migration::missed::{self, Missed};
use shardway_migration::phase::Event;
use shardway_migration::position::Position;
use shardway_migration::stream;
use shardway_migration::tables::{self, MovingTable};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, Server, Side, Topology};
use shardway_routing::transition::{Carried, Cleaned, Facts, SourceKept, Synced};
use tokio::sync::MutexGuard;

use super::starts::servers;
use super::state::{Authority, Pending};
use super::{Moves, find};
use crate::control::steps::{Step, reached};
use crate::control::store::now_s;
use crate::control_connection;
use crate::dirty::Until;
use crate::durable;

/// How long streams may take to stop before they are cut off.
const STOP_MAX: Duration = Duration::from_secs(1);
/// How long another event of the move may take to end.
const EVENT_MAX: Duration = Duration::from_secs(12);
/// How long a server may take to say where its log ends.
const ASK_MAX: Duration = Duration::from_secs(2);
/// How long reading what was not applied may take while a rollback waits for it.
pub(super) const READ_SOON: Duration = Duration::from_secs(20);
/// The same when a person asks again.
pub const READ_PATIENTLY: Duration = Duration::from_secs(1_800);
/// Rows of one server that are told by key at once; a file has them all.
const KEYS_MAX: usize = 200;

/// A move whose sides have parted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parted {
    /// Seconds since 1970.
    pub since: u64,
    pub reason: String,
    pub not_synchronised: NotSynchronised,
}

/// What the target may have that the source lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSynchronised {
    /// One for each server of the target.
    pub streams: Vec<Gap>,
    /// Keys whose double write did not reach the source.
    pub dirty_keys: u64,
    /// Transactions that had not ended, and may still commit on the target.
    pub transactions: Option<String>,
}

/// The end of a target's log that was not applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub backend: String,
    pub server: String,
    /// Of the stream, when it was cut off.
    pub stream: String,
    /// Up to here the source has everything; `null` when nothing is known.
    pub applied: Option<Position>,
    /// Where the log ended when the server was asked last.
    pub end: Option<Position>,
    /// Of log between the two, where that is one file.
    pub bytes: Option<u64>,
    /// Rows that clients wrote there, each counted once; `null` until the log could be read.
    pub rows: Option<u64>,
    /// The first of them.
    pub keys: Vec<Missed>,
    /// A file on the proxy's machine with all of them, a JSON object for each line.
    #[serde(default)]
    pub list: Option<PathBuf>,
    /// How far the stream was behind.
    pub lag_ms: Option<u64>,
    /// Under which the source has noted how far it is, and where that began.
    name: String,
    start: Option<Position>,
    /// Why the end, or what is before it, is not known.
    pub unknown: Option<String>,
}

impl Gap {
    /// Asks the server where its log ends, and for the rows that were written before.
    async fn ask(&mut self, server: &Server, moving: &[MovingTable], limit: Duration, list: PathBuf) {
        if let Err(why) = self.asked(server, moving, limit, list).await {
            self.unknown = Some(why);
        }
    }

    async fn asked(
        &mut self,
        server: &Server,
        moving: &[MovingTable],
        limit: Duration,
        list: PathBuf,
    ) -> Result<(), String> {
        let end = tokio::time::timeout(ASK_MAX, end(server)).await;
        let end = end.unwrap_or_else(|_| Err("the server did not answer".to_owned()))?;
        if let Some(saved) = applied(moving, &StreamName(self.name.clone())).await? {
            self.applied = Some(saved);
        }
        let applied = self.applied.as_ref().or(self.start.as_ref());
        let same_file = applied.filter(|applied| applied.file == end.file);
        self.bytes = same_file.and_then(|applied| end.offset.checked_sub(applied.offset));
        self.end = Some(end.clone());
        let applied = applied.ok_or("nobody knows up to where it was applied")?;
        let found = missed::between(server, moving, Side::Target, applied, &end, limit).await;
        let found = found.map_err(|error| format!("its log cannot be read: {error}"))?;
        self.rows = Some(found.len() as u64);
        let listed = write_list(&found, &list);
        self.keys = found.into_iter().take(KEYS_MAX).collect();
        self.unknown = None;
        listed.map_err(|error| format!("{}: {error}", list.display()))?;
        self.list = Some(list);
        Ok(())
    }
}

fn write_list(found: &[Missed], list: &Path) -> std::io::Result<()> {
    let mut lines = String::new();
    for row in found {
        lines += &serde_json::to_string(row)?;
        lines.push('\n');
    }
    list.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    durable::write(list, lines.as_bytes())
}

const NO_SUCH_TABLE: u16 = 1146;

async fn forget_streams(of: &Journal, name: &str) -> Result<(), mysql_async::Error> {
    let mut connection = control_connection::connect(&of.server).await?;
    match connection.query_drop(progress::forget(&of.database, name)).await {
        Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => {}
        other => other?,
    }
    connection.disconnect().await
}

/// Up to where the source has a stream, as it was committed with the rows. `None`: nothing has come over yet.
async fn applied(moving: &[MovingTable], stream: &StreamName) -> Result<Option<Position>, String> {
    let mut least: Option<Position> = None;
    for Journal { server, database } in heal::journals(moving, Side::Source) {
        let asked = async {
            let mut connection = control_connection::connect(&server).await?;
            let saved: Option<(Vec<u8>, u64, Option<Vec<u8>>)> =
                connection.query_first(progress::load(&database, stream)).await?;
            connection.disconnect().await?;
            Ok::<_, mysql_async::Error>(saved)
        };
        let (file, offset, gtids) = match asked.await {
            Ok(Some(saved)) => saved,
            Ok(None) => return Ok(None),
            Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => return Ok(None),
            Err(error) => return Err(format!("the source does not tell how far it is: {error}")),
        };
        let saved = Saved(file, offset, gtids).position();
        least = match least {
            Some(least) if least.is_before(&saved) => Some(least),
            _ => Some(saved),
        };
    }
    Ok(least)
}

async fn end(server: &Server) -> Result<Position, String> {
    let mut connection = control_connection::connect(server).await.map_err(|error| error.to_string())?;
    let end = stream::current(&mut connection).await.map_err(|error| error.to_string())?;
    connection.disconnect().await.map_err(|error| error.to_string())?;
    Ok(end)
}

/// Facts under which writes of one move may go back to a source that lacks some.
pub(in crate::control) struct Parting<'a> {
    pub facts: &'a Moves,
    pub name: &'a str,
}

impl Facts for Parting<'_> {
    fn synced(&self, move_name: &str) -> Synced {
        self.facts.synced(move_name)
    }

    fn carried(&self, move_name: &str) -> Carried {
        self.facts.carried(move_name)
    }

    fn source_kept(&self, move_name: &str) -> SourceKept {
        if move_name == self.name { SourceKept::Yes } else { self.facts.source_kept(move_name) }
    }

    fn cleaned(&self, move_name: &str) -> Cleaned {
        self.facts.cleaned(move_name)
    }
}

impl Moves {
    /// Until what is returned is dropped, no other event changes a move.
    ///
    /// # Errors
    /// When one that is under way does not end.
    pub(in crate::control) async fn no_other_event(&self) -> Result<MutexGuard<'_, ()>, String> {
        let one_at_a_time = tokio::time::timeout(EVENT_MAX, self.events.lock()).await;
        one_at_a_time.map_err(|_| "another event of the move does not end".to_owned())
    }

    /// Notes that writes go to the source as it is, and cuts the streams off. No other event may come, and the rules must
    /// be published next.
    ///
    /// # Errors
    /// When the move is not one whose writes could go back.
    pub(in crate::control) async fn part(
        &self,
        old: &Topology,
        of: &Move,
        why: &str,
        transactions: Option<String>,
    ) -> Result<(), String> {
        let not_synchronised = self.not_synchronised(old, of, transactions)?;
        self.of(&of.name).state.on(Event::Parted(why.to_owned())).map_err(|no| no.to_string())?;
        self.states.change(&of.name, |state| {
            state.pending = Some(Pending {
                to: Authority::Source,
                epoch: state.epoch + 1,
                starts: Default::default(),
                is_kept_by_double_write: false,
                parted: Some(Parted { since: now_s(), reason: why.to_owned(), not_synchronised }),
            });
        })?;
        reached(Step::Intent).await;
        self.shared.followed.set(&of.name, Vec::new());
        let followers = self.live().get_mut(&of.name).map(|live| std::mem::take(&mut live.followers));
        let stopped =
            futures_util::future::join_all(followers.unwrap_or_default().into_iter().map(Follower::stop));
        if tokio::time::timeout(STOP_MAX, stopped).await.is_err() {
            tracing::warn!(r#move = of.name, "a stream did not stop in time and was cut off");
        }
        Ok(())
    }

    /// Double write of a move ends without a drain; its streams, if it has any, carry the rest.
    pub(in crate::control) fn stop_keeping(&self, of: &Move) -> Result<(), String> {
        if of.double_write == DoubleWrite::Off {
            return self.states.change(&of.name, |state| state.is_kept_by_double_write = false);
        }
        Ok(())
    }

    /// What is known without asking anybody.
    fn not_synchronised(
        &self,
        old: &Topology,
        of: &Move,
        transactions: Option<String>,
    ) -> Result<NotSynchronised, String> {
        let (by, _) = find(old, &of.name)?;
        let moving = tables::of_move(old, by).map_err(|refusal| refusal.to_string())?;
        let (tails, state) = (self.tails(&of.name), self.of(&of.name));
        let gap = |(backend, server): (String, Server)| {
            let mut gap = Gap {
                server: format!("{}:{}", server.host, server.port),
                stream: "not followed".to_owned(),
                ..Gap::default()
            };
            if let Some(tail) = tails.iter().find(|tail| tail.server().is_same_process(&server)) {
                gap.stream = tail.state().to_string();
                gap.applied = tail.position();
                gap.lag_ms = tail.lag().and_then(|lag| u64::try_from(lag.as_millis()).ok());
            }
            gap.name = StreamName::new(&of.name, state.epoch, &backend).0;
            gap.start = state.starts.get(&backend).cloned();
            gap.backend = backend;
            gap
        };
        let streams = servers(old, &moving, Side::Target).into_iter().map(gap).collect();
        let dirty_keys = self.shared.dirty.extent(&old.full_names(of)).keys;
        Ok(NotSynchronised { streams, dirty_keys, transactions })
    }

    /// What is in memory of dirty keys is of a double write that has ended.
    pub(super) fn forget_dirty(&self, topology: &Topology, of: &Move) {
        for until in [Until::Healed, Until::Streamed] {
            self.shared.dirty.forget(&topology.full_names(of), until);
        }
    }

    /// What is not synchronised, with the ends of the logs as they are now. A log that cannot be read within the limit is
    /// told as unknown.
    ///
    /// # Errors
    /// When there is no such move.
    pub async fn gaps(&self, name: &str, limit: Duration) -> Result<Option<Parted>, String> {
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let Some(mut parted) = self.of(name).parted else { return Ok(None) };
        let moving = tables::of_move(&snapshot.topology, by).map_err(|refusal| refusal.to_string())?;
        let servers = servers(&snapshot.topology, &moving, Side::Target);
        let ask = parted.not_synchronised.streams.iter_mut().filter_map(|gap| {
            let (_, server) = servers.iter().find(|(backend, _)| *backend == gap.backend)?;
            let list = self.shared.config.state_dir.join("parted").join(name);
            let list = list.join(format!("{}.jsonl", gap.backend));
            Some(gap.ask(server, &moving, limit, list))
        });
        futures_util::future::join_all(ask).await;
        let known = parted.clone();
        self.states.change(name, |state| {
            if state.parted.is_some() {
                state.parted = Some(known);
            }
        })?;
        Ok(Some(parted))
    }

    /// A person has taken care of what only the target had: from now on the source's rows are right. What the target has
    /// is no longer what the move has brought, so a preflight finds it in the way until a person empties the tables.
    ///
    /// # Errors
    /// When the sides have not parted, or a server of the target does not answer.
    pub async fn close_gaps(&self, name: &str) -> Result<(), String> {
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let _one_at_a_time = self.events.lock().await;
        if self.of(name).parted.is_none() {
            return Err(format!("{name} has nothing to close: its sides have not parted"));
        }
        let moving = tables::of_move(&snapshot.topology, by).map_err(|refusal| refusal.to_string())?;
        for journal in heal::journals(&moving, Side::Target) {
            forget_streams(&journal, name).await.map_err(|error| {
                format!(
                    "nothing is closed: what the move has brought cannot be forgotten on its target: {error}"
                )
            })?;
        }
        tracing::warn!(r#move = name, "an operator has closed the gaps: the source's rows are right");
        self.states.change(name, |state| state.parted = None)
    }

    /// While the sides have parted nothing may write to the target: it has the only copy of some writes.
    pub(super) fn not_parted(&self, name: &str) -> Result<(), String> {
        match self.of(name).parted {
            Some(_) => Err(refusal::PARTED.because(name.to_owned()).to_string()),
            None => Ok(()),
        }
    }
}
