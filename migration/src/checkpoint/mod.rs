//! The five checks before a switch, as one report: total count, key sample, the operator's own questions, the speed of
//! chosen statements, and the signature of every row.
//!
//! Statements of operators are answered by whoever knows the routing ([`Ask`]); see [`answers`] for when two answers
//! count as equal. A check that could not be decided has not passed. It writes nothing; a crash leaves nothing behind.

pub mod answers;
pub mod report;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shardway_routing::topology::Side;
use tokio::sync::watch;

use self::answers::{Answer, Seen, Verdict};
use self::report::{Asserted, CheckpointReport, Outcome, Timed, Times};
use crate::converge::Converge;
use crate::copy::Pace;
use crate::settings::{Assertion, Baseline};
use crate::tables::{MovingTable, WorkError};
use crate::tally::Tally;
use crate::verify::{self, Mode, now_s};

/// Somebody who runs a statement on the whole of one side.
pub trait Ask: Send + Sync {
    /// The statement's rows.
    ///
    /// # Errors
    /// When the side cannot answer.
    fn ask<'a>(
        &'a self,
        side: Side,
        sql: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, WorkError>> + Send + 'a>>;
}

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Checks {
    pub count: Mode,
    pub sample: Mode,
    /// Must have the same answer on both sides.
    pub assertions: Vec<Assertion>,
    /// Are timed on both sides.
    pub baselines: Vec<Baseline>,
    /// Ranges that are compared at the same time.
    pub lanes: usize,
}

/// One of the five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Count,
    Sample,
    Assertions,
    Baseline,
    Hash,
}

/// All of them, in their order.
pub const ALL: [Check; 5] = [Check::Count, Check::Sample, Check::Assertions, Check::Baseline, Check::Hash];

/// How far a run is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    at: AtomicUsize,
    /// By check.
    rows: [Tally; 5],
}

impl Progress {
    /// Of a run whose comparisons go at a pace that somebody sets.
    #[must_use]
    pub fn paced(pace: &watch::Receiver<Pace>) -> Progress {
        Progress { rows: std::array::from_fn(|_| Tally::paced(pace.clone())), ..Progress::default() }
    }

    /// The check that runs, rows compared, and rows that there are as far as servers can tell.
    #[must_use]
    pub fn now(&self) -> (Check, u64, u64) {
        let at = self.at.load(Ordering::Relaxed);
        let (compared, all) = self.rows[at].now();
        (ALL[at], compared, all)
    }

    fn begin(&self, check: Check) -> &Tally {
        self.at.store(check as usize, Ordering::Relaxed);
        &self.rows[check as usize]
    }
}

/// Runs all five checks, also after one has failed.
///
/// # Errors
/// When a server cannot be asked or the other side does not catch up. A statement that fails is a failed check.
pub async fn run(
    tables: &[MovingTable],
    authority: Side,
    converge: &dyn Converge,
    ask: &dyn Ask,
    checks: &Checks,
    progress: &Progress,
) -> Result<CheckpointReport, WorkError> {
    let started_at = now_s();
    let compare =
        |mode, check| verify::run(tables, authority, converge, mode, checks.lanes, progress.begin(check));
    let count = compare(&checks.count, Check::Count).await?;
    let sample = compare(&checks.sample, Check::Sample).await?;
    progress.begin(Check::Assertions);
    let mut assertions = Vec::new();
    for question in &checks.assertions {
        assertions.push(asserted(authority, converge, ask, question).await?);
    }
    progress.begin(Check::Baseline);
    let mut baseline = Vec::new();
    for statement in &checks.baselines {
        baseline.push(timed(authority, ask, statement).await);
    }
    let hash = compare(&Mode::Hash, Check::Hash).await?;
    let authority = authority.name().to_owned();
    let mut report = CheckpointReport {
        passed: false,
        authority,
        count,
        sample,
        assertions,
        baseline,
        hash,
        started_at,
        finished_at: now_s(),
    };
    let is_fine = |check: &Check| matches!(report.outcome(*check), Outcome::Passed | Outcome::NotConfigured);
    report.passed = ALL.iter().all(is_fine);
    Ok(report)
}

async fn asserted(
    authority: Side,
    converge: &dyn Converge,
    ask: &dyn Ask,
    question: &Assertion,
) -> Result<Asserted, WorkError> {
    let mut seen = Seen::default();
    loop {
        let both = async {
            let here = ask.ask(authority, &question.sql).await;
            let here = here.map_err(|error| format!("{}: {error}", authority.name()))?;
            let there = ask.ask(authority.other(), &question.sql).await;
            let there = there.map_err(|error| format!("{}: {error}", authority.other().name()))?;
            Ok((here, there))
        };
        match both.await {
            Ok((here, there)) => seen.read(here, there),
            Err(reason) => return Ok(Asserted::failed(question, reason)),
        }
        match seen.decide() {
            Verdict::Again => converge.converge().await?,
            verdict => return Ok(Asserted::told(question, authority, verdict, &seen)),
        }
    }
}

async fn timed(authority: Side, ask: &dyn Ask, statement: &Baseline) -> Timed {
    let sides = [authority, authority.other()];
    let mut timed = Timed {
        sql: statement.sql.clone(),
        ratio_max: statement.ratio_max,
        outcome: Outcome::Failed,
        authority: Times::default(),
        other: Times::default(),
        error: None,
    };
    let mut times = [Vec::new(), Vec::new()];
    // The first answer of each is not timed: it opens connections. Then the sides take turns, so that a busy moment hits
    // both.
    for run in 0..=statement.runs.max(1) {
        for (side, times) in sides.into_iter().zip(&mut times) {
            let begun = Instant::now();
            if let Err(error) = ask.ask(side, &statement.sql).await {
                timed.error = Some(format!("{}: {error}", side.name()));
                return timed;
            }
            if run > 0 {
                times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
    let [here, there] = times;
    (timed.authority, timed.other) = (Times::of(here), Times::of(there));
    if timed.other.is_within(timed.authority, statement.ratio_max) {
        timed.outcome = Outcome::Passed;
    }
    timed
}
