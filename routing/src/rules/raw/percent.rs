//! Percentages, with at most two places behind the point, as hundredths.

use std::ops::Range;

use toml::de::DeValue;

use crate::document::{Found, Section};

/// Who owns writes.
#[derive(Debug)]
pub(in crate::rules) enum RawWrites {
    /// `source` or `target`.
    Side(Found<String>),
    /// The target owns this share of keys.
    Share { hundredths: u16, at: Range<usize> },
}

const WHAT: &str = "a percentage from 0 to 100, with at most two places behind the point";

pub(super) fn percent(section: &mut Section<'_>, key: &'static str) -> u16 {
    let Some(found) = section.value(key) else { return 0 };
    hundredths(&found.value).unwrap_or_else(|| {
        section.report(key, &found.at, format!("must be {WHAT}"));
        0
    })
}

pub(super) fn writes(section: &mut Section<'_>) -> Option<RawWrites> {
    const KEY: &str = "writes";
    let Found { value, at } = section.value(KEY)?;
    if let DeValue::String(side) = &value {
        return Some(RawWrites::Side(Found { value: side.to_string(), at }));
    }
    let Some(hundredths) = hundredths(&value) else {
        section.report(KEY, &at, format!("must be \"source\", \"target\" or {WHAT}"));
        return None;
    };
    Some(RawWrites::Share { hundredths, at })
}

fn hundredths(value: &DeValue<'_>) -> Option<u16> {
    let percent = match value {
        DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        _ => None,
    };
    let hundredths =
        percent.map(|percent| percent * 100.0).filter(|value| (0.0..=10_000.0).contains(value))?;
    let is_exact = (hundredths - hundredths.round()).abs() < 1e-6;
    // In range, as just checked.
    (0..=10_000_u16).find(|whole| is_exact && f64::from(*whole) >= hundredths.round())
}
