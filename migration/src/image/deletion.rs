//! Deleting rows by their keys, beside others that do the same.

use super::{ImageShape, Key, quoted};

impl ImageShape {
    /// Deletes these rows.
    #[must_use]
    pub fn delete(&self, table: &str, keys: &[Key]) -> String {
        deletion(table, &self.with_keys(keys))
    }

    /// `DELETE` of rows with these primary keys, each with its value of one more column.
    #[must_use]
    pub fn delete_told(&self, table: &str, column: usize, rows: &[(&Key, &[u8])]) -> String {
        deletion(table, &self.told_by(column, rows))
    }

    /// How many rows there are with these primary keys, each with its value of one more column; they are locked.
    #[must_use]
    pub fn count_told(&self, table: &str, column: usize, rows: &[(&Key, &[u8])]) -> String {
        let told = self.told_by(column, rows);
        format!("SELECT COUNT(*) FROM {table} FORCE INDEX (PRIMARY) {told} FOR UPDATE")
    }

    /// `WHERE` rows with these primary keys, each with its value of one more column.
    fn told_by(&self, column: usize, rows: &[(&Key, &[u8])]) -> String {
        let names = self.key_names().join(", ");
        let row = |(key, field): &(&Key, &[u8])| {
            let tuple = self.tuple(key);
            format!("({}, {})", &tuple[1..tuple.len() - 1], self.literal(column, Some(field)))
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        format!("WHERE ({names}, {}) IN ({})", quoted(&self.columns[column].0), rows.join(", "))
    }
}

/// Rows are found by their primary keys whatever else the server might think of: a walk over the table, or over another
/// index, would wait for rows that a neighbouring connection of the same batch has locked, which waits for it.
fn deletion(table: &str, condition: &str) -> String {
    format!("DELETE {table} FROM {table} FORCE INDEX (PRIMARY) {condition}")
}
