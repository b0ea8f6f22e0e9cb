//! Shard-key values: what a literal or a bound parameter is, compared as the key's column compares.
//!
//! Two values that MySQL finds equal in the column must become the same [`KeyValue`]. A value whose column value
//! cannot be told exactly (`'17abc'` in an integer column) is [`Exactness::Unknown`]: reads then ask every shard,
//! writes are refused. The opposite is harmless: values that are equal here and differ in MySQL share a shard, and the
//! server that holds the rows tells them apart.
//!
//! Strings are characters in UTF-8 here; whoever reads them from a client that speaks otherwise hands on
//! [`Literal::Opaque`] for what is not ASCII. A number or a string that does not fit its column is
//! [`crate::topology::Layout::holds`]'s business.

mod days;
mod number;
#[cfg(test)]
mod tests;

use number::Decimal;

use crate::day::Day;
use crate::function::ShardFunction;
use crate::moment::Moment;
use crate::schema::{Column, ColumnKind, Generation, Length};

/// A value in the key's own domain, canonical: equal in MySQL means equal here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyValue {
    /// Of an integer column, signed or unsigned.
    Integer(i128),
    /// Of a string column: bytes folded so that the collation's equals are equal bytes.
    Text(Vec<u8>),
    /// Of a column of time: its day. Moments of one day are one key, since they are always on one shard.
    Day(Day),
}

/// How the key's column compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    Integer,
    /// Bytes as they are (`VARBINARY`, `BINARY`), except that trailing zero bytes do not count: `BINARY(n)` adds them
    /// when it stores a value and a binlog takes them off again.
    Binary,
    /// Characters under a collation whose equality on the accepted values we know.
    Text(Case),
    /// `DATE`.
    Date,
    /// `DATETIME`, which keeps so many digits of a fraction of a second.
    DateTime {
        digits: u8,
    },
    /// Under `time`, while nobody could be asked (offline).
    AssumedTime,
    /// Nobody could be asked (offline): integers and canonical integer strings are integers, other strings are
    /// bytes. Used by `explain` and `check`, never to run a statement.
    Assumed,
}

/// What a collation finds equal. Trailing spaces never count: where a collation does not pad, strings that differ in
/// them alone share a shard, which is harmless, and `CHAR` drops them anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `_bin` of utf8mb4: characters are equal to themselves alone.
    Exact,
    /// `_cs`, and `_bin` of other character sets. Only printable ASCII is accepted as a key: of other characters some
    /// are equal, or are replaced where the column's character set lacks them.
    Sensitive,
    /// `_ci`: printable ASCII, folded to lower case.
    Insensitive,
}

/// What a server does with digits of a fraction of a second that a column does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fractions {
    Rounded,
    Truncated,
    /// The session has not said, and servers differ.
    #[default]
    Unknown,
}

/// A literal or parameter as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literal<'a> {
    Null,
    /// An unquoted integer, already signed.
    Integer(i128),
    /// An unquoted number with a point or an exponent, as text.
    Number(&'a [u8]),
    /// A quoted string, unescaped, or a string parameter.
    String(&'a [u8]),
    /// A date, perhaps with a time, of the binary protocol or behind `DATE` or `TIMESTAMP`.
    Moment(Moment),
    /// Anything whose value we do not compute: times of day, hex and bit literals, floats of the binary protocol.
    Opaque,
}

/// What is known of a literal as a value of the key's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exactness {
    Value(KeyValue),
    /// The literal equals no value the column can hold, or is NULL: `=` finds no row.
    Nothing,
    /// It may equal one value or several; we cannot tell.
    Unknown,
}

impl KeyType {
    /// What `literal` is in a column of this type, when compared with `=`.
    #[must_use]
    pub fn compared(&self, literal: Literal<'_>) -> Exactness {
        match (self, literal) {
            (_, Literal::Null) => Exactness::Nothing,
            (_, Literal::Opaque) => Exactness::Unknown,
            (KeyType::Date | KeyType::DateTime { .. } | KeyType::AssumedTime, literal) => {
                days::compared(self, literal).map_or(Exactness::Unknown, Exactness::Value)
            }
            (_, Literal::Moment(_)) => Exactness::Unknown,
            (KeyType::Integer | KeyType::Assumed, Literal::Integer(integer)) => compared_integer(integer),
            (KeyType::Integer | KeyType::Assumed, Literal::Number(text)) => compared_number(text),
            (KeyType::Integer, Literal::String(text)) => compared_digits(text),
            (KeyType::Assumed, Literal::String(text)) => Exactness::Value(assumed(text)),
            (KeyType::Binary, Literal::String(bytes)) => Exactness::Value(unpadded(bytes, 0)),
            (KeyType::Text(case), Literal::String(text)) => {
                case.fold(text).map_or(Exactness::Unknown, Exactness::Value)
            }
            // A string and a number are compared as floating-point numbers: '017', '17.0' and '17 apples' equal 17.
            (KeyType::Binary | KeyType::Text(_), Literal::Integer(_) | Literal::Number(_)) => {
                Exactness::Unknown
            }
        }
    }

    /// What `literal` becomes when it is stored in a column of this type; anything that the server would round,
    /// truncate or reject is [`Exactness::Unknown`], unless it is certain what comes of it.
    #[must_use]
    pub fn stored(&self, literal: Literal<'_>, fractions: Fractions) -> Exactness {
        let exact = match (self, literal) {
            (_, Literal::Null) => return Exactness::Nothing,
            (_, Literal::Opaque) => None,
            (KeyType::Date | KeyType::DateTime { .. } | KeyType::AssumedTime, literal) => {
                days::stored(self, literal, fractions)
            }
            (_, Literal::Moment(_)) => None,
            (KeyType::Integer | KeyType::Assumed, Literal::Integer(integer)) => storable(integer),
            (KeyType::Integer | KeyType::Assumed, Literal::Number(text)) => stored_number(text),
            (KeyType::Integer, Literal::String(text)) => stored_number(trimmed(text)),
            (KeyType::Assumed, Literal::String(text)) => Some(assumed(text)),
            (KeyType::Binary, Literal::String(bytes)) => Some(unpadded(bytes, 0)),
            (KeyType::Text(case), Literal::String(text)) => case.fold(text),
            // The server writes an integer in decimal digits, which no collation we know confuses with others.
            (KeyType::Binary | KeyType::Text(_), Literal::Integer(integer)) => {
                storable(integer).map(|_| KeyValue::Text(integer.to_string().into_bytes()))
            }
            (KeyType::Binary | KeyType::Text(_), Literal::Number(_)) => None,
        };
        exact.map_or(Exactness::Unknown, Exactness::Value)
    }

    /// What rows are compared with by `<`, `>` and their like, as far as keys are in order. `None`: it is not known, or
    /// the order is not ours to know, as that of strings is the collation's.
    #[must_use]
    pub fn bound(&self, literal: Literal<'_>) -> Option<KeyValue> {
        match (self, literal) {
            (KeyType::Integer | KeyType::Assumed, Literal::Integer(value)) => Some(KeyValue::Integer(value)),
            (KeyType::Date | KeyType::DateTime { .. } | KeyType::AssumedTime, literal) => {
                days::bound(self, literal)
            }
            _ => None,
        }
    }

    /// The key type under a function while no server has told of the column.
    #[must_use]
    pub fn assumed(under: &ShardFunction) -> KeyType {
        match under {
            ShardFunction::Time { .. } => KeyType::AssumedTime,
            _ => KeyType::Assumed,
        }
    }

    /// Has no server told of the column yet?
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        matches!(self, KeyType::Assumed | KeyType::AssumedTime)
    }

    /// Is it a column of time?
    #[must_use]
    pub fn is_time(&self) -> bool {
        matches!(self, KeyType::Date | KeyType::DateTime { .. } | KeyType::AssumedTime)
    }

    /// The key type of a column, or a sentence saying why such a column cannot be a shard key.
    ///
    /// # Errors
    /// Types without exact equality, and collations whose equality we do not know.
    pub fn of(column: &Column) -> Result<KeyType, String> {
        let kind = match &column.kind {
            ColumnKind::Integer { .. } => return Ok(KeyType::Integer),
            ColumnKind::Binary => return Ok(KeyType::Binary),
            ColumnKind::Text { collation, .. } => return text(&column.name, collation),
            ColumnKind::Date => return Ok(KeyType::Date),
            ColumnKind::DateTime if column.generation == Generation::Touched => {
                "a DATETIME with ON UPDATE, which any UPDATE of its row changes"
            }
            ColumnKind::DateTime => match column.longest {
                Some(Length::Digits(digits)) => return Ok(KeyType::DateTime { digits }),
                _ => "a DATETIME of which the server does not tell how many digits it keeps",
            },
            ColumnKind::Float | ColumnKind::Double => "a floating-point number, which has no exact equality",
            ColumnKind::Decimal => "a DECIMAL",
            ColumnKind::Bit => "a BIT",
            ColumnKind::Year => "a YEAR",
            ColumnKind::Time => "a TIME",
            ColumnKind::Timestamp => "a TIMESTAMP, whose text depends on the session's time zone",
            ColumnKind::Enum => "an ENUM, which compares by number as well as by name",
            ColumnKind::Set => "a SET",
            ColumnKind::Json => "JSON",
            ColumnKind::Geometry => "a geometry",
            ColumnKind::Vector => "a VECTOR",
            ColumnKind::Uuid => "a UUID, which has several spellings",
            ColumnKind::Inet { .. } => "a network address, which has several spellings",
            ColumnKind::Other(name) => name,
        };
        let name = &column.name;
        Err(format!(
            "column `{name}` is {kind}; a shard key must be an integer, a string, binary, or under kind = \"time\" a DATE or a DATETIME"
        ))
    }
}

impl KeyValue {
    /// The bytes that hash functions see: a tag byte, then 16 big-endian bytes of an integer, the folded text, or four
    /// big-endian bytes of a day's number.
    /// Part of the data's layout: changing it would move every row.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            KeyValue::Integer(integer) => {
                out.push(1);
                out.extend_from_slice(&integer.to_be_bytes());
            }
            KeyValue::Text(text) => {
                out.push(2);
                out.extend_from_slice(text);
            }
            KeyValue::Day(day) => {
                out.push(3);
                out.extend_from_slice(&day.number().to_be_bytes());
            }
        }
    }

    /// The key whose canonical bytes these are.
    #[must_use]
    pub fn from_canonical(bytes: &[u8]) -> Option<KeyValue> {
        match bytes.split_first()? {
            (1, integer) => Some(KeyValue::Integer(i128::from_be_bytes(integer.try_into().ok()?))),
            (2, text) => Some(KeyValue::Text(text.to_vec())),
            (3, day) => Day::at(i32::from_be_bytes(day.try_into().ok()?)).map(KeyValue::Day),
            _ => None,
        }
    }
}

impl std::fmt::Display for KeyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyValue::Integer(integer) => write!(f, "{integer}"),
            KeyValue::Text(text) => write!(f, "'{}'", String::from_utf8_lossy(text)),
            KeyValue::Day(day) => write!(f, "{day}"),
        }
    }
}

impl Case {
    fn fold(self, text: &[u8]) -> Option<KeyValue> {
        let accepted = match self {
            Case::Exact => std::str::from_utf8(text).is_ok(),
            Case::Sensitive | Case::Insensitive => text.iter().all(|byte| (b' '..=b'~').contains(byte)),
        };
        accepted.then(|| match self {
            Case::Exact | Case::Sensitive => unpadded(text, b' '),
            Case::Insensitive => unpadded(&text.to_ascii_lowercase(), b' '),
        })
    }
}

/// What a collation finds equal, for the families where we know it: languages that find other ASCII
/// letters equal (`i` and `y` in Lithuanian, `u` and `v` in Latin) are left out.
fn text(column: &str, collation: &str) -> Result<KeyType, String> {
    const NEUTRAL: &[&str] = &[
        "",
        "0900",
        "0900_ai",
        "0900_as",
        "general",
        "general_mysql500",
        "unicode",
        "unicode_520",
        "uca1400_ai",
        "uca1400_as",
    ];
    const LATIN1: &[&str] = &["", "general", "swedish", "danish", "german1", "german2", "spanish"];
    let known = || {
        let lower = collation.to_ascii_lowercase();
        let lower = lower.replace("_nopad", "");
        let (charset, rest) = lower.split_once('_')?;
        let (family, suffix) = rest.rsplit_once('_').unwrap_or(("", rest));
        let families = match charset {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => NEUTRAL,
            "latin1" => LATIN1,
            _ => return None,
        };
        let case = match suffix {
            "bin" if charset == "utf8mb4" => Case::Exact,
            "bin" | "cs" => Case::Sensitive,
            "ci" => Case::Insensitive,
            _ => return None,
        };
        families.contains(&family).then_some(KeyType::Text(case))
    };
    known().ok_or_else(|| {
        format!(
            "column `{column}` has the collation {collation}, of which it is not known which values it finds equal; \
             a shard key needs one like utf8mb4_bin, utf8mb4_general_ci or utf8mb4_0900_ai_ci"
        )
    })
}

fn compared_integer(integer: i128) -> Exactness {
    storable(integer).map_or(Exactness::Nothing, Exactness::Value)
}

/// A number with a point is a DECIMAL and compared exactly; with an exponent it is a double.
fn compared_number(text: &[u8]) -> Exactness {
    match Decimal::read(text) {
        Some(number) if number.is_double() => number.as_double(),
        Some(number) => match number.integer() {
            Some(integer) => compared_integer(integer),
            None if number.fits_decimal() => Exactness::Nothing,
            None => Exactness::Unknown,
        },
        None => Exactness::Unknown,
    }
}

/// A string is compared as a double, except that an integer in digits is compared exactly with a `BIGINT`. Narrower
/// columns hold no value for which that makes a difference.
fn compared_digits(text: &[u8]) -> Exactness {
    match Decimal::read(trimmed(text)) {
        Some(number) if number.is_digits() => match number.integer() {
            // Beyond the column's range the server falls back to doubles; the sign of the column is not known here.
            Some(integer) if i64::try_from(integer).is_ok() => Exactness::Value(KeyValue::Integer(integer)),
            _ => Exactness::Unknown,
        },
        Some(number) => number.as_double(),
        None => Exactness::Unknown,
    }
}

fn stored_number(text: &[u8]) -> Option<KeyValue> {
    let number = Decimal::read(text)?;
    if number.is_double() {
        return match number.as_double() {
            Exactness::Value(value) => Some(value),
            Exactness::Nothing | Exactness::Unknown => None,
        };
    }
    number.integer().and_then(storable)
}

/// An integer that some integer column can hold.
fn storable(integer: i128) -> Option<KeyValue> {
    let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
    range.contains(&integer).then_some(KeyValue::Integer(integer))
}

/// Offline, a string that an integer would be printed as is that integer.
fn assumed(text: &[u8]) -> KeyValue {
    let integer = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    match integer {
        Some(integer) if integer.to_string().as_bytes() == text => KeyValue::Integer(integer.into()),
        _ => KeyValue::Text(text.to_vec()),
    }
}

fn unpadded(text: &[u8], filler: u8) -> KeyValue {
    let end = text.iter().rposition(|&byte| byte != filler).map_or(0, |last| last + 1);
    KeyValue::Text(text[..end].to_vec())
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| byte != b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|&byte| byte != b' ').map_or(start, |last| last + 1);
    &text[start..end]
}
