//! Alerts that nobody has to write. Pure.

use crate::settings::metric::Metric;
use crate::settings::{Action, AlertRule, Comparison, Condition, Level};

/// A move has failed, or its server stays away, for this reason.
#[must_use]
pub fn failed(reason: &str) -> AlertRule {
    AlertRule {
        when: Condition { metric: Metric::Failed, comparison: Comparison::Greater, bound: 0.0 },
        text: "failed > 0".to_owned(),
        hold_ms: 0,
        level: Level::Critical,
        message: format!("the move has stopped and needs a person: {reason}"),
        actions: vec![Action::Log],
    }
}

/// A stream is not followed.
#[must_use]
pub fn not_followed(waits_for: &str) -> AlertRule {
    AlertRule {
        when: Condition { metric: Metric::StreamAwayFor, comparison: Comparison::Greater, bound: 60.0 },
        text: "stream_away_for > 60 s".to_owned(),
        hold_ms: 0,
        level: Level::Critical,
        message: format!(
            "a stream of the move is not followed, so the other side falls behind, and what the server's log does not \
             keep would be lost: {waits_for}"
        ),
        actions: vec![Action::Log],
    }
}
