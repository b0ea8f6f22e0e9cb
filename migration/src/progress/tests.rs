use proptest::prelude::{prop, proptest};

use super::*;

fn table(name: &str, copied: u64, total: u64, state: TableState) -> TableCounts {
    TableCounts {
        table: name.to_owned(),
        rows_now: copied,
        bytes_now: copied * 100,
        rows_before: 0,
        bytes_before: 0,
        rows_total: total,
        state,
    }
}

fn copying(copied: u64) -> Counts {
    Counts { tables: vec![table("users", copied, 1000, TableState::Copying)], elapsed_s: 0 }
}

#[test]
fn a_steady_copy_is_told_its_speed_and_its_end() {
    let mut speedometer = Speedometer::new(0);
    speedometer.on(&copying(0), 0);
    let progress =
        (1..=4).map(|second| speedometer.on(&copying(second * 100), second * 1000)).last().unwrap();
    assert_eq!((progress.rows_copied, progress.rows_total, progress.percent), (400, 1000, 40.0));
    assert!((progress.rows_per_s - 100.0).abs() < 1e-6 && (progress.bytes_per_s - 10_000.0).abs() < 1e-3);
    assert_eq!(progress.eta_s, Some(6));
    assert_eq!(progress.per_table[0].eta_s, Some(6));
}

#[test]
fn a_copy_that_goes_on_does_not_count_what_was_there_as_speed() {
    let mut speedometer = Speedometer::new(50_000);
    assert_eq!(speedometer.on(&copying(900), 50_000).eta_s, None);
    let progress = speedometer.on(&copying(910), 51_000);
    assert_eq!((progress.rows_per_s, progress.eta_s), (10.0, Some(9)));
}

#[test]
fn rows_of_earlier_runs_are_no_speed_whenever_they_are_counted() {
    // A run begins, counts what there is, and learns only then how far the one before it had come.
    let mut speedometer = Speedometer::new(50_000);
    speedometer.on(&copying(0), 50_000);
    let mut counts = copying(100);
    (counts.tables[0].rows_before, counts.tables[0].bytes_before) = (800, 80_000);
    counts.elapsed_s = 61;
    let progress = speedometer.on(&counts, 51_000);
    assert_eq!((progress.rows_per_s, progress.bytes_per_s, progress.eta_s), (100.0, 10_000.0, Some(1)));
    assert_eq!((progress.rows_copied, progress.bytes_copied, progress.elapsed_s), (900, 90_000, 61));
    let of_table = &progress.per_table[0];
    assert_eq!((of_table.rows_per_s, of_table.rows_copied, of_table.percent), (100.0, 900, 90.0));
    // Another run in the same process begins at nothing, with more behind it.
    let mut counts = copying(0);
    counts.tables[0].rows_before = 900;
    assert_eq!(speedometer.on(&counts, 52_000).rows_per_s, 0.0);
    counts.tables[0].rows_now = 10;
    let progress = speedometer.on(&counts, 53_000);
    assert_eq!((progress.rows_copied, progress.rows_per_s), (910, 10.0));
}

#[test]
fn more_rows_than_estimated_are_no_hundred_percent() {
    let mut speedometer = Speedometer::new(0);
    let tables = vec![table("a", 30, 10, TableState::Copying), table("b", 70, 500, TableState::Complete)];
    let progress = speedometer.on(&Counts { tables, elapsed_s: 7 }, 1000);
    assert_eq!(progress.elapsed_s, 7);
    assert_eq!((progress.rows_total, progress.percent), (100, 99.9));
    assert_eq!((progress.per_table[0].percent, progress.per_table[1].percent), (99.9, 100.0));
    let done = Counts {
        tables: vec![table("a", 30, 10, TableState::Complete), table("b", 0, 0, TableState::Complete)],
        elapsed_s: 0,
    };
    let progress = speedometer.on(&done, 2000);
    assert_eq!((progress.rows_total, progress.percent, progress.eta_s), (30, 100.0, Some(0)));
}

#[test]
fn a_standstill_shows() {
    let mut speedometer = Speedometer::new(0);
    for second in 0..10 {
        speedometer.on(&copying(second * 50), second * 1000);
    }
    assert!(speedometer.still_for_s(9_000) < 1e-9);
    let mut progress = Progress::default();
    for second in 10..300 {
        progress = speedometer.on(&copying(450), second * 1000);
    }
    assert!((speedometer.still_for_s(309_000) - 300.0).abs() < 1e-9);
    assert_eq!((progress.eta_s, progress.percent), (None, 45.0));
}

#[test]
fn a_copy_that_begins_or_has_rested_is_not_slow_yet() {
    let mut speedometer = Speedometer::new(0);
    speedometer.on(&copying(0), 0);
    assert_eq!(speedometer.rows_per_s(), None);
    speedometer.on(&copying(100), 1_000);
    assert_eq!(speedometer.rows_per_s(), Some(100.0));
    speedometer.rest(3_600_000);
    assert_eq!((speedometer.rows_per_s(), speedometer.still_for_s(3_600_000)), (None, 0.0));
    speedometer.on(&copying(100), 3_600_000);
    assert_eq!(speedometer.rows_per_s(), None);
    let progress = speedometer.on(&copying(300), 3_601_000);
    assert_eq!((progress.rows_per_s, progress.per_table[0].rows_per_s), (200.0, 200.0));
}

#[test]
fn a_counter_that_goes_back_begins_anew() {
    let mut rate = Rate::default();
    rate.on(1000, 0);
    rate.on(2000, 1000);
    rate.on(10, 2000);
    assert_eq!(rate.per_s(), None);
    rate.on(20, 3000);
    assert_eq!(rate.per_s(), Some(10.0));
}

#[test]
fn the_forecast_compares_what_is_applied_with_what_is_written() {
    let is = Reading::Is;
    assert_eq!(forecast(is(0.5), Reading::Unknown, Reading::Unknown), (Forecast::KeepsUp, Some(0)));
    assert_eq!(forecast(is(60.0), is(300.0), is(100.0)), (Forecast::Converges, Some(30)));
    assert_eq!(forecast(is(60.0), is(100.0), is(100.0)), (Forecast::NotConverging, None));
    assert_eq!(forecast(Reading::Unknown, is(300.0), is(100.0)), (Forecast::Unknown, None));
    assert_eq!(forecast(is(60.0), is(300.0), Reading::Unknown), (Forecast::Unknown, None));
}

proptest! {
    #[test]
    fn a_smoothed_rate_lies_between_the_slowest_and_the_fastest(
        steps in prop::collection::vec((1_u64..10_000, 0_u64..1_000_000), 1..50),
    ) {
        let (mut rate, mut count, mut now) = (Rate::default(), 0, 0);
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        rate.on(0, 0);
        for (step_ms, rows) in steps {
            (count, now) = (count + rows, now + step_ms);
            rate.on(count, now);
            let speed = rows as f64 / (step_ms as f64 / 1000.0);
            (least, most) = (least.min(speed), most.max(speed));
            let mean = rate.per_s().unwrap();
            assert!(mean >= least * (1.0 - 1e-9) && mean <= most * (1.0 + 1e-9));
        }
    }

    #[test]
    fn a_percentage_never_falls_nor_ends_early(total in 1_u64..10_000, copied in prop::collection::vec(0_u64..500, 1..40)) {
        let (mut speedometer, mut done, mut before) = (Speedometer::new(0), 0, 0.0);
        for (second, rows) in (1..).zip(copied) {
            done += rows;
            let counts =
                Counts { tables: vec![table("t", done, total, TableState::Copying)], elapsed_s: 0 };
            let progress = speedometer.on(&counts, second * 1000);
            assert!(progress.percent >= before && progress.percent < 100.0);
            before = progress.percent;
        }
    }
}
