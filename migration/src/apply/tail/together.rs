//! Many who wait for a stream share its marks: whoever comes while one is on its way waits for the next, which is written
//! after all of them have come.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Tail;
use crate::tables::WorkError;

/// Rounds of marks that are shared.
#[derive(Debug, Default)]
pub(super) struct Together {
    turn: tokio::sync::Mutex<()>,
    /// How many rounds have begun, and the last of them that has ended well.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Tail {
    /// Like [`Tail::catch_up`], for callers of whom there may be many.
    ///
    /// # Errors
    /// When the mark cannot be written or the stream stops.
    pub async fn catch_up_together(&self) -> Result<(), WorkError> {
        let Together { turn, begun, ended } = &self.together;
        let came = begun.load(Ordering::Acquire);
        let _turn = turn.lock().await;
        if ended.load(Ordering::Acquire) > came {
            return Ok(());
        }
        let round = begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.catch_up().await?;
        ended.store(round, Ordering::Release);
        Ok(())
    }
}
