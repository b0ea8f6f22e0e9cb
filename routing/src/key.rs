//! Shard-key values: what a literal or a bound parameter is, compared as the key's column compares.
//!
//! Two values that MySQL finds equal in the column must become the same [`KeyValue`]. A value whose column value
//! cannot be told exactly (`'17abc'` in an integer column) is [`Exactness::Unknown`]: reads then ask every shard,
//! writes are refused.

use crate::schema::{Column, ColumnKind};

/// A value in the key's own domain, canonical: equal in MySQL means equal here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyValue {
    /// Of an integer column, signed or unsigned.
    Integer(i128),
    /// Of a string column: bytes folded so that the collation's equals are equal bytes.
    Text(Vec<u8>),
}

/// How the key's column compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    Integer,
    /// Bytes as they are (`VARBINARY`, `BINARY`).
    Binary,
    /// Characters under a collation whose equality on the accepted values we know.
    Text(Folding),
    /// Nobody could be asked (offline): integers and canonical integer strings are integers, other strings are
    /// bytes. Used by `explain` and `check`, never to run a statement.
    Assumed,
}

/// What a collation treats as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folding {
    pub case: Case,
    pub padding: Padding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `_bin`, `_cs`: letters in different case differ.
    Sensitive,
    /// `_ci`: only printable ASCII is accepted as a key, lower-cased.
    Insensitive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Trailing spaces do not count.
    Space,
    None,
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
    /// Anything whose value we do not compute: dates, hex and bit literals, floats of the binary protocol.
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
            (KeyType::Integer | KeyType::Assumed, Literal::Integer(value)) => {
                Exactness::Value(KeyValue::Integer(value))
            }
            (KeyType::Integer | KeyType::Assumed, Literal::Number(text)) => whole(text),
            (KeyType::Integer, Literal::String(text)) => integer_string(text),
            (KeyType::Assumed, Literal::String(text)) => match integer_string(text) {
                Exactness::Value(value) => Exactness::Value(value),
                _ => Exactness::Value(KeyValue::Text(text.to_vec())),
            },
            // A string column is compared with a number as numbers: '7', '07' and '7.0' are all equal to 7.
            (KeyType::Binary | KeyType::Text(_), Literal::Integer(_) | Literal::Number(_)) => {
                Exactness::Unknown
            }
            (KeyType::Binary, Literal::String(text)) => Exactness::Value(KeyValue::Text(text.to_vec())),
            (KeyType::Text(folding), Literal::String(text)) => folding.fold(text),
        }
    }

    /// What `literal` becomes when it is stored in a column of this type; anything that the server would round,
    /// truncate or reject is [`Exactness::Unknown`].
    #[must_use]
    pub fn stored(&self, literal: Literal<'_>) -> Exactness {
        match (self, literal) {
            (KeyType::Binary | KeyType::Text(_), Literal::Integer(value)) => {
                self.compared(Literal::String(value.to_string().as_bytes()))
            }
            (_, Literal::Number(_)) => match self.compared(literal) {
                Exactness::Nothing => Exactness::Unknown,
                other => other,
            },
            _ => self.compared(literal),
        }
    }

    /// The key type of a column, or a sentence saying why such a column cannot be a shard key.
    ///
    /// # Errors
    /// Floats, nullable kinds without exact equality, and collations whose equality we do not know.
    pub fn of(column: &Column) -> Result<KeyType, String> {
        match &column.kind {
            ColumnKind::Integer { .. } => Ok(KeyType::Integer),
            // BINARY(n) is padded with zero bytes, which comparison does not undo; VARBINARY is what it is.
            ColumnKind::Binary => Ok(KeyType::Binary),
            ColumnKind::Text { collation, .. } => {
                Folding::of(collation).map(KeyType::Text).ok_or_else(|| {
                    format!(
                        "`{}` has the collation {collation}, whose equality the proxy does not know",
                        column.name
                    )
                })
            }
            other => Err(format!("`{}` is of a type that cannot be a shard key: {other:?}", column.name)),
        }
    }
}

impl Folding {
    fn of(collation: &str) -> Option<Folding> {
        let known = ["utf8", "latin1", "ascii"].iter().any(|charset| collation.starts_with(charset));
        let case = if collation.ends_with("_bin") || collation.ends_with("_cs") {
            Case::Sensitive
        } else if collation.ends_with("_ci") {
            Case::Insensitive
        } else {
            return None;
        };
        let padding = if collation.contains("_0900_") || collation.contains("nopad") {
            Padding::None
        } else {
            Padding::Space
        };
        known.then_some(Folding { case, padding })
    }

    /// Only printable ASCII under collations that fold: what else they find equal is not ours to know.
    fn fold(self, text: &[u8]) -> Exactness {
        let end = match self.padding {
            Padding::Space => text.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1),
            Padding::None => text.len(),
        };
        let text = &text[..end];
        let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
        match self.case {
            Case::Insensitive if printable => Exactness::Value(KeyValue::Text(text.to_ascii_lowercase())),
            Case::Insensitive => Exactness::Unknown,
            Case::Sensitive if printable || std::str::from_utf8(text).is_ok() => {
                Exactness::Value(KeyValue::Text(text.to_vec()))
            }
            Case::Sensitive => Exactness::Unknown,
        }
    }
}

/// A number with a point: a whole one, or one that no integer equals.
fn whole(text: &[u8]) -> Exactness {
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| !text.contains(['e', 'E'])) else {
        return Exactness::Unknown;
    };
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    if after.bytes().any(|digit| digit != b'0') {
        return Exactness::Nothing;
    }
    let before = if before.is_empty() { "0" } else { before };
    before.parse().map_or(Exactness::Unknown, |value| Exactness::Value(KeyValue::Integer(value)))
}

/// A string in an integer's place. Small ones only: MySQL compares through floating point.
fn integer_string(text: &[u8]) -> Exactness {
    const EXACT: i128 = 1 << 53;
    let text = std::str::from_utf8(text).map(str::trim_ascii);
    match text.ok().and_then(|text| text.parse::<i128>().ok()) {
        Some(value) if (-EXACT..=EXACT).contains(&value) => Exactness::Value(KeyValue::Integer(value)),
        _ => Exactness::Unknown,
    }
}

impl KeyValue {
    /// The bytes that hash functions see: a tag byte, then 16 big-endian bytes of an integer or the folded text.
    /// Part of the data's layout: changing it would move every row.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            KeyValue::Integer(value) => {
                out.push(1);
                out.extend_from_slice(&value.to_be_bytes());
            }
            KeyValue::Text(text) => {
                out.push(2);
                out.extend_from_slice(text);
            }
        }
    }

    /// The key whose canonical bytes these are.
    #[must_use]
    pub fn from_canonical(bytes: &[u8]) -> Option<KeyValue> {
        match bytes.split_first()? {
            (1, integer) => Some(KeyValue::Integer(i128::from_be_bytes(integer.try_into().ok()?))),
            (2, text) => Some(KeyValue::Text(text.to_vec())),
            _ => None,
        }
    }
}

impl std::fmt::Display for KeyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyValue::Integer(value) => write!(f, "{value}"),
            KeyValue::Text(text) => write!(f, "'{}'", String::from_utf8_lossy(text)),
        }
    }
}

#[cfg(test)]
mod tests;
