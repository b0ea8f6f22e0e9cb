//! Backups of a move's tables on the source, by the servers' own tools.
//!
//! - Full: the dump tool in one snapshot, with the position in the log, compressed. Statements on the move's tables are
//!   held until the tool has its snapshot, at most as long as a switch may hold them, so that the sums taken beside it are
//!   of the same rows. When they cannot be held the dump is as consistent, and only its sums are not known.
//! - Incremental: the log since the last backup, fetched with the log tool, up to a place at which sums are taken too.
//! - A backup counts as verified when it has been loaded into a database of its own (an incremental one: the full one that
//!   it leads back to, and the logs since) and adds up to the same sums. That database is dropped again.
//! - Restoring writes a database of its own too, beside the tables that clients use; it never touches those (`restore`).
//!
//! Every backup has a folder with a manifest, written last: a folder without one is half a backup, and is not listed.

mod manifest;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::backup::{self, Part};
use shardway_migration::connection::connect;
use shardway_migration::position::Position;
use shardway_migration::stream;
use shardway_routing::refusal;
use shardway_routing::topology::{Server, Side, Topology};

pub use manifest::{Manifest, PartReport, VerifiedBackup};
pub use restore::Restored;

use super::tools::{self, Tool};
use super::{Moves, find, moves};
use crate::control::Control;
use crate::control::deadline::Deadline;
use crate::control::store::now_s;
use crate::gate::GateName;

/// What an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupAsk {
    pub kind: Kind,
    /// A folder that gets the backups, in place of the state folder's.
    pub to: Option<PathBuf>,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Full,
    /// The log since the backup before.
    Incremental,
}

/// Drops what trials of backups have left on the sources that the process before this one did not end. To be called before
/// anybody can ask for a backup; the servers are asked later.
pub(in crate::control) fn drop_trials_left(control: &Control) {
    let snapshot = control.shared.snapshot();
    for (by, of) in moves(&snapshot.topology) {
        let Ok(backups) = control.moves.backups(&of.name) else { continue };
        let untried: Vec<u64> =
            backups.iter().filter(|backup| backup.verified.is_none()).map(|backup| backup.id).collect();
        let Ok(moving) = control.moves.moving(&snapshot.topology, by) else { continue };
        if !untried.is_empty() {
            tokio::spawn(restore::drop_trials(backup::parts(&moving, Side::Source), untried));
        }
    }
}

impl Moves {
    /// Makes a backup of the source's tables, and tries it.
    ///
    /// # Errors
    /// SHD1468 without a tool; what the tool said.
    pub async fn back_up(self: &Arc<Self>, name: &str, ask: &BackupAsk) -> Result<Manifest, String> {
        let Ok(_one_at_a_time) = self.backing_up.try_lock() else {
            return Err("another backup is being made; try again when it has ended".to_owned());
        };
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let moving = self.moving(&snapshot.topology, by).map_err(|error| error.to_string())?;
        let parts = backup::parts(&moving, Side::Source);
        let before = self.backups(name)?;
        let id = before.last().map_or(1, |last| last.id + 1);
        let base = ask.to.clone().unwrap_or_else(|| self.backups_folder()).join(name);
        let kind = if ask.kind == Kind::Full { "full" } else { "incremental" };
        let folder = base.join(format!("{id:06}-{kind}"));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let started_at = now_s();
        let (tool, reports, last) = match ask.kind {
            Kind::Full => {
                let (tool, reports) = self.full(name, &snapshot.topology, &parts, &folder).await?;
                (tool, reports, None)
            }
            Kind::Incremental => {
                let last = before.last().ok_or_else(|| {
                    let why = format!("{name} has no full backup to go on from");
                    refusal::BACKUP_UNUSABLE.because(why).to_string()
                })?;
                let (tool, reports) =
                    self.incremental(name, &snapshot.topology, &parts, last, &folder).await?;
                (tool, reports, Some(last.id))
            }
        };
        let mut manifest = Manifest {
            id,
            kind: ask.kind,
            folder,
            started_at,
            finished_at: now_s(),
            base: last,
            tool,
            parts: reports,
            verified: None,
            not_verified: Some("it has not been tried".to_owned()),
        };
        self.keep_manifest(name, &manifest)?;
        match self.try_backup(&[before, vec![manifest.clone()]].concat(), id, &parts).await {
            Ok(verified) => (manifest.verified, manifest.not_verified) = (Some(verified), None),
            Err(why) => manifest.not_verified = Some(why),
        }
        self.keep_manifest(name, &manifest)?;
        tracing::info!(r#move = name, id, kind, verified = manifest.verified.is_some(), "a backup was made");
        Ok(manifest)
    }

    async fn full(
        &self,
        name: &str,
        topology: &Topology,
        parts: &[Part],
        folder: &Path,
    ) -> Result<(String, Vec<PartReport>), String> {
        let (_, of) = find(topology, name)?;
        let settings = self.settings(name).backup;
        let mut versions = Vec::new();
        let mut identities = Vec::new();
        for part in parts {
            versions.push(version(&part.server).await?);
            identities.push(position(&part.server).await?.server);
        }
        let tool = Tool::dump(&settings.dump, versions.first().map(String::as_str).unwrap_or_default())?;
        let names = gates(topology, &of.tables);
        let deadline = Deadline::after(Duration::from_millis(of.hold_ms));
        let held = self.shared.gates.hold(&names, deadline.left()).await;
        let mut beside = Vec::new();
        let mut is_exact = held.is_ok();
        if is_exact {
            for part in parts {
                match tokio::time::timeout(deadline.left(), snapshot(&part.server)).await {
                    Ok(snapshot) => beside.push(snapshot.map_err(|error| error.to_string())?),
                    Err(_) => is_exact = false,
                }
            }
        }
        let mut dumps: Vec<tools::Dump> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            dumps.push(tools::dump(&tool, part, folder.join(format!("{number}-{}.sql.gz", part.database))));
        }
        for dump in &mut dumps {
            is_exact &= tokio::time::timeout(deadline.left(), dump.has_begun()).await.is_ok();
        }
        drop(held);
        let mut reports = Vec::new();
        for (((part, version), server), dump) in parts.iter().zip(versions).zip(identities).zip(dumps) {
            let (position, file) = dump.ended().await?;
            let position = Position { server, ..position };
            reports.push(PartReport {
                server: format!("{}:{}", part.server.host, part.server.port),
                server_version: version,
                database: part.database.clone(),
                position,
                files: vec![file],
                tables: Vec::new(),
            });
        }
        let beside = if is_exact { beside } else { Vec::new() };
        add_up(&mut reports, parts, beside).await?;
        Ok((tool.to_string(), reports))
    }

    async fn incremental(
        &self,
        name: &str,
        topology: &Topology,
        parts: &[Part],
        last: &Manifest,
        folder: &Path,
    ) -> Result<(String, Vec<PartReport>), String> {
        let (_, of) = find(topology, name)?;
        let deadline = Deadline::after(Duration::from_millis(of.hold_ms));
        let held = self.shared.gates.hold(&gates(topology, &of.tables), deadline.left()).await;
        let beside = match &held {
            Ok(_) => tokio::time::timeout(deadline.left(), ends(parts, Beside::Snapshots)).await.ok(),
            Err(_) => None,
        };
        drop(held);
        let (positions, beside) = match beside {
            Some(found) => found?,
            None => ends(parts, Beside::Nothing).await?,
        };
        let tool = self.settings(name).backup.log;
        let mut reports: Vec<PartReport> = Vec::new();
        let mut used = String::new();
        for (part, position) in parts.iter().zip(positions) {
            let server = format!("{}:{}", part.server.host, part.server.port);
            let server_version = version(&part.server).await?;
            let mut files = Vec::new();
            // A server has one log, whatever it has of the move.
            if reports.iter().all(|report| report.server != server) {
                let before = goes_on_from(last, &server, &position)?;
                let tool = Tool::log(&tool, &server_version)?;
                files = tools::log(&tool, &part.server, &before, &position, folder).await?;
                used = tool.to_string();
            }
            let database = part.database.clone();
            reports.push(PartReport {
                server,
                server_version,
                database,
                position,
                files,
                tables: Vec::new(),
            });
        }
        add_up(&mut reports, parts, beside).await?;
        Ok((used, reports))
    }
}

/// What is to be had beside the ends of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Snapshots,
}

/// Where the logs of the parts' servers end, one place a server; and what the parts' rows are at that moment, as long as
/// nobody writes.
async fn ends(parts: &[Part], beside: Beside) -> Result<(Vec<Position>, Vec<Conn>), String> {
    let (mut positions, mut snapshots): (Vec<Position>, Vec<Conn>) = (Vec::new(), Vec::new());
    for part in parts {
        let known =
            parts.iter().zip(&positions).find(|(known, _)| known.server.is_same_process(&part.server));
        let position = match known {
            Some((_, known)) => known.clone(),
            None => position(&part.server).await?,
        };
        positions.push(position);
    }
    if beside == Beside::Snapshots {
        for part in parts {
            snapshots.push(snapshot(&part.server).await.map_err(|error| error.to_string())?);
        }
    }
    Ok((positions, snapshots))
}

/// Where the log of a backup begins that goes on from another: at the earliest place that any of its parts needs.
fn goes_on_from(last: &Manifest, server: &str, end: &Position) -> Result<Position, String> {
    let unusable = |why: String| refusal::BACKUP_UNUSABLE.because(why).to_string();
    let known = last.parts.iter().filter(|report| report.server == server).map(|report| &report.position);
    let first = known.reduce(|one, other| if other.is_before(one) { other } else { one });
    let first = first.ok_or_else(|| unusable(format!("backup {} knows nothing of {server}", last.id)))?;
    let is_another = first.server.is_some() && end.server.is_some() && first.server != end.server;
    if is_another || end.is_before(first) {
        let why = format!(
            "backup {} ends at {first} in a log that {server} does not go on with; make a full one",
            last.id
        );
        return Err(unusable(why));
    }
    Ok(first.clone())
}

/// Notes what the parts' rows add up to in their snapshots, where there are any.
async fn add_up(reports: &mut [PartReport], parts: &[Part], beside: Vec<Conn>) -> Result<(), String> {
    for ((report, part), mut connection) in reports.iter_mut().zip(parts).zip(beside) {
        let sums = backup::sums(&mut connection, part, &part.database).await;
        report.tables = sums.map_err(|error| error.to_string())?;
        connection.disconnect().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A connection with no settings but its own: a dump brings what it needs.
async fn plain(server: &Server) -> Result<Conn, mysql_async::Error> {
    crate::control_connection::connect(&Server { database: None, ..server.clone() }).await
}

async fn snapshot(server: &Server) -> Result<Conn, mysql_async::Error> {
    let mut connection = connect(server).await?;
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    connection.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    Ok(connection)
}

async fn version(server: &Server) -> Result<String, String> {
    let mut connection = plain(server).await.map_err(|error| error.to_string())?;
    let version: Option<String> =
        connection.query_first("SELECT VERSION()").await.map_err(|error| error.to_string())?;
    connection.disconnect().await.map_err(|error| error.to_string())?;
    Ok(version.unwrap_or_default())
}

async fn position(server: &Server) -> Result<Position, String> {
    let mut connection = plain(server).await.map_err(|error| error.to_string())?;
    let position = stream::current(&mut connection).await.map_err(|error| error.to_string())?;
    connection.disconnect().await.map_err(|error| error.to_string())?;
    Ok(position)
}

fn gates(topology: &Topology, tables: &[shardway_routing::topology::TableId]) -> Vec<GateName> {
    let gate = |id: &shardway_routing::topology::TableId| {
        let table = topology.table_of(*id);
        GateName::Table(topology.database_of(table.database).name.clone(), table.name.to_lowercase())
    };
    tables.iter().map(gate).collect()
}
