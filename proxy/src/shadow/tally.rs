//! What shadow reads have shown, by kind of statement.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shardway_migration::report::{ShadowLatency, ShadowReport, ShadowSample, ShadowStatement};

use crate::latency::{Counts, Latency};

/// Kinds of statements that are listed.
const KINDS_MAX: usize = 500;
/// Reasons that are told apart.
const REASONS_MAX: usize = 50;

/// How one read went.
#[derive(Debug, Clone, PartialEq)]
pub enum Ran {
    Equal,
    Different(ShadowSample),
    /// The other side refuses it, or fails where the authority does not.
    Broken(ShadowSample),
}

/// Counts of one move.
#[derive(Debug, Default)]
pub struct Tally {
    inside: Mutex<Inside>,
    /// The side that owns writes, and the other one.
    pub authority: Latency,
    pub other: Latency,
}

#[derive(Debug, Default)]
struct Inside {
    kinds: BTreeMap<String, Kind>,
    skipped: BTreeMap<String, u64>,
    unlisted: u64,
    all: Counted,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    equal: u64,
    different: u64,
    broken: u64,
}

#[derive(Debug, Default)]
struct Kind {
    counted: Counted,
    sample: Option<ShadowSample>,
    authority: Latency,
    other: Latency,
}

impl Tally {
    /// A read was not compared.
    pub fn skip(&self, why: &str) {
        let mut inside = self.lock();
        let is_told = inside.skipped.contains_key(why) || inside.skipped.len() < REASONS_MAX;
        *inside.skipped.entry(if is_told { why } else { "other" }.to_owned()).or_insert(0) += 1;
    }

    /// A read was compared; `took` is how long the authority and the other side took.
    pub fn note(&self, fingerprint: &str, ran: Ran, took: (Duration, Duration)) {
        self.authority.record(took.0);
        self.other.record(took.1);
        let mut inside = self.lock();
        inside.all.add(&ran);
        if !inside.kinds.contains_key(fingerprint) && inside.kinds.len() >= KINDS_MAX {
            inside.unlisted += 1;
            return;
        }
        let kind = inside.kinds.entry(fingerprint.to_owned()).or_default();
        kind.counted.add(&ran);
        kind.authority.record(took.0);
        kind.other.record(took.1);
        if let Ran::Different(sample) | Ran::Broken(sample) = ran {
            kind.sample = Some(sample);
        }
    }

    /// Reads that were compared, by outcome: equal, different, broken.
    #[must_use]
    pub fn compared(&self) -> [(&'static str, u64); 3] {
        let all = self.lock().all;
        [("equal", all.equal), ("different", all.different), ("broken", all.broken)]
    }

    /// Reads that the other side answered differently, or not at all.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        let all = self.lock().all;
        all.different + all.broken
    }

    /// Everything; `None` when there is nothing and nothing is to come.
    #[must_use]
    pub fn report(&self, share: f64) -> Option<ShadowReport> {
        let inside = self.lock();
        let is_idle = inside.kinds.is_empty() && inside.skipped.is_empty();
        if share == 0.0 && is_idle {
            return None;
        }
        let mut statements: Vec<ShadowStatement> =
            inside.kinds.iter().map(|(fingerprint, kind)| kind.report(fingerprint)).collect();
        statements.sort_by_key(|of| std::cmp::Reverse((of.broken + of.different, of.equal)));
        Some(ShadowReport {
            share,
            equal: inside.all.equal,
            different: inside.all.different,
            broken: inside.all.broken,
            skipped: inside.skipped.clone(),
            authority: latency(&self.authority.counts()),
            other: latency(&self.other.counts()),
            statements,
            unlisted: inside.unlisted,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn add(&mut self, ran: &Ran) {
        match ran {
            Ran::Equal => self.equal += 1,
            Ran::Different(_) => self.different += 1,
            Ran::Broken(_) => self.broken += 1,
        }
    }
}

impl Kind {
    fn report(&self, fingerprint: &str) -> ShadowStatement {
        ShadowStatement {
            statement: fingerprint.to_owned(),
            equal: self.counted.equal,
            different: self.counted.different,
            broken: self.counted.broken,
            sample: self.sample.clone(),
            authority: latency(&self.authority.counts()),
            other: latency(&self.other.counts()),
        }
    }
}

fn latency(of: &Counts) -> ShadowLatency {
    let ms = |share| of.quantile(share).map_or(0.0, |took| took.as_secs_f64() * 1000.0);
    let counted = of.octaves().into_iter().filter(|(_, count)| *count > 0);
    let histogram = counted.map(|(end_s, count)| (end_s.min(1e6) * 1000.0, count)).collect();
    ShadowLatency { p50_ms: ms(0.5), p95_ms: ms(0.95), p99_ms: ms(0.99), histogram }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_and_lists_are_bounded() {
        let tally = Tally::default();
        assert_eq!(tally.report(0.0), None);
        let took = (Duration::from_millis(1), Duration::from_millis(2));
        for number in 0..KINDS_MAX + 5 {
            tally.note(&format!("SELECT {number}"), Ran::Equal, took);
        }
        let sample = ShadowSample { sql: "x".into(), ..ShadowSample::default() };
        tally.note("SELECT 3", Ran::Different(sample.clone()), took);
        for reason in 0..REASONS_MAX + 5 {
            tally.skip(&format!("reason {reason}"));
        }
        let report = tally.report(5.0).expect("a report");
        assert_eq!((report.equal, report.different, report.unlisted), (KINDS_MAX as u64 + 5, 1, 5));
        let first = &report.statements[0];
        assert_eq!(
            (first.statement.as_str(), first.different, &first.sample),
            ("SELECT 3", 1, &Some(sample))
        );
        assert!(first.other.p50_ms >= 2.0 && first.authority.p50_ms < 2.0);
        let counted = |of: &ShadowLatency| of.histogram.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!([counted(&report.authority), counted(&first.other)], [KINDS_MAX as u64 + 6, 2]);
        assert!(report.other.histogram[0].0 >= 2.0 && report.authority.histogram[0].0 < 2.0);
        assert_eq!(report.skipped.len(), REASONS_MAX + 1);
        assert_eq!(report.skipped["other"], 5);
    }
}
