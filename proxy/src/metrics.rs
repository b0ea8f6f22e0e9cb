//! What the process counts, in Prometheus' text format.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use shardway_routing::refusal::Kind;
use shardway_routing::topology::Side;

use crate::shared::Shared;

/// Counters of the whole process.
#[derive(Debug, Default)]
pub struct Metrics {
    pub statements: AtomicU64,
    pub failed: AtomicU64,
    pub relayed_bytes: AtomicU64,
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

    pub fn refused(&self, kind: &'static Kind) {
        *self.refused.entry(kind.id).or_insert(0) += 1;
    }
}

/// The text that Prometheus scrapes.
#[must_use]
pub fn render(shared: &Shared) -> String {
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
    }
    let mut out = String::new();
    encode(&mut out, &registry).expect("a String takes every write");
    out
}
