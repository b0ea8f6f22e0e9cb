//! Dates with a time, as clients write them and as `DATETIME` columns order them.

use std::fmt;

/// A date and a time of day without a time zone, in the proleptic Gregorian calendar of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

impl Moment {
    /// Midnight of a date.
    #[must_use]
    pub fn midnight(year: u16, month: u8, day: u8) -> Moment {
        Moment { year, month, day, hour: 0, minute: 0, second: 0, micros: 0 }
    }

    /// `2024-01-31`, `2024-01-31 12:00:00` or `2024-01-31 12:00:00.123456`. The servers read other forms too; they are
    /// nothing that is told here.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Moment> {
        let text = std::str::from_utf8(text).ok()?;
        let (date, time) = text.split_once(' ').map_or((text, None), |(date, time)| (date, Some(time)));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let mut moment = Moment::midnight(u16::try_from(year).ok()?, small(month), small(day));
        if let Some(time) = time {
            let (time, fraction) =
                time.split_once('.').map_or((time, None), |(time, part)| (time, Some(part)));
            let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
            (moment.hour, moment.minute, moment.second) = (small(hour), small(minute), small(second));
            if let Some(fraction) = fraction {
                moment.micros = number(&format!("{fraction:0<6}"), 6)?;
            }
        }
        moment.is_valid().then_some(moment)
    }

    /// Is there such a day and such a time? Days that a month does not have are left to the servers.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.micros < 1_000_000
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment { year, month, day, hour, minute, second, micros } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if *micros > 0 { write!(f, ".{micros:06}") } else { Ok(()) }
    }
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number_of, digits) in found.iter_mut().zip(digits) {
        *number_of = number(parts.next()?, digits)?;
    }
    parts.next().is_none().then_some(found)
}

fn number(text: &str, digits: usize) -> Option<u32> {
    let is_plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forms_are_read_and_ordered_and_others_are_not() {
        let read = |text: &str| Moment::read(text.as_bytes());
        assert_eq!(read("2024-01-31"), Some(Moment::midnight(2024, 1, 31)));
        assert_eq!(read("2024-01-31 00:00:00"), read("2024-01-31"));
        assert!(read("2024-01-31 10:00:00.5") > read("2024-01-31 10:00:00.49"));
        assert!(read("2023-12-31 23:59:59.999999") < read("2024-01-01"));
        assert_eq!(
            read("2024-01-31 01:02:03.5").map(|of| of.to_string()).as_deref(),
            Some("2024-01-31 01:02:03.500000")
        );
        for other in [
            "2024-1-31",
            "24-01-31",
            "2024-13-01",
            "2024-01-31T10:00:00",
            "2024-01-31 25:00:00",
            "20240131",
            "",
            "2024-01-31 10:00:00.1234567",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
