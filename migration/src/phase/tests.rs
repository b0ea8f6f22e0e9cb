//! The whole phase × event matrix as a golden file, and what no path may lead to.

use super::*;

const PHASES: [Phase; 13] = [
    Phase::Draft,
    Phase::Preflight,
    Phase::Prepare,
    Phase::Capture,
    Phase::Copy,
    Phase::CatchUp,
    Phase::Index,
    Phase::Verify,
    Phase::Synced,
    Phase::Divided,
    Phase::ReverseSync,
    Phase::Finishing,
    Phase::Done,
];

fn states() -> Vec<State> {
    let all = |phase: Phase| {
        [
            State::Running { phase },
            State::Paused { phase, reason: "p".into(), cause: Cause::Asked },
            State::Failed { phase, reason: "f".into() },
        ]
    };
    PHASES.into_iter().flat_map(all).collect()
}

fn events() -> Vec<Event> {
    vec![
        Event::Start,
        Event::Done,
        Event::Failed("f".into()),
        Event::Away("a".into()),
        Event::StreamStopped("s".into()),
        Event::StreamLost("l".into()),
        Event::Pause("p".into()),
        Event::Resume,
        Event::Switched(Side::Target),
        Event::Switched(Side::Source),
        Event::Divided,
        Event::Parted("e".into()),
        Event::Finish,
    ]
}

#[test]
fn the_matrix_is_as_it_was_agreed() {
    let mut text = String::new();
    for state in states() {
        for event in events() {
            let after = match state.clone().on(event.clone()) {
                Ok((after, actions)) => format!("{} {} {actions:?}", after.name(), after.phase()),
                Err(_) => "refused".to_owned(),
            };
            text.push_str(&format!("{} {} + {event:?} -> {after}\n", state.name(), state.phase()));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/phases.golden");
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text == expected, "the matrix differs; look at the diff after UPDATE_PLANS=1");
}

#[test]
fn writes_reach_the_target_only_from_a_state_in_step() {
    for state in states() {
        for event in events() {
            let Ok((after, _)) = state.clone().on(event) else { continue };
            if after.phase().authority() == Side::Target && state.phase().authority() == Side::Source {
                assert!(matches!(state.phase(), Phase::Synced | Phase::Divided), "{state:?}");
            }
        }
    }
}

#[test]
fn every_failure_and_every_pause_leads_on() {
    for phase in PHASES {
        let away = State::Running { phase }.on(Event::Away("lost".into())).unwrap().0;
        assert_eq!(away.needs_a_person(), Some("lost"));
        for rests in [State::Failed { phase, reason: String::new() }, away] {
            for event in [Event::Start, Event::Resume] {
                let (after, _) = rests.clone().on(event).unwrap();
                assert_eq!(after, State::Running { phase });
            }
        }
    }
}

#[test]
fn a_switched_move_is_never_forgotten_by_a_failure() {
    for event in events() {
        let state = State::Running { phase: Phase::ReverseSync };
        if let Ok((after, _)) = state.on(event.clone()) {
            let back = matches!(event, Event::Switched(Side::Source) | Event::Divided | Event::Parted(_));
            assert_eq!(after.phase().authority() == Side::Source, back, "{event:?}");
        }
    }
}

#[test]
fn nothing_but_a_switch_ends_a_division_or_follows_one_side_of_it_alone() {
    for event in events() {
        let state = State::Running { phase: Phase::Divided };
        let Ok((after, actions)) = state.on(event.clone()) else { continue };
        let ends = event.is_switch() && event != Event::Divided;
        assert_eq!(after.phase() != Phase::Divided, ends, "{event:?}");
        let follows = |side: Side| actions.contains(&Action::Follow(side));
        assert!(ends || follows(Side::Source) == follows(Side::Target), "{event:?}");
    }
}
