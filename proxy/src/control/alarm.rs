//! Raising alerts: what fires, and what is done about it.
//!
//! Whoever watches a move hands its samples in. A line in the log and a webhook are seen to here and never hold the
//! caller up; pausing the move is the caller's to do, because only it knows how. What an address is told of one alert comes
//! in the order in which it happened, however long a document takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use shardway_migration::alerts::{Alerts, Edge, FiringAlert, Moment, Raised, Sample};
use shardway_migration::backoff::Backoff;
use shardway_migration::settings::{Action, AlertRule, Level};
use tokio::sync::mpsc;

use super::webhook;

/// Tries of a webhook after the first: about two minutes.
const TRIES: u32 = 7;
/// Documents of one alert that may wait for one address.
const WAITING_MAX: usize = 64;

/// The alerts of this process.
#[derive(Debug, Default)]
pub struct Alarm {
    alerts: Mutex<Alerts>,
    /// By move, alert and address.
    posts: Mutex<BTreeMap<[String; 3], mpsc::Sender<Value>>>,
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
        self.tell(move_name, &raised)
    }

    fn tell(&self, move_name: &str, raised: &[Raised]) -> Demand {
        let mut demand = Demand::Nothing;
        for raised in raised {
            for action in &raised.rule.actions {
                match action {
                    Action::Log => log(raised),
                    Action::Pause if raised.edge == Edge::Fired => {
                        demand = Demand::Pause(format!("alert: {}", raised.rule.message));
                    }
                    Action::Pause => {}
                    Action::Webhook(url) => self.deliver(url, move_name, &raised.rule.text, document(raised)),
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
            self.deliver(&url, move_name, alert, document);
        }
    }

    /// Posts the document when those before it have been taken, or given up.
    fn deliver(&self, url: &str, move_name: &str, alert: &str, document: Value) {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = [move_name, alert, url].map(str::to_owned);
        let post = posts.entry(key).or_insert_with(|| {
            let (post, documents) = mpsc::channel(WAITING_MAX);
            tokio::spawn(deliver_all(url.to_owned(), documents));
            post
        });
        if let Err(error) = post.try_send(document) {
            tracing::error!(url, move_name, alert, %error, "an alert is not delivered: too many wait already");
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
    pub fn forget(&self, move_name: &str, now: Moment) {
        let cleared = self.lock().forget(move_name, now);
        // Nothing is demanded of a move that has gone.
        self.tell(move_name, &cleared);
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.retain(|[of, ..], _| of != move_name);
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

fn document(raised: &Raised) -> Value {
    json!({
        "move": raised.move_name,
        "alert": raised.rule.text,
        "level": raised.rule.level.name(),
        "message": raised.rule.message,
        "value": raised.value,
        "state": if raised.edge == Edge::Fired { "firing" } else { "cleared" },
        "at": raised.at,
    })
}

/// One after the other, until nobody can send any more.
async fn deliver_all(url: String, mut documents: mpsc::Receiver<Value>) {
    while let Some(document) = documents.recv().await {
        if let Err(error) = webhook::deliver(&url, &document, Backoff::new(TRIES)).await {
            tracing::error!(url, error, %document, "an alert could not be delivered");
        }
    }
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
        // It is busy at first, and is told in the right order all the same.
        let (url, requests) = canned::serve(vec![(503, ""), (200, ""), (200, "")]);
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
            let bodies = requests.iter().take(3).map(|(_, body)| serde_json::from_str(&body).unwrap());
            bodies.collect::<Vec<Value>>().split_off(1)
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
