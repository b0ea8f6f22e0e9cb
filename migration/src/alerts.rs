//! When an alert fires, and when it clears. Pure: measurements and the time are passed in.
//!
//! - A condition must hold for the rule's `for` before the alert fires, and be false for as long before it clears, so
//!   two edges of an alert are never closer than that.
//! - A metric that has nothing to measure ([`Reading::NotNow`]) makes its condition false: a finished copy is not a
//!   slow one.
//! - A metric that should be known and is not leaves the alert as it is, and its time goes on; except where the list of
//!   metrics says that it counts as too much ([`Unknown::TooMuch`]): then it is taken for endless.
//!
//! Nothing is done here: who asks gets the edges and the rule's actions. States live in memory; after a restart every
//! alert starts quiet and fires anew.

pub mod own;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::settings::metric::{ALL, Metric, Unknown};
use crate::settings::{AlertRule, Level};

/// Everything measured of a move at one time. What is not there is [`Reading::NotNow`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    readings: BTreeMap<Metric, Reading>,
}

impl Sample {
    /// Of every metric, what `measured` says of it.
    #[must_use]
    pub fn of(measured: impl Fn(Metric) -> Reading) -> Sample {
        Sample { readings: ALL.iter().map(|meter| (meter.metric, measured(meter.metric))).collect() }
    }

    /// The same with one more reading.
    #[must_use]
    pub fn with(mut self, metric: Metric, reading: Reading) -> Sample {
        self.readings.insert(metric, reading);
        self
    }

    #[must_use]
    pub fn get(&self, metric: Metric) -> Reading {
        self.readings.get(&metric).copied().unwrap_or_default()
    }
}

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// By a clock that never goes back, from whenever it began: how long something lasts is told by it.
    pub steady_ms: u64,
    /// Seconds since 1970, which people are told.
    pub unix_s: u64,
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Fired,
    Cleared,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Quiet,
    Firing,
}

/// Where one alert stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertState {
    stand: Stand,
    /// Since when the condition says the opposite.
    turning_since_ms: Option<u64>,
}

impl AlertState {
    /// Takes a sample in. Times never go back; one that does counts as the same time.
    pub fn on(&mut self, rule: &AlertRule, sample: &Sample, now_ms: u64) -> Option<Edge> {
        let wanted = match is_true(rule, sample.get(rule.when.metric))? {
            true => Stand::Firing,
            false => Stand::Quiet,
        };
        if wanted == self.stand {
            self.turning_since_ms = None;
            return None;
        }
        let since = *self.turning_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) < rule.hold_ms {
            return None;
        }
        *self = AlertState { stand: wanted, turning_since_ms: None };
        Some(if wanted == Stand::Firing { Edge::Fired } else { Edge::Cleared })
    }

    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.stand == Stand::Firing
    }
}

/// `None`: nobody knows.
fn is_true(rule: &AlertRule, reading: Reading) -> Option<bool> {
    match (reading, rule.when.metric.meter().unknown) {
        (Reading::Is(value), _) => Some(rule.when.holds(value)),
        (Reading::NotNow, _) => Some(false),
        (Reading::Unknown, Unknown::TooMuch) => Some(rule.when.holds(f64::INFINITY)),
        (Reading::Unknown, Unknown::KeepsState) => None,
    }
}

/// The alerts of all moves.
#[derive(Debug, Default)]
pub struct Alerts {
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    move_name: String,
    rule: AlertRule,
    state: AlertState,
    /// Seconds since 1970.
    fired_s: u64,
    value: Reading,
}

/// An alert that fired or cleared just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    pub move_name: String,
    pub rule: AlertRule,
    pub edge: Edge,
    /// What was measured, with its unit.
    pub value: String,
    /// Seconds since 1970.
    pub at: u64,
}

/// An alert that fires, as the status shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FiringAlert {
    /// The condition, as the rules write it.
    pub alert: String,
    pub level: String,
    pub message: String,
    /// What was measured last, with its unit.
    pub value: String,
    /// Seconds since 1970.
    pub since: u64,
}

impl Alerts {
    /// Takes a sample of a move in, under its rules in force. An alert that they no longer have clears.
    pub fn on(&mut self, rules: &[AlertRule], move_name: &str, sample: &Sample, now: Moment) -> Vec<Raised> {
        let mut raised = self.without(move_name, |rule| rules.contains(rule), "the rule has gone", now);
        for rule in rules {
            let watched = self.watched(rule, move_name);
            watched.value = sample.get(rule.when.metric);
            let Some(edge) = watched.state.on(rule, sample, now.steady_ms) else { continue };
            watched.fired_s = now.unix_s;
            let (value, at) = (shown(rule, watched.value), now.unix_s);
            raised.push(Raised { move_name: move_name.to_owned(), rule: rule.clone(), edge, value, at });
        }
        raised
    }

    /// The alerts of a move that fire, the gravest first.
    #[must_use]
    pub fn firing(&self, move_name: &str) -> Vec<FiringAlert> {
        let mut firing: Vec<&Watched> = self
            .watched
            .iter()
            .filter(|watched| watched.move_name == move_name && watched.state.is_firing())
            .collect();
        firing.sort_by_key(|watched| std::cmp::Reverse(watched.rule.level));
        let shown = |watched: &Watched| FiringAlert {
            alert: watched.rule.text.clone(),
            level: watched.rule.level.name().to_owned(),
            message: watched.rule.message.clone(),
            value: shown(&watched.rule, watched.value),
            since: watched.fired_s,
        };
        firing.into_iter().map(shown).collect()
    }

    /// How many fire at this level, over all moves.
    #[must_use]
    pub fn firing_at(&self, level: Level) -> usize {
        let counted = |watched: &&Watched| watched.state.is_firing() && watched.rule.level == level;
        self.watched.iter().filter(counted).count()
    }

    /// A move that the rules no longer have: its alerts clear.
    pub fn forget(&mut self, move_name: &str, now: Moment) -> Vec<Raised> {
        self.without(move_name, |_| false, "the move has gone", now)
    }

    /// Takes alerts of a move out. Those that fired clear.
    fn without(
        &mut self,
        move_name: &str,
        stays: impl Fn(&AlertRule) -> bool,
        why: &str,
        now: Moment,
    ) -> Vec<Raised> {
        let gone = self.watched.extract_if(.., |of| of.move_name == move_name && !stays(&of.rule));
        let cleared = |Watched { move_name, rule, .. }| {
            let (value, at) = (why.to_owned(), now.unix_s);
            Raised { move_name, rule, edge: Edge::Cleared, value, at }
        };
        gone.filter(|of| of.state.is_firing()).map(cleared).collect()
    }

    fn watched(&mut self, rule: &AlertRule, move_name: &str) -> &mut Watched {
        let is_it = |watched: &Watched| watched.move_name == move_name && watched.rule == *rule;
        let at = self.watched.iter().position(is_it).unwrap_or_else(|| {
            self.watched.push(Watched {
                move_name: move_name.to_owned(),
                rule: rule.clone(),
                state: AlertState::default(),
                fired_s: 0,
                value: Reading::NotNow,
            });
            self.watched.len() - 1
        });
        &mut self.watched[at]
    }
}

fn shown(rule: &AlertRule, reading: Reading) -> String {
    match reading {
        Reading::Is(value) => rule.when.metric.meter().quantity.show(value),
        Reading::Unknown => "unknown".to_owned(),
        Reading::NotNow => "nothing to measure".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

    use super::*;
    use crate::settings::{Action, Condition};

    fn rule(when: &str, hold_ms: u64) -> AlertRule {
        AlertRule {
            when: Condition::parse(when).unwrap(),
            text: when.to_owned(),
            hold_ms,
            level: Level::Warning,
            message: when.to_owned(),
            actions: vec![Action::Log],
        }
    }

    fn sample(rule: &AlertRule, reading: Reading) -> Sample {
        Sample::default().with(rule.when.metric, reading)
    }

    /// The edges that readings make, one a second, with their second.
    fn edges(rule: &AlertRule, readings: &[Reading]) -> Vec<(usize, Edge)> {
        let mut state = AlertState::default();
        let on = |(second, reading): (usize, &Reading)| {
            let edge = state.on(rule, &sample(rule, *reading), second as u64 * 1000)?;
            Some((second, edge))
        };
        readings.iter().enumerate().filter_map(on).collect()
    }

    const HIGH: Reading = Reading::Is(100.0);
    const LOW: Reading = Reading::Is(1.0);

    #[test]
    fn a_condition_fires_and_clears_after_its_time() {
        let rule = rule("sync_delay > 60 s", 2000);
        assert_eq!(edges(&rule, &[HIGH, HIGH, LOW, HIGH, HIGH, HIGH]), [(5, Edge::Fired)]);
        let readings = [HIGH, HIGH, HIGH, LOW, HIGH, LOW, LOW, LOW, LOW];
        assert_eq!(edges(&rule, &readings), [(2, Edge::Fired), (7, Edge::Cleared)]);
    }

    #[test]
    fn without_a_time_the_first_sample_decides() {
        let rule = rule("missing_rows > 0", 0);
        assert_eq!(edges(&rule, &[HIGH, Reading::Is(0.0)]), [(0, Edge::Fired), (1, Edge::Cleared)]);
    }

    #[test]
    fn an_unknown_delay_is_too_long() {
        let rule = rule("sync_delay > 60 s", 1000);
        assert_eq!(edges(&rule, &[LOW, Reading::Unknown, Reading::Unknown]), [(2, Edge::Fired)]);
    }

    #[test]
    fn an_unknown_share_of_processor_time_changes_nothing() {
        let rule = rule("cpu_usage > 90 %", 1000);
        assert_eq!(edges(&rule, &[LOW, Reading::Unknown, Reading::Unknown]), []);
        let firing = [HIGH, HIGH, Reading::Unknown, Reading::Unknown, Reading::Unknown];
        assert_eq!(edges(&rule, &firing), [(1, Edge::Fired)]);
    }

    #[test]
    fn a_copy_that_does_not_run_is_not_slow() {
        let rule = rule("progress_speed < 1000 rows/min", 0);
        assert_eq!(
            edges(&rule, &[Reading::NotNow, LOW, Reading::NotNow]),
            [(1, Edge::Fired), (2, Edge::Cleared)]
        );
    }

    #[test]
    fn firing_alerts_are_listed_by_move_until_they_clear_or_their_rule_goes() {
        let rules =
            [rule("dirty_keys > 5", 0), AlertRule { level: Level::Critical, ..rule("sync_delay > 60 s", 0) }];
        let mut alerts = Alerts::default();
        let bad = Sample::default().with(Metric::DirtyKeys, HIGH).with(Metric::SyncDelay, Reading::Unknown);
        let at = |unix_s: u64| Moment { steady_ms: (unix_s - 1_700_000_000) * 1_000, unix_s };
        let raised = alerts.on(&rules, "shop", &bad, at(1_700_000_005));
        assert_eq!(raised.iter().map(|raised| raised.at).collect::<Vec<_>>(), [1_700_000_005; 2]);
        let values: Vec<&str> = raised.iter().map(|raised| raised.value.as_str()).collect();
        assert_eq!(values, ["100 keys", "unknown"]);
        assert!(alerts.on(&rules, "shop", &bad, at(1_700_000_006)).is_empty());
        assert!(alerts.on(&rules, "other", &Sample::default(), at(1_700_000_006)).is_empty());
        let firing = alerts.firing("shop");
        let shown: Vec<(&str, &str, u64)> =
            firing.iter().map(|alert| (alert.alert.as_str(), alert.level.as_str(), alert.since)).collect();
        let since = 1_700_000_005;
        assert_eq!(shown, [("sync_delay > 60 s", "critical", since), ("dirty_keys > 5", "warning", since)]);
        assert!(alerts.firing("other").is_empty());
        assert_eq!((alerts.firing_at(Level::Warning), alerts.firing_at(Level::Critical)), (1, 1));
        let cleared = alerts.on(&rules[1..], "shop", &bad, at(1_700_000_007));
        let edges: Vec<_> = cleared.iter().map(|raised| (raised.edge, raised.value.as_str())).collect();
        assert_eq!(edges, [(Edge::Cleared, "the rule has gone")]);
        let edited = [AlertRule { message: "call somebody".into(), ..rules[1].clone() }];
        let told = alerts.on(&edited, "shop", &bad, at(1_700_000_008));
        let edges: Vec<_> = told.iter().map(|raised| (raised.edge, raised.rule.message.as_str())).collect();
        assert_eq!(edges, [(Edge::Cleared, "sync_delay > 60 s"), (Edge::Fired, "call somebody")]);
        assert_eq!(alerts.firing_at(Level::Warning), 0);
        let forgotten = alerts.forget("shop", at(1_700_000_009));
        assert_eq!(forgotten.iter().map(|raised| raised.edge).collect::<Vec<_>>(), [Edge::Cleared]);
        assert!(alerts.watched.iter().all(|watched| watched.move_name == "other"));
    }

    #[test]
    fn a_failure_is_told_with_its_reason_and_cleared_when_the_move_goes_on() {
        let mut alerts = Alerts::default();
        let mut seen = Vec::new();
        for (reason, reading) in [("away", 1.0), ("away", 0.0), ("full", 1.0), ("full", 1.0), ("full", 0.0)] {
            let sample = Sample::default().with(Metric::Failed, Reading::Is(reading));
            let raised = alerts.on(&[own::failed(reason)], "shop", &sample, Moment::default());
            seen.extend(raised.into_iter().map(|raised| (raised.edge, raised.rule.message)));
        }
        let told = |reason: &str| format!("the move has stopped and needs a person: {reason}");
        let expected = [
            (Edge::Fired, told("away")),
            (Edge::Cleared, told("away")),
            (Edge::Fired, told("full")),
            (Edge::Cleared, told("full")),
        ];
        assert_eq!(seen, expected);
    }

    fn readings() -> impl Strategy<Value = Vec<(u64, Reading)>> {
        let reading = prop_oneof![Just(HIGH), Just(LOW), Just(Reading::Unknown), Just(Reading::NotNow)];
        prop::collection::vec((0_u64..3_000, reading), 0..80)
    }

    proptest! {
        #[test]
        fn edges_alternate_and_are_never_closer_than_the_time_of_the_rule(
            readings in readings(), hold_ms in 0_u64..5_000, lag in prop::bool::ANY,
        ) {
            let rule = rule(if lag { "sync_delay > 60 s" } else { "dirty_keys > 60" }, hold_ms);
            let (mut state, mut now) = (AlertState::default(), 0);
            let (mut last, mut last_at) = (Edge::Cleared, None);
            for (step, reading) in readings {
                now += step;
                let Some(edge) = state.on(&rule, &sample(&rule, reading), now) else { continue };
                assert_ne!(edge, last);
                assert!(last_at.is_none_or(|at| now - at >= hold_ms) && now >= hold_ms);
                assert_eq!(state.is_firing(), edge == Edge::Fired);
                (last, last_at) = (edge, Some(now));
            }
        }

        #[test]
        fn a_condition_that_stays_decides_in_the_end(readings in readings(), hold_ms in 0_u64..5_000) {
            let rule = rule("dirty_keys > 60", hold_ms);
            for (settled, expected) in [(HIGH, true), (LOW, false)] {
                let (mut state, mut now) = (AlertState::default(), 0);
                for (step, reading) in &readings {
                    now += step;
                    state.on(&rule, &sample(&rule, *reading), now);
                }
                state.on(&rule, &sample(&rule, settled), now);
                state.on(&rule, &sample(&rule, settled), now + hold_ms);
                assert_eq!(state.is_firing(), expected);
            }
        }
    }
}
