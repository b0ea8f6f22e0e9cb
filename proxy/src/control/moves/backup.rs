//! Backups of a move's tables on the source, by the servers' own tools.
//!
//! - Full: the dump tool in one snapshot, with the position in the log, compressed. Statements on the move's tables are
//!   held until the tool has its snapshot, at most as long as a switch may hold them, so that the sums taken beside it are
//!   of the same rows. When they cannot be held the dump is as consistent, and only its sums are not known.
//! - Incremental: the log since the last backup, fetched with the log tool.
//! - A full backup counts as verified when it has been loaded into a database of its own and adds up to the same sums. That
//!   database is dropped again.
//! - Restoring writes a database of its own too, beside the tables that clients use; it never touches those.
//!
//! Every backup has a folder with a manifest, written last: a folder without one is half a backup, and is not listed.

mod manifest;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::backup::{self, Part, Sum};
use shardway_migration::connection::connect;
use shardway_migration::image::quoted;
use shardway_migration::position::Position;
use shardway_migration::stream;
use shardway_routing::refusal;
use shardway_routing::topology::{Server, Side, Topology};

pub use manifest::{Manifest, PartReport, VerifiedBackup};

use super::tools::{self, Tool};
use super::{Moves, find};
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

impl Moves {
    /// Makes a backup of the source's tables and, when it is a full one, tries it.
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
                let (tool, reports) = self.incremental(name, &parts, last, &folder).await?;
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
        if ask.kind == Kind::Full {
            match self.try_backup(&manifest, &parts).await {
                Ok(verified) => (manifest.verified, manifest.not_verified) = (Some(verified), None),
                Err(why) => manifest.not_verified = Some(why),
            }
            self.keep_manifest(name, &manifest)?;
        }
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
        for part in parts {
            versions.push(version(&part.server).await?);
        }
        let tool = Tool::dump(&settings.dump, versions.first().map(String::as_str).unwrap_or_default())?;
        let names = gates(topology, &of.tables);
        let limit = Duration::from_millis(of.hold_ms);
        let held = self.shared.gates.hold(&names, limit).await;
        let mut beside = Vec::new();
        if held.is_ok() {
            for part in parts {
                beside.push(snapshot(&part.server).await.map_err(|error| error.to_string())?);
            }
        }
        let mut dumps: Vec<tools::Dump> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            dumps.push(tools::dump(&tool, part, folder.join(format!("{number}-{}.sql.gz", part.database))));
        }
        let until = tokio::time::Instant::now() + limit;
        let mut is_exact = held.is_ok();
        for dump in &mut dumps {
            is_exact &= tokio::time::timeout_at(until, dump.has_begun()).await.is_ok();
        }
        drop(held);
        let mut reports = Vec::new();
        for ((part, version), dump) in parts.iter().zip(versions).zip(dumps) {
            let (position, file) = dump.ended().await?;
            reports.push(PartReport {
                server: format!("{}:{}", part.server.host, part.server.port),
                server_version: version,
                database: part.database.clone(),
                position,
                files: vec![file],
                tables: Vec::new(),
            });
        }
        for ((report, part), mut connection) in reports.iter_mut().zip(parts).zip(beside) {
            if is_exact {
                let sums = backup::sums(&mut connection, part, &part.database).await;
                report.tables = sums.map_err(|error| error.to_string())?;
            }
            connection.disconnect().await.map_err(|error| error.to_string())?;
        }
        Ok((tool.to_string(), reports))
    }

    async fn incremental(
        &self,
        name: &str,
        parts: &[Part],
        last: &Manifest,
        folder: &Path,
    ) -> Result<(String, Vec<PartReport>), String> {
        let settings = self.settings(name).backup;
        let mut reports: Vec<PartReport> = Vec::new();
        let mut used = String::new();
        for part in parts {
            let server = format!("{}:{}", part.server.host, part.server.port);
            if reports.iter().any(|report| report.server == server) {
                continue;
            }
            let before = last.parts.iter().find(|report| report.server == server).ok_or_else(|| {
                refusal::BACKUP_UNUSABLE
                    .because(format!("backup {} knows nothing of {server}", last.id))
                    .to_string()
            })?;
            let server_version = version(&part.server).await?;
            let tool = Tool::log(&settings.log, &server_version)?;
            let position = position(&part.server).await?;
            let files = tools::log(&tool, &part.server, &before.position, &position, folder).await?;
            used = tool.to_string();
            reports.push(PartReport {
                server,
                server_version,
                database: part.database.clone(),
                position,
                files,
                tables: Vec::new(),
            });
        }
        Ok((used, reports))
    }

    /// Loads a full backup into databases of its own on the source's servers, adds up, and drops them.
    async fn try_backup(&self, manifest: &Manifest, parts: &[Part]) -> Result<VerifiedBackup, String> {
        let began = std::time::Instant::now();
        let mut rows = 0;
        for (part, report) in parts.iter().zip(&manifest.parts) {
            let scratch = format!("{}_try_backup_{}", part.database, manifest.id);
            let loaded = load(part, report, manifest, &scratch).await;
            let dropped = async {
                let mut connection = plain(&part.server).await?;
                connection.query_drop(format!("DROP DATABASE IF EXISTS {}", quoted(&scratch))).await?;
                connection.disconnect().await
            };
            dropped.await.map_err(|error| format!("{scratch} was not dropped: {error}"))?;
            let found = loaded?;
            rows += found.iter().map(|sum| sum.rows).sum::<u64>();
            if report.tables.is_empty() {
                return Err(
                    "it can be loaded; its rows were not compared, because statements could not be held \
                            while it began"
                        .to_owned(),
                );
            }
            if found != report.tables {
                let differ: Vec<&str> = found
                    .iter()
                    .filter(|sum| !report.tables.contains(sum))
                    .map(|sum| sum.table.as_str())
                    .collect();
                return Err(format!("its rows add up to something else in {}", differ.join(", ")));
            }
        }
        Ok(VerifiedBackup { at: now_s(), rows, seconds: began.elapsed().as_secs_f64() })
    }

    /// Loads a backup beside the tables that clients use. Returns how they can take its place.
    ///
    /// # Errors
    /// SHD1469 when it cannot be used; a database of that name that is there already is left alone.
    pub(super) async fn restore_beside(&self, name: &str, id: u64, point: u64) -> Result<String, String> {
        let unusable = |why: String| refusal::BACKUP_UNUSABLE.because(why).to_string();
        let backups = self.backups(name)?;
        let manifest = backups.iter().rev().find(|of| of.id <= id && of.kind == Kind::Full);
        let manifest = manifest.ok_or_else(|| unusable(format!("backup {id} leads to no full one")))?;
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let moving = self.moving(&snapshot.topology, by).map_err(|error| error.to_string())?;
        let mut told = Vec::new();
        for (part, report) in backup::parts(&moving, Side::Source).iter().zip(&manifest.parts) {
            let beside = format!("{}_restored_{point}", part.database);
            let found = load(part, report, manifest, &beside).await?;
            if !report.tables.is_empty() && found != report.tables {
                return Err(unusable(format!(
                    "{beside}: the rows add up to something else than when they were dumped"
                )));
            }
            let rows: u64 = found.iter().map(|sum| sum.rows).sum();
            let swap: Vec<String> = found
                .iter()
                .map(|sum| {
                    let (live, table) = (quoted(&part.database), quoted(&sum.table));
                    let old = quoted(&format!("{}_before_restore", sum.table));
                    format!("{live}.{table} TO {live}.{old}, {}.{table} TO {live}.{table}", quoted(&beside))
                })
                .collect();
            told.push(format!(
                "{}: {beside} has {rows} rows of backup {} at {}; with the clients stopped, RENAME TABLE {} puts them in place",
                report.server,
                manifest.id,
                report.position,
                swap.join(", ")
            ));
        }
        Ok(told.join("\n"))
    }
}

/// Loads one part into a new database and adds it up.
async fn load(part: &Part, report: &PartReport, manifest: &Manifest, into: &str) -> Result<Vec<Sum>, String> {
    let told = |error: mysql_async::Error| format!("{into}: {error}");
    let file = report.files.first().ok_or("a full backup without a file")?;
    let path = manifest.folder.join(&file.name);
    tools::is_whole(&path, file).await?;
    let mut connection = plain(&part.server).await.map_err(told)?;
    // What is tried or restored beside is nothing for replicas; without the privilege it is merely more for them to do.
    let _ = connection.query_drop("SET SESSION sql_log_bin = 0").await;
    connection.query_drop(format!("CREATE DATABASE {}", quoted(into))).await.map_err(told)?;
    connection.query_drop(format!("USE {}", quoted(into))).await.map_err(told)?;
    let mut statements = tools::statements(path);
    while let Some(statement) = statements.recv().await {
        connection.query_drop(statement?).await.map_err(told)?;
    }
    connection.disconnect().await.map_err(told)?;
    let mut connection = connect(&part.server).await.map_err(told)?;
    let sums = backup::sums(&mut connection, part, into).await.map_err(|error| format!("{into}: {error}"));
    connection.disconnect().await.map_err(told)?;
    sums
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
