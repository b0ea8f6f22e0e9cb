//! Deleting rows from a table that stays.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::Leftover;
use crate::connection::fields;
use crate::image::{ImageShape, Key, Reader, quoted};
use crate::schema;
use crate::tables::WorkError;

/// The rows of a table under a condition, on their way out. They are found without locks and deleted by their primary
/// keys: the table is in use, and rows between them are nobody's to lock.
#[derive(Debug)]
pub struct RowsThatLeft {
    shape: ImageShape,
    /// `` `database`.`table` ``
    table: String,
    condition: String,
    /// Those up to this key are gone.
    up_to: Option<Key>,
}

impl RowsThatLeft {
    /// Those under the condition, from the beginning of the table.
    ///
    /// # Errors
    /// Whatever the server reports; a table that is gone, or has no primary key.
    pub async fn find(
        connection: &mut Conn,
        of: &Leftover,
        condition: &str,
    ) -> Result<RowsThatLeft, WorkError> {
        let database = &of.holder.database;
        let missing = || WorkError::Stopped(format!("{}.{} is not there", of.holder, of.table));
        let schema = schema::read(connection, database, &of.table).await?.ok_or_else(missing)?;
        Ok(RowsThatLeft {
            shape: ImageShape::of(&schema)?.seeing(condition),
            table: format!("{}.{}", quoted(database), quoted(&of.table)),
            condition: condition.to_owned(),
            up_to: None,
        })
    }

    /// Deletes at most so many. Returns how many were found.
    ///
    /// # Errors
    /// Whatever the server reports.
    pub async fn delete_some(&mut self, connection: &mut Conn, rows: u32) -> Result<u64, WorkError> {
        let rest = format!("{} LIMIT {rows}", self.shape.after(self.up_to.as_ref()));
        let sql = self.shape.select_keys(Reader::Client, &self.table, None, &rest);
        let found: Vec<mysql_async::Row> = connection.query(sql).await?;
        let keys: Option<Vec<Key>> =
            found.into_iter().map(|row| self.shape.key(Reader::Client, fields(row))).collect();
        let garbled = || WorkError::Stopped(format!("a key of {} is not as its columns say", self.table));
        let keys = keys.ok_or_else(garbled)?;
        if let Some(last) = keys.last() {
            let delete = self.shape.delete(&self.table, &keys);
            connection.query_drop(format!("{delete} AND {}", self.condition)).await?;
            self.up_to = Some(last.clone());
        }
        Ok(keys.len() as u64)
    }
}
