//! The types that columns have in the log, and how many bytes a value takes there. Pure.

use super::bytes::{Bytes, big};
use super::error::StreamError;

/// How a column's values are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Integer {
        bytes: usize,
    },
    Float,
    Double,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Year,
    Date,
    Time {
        digits: usize,
    },
    DateTime {
        digits: usize,
    },
    Timestamp {
        digits: usize,
    },
    /// Temporal columns made before fractions of seconds existed.
    Old {
        bytes: usize,
    },
    Bit {
        bytes: usize,
    },
    /// `CHAR` and `BINARY`, whose padding is not logged; `width` is in bytes.
    Fixed {
        width: usize,
    },
    /// `VARCHAR` and `VARBINARY`.
    Varying {
        width: usize,
    },
    /// `TEXT` and `BLOB`; `prefix` is how many bytes the length takes.
    Long {
        prefix: usize,
    },
    Json {
        prefix: usize,
    },
    Geometry {
        prefix: usize,
    },
    Enum {
        bytes: usize,
    },
    Set {
        bytes: usize,
    },
    /// A type without known length, so that no column behind it can be read.
    Unknown(u8),
}

impl Wire {
    /// The type of the next column of a table map; `details` are what follows for all columns.
    pub fn of(code: u8, details: &mut Bytes<'_>) -> Result<Wire, StreamError> {
        Ok(match code {
            1 => Wire::Integer { bytes: 1 },
            2 => Wire::Integer { bytes: 2 },
            3 => Wire::Integer { bytes: 4 },
            8 => Wire::Integer { bytes: 8 },
            9 => Wire::Integer { bytes: 3 },
            4 | 5 => match details.byte()? {
                4 => Wire::Float,
                8 => Wire::Double,
                _ => return Err(StreamError::garbled("a floating-point column has an impossible width")),
            },
            7 => Wire::Old { bytes: 4 },
            11 => Wire::Old { bytes: 3 },
            12 => Wire::Old { bytes: 8 },
            10 | 14 => Wire::Date,
            13 => Wire::Year,
            15 => Wire::Varying { width: details.size(2)? },
            16 => {
                let (bits, bytes) = (details.byte()?, details.byte()?);
                Wire::Bit { bytes: usize::from(bytes) + usize::from(bits > 0) }
            }
            17 => Wire::Timestamp { digits: fraction(details)? },
            18 => Wire::DateTime { digits: fraction(details)? },
            19 => Wire::Time { digits: fraction(details)? },
            245 => Wire::Json { prefix: prefix(details)? },
            246 => {
                let (precision, scale) = (usize::from(details.byte()?), usize::from(details.byte()?));
                if scale > precision {
                    return Err(StreamError::garbled("a decimal column has more decimals than digits"));
                }
                Wire::Decimal { precision, scale }
            }
            242 | 252 => Wire::Long { prefix: prefix(details)? },
            254 => string(details.byte()?, details.byte()?)?,
            255 => Wire::Geometry { prefix: prefix(details)? },
            other => Wire::Unknown(other),
        })
    }

    /// The bytes of the next value, without its length.
    pub fn take<'a>(self, bytes: &mut Bytes<'a>) -> Result<&'a [u8], StreamError> {
        let count = match self {
            Wire::Integer { bytes }
            | Wire::Old { bytes }
            | Wire::Bit { bytes }
            | Wire::Enum { bytes }
            | Wire::Set { bytes } => bytes,
            Wire::Year => 1,
            Wire::Date => 3,
            Wire::Float => 4,
            Wire::Double => 8,
            Wire::Decimal { precision, scale } => decimal_bytes(precision - scale) + decimal_bytes(scale),
            Wire::Time { digits } => 3 + digits.div_ceil(2),
            Wire::DateTime { digits } => 5 + digits.div_ceil(2),
            Wire::Timestamp { digits } => 4 + digits.div_ceil(2),
            Wire::Fixed { width } | Wire::Varying { width } => bytes.size(if width > 255 { 2 } else { 1 })?,
            Wire::Long { prefix } | Wire::Json { prefix } | Wire::Geometry { prefix } => {
                bytes.size(prefix)?
            }
            Wire::Unknown(code) => return Err(unknown(code)),
        };
        bytes.take(count)
    }
}

/// Why a type cannot be read.
pub(super) fn unknown(code: u8) -> StreamError {
    let what = match code {
        140 | 141 => "a compressed column".to_owned(),
        _ => format!("a column whose type has the number {code} in the log"),
    };
    StreamError::NotSupported { what, remedy: "change the column to an uncompressed, common type" }
}

/// How many bytes that many digits of a decimal take.
pub(super) fn decimal_bytes(digits: usize) -> usize {
    digits / 9 * 4 + PARTIAL[digits % 9]
}

/// Bytes that fewer than nine digits take.
pub(super) const PARTIAL: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

fn fraction(details: &mut Bytes<'_>) -> Result<usize, StreamError> {
    match details.size(1)? {
        digits @ 0..=6 => Ok(digits),
        _ => Err(StreamError::garbled("a temporal column has more than six digits of a second")),
    }
}

fn prefix(details: &mut Bytes<'_>) -> Result<usize, StreamError> {
    match details.size(1)? {
        prefix @ 1..=4 => Ok(prefix),
        _ => Err(StreamError::garbled("a long column has an impossible length prefix")),
    }
}

/// `CHAR`, `BINARY`, `ENUM` and `SET` share a type; the bits of a long width hide in the first byte.
fn string(first: u8, second: u8) -> Result<Wire, StreamError> {
    let bytes = usize::from(second);
    match first | 0x30 {
        247 if matches!(bytes, 1 | 2) => Ok(Wire::Enum { bytes }),
        248 if matches!(bytes, 1..=8) => Ok(Wire::Set { bytes }),
        254 => Ok(Wire::Fixed { width: usize::from((first & 0x30) ^ 0x30) << 4 | bytes }),
        _ => Err(StreamError::garbled("a string column has an impossible type")),
    }
}

/// Groups of up to nine digits of a decimal's whole or fractional part, with their widths.
pub(super) fn decimal_groups<'a>(
    bytes: &mut Bytes<'a>,
    partial_first: Option<usize>,
    full: usize,
    partial_last: Option<usize>,
) -> Result<Vec<(u64, usize)>, StreamError> {
    let widths = partial_first.into_iter().chain(std::iter::repeat_n(9, full)).chain(partial_last);
    let mut groups = Vec::new();
    for width in widths.filter(|width| *width > 0) {
        let group = big(bytes.take(decimal_bytes(width))?);
        if group >= 10_u64.pow(u32::try_from(width).unwrap_or(9)) {
            return Err(StreamError::garbled("a decimal has a digit above nine"));
        }
        groups.push((group, width));
    }
    Ok(groups)
}
