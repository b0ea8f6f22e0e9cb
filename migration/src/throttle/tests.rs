use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::*;
use crate::settings::Window;

const UNTOUCHED: ByHand = ByHand { parallel: None, pause_ms: None, limits: Limits::Heeded };

fn limits() -> Throttle {
    Throttle {
        replica_lag_s: Some(5.0),
        threads_running: Some(50),
        history_length: Some(1000),
        latency_ms: Some(20.0),
        disk_free_percent: Some(10.0),
        min_rows_per_s: Some(1000.0),
        check_url: Some("http://h/go".to_owned()),
        windows: vec![Window::parse("22:00-06:00").unwrap()],
    }
}

fn policy<'a>(limits: &'a Throttle, by_hand: &'a ByHand) -> Policy<'a> {
    Policy { limits, parallel: 8, pause_ms: 0, by_hand }
}

/// Nothing is near a limit.
fn calm() -> Seen {
    Seen {
        minute_of_day: 0,
        replica_lag_s: Reading::Is(0.0),
        threads_running: Reading::Is(2.0),
        history_length: Reading::Is(10.0),
        latency_ms: Reading::Is(1.0),
        disk_free_percent: Reading::Is(50.0),
        rows_per_s: Reading::Is(5000.0),
        check: Check::Go,
    }
}

fn next(seen: &Seen, before: &Pace) -> Pace {
    decide(seen, policy(&limits(), &UNTOUCHED), before)
}

fn full() -> Pace {
    policy(&limits(), &UNTOUCHED).full()
}

#[test]
fn a_calm_server_is_copied_at_full_pace() {
    assert_eq!(next(&calm(), &full()), full());
}

#[test]
fn every_limit_slows_down_and_says_why() {
    let cases = [
        (Seen { replica_lag_s: Reading::Is(6.0), ..calm() }, "replica lag is 6.0 s, limit 5.0"),
        (
            Seen { threads_running: Reading::Is(51.0), ..calm() },
            "threads running is 51.0 threads, limit 50.0",
        ),
        (
            Seen { history_length: Reading::Is(1500.0), ..calm() },
            "history list is 1500.0 versions, limit 1000.0",
        ),
        (Seen { latency_ms: Reading::Is(30.0), ..calm() }, "statement latency is 30.0 ms, limit 20.0"),
        (
            Seen { rows_per_s: Reading::Is(499.0), ..calm() },
            "only 499 rows/s at full pace, 1000 expected: servers are busy",
        ),
        (Seen { replica_lag_s: Reading::Unknown, ..calm() }, "replica lag is unknown"),
        (Seen { disk_free_percent: Reading::Unknown, ..calm() }, "free disk space is unknown"),
        (Seen { rows_per_s: Reading::Unknown, ..calm() }, "the copy's speed is unknown"),
        (Seen { check: Check::Unknown("no answer".to_owned()), ..calm() }, "http://h/go: no answer"),
    ];
    for (seen, reason) in cases {
        let expected =
            Pace { concurrency: 4, pause_ms: 100, state: State::Slowed, reason: Some(reason.to_owned()) };
        assert_eq!(next(&seen, &full()), expected);
    }
}

#[test]
fn what_going_slower_does_not_cure_stops_the_copy() {
    let cases = [
        (Seen { replica_lag_s: Reading::Is(11.0), ..calm() }, "replica lag is 11.0 s, limit 5.0"),
        (Seen { disk_free_percent: Reading::Is(9.0), ..calm() }, "9.0 % of the disk is free, limit 10.0 %"),
        (Seen { check: Check::Wait, ..calm() }, "http://h/go says wait"),
        (Seen { minute_of_day: 12 * 60, ..calm() }, "waits for 22:00-06:00 UTC"),
    ];
    for (seen, reason) in cases {
        let pace = next(&seen, &full());
        assert_eq!((pace.state, pace.reason.as_deref()), (State::Stopped, Some(reason)));
    }
}

#[test]
fn near_a_limit_nothing_changes() {
    let slowed = Pace { concurrency: 2, pause_ms: 400, ..full() };
    let near = Seen { replica_lag_s: Reading::Is(4.5), ..calm() };
    let kept = next(&near, &slowed);
    assert_eq!((kept.concurrency, kept.pause_ms, kept.state), (2, 400, State::Slowed));
    assert_eq!(next(&near, &full()), full());
}

#[test]
fn speed_comes_back_pause_first_then_worker_by_worker() {
    let mut pace = Pace { concurrency: 1, pause_ms: 800, state: State::Stopped, reason: None };
    let mut seen = Vec::new();
    while pace != full() {
        pace = next(&calm(), &pace);
        seen.push((pace.concurrency, pace.pause_ms));
    }
    let workers = (2..=8).map(|workers| (workers, 0));
    assert_eq!(seen, [(1, 400), (1, 200), (1, 100), (1, 0)].into_iter().chain(workers).collect::<Vec<_>>());
}

#[test]
fn a_copy_rests_outside_of_its_windows_unless_a_person_says_go() {
    let limits = limits();
    let off = ByHand { limits: Limits::Ignored, ..UNTOUCHED };
    let rests = |by_hand, hour: u16| policy(&limits, by_hand).rests(hour * 60);
    assert_eq!([rests(&UNTOUCHED, 23), rests(&UNTOUCHED, 12), rests(&off, 12)], [false, true, false]);
    assert!(!policy(&Throttle::default(), &UNTOUCHED).rests(720));
}

#[test]
fn a_hand_sets_the_full_pace_and_may_switch_the_limits_off() {
    let limits = limits();
    let set = ByHand { parallel: Some(2), pause_ms: Some(50), limits: Limits::Heeded };
    let pace = decide(&calm(), policy(&limits, &set), &full());
    assert_eq!((pace.concurrency, pace.pause_ms, pace.state), (2, 50, State::Running));
    let busy = Seen { minute_of_day: 12 * 60, replica_lag_s: Reading::Unknown, ..calm() };
    assert_eq!(decide(&busy, policy(&limits, &set), &pace).state, State::Stopped);
    let off = ByHand { limits: Limits::Ignored, ..set };
    assert_eq!(decide(&busy, policy(&limits, &off), &pace), pace);
}

#[test]
fn without_limits_nothing_that_is_seen_matters() {
    let none = Throttle::default();
    let seen = Seen { check: Check::Wait, latency_ms: Reading::Unknown, ..Seen::default() };
    let policy = policy(&none, &UNTOUCHED);
    assert_eq!(decide(&seen, policy, &policy.full()), policy.full());
}

fn reading(most: f64) -> impl Strategy<Value = Reading> {
    prop_oneof![(0.0..most).prop_map(Reading::Is), Just(Reading::Unknown), Just(Reading::NotNow)]
}

fn seen() -> impl Strategy<Value = Seen> {
    let check = prop_oneof![Just(Check::Go), Just(Check::Wait), Just(Check::Unknown("why".to_owned()))];
    let readings =
        (reading(15.0), reading(150.0), reading(3000.0), reading(60.0), reading(100.0), reading(3000.0));
    (0_u16..1440, readings, check).prop_map(|(minute_of_day, readings, check)| {
        let (replica_lag_s, threads_running, history_length, latency_ms, disk_free_percent, rows_per_s) =
            readings;
        Seen {
            minute_of_day,
            replica_lag_s,
            threads_running,
            history_length,
            latency_ms,
            disk_free_percent,
            rows_per_s,
            check,
        }
    })
}

fn pace() -> impl Strategy<Value = Pace> {
    (any::<u32>(), 0_u64..100_000).prop_map(|(concurrency, pause_ms)| Pace {
        concurrency,
        pause_ms,
        ..full()
    })
}

proptest! {
    #[test]
    fn a_pace_is_always_within_its_bounds(seen in seen(), before in pace()) {
        let after = next(&seen, &before);
        assert!((1..=8).contains(&after.concurrency));
        assert!(after.pause_ms <= before.pause_ms.max(PAUSE_MOST_MS));
        assert_eq!(after.state == State::Running, after == full());
        assert_eq!(after.reason.is_none(), after.state == State::Running);
    }

    #[test]
    fn what_is_not_calm_never_makes_it_faster(seen in seen(), before in pace()) {
        let before = Pace { concurrency: before.concurrency.clamp(1, 8), ..before };
        let after = next(&seen, &before);
        if !matches!(verdict(&seen, &limits()), Verdict::Faster) {
            assert!(after.concurrency <= before.concurrency);
            assert!(after.pause_ms >= before.pause_ms);
        }
    }

    #[test]
    fn calm_brings_every_pace_back(history in prop::collection::vec(seen(), 0..30)) {
        let troubled = history.iter().fold(full(), |pace, seen| next(seen, &pace));
        let recovered = (0..20).fold(troubled, |pace, _| next(&calm(), &pace));
        assert_eq!(recovered, full());
    }

    #[test]
    fn an_unknown_signal_is_never_faster_than_a_known_one(seen in seen(), before in pace()) {
        let known = Seen { latency_ms: Reading::Is(1.0), ..seen.clone() };
        let unknown = Seen { latency_ms: Reading::Unknown, ..seen };
        let (known, unknown) = (next(&known, &before), next(&unknown, &before));
        assert!(unknown.concurrency <= known.concurrency && unknown.pause_ms >= known.pause_ms);
        assert_ne!(unknown.state, State::Running);
    }
}
