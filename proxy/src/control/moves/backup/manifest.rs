//! What is known of backups, and where that is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shardway_migration::backup::Sum;
use shardway_migration::position::Position;

use super::Kind;
use crate::control::moves::Moves;
use crate::control::moves::tools::File;
use crate::durable;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub id: u64,
    pub kind: Kind,
    pub folder: PathBuf,
    /// Seconds since 1970.
    pub started_at: u64,
    pub finished_at: u64,
    /// What an incremental one goes on from.
    pub base: Option<u64>,
    pub tool: String,
    pub parts: Vec<PartReport>,
    pub verified: Option<VerifiedBackup>,
    /// Why it is not verified.
    pub not_verified: Option<String>,
}

/// The tables of one database of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    pub server: String,
    pub server_version: String,
    pub database: String,
    /// It leads to the rows as they were here.
    pub position: Position,
    /// Of an incremental one: the server's log, with the first of its parts.
    pub files: Vec<File>,
    /// What the rows add up to at the position, when that is known.
    pub tables: Vec<Sum>,
}

/// A restore test that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifiedBackup {
    pub at: u64,
    pub rows: u64,
    pub seconds: f64,
}

impl Moves {
    /// The backups of a move that are whole, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn backups(&self, name: &str) -> Result<Vec<Manifest>, String> {
        let index = self.backups_folder().join(name);
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&index) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(format!("{}: {error}", index.display())),
        };
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let manifest = serde_json::from_slice::<Manifest>(&bytes)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                found.push(manifest);
            }
        }
        found.sort_by_key(|manifest| manifest.id);
        Ok(found)
    }

    /// The newest that a point may refer to.
    pub(in crate::control::moves) fn last_backup(&self, name: &str) -> Option<u64> {
        self.backups(name).ok()?.last().map(|manifest| manifest.id)
    }

    pub(super) fn backups_folder(&self) -> PathBuf {
        self.shared.config.state_dir.join("backups")
    }

    /// Beside the state, so that it is found again wherever the files are; and beside the files.
    pub(super) fn keep_manifest(&self, name: &str, manifest: &Manifest) -> Result<(), String> {
        let index = self.backups_folder().join(name);
        let kept = std::fs::create_dir_all(&index)
            .and_then(|()| Ok(serde_json::to_vec_pretty(manifest)?))
            .and_then(|bytes| {
                durable::write(&manifest.folder.join("manifest.json"), &bytes)?;
                durable::write(&index.join(format!("{:06}.json", manifest.id)), &bytes)
            });
        kept.map_err(|error| format!("the manifest cannot be kept: {error}"))
    }
}
