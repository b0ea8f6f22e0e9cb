//! What the servers and machines around a move say at present, for its throttle and its alerts.
//!
//! All are asked at once, and each has a few seconds: a server that does not answer in time is not known, and neither
//! keeps the others from being asked nor the move from being looked at.

use futures_util::future::{join, join_all};
use shardway_migration::reading::Reading;
use shardway_migration::settings::Throttle;
use shardway_migration::signals::{self, ServerSignals};
use shardway_migration::throttle::{Check, Seen};
use shardway_routing::topology::{Move, Server, Topology};

use super::monitor::minute_of_day;
use super::schedule::Lately;
use crate::control::Control;
use crate::control::external_check::{self, Answer};
use crate::control_connection::{answer_within, connect};

/// What is measured around a move.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// Of the busiest server.
    pub threads: Reading,
    /// Of the server where it is longest.
    pub history: Reading,
    /// Seconds; of the replica that is latest.
    pub replica_lag: Reading,
    /// Percent.
    pub cpu: Reading,
    /// Percent; of the fullest disk that is known.
    pub disk: Reading,
    pub check: Check,
}

impl Around {
    /// Asks everybody whom the limits or an alert need; `cpu` is this machine's.
    pub(super) async fn look(
        control: &Control,
        topology: &Topology,
        of: &Move,
        limits: &Throttle,
        cpu: Reading,
    ) -> Around {
        let disk = signals::disk_free_percent(&control.shared.config.state_dir);
        let around = Around { cpu, disk, ..Around::default() };
        if *limits == Throttle::default() && control.store.settings().alerts.is_empty() {
            return around;
        }
        let (primaries, replicas) = servers(topology, of);
        let told = join(join_all(primaries.iter().map(ask)), join_all(replicas.iter().map(replica_lag)));
        let checked = async {
            match &limits.check_url {
                Some(url) => Some(external_check::ask(url.clone()).await),
                None => None,
            }
        };
        let ((told, lags), answer) = join(told, checked).await;
        let worst = |of: fn(&ServerSignals) -> Reading| told.iter().map(of).fold(Reading::NotNow, worse);
        let around = Around {
            threads: worst(|told| told.threads_running),
            history: worst(|told| told.history_length),
            disk: told.iter().map(|told| told.disk_free).fold(disk, fuller),
            replica_lag: lags.into_iter().fold(Reading::NotNow, worse),
            ..around
        };
        match answer {
            Some(answer) => around.but(answer),
            None => around,
        }
    }

    /// As a throttle sees it, together with how long clients' statements took and how fast the work would go.
    pub(super) fn seen(&self, lately: &Lately, rows_per_s: Reading) -> Seen {
        Seen {
            minute_of_day: minute_of_day(),
            replica_lag_s: self.replica_lag,
            threads_running: self.threads,
            history_length: self.history,
            latency_ms: lately.p95_ms(),
            disk_free_percent: self.disk,
            rows_per_s,
            check: self.check.clone(),
        }
    }

    /// What somebody else has told counts instead.
    fn but(self, answer: Answer) -> Around {
        let told_or =
            |told: Reading, otherwise: Reading| if told == Reading::NotNow { otherwise } else { told };
        Around {
            cpu: told_or(answer.cpu_usage, self.cpu),
            disk: told_or(answer.disk_free, self.disk),
            check: answer.check,
            ..self
        }
    }
}

/// Every server of both sides once, and their replicas.
pub(in crate::control) fn servers(topology: &Topology, of: &Move) -> (Vec<Server>, Vec<Server>) {
    let (mut primaries, mut replicas): (Vec<Server>, Vec<Server>) = (Vec::new(), Vec::new());
    for table in &of.tables {
        let table = topology.table_of(*table);
        let source = table.moving.as_ref().map(|moving| &moving.source);
        for node in source.into_iter().chain([&table.placement]).flat_map(|placement| placement.nodes()) {
            let backend = topology.backend(node.backend);
            if primaries.iter().all(|server| !server.is_same_process(&backend.primary)) {
                primaries.push(backend.primary.clone());
                replicas.extend(backend.replicas.iter().map(|replica| replica.server.clone()));
            }
        }
    }
    (primaries, replicas)
}

async fn ask(server: &Server) -> ServerSignals {
    let asked = answer_within(async {
        let mut connection = connect(server).await?;
        let told = signals::of_server(&mut connection).await;
        // What was told is told, however the connection ends.
        let _ = connection.disconnect().await;
        told
    });
    asked.await.unwrap_or(ServerSignals {
        threads_running: Reading::Unknown,
        history_length: Reading::Unknown,
        disk_free: Reading::Unknown,
    })
}

async fn replica_lag(server: &Server) -> Reading {
    let asked = answer_within(async {
        let mut connection = connect(server).await?;
        let lag = signals::replica_lag_s(&mut connection).await;
        let _ = connection.disconnect().await;
        lag
    });
    asked.await.unwrap_or(Reading::Unknown)
}

/// The worse of two; what is not known is the worst.
fn worse(one: Reading, other: Reading) -> Reading {
    match (one, other) {
        (Reading::Unknown, _) | (_, Reading::Unknown) => Reading::Unknown,
        (Reading::NotNow, reading) | (reading, Reading::NotNow) => reading,
        (Reading::Is(one), Reading::Is(other)) => Reading::Is(one.max(other)),
    }
}

/// The one of which less is free. Most servers tell of no disk.
fn fuller(one: Reading, other: Reading) -> Reading {
    match (one, other) {
        (Reading::Is(one), Reading::Is(other)) => Reading::Is(one.min(other)),
        _ => worse(one, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_nothing_is_the_worst() {
        let [low, high] = [1.0, 2.0].map(Reading::Is);
        assert_eq!([low, Reading::NotNow, high].into_iter().fold(Reading::NotNow, worse), high);
        assert_eq!([low, Reading::Unknown, high].into_iter().fold(Reading::NotNow, worse), Reading::Unknown);
    }

    #[test]
    fn the_fullest_disk_counts() {
        let disks = [Reading::Is(40.0), Reading::NotNow, Reading::Is(7.0), Reading::Is(90.0)];
        assert_eq!(disks.into_iter().fold(Reading::Is(50.0), fuller), Reading::Is(7.0));
        assert_eq!(disks.into_iter().fold(Reading::Unknown, fuller), Reading::Unknown);
    }

    #[test]
    fn who_knows_better_is_believed() {
        let seen = Around { cpu: Reading::Is(1.0), disk: Reading::Is(2.0), ..Around::default() };
        let answer = Answer { check: Check::Wait, cpu_usage: Reading::Is(90.0), disk_free: Reading::NotNow };
        let around = seen.but(answer);
        assert_eq!((around.cpu, around.disk), (Reading::Is(90.0), Reading::Is(2.0)));
        assert_eq!(around.check, Check::Wait);
    }
}
