//! Connections that are made before clients need them.
//!
//! A switch sends every client to servers that nobody may have a connection to yet, and logging in takes several round
//! trips. So each worker opens there, before statements are held, as many as its clients have where they are now. It is
//! nobody's error when that fails or takes long: whoever needs a connection makes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// What workers are asked for.
#[derive(Debug)]
pub struct Warmth(watch::Sender<Option<Arc<Wish>>>);

/// Clients are about to go from some backends to others, by name.
#[derive(Debug)]
pub struct Wish {
    pub from: BTreeSet<String>,
    pub to: BTreeSet<String>,
    /// Told by each worker when it has done what it can.
    pub done: UnboundedSender<()>,
}

impl Default for Warmth {
    fn default() -> Warmth {
        Warmth(watch::Sender::new(None))
    }
}

impl Warmth {
    /// What a worker listens to.
    #[must_use]
    pub fn wishes(&self) -> watch::Receiver<Option<Arc<Wish>>> {
        self.0.subscribe()
    }

    /// Asks all of so many workers, and waits for them until the time is over.
    pub async fn ask(&self, workers: usize, from: BTreeSet<String>, to: BTreeSet<String>, limit: Duration) {
        let (done, mut told) = unbounded_channel();
        self.0.send_replace(Some(Arc::new(Wish { from, to, done })));
        let all = async {
            for _ in 0..workers {
                told.recv().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::info!("not every connection was made that clients will need");
        }
        self.0.send_replace(None);
    }
}
