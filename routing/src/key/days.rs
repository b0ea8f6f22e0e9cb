//! The day of a moment, as a client writes moments: what all servers read alike, and nothing else.
//!
//! A column may keep fewer digits of a second than a literal has. That decides about the day only in a day's last
//! second, where rounding reaches the next day; elsewhere digits do not matter here.

use super::{Fractions, KeyType, KeyValue, Literal};
use crate::day::Day;
use crate::moment::Moment;

/// More digits than clients have clocks for.
const DIGITS: usize = 9;
/// What servers read of a fraction before they round it to what a column keeps.
const READ: usize = 6;

/// A moment as it is written.
struct Written {
    day: Day,
    /// Is it in the last second of its day?
    is_last_second: bool,
    /// Digits of a fraction of a second, without zeros at the end.
    fraction: Vec<u8>,
}

/// Where a moment is once its fraction is no longer than a column keeps.
enum Kept {
    SameDay,
    /// Rounded, it is the next day's midnight; truncated, it is not.
    Rounding,
    /// Servers may round it twice.
    Unknown,
}

/// The day of the values that `literal` may equal. A column of days has a moment's day, or no equal at all.
pub(super) fn compared(of: &KeyType, literal: Literal<'_>) -> Option<KeyValue> {
    let written = written(literal)?;
    matches!(written.kept(of), Kept::SameDay).then_some(KeyValue::Day(written.day))
}

/// The day that a column has once `literal` is stored in it.
pub(super) fn stored(of: &KeyType, literal: Literal<'_>, fractions: Fractions) -> Option<KeyValue> {
    let written = written(literal)?;
    let day = match (written.kept(of), of, fractions) {
        (Kept::SameDay, _, _) => written.day,
        (Kept::Rounding, KeyType::DateTime { .. }, Fractions::Rounded) => written.day.next()?,
        (Kept::Rounding, KeyType::DateTime { .. }, Fractions::Truncated) => written.day,
        // Of days alone, servers differ in whether they round at all.
        (Kept::Rounding | Kept::Unknown, _, _) => return None,
    };
    Some(KeyValue::Day(day))
}

/// The day of one end of an interval. Numbers are compared as numbers by some servers, and other forms than the
/// columns' own as texts, whose order is another.
pub(super) fn bound(of: &KeyType, literal: Literal<'_>) -> Option<KeyValue> {
    let is_ordered = match literal {
        Literal::Moment(_) => true,
        Literal::String(text) => {
            let is_own = |text: &[u8]| text[4] == b'-' && text[7] == b'-';
            text.get(..10).is_some_and(is_own) && text.get(10).is_none_or(|byte| !byte.is_ascii_digit())
        }
        _ => false,
    };
    if is_ordered { compared(of, literal) } else { None }
}

impl Written {
    fn kept(&self, of: &KeyType) -> Kept {
        let keeps = match of {
            KeyType::DateTime { digits } => usize::from(*digits),
            KeyType::AssumedTime => READ,
            _ => 0,
        };
        let is_certain = !self.is_last_second || self.fraction.len() <= keeps;
        if is_certain || self.fraction[..keeps].iter().any(|digit| *digit != b'9') {
            return Kept::SameDay;
        }
        match self.fraction.len() > READ {
            true => Kept::Unknown,
            false if self.fraction[keeps] >= b'5' => Kept::Rounding,
            false => Kept::SameDay,
        }
    }
}

fn written(literal: Literal<'_>) -> Option<Written> {
    match literal {
        Literal::Moment(moment) => of_moment(moment),
        Literal::String(text) => of_text(text),
        Literal::Integer(number) => of_text(number.to_string().as_bytes()),
        Literal::Null | Literal::Number(_) | Literal::Opaque => None,
    }
}

fn of_moment(moment: Moment) -> Option<Written> {
    let Moment { year, month, day, hour, minute, second, micros } = moment;
    if !moment.is_valid() {
        return None;
    }
    let day = Day::of(year, month, day)?;
    Some(at(day, [hour, minute, second], format!("{micros:06}").as_bytes()))
}

fn at(day: Day, time: [u8; 3], fraction: &[u8]) -> Written {
    let length = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    Written { day, is_last_second: time == [23, 59, 59], fraction: fraction[..length].to_vec() }
}

/// `2024-1-5`, `2024-01-05 10:00`, `2024-01-05T10:00:00.5`, `20240105`, `20240105100000`. Years have four digits, and
/// there is no offset from another zone.
fn of_text(text: &[u8]) -> Option<Written> {
    let text = std::str::from_utf8(text).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_digits(text);
    }
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || parts.next().is_some() {
        return None;
    }
    let day = Day::of(u16::try_from(number(year, 4)?).ok()?, small(month)?, small(day)?)?;
    let Some(time) = time else { return Some(at(day, [0; 3], b"")) };
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let mut parts = time.split(':');
    let (hour, minute) = (small(parts.next()?)?, small(parts.next()?)?);
    let second = match (parts.next(), fraction) {
        (Some(second), _) => small(second)?,
        (None, None) => 0,
        (None, Some(_)) => return None,
    };
    let is_plain = |digits: &&str| {
        (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if parts.next().is_some() || !fraction.as_ref().is_none_or(is_plain) {
        return None;
    }
    clock(day, [hour, minute, second], fraction.unwrap_or_default())
}

fn of_digits(text: &str) -> Option<Written> {
    let at = |from: usize| small(text.get(from..from + 2)?);
    let time = match text.len() {
        8 => [0; 3],
        14 => [at(8)?, at(10)?, at(12)?],
        _ => return None,
    };
    let year = u16::try_from(number(&text[..4], 4)?).ok()?;
    clock(Day::of(year, at(4)?, at(6)?)?, time, "")
}

fn clock(day: Day, time: [u8; 3], fraction: &str) -> Option<Written> {
    let [hour, minute, second] = time;
    (hour < 24 && minute < 60 && second < 60).then(|| at(day, time, fraction.as_bytes()))
}

fn small(text: &str) -> Option<u8> {
    number(text, 2).and_then(|number| u8::try_from(number).ok())
}

fn number(text: &str, most: usize) -> Option<u32> {
    let is_plain = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}
