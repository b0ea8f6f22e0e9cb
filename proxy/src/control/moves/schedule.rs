//! Reads that go over by the schedule of the rules: what clients see decides, and the rule file is edited as a person would.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shardway_migration::phase::{Phase, State};
use shardway_migration::reading::Reading;
use shardway_migration::schedule::{Course, Decision, STATEMENTS_MIN, ScheduleReport, Seen};
use shardway_migration::settings::Schedule;
use shardway_migration::verify::Mode;
use shardway_routing::topology::Seen::ByLog;
use shardway_routing::topology::{DoubleWrite, Move, Side};
use tokio::task::JoinHandle;

use crate::control::store::now_s;
use crate::control::traffic::{self, Wish};
use crate::control::{Control, rule_file};
use crate::latency::Counts;
use crate::metrics::{MoveMetrics, Served};

/// Between two comparisons of which none succeeds.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// How long clients' statements took during the last looks.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// Counts of both sides at each look, oldest first.
    marks: VecDeque<[Counts; 2]>,
}

impl Lately {
    const LOOKS: usize = 6;

    pub(super) fn on(&mut self, metrics: &MoveMetrics) {
        self.marks.push_back([Side::Source, Side::Target].map(|side| metrics.of(side).latency.counts()));
        if self.marks.len() > Self::LOOKS {
            self.marks.pop_front();
        }
    }

    /// The time in which 95 of 100 statements were answered; of the slower side.
    pub(super) fn p95_ms(&self) -> Reading {
        let (Some(first), Some(last)) = (self.marks.front(), self.marks.back()) else {
            return Reading::NotNow;
        };
        let sides = last.iter().zip(first).filter_map(|(now, before)| now.since(before).quantile(0.95));
        sides.max().map_or(Reading::NotNow, |slower| Reading::Is(slower.as_secs_f64() * 1_000.0))
    }
}

/// A schedule on its way.
#[derive(Debug, Default)]
pub(super) struct Scheduled {
    /// `None`: not looked at yet.
    course: Option<Course>,
    began: Option<Began>,
    /// What the source served in the last step in which that was much: at the end, reads leave it nothing.
    source_before: Past,
    /// A comparison, and when it began.
    comparing: Option<(Instant, JoinHandle<()>)>,
}

/// What was when a step began.
#[derive(Debug, Clone)]
struct Began {
    /// As the course knows it.
    at_ms: u64,
    /// Seconds since 1970.
    at: u64,
    /// What the sides had served.
    served: [Past; 2],
    /// Shadow reads that had differed.
    shadow_mismatches: u64,
}

/// What a side had served at some moment.
#[derive(Debug, Clone, Default)]
struct Past {
    failed: u64,
    latency: Counts,
}

impl Past {
    fn now(of: &Served) -> Past {
        Past { failed: of.failed.load(Ordering::Relaxed), latency: of.latency.counts() }
    }

    fn since(&self, earlier: &Past) -> Past {
        Past {
            failed: self.failed.saturating_sub(earlier.failed),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

impl Scheduled {
    /// Looks at the move, and changes its reads when it is time.
    pub(super) async fn look(
        &mut self,
        control: &Control,
        of: &Move,
        schedule: &Schedule,
        metrics: &MoveMetrics,
        lag_s: Reading,
        now_ms: u64,
    ) -> ScheduleReport {
        let now = [Side::Source, Side::Target].map(|side| Past::now(metrics.of(side)));
        let resumed = || Course::resumed(control.moves.of(&of.name).scheduled);
        let step_began_ms = self.course.get_or_insert_with(resumed).step_began_ms();
        let began = self.begin(control, of, step_began_ms, &now, now_ms);
        let [on_source, on_target] = &now;
        let (mut source, target) = (on_source.since(&began.served[0]), on_target.since(&began.served[1]));
        if source.latency.total() < STATEMENTS_MIN {
            source = self.source_before.clone();
        }
        let not_ready = not_ready(control, of);
        if schedule.gates.mismatches.is_some() && not_ready.is_none() {
            self.compare(control, of, began.at);
        }
        let seen = Seen {
            now_ms,
            reads: of.reads,
            not_ready,
            on_source: source.latency.total(),
            on_target: target.failed + target.latency.total(),
            error_rate: error_rate(&target),
            p99_ratio: p99_ratio(&source, &target),
            mismatches: mismatches(control, of, &began),
            lag_s,
        };
        let course = self.course.get_or_insert_with(resumed);
        let decision = course.on(schedule, &seen);
        if let Err(error) = keep(control, of, course) {
            tracing::warn!(r#move = of.name, error, "how far the schedule is is not kept");
            course.failed(&error);
        } else if let Decision::Go { reads, why } = decision {
            tracing::info!(
                r#move = of.name,
                reads = f64::from(reads) / 100.0,
                why,
                "the schedule moves reads"
            );
            if let Err(error) = carry_out(control, of, reads, &why).await {
                tracing::warn!(r#move = of.name, error, "the schedule cannot move reads");
                course.failed(&error);
            }
        }
        course.report(schedule)
    }

    /// Notes what is when a step begins.
    fn begin(
        &mut self,
        control: &Control,
        of: &Move,
        step_began_ms: Option<u64>,
        now: &[Past; 2],
        now_ms: u64,
    ) -> Began {
        match &self.began {
            Some(began) if Some(began.at_ms) == step_began_ms => began.clone(),
            before => {
                let source = before.as_ref().map(|began| now[0].since(&began.served[0]));
                if let Some(source) = source.filter(|source| source.latency.total() >= STATEMENTS_MIN) {
                    self.source_before = source;
                }
                let began = Began {
                    at_ms: step_began_ms.unwrap_or(now_ms),
                    at: now_s(),
                    served: now.clone(),
                    shadow_mismatches: control.shared.shadow.of(&of.name).mismatches(),
                };
                self.began.insert(began).clone()
            }
        }
    }

    /// Compares a sample when nobody has compared since the step began.
    fn compare(&mut self, control: &Control, of: &Move, began_at: u64) {
        let is_recent = |(since, comparing): &(Instant, JoinHandle<()>)| {
            !comparing.is_finished() || since.elapsed() < COMPARE_EVERY
        };
        // Whole seconds are all that is known of when a comparison ended.
        if now_s() <= began_at
            || has_compared(control, of, began_at)
            || self.comparing.as_ref().is_some_and(is_recent)
        {
            return;
        }
        let Some(mode) = Mode::named("sample") else { return };
        let (moves, name) = (Arc::clone(&control.moves), of.name.clone());
        let comparing = tokio::spawn(async move {
            if let Err(error) = moves.compare(&name, &mode).await {
                tracing::info!(r#move = name, %error, "the schedule could not compare the sides");
            }
        });
        self.comparing = Some((Instant::now(), comparing));
    }
}

/// Keeps what must outlive the process.
fn keep(control: &Control, of: &Move, course: &Course) -> Result<(), String> {
    if control.moves.of(&of.name).scheduled == *course.kept() {
        return Ok(());
    }
    control.moves.states.change(&of.name, |state| state.scheduled.clone_from(course.kept()))
}

fn has_compared(control: &Control, of: &Move, began_at: u64) -> bool {
    let verified = control.moves.of(&of.name).last_verify;
    verified.is_some_and(|verified| verified.mode != "count" && verified.finished_at > began_at)
}

fn not_ready(control: &Control, of: &Move) -> Option<String> {
    let state = control.moves.of(&of.name).state;
    if control.moves.is_rolling_back(&of.name) {
        Some("a rollback is under way".to_owned())
    } else if of.writes == Side::Target {
        Some("the target owns writes".to_owned())
    } else if state != (State::Running { phase: Phase::Synced }) {
        Some(format!("the move is in phase {}", state.name()))
    } else if of.double_write == DoubleWrite::Off && of.capture.seen(Side::Source) != ByLog {
        Some("double write is off, and no log brings over what is written".to_owned())
    } else {
        None
    }
}

fn error_rate(target: &Past) -> Reading {
    let all = target.failed + target.latency.total();
    if all == 0 { Reading::NotNow } else { Reading::Is(target.failed as f64 / all as f64 * 100.0) }
}

fn p99_ratio(source: &Past, target: &Past) -> Reading {
    if source.latency.total().min(target.latency.total()) < STATEMENTS_MIN {
        return Reading::NotNow;
    }
    match (source.latency.quantile(0.99), target.latency.quantile(0.99)) {
        (Some(source), Some(target)) => Reading::Is(target.as_secs_f64() / source.as_secs_f64()),
        _ => Reading::NotNow,
    }
}

/// What is known to differ counts whenever it was found; that nothing does must have been seen in this step.
fn mismatches(control: &Control, of: &Move, began: &Began) -> Reading {
    let known = control.moves.of(&of.name);
    let compared = known.last_verify.as_ref();
    // Counts name no rows that could be noted as open.
    let counted = compared.filter(|verified| verified.mode == "count").map_or(0, |counted| counted.different);
    let shadow = control.shared.shadow.of(&of.name).mismatches().saturating_sub(began.shadow_mismatches);
    let found = known.open_mismatches.max(counted) + shadow;
    if found == 0 && !has_compared(control, of, began.at) {
        return Reading::Unknown;
    }
    Reading::Is(found as f64)
}

/// Edits the rule file as a person would. A file with changes that are not in force is somebody's work under way: nothing
/// goes forward then, and what goes back goes back in the rules in force, and in that file where it says more.
async fn carry_out(control: &Control, of: &Move, reads: u16, why: &str) -> Result<(), String> {
    let file = &control.shared.config.rules;
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let percent = f64::from(reads) / 100.0;
    let wish = Wish { reads: Some(percent), ..Wish::default() };
    let before = control.store.in_force().ok_or("no rules are in force")?.text;
    let goes_back = reads < of.reads;
    if !goes_back && tokio::fs::read_to_string(file).await.map_err(told)? != before {
        return Err("the rule file has changes that are not in force".to_owned());
    }
    let after = traffic::edited(&before, &of.name, &wish)?;
    // In force first: the watcher then finds nothing to do, and the history says who it was.
    if let Err(error) = control.store.apply(&after, &format!("schedule: {why}")).await {
        control.store.take_back(&before).await;
        return Err(error);
    }
    let in_file = async {
        let written = tokio::fs::read_to_string(file).await.map_err(told)?;
        if goes_back && traffic::reads(&written, &of.name)? <= percent {
            return Ok(());
        }
        let edited = traffic::edited(&written, &of.name, &wish)?;
        rule_file::replace(file, &edited).map_err(|error| format!("{error:#}"))
    };
    match in_file.await {
        // In force it is all the same.
        Err(error) if goes_back => {
            tracing::warn!(
                r#move = of.name,
                error,
                "the schedule has taken reads back, but not in the rule file"
            );
            Ok(())
        }
        done => done,
    }
}
