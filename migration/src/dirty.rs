//! The journal of dirty keys: rows that the two sides of a move may hold differently.
//!
//! It lies beside the authority's rows, so that an entry commits with the write it speaks of. Entries are removed only
//! once the other side has committed the row as it is. Pure: this makes SQL text and reads its answers.

use std::time::Duration;

use crate::image::{Key, hex, quoted};

/// The journal's table, in every physical database that has authority over moving rows.
pub const TABLE: &str = "shardway_dirty";

/// What one entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names the transaction that wrote it.
    pub token: u64,
    /// Logical `database.table`, lower case.
    pub table: String,
    pub key: Key,
    /// The canonical bytes of the shard key before and after the write, as far as known.
    pub shard_keys: Vec<Vec<u8>>,
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: u64,
    pub entry: Entry,
    /// Since it was noted, by the clock of its server.
    pub age: Duration,
}

fn table(database: &str) -> String {
    format!("{}.{TABLE}", quoted(database))
}

/// Makes the journal.
#[must_use]
pub fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         token BIGINT UNSIGNED NOT NULL, table_name VARBINARY(300) NOT NULL, row_key BLOB NOT NULL, \
         shard_keys BLOB NOT NULL, created TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), KEY (token)) ENGINE = InnoDB",
        table(database)
    )
}

/// Notes entries.
#[must_use]
pub fn insert(database: &str, entries: &[Entry]) -> String {
    let row = |entry: &Entry| {
        format!(
            "({}, x'{}', x'{}', x'{}')",
            entry.token,
            hex(entry.table.as_bytes()),
            hex(&pack(&entry.key.0)),
            hex(&pack(&entry.shard_keys))
        )
    };
    let rows: Vec<String> = entries.iter().map(row).collect();
    format!(
        "INSERT INTO {} (token, table_name, row_key, shard_keys) VALUES {}",
        table(database),
        rows.join(", ")
    )
}

/// Removes the entries of transactions whose other side has committed.
#[must_use]
pub fn forget(database: &str, tokens: &[u64]) -> String {
    let tokens: Vec<String> = tokens.iter().map(u64::to_string).collect();
    format!("DELETE FROM {} WHERE token IN ({})", table(database), tokens.join(", "))
}

/// Removes healed entries.
#[must_use]
pub fn remove(database: &str, ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    format!("DELETE FROM {} WHERE id IN ({})", table(database), ids.join(", "))
}

/// A journal has the entries of every move whose rows lie beside it: those of some tables, logical `database.table`.
fn of_tables(tables: &[&str]) -> String {
    let tables: Vec<String> = tables.iter().map(|table| format!("x'{}'", hex(table.as_bytes()))).collect();
    format!("table_name IN ({})", tables.join(", "))
}

/// The newest entry of these tables.
#[must_use]
pub fn newest(database: &str, tables: &[&str]) -> String {
    format!("SELECT MAX(id) FROM {} WHERE {}", table(database), of_tables(tables))
}

/// Those of some transactions that have entries of these tables, or are about to: their locks are waited for.
#[must_use]
pub fn noted(database: &str, tables: &[&str], tokens: &[u64]) -> String {
    let tokens: Vec<String> = tokens.iter().map(u64::to_string).collect();
    format!(
        "SELECT DISTINCT token FROM {} WHERE token IN ({}) AND {} LOCK IN SHARE MODE",
        table(database),
        tokens.join(", "),
        of_tables(tables)
    )
}

/// Entries of these tables behind an id that are at least so old, oldest first.
#[must_use]
pub fn select(database: &str, tables: &[&str], after: u64, min_age_ms: u64, limit: usize) -> String {
    format!(
        "SELECT id, token, HEX(table_name), HEX(row_key), HEX(shard_keys), \
         CAST(GREATEST(TIMESTAMPDIFF(MICROSECOND, created, CURRENT_TIMESTAMP(3)), 0) AS UNSIGNED) FROM {} \
         WHERE id > {after} AND {} AND created <= CURRENT_TIMESTAMP(3) - INTERVAL {} MICROSECOND \
         ORDER BY id LIMIT {limit}",
        table(database),
        of_tables(tables),
        min_age_ms * 1000
    )
}

/// A row of [`select`].
pub type Selected = (u64, u64, String, String, String, u64);

/// Reads a row of [`select`]. `None`: somebody else has written into the journal.
#[must_use]
pub fn decode((id, token, table, key, shard_keys, age_us): &Selected) -> Option<Stored> {
    let table = String::from_utf8(crate::image::unhex(table.as_bytes())?).ok()?;
    let key = Key(unpack(&crate::image::unhex(key.as_bytes())?)?);
    let shard_keys = unpack(&crate::image::unhex(shard_keys.as_bytes())?)?;
    let entry = Entry { token: *token, table, key, shard_keys };
    Some(Stored { id: *id, entry, age: Duration::from_micros(*age_us) })
}

/// Every part after its length.
pub(crate) fn pack(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn unpack(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        parts.push(part.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_noted() {
        let entry = Entry {
            token: 7,
            table: "shop.orders".into(),
            key: Key(vec![b"5".to_vec(), Vec::new()]),
            shard_keys: vec![b"\x01\x02".to_vec()],
        };
        let packed = |parts: &[Vec<u8>]| hex(&pack(parts));
        let row = (1, 7, hex(b"shop.orders"), packed(&entry.key.0), packed(&entry.shard_keys), 2_500);
        assert_eq!(decode(&row), Some(Stored { id: 1, entry, age: Duration::from_micros(2_500) }));
        assert_eq!(decode(&(1, 7, "zz".to_owned(), String::new(), String::new(), 0)), None);
        assert_eq!(unpack(&[0, 0, 0, 9, 1]), None);
    }
}
