//! What people have set of a move's pace while it runs: `shardway move throttle`.
//!
//! It holds until it is set anew, also over a restart: a copy that somebody slowed down must not come back at full
//! speed. One file for each move, written whole and renamed into place.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use shardway_migration::copy::WORKERS_MAX;
use shardway_migration::throttle::ByHand;

/// By move.
#[derive(Debug)]
pub struct Hands {
    folder: PathBuf,
    set: Mutex<BTreeMap<String, ByHand>>,
}

impl Hands {
    /// What has been set before.
    ///
    /// # Errors
    /// When the folder cannot be used, or a file in it is damaged.
    pub fn open(state: &Path) -> io::Result<Hands> {
        let folder = state.join("throttle");
        std::fs::create_dir_all(&folder)?;
        let mut set = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let by_hand = serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| {
                io::Error::other(format!("{}: {error}; remove it to follow the rules", path.display()))
            })?;
            if let Some(name) = path.file_stem() {
                set.insert(name.to_string_lossy().into_owned(), by_hand);
            }
        }
        Ok(Hands { folder, set: Mutex::new(set) })
    }

    /// What is set for a move; nothing, if nobody did.
    #[must_use]
    pub fn of(&self, name: &str) -> ByHand {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Sets it, in place of what was set before. The name must be one of the rules'.
    ///
    /// # Errors
    /// Why it is not set.
    pub fn set(&self, name: &str, by_hand: ByHand) -> Result<(), String> {
        if by_hand.parallel.is_some_and(|parallel| !(1..=WORKERS_MAX).contains(&parallel)) {
            return Err(format!("parallel must be between 1 and {WORKERS_MAX}"));
        }
        if by_hand.pause_ms.is_some_and(|pause_ms| pause_ms > 60_000) {
            return Err("pause_ms must be between 0 and 60000".to_owned());
        }
        let path = self.folder.join(format!("{name}.json"));
        let beside = path.with_extension("tmp");
        let saved = serde_json::to_vec_pretty(&by_hand)
            .map_err(io::Error::from)
            .and_then(|bytes| std::fs::write(&beside, bytes))
            .and_then(|()| std::fs::rename(&beside, &path));
        saved.map_err(|error| format!("what was set cannot be saved: {error}"))?;
        self.set.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), by_hand);
        Ok(())
    }
}
