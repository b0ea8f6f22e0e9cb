//! The rules that have been in force, on disk: the last 50, with time and reason.
//!
//! Each version is one file, written whole and renamed into place, so a crash leaves the version or nothing.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;

const KEPT: usize = 50;

/// One version that has been in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub version: u64,
    /// Seconds since 1970.
    pub in_force_since: u64,
    pub reason: String,
    pub text: String,
}

/// The versions, oldest first.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    versions: Vec<Version>,
}

impl History {
    /// Reads what is there.
    ///
    /// # Errors
    /// When the folder can be neither read nor made.
    pub fn open(state: &Path) -> io::Result<History> {
        let folder = state.join("rules");
        std::fs::create_dir_all(&folder)?;
        let mut versions = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                match serde_json::from_slice::<Version>(&std::fs::read(&path)?) {
                    Ok(version) => versions.push(version),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a damaged version of the rules is ignored")
                    }
                }
            }
        }
        versions.sort_by_key(|version| version.version);
        Ok(History { folder, versions })
    }

    #[must_use]
    pub fn last(&self) -> Option<&Version> {
        self.versions.last()
    }

    #[must_use]
    pub fn all(&self) -> &[Version] {
        &self.versions
    }

    /// Notes a version, and forgets the oldest when there are more than 50. A switch is final when this succeeds, so what
    /// fails leaves nothing for a later process to find.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, version: Version) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(&version)?;
        let path = self.path(version.version);
        if let Err(error) = durable::write(&path, &bytes) {
            // It may have got its name before its folder could be synced.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.versions.push(version);
        while self.versions.len() > KEPT {
            let oldest = self.versions.remove(0);
            if let Err(error) = std::fs::remove_file(self.path(oldest.version)) {
                tracing::warn!(version = oldest.version, %error, "an old version of the rules stays on disk");
            }
        }
        Ok(())
    }

    fn path(&self, version: u64) -> PathBuf {
        self.folder.join(format!("{version:08}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: u64) -> Version {
        Version { version, in_force_since: 7, reason: "test".into(), text: format!("# {version}") }
    }

    #[test]
    fn the_last_fifty_versions_are_kept_over_a_restart() {
        let state = std::env::temp_dir().join(format!("shardway-history-{}", std::process::id()));
        let mut history = History::open(&state).unwrap();
        for number in 1..=53 {
            if number == 52 {
                // That an old one is gone already says nothing about the new one.
                std::fs::remove_file(state.join("rules/00000002.json")).unwrap();
            }
            history.add(version(number)).unwrap();
        }
        std::fs::write(state.join("rules/00000099.json"), "damaged").unwrap();
        let again = History::open(&state).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        assert_eq!(again.all().len(), 50);
        assert_eq!(again.all().first(), Some(&version(4)));
        assert_eq!(again.last(), Some(&version(53)));
    }
}
