//! Watching moves: how fast they are, how fast they may be, and who must be told.
//!
//! Once a second every move is looked at: its counters become speeds, the servers' signals a pace for the copy, and
//! everything together a sample for the alerts. Deciding is [`shardway_migration`]'s; this measures and obeys. Moves are
//! looked at side by side: one whose servers do not answer, or whose rules are just being changed, keeps no other waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardway_migration::alerts::{self, Moment, Sample};
use shardway_migration::copy;
use shardway_migration::phase::{Event, Phase, State};
use shardway_migration::progress::{Rate, Speedometer, forecast};
use shardway_migration::reading::Reading;
use shardway_migration::report::{Forecast, Progress, WorkReport};
use shardway_migration::schedule::ScheduleReport;
use shardway_migration::settings::MoveSettings;
use shardway_migration::signals::CpuTimes;
use shardway_migration::throttle::full_pace::{FullPace, Work};
use shardway_migration::throttle::{self, ByHand, Pace, Policy};
use shardway_routing::topology::{Move, MoveId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::around::Around;
use super::counted::Gauged;
use super::headroom::Headroom;
use super::looked::{Copying, Failures, Looked, NotFollowed, has_failed, is_to_be_followed};
use super::schedule::{Lately, Scheduled};
use super::{Streams, moves};
use crate::control::Control;
use crate::control::alarm::{Demand, with_own};
use crate::control::store::now_s;
use crate::shared::Snapshot;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is noted how far a copy is. What a crash loses of that are bytes and seconds that are told.
const NOTE_EVERY_MS: u64 = 10_000;

/// What is shown of a move beside its state.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub progress: Progress,
    pub work: Option<WorkReport>,
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
    counted: Gauged,
    failures: Failures,
    /// The last delay that was known, in seconds, and when.
    lag: Option<(f64, u64)>,
    full_pace: FullPace,
    pace: Pace,
    /// The pace of comparisons, also of those that may begin.
    comparing: Pace,
    lately: Lately,
    scheduled: Scheduled,
    headroom: Headroom,
    /// When it was noted last how far the copy is.
    noted_ms: u64,
    not_followed: NotFollowed,
    /// Why the move failed last.
    failed: Option<String>,
}

impl Gauge {
    fn new(settings: &MoveSettings, now_ms: u64) -> Gauge {
        let full = |concurrency, pause_ms| Pace {
            concurrency,
            pause_ms,
            state: throttle::State::Running,
            reason: None,
        };
        Gauge {
            speed: Speedometer::new(now_ms),
            applied: Rate::default(),
            counted: Gauged::default(),
            failures: Failures::default(),
            lag: None,
            full_pace: FullPace::default(),
            pace: full(settings.copy.parallel, settings.copy.pause_ms),
            comparing: full(settings.verify.parallel, 0),
            lately: Lately::default(),
            scheduled: Scheduled::default(),
            headroom: Headroom::default(),
            noted_ms: now_ms,
            not_followed: NotFollowed::default(),
            failed: None,
        }
    }
}

/// Looks at every move for as long as the process runs.
pub(in crate::control) async fn always(control: Arc<Control>) {
    let mut gauges: BTreeMap<String, Arc<Mutex<Gauge>>> = BTreeMap::new();
    let mut cpu = CpuTimes::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let snapshot = control.shared.snapshot();
        let before = std::mem::replace(&mut cpu, CpuTimes::now());
        let usage = match (cpu, before) {
            (Some(now), Some(before)) => now.usage_since(before),
            _ => Reading::Unknown,
        };
        gauges.retain(|name, gauge| {
            // A look that goes on would be about a move that is forgotten.
            let stays =
                snapshot.topology.moves.iter().any(|of| of.name == *name) || gauge.try_lock().is_err();
            if !stays {
                control.shared.alarm.forget(name, moment(&control));
            }
            stays
        });
        for (by, of) in moves(&snapshot.topology) {
            let gauge = gauges.entry(of.name.clone()).or_insert_with(|| {
                let settings = control.moves.settings(&of.name);
                Arc::new(Mutex::new(Gauge::new(&settings, moment(&control).steady_ms)))
            });
            // The last look may go on: somebody who is asked takes his time.
            if let Ok(gauge) = Arc::clone(gauge).try_lock_owned() {
                tokio::spawn(look(Arc::clone(&control), Arc::clone(&snapshot), by, gauge, usage));
            }
        }
    }
}

fn moment(control: &Control) -> Moment {
    let steady_ms = u64::try_from(control.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Moment { steady_ms, unix_s: now_s() }
}

async fn look(
    control: Arc<Control>,
    snapshot: Arc<Snapshot>,
    by: MoveId,
    mut gauge: OwnedMutexGuard<Gauge>,
    cpu: Reading,
) {
    let of = snapshot.topology.move_of(by);
    let phase = control.moves.of(&of.name).state.phase();
    if !matches!(phase, Phase::Draft | Phase::Done) {
        return look_closely(control, snapshot, by, gauge, cpu).await;
    }
    let fresh = Gauge::new(&control.moves.settings(&of.name), moment(&control).steady_ms);
    control.moves.set_comparing_pace(&of.name, told_to_workers(&fresh.comparing));
    if phase == Phase::Draft {
        *gauge = fresh;
    } else {
        // Nothing is measured any more: what fires clears.
        raise(&control, of, &gauge, &Sample::default(), moment(&control)).await;
    }
}

async fn look_closely(
    control: Arc<Control>,
    snapshot: Arc<Snapshot>,
    by: MoveId,
    mut gauge: OwnedMutexGuard<Gauge>,
    cpu: Reading,
) {
    let (topology, of) = (&snapshot.topology, snapshot.topology.move_of(by));
    let settings = control.moves.settings(&of.name);
    let around = Around::look(&control, topology, of, &settings.throttle, cpu).await;
    // Not before: the answers may have taken some seconds.
    let (now, known, gauge) = (moment(&control), control.moves.of(&of.name), &mut *gauge);
    let now_ms = now.steady_ms;
    let metrics = control.shared.metrics.of_move(&of.name);
    gauge.lately.on(&metrics);
    let copies = known.state == State::Running { phase: Phase::Copy };
    let copy = control.moves.progress(&of.name).filter(|_| copies);
    let (progress, copying) = match &copy {
        Some(copy) => look_at_copy(&control, of, &settings, gauge, copy, &around, now_ms),
        None => {
            gauge.speed.rest(now_ms);
            (Progress::default(), Copying::default())
        }
    };
    let comparing = look_at_comparisons(&control, of, &settings, gauge, &around);
    if let Err(error) = control.moves.note_trespasses(&of.name) {
        tracing::error!(r#move = of.name, error, "rows written past the proxy are not noted");
    }
    let streams = control.moves.streams(&of.name);
    let without = if is_to_be_followed(of, &known) { Reading::Unknown } else { Reading::NotNow };
    let Following { lag_s, applied_per_s, ahead, caught_up_in_s } =
        look_at_streams(gauge, streams.as_ref(), without, now_ms);
    let headroom = gauge.headroom.look(&control.shared, topology, of, &known, streams.as_ref(), now_ms).await;
    gauge.failed = known.state.needs_a_person().map(str::to_owned).or(gauge.failed.take());
    let stream_away_s = gauge.not_followed.look(streams.as_ref(), now_ms);
    let shadowed = Reading::Is(control.shared.shadow.of(&of.name).mismatches() as f64);
    let work = gauge.counted.look(&control.moves, &of.name, now_ms);
    let copying = copying.or_still(gauge.counted.still_s(now_ms));
    let looked = Looked {
        around,
        copy: copying,
        lag_s,
        applied_per_s,
        failures_per_s: gauge.failures.per_s(control.moves.failures(&of.name), now_ms),
        verified: known.last_verify.clone(),
        dirty: control.shared.dirty.extent(&topology.full_names(of)),
        latency_ms: gauge.lately.p95_ms(),
        headroom_s: headroom,
        shadow_mismatches: if of.shadow_reads > 0 { shadowed } else { Reading::NotNow },
        failed: has_failed(&known.state),
        stream_away_s,
    };
    let schedule = match &settings.schedule {
        Some(schedule) => Some(gauge.scheduled.look(&control, of, schedule, &metrics, lag_s, now_ms).await),
        None => None,
    };
    let catches_up = known.state == State::Running { phase: Phase::CatchUp };
    let work = work.or_else(|| catches_up.then(|| catching_up(&gauge.applied, caught_up_in_s)));
    let shown = Shown {
        schedule,
        progress,
        work,
        pace: copies.then(|| gauge.pace.clone()).or(comparing),
        forecast: ahead,
        caught_up_in_s,
        waits_for: waits_for(&known.state, gauge),
        binlog_headroom_s: headroom.value(),
    };
    control.moves.show(&of.name, shown);
    raise(&control, of, gauge, &looked.sample(), now).await;
}

/// Tells who must be told.
async fn raise(control: &Arc<Control>, of: &Move, gauge: &Gauge, sample: &Sample, now: Moment) {
    let failed = gauge.failed.as_deref().map(alerts::own::failed);
    let own = gauge.headroom.rule().into_iter().chain(failed).chain(gauge.not_followed.rule());
    let rules = with_own(&control.store.settings().alerts, own);
    if let Demand::Pause(reason) = control.shared.alarm.on(&rules, &of.name, sample, now)
        && let Err(error) = control.moves.happen(&of.name, Event::Pause(reason)).await
    {
        tracing::info!(r#move = of.name, error, "an alert pauses nothing");
    }
}

/// From how the lag changes: what was applied in a second covers less than a second of the source's time when the lag
/// grows, and more when it shrinks.
fn written_per_s(before: Option<(f64, u64)>, lag: Reading, applied: Reading, now_ms: u64) -> Reading {
    match (lag, before, applied) {
        (Reading::Is(now), Some((before, at_ms)), Reading::Is(applied)) => {
            let passed = now_ms.saturating_sub(at_ms) as f64 / 1_000.0;
            let covered = passed - (now - before);
            Reading::Is(if covered <= 0.0 { f64::MAX } else { applied * passed / covered })
        }
        _ => Reading::Unknown,
    }
}

/// How the other side follows the authority.
struct Following {
    lag_s: Reading,
    applied_per_s: Reading,
    ahead: Forecast,
    caught_up_in_s: Option<u64>,
}

/// `without` is what is known where no stream is followed.
fn look_at_streams(gauge: &mut Gauge, streams: Option<&Streams>, without: Reading, now_ms: u64) -> Following {
    let lag_s = streams.map_or(without, |streams| streams.lag.map(|lag| lag.as_secs_f64()).into());
    let applied_per_s = streams.map_or(without, |streams| {
        gauge.applied.on(streams.tails.iter().map(|(_, _, _, applied)| applied).sum(), now_ms);
        gauge.applied.per_s().into()
    });
    let written = written_per_s(gauge.lag, lag_s, applied_per_s, now_ms);
    gauge.lag = lag_s.value().map(|lag| (lag, now_ms));
    let (ahead, caught_up_in_s) = forecast(lag_s, applied_per_s, written);
    Following { lag_s, applied_per_s, ahead, caught_up_in_s }
}

/// Notes from time to time how far a copy is.
fn note(control: &Control, of: &Move, gauge: &mut Gauge, copy: &copy::Progress, now_ms: u64) {
    if now_ms.saturating_sub(gauge.noted_ms) < NOTE_EVERY_MS {
        return;
    }
    gauge.noted_ms = now_ms;
    if let Err(error) = control.moves.note_copied(&of.name, copy) {
        tracing::warn!(r#move = of.name, error, "how far the copy is could not be noted");
    }
}

/// Sets the pace of a copy that runs, and says how far and how fast it is.
fn look_at_copy(
    control: &Control,
    of: &Move,
    settings: &MoveSettings,
    gauge: &mut Gauge,
    copy: &copy::Progress,
    around: &Around,
    now_ms: u64,
) -> (Progress, Copying) {
    note(control, of, gauge, copy, now_ms);
    // Some copies have one worker, whatever anybody wants.
    let at_most = |workers: u32| workers.min(copy.workers_max());
    let by_hand = control.hands.of(&of.name);
    let by_hand = ByHand { parallel: by_hand.parallel.map(at_most), ..by_hand };
    let policy = Policy {
        limits: &settings.throttle,
        parallel: at_most(settings.copy.parallel),
        pause_ms: settings.copy.pause_ms,
        by_hand: &by_hand,
    };
    let rests = policy.rests(minute_of_day());
    if rests {
        gauge.speed.rest(now_ms);
    }
    let progress = gauge.speed.on(&copy.counts(), now_ms);
    let (busy_ms, workers) = copy.busy.spent();
    let work = Work { rows: copy.rows_now(), busy_ms, workers };
    let rows_per_s = gauge.full_pace.on(work, u64::from(settings.copy.rows), policy.parallel);
    let seen = around.seen(&gauge.lately, rows_per_s);
    gauge.pace = throttle::decide(&seen, policy, &gauge.pace);
    control.moves.set_pace(&of.name, told_to_workers(&gauge.pace));
    if rests {
        return (progress, Copying::default());
    }
    let rows_per_s = gauge.speed.rows_per_s().map_or(Reading::NotNow, Reading::Is);
    (progress, Copying { rows_per_s, still_s: Reading::Is(gauge.speed.still_for_s(now_ms)) })
}

/// Sets the pace of comparisons, also of those that may begin. It is that of somebody if any run.
fn look_at_comparisons(
    control: &Control,
    of: &Move,
    settings: &MoveSettings,
    gauge: &mut Gauge,
    around: &Around,
) -> Option<Pace> {
    let parallel = settings.verify.parallel;
    let by_hand = control.hands.of(&of.name);
    let by_hand = ByHand { parallel: by_hand.parallel.map(|lanes| lanes.min(parallel)), ..by_hand };
    let limits = settings.throttle.of_comparisons();
    let policy = Policy { limits: &limits, parallel, pause_ms: 0, by_hand: &by_hand };
    let seen = around.seen(&gauge.lately, Reading::NotNow);
    gauge.comparing = throttle::decide(&seen, policy, &gauge.comparing);
    control.moves.set_comparing_pace(&of.name, told_to_workers(&gauge.comparing));
    control.moves.compares(&of.name).then(|| gauge.comparing.clone())
}

/// A pace as workers are told of it.
fn told_to_workers(pace: &Pace) -> copy::Pace {
    let concurrency = match pace.state {
        throttle::State::Stopped => 0,
        throttle::State::Running | throttle::State::Slowed => pace.concurrency,
    };
    copy::Pace {
        concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
        pause: Duration::from_millis(pace.pause_ms),
    }
}

pub(super) fn minute_of_day() -> u16 {
    let minutes = now_s() / 60 % (24 * 60);
    u16::try_from(minutes).expect("a day has 1,440 minutes")
}

fn catching_up(applied: &Rate, caught_up_in_s: Option<u64>) -> WorkReport {
    WorkReport {
        what: "catching up".to_owned(),
        unit: "changes".to_owned(),
        done: applied.count(),
        per_s: applied.per_s().unwrap_or(0.0),
        eta_s: caught_up_in_s,
        ..WorkReport::default()
    }
}

fn waits_for(state: &State, gauge: &Gauge) -> Option<String> {
    match state {
        State::Paused { reason, .. } => Some(format!("resume: {reason}")),
        State::Failed { reason, .. } => Some(format!("a person: {reason}")),
        State::Running { phase: Phase::Copy } => gauge.pace.reason.clone(),
        State::Running { .. } => None,
    }
}
