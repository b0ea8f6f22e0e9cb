//! Reads that go over by themselves, step by step, while gates are open; and step back when one closes. Pure: [`Course::on`]
//! is told what is seen and says what to do.
//!
//! - A step has lasted long enough when everything has been fine for the whole dwell time.
//! - A gate that is closed takes the reads back one step at once. What should be known and is not is waited for; it
//!   neither advances nor steps back.
//! - After [`SETBACKS_MOST`] steps back a person is asked: only another edit of the reads begins anew.

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::settings::{Gates, Schedule};

/// Steps back before the schedule asks for a person.
pub const SETBACKS_MOST: u32 = 3;

/// What is seen of a move.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub now_ms: u64,
    /// The share in force, in hundredths of a percent.
    pub reads: u16,
    /// Why reads cannot go over at present.
    pub not_ready: Option<String>,
    /// Percent of the target's statements since the step began.
    pub error_rate: Reading,
    /// The target's time for 99 of 100 statements over the source's, since the step began.
    pub p99_ratio: Reading,
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

/// How far a schedule is.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// The share that is in force as far as known, and since when.
    at: Option<(u16, u64)>,
    /// Since when everything has been fine.
    fine_since_ms: Option<u64>,
    setbacks: u32,
    /// The share that was last decided on: seeing it is no edit of somebody else.
    decided: Option<u16>,
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
    /// When the step began; the numbers of [`Seen`] count from then.
    #[must_use]
    pub fn step_began_ms(&self) -> Option<u64> {
        self.at.map(|(_, since)| since)
    }

    /// Decides.
    pub fn on(&mut self, schedule: &Schedule, seen: &Seen) -> Decision {
        if self.at.is_none_or(|(reads, _)| reads != seen.reads) {
            if self.decided != Some(seen.reads) {
                self.setbacks = 0;
            }
            self.at = Some((seen.reads, seen.now_ms));
            self.fine_since_ms = None;
        }
        if self.setbacks >= SETBACKS_MOST {
            self.says = format!("stopped after {SETBACKS_MOST} steps back; edit `reads` to go on");
            return Decision::Stay;
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
                self.setbacks += 1;
                return self.go(lower, format!("stepped back from {}: {why}", percent(seen.reads)));
            }
        };
        if let Some(what) = seen.not_ready.clone().or(wait) {
            self.fine_since_ms = None;
            self.says = format!("waits: {what}");
            return Decision::Stay;
        }
        let fine_since_ms = *self.fine_since_ms.get_or_insert(seen.now_ms);
        let Some(next) = schedule.steps.iter().find(|step| **step > seen.reads).copied() else {
            self.says = format!("at its end, {}", percent(seen.reads));
            return Decision::Stay;
        };
        let fine_s = seen.now_ms.saturating_sub(fine_since_ms) / 1_000;
        let left_s = schedule.dwell.as_secs().saturating_sub(fine_s);
        if left_s > 0 {
            self.says = format!("{} in {left_s} s", percent(next));
            return Decision::Stay;
        }
        self.go(next, format!("everything was fine at {} for {fine_s} s", percent(seen.reads)))
    }

    fn go(&mut self, reads: u16, why: String) -> Decision {
        self.says.clone_from(&why);
        self.decided = Some(reads);
        Decision::Go { reads, why }
    }

    /// The change that was decided on did not come about: the dwell time begins anew.
    pub fn failed(&mut self, why: &str) {
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
            setbacks: self.setbacks,
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
    verdict
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn percent(hundredths: u16) -> String {
    format!("{} %", f64::from(hundredths) / 100.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn schedule() -> Schedule {
        let gates =
            Gates { error_rate: Some(1.0), p99_ratio: Some(2.0), mismatches: Some(0), lag_s: Some(5.0) };
        Schedule { steps: vec![100, 500, 10_000], dwell: Duration::from_secs(10), gates }
    }

    fn fine(now_s: u64, reads: u16) -> Seen {
        Seen {
            now_ms: 1_000 * now_s,
            reads,
            not_ready: None,
            error_rate: Reading::Is(0.0),
            p99_ratio: Reading::NotNow,
            mismatches: Reading::Is(0.0),
            lag_s: Reading::Is(0.1),
        }
    }

    fn to(decision: &Decision) -> Option<u16> {
        match decision {
            Decision::Stay => None,
            Decision::Go { reads, .. } => Some(*reads),
        }
    }

    /// Runs a schedule for some seconds; what is decided is done at once.
    fn run(
        course: &mut Course,
        reads: &mut u16,
        seconds: std::ops::Range<u64>,
        see: impl Fn(Seen) -> Seen,
    ) -> Vec<(u64, u16)> {
        let mut steps = Vec::new();
        for now in seconds {
            if let Some(next) = to(&course.on(&schedule(), &see(fine(now, *reads)))) {
                steps.push((now, next));
                *reads = next;
            }
        }
        steps
    }

    #[test]
    fn goes_up_by_its_steps_and_stays_at_the_end() {
        let (mut course, mut reads) = (Course::default(), 0);
        let steps = run(&mut course, &mut reads, 0..100, |seen| seen);
        assert_eq!(steps, [(10, 100), (21, 500), (32, 10_000)]);
        assert_eq!(course.report(&schedule()).next, None);
    }

    #[test]
    fn a_closed_gate_steps_back_at_once_and_three_ask_for_a_person() {
        let (mut course, mut reads) = (Course::default(), 500);
        let slow = |seen: Seen| {
            let p99_ratio = if seen.reads >= 500 { Reading::Is(2.5) } else { Reading::Is(1.0) };
            Seen { p99_ratio, ..seen }
        };
        let steps = run(&mut course, &mut reads, 0..100, slow);
        assert_eq!(steps, [(0, 100), (11, 500), (12, 100), (23, 500), (24, 100)]);
        assert!(course.report(&schedule()).says.contains("edit `reads`"));
        // An edit of the operator begins anew.
        reads = 200;
        let steps = run(&mut course, &mut reads, 100..112, |seen| seen);
        assert_eq!(steps, [(110, 500)]);
    }

    #[test]
    fn what_is_not_known_is_waited_for() {
        let (mut course, mut reads) = (Course::default(), 100);
        let unknown = |seen: Seen| Seen { lag_s: Reading::Unknown, ..seen };
        assert_eq!(run(&mut course, &mut reads, 0..50, unknown), []);
        assert_eq!(course.report(&schedule()).says, "waits: lag is not known");
        let not_ready = |seen: Seen| Seen { not_ready: Some("double write is off".into()), ..seen };
        assert_eq!(run(&mut course, &mut reads, 50..90, not_ready), []);
        assert_eq!(run(&mut course, &mut reads, 90..101, |seen| seen), [(100, 500)]);
    }

    #[test]
    fn nothing_is_taken_back_below_nothing() {
        let (mut course, mut reads) = (Course::default(), 0);
        let differing = |seen: Seen| Seen { mismatches: Reading::Is(3.0), ..seen };
        assert_eq!(run(&mut course, &mut reads, 0..50, differing), []);
        assert_eq!(course.report(&schedule()).says, "waits: mismatches is 3, gate 0");
        let mut low = 50;
        assert_eq!(run(&mut course, &mut low, 50..52, differing), [(50, 0)]);
    }

    #[test]
    fn a_change_that_fails_is_tried_again_after_the_dwell_time() {
        let mut course = Course::default();
        assert_eq!(to(&course.on(&schedule(), &fine(0, 0))), None);
        assert_eq!(to(&course.on(&schedule(), &fine(10, 0))), Some(100));
        course.failed("the file is read-only");
        assert_eq!(to(&course.on(&schedule(), &fine(11, 0))), None);
        assert_eq!(to(&course.on(&schedule(), &fine(21, 0))), Some(100));
    }
}
