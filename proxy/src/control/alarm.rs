//! Raising alerts: what fires, and what is done about it.
//!
//! Whoever watches a move hands its samples in. A line in the log and a webhook are seen to here and never hold the
//! caller up; pausing the move is the caller's to do, because only it knows how.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use shardway_migration::alerts::{Alerts, Edge, FiringAlert, Raised, Sample};
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
    pub fn on(&self, rules: &[AlertRule], move_name: &str, sample: &Sample, now_ms: u64) -> Demand {
        let raised = self.lock().on(rules, move_name, sample, now_ms);
        let mut demand = Demand::Nothing;
        for raised in &raised {
            for action in &raised.rule.actions {
                match action {
                    Action::Log => log(raised),
                    Action::Pause if raised.edge == Edge::Fired => {
                        demand = Demand::Pause(format!("alert: {}", raised.rule.message));
                    }
                    Action::Pause => {}
                    Action::Webhook(url) => post(url.clone(), raised, now_ms),
                }
            }
        }
        demand
    }

    /// Somebody must know at once, whatever is measured: the log, and every webhook that the rules name.
    pub fn raise(&self, rules: &[AlertRule], move_name: &str, alert: &str, message: &str, now_ms: u64) {
        tracing::error!(move_name, alert, "alert: {message}");
        let urls = rules.iter().flat_map(|rule| &rule.actions).filter_map(|action| match action {
            Action::Webhook(url) => Some(url.clone()),
            Action::Log | Action::Pause => None,
        });
        for url in urls.collect::<std::collections::BTreeSet<_>>() {
            let document = json!({
                "move": move_name, "alert": alert, "level": Level::Critical.name(), "message": message,
                "value": "", "state": "firing", "at": now_ms / 1000,
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

fn post(url: String, raised: &Raised, now_ms: u64) {
    let document = json!({
        "move": raised.move_name,
        "alert": raised.rule.text,
        "level": raised.rule.level.name(),
        "message": raised.rule.message,
        "value": raised.value,
        "state": if raised.edge == Edge::Fired { "firing" } else { "cleared" },
        "at": now_ms / 1000,
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
        let sample = |lag: f64| Sample::default().with(Metric::SyncDelay, Reading::Is(lag));
        assert_eq!(
            alarm.on(&rules, "shop", &sample(61.0), 5_000),
            Demand::Pause("alert: too late".to_owned())
        );
        assert_eq!((alarm.firing_at(Level::Critical), alarm.firing("shop").len()), (1, 1));
        assert_eq!(alarm.on(&rules, "shop", &sample(1.0), 6_000), Demand::Nothing);
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
            "value": "61 s", "state": "firing", "at": 5,
        });
        assert_eq!(posted[0], expected);
        assert_eq!((&posted[1]["state"], &posted[1]["value"]), (&json!("cleared"), &json!("1 s")));
    }
}
