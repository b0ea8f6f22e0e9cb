//! What the five checks found, for people and for scripts.

use std::fmt;

use serde::{Deserialize, Serialize};
use shardway_routing::topology::Side;

use super::answers::{Answer, Seen, Verdict};
use super::{ALL, Check};
use crate::settings::Assertion;
use crate::verify::report::Report;

/// Rows of a differing answer that are kept, of each side.
const SHOWN: usize = 10;
/// Bytes of a value that are kept.
const SHOWN_BYTES: usize = 200;

/// All five.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointReport {
    pub passed: bool,
    /// Which side was right by definition: `source` or `target`.
    pub authority: String,
    pub count: Report,
    pub sample: Report,
    pub assertions: Vec<Asserted>,
    pub baseline: Vec<Timed>,
    pub hash: Report,
    /// Seconds since 1970.
    pub started_at: u64,
    pub finished_at: u64,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    Undecided,
    /// The rules ask nothing here.
    NotConfigured,
}

/// An assertion's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asserted {
    pub name: String,
    pub sql: String,
    pub outcome: Outcome,
    /// What stands in the way, or how many rows answered.
    pub detail: String,
    /// The rows in which the answers differ, where they do.
    pub answers: Vec<SideAnswer>,
}

/// Rows that only one side answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideAnswer {
    pub side: String,
    /// How many there are; the first of them follow.
    pub count: usize,
    pub rows: Vec<Vec<Option<String>>>,
}

/// A statement's times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    pub sql: String,
    pub ratio_max: f64,
    pub outcome: Outcome,
    pub authority: Times,
    pub other: Times,
    /// Why there are no times.
    pub error: Option<String>,
}

/// The median and the slowest but one of a hundred, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub p50_us: u64,
    pub p99_us: u64,
}

impl CheckpointReport {
    /// How one of the checks ended.
    #[must_use]
    pub fn outcome(&self, check: Check) -> Outcome {
        let of = |report: &Report| match report {
            report if report.clean => Outcome::Passed,
            report if report.different > 0 => Outcome::Failed,
            _ => Outcome::Undecided,
        };
        match check {
            Check::Count => of(&self.count),
            Check::Sample => of(&self.sample),
            Check::Hash => of(&self.hash),
            Check::Assertions => worst(self.assertions.iter().map(|check| check.outcome)),
            Check::Baseline => worst(self.baseline.iter().map(|check| check.outcome)),
        }
    }
}

fn worst(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::NotConfigured => 0,
        Outcome::Passed => 1,
        Outcome::Undecided => 2,
        Outcome::Failed => 3,
    };
    outcomes.max_by_key(rank).unwrap_or(Outcome::NotConfigured)
}

impl Asserted {
    pub(super) fn failed(question: &Assertion, reason: String) -> Asserted {
        Asserted {
            name: question.name.clone(),
            sql: question.sql.clone(),
            outcome: Outcome::Failed,
            detail: reason,
            answers: Vec::new(),
        }
    }

    pub(super) fn told(question: &Assertion, authority: Side, verdict: Verdict, seen: &Seen) -> Asserted {
        let (here, there) = seen.last().cloned().unwrap_or_default();
        let (outcome, detail) = match verdict {
            Verdict::Equal => (Outcome::Passed, format!("{} rows", here.len())),
            Verdict::Differs => (Outcome::Failed, "the answers differ".to_owned()),
            Verdict::Moving | Verdict::Again => (
                Outcome::Undecided,
                "the answers change faster than they can be asked; ask about rows that hold still".to_owned(),
            ),
        };
        let answers = if outcome == Outcome::Passed {
            Vec::new()
        } else {
            let only = |side: Side, all: &Answer, other: &Answer| {
                let rows = without(all, other);
                let shown = rows.iter().take(SHOWN).map(|row| row.iter().map(shown).collect()).collect();
                SideAnswer { side: side.name().to_owned(), count: rows.len(), rows: shown }
            };
            vec![only(authority, &here, &there), only(authority.other(), &there, &here)]
        };
        Asserted { name: question.name.clone(), sql: question.sql.clone(), outcome, detail, answers }
    }
}

/// The rows of one sorted answer that another has not got, as multisets.
fn without<'a>(all: &'a Answer, other: &Answer) -> Vec<&'a Vec<Option<Vec<u8>>>> {
    let mut other = other.iter().peekable();
    let is_alone = |row: &&Vec<Option<Vec<u8>>>| {
        while other.next_if(|next| next < row).is_some() {}
        other.next_if(|next| next == row).is_none()
    };
    all.iter().filter(is_alone).collect()
}

fn shown(value: &Option<Vec<u8>>) -> Option<String> {
    let value = value.as_ref()?;
    let start = &value[..value.len().min(SHOWN_BYTES)];
    let more = if start.len() < value.len() { "…" } else { "" };
    Some(format!("{}{more}", String::from_utf8_lossy(start)))
}

impl Times {
    pub(super) fn of(mut times: Vec<u64>) -> Times {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(rank).copied().unwrap_or(0)
        };
        Times { p50_us: at(50), p99_us: at(99) }
    }

    /// Is neither more than so many times the other's?
    pub(super) fn is_within(self, authority: Times, ratio_max: f64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "microseconds of a statement are far below 2^52")]
        let within = |authority: u64, other: u64| other as f64 <= ratio_max * (authority.max(1) as f64);
        within(authority.p50_us, self.p50_us) && within(authority.p99_us, self.p99_us)
    }
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = ALL.iter().filter(|check| self.outcome(**check) == Outcome::Passed).count();
        writeln!(
            f,
            "{passed} of {} checks passed; the {} is right by definition",
            ALL.len(),
            self.authority
        )?;
        for (number, check) in (1..).zip(ALL) {
            write!(f, "{number} {check}: {}; ", self.outcome(check))?;
            match check {
                Check::Count => write!(f, "{}", self.count)?,
                Check::Sample => write!(f, "{}", self.sample)?,
                Check::Hash => write!(f, "{}", self.hash)?,
                Check::Assertions => {
                    writeln!(f, "{} questions", self.assertions.len())?;
                    self.assertions.iter().try_for_each(|asserted| write!(f, "{asserted}"))?;
                }
                Check::Baseline => {
                    writeln!(f, "{} statements", self.baseline.len())?;
                    self.baseline.iter().try_for_each(|timed| write!(f, "{timed}"))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Asserted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}: {} ({})", self.name, self.outcome, self.detail)?;
        for answer in &self.answers {
            writeln!(f, "    only the {}: {} rows", answer.side, answer.count)?;
            for row in &answer.rows {
                let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
                writeln!(f, "      {}", values.join(" | "))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {}, ", self.outcome, self.sql)?;
        match &self.error {
            Some(error) => writeln!(f, "{error}"),
            None => {
                writeln!(f, "{} against {} (at most {} times)", self.other, self.authority, self.ratio_max)
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Count => "count",
            Check::Sample => "sample",
            Check::Assertions => "assertions",
            Check::Baseline => "baseline",
            Check::Hash => "hash",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Undecided => "undecided",
            Outcome::NotConfigured => "not configured",
        })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {} µs p99 {} µs", self.p50_us, self.p99_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        assert_eq!(Times::of((1..=100).collect()), Times { p50_us: 50, p99_us: 99 });
        assert_eq!(Times::of(vec![7]), Times { p50_us: 7, p99_us: 7 });
        assert_eq!(Times::of(Vec::new()), Times::default());
    }

    #[test]
    fn the_target_may_be_slower_up_to_the_ratio() {
        let times = |p50_us, p99_us| Times { p50_us, p99_us };
        assert!(times(150, 300).is_within(times(100, 200), 1.5));
        assert!(!times(151, 300).is_within(times(100, 200), 1.5));
        assert!(!times(100, 301).is_within(times(100, 200), 1.5));
    }

    #[test]
    fn a_differing_assertion_shows_what_only_one_side_answers() {
        let question = Assertion { name: "sum".into(), sql: "select".into() };
        let row = |value: &str| vec![Some(value.as_bytes().to_vec()), None];
        let mut seen = Seen::default();
        seen.read(vec![row("a"), row("c"), row("c")], vec![row("c"), row("d")]);
        let told = Asserted::told(&question, Side::Source, Verdict::Differs, &seen);
        let expected = "  sum: failed (the answers differ)\n    only the source: 2 rows\n      a | NULL\n      c | NULL\n\
                        \x20   only the target: 1 rows\n      d | NULL\n";
        assert_eq!(told.to_string(), expected);
        assert_eq!(Asserted::told(&question, Side::Source, Verdict::Equal, &seen).answers, []);
    }
}
