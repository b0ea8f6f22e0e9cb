//! What the planner and the row images need to know of a table's columns, as a server reported them.
//!
//! Reading `information_schema` is the caller's business; this module holds the result and the questions asked of it.

use serde::{Deserialize, Serialize};

/// The columns and unique keys of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableSchema {
    /// In the table's own order, generated columns included.
    pub columns: Vec<Column>,
    /// Columns of the primary key, in key order, or of the unique key that stands in for it; empty when there is neither.
    pub primary: Vec<String>,
    /// The unique key over columns that are never NULL by which a table without primary key finds its rows.
    #[serde(default)]
    pub stand_in: Option<String>,
    /// Unique keys besides that one.
    pub unique: Vec<UniqueKey>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
    pub nullable: bool,
    pub generation: Generation,
    /// The longest value, of text, bytes and fractions of a second.
    pub longest: Option<Length>,
}

/// A length as its column counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Length {
    Characters(u64),
    Bytes(u64),
    /// Of a fraction of a second.
    Digits(u8),
}

/// Who supplies a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generation {
    /// The statement or the default.
    Stored,
    /// Likewise, and the server whenever another column of the row changes: `ON UPDATE CURRENT_TIMESTAMP`.
    Touched,
    /// The server, from other columns; it must never be written.
    Computed,
    /// The server's `AUTO_INCREMENT` where the statement gives none.
    AutoIncrement,
}

/// A unique key besides the one that identifies rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKey {
    pub name: String,
    /// In key order. A part of a column and an expression are what its server writes for them, ``name(5)`` and
    /// ``(lower(`name`))``, which is no column's name: of such a key nothing is known but that it is there.
    pub columns: Vec<String>,
}

/// Types, as far as routing, ordering and exact transfer tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnKind {
    /// `TINYINT` to `BIGINT`; `bits` is 8, 16, 24, 32 or 64.
    Integer {
        bits: u8,
        sign: Sign,
    },
    Decimal,
    Float,
    Double,
    Bit,
    Year,
    Date,
    Time,
    DateTime,
    Timestamp,
    /// `CHAR`, `VARCHAR`, `TEXT` of any size.
    Text {
        charset: String,
        collation: String,
    },
    /// `BINARY`, `VARBINARY`, `BLOB` of any size.
    Binary,
    Enum,
    Set,
    Json,
    Geometry,
    /// MySQL's `VECTOR`.
    Vector,
    /// MariaDB's `UUID`.
    Uuid,
    /// MariaDB's `INET4` of 4 bytes and `INET6` of 16.
    Inet {
        bytes: u8,
    },
    /// Whatever else there may be.
    Other(String),
}

/// Whether an integer column has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    Signed,
    Unsigned,
}

impl ColumnKind {
    /// Do equal values have one form only, so that a key of them names one row?
    #[must_use]
    pub fn compares_exactly(&self) -> bool {
        use ColumnKind::{Double, Float, Geometry, Json, Vector};
        !matches!(self, Float | Double | Json | Geometry | Vector)
    }
}

impl TableSchema {
    /// The column of that name in any letter case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The index of the primary key.
    #[must_use]
    pub fn primary_index(&self) -> &str {
        self.stand_in.as_deref().unwrap_or("PRIMARY")
    }

    /// Equal for equal schemas, also in another process of the same version. One that tells schemas in another way may
    /// find another number for the same table, which is then asked for again.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{self:?}").as_bytes())
    }

    /// Has it a unique key without that column, so that rows which differ in it may want the same value?
    #[must_use]
    pub fn has_unique_without(&self, column: &str) -> bool {
        let has = |columns: &Vec<String>| columns.iter().any(|of| of.eq_ignore_ascii_case(column));
        self.unique.iter().map(|key| &key.columns).chain([&self.primary]).any(|columns| !has(columns))
    }

    /// The column that the server numbers by itself.
    #[must_use]
    pub fn auto_increment(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.generation == Generation::AutoIncrement)
    }
}
