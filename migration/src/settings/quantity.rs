//! Quantities as people write them: `5 min`, `0.1 %`, `1000 rows/min`, `10 MiB`.
//!
//! A quantity without its unit is refused, except where the key's own name says the unit. Pure.

/// What a number measures. Values are kept in the unit named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Seconds.
    Duration,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Size,
    /// Percent.
    Percent,
    /// Of these things, a second.
    Rate(&'static [&'static str]),
    /// Of these things.
    Count(&'static str),
}

const SECONDS: [(&str, f64); 16] = [
    ("ms", 0.001),
    ("millisecond", 0.001),
    ("milliseconds", 0.001),
    ("s", 1.0),
    ("sec", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("min", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
    ("d", 86_400.0),
    ("day", 86_400.0),
    ("days", 86_400.0),
];

const BYTES: [(&str, f64); 9] = [
    ("b", 1.0),
    ("bytes", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
];

const PERIODS: [(&str, f64); 7] = [
    ("s", 1.0),
    ("sec", 1.0),
    ("second", 1.0),
    ("min", 60.0),
    ("minute", 60.0),
    ("h", 3600.0),
    ("hour", 3600.0),
];

impl Quantity {
    /// The value in the quantity's own unit, if the text is one.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<f64> {
        let (number, unit) = split(text)?;
        let factor = match self {
            Quantity::Duration => factor(&SECONDS, unit)?,
            Quantity::Milliseconds => factor(&SECONDS, unit)? * 1000.0,
            Quantity::Size => factor(&BYTES, unit)?,
            Quantity::Percent => (unit == "%" || unit.eq_ignore_ascii_case("percent")).then_some(1.0)?,
            Quantity::Rate(things) => {
                let (thing, period) = unit.split_once('/')?;
                let is_known = things.iter().any(|known| thing.trim().eq_ignore_ascii_case(known));
                is_known.then_some(1.0 / factor(&PERIODS, period.trim())?)?
            }
            Quantity::Count(thing) => (unit.is_empty() || unit.eq_ignore_ascii_case(thing)).then_some(1.0)?,
        };
        Some(number * factor)
    }

    /// How such a quantity is written.
    #[must_use]
    pub fn example(self) -> String {
        match self {
            Quantity::Duration => "30 s, 5 min or 2 h".to_owned(),
            Quantity::Milliseconds => "50 ms or 2 s".to_owned(),
            Quantity::Size => "512 KiB or 10 MiB".to_owned(),
            Quantity::Percent => "0.1 %".to_owned(),
            Quantity::Rate(things) => format!("1000 {0}/s, 1000 {0}/min or 1000 {0}/h", things[0]),
            Quantity::Count(_) => "0 or 1000".to_owned(),
        }
    }

    /// The value with its unit, for messages.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Quantity::Duration => format!("{} s", rounded(value)),
            Quantity::Milliseconds => format!("{} ms", rounded(value)),
            Quantity::Size => size(value),
            Quantity::Percent => format!("{} %", rounded(value)),
            Quantity::Rate(things) => format!("{} {}/s", rounded(value), things[0]),
            Quantity::Count(thing) => format!("{} {thing}", rounded(value)).trim_end().to_owned(),
        }
    }
}

/// A size in the largest unit that leaves a number of at least one.
#[must_use]
pub fn size(bytes: f64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, bits)| bytes >= (1_u64 << bits) as f64);
    match unit {
        Some((unit, bits)) => format!("{} {unit}", rounded(bytes / (1_u64 << bits) as f64)),
        None => format!("{bytes:.0} B"),
    }
}

/// At most two places behind the point.
fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number that is not negative, and what stands behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim()))
}

fn factor(units: &[(&str, f64)], unit: &str) -> Option<f64> {
    units.iter().find(|(known, _)| unit.eq_ignore_ascii_case(known)).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const ROWS: Quantity = Quantity::Rate(&["rows", "records"]);

    #[test]
    fn people_write_units_in_many_ways() {
        let cases = [
            (Quantity::Duration, "5 min", 300.0),
            (Quantity::Duration, "5 Minutes", 300.0),
            (Quantity::Duration, "1.5h", 5400.0),
            (Quantity::Duration, "250 ms", 0.25),
            (Quantity::Milliseconds, "2 s", 2000.0),
            (Quantity::Size, "1 MiB", 1_048_576.0),
            (Quantity::Size, "10kB", 10_000.0),
            (Quantity::Percent, "0.1%", 0.1),
            (Quantity::Percent, " 90 % ", 90.0),
            (ROWS, "1000 rows/s", 1000.0),
            (ROWS, "6_000 records/minute", 100.0),
            (ROWS, "3600 rows / h", 1.0),
            (Quantity::Count("keys"), "12", 12.0),
            (Quantity::Count("keys"), "12 keys", 12.0),
        ];
        for (quantity, text, expected) in cases {
            let value = quantity.parse(text).unwrap_or(f64::NAN);
            assert!((value - expected).abs() < 1e-9, "{text}: {value}");
        }
    }

    #[test]
    fn a_quantity_of_another_kind_is_none() {
        for (quantity, text) in [
            (Quantity::Duration, "5"),
            (Quantity::Duration, "5 %"),
            (Quantity::Duration, "-5 s"),
            (Quantity::Duration, "s"),
            (Quantity::Size, "10 s"),
            (Quantity::Percent, "10"),
            (ROWS, "1000"),
            (ROWS, "1000 errors/s"),
            (ROWS, "1000 rows"),
            (ROWS, "1.2.3 rows/s"),
            (Quantity::Count(""), "1 s"),
        ] {
            assert_eq!(quantity.parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_a_unit_that_fits() {
        assert_eq!((size(0.0).as_str(), size(1536.0).as_str()), ("0 B", "1.5 KiB"));
        assert_eq!(Quantity::Size.show(67_108_864.0), "64 MiB");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_value_is_finite(text in any::<String>()) {
            for quantity in [Quantity::Duration, Quantity::Size, Quantity::Percent, ROWS] {
                if let Some(value) = quantity.parse(&text) {
                    assert!(value >= 0.0);
                }
            }
        }

        #[test]
        fn what_is_shown_reads_back(value in 0_u32..1_000_000) {
            for quantity in [Quantity::Duration, Quantity::Milliseconds, Quantity::Percent, ROWS] {
                let back = quantity.parse(&quantity.show(f64::from(value))).unwrap_or(f64::NAN);
                assert!((back - f64::from(value)).abs() < 1e-6);
            }
        }
    }
}
