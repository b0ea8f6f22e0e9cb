//! `[moves.NAME.schedule]`

use std::time::Duration;

use shardway_routing::document::Section;

use super::quantity::Quantity;
use super::read::{Form, Range, amount};
use super::{Gates, Schedule};

pub(super) fn schedule(mut section: Section<'_>) -> Option<Schedule> {
    let steps = steps(&mut section);
    let range = Range(1.0, 30.0 * 86_400.0);
    if !section.has("dwell") {
        section.report_here("`dwell` is missing: how long to stay at each step, as \"10 min\"");
    }
    let dwell = amount(&mut section, "dwell", Quantity::Duration, range, Form::WithUnit);
    let gates = section.section("gates").map(gates).unwrap_or_default();
    section.finish();
    Some(Schedule { steps: steps?, dwell: Duration::from_secs_f64(dwell?), gates })
}

/// Percentages with at most two places behind the point, as hundredths.
fn steps(section: &mut Section<'_>) -> Option<Vec<u16>> {
    const FORM: &str =
        "must be percentages that grow, with at most two places behind the point, as [1, 5, 25, 100]";
    if !section.has("steps") {
        section.report_here("`steps` is missing: percentages that grow, as [1, 5, 25, 100]");
    }
    let found = section.numbers("steps")?;
    let hundredths = |percent: &f64| {
        let value = percent * 100.0;
        let is_exact = (value - value.round()).abs() < 1e-6 && (1.0..=10_000.0).contains(&value);
        // In range, as just checked.
        is_exact.then(|| value.round() as u16)
    };
    let steps: Option<Vec<u16>> = found.value.iter().map(hundredths).collect();
    match steps.filter(|steps| !steps.is_empty() && steps.is_sorted_by(|one, next| one < next)) {
        Some(steps) => Some(steps),
        None => {
            section.report("steps", &found.at, FORM);
            None
        }
    }
}

fn gates(mut section: Section<'_>) -> Gates {
    let number = Form::NumberOrUnit;
    let gates = Gates {
        error_rate: amount(&mut section, "error_rate", Quantity::Percent, Range(0.0, 100.0), number),
        p99_ratio: amount(&mut section, "p99_ratio", Quantity::Count(""), Range(0.1, 1_000.0), number),
        mismatches: section.number("mismatches", 0, u64::MAX),
        lag_s: amount(&mut section, "lag_s", Quantity::Duration, Range(0.0, 86_400.0), number),
    };
    section.finish();
    gates
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn read(lines: &str) -> Result<Schedule, Vec<String>> {
        let text = format!("[moves.m]\ntables = [\"t\"]\n[moves.m.schedule]\n{lines}\n");
        match load(&text) {
            Ok(mut settings) => Ok(settings.moves.remove("m").unwrap().schedule.unwrap()),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_schedule_is_read_with_its_gates() {
        let gates = "gates = { error_rate = \"0.1 %\", p99_ratio = 1.5, mismatches = 0, lag_s = 2 }";
        let schedule = read(&format!("steps = [0.5, 5, 100]\ndwell = \"10 min\"\n{gates}")).unwrap();
        assert_eq!((schedule.steps, schedule.dwell), (vec![50, 500, 10_000], Duration::from_secs(600)));
        let gates =
            Gates { error_rate: Some(0.1), p99_ratio: Some(1.5), mismatches: Some(0), lag_s: Some(2.0) };
        assert_eq!(schedule.gates, gates);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (lines, what) in [
            ("dwell = \"1 min\"", "`steps` is missing"),
            ("steps = [5]", "`dwell` is missing"),
            ("steps = [5, 5]\ndwell = \"1 min\"", "percentages that grow"),
            ("steps = [0.001]\ndwell = \"1 min\"", "percentages that grow"),
            ("steps = [5, 101]\ndwell = \"1 min\"", "percentages that grow"),
            ("steps = [5]\ndwell = 60", "must be a text like"),
            ("steps = [5]\ndwell = \"1 min\"\ngates = { mismatch = 5 }", "did you mean `mismatches`"),
            ("steps = [5]\ndwell = \"1 min\"\nstep = 5", "did you mean `steps`"),
        ] {
            let problems = read(lines).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(what)), "{lines}: {problems:?}");
        }
    }
}
