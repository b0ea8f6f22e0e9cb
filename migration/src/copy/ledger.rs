//! Which chunks of a table are finished, and what of that is saved. Pure.

use std::collections::BTreeMap;

use crate::image::{Key, hex, quoted};

/// The table of progress rows, on every server of the target, in the physical database of the first node there.
pub const TABLE: &str = "shardway_ranges";

/// The chunks of one physical table, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    /// Chunks finished out of order: where each ends and its rows. `None`: the end of the table.
    finished: BTreeMap<u64, (Option<Key>, u64)>,
    /// The first chunk that is not finished.
    next: u64,
    rows: u64,
}

/// What is saved of a table's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    /// Everything up to here is there, or from here up where the walk goes down. `None`, and all is there: everything.
    pub up_to: Option<Key>,
    pub rows: u64,
    pub state: Extent,
}

/// How much of a table has been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Part,
    Whole,
}

impl Ledger {
    /// A copy that goes on after `rows` rows.
    pub(super) fn after(rows: u64) -> Ledger {
        Ledger { rows, ..Ledger::default() }
    }

    /// A chunk is finished. Returns what may be saved if that closes a gap.
    pub(super) fn finish(&mut self, chunk: u64, end: Option<Key>, rows: u64) -> Option<Saved> {
        self.finished.insert(chunk, (end, rows));
        let mut saved = None;
        while let Some((end, rows)) = self.finished.remove(&self.next) {
            self.next += 1;
            self.rows += rows;
            let state = if end.is_none() { Extent::Whole } else { Extent::Part };
            saved = Some(Saved { up_to: end, rows: self.rows, state });
        }
        saved
    }
}

/// Makes the table.
pub(super) fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{TABLE} (copy_name VARBINARY(300) NOT NULL, source VARBINARY(400) NOT NULL, \
         up_to LONGBLOB, copied_rows BIGINT UNSIGNED NOT NULL, is_whole TINYINT NOT NULL, \
         PRIMARY KEY (copy_name, source)) ENGINE = InnoDB",
        quoted(database)
    )
}

/// Saves how far the copy of a source table is.
pub(super) fn save(database: &str, copy: &str, source: &str, saved: &Saved) -> String {
    let up_to = saved
        .up_to
        .as_ref()
        .map_or("NULL".to_owned(), |key| format!("x'{}'", hex(&crate::dirty::pack(&key.0))));
    format!(
        "REPLACE INTO {}.{TABLE} (copy_name, source, up_to, copied_rows, is_whole) VALUES (x'{}', x'{}', {up_to}, {}, {})",
        quoted(database),
        hex(copy.as_bytes()),
        hex(source.as_bytes()),
        saved.rows,
        u8::from(saved.state == Extent::Whole)
    )
}

/// Reads it: key, rows, whether that is all.
pub(super) fn load(database: &str, copy: &str, source: &str) -> String {
    format!(
        "SELECT up_to, copied_rows, is_whole FROM {}.{TABLE} WHERE copy_name = x'{}' AND source = x'{}'",
        quoted(database),
        hex(copy.as_bytes()),
        hex(source.as_bytes())
    )
}

/// Reads a row of [`load`].
pub(super) fn decode(row: (Option<Vec<u8>>, u64, u8)) -> Option<Saved> {
    let (up_to, rows, whole) = row;
    let up_to = match up_to {
        Some(packed) => Some(Key(crate::dirty::unpack(&packed)?)),
        None => None,
    };
    let state = if whole == 1 { Extent::Whole } else { Extent::Part };
    Some(Saved { up_to, rows, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key(vec![vec![number]])
    }

    #[test]
    fn what_is_saved_has_no_gap() {
        let mut ledger = Ledger::after(100);
        assert_eq!(ledger.finish(1, Some(key(2)), 10), None);
        assert_eq!(ledger.finish(2, None, 3), None);
        let all = Saved { up_to: None, rows: 123, state: Extent::Whole };
        assert_eq!(ledger.finish(0, Some(key(1)), 10), Some(all));
        let mut ledger = Ledger::after(0);
        let first = Saved { up_to: Some(key(1)), rows: 10, state: Extent::Part };
        assert_eq!(ledger.finish(0, Some(key(1)), 10), Some(first));
    }

    #[test]
    fn progress_is_read_as_it_was_saved() {
        let packed = crate::dirty::pack(&key(7).0);
        let saved = Saved { up_to: Some(key(7)), rows: 9, state: Extent::Part };
        assert_eq!(decode((Some(packed), 9, 0)), Some(saved));
        assert_eq!(decode((Some(vec![0, 0, 0, 9]), 9, 0)), None);
    }
}
