//! Constants as the columns they are compared with take them, and how a row's value stands to them.

use std::cmp::Ordering;

use shardway_routing::schema::{ColumnKind, Sign};

use super::parse::Literal;
use crate::image::hex;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Constant {
    Integer(i128),
    /// `2024-01-31`
    Date(String),
    /// `2024-01-31 12:00:00`
    DateTime(String),
    /// Seconds since 1970, of a column that holds such.
    Timestamp {
        text: String,
        seconds: i64,
    },
    Bytes(Vec<u8>),
    /// The shorter one goes on with spaces.
    Padded(Vec<u8>),
}

impl Constant {
    pub(super) fn of(literal: &Literal, kind: &ColumnKind) -> Result<Constant, String> {
        match (kind, literal) {
            (ColumnKind::Integer { bits, sign }, Literal::Integer(value)) => {
                let (least, most) = range(*bits, *sign);
                if !(least..=most).contains(value) {
                    return Err(format!(
                        "{value} is not between {least} and {most}, which the column can hold"
                    ));
                }
                Ok(Constant::Integer(*value))
            }
            (ColumnKind::Integer { .. }, Literal::Text(_)) => {
                Err("a number is compared with a text".to_owned())
            }
            (ColumnKind::Date, Literal::Text(text)) if day(text).is_some() => {
                Ok(Constant::Date(text.clone()))
            }
            (ColumnKind::Date, _) => Err("must be compared with a day like '2024-01-31'".to_owned()),
            (ColumnKind::DateTime, Literal::Text(text)) => {
                moment(text).map(|(text, _)| Constant::DateTime(text))
            }
            (ColumnKind::Timestamp, Literal::Text(text)) => {
                let (text, seconds) = moment(text)?;
                // Earlier ones and later ones are not in every server's column.
                if !(31_536_000..=2_145_916_799).contains(&seconds) {
                    return Err("a TIMESTAMP is compared with a time between 1971 and 2037".to_owned());
                }
                Ok(Constant::Timestamp { text, seconds })
            }
            (ColumnKind::DateTime | ColumnKind::Timestamp, _) => {
                Err("must be compared with a time like '2024-01-31 12:00:00' (UTC)".to_owned())
            }
            (ColumnKind::Binary, Literal::Text(text)) => Ok(Constant::Bytes(ascii(text)?)),
            (ColumnKind::Text { charset, collation }, Literal::Text(text)) => {
                let is_exact = collation.ends_with("_bin")
                    && !["nopad", "0900"].iter().any(|other| collation.contains(other))
                    && ["ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"].contains(&charset.as_str());
                if !is_exact {
                    return Err(format!(
                        "only the server knows how {collation} compares; texts need a collation like ascii_bin"
                    ));
                }
                ascii(text).map(Constant::Padded)
            }
            (ColumnKind::Binary | ColumnKind::Text { .. }, Literal::Integer(_)) => {
                Err("a text is compared with a number".to_owned())
            }
            _ => Err("columns of this type cannot be compared exactly here".to_owned()),
        }
    }

    /// How a value stands to this. `None`: it is not of the column's type.
    pub(super) fn order_of(&self, field: &[u8]) -> Option<Ordering> {
        let text = || std::str::from_utf8(field).ok();
        match self {
            Constant::Integer(value) => Some(text()?.parse::<i128>().ok()?.cmp(value)),
            Constant::Date(day) => Some(text()?.cmp(day.as_str())),
            Constant::DateTime(moment) => {
                let value = text()?;
                let (seconds, fraction) = value.split_once('.').unwrap_or((value, ""));
                let has_more = fraction.bytes().any(|digit| digit != b'0');
                Some(seconds.cmp(moment.as_str()).then(has_more.cmp(&false)))
            }
            Constant::Timestamp { seconds, .. } => {
                let value = text()?;
                let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
                let has_more = fraction.bytes().any(|digit| digit != b'0');
                Some(whole.parse::<i64>().ok()?.cmp(seconds).then(has_more.cmp(&false)))
            }
            Constant::Bytes(bytes) => Some(field.cmp(bytes.as_slice())),
            Constant::Padded(bytes) => Some(padded(field, bytes)),
        }
    }

    pub(super) fn sql(&self, kind: &ColumnKind) -> String {
        match (self, kind) {
            (Constant::Integer(value), _) => value.to_string(),
            (Constant::Date(text) | Constant::DateTime(text) | Constant::Timestamp { text, .. }, _) => {
                format!("'{text}'")
            }
            (Constant::Padded(bytes), ColumnKind::Text { charset, .. }) => {
                format!("_{charset} x'{}'", hex(bytes))
            }
            (Constant::Bytes(bytes) | Constant::Padded(bytes), _) => format!("x'{}'", hex(bytes)),
        }
    }
}

fn range(bits: u8, sign: Sign) -> (i128, i128) {
    match sign {
        Sign::Signed => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        Sign::Unsigned => (0, (1 << bits) - 1),
    }
}

fn ascii(text: &str) -> Result<Vec<u8>, String> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(text.as_bytes().to_vec())
    } else {
        Err("texts are compared with plain ASCII only".to_owned())
    }
}

fn padded(one: &[u8], other: &[u8]) -> Ordering {
    let at = |bytes: &[u8], place: usize| bytes.get(place).copied().unwrap_or(b' ');
    let longest = one.len().max(other.len());
    (0..longest)
        .map(|place| at(one, place).cmp(&at(other, place)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The days since 1970 of `2024-01-31`. `None`: it is no day.
fn day(text: &str) -> Option<i64> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00" {
        return None;
    }
    let (year, month, day): (i64, i64, i64) =
        (text[..4].parse().ok()?, text[5..7].parse().ok()?, text[8..].parse().ok()?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1000 || !(1..=longest).contains(&day) {
        return None;
    }
    // Years begin in March here, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days - 719_468)
}

/// A moment with its time of the day, and its seconds since 1970 in UTC.
fn moment(text: &str) -> Result<(String, i64), String> {
    let wrong = || format!("'{text}' is no time like '2024-01-31' or '2024-01-31 12:00:00' (UTC)");
    let (date, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let days = day(date).ok_or_else(wrong)?;
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "00:00:00" {
        return Err(wrong());
    }
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().map_err(|_| wrong());
    let (hours, minutes, seconds) = (number(0..2)?, number(3..5)?, number(6..8)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(wrong());
    }
    Ok((format!("{date} {time}"), days * 86_400 + hours * 3_600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_1970() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29 23:59:59", Some(951_868_799)),
            ("2024-03-01", Some(1_709_251_200)),
            ("2038-01-19 03:14:07", Some(2_147_483_647)),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("2024-01-01 24:00:00", None),
            ("2024-1-1", None),
        ] {
            assert_eq!(moment(text).ok().map(|(_, seconds)| seconds), seconds, "{text}");
        }
    }
}
