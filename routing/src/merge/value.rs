//! Sort keys as values that compare as the server compares them.

use std::cmp::Ordering;

use super::row::{BadRow, RowProtocol};
use crate::plan::Comparison;

/// What the order of a column's values needs to know of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Of that many bytes in the binary protocol.
    Integer {
        width: u8,
        unsigned: Unsigned,
    },
    Decimal,
    Float,
    Double,
    /// `DATE`, `DATETIME`, `TIMESTAMP`.
    Date,
    Time,
    /// Strings and whatever else has no order of its own.
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    Yes,
    No,
}

/// A sort key's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SortValue {
    Integer(i128),
    Decimal { negative: bool, whole: Vec<u8>, fraction: Vec<u8> },
    Double(f64),
    Bytes(Vec<u8>),
}

impl ColumnType {
    /// Bytes in the binary protocol, where they are always as many.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            ColumnType::Integer { width, .. } => Some(usize::from(width)),
            ColumnType::Float => Some(4),
            ColumnType::Double => Some(8),
            ColumnType::Decimal | ColumnType::Date | ColumnType::Time | ColumnType::Bytes => None,
        }
    }

    pub(super) fn is_temporal(self) -> bool {
        matches!(self, ColumnType::Date | ColumnType::Time)
    }
}

/// Reads a value that is not NULL.
pub(super) fn read(
    bytes: &[u8],
    of: ColumnType,
    protocol: RowProtocol,
    compare: Comparison,
) -> Result<SortValue, BadRow> {
    if compare != Comparison::ByType {
        return Ok(SortValue::Bytes(bytes.to_vec()));
    }
    match (of, protocol) {
        (ColumnType::Bytes, _) => Err(BadRow),
        (ColumnType::Decimal, _) => decimal(bytes),
        (ColumnType::Integer { .. }, RowProtocol::Text) => parsed(bytes).map(SortValue::Integer),
        (ColumnType::Float | ColumnType::Double, RowProtocol::Text) => parsed(bytes).map(SortValue::Double),
        (ColumnType::Date, RowProtocol::Text) => Ok(SortValue::Bytes(bytes.to_vec())),
        (ColumnType::Time, RowProtocol::Text) => time_text(bytes).map(SortValue::Integer),
        (ColumnType::Integer { unsigned, .. }, RowProtocol::Binary) => {
            let mut all = [0; 8];
            all.get_mut(..bytes.len()).ok_or(BadRow)?.copy_from_slice(bytes);
            let raw = u64::from_le_bytes(all);
            let unused = 64 - 8 * u32::try_from(bytes.len()).map_err(|_| BadRow)?;
            let signed = (raw << unused).cast_signed() >> unused;
            let value = if unsigned == Unsigned::Yes { i128::from(raw) } else { i128::from(signed) };
            Ok(SortValue::Integer(value))
        }
        (ColumnType::Float, RowProtocol::Binary) => {
            let value = f32::from_le_bytes(bytes.try_into().map_err(|_| BadRow)?);
            Ok(SortValue::Double(f64::from(value)))
        }
        (ColumnType::Double, RowProtocol::Binary) => {
            bytes.try_into().map(|bytes| SortValue::Double(f64::from_le_bytes(bytes))).map_err(|_| BadRow)
        }
        (ColumnType::Date, RowProtocol::Binary) => Ok(SortValue::Bytes(date(bytes))),
        (ColumnType::Time, RowProtocol::Binary) => time(bytes).map(SortValue::Integer),
    }
}

/// Compares two values of the same column.
pub(super) fn compare(one: &SortValue, other: &SortValue, by: Comparison) -> Ordering {
    match (one, other) {
        (SortValue::Integer(one), SortValue::Integer(other)) => one.cmp(other),
        (SortValue::Double(one), SortValue::Double(other)) => {
            one.partial_cmp(other).unwrap_or(Ordering::Equal)
        }
        (SortValue::Bytes(one), SortValue::Bytes(other)) => match by {
            Comparison::PaddedWeights { space, width } => padded(one, other, &space[..usize::from(width)]),
            Comparison::ByType | Comparison::Bytes => one.cmp(other),
        },
        (
            SortValue::Decimal { negative: left_negative, whole: left_whole, fraction: left_fraction },
            SortValue::Decimal { negative, whole, fraction },
        ) => {
            let magnitude = || {
                left_whole
                    .len()
                    .cmp(&whole.len())
                    .then_with(|| left_whole.cmp(whole))
                    .then_with(|| left_fraction.cmp(fraction))
            };
            match (left_negative, negative) {
                (false, false) => magnitude(),
                (true, true) => magnitude().reverse(),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
            }
        }
        _ => Ordering::Equal,
    }
}

/// The shorter one goes on with spaces.
fn padded(one: &[u8], other: &[u8], space: &[u8]) -> Ordering {
    let length = one.len().max(other.len());
    let filled = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or_else(|| space[at % space.len()]);
    (0..length)
        .map(|at| filled(one, at).cmp(&filled(other, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn text(bytes: &[u8]) -> Result<&str, BadRow> {
    std::str::from_utf8(bytes).map_err(|_| BadRow)
}

fn parsed<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, BadRow> {
    text(bytes)?.parse().map_err(|_| BadRow)
}

fn decimal(bytes: &[u8]) -> Result<SortValue, BadRow> {
    let text = text(bytes)?;
    let digits = text.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0').as_bytes().to_vec();
    let fraction = fraction.trim_end_matches('0').as_bytes().to_vec();
    // There is no negative zero.
    let negative = text.starts_with('-') && !(whole.is_empty() && fraction.is_empty());
    Ok(SortValue::Decimal { negative, whole, fraction })
}

/// `-838:59:59.000000` in microseconds.
fn time_text(bytes: &[u8]) -> Result<i128, BadRow> {
    let text = text(bytes)?;
    let (clock, fraction) =
        text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
    let mut micros = 0_i128;
    for part in clock.split(':') {
        micros = micros * 60 + part.parse::<i128>().map_err(|_| BadRow)?;
    }
    let fraction = format!("{fraction:0<6}").parse::<i128>().map_err(|_| BadRow)?;
    let micros = micros * 1_000_000 + fraction;
    Ok(if text.starts_with('-') { -micros } else { micros })
}

/// Year, month, day, hour, minute, second, microsecond, most significant byte first.
fn date(bytes: &[u8]) -> Vec<u8> {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let mut ordered = vec![at(1), at(0)];
    ordered.extend((2..7).map(at));
    ordered.extend((7..11).rev().map(at));
    ordered
}

fn time(bytes: &[u8]) -> Result<i128, BadRow> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let number = |from: usize| {
        let four = bytes.get(from..from + 4).and_then(|four| four.try_into().ok());
        four.map(u32::from_le_bytes).map(i128::from)
    };
    let small = |at: usize| bytes.get(at).map(|byte| i128::from(*byte)).ok_or(BadRow);
    let days = number(1).ok_or(BadRow)?;
    let seconds = ((days * 24 + small(5)?) * 60 + small(6)?) * 60 + small(7)?;
    let micros = seconds * 1_000_000 + number(8).unwrap_or(0);
    Ok(if bytes[0] == 1 { -micros } else { micros })
}
