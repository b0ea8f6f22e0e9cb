//! Ids from the clock: 41 bits of milliseconds since 2024, 10 bits of the proxy's own number, 12 bits of a counter.
//!
//! Two proxies never give the same id if their numbers differ. One proxy does not either: it goes on from its last id,
//! runs ahead of the clock when more than 4,096 are wanted in a millisecond, and keeps in the state folder up to when
//! it may have given ids, so that neither a restart nor a clock set back repeats one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::durable;

/// 2024-01-01 00:00:00 UTC.
const EPOCH_MS: u64 = 1_704_067_200_000;
const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
/// How far ahead ids are reserved.
const AHEAD_MS: u64 = 60_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Snowflakes {
    file: PathBuf,
    node: u64,
    /// The last id's milliseconds and counter.
    last: AtomicU64,
    /// No id has later milliseconds than these, which the file has. Zero until it has been read.
    reserved: AtomicU64,
    writing: Mutex<()>,
}

impl Snowflakes {
    pub fn new(state_dir: &Path, node: u16) -> Snowflakes {
        Snowflakes {
            file: state_dir.join("snowflake"),
            node: u64::from(node),
            last: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }

    /// That many ids, in ascending order.
    ///
    /// # Errors
    /// When they cannot be reserved.
    pub fn take(&self, count: usize) -> std::io::Result<Vec<u64>> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if self.reserved.load(Ordering::Acquire) == 0 {
            self.reserve(0)?;
        }
        let now = now_ms() << COUNTER_BITS;
        let step = |last: u64| Some((last + 1).max(now) + count - 1);
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).unwrap_or(0);
        let first = (last + 1).max(now);
        let latest = (first + count - 1) >> COUNTER_BITS;
        if latest > self.reserved.load(Ordering::Acquire) {
            self.reserve(latest)?;
        }
        let id = |of: u64| {
            let counter = of & ((1 << COUNTER_BITS) - 1);
            (of >> COUNTER_BITS) << (COUNTER_BITS + NODE_BITS) | self.node << COUNTER_BITS | counter
        };
        Ok((first..first + count).map(id).collect())
    }

    /// Makes sure that the file covers these milliseconds. The first time, ids begin after what it covered before.
    fn reserve(&self, latest: u64) -> std::io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reserved = self.reserved.load(Ordering::Acquire);
        if reserved == 0 {
            let before = match std::fs::read_to_string(&self.file) {
                Ok(text) => text.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            self.last.fetch_max(before << COUNTER_BITS | ((1 << COUNTER_BITS) - 1), Ordering::AcqRel);
            reserved = before;
        } else if latest <= reserved {
            return Ok(());
        }
        let until = latest.max(now_ms()).max(reserved) + AHEAD_MS;
        durable::write(&self.file, until.to_string().as_bytes())?;
        self.reserved.store(until, Ordering::Release);
        Ok(())
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_over_bursts_and_restarts_and_tell_their_proxy() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Snowflakes::new(folder.path(), 5);
        let mut all = first.take(10_000).expect("ids");
        all.extend(first.take(1).expect("an id"));
        // The clock has not moved as far as the burst ran ahead.
        let restarted = Snowflakes::new(folder.path(), 5);
        all.extend(restarted.take(2).expect("ids"));
        assert!(all.is_sorted_by(|one, next| one < next));
        assert!(all.iter().all(|id| id >> COUNTER_BITS & 1023 == 5 && *id < 1 << 63));
        let other = Snowflakes::new(folder.path(), 6).take(1).expect("an id");
        assert!(!all.contains(&other[0]));
    }

    #[test]
    fn without_a_state_folder_there_are_no_ids() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Snowflakes::new(&folder.path().join("nowhere"), 0).take(1).is_err());
        std::fs::write(folder.path().join("snowflake"), "x").expect("a file");
        assert!(Snowflakes::new(folder.path(), 0).take(1).is_err());
    }
}
