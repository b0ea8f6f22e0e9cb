//! Bringing rows back from backups: the dump of a full one, and behind it the logs of the incremental ones that go on from
//! it, up to the very place where the last of them ends.
//!
//! Rows come into databases of their own. What fails drops those that it made; one that was there before is left alone.

use std::io::BufReader;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::backup::replay::{Replay, watched};
use shardway_migration::backup::{self, Part, Sum};
use shardway_migration::connection::connect;
use shardway_migration::image::quoted;
use shardway_migration::position::Position;
use shardway_migration::stream::{RowChange, Saved, Wanted};
use shardway_routing::refusal;
use shardway_routing::topology::{Server, Side};
use tokio::sync::mpsc;

use super::{Kind, Manifest, PartReport, VerifiedBackup, plain};
use crate::control::moves::tools::{self, File};
use crate::control::moves::{Moves, find};
use crate::control::store::now_s;

/// Parts of transactions read ahead of the rows that are being written.
const READ_AHEAD: usize = 16;

/// A database that was restored beside the one that clients use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub server: String,
    pub database: String,
    pub backup: u64,
    /// The place in the server's log up to which it has everything.
    pub position: Position,
    pub rows: u64,
    /// What puts its tables in place of those that clients use, which stay under another name.
    pub statements: Vec<String>,
}

impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Restored { server, database, backup, position, rows, statements } = self;
        write!(
            f,
            "{server}: {database} has {rows} rows of backup {backup} at {position}; with the clients stopped, "
        )?;
        write!(f, "{} puts them in place", statements.join("; "))
    }
}

/// A full backup and the logs that go on from it, in their order.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    full: &'a Manifest,
    logs: Vec<&'a Manifest>,
}

/// What of a chain concerns one part of the move.
#[derive(Debug)]
struct ChainPart {
    server: String,
    dump: (PathBuf, File),
    links: Vec<Link>,
    /// Where the last of it ends.
    position: Position,
    /// What the rows add up to there, when that is known.
    sums: Vec<Sum>,
}

/// The log files from one place to another.
#[derive(Debug)]
struct Link {
    from: Position,
    to: Position,
    /// Those of the first place's file to those of the second's, without a gap.
    files: Vec<(PathBuf, File)>,
}

fn unusable(why: String) -> String {
    refusal::BACKUP_UNUSABLE.because(why).to_string()
}

impl<'a> Chain<'a> {
    /// What leads to the rows of a backup.
    ///
    /// # Errors
    /// SHD1469 when something of it is missing.
    pub(super) fn of(backups: &'a [Manifest], id: u64) -> Result<Chain<'a>, String> {
        let find = |id: u64| backups.iter().find(|of| of.id == id);
        let mut at = find(id).ok_or_else(|| unusable(format!("there is no backup {id}")))?;
        let mut logs = Vec::new();
        while at.kind == Kind::Incremental {
            logs.push(at);
            let before = at.base.filter(|base| *base < at.id).and_then(find);
            at = before.ok_or_else(|| unusable(format!("what backup {} goes on from is missing", at.id)))?;
        }
        logs.reverse();
        Ok(Chain { full: at, logs })
    }

    fn last(&self) -> &Manifest {
        self.logs.last().copied().unwrap_or(self.full)
    }

    fn part(&self, part: &Part) -> Result<ChainPart, String> {
        let server = format!("{}:{}", part.server.host, part.server.port);
        let missing = |of: &Manifest| {
            unusable(format!("backup {} knows nothing of {} on {server}", of.id, part.database))
        };
        let is_own = |report: &&PartReport| report.server == server && report.database == part.database;
        let full = self.full.parts.iter().find(is_own).ok_or_else(|| missing(self.full))?;
        let dump = full.files.first().cloned().ok_or_else(|| missing(self.full))?;
        let (mut position, mut links) = (full.position.clone(), Vec::new());
        for log in &self.logs {
            let reports: Vec<_> = log.parts.iter().filter(|report| report.server == server).collect();
            let to = reports.first().map(|report| report.position.clone()).ok_or_else(|| missing(log))?;
            let found = |name: String| {
                let file = reports.iter().flat_map(|report| &report.files).find(|file| file.name == name)?;
                Some((log.folder.join(&name), file.clone()))
            };
            let names = files(&server, &position, &to);
            let files = names.and_then(|names| names.into_iter().map(found).collect::<Option<Vec<_>>>());
            let files = files.ok_or_else(|| {
                unusable(format!("backup {} has not the whole log from {position} to {to}", log.id))
            })?;
            links.push(Link { from: position, to: to.clone(), files });
            position = to;
        }
        let sums =
            self.last().parts.iter().find(is_own).map(|report| report.tables.clone()).unwrap_or_default();
        Ok(ChainPart { server, dump: (self.full.folder.join(&dump.name), dump), links, position, sums })
    }
}

/// The names of the saved files from one place to another. `None`: one does not lead to the other.
fn files(server: &str, from: &Position, to: &Position) -> Option<Vec<String>> {
    let is_same = from.server.is_none() || to.server.is_none() || from.server == to.server;
    let (host, port) = server.rsplit_once(':')?;
    let ((stem, first), (other, last)) = (from.file.rsplit_once('.')?, to.file.rsplit_once('.')?);
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let leads = is_same && stem == other && (first, from.offset) <= (last, to.offset);
    leads.then(|| (first..=last).map(|number| format!("{host}-{port}-{stem}.{number:06}.gz")).collect())
}

impl Moves {
    /// Loads a backup into databases of its own on the source's servers, adds up, and drops them.
    ///
    /// # Errors
    /// Why it is not verified.
    pub(super) async fn try_backup(
        &self,
        backups: &[Manifest],
        id: u64,
        parts: &[Part],
    ) -> Result<VerifiedBackup, String> {
        let chain = Chain::of(backups, id)?;
        let began = std::time::Instant::now();
        let mut rows = 0;
        for part in parts {
            let of = chain.part(part)?;
            let scratch = trial(part, id);
            let found = load(part, &of, &scratch).await?;
            drop_database(&part.server, &scratch).await?;
            rows += found.iter().map(|sum| sum.rows).sum::<u64>();
            if of.sums.is_empty() {
                return Err(
                    "it can be loaded; its rows were not compared, because statements could not be held \
                            while it began"
                        .to_owned(),
                );
            }
            is_equal(&found, &of.sums)?;
        }
        Ok(VerifiedBackup { at: now_s(), rows, seconds: began.elapsed().as_secs_f64() })
    }

    /// Loads a backup beside the tables that clients use. Returns how it can take their place.
    ///
    /// # Errors
    /// SHD1469 when it cannot be used; a database of that name that is there already is left alone.
    pub(in crate::control::moves) async fn restore_beside(
        &self,
        name: &str,
        id: u64,
        point: u64,
    ) -> Result<Vec<Restored>, String> {
        let backups = self.backups(name)?;
        let chain = Chain::of(&backups, id)?;
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let moving = self.moving(&snapshot.topology, by).map_err(|error| error.to_string())?;
        let parts = backup::parts(&moving, Side::Source);
        let mut restored: Vec<Restored> = Vec::new();
        for part in &parts {
            let beside = format!("{}_restored_{point}", part.database);
            match restore(part, &chain, &beside).await {
                Ok(done) => restored.push(done),
                Err(error) => {
                    for (part, done) in parts.iter().zip(&restored) {
                        drop_database(&part.server, &done.database).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(restored)
    }
}

async fn restore(part: &Part, chain: &Chain<'_>, beside: &str) -> Result<Restored, String> {
    let of = chain.part(part)?;
    let found = load(part, &of, beside).await?;
    if !of.sums.is_empty()
        && let Err(differs) = is_equal(&found, &of.sums)
    {
        drop_database(&part.server, beside).await?;
        return Err(unusable(format!("{beside}: {differs}")));
    }
    let swap: Vec<String> = found
        .iter()
        .map(|sum| {
            let (live, table) = (quoted(&part.database), quoted(&sum.table));
            let old = quoted(&format!("{}_before_restore", sum.table));
            format!("{live}.{table} TO {live}.{old}, {}.{table} TO {live}.{table}", quoted(beside))
        })
        .collect();
    Ok(Restored {
        server: of.server,
        database: beside.to_owned(),
        backup: chain.last().id,
        position: of.position,
        rows: found.iter().map(|sum| sum.rows).sum(),
        statements: vec![format!("RENAME TABLE {}", swap.join(", "))],
    })
}

fn is_equal(found: &[Sum], expected: &[Sum]) -> Result<(), String> {
    let differ = found.iter().filter(|sum| !expected.contains(sum)).map(|sum| sum.table.as_str());
    let differ: Vec<&str> = differ.collect();
    if differ.is_empty() && found.len() == expected.len() {
        return Ok(());
    }
    Err(format!("its rows add up to something else than when it was made, in {}", differ.join(", ")))
}

fn trial(part: &Part, backup: u64) -> String {
    format!("{}_try_backup_{backup}", part.database)
}

/// Drops what trials of these backups have left.
pub(super) async fn drop_trials(parts: Vec<Part>, backups: Vec<u64>) {
    for part in &parts {
        for id in &backups {
            if let Err(error) = drop_database(&part.server, &trial(part, *id)).await {
                tracing::warn!(error, "what the trial of a backup may have left stays");
            }
        }
    }
}

async fn drop_database(server: &Server, database: &str) -> Result<(), String> {
    let dropped = async {
        let mut connection = plain(server).await?;
        connection.query_drop(format!("DROP DATABASE IF EXISTS {}", quoted(database))).await?;
        connection.disconnect().await
    };
    dropped.await.map_err(|error| format!("{database} was not dropped: {error}"))
}

/// Loads one part into a new database and adds it up. What fails leaves no database.
async fn load(part: &Part, of: &ChainPart, into: &str) -> Result<Vec<Sum>, String> {
    let told = |error: mysql_async::Error| format!("{into}: {error}");
    for (path, file) in of.links.iter().flat_map(|link| &link.files).chain([&of.dump]) {
        tools::is_whole(path, file).await?;
    }
    let mut connection = plain(&part.server).await.map_err(told)?;
    connection.query_drop(format!("CREATE DATABASE {}", quoted(into))).await.map_err(told)?;
    connection.disconnect().await.map_err(told)?;
    let filled = fill(part, of, into).await;
    if filled.is_err() {
        drop_database(&part.server, into).await?;
    }
    filled
}

async fn fill(part: &Part, of: &ChainPart, into: &str) -> Result<Vec<Sum>, String> {
    let told = |error: mysql_async::Error| format!("{into}: {error}");
    let mut connection = plain(&part.server).await.map_err(told)?;
    // What is tried or restored beside is nothing for replicas; without the privilege it is merely more for them to do.
    let _ = connection.query_drop("SET SESSION sql_log_bin = 0").await;
    connection.query_drop(format!("USE {}", quoted(into))).await.map_err(told)?;
    let mut statements = tools::statements(of.dump.0.clone());
    while let Some(statement) = statements.recv().await {
        connection.query_drop(statement?).await.map_err(told)?;
    }
    connection.disconnect().await.map_err(told)?;
    for link in &of.links {
        replay(part, link, into).await.map_err(|error| unusable(format!("{into}: {error}")))?;
    }
    let mut connection = connect(&part.server).await.map_err(told)?;
    let sums = backup::sums(&mut connection, part, into).await.map_err(|error| format!("{into}: {error}"));
    connection.disconnect().await.map_err(told)?;
    sums
}

/// Brings the changes of a piece of the log into a database.
async fn replay(part: &Part, link: &Link, into: &str) -> Result<(), String> {
    let mut connection = connect(&part.server).await.map_err(|error| error.to_string())?;
    let _ = connection.query_drop("SET SESSION sql_log_bin = 0").await;
    let log = Saved::open(&mut connection, &watched(part), into, &link.from).await;
    let (sender, mut changes) = mpsc::channel(READ_AHEAD);
    let (log, from, to) = (log.map_err(|error| error.to_string())?, link.from.offset, link.to.offset);
    let paths: Vec<PathBuf> = link.files.iter().map(|(path, _)| path.clone()).collect();
    let reading = tokio::task::spawn_blocking(move || read(log, &paths, from, to, &sender));
    let mut replay = Replay::new(part, into);
    while let Some(changes) = changes.recv().await {
        replay.take(&mut connection, changes).await.map_err(|error| error.to_string())?;
    }
    reading.await.map_err(|error| format!("reading a log ended unexpectedly: {error}"))??;
    replay.flush(&mut connection).await.map_err(|error| error.to_string())?;
    connection.disconnect().await.map_err(|error| error.to_string())
}

/// Reads compressed log files from an offset in the first to another in the last.
fn read(
    mut log: Saved,
    paths: &[PathBuf],
    from: u64,
    to: u64,
    changes: &mpsc::Sender<Vec<RowChange>>,
) -> Result<(), String> {
    for (number, path) in paths.iter().enumerate() {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = std::fs::File::open(path).map_err(|error| told(&error))?;
        let file = BufReader::new(GzDecoder::new(BufReader::new(file)));
        let (from, to) = ((number == 0).then_some(from), (number + 1 == paths.len()).then_some(to));
        let mut give = |rows| match changes.blocking_send(rows) {
            Ok(()) => Wanted::Yes,
            Err(_) => Wanted::No,
        };
        log.read(file, from, to, &mut give).map_err(|error| told(&error))?;
    }
    Ok(())
}
