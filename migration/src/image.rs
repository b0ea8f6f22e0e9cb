//! How one table's rows are read and written exactly.
//!
//! An image is a row's stored columns, each in a form that no session setting changes: numbers in digits, text and
//! bytes in hexadecimal, moments as seconds since 1970. Its inverse writes the same value on any server with the same
//! table. Generated columns are left to the server. Pure: this makes SQL text, others run it.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use shardway_routing::key::{Exactness, KeyType, KeyValue, Literal};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::schema::{ColumnKind, Generation, TableSchema};

/// What every session that writes images must have set.
pub const SESSION: [(&str, &str); 4] = [
    ("time_zone", "'+00:00'"),
    ("sql_mode", "'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"),
    ("innodb_lock_wait_timeout", "1"),
    ("foreign_key_checks", "0"),
];

/// The columns of a table, as images hold them.
#[derive(Debug, Clone)]
pub struct ImageShape {
    columns: Vec<(String, ColumnKind)>,
    /// Places of the primary key's columns.
    primary: Vec<usize>,
    unique: FurtherUnique,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FurtherUnique {
    No,
    /// An upsert could hit a row that is not meant.
    Yes,
}

/// A row. `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(pub Vec<Option<Vec<u8>>>);

/// A primary key, in the form that images have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Vec<Vec<u8>>);

impl ImageShape {
    /// The shape of a table.
    ///
    /// # Errors
    /// A table without primary key, or with a column that cannot be carried exactly.
    pub fn of(schema: &TableSchema) -> Result<ImageShape, Refusal> {
        let stored = schema.columns.iter().filter(|column| column.generation != Generation::Computed);
        let columns: Vec<(String, ColumnKind)> =
            stored.map(|column| (column.name.clone(), column.kind.clone())).collect();
        for (name, kind) in &columns {
            if matches!(kind, ColumnKind::Geometry | ColumnKind::Other(_)) {
                return Err(refusal::INEXACT_COLUMN.because(name.clone()));
            }
        }
        let place = |key: &String| columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(key));
        let primary: Option<Vec<usize>> = schema.primary.iter().map(place).collect();
        let primary = primary
            .filter(|primary| !primary.is_empty())
            .ok_or_else(|| refusal::NO_PRIMARY_KEY.because(""))?;
        if primary.iter().any(|place| {
            matches!(columns[*place].1, ColumnKind::Float | ColumnKind::Double | ColumnKind::Json)
        }) {
            return Err(refusal::NO_PRIMARY_KEY.because("of floats"));
        }
        let unique = if schema.unique.is_empty() { FurtherUnique::No } else { FurtherUnique::Yes };
        Ok(ImageShape { columns, primary, unique })
    }

    /// `SELECT` of images; `rest` is what follows the table's name.
    #[must_use]
    pub fn select(&self, table: &str, rest: &str) -> String {
        let all: Vec<String> = self.columns.iter().map(|(name, kind)| read(name, kind, None)).collect();
        format!("SELECT {} FROM {table} {rest}", all.join(", "))
    }

    /// `SELECT` of primary keys; `rest` is what follows the table's name, which may be an alias.
    #[must_use]
    pub fn select_keys(&self, table: &str, alias: Option<&str>, rest: &str) -> String {
        let keys: Vec<String> = self
            .primary
            .iter()
            .map(|place| read(&self.columns[*place].0, &self.columns[*place].1, alias))
            .collect();
        let called = alias.map(|alias| format!(" AS {}", quoted(alias))).unwrap_or_default();
        format!("SELECT {} FROM {table}{called} {rest}", keys.join(", "))
    }

    /// `WHERE` these keys.
    #[must_use]
    pub fn with_keys(&self, keys: &[Key]) -> String {
        let values: Vec<String> = keys.iter().map(|key| self.tuple(key)).collect();
        format!("WHERE ({}) IN ({})", self.key_names().join(", "), values.join(", "))
    }

    /// `WHERE` after this key, in primary-key order.
    #[must_use]
    pub fn after(&self, key: Option<&Key>) -> String {
        let names = self.key_names();
        let order = names.join(", ");
        let Some(key) = key else { return format!("ORDER BY {order}") };
        let literals: Vec<String> =
            self.primary.iter().zip(&key.0).map(|(place, value)| self.literal(*place, Some(value))).collect();
        let mut alternatives = Vec::new();
        for depth in 0..names.len() {
            let mut terms: Vec<String> =
                (0..depth).map(|at| format!("{} = {}", names[at], literals[at])).collect();
            terms.push(format!("{} > {}", names[depth], literals[depth]));
            alternatives.push(format!("({})", terms.join(" AND ")));
        }
        format!("WHERE {} ORDER BY {order}", alternatives.join(" OR "))
    }

    /// Statements after which the table has exactly these rows under their keys.
    #[must_use]
    pub fn upsert(&self, table: &str, images: &[Image]) -> Vec<String> {
        if images.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        let row = |image: &Image| {
            let values: Vec<String> = image
                .0
                .iter()
                .enumerate()
                .map(|(place, field)| self.literal(place, field.as_deref()))
                .collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = images.iter().map(row).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), rows.join(", "));
        if self.unique == FurtherUnique::Yes {
            let keys: Vec<Key> = images.iter().map(|image| self.key_of(image)).collect();
            return vec![self.delete(table, &keys), insert];
        }
        let update: Vec<String> = names.iter().map(|name| format!("{name} = VALUES({name})")).collect();
        vec![format!("{insert} ON DUPLICATE KEY UPDATE {}", update.join(", "))]
    }

    /// Deletes these rows.
    #[must_use]
    pub fn delete(&self, table: &str, keys: &[Key]) -> String {
        format!("DELETE FROM {table} {}", self.with_keys(keys))
    }

    /// The primary key of a row.
    #[must_use]
    pub fn key_of(&self, image: &Image) -> Key {
        Key(self.primary.iter().map(|place| image.0[*place].clone().unwrap_or_default()).collect())
    }

    /// A row's shard key. `None`: NULL, or not exactly a key.
    #[must_use]
    pub fn shard_key(&self, image: &Image, column: &str, key_type: &KeyType) -> Option<KeyValue> {
        let place = self.columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(column))?;
        self.key_value(place, image.0[place].as_deref()?, key_type)
    }

    /// The shard key of a primary key that contains it.
    #[must_use]
    pub fn shard_key_of(&self, key: &Key, column: &str, key_type: &KeyType) -> Option<KeyValue> {
        let at = self.primary.iter().position(|place| self.columns[*place].0.eq_ignore_ascii_case(column))?;
        self.key_value(self.primary[at], &key.0[at], key_type)
    }

    fn key_value(&self, place: usize, field: &[u8], key_type: &KeyType) -> Option<KeyValue> {
        let bytes;
        let literal = match &self.columns[place].1 {
            ColumnKind::Integer { .. } => Literal::Integer(std::str::from_utf8(field).ok()?.parse().ok()?),
            ColumnKind::Text { .. } | ColumnKind::Binary => {
                bytes = unhex(field)?;
                Literal::String(&bytes)
            }
            _ => return None,
        };
        match key_type.compared(literal) {
            Exactness::Value(key) => Some(key),
            Exactness::Nothing | Exactness::Unknown => None,
        }
    }

    fn key_names(&self) -> Vec<String> {
        self.primary.iter().map(|place| quoted(&self.columns[*place].0)).collect()
    }

    fn tuple(&self, key: &Key) -> String {
        let values: Vec<String> =
            self.primary.iter().zip(&key.0).map(|(place, value)| self.literal(*place, Some(value))).collect();
        format!("({})", values.join(", "))
    }

    fn literal(&self, place: usize, field: Option<&[u8]>) -> String {
        match field {
            None => "NULL".to_owned(),
            Some(field) => write(&self.columns[place].1, &String::from_utf8_lossy(field)),
        }
    }
}

/// The expression that reads a column.
fn read(name: &str, kind: &ColumnKind, alias: Option<&str>) -> String {
    let column = match alias {
        Some(alias) => format!("{}.{}", quoted(alias), quoted(name)),
        None => quoted(name),
    };
    match kind {
        ColumnKind::Float => format!("CAST({column} AS DOUBLE)"),
        ColumnKind::Bit | ColumnKind::Year | ColumnKind::Enum | ColumnKind::Set => format!("{column}+0"),
        ColumnKind::Timestamp => format!("UNIX_TIMESTAMP({column})"),
        ColumnKind::Text { .. } | ColumnKind::Binary => format!("HEX({column})"),
        ColumnKind::Json => format!("HEX(CONVERT({column} USING utf8mb4))"),
        _ => column,
    }
}

/// The literal that writes a field back.
fn write(kind: &ColumnKind, field: &str) -> String {
    match kind {
        // An integer literal would lose the sign of zero.
        ColumnKind::Float | ColumnKind::Double if !field.contains('e') => format!("{field}e0"),
        ColumnKind::Date | ColumnKind::Time | ColumnKind::DateTime => format!("'{field}'"),
        ColumnKind::Timestamp if field.bytes().all(|byte| byte == b'0' || byte == b'.') => {
            "'0000-00-00 00:00:00'".to_owned()
        }
        ColumnKind::Timestamp => format!("FROM_UNIXTIME({field})"),
        ColumnKind::Text { charset, .. } => format!("_{charset} x'{field}'"),
        ColumnKind::Json => format!("_utf8mb4 x'{field}'"),
        ColumnKind::Binary => format!("x'{field}'"),
        _ => field.to_owned(),
    }
}

/// A name in backticks.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02X}").expect("a String takes every write");
    }
    text
}

pub(crate) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}
