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
#[cfg(test)]
mod tests;

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
