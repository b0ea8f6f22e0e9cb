//! The state of the process as one value: what `/api/status` and `shardway status` show.

use serde::{Deserialize, Serialize};
use shardway_routing::topology::{DoubleWrite, Side};

use super::Control;
use super::moves::Verified;
use super::store::RulesStatus;

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub uptime_s: u64,
    pub rules: RulesStatus,
    pub backends: Vec<BackendStatus>,
    pub moves: Vec<MoveStatus>,
    pub sessions: Sessions,
    pub held_statements: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackendStatus {
    pub name: String,
    pub address: String,
    pub state: String,
    pub version: Option<String>,
    pub open_connections: u64,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MoveStatus {
    pub name: String,
    pub tables: Vec<String>,
    /// Percent.
    pub reads: f64,
    pub writes: String,
    pub double_write: String,
    pub phase: String,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub dirty_keys: usize,
    pub mismatches: u64,
    pub last_verify: Option<Verified>,
    pub last_error: Option<String>,
    pub desired_version: u64,
    pub in_force_version: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Sessions {
    pub count: usize,
}

/// Looks at everything once.
#[must_use]
pub fn status(control: &Control) -> Status {
    let shared = &control.shared;
    let topology = &shared.snapshot().topology;
    let backends = topology
        .backends
        .iter()
        .map(|backend| {
            let health = shared.health(&backend.name);
            let down = health.down();
            BackendStatus {
                name: backend.name.clone(),
                address: format!("{}:{}", backend.primary.host, backend.primary.port),
                state: if down.is_some() { "down" } else { "up" }.to_owned(),
                version: health.version(),
                open_connections: health.open_connections(),
                error: down.map(|down| down.error),
            }
        })
        .collect();
    let moves = topology
        .moves
        .iter()
        .map(|of| MoveStatus {
            name: of.name.clone(),
            tables: of.tables.iter().map(|table| topology.table_of(*table).name.clone()).collect(),
            reads: f64::from(of.reads) / 100.0,
            writes: if of.writes == Side::Source { "source" } else { "target" }.to_owned(),
            double_write: double_write(of.double_write).to_owned(),
            ..progress(control, &of.name)
        })
        .collect();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: shared.started.elapsed().as_secs(),
        rules: control.store.status(),
        backends,
        moves,
        sessions: Sessions { count: shared.sessions.len() },
        held_statements: shared.gates.waiting(),
    }
}

/// What has been achieved for a move.
fn progress(control: &Control, name: &str) -> MoveStatus {
    let achieved = control.moves.of(name);
    let running = control.moves.progress(name);
    let phase = match (&running, achieved.synced, &achieved.last_error) {
        (Some(_), ..) => "Copy",
        (None, true, _) => "Synced",
        (None, false, Some(_)) => "Failed",
        (None, false, None) => "Draft",
    };
    let count = |of: &std::sync::atomic::AtomicU64| of.load(std::sync::atomic::Ordering::Relaxed);
    let rules = control.store.status();
    MoveStatus {
        name: String::new(),
        tables: Vec::new(),
        reads: 0.0,
        writes: String::new(),
        double_write: String::new(),
        phase: phase.to_owned(),
        rows_copied: running.as_ref().map_or(achieved.rows_copied, |running| count(&running.copied)),
        rows_total: running.as_ref().map_or(achieved.rows_total, |running| count(&running.total)),
        dirty_keys: control.shared.dirty.len(),
        mismatches: achieved.last_verify.as_ref().map_or(0, |verified| verified.different),
        last_verify: achieved.last_verify,
        last_error: achieved.last_error,
        desired_version: rules.desired_version,
        in_force_version: rules.in_force_version,
    }
}

fn double_write(mode: DoubleWrite) -> &'static str {
    match mode {
        DoubleWrite::Off => "off",
        DoubleWrite::Async => "async",
        DoubleWrite::Sync => "sync",
        DoubleWrite::Strict => "strict",
    }
}
