//! Deleting rows by their keys, beside others that do the same.

use super::{ImageShape, Key};

impl ImageShape {
    /// Deletes these rows.
    #[must_use]
    pub fn delete(&self, table: &str, keys: &[Key]) -> String {
        self.deletion(table, &self.with_keys(keys))
    }

    /// `DELETE` of rows with these primary keys, each with its value of one more column.
    #[must_use]
    pub fn delete_told(&self, table: &str, column: usize, rows: &[(&Key, &[u8])]) -> String {
        self.deletion(table, &self.told_by(column, rows))
    }

    /// How many rows there are with these primary keys, each with its value of one more column; they are locked.
    #[must_use]
    pub fn count_told(&self, table: &str, column: usize, rows: &[(&Key, &[u8])]) -> String {
        let told = self.told_by(column, rows);
        format!("SELECT COUNT(*) FROM {table} {} {told} FOR UPDATE", self.by_key())
    }

    /// `WHERE` rows with these primary keys, each with its value of one more column.
    fn told_by<'a>(&self, column: usize, rows: &[(&'a Key, &'a [u8])]) -> String {
        let places: Vec<usize> = self.primary.iter().copied().chain([column]).collect();
        let row = |(key, field): &(&'a Key, &'a [u8])| -> Vec<&'a [u8]> {
            key.0.iter().map(Vec::as_slice).chain([*field]).collect()
        };
        self.one_of(&places, rows.iter().map(row))
    }

    /// A walk over the table, or over another index, would wait for rows that a neighbouring connection of the same batch
    /// has locked, which waits for it.
    fn deletion(&self, table: &str, condition: &str) -> String {
        format!("DELETE {table} FROM {table} {} {condition}", self.by_key())
    }
}
