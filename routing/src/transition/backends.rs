//! Changes of backends and of their replicas.

use super::{ALL, Changes, Effect};
use crate::refusal;
use crate::topology::{Backend, BackendId, Replica, Server, Side, Tls, Topology};

impl Changes<'_> {
    pub(super) fn backends(&mut self) {
        for new in &self.new.backends {
            let rule = format!("backends.{}", new.name);
            let Some(old) = self.old.backends.iter().find(|old| old.name == new.name) else {
                if !self.is_first() {
                    self.add(&rule, "", format!("{:?}", new.primary), Effect::Instant, 0);
                }
                continue;
            };
            let place = |server: &Server| (server.host.clone(), server.port, server.database.clone());
            if place(&old.primary) != place(&new.primary) {
                let effect = if owns_rows(self.old, &old.name) {
                    Effect::Refused(refusal::BACKEND_MOVED.because(old.name.clone()))
                } else {
                    Effect::Instant
                };
                self.add(
                    &format!("{rule}.primary"),
                    format!("{:?}", old.primary),
                    format!("{:?}", new.primary),
                    effect,
                    ALL,
                );
            } else if (&old.primary.user, &old.primary.password) != (&new.primary.user, &new.primary.password)
            {
                self.add(&format!("{rule}.primary"), "user or password", "another", Effect::Instant, 0);
            }
            let (from, to) = (&old.primary.tls, &new.primary.tls);
            if from != to {
                self.add(&format!("{rule}.tls"), from.to_string(), to.to_string(), Effect::Instant, 0);
            }
            if old.pool_max != new.pool_max {
                self.add(
                    &format!("{rule}.pool.max"),
                    old.pool_max.to_string(),
                    new.pool_max.to_string(),
                    Effect::Instant,
                    0,
                );
            }
            if besides_tls(old) != besides_tls(new) {
                let (from, to) = (replicas(old), replicas(new));
                let to = if from == to { "another user or password".to_owned() } else { to };
                self.add(&format!("{rule}.replicas"), from, to, Effect::Instant, 0);
            }
        }
        for old in &self.old.backends {
            if self.new.backends.iter().all(|new| new.name != old.name) {
                // Rows it still owns are refused where their tables are compared.
                self.add(
                    &format!("backends.{}", old.name),
                    format!("{:?}", old.primary),
                    "",
                    Effect::Instant,
                    0,
                );
            }
        }
    }
}

/// The replicas without how they are connected to, which is told for the whole backend.
fn besides_tls(of: &Backend) -> Vec<Replica> {
    let bare = |replica: &Replica| Replica {
        server: Server { tls: Tls::Off, ..replica.server.clone() },
        ..replica.clone()
    };
    of.replicas.iter().map(bare).collect()
}

/// Where reads may go, and how many of them.
fn replicas(of: &Backend) -> String {
    let each = of.replicas.iter().map(|replica| {
        format!("{} weight={} max_lag_ms={}", replica.server.address(), replica.weight, replica.max_lag_ms)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn owns_rows(topology: &Topology, backend: &str) -> bool {
    let is = |id: BackendId| topology.backend(id).name == backend;
    let defaults = topology.databases.iter().any(|database| is(database.default));
    let tables = topology.tables.iter().any(|table| {
        [Side::Source, Side::Target]
            .iter()
            .any(|side| table.placement(*side).nodes().iter().any(|node| is(node.backend)))
    });
    defaults || tables || topology.other_databases.is_some_and(is)
}
