//! Shard-key values: what a literal or a bound parameter is, compared as the key's column compares.
//!
//! Two values that MySQL finds equal in the column must become the same [`KeyValue`]. A value whose column value
//! cannot be told exactly (`'17abc'` in an integer column) is [`Exactness::Unknown`]: reads then ask every shard,
//! writes are refused.

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
        let _ = literal;
        unimplemented!()
    }

    /// What `literal` becomes when it is stored in a column of this type; anything that the server would round,
    /// truncate or reject is [`Exactness::Unknown`].
    #[must_use]
    pub fn stored(&self, literal: Literal<'_>) -> Exactness {
        let _ = literal;
        unimplemented!()
    }

    /// The key type of a column, or a sentence saying why such a column cannot be a shard key.
    ///
    /// # Errors
    /// Floats, nullable kinds without exact equality, and collations whose equality we do not know.
    pub fn of(column: &crate::schema::Column) -> Result<KeyType, String> {
        let _ = column;
        unimplemented!()
    }
}

impl KeyValue {
    /// The bytes that hash functions see: a tag byte, then 16 big-endian bytes of an integer or the folded text.
    /// Part of the data's layout: changing it would move every row.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        let _ = out;
        unimplemented!()
    }
}
