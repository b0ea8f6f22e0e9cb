//! Reads that go over by themselves, step by step, while gates are open; and step back when one closes. Pure: [`Course::on`]
//! is told what is seen and says what to do.
//!
//! - A step has lasted long enough when everything has been fine for the whole dwell time.
//! - A gate that is closed takes the reads back one step at once. What should be known and is not is waited for; it
//!   neither advances nor steps back. Where reads are on the target, its errors and its speed are known only once
//!   [`STATEMENTS_MIN`] statements have come since the step began.
//! - After [`SETBACKS_MOST`] steps back nothing goes forward any more and a person is asked: only another edit of the reads
//!   begins anew. Closed gates go on taking reads back. The steps back outlive the process in [`Kept`].

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::settings::{Gates, Schedule};

/// Steps back before the schedule asks for a person.
pub const SETBACKS_MOST: u32 = 3;

/// Fewer statements than this on a side say nothing about its errors or how long they take.
pub const STATEMENTS_MIN: u64 = 100;

/// What is seen of a move.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub now_ms: u64,
    /// The share in force, in hundredths of a percent.
    pub reads: u16,
    /// Why reads cannot go over at present.
    pub not_ready: Option<String>,
    /// The source's statements since the step began or, where those are few, in the step before.
    pub on_source: u64,
    /// The target's since the step began.
    pub on_target: u64,
    /// Percent of the target's statements since the step began.
    pub error_rate: Reading,
    /// The target's time for 99 of 100 statements over the source's, since the step began.
    pub p99_ratio: Reading,
    /// Differences that are open, and shadow reads that differed since the step began. Not known until a comparison has
    /// ended since then.
    pub mismatches: Reading,
    pub lag_s: Reading,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Stay,
    /// Change the reads to this share, for this reason.
    Go {
        reads: u16,
        why: String,
    },
}

/// What of a schedule outlives the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub setbacks: u32,
    /// The share at which it was decided last, and the one decided on.
    pub decided: Option<(u16, u16)>,
}

/// How far a schedule is.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// The share that is in force as far as known, and since when.
    at: Option<(u16, u64)>,
    /// Since when everything has been fine.
    fine_since_ms: Option<u64>,
    /// Seeing the share that was decided on is no edit of somebody else.
    kept: Kept,
    /// What was decided last is a step back.
    steps_back: bool,
    says: String,
}

/// What a person sees of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleReport {
    /// Percentages.
    pub steps: Vec<f64>,
    /// The next percentage; `null` at the end.
    pub next: Option<f64>,
    /// What it does or waits for.
    pub says: String,
    /// How often a gate took the reads back.
    pub setbacks: u32,
}

impl Course {
    /// Goes on after an earlier process.
    #[must_use]
    pub fn resumed(kept: Kept) -> Course {
        Course { kept, ..Course::default() }
    }

    /// What must outlive the process; to be saved before what was decided is done.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// When the step began; the numbers of [`Seen`] count from then.
    #[must_use]
    pub fn step_began_ms(&self) -> Option<u64> {
        self.at.map(|(_, since)| since)
    }

    /// Decides.
    pub fn on(&mut self, schedule: &Schedule, seen: &Seen) -> Decision {
        self.steps_back = false;
        if self.at.is_none_or(|(reads, _)| reads != seen.reads) {
            // A process that ended may not have come to what it had decided.
            let is_own = self
                .kept
                .decided
                .is_some_and(|(from, to)| seen.reads == to || (self.at.is_none() && seen.reads == from));
            if !is_own {
                self.kept.setbacks = 0;
            }
            self.at = Some((seen.reads, seen.now_ms));
            self.fine_since_ms = None;
        }
        let wait = match judge(&schedule.gates, seen) {
            Verdict::Fine => None,
            Verdict::Wait(what) => Some(what),
            Verdict::Closed(why) => {
                self.fine_since_ms = None;
                let lower =
                    schedule.steps.iter().rev().find(|step| **step < seen.reads).copied().unwrap_or(0);
                if seen.reads == 0 {
                    self.says = format!("waits: {why}");
                    return Decision::Stay;
                }
                self.kept.setbacks += 1;
                self.steps_back = true;
                return self.go(
                    seen.reads,
                    lower,
                    format!("stepped back from {}: {why}", percent(seen.reads)),
                );
            }
        };
        if self.kept.setbacks >= SETBACKS_MOST {
            self.says = format!("stopped after {} steps back; edit `reads` to go on", self.kept.setbacks);
            return Decision::Stay;
        }
        let next = schedule.steps.iter().find(|step| **step > seen.reads).copied();
        // Nothing is waited for at the end.
        let wait = wait.filter(|_| next.is_some());
        if let Some(what) = seen.not_ready.clone().or(wait) {
            self.fine_since_ms = None;
            self.says = format!("waits: {what}");
            return Decision::Stay;
        }
        let fine_since_ms = *self.fine_since_ms.get_or_insert(seen.now_ms);
        let Some(next) = next else {
            self.says = format!("at its end, {}", percent(seen.reads));
            return Decision::Stay;
        };
        let fine_s = seen.now_ms.saturating_sub(fine_since_ms) / 1_000;
        let left_s = schedule.dwell.as_secs().saturating_sub(fine_s);
        if left_s > 0 {
            self.says = format!("{} in {left_s} s", percent(next));
            return Decision::Stay;
        }
        self.go(seen.reads, next, format!("everything was fine at {} for {fine_s} s", percent(seen.reads)))
    }

    fn go(&mut self, from: u16, reads: u16, why: String) -> Decision {
        self.says.clone_from(&why);
        self.kept.decided = Some((from, reads));
        Decision::Go { reads, why }
    }

    /// The change that was decided on did not come about: the dwell time begins anew, and a step back is no step back.
    pub fn failed(&mut self, why: &str) {
        if std::mem::take(&mut self.steps_back) {
            self.kept.setbacks = self.kept.setbacks.saturating_sub(1);
        }
        self.fine_since_ms = None;
        self.says = format!("could not change the reads: {why}");
    }

    /// What a person sees.
    #[must_use]
    pub fn report(&self, schedule: &Schedule) -> ScheduleReport {
        let of = |hundredths: u16| f64::from(hundredths) / 100.0;
        let at = self.at.map_or(0, |(reads, _)| reads);
        ScheduleReport {
            steps: schedule.steps.iter().copied().map(of).collect(),
            next: schedule.steps.iter().copied().find(|step| *step > at).map(of),
            says: self.says.clone(),
            setbacks: self.kept.setbacks,
        }
    }
}

enum Verdict {
    Fine,
    Wait(String),
    Closed(String),
}

/// A closed gate counts more than one that nobody knows.
fn judge(gates: &Gates, seen: &Seen) -> Verdict {
    let all = [
        ("error rate", seen.error_rate, gates.error_rate, " %"),
        ("p99 ratio", seen.p99_ratio, gates.p99_ratio, ""),
        ("mismatches", seen.mismatches, gates.mismatches.map(|most| most as f64), ""),
        ("lag", seen.lag_s, gates.lag_s, " s"),
    ];
    let mut verdict = Verdict::Fine;
    for (name, reading, most, unit) in all {
        let Some(most) = most else { continue };
        match reading {
            Reading::Is(value) if value > most => {
                return Verdict::Closed(format!(
                    "{name} is {}{unit}, gate {}{unit}",
                    round(value),
                    round(most)
                ));
            }
            Reading::Unknown => verdict = Verdict::Wait(format!("{name} is not known")),
            Reading::Is(_) | Reading::NotNow => {}
        }
    }
    match verdict {
        Verdict::Fine => too_few(gates, seen).map_or(Verdict::Fine, Verdict::Wait),
        verdict => verdict,
    }
}

/// What cannot be judged because clients have not asked enough. Nothing is judged of a target that nobody asks yet.
fn too_few(gates: &Gates, seen: &Seen) -> Option<String> {
    if seen.reads == 0 {
        return None;
    }
    let few = |name: &str, side: &str, statements: u64| {
        (statements < STATEMENTS_MIN).then(|| {
            format!("{name}: {statements} of {STATEMENTS_MIN} statements on the {side} since the step began")
        })
    };
    let of_errors = gates.error_rate.and_then(|_| few("error rate", "target", seen.on_target));
    let of_speed = gates.p99_ratio.and_then(|_| {
        few("p99 ratio", "target", seen.on_target).or_else(|| few("p99 ratio", "source", seen.on_source))
    });
    of_errors.or(of_speed)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn percent(hundredths: u16) -> String {
    format!("{} %", f64::from(hundredths) / 100.0)
}
