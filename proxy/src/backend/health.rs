//! Whether a backend answers, as the whole process sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// After a failed connect, how long others fail at once instead of trying too.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Shared by all workers and the probe.
#[derive(Debug, Default)]
pub struct Health {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections that a statement, a transaction or a session holds now.
    in_use: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    down: Option<Down>,
    version: Option<String>,
}

/// Since when and why a backend is down.
#[derive(Debug, Clone)]
pub struct Down {
    pub since: SystemTime,
    pub error: String,
    last_try: Instant,
}

impl Health {
    /// The backend answered; `version` is what it greeted with.
    pub fn answered(&self, version: Option<&str>) {
        let mut state = self.lock();
        if let Some(down) = state.down.take() {
            tracing::info!(error = down.error, "backend is up again");
        }
        if let Some(version) = version {
            state.version = Some(version.to_owned());
        }
    }

    /// A connection could not be made.
    pub fn failed(&self, error: &str) {
        let mut state = self.lock();
        let since = state.down.as_ref().map_or_else(SystemTime::now, |down| down.since);
        if state.down.is_none() {
            tracing::warn!(error, "backend is down");
        }
        state.down = Some(Down { since, error: error.to_owned(), last_try: Instant::now() });
    }

    /// Why a new connection should not even be tried now.
    #[must_use]
    pub fn refuses(&self) -> Option<String> {
        let state = self.lock();
        let down = state.down.as_ref()?;
        (down.last_try.elapsed() < RETRY_AFTER).then(|| down.error.clone())
    }

    #[must_use]
    pub fn down(&self) -> Option<Down> {
        self.lock().down.clone()
    }

    /// The version string of the server's greeting, once somebody connected.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn connections_in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Counts a connection as in use, until dropped.
#[derive(Debug)]
pub struct InUse(Arc<Health>);

impl InUse {
    #[must_use]
    pub fn new(health: &Arc<Health>) -> InUse {
        health.in_use.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(health))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}
