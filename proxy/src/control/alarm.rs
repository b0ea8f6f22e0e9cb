//! Raising alerts: what fires, and what is done about it.
//!
//! Whoever watches a move hands its samples in. A line in the log and a webhook are seen to here and never hold the
//! caller up; pausing the move is the caller's to do, because only it knows how.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use shardway_migration::alerts::{Alerts, Edge, FiringAlert, Moment, Raised, Sample};
use shardway_migration::backoff::Backoff;
use shardway_migration::settings::{Action, AlertRule, Level};

use super::webhook;

/// Tries of a webhook after the first: about two minutes.
const TRIES: u32 = 7;

/// The alerts of this process.
#[derive(Debug, Default)]
pub struct Alarm {
    alerts: Mutex<Alerts>,
}

/// What a move must do because of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    /// Pause, for this reason.
    Pause(String),
}

impl Alarm {
    /// Takes a sample of a move in, under the rules in force. Must be called inside a runtime.
    pub fn on(&self, rules: &[AlertRule], move_name: &str, sample: &Sample, now: Moment) -> Demand {
        let raised = self.lock().on(rules, move_name, sample, now);
        let mut demand = Demand::Nothing;
        for raised in &raised {
            for action in &raised.rule.actions {
                match action {
                    Action::Log => log(raised),
                    Action::Pause if raised.edge == Edge::Fired => {
                        demand = Demand::Pause(format!("alert: {}", raised.rule.message));
                    }
                    Action::Pause => {}
                    Action::Webhook(url) => post(url.clone(), raised),
                }
            }
        }
        demand
    }

    /// Somebody must know at once, whatever is measured: the log, and every webhook that the rules name. `at` is in seconds
    /// since 1970.
    pub fn raise(&self, rules: &[AlertRule], move_name: &str, alert: &str, message: &str, at: u64) {
        tracing::error!(move_name, alert, "alert: {message}");
        for url in webhooks(rules) {
            let document = json!({
                "move": move_name, "alert": alert, "level": Level::Critical.name(), "message": message,
                "value": "", "state": "firing", "at": at,
            });
            deliver(url, document);
        }
    }

    /// The alerts of a move that fire.
    #[must_use]
    pub fn firing(&self, move_name: &str) -> Vec<FiringAlert> {
        self.lock().firing(move_name)
    }

    /// How many fire at this level, over all moves.
    #[must_use]
    pub fn firing_at(&self, level: Level) -> usize {
        self.lock().firing_at(level)
    }

    /// A move that the rules no longer have.
    pub fn forget(&self, move_name: &str) {
        self.lock().forget(move_name);
    }

    fn lock(&self) -> MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every webhook that the rules name, once.
fn webhooks(rules: &[AlertRule]) -> BTreeSet<String> {
    let urls = rules.iter().flat_map(|rule| &rule.actions).filter_map(|action| match action {
        Action::Webhook(url) => Some(url.clone()),
        Action::Log | Action::Pause => None,
    });
    urls.collect()
}

/// The rules that people have written, and those that nobody has to write: these tell every webhook of the others.
#[must_use]
pub fn with_own(rules: &[AlertRule], own: impl IntoIterator<Item = AlertRule>) -> Vec<AlertRule> {
    let told = own.into_iter().map(|mut rule| {
        rule.actions.extend(webhooks(rules).into_iter().map(Action::Webhook));
        rule
    });
    rules.iter().cloned().chain(told).collect()
}

fn log(raised: &Raised) {
    let Raised { move_name, rule, value, .. } = raised;
    match (raised.edge, rule.level) {
        (Edge::Cleared, _) => tracing::info!(move_name, alert = rule.text, value, "alert cleared"),
        (Edge::Fired, Level::Warning) => {
            tracing::warn!(move_name, alert = rule.text, value, "alert: {}", rule.message);
        }
        (Edge::Fired, Level::Critical) => {
            tracing::error!(move_name, alert = rule.text, value, "alert: {}", rule.message);
        }
    }
}

fn post(url: String, raised: &Raised) {
    let document = json!({
        "move": raised.move_name,
        "alert": raised.rule.text,
        "level": raised.rule.level.name(),
        "message": raised.rule.message,
        "value": raised.value,
        "state": if raised.edge == Edge::Fired { "firing" } else { "cleared" },
        "at": raised.at,
    });
    deliver(url, document);
}

fn deliver(url: String, document: serde_json::Value) {
    tokio::spawn(async move {
        if let Err(error) = webhook::deliver(&url, &document, Backoff::new(TRIES)).await {
            tracing::error!(url, error, %document, "an alert could not be delivered");
        }
    });
}

#[cfg(test)]
mod tests {
    use shardway_migration::reading::Reading;
    use shardway_migration::settings;
    use shardway_migration::settings::metric::Metric;

    use super::*;
    use crate::control::canned;

    #[tokio::test]
    async fn an_alert_is_posted_when_it_fires_and_clears_and_may_pause_the_move() {
        let (url, requests) = canned::serve(vec![(200, ""), (200, "")]);
        let text = format!(
            "[[alerts]]\nwhen = \"sync_delay > 60 s\"\nlevel = \"critical\"\nmessage = \"too late\"\n\
             actions = [\"log\", \"pause\", {{ webhook = \"{url}\" }}]"
        );
        let rules = settings::load(&text).unwrap().alerts;
        let alarm = Alarm::default();
        let at = |second: u64| Moment { steady_ms: second * 1_000, unix_s: 1_700_000_000 + second };
        let sample = |lag: f64| Sample::default().with(Metric::SyncDelay, Reading::Is(lag));
        assert_eq!(
            alarm.on(&rules, "shop", &sample(61.0), at(5)),
            Demand::Pause("alert: too late".to_owned())
        );
        assert_eq!((alarm.firing_at(Level::Critical), alarm.firing("shop").len()), (1, 1));
        assert_eq!(alarm.on(&rules, "shop", &sample(1.0), at(6)), Demand::Nothing);
        assert_eq!(alarm.firing_at(Level::Warning), 0);
        let posted = tokio::task::spawn_blocking(move || {
            let mut posted: Vec<serde_json::Value> =
                requests.iter().take(2).map(|(_, body)| serde_json::from_str(&body).unwrap()).collect();
            posted.sort_by_key(|document| document["at"].as_u64());
            posted
        });
        let posted = posted.await.unwrap();
        let expected = json!({
            "move": "shop", "alert": "sync_delay > 60 s", "level": "critical", "message": "too late",
            "value": "61 s", "state": "firing", "at": 1_700_000_005_u64,
        });
        assert_eq!(posted[0], expected);
        assert_eq!((&posted[1]["state"], &posted[1]["value"]), (&json!("cleared"), &json!("1 s")));
    }
}
