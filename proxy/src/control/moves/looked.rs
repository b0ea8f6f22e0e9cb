//! What a look at a move has shown, as a sample for its alerts. Pure.

use shardway_migration::alerts::{self, Sample};
use shardway_migration::phase::{Phase, State};
use shardway_migration::progress::Rate;
use shardway_migration::reading::Reading;
use shardway_migration::report::LastVerify;
use shardway_migration::settings::AlertRule;
use shardway_migration::settings::metric::Metric;
use shardway_routing::topology::{Move, Seen, Side};

use super::around::Around;
use super::{MoveState, Streams};
use crate::dirty::Extent;

/// Everything that is measured of a move at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    pub around: Around,
    pub copy: Copying,
    /// Seconds.
    pub lag_s: Reading,
    /// Changes a second.
    pub applied_per_s: Reading,
    /// Attempts a second.
    pub failures_per_s: Reading,
    pub verified: Option<LastVerify>,
    pub dirty: Extent,
    pub latency_ms: Reading,
    pub headroom_s: Reading,
    pub shadow_mismatches: Reading,
    pub failed: Reading,
    /// Seconds.
    pub stream_away_s: Reading,
}

/// What is measured of a copy, while one runs and does not rest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copying {
    pub rows_per_s: Reading,
    /// Seconds without a row, also of a comparison.
    pub still_s: Reading,
}

impl Copying {
    /// Where no copy runs, something else may stand still.
    pub(super) fn or_still(self, other_s: Reading) -> Copying {
        let still_s = if self.still_s == Reading::NotNow { other_s } else { self.still_s };
        Copying { still_s, ..self }
    }
}

impl Looked {
    /// A metric that is not among these is one that nobody measures: the compiler asks for it.
    pub(super) fn sample(&self) -> Sample {
        Sample::of(|metric| match metric {
            Metric::ProgressSpeed => self.copy.rows_per_s,
            Metric::NoProgressFor => self.copy.still_s,
            Metric::SyncDelay => self.lag_s,
            Metric::ApplyRate => self.applied_per_s,
            Metric::ErrorRate => self.failures_per_s,
            Metric::InconsistencyRate => self.of_verify(|verified| {
                Some(verified.different as f64 / verified.checked.max(1) as f64 * 100.0)
            }),
            Metric::MissingRows => self.of_verify(|verified| verified.missing.map(|rows| rows as f64)),
            Metric::DirtyKeys => Reading::Is(self.dirty.keys as f64),
            Metric::DirtyAge => Reading::Is(self.dirty.oldest.map_or(0.0, |age| age.as_secs_f64())),
            Metric::ReplicaLag => self.around.replica_lag,
            Metric::ThreadsRunning => self.around.threads,
            Metric::HistoryLength => self.around.history,
            Metric::StatementLatency => {
                self.latency_ms.value().map_or(self.latency_ms, |ms| Reading::Is(ms / 1_000.0))
            }
            Metric::CpuUsage => self.around.cpu,
            Metric::DiskFree => self.around.disk,
            Metric::BinlogHeadroom => self.headroom_s,
            Metric::ShadowMismatches => self.shadow_mismatches,
            Metric::Failed => self.failed,
            Metric::StreamAwayFor => self.stream_away_s,
        })
    }

    fn of_verify(&self, of: impl Fn(&LastVerify) -> Option<f64>) -> Reading {
        self.verified.as_ref().map_or(Reading::NotNow, |verified| of(verified).into())
    }
}

/// Counters of failed attempts, each of which begins anew now and then.
#[derive(Debug, Default)]
pub(super) struct Failures {
    seen: [u64; 3],
    total: u64,
    rate: Rate,
}

impl Failures {
    /// Takes the counters in and says how many attempts fail a second.
    pub(super) fn per_s(&mut self, counters: [u64; 3], now_ms: u64) -> Reading {
        for (before, now) in std::mem::replace(&mut self.seen, counters).into_iter().zip(counters) {
            self.total += if now < before { now } else { now - before };
        }
        self.rate.on(self.total, now_ms);
        self.rate.per_s().into()
    }
}

/// For how long a stream of the move has not been followed.
#[derive(Debug, Default)]
pub(super) struct NotFollowed {
    since_ms: Option<u64>,
    waits_for: Option<String>,
}

impl NotFollowed {
    /// Seconds, from what the streams wait for.
    pub(super) fn look(&mut self, streams: Option<&Streams>, now_ms: u64) -> Reading {
        let Some(streams) = streams else {
            self.since_ms = None;
            return Reading::NotNow;
        };
        if streams.waits_for.is_none() {
            self.since_ms = None;
            return Reading::Is(0.0);
        }
        self.waits_for.clone_from(&streams.waits_for);
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        Reading::Is(now_ms.saturating_sub(since_ms) as f64 / 1_000.0)
    }

    /// The alert that every move has one of whose streams was not followed.
    pub(super) fn rule(&self) -> Option<AlertRule> {
        self.waits_for.as_deref().map(alerts::own::not_followed)
    }
}

/// Is a stream of the move to be followed, or was one until it was lost? Then a delay that nobody measures is not none.
pub(super) fn is_to_be_followed(of: &Move, known: &MoveState) -> bool {
    let phase = known.state.phase();
    let begins_anew = matches!(phase, Phase::Preflight | Phase::Prepare | Phase::Capture);
    let lost = (begins_anew && !known.starts.is_empty()).then_some(Side::Source);
    let mut followed = phase.follows().iter().copied().chain(lost);
    followed.any(|side| of.capture.seen(side) != Seen::Not)
}

/// 1 when it has.
pub(super) fn has_failed(state: &State) -> Reading {
    Reading::Is(if state.needs_a_person().is_some() { 1.0 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardway_migration::settings::metric::ALL;
    use shardway_migration::throttle::Check;

    use super::*;

    #[test]
    fn every_metric_shows_what_was_measured() {
        let is = Reading::Is;
        let verified = LastVerify { checked: 100, different: 6, missing: Some(7), ..LastVerify::default() };
        let looked = Looked {
            around: Around {
                threads: is(11.0),
                history: is(12.0),
                replica_lag: is(10.0),
                cpu: is(14.0),
                disk: is(15.0),
                check: Check::Go,
            },
            copy: Copying { rows_per_s: is(1.0), still_s: is(2.0) },
            lag_s: is(3.0),
            applied_per_s: is(4.0),
            failures_per_s: is(5.0),
            verified: Some(verified),
            dirty: Extent { keys: 8, oldest: Some(Duration::from_secs(9)) },
            latency_ms: is(13_000.0),
            headroom_s: is(16.0),
            shadow_mismatches: is(17.0),
            failed: is(18.0),
            stream_away_s: is(19.0),
        };
        let sample = looked.sample();
        let readings: Vec<Reading> = ALL.iter().map(|meter| sample.get(meter.metric)).collect();
        let expected: Vec<Reading> = (1..=ALL.len()).map(|number| is(number as f64)).collect();
        assert_eq!(readings, expected);
    }

    #[test]
    fn failures_of_every_kind_count_and_a_counter_that_begins_anew_takes_none_back() {
        let mut failures = Failures::default();
        let counters = [[3, 0, 0], [4, 0, 0], [1, 2, 0], [1, 2, 1]];
        let seen: Vec<u64> = (0..)
            .zip(counters)
            .map(|(second, counters)| {
                failures.per_s(counters, second * 1_000);
                failures.total
            })
            .collect();
        assert_eq!(seen, [3, 4, 7, 8]);
        assert!(failures.rate.per_s().is_some_and(|rate| (1.0..3.0).contains(&rate)));
    }

    #[test]
    fn what_an_older_comparison_did_not_count_is_unknown_and_not_zero() {
        let of = |verified| Looked { verified, ..Looked::default() }.sample().get(Metric::MissingRows);
        assert_eq!(of(None), Reading::NotNow);
        assert_eq!(of(Some(LastVerify::default())), Reading::Unknown);
    }

    #[test]
    fn a_stream_is_away_from_the_first_look_that_finds_it_so() {
        let streams = |waits_for: Option<&str>| Streams {
            tails: Vec::new(),
            lag: None,
            arrived: None,
            waits_for: waits_for.map(str::to_owned),
        };
        let (followed, away) = (streams(None), streams(Some("the stream of 1.2.3.4:3306: away")));
        let mut of = NotFollowed::default();
        assert_eq!((of.look(None, 0), of.look(Some(&followed), 1_000)), (Reading::NotNow, Reading::Is(0.0)));
        assert!(of.rule().is_none());
        assert_eq!(of.look(Some(&away), 2_000), Reading::Is(0.0));
        assert_eq!(of.look(Some(&away), 5_500), Reading::Is(3.5));
        assert!(of.rule().is_some_and(|rule| rule.message.contains("1.2.3.4:3306")));
        assert_eq!(of.look(Some(&followed), 6_000), Reading::Is(0.0));
        assert_eq!(of.look(Some(&away), 7_000), Reading::Is(0.0));
        assert!(of.rule().is_some(), "so that it clears");
    }
}
