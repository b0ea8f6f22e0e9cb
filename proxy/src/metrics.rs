//! What the process counts, in Prometheus' text format.

mod families;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use shardway_migration::report::{MoveReport, WorkReport};
use shardway_migration::settings::Level;
use shardway_routing::refusal::Kind;
use shardway_routing::topology::Side;

use crate::control::status::{ReplicaStatus, Status};
use crate::latency::{Counts, Latency};
use crate::shadow::Tally;
use crate::shared::Shared;

/// Statements on the tables of a move that one side served.
#[derive(Debug, Default)]
pub struct Served {
    pub failed: AtomicU64,
    /// Of those that did not fail, until the client had its answer.
    pub latency: Latency,
}

/// Statements on the tables of a move.
#[derive(Debug, Default)]
pub struct MoveMetrics {
    source: Served,
    target: Served,
    /// Reads that the authority answered in place of the other side.
    fell_back_dirty: AtomicU64,
    fell_back_lag: AtomicU64,
}

/// Why the authority answers a read that would have gone to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Its rows may differ between the sides.
    Dirty,
    /// The other side is too far behind.
    Lag,
}

impl MoveMetrics {
    pub fn fell_back(&self, why: Fallback) {
        self.fallbacks(why).fetch_add(1, Ordering::Relaxed);
    }

    fn fallbacks(&self, why: Fallback) -> &AtomicU64 {
        match why {
            Fallback::Dirty => &self.fell_back_dirty,
            Fallback::Lag => &self.fell_back_lag,
        }
    }

    #[must_use]
    pub fn of(&self, side: Side) -> &Served {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// Counters of the whole process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By move; kept over changes of the rules.
    moves: DashMap<String, Arc<MoveMetrics>>,
    pub statements: AtomicU64,
    pub failed: AtomicU64,
    pub relayed_bytes: AtomicU64,
    /// TLS handshakes of clients that failed.
    pub tls_failed: AtomicU64,
    /// Times that `shardway.toml` was read again and had a problem.
    pub config_refused: AtomicU64,
    /// Reads noted to be run on both sides.
    pub shadowed: AtomicU64,
    source: AtomicU64,
    target: AtomicU64,
    scattered: AtomicU64,
    /// By refusal id.
    refused: DashMap<&'static str, u64>,
}

impl Metrics {
    pub fn statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// A statement was routed to that side, in that many parts.
    pub fn routed(&self, side: Side, legs: usize) {
        let of = if side == Side::Source { &self.source } else { &self.target };
        of.fetch_add(1, Ordering::Relaxed);
        if legs > 1 {
            self.scattered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The metrics of a move.
    #[must_use]
    pub fn of_move(&self, name: &str) -> Arc<MoveMetrics> {
        Arc::clone(&self.moves.entry(name.to_owned()).or_default())
    }

    pub fn refused(&self, kind: &'static Kind) {
        *self.refused.entry(kind.id).or_insert(0) += 1;
    }
}

/// The text that Prometheus scrapes.
#[must_use]
pub fn render(shared: &Shared, status: &Status) -> String {
    let metrics = &shared.metrics;
    let mut registry = Registry::with_prefix("shardway");
    let counted = |of: &AtomicU64| ConstCounter::new(of.load(Ordering::Relaxed));
    registry.register("statements", "Statements received", counted(&metrics.statements));
    registry.register("failed", "Statements answered with an error", counted(&metrics.failed));
    registry.register_with_unit(
        "relayed",
        "Answer bytes passed on unparsed",
        Unit::Bytes,
        counted(&metrics.relayed_bytes),
    );
    let help = "TLS handshakes of clients that failed";
    registry.register("tls_handshakes_failed", help, counted(&metrics.tls_failed));
    let help = "Times that shardway.toml was read again, had a problem, and stayed as it was";
    registry.register("config_refused", help, counted(&metrics.config_refused));
    registry.register("shadowed", "Reads noted to be run on both sides", counted(&metrics.shadowed));
    registry.register("scattered", "Statements sent to several shards", counted(&metrics.scattered));
    for (side, of) in [("source", &metrics.source), ("target", &metrics.target)] {
        let labelled = registry.sub_registry_with_label(("side".into(), side.into()));
        labelled.register("routed", "Statements by the side that served them", counted(of));
    }
    for entry in &metrics.refused {
        let labelled = registry.sub_registry_with_label(("id".into(), (*entry.key()).into()));
        labelled.register("refused", "Statements refused, by id", ConstCounter::new(*entry.value()));
    }
    let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register("sessions", "Connected clients", gauge(shared.sessions.len()));
    registry.register(
        "held_statements",
        "Statements waiting for a rule change",
        gauge(shared.gates.waiting()),
    );
    for level in [Level::Warning, Level::Critical] {
        let labelled = registry.sub_registry_with_label(("level".into(), level.name().into()));
        let firing = shared.alarm.firing_at(level);
        labelled.register("alerts_firing", "Alerts of moves that fire, by level", gauge(firing));
    }
    let topology = &shared.snapshot().topology;
    registry.register(
        "rules_version",
        "The rules in force",
        ConstGauge::new(i64::try_from(topology.version).unwrap_or(0)),
    );
    for backend in &topology.backends {
        let health = shared.health(&backend.name);
        let labelled = registry.sub_registry_with_label(("backend".into(), backend.name.clone().into()));
        labelled.register(
            "backend_up",
            "Whether the backend answers",
            ConstGauge::new(i64::from(health.down().is_none())),
        );
        let open = i64::try_from(health.open_connections()).unwrap_or(i64::MAX);
        labelled.register("backend_connections", "Open connections", ConstGauge::new(open));
        let used = i64::try_from(health.connections_in_use()).unwrap_or(i64::MAX);
        let help = "Connections that statements, transactions and sessions hold";
        labelled.register("backend_connections_in_use", help, ConstGauge::new(used));
    }
    for of in &status.backends {
        of.replicas.iter().for_each(|replica| of_replica(&mut registry, &of.name, replica));
    }
    for of in &status.moves {
        of_move(&mut registry, of);
        served(&mut registry, &of.name, &metrics.of_move(&of.name));
        shadowed(&mut registry, &of.name, &shared.shadow.of(&of.name));
    }
    let mut out = String::new();
    encode(&mut out, &registry).expect("a String takes every write");
    families::grouped(&out)
}

/// What is known of a replica; a lag that is not known is left out.
fn of_replica(registry: &mut Registry, backend: &str, of: &ReplicaStatus) {
    let labelled = registry
        .sub_registry_with_label(("backend".into(), backend.to_owned().into()))
        .sub_registry_with_label(("replica".into(), of.address.clone().into()));
    let gauges = [
        ("replica_up", "Whether the replica answers", of.state == "up"),
        ("replica_usable", "Whether the replica is fit for reads", of.unusable.is_none()),
    ];
    for (name, help, is_so) in gauges {
        labelled.register(name, help, ConstGauge::new(i64::from(is_so)));
    }
    labelled.register("replica_share_percent", "Reads dealt to the replica", ConstGauge::new(of.share));
    if let Some(lag) = of.lag_ms {
        let help = "How long ago the replica provably had everything";
        labelled.register("replica_lag_seconds", help, ConstGauge::new(lag as f64 / 1_000.0));
    }
    let help = "Statements that the replica has answered";
    labelled.register("replica_statements", help, ConstCounter::new(of.statements));
    let help = "Statements that the primary has answered after the replica failed or reported an error";
    labelled.register("replica_fallbacks", help, ConstCounter::new(of.fallbacks));
}

/// What was counted of the statements on a move's tables.
fn served(registry: &mut Registry, name: &str, metrics: &MoveMetrics) {
    let counted = |of: &AtomicU64| ConstCounter::new(of.load(Ordering::Relaxed));
    for (why, label) in [(Fallback::Dirty, "dirty"), (Fallback::Lag, "lag")] {
        let by_reason = registry
            .sub_registry_with_label(("move".into(), name.to_owned().into()))
            .sub_registry_with_label(("reason".into(), label.into()));
        let help = "Reads that the authority answered in place of the other side";
        by_reason.register("move_gray_fallbacks", help, counted(metrics.fallbacks(why)));
    }
    for side in [Side::Source, Side::Target] {
        let of_side = registry
            .sub_registry_with_label(("move".into(), name.to_owned().into()))
            .sub_registry_with_label(("side".into(), side.name().into()));
        let served = metrics.of(side);
        let failed = "Statements on moving tables that failed, by side";
        of_side.register("move_statements_failed", failed, counted(&served.failed));
        let took = "How long statements on moving tables took, by side";
        of_side.register("move_statement_seconds", took, Taken(served.latency.counts()));
    }
}

/// What reads that were run on both sides have shown.
fn shadowed(registry: &mut Registry, name: &str, tally: &Tally) {
    for (outcome, count) in tally.compared() {
        let by_outcome = registry
            .sub_registry_with_label(("move".into(), name.to_owned().into()))
            .sub_registry_with_label(("outcome".into(), outcome.into()));
        by_outcome.register("shadow_reads", "Reads run on both sides, by outcome", ConstCounter::new(count));
    }
    for (label, latency) in [("authority", &tally.authority), ("other", &tally.other)] {
        let of_side = registry
            .sub_registry_with_label(("move".into(), name.to_owned().into()))
            .sub_registry_with_label(("side".into(), label.into()));
        let help = "How long reads that were run on both sides took";
        of_side.register("shadow_read_seconds", help, Taken(latency.counts()));
    }
}

/// A histogram as it is now.
#[derive(Debug)]
struct Taken(Counts);

impl EncodeMetric for Taken {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_histogram::<NoLabelSet>(
            self.0.sum().as_secs_f64(),
            self.0.total(),
            &self.0.octaves(),
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// How far that is which goes on beside the copy.
fn of_work(labelled: &mut Registry, of: &WorkReport) {
    let of_work = labelled.sub_registry_with_label(("work".into(), of.what.clone().into()));
    let known = [
        ("move_work_done", "Rows compared, tables indexed, changes applied", Some(of.done as f64)),
        ("move_work_total", "What there is of that to do, estimated", of.total.map(|all| all as f64)),
        ("move_work_per_s", "What is done of it in a second, smoothed", Some(of.per_s)),
        ("move_work_eta_seconds", "How long it will go on", of.eta_s.map(|eta_s| eta_s as f64)),
    ];
    for (name, help, value) in known {
        if let Some(value) = value {
            of_work.register(name, help, ConstGauge::new(value));
        }
    }
}

/// What is known of a move; what is not known is left out.
fn of_move(registry: &mut Registry, of: &MoveReport) {
    let labelled = registry.sub_registry_with_label(("move".into(), of.name.clone().into()));
    let phase = labelled.sub_registry_with_label(("phase".into(), of.phase.clone().into()));
    phase.register("move_phase", "1 for the phase that the move is in", ConstGauge::new(1_i64));
    let whole = [
        ("move_rows_copied", "Rows copied", of.progress.rows_copied),
        ("move_rows_total", "Rows to copy, estimated until the copy ends", of.progress.rows_total),
        ("move_bytes_copied", "Bytes copied", of.progress.bytes_copied),
        ("move_dirty_keys", "Keys that the two sides may hold differently", of.dirty_keys),
        ("move_mismatches", "Rows that differed at the last verification", of.mismatches),
    ];
    for (name, help, value) in whole {
        labelled.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let known = [
        ("move_percent", "How much of the copy is done", Some(of.progress.percent)),
        ("move_rows_per_s", "Rows copied in a second, smoothed", Some(of.progress.rows_per_s)),
        ("move_bytes_per_s", "Bytes copied in a second, smoothed", Some(of.progress.bytes_per_s)),
        ("move_elapsed_seconds", "How long the copy has run", Some(of.progress.elapsed_s as f64)),
        ("move_eta_seconds", "How long the copy will go on", of.progress.eta_s.map(|eta_s| eta_s as f64)),
        (
            "move_caught_up_in_seconds",
            "When the other side will have caught up",
            of.caught_up_in_s.map(|s| s as f64),
        ),
        ("move_lag_seconds", "How far the other side is behind", of.lag_s),
        (
            "move_binlog_headroom_seconds",
            "How long servers still keep what the streams have not read",
            of.binlog_headroom_s,
        ),
        ("move_dirty_age_seconds", "Age of the oldest dirty key", of.dirty_age_s.or(Some(0.0))),
        ("move_reads_percent", "Keys whose reads the target serves", Some(of.reads)),
    ];
    for (name, help, value) in known {
        if let Some(value) = value {
            labelled.register(name, help, ConstGauge::new(value));
        }
    }
    if let Some(work) = &of.work {
        of_work(labelled, work);
    }
    for alert in &of.alerts {
        let of_level = labelled.sub_registry_with_label(("level".into(), alert.level.clone().into()));
        let of_alert = of_level.sub_registry_with_label(("alert".into(), alert.alert.clone().into()));
        of_alert.register("move_alert_firing", "1 for each alert that fires", ConstGauge::new(1_i64));
    }
    for table in &of.progress.per_table {
        let of_table = labelled.sub_registry_with_label(("table".into(), table.table.clone().into()));
        for (name, help, value) in [
            ("move_table_rows_copied", "Rows copied of a table", table.rows_copied),
            ("move_table_rows_total", "Rows to copy of a table, estimated until that ends", table.rows_total),
        ] {
            of_table.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
        }
        of_table.register(
            "move_table_percent",
            "How much of a table is copied",
            ConstGauge::new(table.percent),
        );
    }
}
