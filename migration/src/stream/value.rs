//! A logged value as the field that an image has for it. Pure.
//!
//! What comes out here is, byte for byte, what [`ImageShape::select`] and [`ImageShape::image`] give for the same
//! stored value; a test reads every type both ways.
//!
//! [`ImageShape::select`]: crate::image::ImageShape::select
//! [`ImageShape::image`]: crate::image::ImageShape::image

use std::fmt::Write as _;

use shardway_routing::schema::{ColumnKind, Sign};

use super::bytes::{Bytes, big, little};
use super::error::StreamError;
use super::json;
use super::wire::{Wire, decimal_groups};
use crate::image::sql::{double, width};

/// Can values that are logged so belong to such a column?
pub(super) fn fits(wire: Wire, kind: &ColumnKind) -> bool {
    match (wire, kind) {
        (Wire::Integer { bytes }, ColumnKind::Integer { bits, .. }) => 8 * bytes == usize::from(*bits),
        (Wire::Fixed { width: logged }, ColumnKind::Uuid | ColumnKind::Inet { .. }) => logged == width(kind),
        (Wire::Long { .. }, ColumnKind::Vector) => true,
        (Wire::Fixed { .. } | Wire::Varying { .. } | Wire::Long { .. }, kind) => {
            matches!(kind, ColumnKind::Text { .. } | ColumnKind::Binary)
        }
        (wire, kind) => matches!(
            (wire, kind),
            (Wire::Float, ColumnKind::Float)
                | (Wire::Double, ColumnKind::Double)
                | (Wire::Decimal { .. }, ColumnKind::Decimal)
                | (Wire::Year, ColumnKind::Year)
                | (Wire::Date, ColumnKind::Date)
                | (Wire::Time { .. }, ColumnKind::Time)
                | (Wire::DateTime { .. }, ColumnKind::DateTime)
                | (Wire::Timestamp { .. }, ColumnKind::Timestamp)
                | (Wire::Old { .. }, ColumnKind::Time | ColumnKind::DateTime | ColumnKind::Timestamp)
                | (Wire::Bit { .. }, ColumnKind::Bit)
                | (Wire::Enum { .. }, ColumnKind::Enum)
                | (Wire::Set { .. }, ColumnKind::Set)
                | (Wire::Json { .. }, ColumnKind::Json)
                | (Wire::Geometry { .. }, ColumnKind::Geometry)
        ),
    }
}

/// The field of a value; `bytes` are what [`Wire::take`] gave.
pub(super) fn field(wire: Wire, kind: &ColumnKind, bytes: &[u8]) -> Result<Vec<u8>, StreamError> {
    Ok(match wire {
        Wire::Integer { .. } => integer(kind, bytes),
        Wire::Float => double(f64::from(f32::from_le_bytes(sized(bytes)?))),
        Wire::Double => double(f64::from_le_bytes(sized(bytes)?)),
        Wire::Decimal { precision, scale } => decimal(precision, scale, bytes)?.into_bytes(),
        Wire::Year => digits(match little(bytes) {
            0 => 0,
            years => 1900 + years,
        }),
        Wire::Date => date(little(bytes)).into_bytes(),
        Wire::Time { digits } => time(digits, bytes).into_bytes(),
        Wire::DateTime { digits } => date_time(digits, bytes)?.into_bytes(),
        Wire::Timestamp { digits } => timestamp(digits, bytes).into_bytes(),
        Wire::Bit { .. } => digits(big(bytes)),
        Wire::Enum { .. } | Wire::Set { .. } => digits(little(bytes)),
        Wire::Fixed { width } if *kind == ColumnKind::Binary => padded(bytes, width),
        Wire::Fixed { width } if matches!(kind, ColumnKind::Inet { .. }) => padded(bytes, width),
        Wire::Fixed { .. } if *kind == ColumnKind::Uuid => uuid(sized(&padded(bytes, 16))?).to_vec(),
        Wire::Fixed { .. } | Wire::Varying { .. } | Wire::Long { .. } | Wire::Geometry { .. } => {
            bytes.to_vec()
        }
        Wire::Json { .. } => json::text(bytes)?.into_bytes(),
        Wire::Old { .. } => return Err(old()),
        Wire::Unknown(code) => return Err(super::wire::unknown(code)),
    })
}

/// The log leaves out zeros at the end.
fn padded(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(width.max(bytes.len()), 0);
    padded
}

/// MariaDB stores a UUID of the versions 1 to 5 with its parts in reverse order, so that times sort, and any other one as it
/// is. What is stored tells which: [MDEV-29959](https://jira.mariadb.org/browse/MDEV-29959).
fn uuid(stored: [u8; 16]) -> [u8; 16] {
    let has_variant = stored[6] & 0x80 != 0;
    let has_version = (1..=0x80).contains(&stored[8]);
    if !has_variant || !has_version {
        return stored;
    }
    let [node @ .., s0, s1, h0, h1, m0, m1, l0, l1, l2, l3] = stored;
    let mut parts = [l0, l1, l2, l3, m0, m1, h0, h1, s0, s1, 0, 0, 0, 0, 0, 0];
    parts[10..].copy_from_slice(&node);
    parts
}

fn old() -> StreamError {
    StreamError::NotSupported {
        what: "a temporal column in the format of MySQL 5.5".to_owned(),
        remedy: "rebuild the table with ALTER TABLE … FORCE while mysql56_temporal_format is on",
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StreamError> {
    bytes.try_into().map_err(|_| StreamError::garbled("a number has another width than its type"))
}

fn digits(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn integer(kind: &ColumnKind, bytes: &[u8]) -> Vec<u8> {
    let number = little(bytes);
    let unused = 64 - 8 * u32::try_from(bytes.len().clamp(1, 8)).unwrap_or(8);
    if matches!(kind, ColumnKind::Integer { sign: Sign::Unsigned, .. }) {
        return digits(number);
    }
    // Shifted up and down again, the sign fills the unused bits.
    let signed = number.wrapping_shl(unused).cast_signed() >> unused;
    signed.to_string().into_bytes()
}

/// A decimal: its highest bit says whether it is positive; all bits of a negative one are turned round.
pub(super) fn decimal(precision: usize, scale: usize, bytes: &[u8]) -> Result<String, StreamError> {
    let mut bytes = bytes.to_vec();
    let first = bytes.first_mut().ok_or_else(|| StreamError::garbled("a decimal has no digits"))?;
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut rest = Bytes(&bytes);
    let whole = precision - scale;
    let before = decimal_groups(&mut rest, Some(whole % 9), whole / 9, None)?;
    let after = decimal_groups(&mut rest, None, scale / 9, Some(scale % 9))?;
    let join = |groups: &[(u64, usize)]| {
        groups.iter().fold(String::new(), |mut text, (group, width)| {
            let _ = write!(text, "{group:0width$}");
            text
        })
    };
    let before = join(&before);
    let before = before.trim_start_matches('0');
    let mut text = String::from(if negative { "-" } else { "" });
    text.push_str(if before.is_empty() { "0" } else { before });
    if scale > 0 {
        text.push('.');
        text.push_str(&join(&after));
    }
    Ok(text)
}

fn date(packed: u64) -> String {
    format!("{:04}-{:02}-{:02}", packed >> 9, packed >> 5 & 15, packed & 31)
}

/// A point and that many digits; the log keeps them in pairs.
fn append_fraction(text: &mut String, digits: usize, pairs: u64) {
    if digits > 0 {
        let even = 2 * digits.div_ceil(2);
        let all = format!("{pairs:0even$}");
        text.push('.');
        text.push_str(&all[..digits]);
    }
}

/// Whole part and fraction of a fixed-point number.
fn split(number: u64, digits: usize) -> (u64, u64) {
    let bits = 8 * digits.div_ceil(2);
    (number >> bits, number & ((1 << bits) - 1))
}

/// A time is one signed fixed-point number, raised so that zero lies in the middle.
fn time(digits: usize, bytes: &[u8]) -> String {
    let middle = 1_i64 << (8 * bytes.len() - 1);
    let number = big(bytes).cast_signed() - middle;
    let (whole, fraction) = split(number.unsigned_abs(), digits);
    let mut text = String::from(if number < 0 { "-" } else { "" });
    let _ = write!(text, "{:02}:{:02}:{:02}", whole >> 12 & 0x3FF, whole >> 6 & 63, whole & 63);
    append_fraction(&mut text, digits, fraction);
    text
}

fn date_time(digits: usize, bytes: &[u8]) -> Result<String, StreamError> {
    let middle = 1_u64 << (8 * bytes.len() - 1);
    let number = big(bytes).checked_sub(middle).ok_or_else(|| StreamError::garbled("a date is negative"))?;
    let (whole, fraction) = split(number, digits);
    let (days, seconds) = (whole >> 17, whole & 0x1_FFFF);
    let months = days >> 5;
    let mut text = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        months / 13,
        months % 13,
        days & 31,
        seconds >> 12,
        seconds >> 6 & 63,
        seconds & 63
    );
    append_fraction(&mut text, digits, fraction);
    Ok(text)
}

fn timestamp(digits: usize, bytes: &[u8]) -> String {
    let (seconds, fraction) = split(big(bytes), digits);
    let mut text = seconds.to_string();
    append_fraction(&mut text, digits, fraction);
    text
}
