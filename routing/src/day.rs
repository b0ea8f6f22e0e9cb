//! Days of the calendar, and the units of time that shards hold: days, weeks, months, years.
//!
//! Only days that servers promise to keep are days here, those of the years 1000 to 9999. Zero dates, and days that a
//! month does not have, are none.

use std::fmt;

/// A day of the proleptic Gregorian calendar, as servers count it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

/// What one shard of a `time` function holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Day,
    /// From Monday on, as ISO 8601 counts weeks.
    Week,
    Month,
    Year,
}

impl Day {
    /// `None`: there is no such day, or not in the years 1000 to 9999.
    #[must_use]
    pub fn of(year: u16, month: u8, day: u8) -> Option<Day> {
        let exists = (1000..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=length(year.into(), month.into())).contains(&i32::from(day));
        exists.then(|| Day(days_before(year.into(), month.into()) + i32::from(day) - 1))
    }

    /// The day after this one.
    #[must_use]
    pub fn next(self) -> Option<Day> {
        Day::at(self.0 + 1)
    }

    /// Days since 1970-01-01, below zero before it.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The day that has this number.
    #[must_use]
    pub fn at(number: i32) -> Option<Day> {
        let range = days_before(1000, 1)..days_before(10_000, 1);
        range.contains(&number).then_some(Day(number))
    }

    /// Year, month and day of the month.
    fn parts(self) -> (i32, i32, i32) {
        // The average length of a year is never too short, and too long by less than a year.
        let mut year = 1970 + (i64::from(self.0) * 400).div_euclid(146_097);
        let mut parts = (i32::try_from(year).unwrap_or(i32::MAX), 1, 1);
        if days_before(parts.0, 1) > self.0 {
            year -= 1;
            parts.0 = i32::try_from(year).unwrap_or(i32::MAX);
        }
        while self.0 >= days_before(parts.0, parts.1) + length(parts.0, parts.1) {
            parts.1 += 1;
            if parts.1 > 12 {
                parts = (parts.0 + 1, 1, 1);
            }
        }
        parts.2 = self.0 - days_before(parts.0, parts.1) + 1;
        parts
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Unit {
    /// Every unit by the name that rules give it.
    pub const NAMED: [(&'static str, Unit); 4] =
        [("day", Unit::Day), ("week", Unit::Week), ("month", Unit::Month), ("year", Unit::Year)];

    /// The first day of a unit that is written in its own form, as in [`Unit::example`]. `None`: it is not, or there is
    /// no such unit.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Day> {
        let number = |text: &str, digits: usize| -> Option<u16> {
            let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let small = |text: &str| number(text, 2).and_then(|number| u8::try_from(number).ok());
        let mut parts = text.split('-');
        let year = number(parts.next()?, 4)?;
        let (second, third) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return None;
        }
        match (self, second, third) {
            (Unit::Year, None, None) => Day::of(year, 1, 1),
            (Unit::Month, Some(month), None) => Day::of(year, small(month)?, 1),
            (Unit::Day, Some(month), Some(day)) => Day::of(year, small(month)?, small(day)?),
            (Unit::Week, Some(week), None) => {
                let week = small(week.strip_prefix('W')?)?.checked_sub(1)?;
                // The fourth of January is always in the first week.
                let first = Unit::Week.place(Day::of(year, 1, 4)?);
                let monday = Unit::Week.first_day(first + i32::from(week))?;
                let thursday = Day::at(monday.0 + 3)?;
                (thursday.parts().0 == i32::from(year)).then_some(monday)
            }
            _ => None,
        }
    }

    /// How a unit is written.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Unit::Day => "2024-01-31",
            Unit::Week => "2024-W05",
            Unit::Month => "2024-01",
            Unit::Year => "2024",
        }
    }

    /// The number of the unit that a day is in: of two units, the later one has the greater number, and the next one
    /// has the next.
    #[must_use]
    pub fn place(self, day: Day) -> i32 {
        match self {
            Unit::Day => day.0,
            // 1970 began on a Thursday.
            Unit::Week => (day.0 + 3).div_euclid(7),
            Unit::Month => {
                let (year, month, _) = day.parts();
                year * 12 + month - 1
            }
            Unit::Year => day.parts().0,
        }
    }

    /// The first day of the unit of a number. `None`: it is not in the calendar.
    #[must_use]
    pub fn first_day(self, place: i32) -> Option<Day> {
        let of = |year: i32, month: i32| Day::of(u16::try_from(year).ok()?, u8::try_from(month).ok()?, 1);
        match self {
            Unit::Day => Day::at(place),
            Unit::Week => Day::at(place.checked_mul(7)?.checked_sub(3)?),
            Unit::Month => of(place.div_euclid(12), place.rem_euclid(12) + 1),
            Unit::Year => of(place, 1),
        }
    }
}

fn is_leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn length(year: i32, month: i32) -> i32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i32, month: i32) -> i32 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    (year - 1970) * 365 + leap_days + (1..month).map(|month| length(year, month)).sum::<i32>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(Day::of(1970, 1, 1).unwrap().number(), 0);
        assert_eq!(Day::of(2000, 3, 1).unwrap().number(), 11_017);
        assert_eq!(Day::of(1969, 12, 31).unwrap().number(), -1);
        for (year, month, day) in [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1)] {
            assert_eq!(Day::of(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!((Day::of(999, 12, 31), Day::of(0, 0, 0), Day::of(10_000, 1, 1)), (None, None, None));
        assert_eq!(Day::of(9999, 12, 31).unwrap().next(), None);
    }

    /// Two cycles of leap years, one day after the other, by the rules that everybody learns.
    #[test]
    fn the_calendar_is_walked_day_by_day() {
        let (mut year, mut month, mut day) = (1600_u16, 1_u8, 1_u8);
        let mut at = Day::of(year, month, day).unwrap();
        let mut weeks = (Unit::Week.place(at), 0);
        while year < 2400 {
            assert_eq!(Day::of(year, month, day), Some(at));
            assert_eq!(at.to_string(), format!("{year:04}-{month:02}-{day:02}"));
            assert_eq!(Unit::Month.place(at), i32::from(year) * 12 + i32::from(month) - 1);
            assert_eq!(Unit::Year.place(at), i32::from(year));
            if Unit::Week.place(at) == weeks.0 {
                weeks.1 += 1;
            } else {
                assert!(weeks.1 == 7 || year == 1600, "a week of {} days before {at}", weeks.1);
                weeks = (Unit::Week.place(at), 1);
            }
            at = at.next().unwrap();
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            let last = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == last[usize::from(month) - 1] => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn units_are_read_in_their_own_form_alone() {
        let forms = ["2024-01-31", "2024-W05", "2024-01", "2024"];
        for (_, unit) in Unit::NAMED {
            for form in forms {
                assert_eq!(unit.read(form).is_some(), form == unit.example(), "{unit:?} {form}");
            }
        }
        for wrong in
            ["2024-1", "2024-13", "2024-00", "0999-01", "24-01", "2024-01-", "2024/01", "", "-", "２024-01"]
        {
            assert_eq!(Unit::Month.read(wrong), None, "{wrong}");
        }
        assert_eq!(Unit::Day.read("2023-02-29"), None);
        let week = |text: &str| Unit::Week.read(text).map(|day| day.to_string());
        assert_eq!(week("2024-W01").as_deref(), Some("2024-01-01"));
        assert_eq!(week("2021-W01").as_deref(), Some("2021-01-04"));
        assert_eq!(week("2020-W53").as_deref(), Some("2020-12-28"));
        assert_eq!((week("2021-W53"), week("2024-W00"), week("2024-05")), (None, None, None));
    }

    proptest! {
        #[test]
        fn a_day_is_in_the_unit_that_begins_last_before_it(number in -354_285_i32..2_932_896) {
            let day = Day::at(number).unwrap();
            for (_, unit) in Unit::NAMED {
                let place = unit.place(day);
                prop_assert!(unit.first_day(place).is_none_or(|first| first <= day));
                prop_assert!(unit.first_day(place + 1).is_none_or(|first| first > day));
            }
        }
    }
}
