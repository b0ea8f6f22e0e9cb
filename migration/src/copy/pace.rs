//! How fast a copy may go, as it is told from outside.

use std::time::Duration;

use tokio::sync::watch;

/// How fast a copy may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Chunks at once; none: the copy rests.
    pub concurrency: usize,
    /// Between two chunks of a worker.
    pub pause: Duration,
}

/// Returns when worker number `worker` may begin its next chunk.
pub(super) async fn turn(pace: &mut watch::Receiver<Pace>, worker: usize) {
    let now = *pace.borrow_and_update();
    if !now.pause.is_zero() {
        tokio::time::sleep(now.pause).await;
    }
    // If nobody sets the pace any more, the copy is about to be dropped too.
    let _ = pace.wait_for(|pace| worker < pace.concurrency).await;
}
