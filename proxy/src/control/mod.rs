//! The control plane: which rules are in force, and whether backends answer.
//!
//! It runs beside the workers on a runtime of its own. The rule file is *desired*; what it took to bring a version into
//! force, or why it could not, is in [`store`].

pub mod alarm;
pub mod by_hand;
#[cfg(test)]
mod canned;
mod columns;
mod deadline;
pub mod external_check;
pub mod history;
pub mod moves;
mod outside;
mod renewal;
mod replicas;
pub mod rule_file;
pub mod status;
mod steps;
pub mod store;
mod stored;
pub mod traffic;
mod watch;
pub mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Backend;

use crate::admin;
use crate::console;
use crate::control_connection::{answer_within, connect};
use crate::shared::Shared;
use by_hand::Hands;
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
    pub hands: Hands,
    is_ready: AtomicBool,
}

/// Brings the first rules into force and starts everything that watches.
///
/// # Errors
/// When the rules cannot take effect or the admin address cannot be had.
pub async fn start(shared: Arc<Shared>) -> anyhow::Result<Arc<Control>> {
    let moves = Arc::new(Moves::open(Arc::clone(&shared)).context("reading the state of moves")?);
    let store =
        RuleStore::open(Arc::clone(&shared), Arc::clone(&moves)).context("reading the history of rules")?;
    let hands = Hands::open(&shared.config.state_dir).context("reading what was set by hand")?;
    let control = Arc::new(Control { shared, store, moves, hands, is_ready: AtomicBool::new(false) });
    let text = std::fs::read_to_string(&control.shared.config.rules)
        .with_context(|| format!("reading {}", control.shared.config.rules.display()))?;
    control.store.begin(&text).await.map_err(anyhow::Error::msg)?;
    // Before the first client: what a crash left behind must not be read from the side that is behind.
    moves::load_dirty(&control, &control.shared.snapshot().topology).await;
    control.moves.resume_all().await;
    moves::rollback::resume_all(&control);
    watch::start(&control)?;
    tokio::spawn(Arc::clone(&control.moves).watch_streams());
    tokio::spawn(Arc::clone(&control.moves).restore_always());
    tokio::spawn(moves::monitor::always(Arc::clone(&control)));
    tokio::spawn(moves::heal_always(Arc::clone(&control)));
    tokio::spawn(moves::look_always(Arc::clone(&control)));
    tokio::spawn(moves::forget_always(Arc::clone(&control)));
    tokio::spawn(moves::await_streams_always(Arc::clone(&control)));
    tokio::spawn(moves::shadow_always(Arc::clone(&control)));
    tokio::spawn(moves::resume_cleanups(Arc::clone(&control)));
    moves::drop_trials_left(&control);
    tokio::spawn(probe(Arc::clone(&control)));
    tokio::spawn(replicas::watch_always(Arc::clone(&control.shared)));
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
        self.is_ready.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Reads `shardway.toml` again, then the rule file, and brings the rules into force.
    ///
    /// # Errors
    /// A sentence for every problem of either; what was in force of a file with a problem stays so.
    pub async fn reload(&self, reason: &str) -> Result<u64, String> {
        let renewed = self.renew();
        match (renewed, self.reload_rules(reason).await) {
            (Ok(()), applied) => applied,
            (Err(of_process), Ok(version)) => {
                Err(format!("{of_process}\nThe rules, version {version}, are in force."))
            }
            (Err(of_process), Err(of_rules)) => Err(format!("{of_process}\n{of_rules}")),
        }
    }

    /// Reads the rule file and brings it into force, whatever `shardway.toml` says by now.
    ///
    /// # Errors
    /// A sentence for every problem; the old rules stay in force.
    pub async fn reload_rules(&self, reason: &str) -> Result<u64, String> {
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
        // At once, so that a backend which says nothing keeps nobody from learning about the others.
        join_all(snapshot.topology.backends.iter().map(|backend| look(&control.shared, backend))).await;
        control.store.refresh_functions().await;
        if control.store.is_incomplete() {
            control.store.complete().await;
        }
    }
}

/// Asks one backend, which has a few seconds to answer.
async fn look(shared: &Shared, backend: &Backend) {
    let health = shared.health(&backend.name);
    let asked = async {
        let mut connection = connect(&backend.primary).await?;
        let version: Option<String> = answer_within(connection.query_first("SELECT VERSION()")).await?;
        // What was told is told, however the connection ends.
        let _ = answer_within(connection.disconnect()).await;
        Ok::<_, mysql_async::Error>(version)
    };
    match asked.await {
        Ok(version) => health.answered(version.as_deref()),
        Err(error) => health.failed(&error.to_string()),
    }
}
