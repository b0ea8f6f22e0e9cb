//! The state of the process as one value: what `/api/status` and `shardway status` show.

use serde::{Deserialize, Serialize};
use shardway_routing::topology::{DoubleWrite, Side};

use super::Control;
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

fn double_write(mode: DoubleWrite) -> &'static str {
    match mode {
        DoubleWrite::Off => "off",
        DoubleWrite::Async => "async",
        DoubleWrite::Sync => "sync",
        DoubleWrite::Strict => "strict",
    }
}
