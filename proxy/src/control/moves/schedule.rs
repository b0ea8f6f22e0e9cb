//! Reads that go over by the schedule of the rules: what clients see decides, and the rule file is edited as a person would.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use shardway_migration::phase::{Phase, State};
use shardway_migration::reading::Reading;
use shardway_migration::schedule::{Course, Decision, ScheduleReport, Seen};
use shardway_migration::settings::Schedule;
use shardway_routing::topology::{DoubleWrite, Move, Side};

use crate::control::traffic::{self, Wish};
use crate::control::{Control, rule_file};
use crate::latency::Counts;
use crate::metrics::{MoveMetrics, Served};

/// Fewer statements than this say nothing about how long they take.
const STATEMENTS_MIN: u64 = 100;

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
    course: Course,
    /// When the step began, and what the sides had served then.
    began: Option<(u64, [Past; 2])>,
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
        if self.began.as_ref().map(|(began, _)| *began) != self.course.step_began_ms() || self.began.is_none()
        {
            self.began = Some((self.course.step_began_ms().unwrap_or(now_ms), now.clone()));
        }
        let began = self.began.iter().flat_map(|(_, began)| began);
        let served: Vec<Past> = now.iter().zip(began).map(|(now, began)| now.since(began)).collect();
        let seen = Seen {
            now_ms,
            reads: of.reads,
            not_ready: not_ready(control, of),
            error_rate: error_rate(&served[1]),
            p99_ratio: p99_ratio(&served[0], &served[1]),
            mismatches: mismatches(control, of),
            lag_s,
        };
        if let Decision::Go { reads, why } = self.course.on(schedule, &seen) {
            tracing::info!(
                r#move = of.name,
                reads = f64::from(reads) / 100.0,
                why,
                "the schedule moves reads"
            );
            if let Err(error) = carry_out(control, of, reads, &why).await {
                tracing::warn!(r#move = of.name, error, "the schedule cannot move reads");
                self.course.failed(&error);
            }
        }
        self.course.report(schedule)
    }
}

fn not_ready(control: &Control, of: &Move) -> Option<String> {
    let state = control.moves.of(&of.name).state;
    if control.moves.is_rolling_back(&of.name) {
        Some("a rollback is under way".to_owned())
    } else if of.writes == Side::Target {
        Some("the target owns writes".to_owned())
    } else if state != (State::Running { phase: Phase::Synced }) {
        Some(format!("the move is in phase {}", state.name()))
    } else if of.double_write == DoubleWrite::Off {
        Some("double write is off".to_owned())
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

fn mismatches(control: &Control, of: &Move) -> Reading {
    control.moves.of(&of.name).last_verify.map(|verified| verified.different as f64).into()
}

/// Edits the rule file as a person would. A file with changes that are not in force is somebody's work under way.
async fn carry_out(control: &Control, of: &Move, reads: u16, why: &str) -> Result<(), String> {
    let file = &control.shared.config.rules;
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let before = tokio::fs::read_to_string(file).await.map_err(told)?;
    if !control.store.is_in_force(&before) {
        return Err("the rule file has changes that are not in force".to_owned());
    }
    let wish = Wish { reads: Some(f64::from(reads) / 100.0), ..Wish::default() };
    let after = traffic::edited(&before, &of.name, &wish)?;
    // In force first: the watcher then finds nothing to do, and the history says who it was.
    if let Err(error) = control.store.apply(&after, &format!("schedule: {why}")).await {
        control.store.apply(&before, "schedule: taken back").await?;
        return Err(error);
    }
    rule_file::replace(file, &after).map_err(|error| format!("{error:#}"))
}
