//! The control plane: which rules are in force, and whether backends answer.
//!
//! It runs beside the workers on a runtime of its own. The rule file is *desired*; what it took to bring a version into
//! force, or why it could not, is in [`store`].

pub mod history;
pub mod moves;
pub mod status;
pub mod store;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mysql_async::prelude::Queryable as _;

use crate::admin;
use crate::console;
use crate::control_connection;
use crate::shared::Shared;
use moves::Moves;
use store::RuleStore;

/// Between two looks at a backend.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// The running control plane.
#[derive(Debug)]
pub struct Control {
    pub shared: Arc<Shared>,
    pub store: RuleStore,
    pub moves: Arc<Moves>,
    is_ready: std::sync::atomic::AtomicBool,
}

/// Brings the first rules into force and starts everything that watches.
///
/// # Errors
/// When the rules cannot take effect or the admin address cannot be had.
pub async fn start(shared: Arc<Shared>) -> anyhow::Result<Arc<Control>> {
    let moves = Arc::new(Moves::open(&shared.config.state_dir).context("reading the state of moves")?);
    let store =
        RuleStore::open(Arc::clone(&shared), Arc::clone(&moves)).context("reading the history of rules")?;
    let control =
        Arc::new(Control { shared, store, moves, is_ready: std::sync::atomic::AtomicBool::new(false) });
    let text = std::fs::read_to_string(&control.shared.config.rules)
        .with_context(|| format!("reading {}", control.shared.config.rules.display()))?;
    control.store.apply(&text, "start").await.map_err(anyhow::Error::msg)?;
    // Before the first client: what a crash left behind must not be read from the side that is behind.
    moves::load_dirty(&control, &control.shared.snapshot().topology).await.map_err(anyhow::Error::msg)?;
    watch::start(&control)?;
    tokio::spawn(moves::heal_always(Arc::clone(&control)));
    tokio::spawn(moves::forget_always(Arc::clone(&control)));
    tokio::spawn(probe(Arc::clone(&control)));
    if let Some(address) = control.shared.config.listen.admin {
        admin::start(Arc::clone(&control), address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
    }
    if let Some(address) = control.shared.config.listen.console {
        console::start(Arc::clone(&control), address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
    }
    Ok(control)
}

impl Control {
    /// Clients are served from now on.
    pub fn ready(&self) {
        self.is_ready.store(true, std::sync::atomic::Ordering::Release);
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Reads the rule file and brings it into force.
    ///
    /// # Errors
    /// A sentence for every problem; the old rules stay in force.
    pub async fn reload(&self, reason: &str) -> Result<u64, String> {
        let file = &self.shared.config.rules;
        match tokio::fs::read_to_string(file).await {
            Ok(text) => self.store.apply(&text, reason).await,
            Err(error) => Err(self.store.failed(format!("{}: cannot be read: {error}", file.display()))),
        }
    }
}

/// Asks every backend now and then, so that its state is known before a client finds out; and reads the columns of
/// tables whose backend was down when the rules came.
async fn probe(control: Arc<Control>) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let snapshot = control.shared.snapshot();
        for backend in &snapshot.topology.backends {
            let health = control.shared.health(&backend.name);
            let asked = async {
                let mut connection = control_connection::connect(&backend.primary).await?;
                let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
                connection.disconnect().await?;
                Ok::<_, mysql_async::Error>(version)
            };
            match asked.await {
                Ok(version) => health.answered(version.as_deref()),
                Err(error) => health.failed(&error.to_string()),
            }
        }
        if control.store.is_incomplete() {
            control.store.complete().await;
        }
    }
}
