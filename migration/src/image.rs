//! How one table's rows are read and written exactly.
//!
//! An image is a row's stored columns, each in a form that no session setting changes: numbers in digits, text and
//! bytes as they are stored, moments as seconds since 1970. Its inverse writes the same value on any server with the
//! same table. Generated columns are left to the server. Pure: this makes SQL text, others run it.
//!
//! Whoever runs what is made here for writing must have set [`SESSION`]; reading works in a client's session too, where
//! everything that a setting could change travels in hexadecimal ([`Reader`]).

mod bulk;
mod deletion;
mod digest;
#[cfg(test)]
pub(crate) mod example;
pub mod legible;
pub(crate) mod sql;
#[cfg(test)]
mod tests;
pub mod write;

pub use bulk::Bulk;
pub use digest::{Range, Second, Seed};

use std::fmt::Write as _;

use shardway_routing::key::{Exactness, KeyType, KeyValue, Literal};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::schema::{ColumnKind, Generation, TableSchema};

use write::{Verb, Write};

/// What every session that writes images must have set.
pub const SESSION: [(&str, &str); 6] = [
    // Statements hold bytes of several character sets, and answers are bytes as stored.
    ("character_set_client", "binary"),
    ("character_set_results", "NULL"),
    ("time_zone", "'+00:00'"),
    ("sql_mode", "'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"),
    ("innodb_lock_wait_timeout", "1"),
    ("foreign_key_checks", "0"),
];

/// Whose session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// One with [`SESSION`]: stored bytes come as they are.
    Engine,
    /// A client's, with settings of its own.
    Client,
}

/// The columns of a table, as images hold them.
#[derive(Debug, Clone)]
pub struct ImageShape {
    columns: Vec<(String, ColumnKind)>,
    /// Places of the primary key's columns.
    primary: Vec<usize>,
    /// The primary key's index.
    index: String,
    unique: FurtherUnique,
    /// Has it an `AUTO_INCREMENT` column?
    is_numbered: bool,
    /// Which rows walks over the primary key see, as SQL; all of them where there is none.
    condition: Option<String>,
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
            if matches!(kind, ColumnKind::Other(_)) {
                return Err(refusal::INEXACT_COLUMN.because(name.clone()));
            }
        }
        let place = |key: &String| columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(key));
        let primary: Option<Vec<usize>> = schema.primary.iter().map(place).collect();
        let primary = primary
            .filter(|primary| !primary.is_empty())
            .ok_or_else(|| refusal::NO_PRIMARY_KEY.because(""))?;
        if primary.iter().any(|place| !columns[*place].1.compares_exactly()) {
            return Err(refusal::NO_PRIMARY_KEY.because("whose values compare exactly"));
        }
        let unique = if schema.unique.is_empty() { FurtherUnique::No } else { FurtherUnique::Yes };
        Ok(ImageShape {
            columns,
            primary,
            index: schema.primary_index().to_owned(),
            unique,
            is_numbered: schema.auto_increment().is_some(),
            condition: None,
        })
    }

    /// Does the server number rows of the table that come without a number?
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// `SELECT` of images; `rest` is what follows the table's name.
    #[must_use]
    pub fn select(&self, reader: Reader, table: &str, rest: &str) -> String {
        let all: Vec<String> =
            self.columns.iter().map(|(name, kind)| sql::read(reader, name, kind, None)).collect();
        format!("SELECT {} FROM {table} {rest}", all.join(", "))
    }

    /// The image in a row of [`ImageShape::select`]'s answer. `None`: not such a row.
    #[must_use]
    pub fn image(&self, reader: Reader, row: Vec<Option<Vec<u8>>>) -> Option<Image> {
        if row.len() != self.columns.len() {
            return None;
        }
        let field = |(field, (_, kind)): (Option<Vec<u8>>, &(String, ColumnKind))| match field {
            Some(text) => sql::field(reader, kind, text).map(Some),
            None => Some(None),
        };
        row.into_iter().zip(&self.columns).map(field).collect::<Option<_>>().map(Image)
    }

    /// `SELECT` of primary keys; `rest` is what follows the table's name, which may be an alias.
    #[must_use]
    pub fn select_keys(&self, reader: Reader, table: &str, alias: Option<&str>, rest: &str) -> String {
        let keys: Vec<String> = self
            .primary
            .iter()
            .map(|place| sql::read(reader, &self.columns[*place].0, &self.columns[*place].1, alias))
            .collect();
        let called = alias.map(|alias| format!(" AS {}", quoted(alias))).unwrap_or_default();
        format!("SELECT {} FROM {table}{called} {rest}", keys.join(", "))
    }

    /// The key in a row of [`ImageShape::select_keys`]' answer. `None`: not such a row.
    #[must_use]
    pub fn key(&self, reader: Reader, row: Vec<Option<Vec<u8>>>) -> Option<Key> {
        if row.len() != self.primary.len() {
            return None;
        }
        let field =
            |(field, place): (Option<Vec<u8>>, &usize)| sql::field(reader, &self.columns[*place].1, field?);
        row.into_iter().zip(&self.primary).map(field).collect::<Option<_>>().map(Key)
    }

    /// Makes a server find rows by their primary key, whatever else it might think of.
    #[must_use]
    pub fn by_key(&self) -> String {
        format!("FORCE INDEX ({})", quoted(&self.index))
    }

    /// Is that what a server says of a row whose primary key is there already? `Duplicate entry '…' for key 'PRIMARY'`, or
    /// `'table.PRIMARY'`.
    #[must_use]
    pub fn is_present(&self, code: u16, message: &str) -> bool {
        let key = message.strip_suffix('\'').and_then(|rest| rest.strip_suffix(&self.index));
        code == 1062 && key.is_some_and(|rest| rest.ends_with(['\'', '.']))
    }

    /// `WHERE` these keys.
    #[must_use]
    pub fn with_keys(&self, keys: &[Key]) -> String {
        self.one_of(&self.primary, keys.iter().map(|key| key.0.iter().map(Vec::as_slice).collect()))
    }

    /// `WHERE` columns have one of these combinations of values.
    fn one_of<'a>(&self, places: &[usize], rows: impl Iterator<Item = Vec<&'a [u8]>>) -> String {
        let names: Vec<String> = places.iter().map(|place| quoted(&self.columns[*place].0)).collect();
        let literals = |row: Vec<&[u8]>| -> Vec<String> {
            places.iter().zip(row).map(|(place, field)| self.literal(*place, Some(field))).collect()
        };
        let is_listed = |place: &usize| matches!(self.columns[*place].1, ColumnKind::Enum | ColumnKind::Set);
        if places.len() > 1 && places.iter().any(is_listed) {
            // MySQL finds nothing among several rows of values if one of them is the number of a member.
            let equal = |row| {
                let terms = names.iter().zip(literals(row)).map(|(name, value)| format!("{name} = {value}"));
                format!("({})", terms.collect::<Vec<_>>().join(" AND "))
            };
            return format!("WHERE ({})", rows.map(equal).collect::<Vec<_>>().join(" OR "));
        }
        let rows: Vec<String> = rows.map(|row| format!("({})", literals(row).join(", "))).collect();
        format!("WHERE ({}) IN ({})", names.join(", "), rows.join(", "))
    }

    /// `WHERE` after this key, in primary-key order.
    #[must_use]
    pub fn after(&self, key: Option<&Key>) -> String {
        self.between(key, None)
    }

    /// `WHERE` after one key up to and including another, in primary-key order.
    #[must_use]
    pub fn between(&self, after: Option<&Key>, up_to: Option<&Key>) -> String {
        let condition = match self.bounds(after, up_to).as_slice() {
            [] => String::new(),
            terms => format!("WHERE {} ", terms.join(" AND ")),
        };
        format!("{condition}{}", self.ordered())
    }

    /// `WHERE` up to and including one key down to another, without it, the greatest first.
    #[must_use]
    pub fn down_from(&self, up_to: Option<&Key>, after: Option<&Key>) -> String {
        let condition = match self.bounds(after, up_to).as_slice() {
            [] => String::new(),
            terms => format!("WHERE {} ", terms.join(" AND ")),
        };
        format!("{condition}ORDER BY {} DESC", self.key_names().join(" DESC, "))
    }

    /// The same shape, whose walks over the primary key see only rows under a condition.
    #[must_use]
    pub fn seeing(self, condition: &str) -> ImageShape {
        ImageShape { condition: Some(format!("({condition})")), ..self }
    }

    /// In primary-key order.
    #[must_use]
    pub fn ordered(&self) -> String {
        format!("ORDER BY {}", self.key_names().join(", "))
    }

    /// The conditions of a range.
    fn bounds(&self, after: Option<&Key>, up_to: Option<&Key>) -> Vec<String> {
        let above = after.map(|key| format!("({})", self.beyond(key, ">", ">")));
        let below = up_to.map(|key| format!("({})", self.beyond(key, "<", "<=")));
        above.into_iter().chain(below).chain(self.condition.clone()).collect()
    }

    /// Beyond a key, column by column: servers use an index for this, and not for a comparison of row values.
    fn beyond(&self, key: &Key, compare: &str, last: &str) -> String {
        let names = self.key_names();
        let literals: Vec<String> =
            self.primary.iter().zip(&key.0).map(|(place, value)| self.literal(*place, Some(value))).collect();
        let alternative = |depth: usize| {
            let equal = (0..depth).map(|at| format!("{} = {}", names[at], literals[at]));
            let compare = if depth + 1 == names.len() { last } else { compare };
            let terms: Vec<String> =
                equal.chain([format!("{} {compare} {}", names[depth], literals[depth])]).collect();
            format!("({})", terms.join(" AND "))
        };
        (0..names.len()).map(alternative).collect::<Vec<_>>().join(" OR ")
    }

    /// Makes the rows under these keys what the images are, present or not. Only for tables without further unique
    /// keys, where no other row can be hit.
    #[must_use]
    pub fn upsert<'a>(&self, table: &str, images: impl IntoIterator<Item = &'a Image>) -> Write {
        debug_assert!(!self.has_further_unique(), "an upsert could hit another row");
        self.with_update(self.writing(Verb::Insert, table, images))
    }

    /// Statements after which the table has exactly these rows under their keys.
    #[must_use]
    pub fn replace(&self, table: &str, images: &[Image]) -> Vec<Write> {
        if images.is_empty() {
            return Vec::new();
        }
        if self.has_further_unique() {
            let keys: Vec<Key> = images.iter().map(|image| self.key_of(image)).collect();
            return vec![self.delete(table, &keys).into(), self.insert_rows(table, images)];
        }
        vec![self.upsert(table, images)]
    }

    /// Makes the rows under these keys what the images are. Rows that have a value of one of their further unique keys
    /// go: for whoever knows that they are out of date.
    #[must_use]
    pub fn overwrite<'a>(&self, table: &str, images: impl IntoIterator<Item = &'a Image>) -> Write {
        match self.has_further_unique() {
            true => self.writing(Verb::Replace, table, images),
            false => self.upsert(table, images),
        }
    }

    /// Inserts rows that are known to be absent.
    #[must_use]
    pub fn insert_rows<'a>(&self, table: &str, images: impl IntoIterator<Item = &'a Image>) -> Write {
        self.writing(Verb::Insert, table, images)
    }

    /// Inserts the rows that are absent. What the server did not do is in its warnings: those about the primary key and
    /// about error values of `ENUM` are meant, any other is not.
    #[must_use]
    pub fn insert_absent<'a>(&self, table: &str, images: impl IntoIterator<Item = &'a Image>) -> Write {
        self.writing(Verb::InsertIgnore, table, images)
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
        let literal = match &self.columns[place].1 {
            ColumnKind::Integer { .. } => Literal::Integer(std::str::from_utf8(field).ok()?.parse().ok()?),
            ColumnKind::Text { .. } | ColumnKind::Binary | ColumnKind::Date | ColumnKind::DateTime => {
                Literal::String(field)
            }
            _ => return None,
        };
        match key_type.compared(literal) {
            Exactness::Value(key) => Some(key),
            Exactness::Nothing | Exactness::Unknown => None,
        }
    }

    /// How many rows of a page fit in a statement of that size is decided by whoever sends it; this is what one takes.
    #[must_use]
    pub fn weight(image: &Image) -> usize {
        image.0.iter().map(|field| 8 + field.as_ref().map_or(4, Vec::len)).sum()
    }

    /// Has the table unique keys besides its primary key? Then an upsert could hit a row that is not meant.
    #[must_use]
    pub fn has_further_unique(&self) -> bool {
        self.unique == FurtherUnique::Yes
    }

    /// Name and kind of each column, as images hold them.
    #[must_use]
    pub fn columns(&self) -> &[(String, ColumnKind)] {
        &self.columns
    }

    /// Places of the primary key's columns among [`ImageShape::columns`].
    #[must_use]
    pub fn primary(&self) -> &[usize] {
        &self.primary
    }

    fn key_names(&self) -> Vec<String> {
        self.primary.iter().map(|place| quoted(&self.columns[*place].0)).collect()
    }

    fn literal(&self, place: usize, field: Option<&[u8]>) -> String {
        match field {
            None => "NULL".to_owned(),
            Some(field) => sql::literal(&self.columns[place].1, field),
        }
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
