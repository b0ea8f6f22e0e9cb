//! One process for each state folder.
//!
//! Two that act on the same moves would each undo what the other is about, and a process that a supervisor takes for dead may
//! only be slow. So the folder is claimed before anything in it is read, and the claim ends when the process has ended,
//! however it ends. The file itself says nothing and stays.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, bail};

/// A claimed folder; given up when dropped.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "what counts is that it is open")] File);

/// Claims a state folder, which is made if it is not there.
///
/// # Errors
/// When another process has it, or it cannot be written to.
pub fn claim(folder: &Path) -> anyhow::Result<Claim> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Claim(file)),
        Err(TryLockError::WouldBlock) => {
            bail!("another shardway uses {}, and has not ended", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once_and_again_after_that() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let first = claim(&folder).unwrap();
        let error = claim(&folder).unwrap_err().to_string();
        assert!(error.contains("another shardway") && error.contains("state"), "{error}");
        drop(first);
        claim(&folder).unwrap();
    }
}
