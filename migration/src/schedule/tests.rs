use std::time::Duration;

use super::*;

fn schedule() -> Schedule {
    let gates = Gates { error_rate: Some(1.0), p99_ratio: Some(2.0), mismatches: Some(0), lag_s: Some(5.0) };
    Schedule { steps: vec![100, 500, 10_000], dwell: Duration::from_secs(10), gates }
}

fn fine(now_s: u64, reads: u16) -> Seen {
    Seen {
        now_ms: 1_000 * now_s,
        reads,
        not_ready: None,
        on_source: 500,
        on_target: 500,
        error_rate: Reading::Is(0.0),
        p99_ratio: Reading::NotNow,
        mismatches: Reading::Is(0.0),
        lag_s: Reading::Is(0.1),
    }
}

fn to(decision: &Decision) -> Option<u16> {
    match decision {
        Decision::Stay => None,
        Decision::Go { reads, .. } => Some(*reads),
    }
}

/// Runs a schedule for some seconds; what is decided is done at once.
fn run(
    course: &mut Course,
    reads: &mut u16,
    seconds: std::ops::Range<u64>,
    see: impl Fn(Seen) -> Seen,
) -> Vec<(u64, u16)> {
    let mut steps = Vec::new();
    for now in seconds {
        if let Some(next) = to(&course.on(&schedule(), &see(fine(now, *reads)))) {
            steps.push((now, next));
            *reads = next;
        }
    }
    steps
}

#[test]
fn goes_up_by_its_steps_and_stays_at_the_end() {
    let (mut course, mut reads) = (Course::default(), 0);
    let steps = run(&mut course, &mut reads, 0..100, |seen| seen);
    assert_eq!(steps, [(10, 100), (21, 500), (32, 10_000)]);
    assert_eq!(course.report(&schedule()).next, None);
}

#[test]
fn a_closed_gate_steps_back_at_once_and_three_ask_for_a_person() {
    let (mut course, mut reads) = (Course::default(), 500);
    let slow = |seen: Seen| {
        let p99_ratio = if seen.reads >= 500 { Reading::Is(2.5) } else { Reading::Is(1.0) };
        Seen { p99_ratio, ..seen }
    };
    let steps = run(&mut course, &mut reads, 0..100, slow);
    assert_eq!(steps, [(0, 100), (11, 500), (12, 100), (23, 500), (24, 100)]);
    assert!(course.report(&schedule()).says.contains("edit `reads`"));
    // An edit of the operator begins anew.
    reads = 200;
    let steps = run(&mut course, &mut reads, 100..112, |seen| seen);
    assert_eq!(steps, [(110, 500)]);
}

#[test]
fn closed_gates_take_reads_back_to_nothing_however_many_steps_that_are() {
    let (mut course, mut reads) = (Course::default(), 10_000);
    let steps = vec![100, 500, 1_000, 2_500, 5_000, 7_500, 10_000];
    let schedule = Schedule { steps, ..schedule() };
    for now in 0..7 {
        let failing = Seen { error_rate: Reading::Is(100.0), ..fine(now, reads) };
        reads = to(&course.on(&schedule, &failing)).unwrap();
    }
    assert_eq!(reads, 0);
    assert_eq!(to(&course.on(&schedule, &fine(60, reads))), None);
    assert_eq!(course.report(&schedule).says, "stopped after 7 steps back; edit `reads` to go on");
}

#[test]
fn a_step_back_that_fails_is_tried_until_it_succeeds() {
    let mut course = Course::default();
    for now in 0..10 {
        let failing = Seen { error_rate: Reading::Is(100.0), ..fine(now, 500) };
        assert_eq!(to(&course.on(&schedule(), &failing)), Some(100));
        course.failed("the file cannot be read");
        assert_eq!(course.report(&schedule()).setbacks, 0);
    }
}

#[test]
fn what_is_not_known_is_waited_for() {
    let (mut course, mut reads) = (Course::default(), 100);
    let unknown = |seen: Seen| Seen { lag_s: Reading::Unknown, ..seen };
    assert_eq!(run(&mut course, &mut reads, 0..50, unknown), []);
    assert_eq!(course.report(&schedule()).says, "waits: lag is not known");
    let not_ready = |seen: Seen| Seen { not_ready: Some("double write is off".into()), ..seen };
    assert_eq!(run(&mut course, &mut reads, 50..90, not_ready), []);
    assert_eq!(run(&mut course, &mut reads, 90..101, |seen| seen), [(100, 500)]);
}

#[test]
fn without_enough_statements_nothing_advances_and_errors_take_it_back_all_the_same() {
    let (mut course, mut reads) = (Course::default(), 0);
    let quiet = |seen: Seen| Seen { on_target: 99, error_rate: Reading::NotNow, ..seen };
    // Nobody asks the target before the first step.
    assert_eq!(run(&mut course, &mut reads, 0..60, quiet), [(10, 100)]);
    let says = course.report(&schedule()).says;
    assert_eq!(says, "waits: error rate: 99 of 100 statements on the target since the step began");
    let alone = |seen: Seen| Seen { on_source: 0, ..seen };
    assert_eq!(run(&mut course, &mut reads, 60..90, alone), []);
    let says = course.report(&schedule()).says;
    assert_eq!(says, "waits: p99 ratio: 0 of 100 statements on the source since the step began");
    assert_eq!(run(&mut course, &mut reads, 90..101, |seen| seen), [(100, 500)]);
    let failing = |seen: Seen| Seen { on_target: 3, error_rate: Reading::Is(100.0), ..seen };
    assert_eq!(run(&mut course, &mut reads, 101..102, failing), [(101, 100)]);
    let mut all = 10_000;
    assert_eq!(run(&mut course, &mut all, 102..140, quiet), []);
    assert_eq!(course.report(&schedule()).says, "at its end, 100 %");
}

#[test]
fn steps_back_outlive_the_process() {
    let (mut course, mut reads) = (Course::default(), 500);
    let slow = |seen: Seen| {
        let p99_ratio = if seen.reads >= 500 { Reading::Is(2.5) } else { Reading::Is(1.0) };
        Seen { p99_ratio, ..seen }
    };
    assert_eq!(run(&mut course, &mut reads, 0..24, slow), [(0, 100), (11, 500), (12, 100), (23, 500)]);
    // The process ends before what it decided is in force, and after.
    for reads_then in [100, 500] {
        let mut resumed = Course::resumed(course.kept().clone());
        let mut reads = reads_then;
        run(&mut resumed, &mut reads, 0..40, slow);
        let report = resumed.report(&schedule());
        assert!(report.setbacks == SETBACKS_MOST && report.says.contains("edit `reads`"), "{report:?}");
    }
    let mut resumed = Course::resumed(course.kept().clone());
    let mut edited = 200;
    run(&mut resumed, &mut edited, 0..2, slow);
    assert_eq!(resumed.report(&schedule()).setbacks, 0, "somebody has edited it");
}

#[test]
fn nothing_is_taken_back_below_nothing() {
    let (mut course, mut reads) = (Course::default(), 0);
    let differing = |seen: Seen| Seen { mismatches: Reading::Is(3.0), ..seen };
    assert_eq!(run(&mut course, &mut reads, 0..50, differing), []);
    assert_eq!(course.report(&schedule()).says, "waits: mismatches is 3, gate 0");
    let mut low = 50;
    assert_eq!(run(&mut course, &mut low, 50..52, differing), [(50, 0)]);
}

#[test]
fn a_change_that_fails_is_tried_again_after_the_dwell_time() {
    let mut course = Course::default();
    assert_eq!(to(&course.on(&schedule(), &fine(0, 0))), None);
    assert_eq!(to(&course.on(&schedule(), &fine(10, 0))), Some(100));
    course.failed("the file is read-only");
    assert_eq!(to(&course.on(&schedule(), &fine(11, 0))), None);
    assert_eq!(to(&course.on(&schedule(), &fine(21, 0))), Some(100));
}
