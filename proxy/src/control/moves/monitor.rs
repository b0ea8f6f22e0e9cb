//! Watching moves: how fast they are, how fast they may be, and who must be told.
//!
//! Once a second every move is looked at: its counters become speeds, the servers' signals a pace for the copy, and
//! everything together a sample for the alerts. Deciding is [`shardway_migration`]'s; this measures and obeys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardway_migration::alerts::Sample;
use shardway_migration::copy;
use shardway_migration::phase::{Event, Phase, State};
use shardway_migration::progress::{Rate, Speedometer, forecast};
use shardway_migration::reading::Reading;
use shardway_migration::report::{Forecast, Progress};
use shardway_migration::schedule::ScheduleReport;
use shardway_migration::settings::metric::Metric;
use shardway_migration::settings::{MoveSettings, Throttle};
use shardway_migration::signals::{self, CpuTimes, ServerSignals};
use shardway_migration::throttle::{self, Check, Pace, Policy, Seen};
use shardway_routing::topology::{Move, Server, Topology};

use super::headroom::Headroom;
use super::moves;
use super::schedule::{Lately, Scheduled};
use crate::control::alarm::Demand;
use crate::control::{Control, external_check};
use crate::control_connection;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is shown of a move beside its state.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub progress: Progress,
    pub pace: Option<Pace>,
    pub forecast: Forecast,
    pub caught_up_in_s: Option<u64>,
    pub waits_for: Option<String>,
    pub schedule: Option<ScheduleReport>,
    pub binlog_headroom_s: Option<f64>,
}

/// What is remembered of a move between two looks.
struct Gauge {
    speed: Speedometer,
    applied: Rate,
    failures: Rate,
    lag: Option<f64>,
    /// Rows and busy time at the last look.
    busy: (u64, u64),
    pace: Pace,
    lately: Lately,
    scheduled: Scheduled,
    headroom: Headroom,
}

impl Gauge {
    fn new(settings: &MoveSettings, now_ms: u64) -> Gauge {
        let pace = Pace {
            concurrency: settings.copy.parallel,
            pause_ms: settings.copy.pause_ms,
            state: throttle::State::Running,
            reason: None,
        };
        Gauge {
            speed: Speedometer::new(now_ms),
            applied: Rate::default(),
            failures: Rate::default(),
            lag: None,
            busy: (0, 0),
            pace,
            lately: Lately::default(),
            scheduled: Scheduled::default(),
            headroom: Headroom::default(),
        }
    }
}

/// Looks at every move for as long as the process runs.
pub(in crate::control) async fn always(control: Arc<Control>) {
    let mut gauges: BTreeMap<String, Gauge> = BTreeMap::new();
    let mut cpu = CpuTimes::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let snapshot = control.shared.snapshot();
        let before = std::mem::replace(&mut cpu, CpuTimes::now());
        let usage = match (cpu, before) {
            (Some(now), Some(before)) => now.usage_since(before),
            _ => Reading::Unknown,
        };
        gauges.retain(|name, _| {
            let stays = snapshot.topology.moves.iter().any(|of| of.name == *name);
            if !stays {
                control.shared.alarm.forget(name);
            }
            stays
        });
        for (_, of) in moves(&snapshot.topology) {
            look(&control, &snapshot.topology, of, &mut gauges, usage).await;
        }
    }
}

async fn look(
    control: &Arc<Control>,
    topology: &Topology,
    of: &Move,
    gauges: &mut BTreeMap<String, Gauge>,
    cpu: Reading,
) {
    let known = control.moves.of(&of.name);
    if matches!(known.state.phase(), Phase::Draft | Phase::Done) {
        gauges.remove(&of.name);
        return;
    }
    let settings = control.moves.settings(&of.name);
    let now_ms = u64::try_from(control.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let gauge = gauges.entry(of.name.clone()).or_insert_with(|| Gauge::new(&settings, now_ms));
    let copies = known.state == State::Running { phase: Phase::Copy };
    let copy = control.moves.progress(&of.name).filter(|_| copies);
    let progress = copy.as_ref().map(|copy| gauge.speed.on(&copy.counts(), now_ms));
    let around = around(control, topology, of, &settings.throttle, cpu).await;
    let metrics = control.shared.metrics.of_move(&of.name);
    gauge.lately.on(&metrics);
    if let Some(copy) = &copy {
        set_pace(control, of, &settings, gauge, copy, &around);
    }
    let streams = control.moves.streams(&of.name);
    let lag = streams.as_ref().map(|streams| streams.lag.map(|lag| lag.as_secs_f64()));
    let applied: Option<u64> =
        streams.as_ref().map(|streams| streams.tails.iter().map(|(_, _, _, applied)| applied).sum());
    if let Some(applied) = applied {
        gauge.applied.on(applied, now_ms);
    }
    let applied_per_s = Reading::from(gauge.applied.per_s());
    let lag_s = lag.map_or(Reading::NotNow, Reading::from);
    let written = written_per_s(gauge, lag_s, applied_per_s);
    gauge.lag = lag_s.value();
    let (ahead, caught_up_in_s) = forecast(lag_s, applied_per_s, written);
    gauge.failures.on(copy.as_ref().map_or(0, |copy| count(&copy.failures)), now_ms);
    let headroom = gauge.headroom.look(&control.shared, topology, of, &known, streams.as_ref(), now_ms).await;
    let sample = sample(control, of, gauge, progress.as_ref(), now_ms)
        .with(Metric::SyncDelay, lag_s)
        .with(Metric::StatementLatency, seconds(gauge.lately.p95_ms()))
        .with(Metric::ApplyRate, if applied.is_some() { applied_per_s } else { Reading::NotNow })
        .with(Metric::ReplicaLag, around.replica_lag)
        .with(Metric::ThreadsRunning, around.threads)
        .with(Metric::HistoryLength, around.history)
        .with(Metric::CpuUsage, around.cpu)
        .with(Metric::DiskFree, around.disk)
        .with(Metric::BinlogHeadroom, headroom);
    let schedule = match &settings.schedule {
        Some(schedule) => Some(gauge.scheduled.look(control, of, schedule, &metrics, lag_s, now_ms).await),
        None => None,
    };
    let shown = Shown {
        schedule,
        progress: progress.unwrap_or_default(),
        pace: copies.then(|| gauge.pace.clone()),
        forecast: ahead,
        caught_up_in_s,
        waits_for: waits_for(&known.state, gauge),
        binlog_headroom_s: headroom.value(),
    };
    control.moves.show(&of.name, shown);
    let mut rules = control.store.settings().alerts.clone();
    rules.extend(gauge.headroom.rule());
    if let Demand::Pause(reason) = control.shared.alarm.on(&rules, &of.name, &sample, now_ms)
        && let Err(error) = control.moves.happen(&of.name, Event::Pause(reason)).await
    {
        tracing::info!(r#move = of.name, error, "an alert pauses nothing");
    }
}

fn seconds(ms: Reading) -> Reading {
    ms.value().map_or(ms, |ms| Reading::Is(ms / 1_000.0))
}

fn count(of: &AtomicU64) -> u64 {
    of.load(Ordering::Relaxed)
}

/// From how the lag changes: what was applied in a second covers less than a second of the source's time when the lag
/// grows, and more when it shrinks.
fn written_per_s(gauge: &Gauge, lag: Reading, applied: Reading) -> Reading {
    match (lag, gauge.lag, applied) {
        (Reading::Is(now), Some(before), Reading::Is(applied)) => {
            let covered = LOOK_EVERY.as_secs_f64() - (now - before);
            Reading::Is(if covered <= 0.0 { f64::MAX } else { applied * LOOK_EVERY.as_secs_f64() / covered })
        }
        _ => Reading::Unknown,
    }
}

fn sample(control: &Control, of: &Move, gauge: &Gauge, progress: Option<&Progress>, now_ms: u64) -> Sample {
    let dirty = control.shared.dirty.extent(&control.shared.snapshot().topology.full_names(of));
    let verified = control.moves.of(&of.name).last_verify;
    let differing = verified.map_or(Reading::NotNow, |verified| {
        Reading::Is(verified.different as f64 / verified.checked.max(1) as f64 * 100.0)
    });
    let shadow = control.shared.shadow.of(&of.name).mismatches() as f64;
    let of_copy = |reading: Reading| if progress.is_some() { reading } else { Reading::NotNow };
    let rests = gauge.pace.state == throttle::State::Stopped;
    let still = if rests { Reading::NotNow } else { Reading::Is(gauge.speed.still_for_s(now_ms)) };
    Sample::default()
        .with(
            Metric::ProgressSpeed,
            of_copy(Reading::Is(progress.map_or(0.0, |progress| progress.rows_per_s))),
        )
        .with(Metric::NoProgressFor, of_copy(still))
        .with(Metric::ErrorRate, of_copy(gauge.failures.per_s().into()))
        .with(Metric::InconsistencyRate, differing)
        .with(
            Metric::ShadowMismatches,
            if of.shadow_reads > 0 { Reading::Is(shadow) } else { Reading::NotNow },
        )
        .with(Metric::DirtyKeys, Reading::Is(dirty.keys as f64))
        .with(Metric::DirtyAge, Reading::Is(dirty.oldest.map_or(0.0, |age| age.as_secs_f64())))
}

fn set_pace(
    control: &Control,
    of: &Move,
    settings: &MoveSettings,
    gauge: &mut Gauge,
    copy: &copy::Progress,
    around: &Around,
) {
    let (rows, busy_ms) = (count(&copy.copied), count(&copy.busy_ms));
    let full = throttle::at_full_pace(
        rows.saturating_sub(gauge.busy.0),
        busy_ms.saturating_sub(gauge.busy.1),
        settings.copy.parallel,
    );
    gauge.busy = (rows, busy_ms);
    let seen = Seen {
        minute_of_day: minute_of_day(),
        replica_lag_s: around.replica_lag,
        threads_running: around.threads,
        history_length: around.history,
        latency_ms: gauge.lately.p95_ms(),
        disk_free_percent: around.disk,
        rows_per_s: full,
        check: around.check.clone(),
    };
    let by_hand = control.hands.of(&of.name);
    let policy = Policy {
        limits: &settings.throttle,
        parallel: settings.copy.parallel,
        pause_ms: settings.copy.pause_ms,
        by_hand: &by_hand,
    };
    gauge.pace = throttle::decide(&seen, policy, &gauge.pace);
    let stopped = gauge.pace.state == throttle::State::Stopped;
    control.moves.set_pace(
        &of.name,
        copy::Pace {
            concurrency: if stopped {
                0
            } else {
                usize::try_from(gauge.pace.concurrency).unwrap_or(usize::MAX)
            },
            pause: Duration::from_millis(gauge.pace.pause_ms),
        },
    );
}

pub(super) fn minute_of_day() -> u16 {
    let minutes = crate::control::store::now_s() / 60 % (24 * 60);
    u16::try_from(minutes).expect("a day has 1,440 minutes")
}

fn waits_for(state: &State, gauge: &Gauge) -> Option<String> {
    match state {
        State::Paused { reason, .. } => Some(format!("resume: {reason}")),
        State::Failed { reason, .. } => Some(format!("a person: {reason}")),
        State::Running { phase: Phase::Copy } => gauge.pace.reason.clone(),
        State::Running { .. } => None,
    }
}

/// What the servers and machines around a move say.
struct Around {
    threads: Reading,
    history: Reading,
    replica_lag: Reading,
    cpu: Reading,
    disk: Reading,
    check: Check,
}

async fn around(
    control: &Control,
    topology: &Topology,
    of: &Move,
    limits: &Throttle,
    cpu: Reading,
) -> Around {
    let mut around = Around {
        threads: Reading::NotNow,
        history: Reading::NotNow,
        replica_lag: Reading::NotNow,
        cpu,
        disk: signals::disk_free_percent(&control.shared.config.state_dir),
        check: Check::Go,
    };
    let is_asked = *limits != Throttle::default() || !control.store.settings().alerts.is_empty();
    if !is_asked {
        return around;
    }
    for (server, replicas) in servers(topology, of) {
        let told = ask(&server)
            .await
            .unwrap_or(ServerSignals { threads_running: Reading::Unknown, history_length: Reading::Unknown });
        around.threads = worse(around.threads, told.threads_running);
        around.history = worse(around.history, told.history_length);
        for replica in replicas {
            around.replica_lag = worse(around.replica_lag, replica_lag(&replica).await);
        }
    }
    if let Some(url) = &limits.check_url {
        let answer = external_check::ask(url.clone()).await;
        around.check = answer.check;
        around.cpu = told_or(answer.cpu_usage, around.cpu);
        around.disk = told_or(answer.disk_free, around.disk);
    }
    around
}

/// Every server of both sides once, with its replicas.
fn servers(topology: &Topology, of: &Move) -> Vec<(Server, Vec<Server>)> {
    let mut found: Vec<(Server, Vec<Server>)> = Vec::new();
    for table in &of.tables {
        let table = topology.table_of(*table);
        let source = table.moving.as_ref().map(|moving| &moving.source);
        for node in source.into_iter().chain([&table.placement]).flat_map(|placement| placement.nodes()) {
            let backend = topology.backend(node.backend);
            if found.iter().all(|(server, _)| !server.is_same_process(&backend.primary)) {
                let replicas = backend.replicas.iter().map(|replica| replica.server.clone()).collect();
                found.push((backend.primary.clone(), replicas));
            }
        }
    }
    found
}

async fn ask(server: &Server) -> Option<ServerSignals> {
    let mut connection = control_connection::connect(server).await.ok()?;
    let told = signals::of_server(&mut connection).await.ok();
    // What was told is told, however the connection ends.
    let _ = connection.disconnect().await;
    told
}

async fn replica_lag(server: &Server) -> Reading {
    let Ok(mut connection) = control_connection::connect(server).await else { return Reading::Unknown };
    let lag = signals::replica_lag_s(&mut connection).await.unwrap_or(Reading::Unknown);
    let _ = connection.disconnect().await;
    lag
}

/// The worse of two; what is not known is the worst.
fn worse(one: Reading, other: Reading) -> Reading {
    match (one, other) {
        (Reading::Unknown, _) | (_, Reading::Unknown) => Reading::Unknown,
        (Reading::NotNow, reading) | (reading, Reading::NotNow) => reading,
        (Reading::Is(one), Reading::Is(other)) => Reading::Is(one.max(other)),
    }
}

fn told_or(told: Reading, otherwise: Reading) -> Reading {
    if told == Reading::NotNow { otherwise } else { told }
}
