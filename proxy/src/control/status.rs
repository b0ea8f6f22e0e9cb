//! The state of the process as one value: what `/api/status` and `shardway status` show.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardway_migration::alerts::FiringAlert;
use shardway_migration::phase::Phase;
use shardway_migration::progress::{TableState, percent};
use shardway_migration::report::{MoveReport, Progress};
use shardway_migration::settings::Level;
use shardway_migration::throttle::ByHand;
use shardway_routing::topology::{self, Backend, BackendId, Move, Seen, Topology};

use super::Control;
use super::moves::Parted;
use super::moves::rollback::ALERT;
use super::store::RulesStatus;
use crate::backend::replicas::{Moment, Replica};
use crate::execute::replicas;

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub uptime_s: u64,
    pub rules: RulesStatus,
    pub backends: Vec<BackendStatus>,
    pub moves: Vec<MoveReport>,
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
    pub connections_in_use: u64,
    pub error: Option<String>,
    #[serde(default)]
    pub replicas: Vec<ReplicaStatus>,
}

/// A replica of a backend, in the order of the rules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub address: String,
    pub state: String,
    pub version: Option<String>,
    pub weight: u16,
    /// Percent of the backend's reads that are dealt to it now. Sessions that it lacks something for go to the primary.
    pub share: f64,
    /// Not there: it is not measured.
    pub lag_ms: Option<u64>,
    pub max_lag_ms: u64,
    /// Why it gets no reads. Not there: it is fit for them.
    pub unusable: Option<String>,
    /// Statements that it has answered.
    pub statements: u64,
    /// Statements that it was asked and its primary has answered, its own errors among them.
    pub fallbacks: u64,
    pub open_connections: u64,
    pub connections_in_use: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Sessions {
    pub count: usize,
}

/// Looks at everything once.
#[must_use]
pub fn status(control: &Control) -> Status {
    let shared = &control.shared;
    let snapshot = shared.snapshot();
    let topology = &snapshot.topology;
    let backends = (0..)
        .map(BackendId)
        .zip(&topology.backends)
        .map(|(id, backend)| {
            let health = shared.health(&backend.name);
            let down = health.down();
            BackendStatus {
                name: backend.name.clone(),
                address: backend.primary.address(),
                state: if down.is_some() { "down" } else { "up" }.to_owned(),
                version: health.version(),
                open_connections: health.open_connections(),
                connections_in_use: health.connections_in_use(),
                error: down.map(|down| down.error),
                replicas: replicas(backend, snapshot.replicas(id), shared.now()),
            }
        })
        .collect();
    let moves = topology
        .moves
        .iter()
        .map(|of| MoveReport {
            name: of.name.clone(),
            tables: of.tables.iter().map(|table| topology.table_of(*table).name.clone()).collect(),
            reads: f64::from(of.reads) / 100.0,
            writes: of.writes_name(),
            double_write: of.double_write.name().to_owned(),
            ..achieved(control, topology, of)
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

fn replicas(of: &Backend, known: &[Arc<Replica>], now: Moment) -> Vec<ReplicaStatus> {
    let is_usable = |rule: &topology::Replica, replica: &Replica| {
        replicas::usable_until(rule, replica.known(), now).is_some()
    };
    let pairs = || of.replicas.iter().zip(known);
    let usable = pairs().filter(|(rule, replica)| is_usable(rule, replica));
    let all: u32 = usable.map(|(rule, _)| u32::from(rule.weight)).sum();
    let described = |(rule, replica): (&topology::Replica, &Arc<Replica>)| {
        let until = replica.known().complete_until;
        let usable = is_usable(rule, replica);
        let lag_ms = until.map(|until| now.ms_since(until));
        let behind = || match lag_ms {
            Some(lag) => format!("it is {lag} ms behind, and {} are allowed", rule.max_lag_ms),
            None => "it has not been seen to have everything yet".to_owned(),
        };
        let down = replica.health.down();
        let share = if usable && all > 0 { f64::from(rule.weight) * 100.0 / f64::from(all) } else { 0.0 };
        ReplicaStatus {
            address: rule.server.address(),
            state: if down.is_some() { "down" } else { "up" }.to_owned(),
            version: replica.health.version(),
            weight: rule.weight,
            share: (share * 10.0).round() / 10.0,
            lag_ms,
            max_lag_ms: rule.max_lag_ms,
            unusable: (!usable).then(|| replica.lacking().unwrap_or_else(behind)),
            statements: replica.served(),
            fallbacks: replica.failed(),
            open_connections: replica.health.open_connections(),
            connections_in_use: replica.health.connections_in_use(),
        }
    };
    pairs().map(described).collect()
}

/// What has been achieved for a move.
fn achieved(control: &Control, topology: &Topology, of: &Move) -> MoveReport {
    let name = of.name.as_str();
    let dirty = control.shared.dirty.extent(&topology.full_names(of));
    let known = control.moves.of(name);
    let copies = known.state.phase() == Phase::Copy;
    let running = control.moves.progress(name).filter(|copy| copies && !copy.tables.is_empty());
    let streams = control.moves.streams(name);
    let rules = control.store.status();
    let (rows_copied, rows_total) =
        running.as_ref().map_or((known.rows_copied, known.rows_total), |running| running.rows());
    let shown = control.moves.shown(name);
    // Speeds are those of a copy that goes on; what was achieved stays.
    let progress = match running {
        Some(_) if !shown.progress.per_table.is_empty() => shown.progress,
        Some(running) => running.report(),
        None => known.copied,
    };
    let state = match known.state.phase() {
        Phase::Draft | Phase::Preflight | Phase::Prepare | Phase::Capture | Phase::Copy => {
            TableState::Copying
        }
        _ => TableState::Complete,
    };
    let by_hand = control.hands.of(name);
    let mut alerts = control.shared.alarm.firing(name);
    alerts.extend(known.parted.as_ref().map(parted));
    MoveReport {
        phase: known.state.name(),
        progress: Progress {
            rows_copied,
            rows_total,
            percent: percent(rows_copied, rows_total, state),
            ..progress
        },
        work: shown.work,
        pace: shown.pace,
        forecast: shown.forecast,
        caught_up_in_s: shown.caught_up_in_s,
        waits_for: shown
            .waits_for
            .or_else(|| control.moves.waits_out(name))
            .or_else(|| streams.as_ref()?.waits_for.clone()),
        schedule: shown.schedule,
        shadow_reads: control.shared.shadow.of(name).report(f64::from(of.shadow_reads) / 100.0),
        degraded: degraded(of),
        binlog_headroom_s: shown.binlog_headroom_s,
        lag_s: streams.as_ref().and_then(|streams| streams.lag).map(|lag| lag.as_secs_f64()),
        arrived_s: streams.and_then(|streams| streams.arrived).map(|since| since.as_secs_f64()),
        dirty_keys: dirty.keys,
        dirty_age_s: dirty.oldest.map(|age| age.as_secs_f64()),
        mismatches: known.open_mismatches,
        last_verify: known.last_verify,
        last_switch: known.last_switch,
        last_error: known.last_error,
        desired_version: rules.desired_version,
        in_force_version: rules.in_force_version,
        by_hand: (by_hand != ByHand::default()).then_some(by_hand),
        rolling_back: control.moves.rollback_step(name),
        alerts,
        ..MoveReport::default()
    }
}

fn degraded(of: &Move) -> Option<String> {
    match of.capture.seen(of.writes) {
        Seen::ByColumn(column) => Some(format!(
            "followed by `{column}`: deletions and writes that leave it as it was are found by comparisons only"
        )),
        Seen::ByLog | Seen::Not => None,
    }
}

/// Fires until a person has closed it, also over a restart.
fn parted(of: &Parted) -> FiringAlert {
    FiringAlert {
        alert: ALERT.to_owned(),
        level: Level::Critical.name().to_owned(),
        message: "the target may have writes that the source lacks; `shardway move gaps` lists them"
            .to_owned(),
        value: format!("{} dirty keys", of.not_synchronised.dirty_keys),
        since: of.since,
    }
}
