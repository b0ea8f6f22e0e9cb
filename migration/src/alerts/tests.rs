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
