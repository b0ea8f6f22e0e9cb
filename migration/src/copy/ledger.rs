//! Which chunks of a table are finished, and what of that is saved. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scout::Chunk;
use crate::dirty::{pack, unpack};
use crate::image::{Key, hex, quoted};
use crate::settings::Order;

/// The table of progress rows, on every server of the target, in the physical database of the first node there.
pub const TABLE: &str = "shardway_ranges";

/// Ranges beyond the first gap that are saved at most; those beyond them are copied once more after a crash.
const BEYOND_MAX: usize = 64;

/// The chunks of one physical table, in order.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    order: Order,
    /// Chunks finished out of order; shared, since a ledger is copied for every chunk.
    finished: BTreeMap<u64, Arc<Done>>,
    /// The first chunk that is not finished.
    next: u64,
    /// What there is before it.
    saved: Saved,
}

/// A range whose rows are there, while rows before it are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub after: Option<Key>,
    pub up_to: Option<Key>,
    pub rows: u64,
}

/// What is saved of a table's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    /// Everything up to here is there, or from here up where the walk goes down. `None`: nothing, or everything where all
    /// is there.
    pub up_to: Option<Key>,
    pub rows: u64,
    pub state: Extent,
    /// In the order of the walk.
    pub beyond: Vec<Done>,
}

/// How much of a table has been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Part,
    Whole,
}

impl Done {
    /// The key before the range in a walk; `None`: the walk begins with it.
    pub(super) fn begins(&self, order: Order) -> Option<&Key> {
        match order {
            Order::Ascending => self.after.as_ref(),
            Order::Descending => self.up_to.as_ref(),
        }
    }
}

impl Saved {
    pub(super) const NOTHING: Saved = Saved { up_to: None, rows: 0, state: Extent::Part, beyond: Vec::new() };

    /// Nothing is there without a gap before it.
    pub(super) fn is_at_the_beginning(&self) -> bool {
        self.up_to.is_none() && self.state == Extent::Part
    }

    /// Rows that are there.
    pub(super) fn all_rows(&self) -> u64 {
        self.rows + self.beyond.iter().map(|done| done.rows).sum::<u64>()
    }
}

impl Ledger {
    /// Of a copy that goes on from there. What is beyond comes as chunks that are finished.
    pub(super) fn after(saved: &Saved, order: Order) -> Ledger {
        let saved = Saved { beyond: Vec::new(), ..saved.clone() };
        Ledger { order, finished: BTreeMap::new(), next: 0, saved }
    }

    /// A chunk of so many rows is finished. Returns what may be saved with them.
    pub(super) fn finish(&mut self, chunk: &Chunk, rows: u64) -> Saved {
        let done = Done { after: chunk.after.clone(), up_to: chunk.up_to.clone(), rows };
        self.finished.insert(chunk.number, Arc::new(done));
        while let Some(done) = self.finished.remove(&self.next) {
            self.next += 1;
            self.saved.rows += done.rows;
            self.saved.up_to = match self.order {
                Order::Ascending => done.up_to.clone(),
                Order::Descending => done.after.clone(),
            };
            self.saved.state = if self.saved.up_to.is_none() { Extent::Whole } else { Extent::Part };
        }
        let beyond = self.finished.values().take(BEYOND_MAX).map(|done| Done::clone(done)).collect();
        Saved { beyond, ..self.saved.clone() }
    }
}

/// Makes the table.
pub(super) fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{TABLE} (copy_name VARBINARY(300) NOT NULL, source VARBINARY(400) NOT NULL, \
         up_to LONGBLOB, copied_rows BIGINT UNSIGNED NOT NULL, is_whole TINYINT NOT NULL, beyond LONGBLOB NOT NULL, \
         PRIMARY KEY (copy_name, source)) ENGINE = InnoDB",
        quoted(database)
    )
}

/// Saves how far the copy of a source table is.
pub(super) fn save(database: &str, copy: &str, source: &str, saved: &Saved) -> String {
    let up_to = saved.up_to.as_ref().map_or("NULL".to_owned(), |key| format!("x'{}'", hex(&pack(&key.0))));
    format!(
        "REPLACE INTO {}.{TABLE} (copy_name, source, up_to, copied_rows, is_whole, beyond) \
         VALUES (x'{}', x'{}', {up_to}, {}, {}, x'{}')",
        quoted(database),
        hex(copy.as_bytes()),
        hex(source.as_bytes()),
        saved.rows,
        u8::from(saved.state == Extent::Whole),
        hex(&packed(&saved.beyond))
    )
}

/// Reads it: key, rows, whether that is all, what is beyond.
pub(super) fn load(database: &str, copy: &str, source: &str) -> String {
    format!(
        "SELECT up_to, copied_rows, is_whole, beyond FROM {}.{TABLE} WHERE copy_name = x'{}' AND source = x'{}'",
        quoted(database),
        hex(copy.as_bytes()),
        hex(source.as_bytes())
    )
}

/// Reads a row of [`load`].
pub(super) fn decode(row: (Option<Vec<u8>>, u64, u8, Vec<u8>)) -> Option<Saved> {
    let (up_to, rows, whole, beyond) = row;
    let up_to = match up_to {
        Some(packed) => Some(Key(unpack(&packed)?)),
        None => None,
    };
    let state = if whole == 1 { Extent::Whole } else { Extent::Part };
    Some(Saved { up_to, rows, state, beyond: unpacked(&beyond)? })
}

/// Ranges as three parts each: both ends, of which an empty one is none, and rows.
fn packed(beyond: &[Done]) -> Vec<u8> {
    let end = |key: &Option<Key>| key.as_ref().map_or(Vec::new(), |key| pack(&key.0));
    let parts = beyond
        .iter()
        .flat_map(|done| [end(&done.after), end(&done.up_to), done.rows.to_string().into_bytes()]);
    pack(&parts.collect::<Vec<_>>())
}

fn unpacked(packed: &[u8]) -> Option<Vec<Done>> {
    let end = |part: &[u8]| match part {
        [] => Some(None),
        packed => unpack(packed).map(|key| Some(Key(key))),
    };
    let done = |parts: &[Vec<u8>]| {
        let [after, up_to, rows] = parts else { return None };
        let rows = std::str::from_utf8(rows).ok()?.parse().ok()?;
        Some(Done { after: end(after)?, up_to: end(up_to)?, rows })
    };
    unpack(packed)?.chunks(3).map(done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Option<Key> {
        Some(Key(vec![vec![number]]))
    }

    fn chunk(number: u64, after: Option<Key>, up_to: Option<Key>) -> Chunk {
        Chunk { number, after, up_to, copied_before: None }
    }

    #[test]
    fn what_is_saved_has_no_gap_and_what_is_beyond_is_saved_beside_it() {
        let before = Saved { up_to: key(1), rows: 100, ..Saved::NOTHING };
        let mut ledger = Ledger::after(&before, Order::Ascending);
        let beyond = vec![Done { after: key(2), up_to: key(3), rows: 10 }];
        let ahead = ledger.finish(&chunk(1, key(2), key(3)), 10);
        assert_eq!(ahead, Saved { beyond, ..before });
        assert_eq!(ahead.all_rows(), 110);
        assert_eq!(ledger.finish(&chunk(2, key(3), None), 3).beyond.len(), 2);
        let all = Saved { up_to: None, rows: 120, state: Extent::Whole, beyond: Vec::new() };
        assert_eq!(ledger.finish(&chunk(0, key(1), key(2)), 7), all);
    }

    #[test]
    fn a_walk_down_is_as_far_as_its_lowest_key() {
        let mut ledger = Ledger::after(&Saved::NOTHING, Order::Descending);
        let ahead = ledger.finish(&chunk(1, key(3), key(6)), 10);
        assert_eq!((ahead.up_to, ahead.beyond[0].begins(Order::Descending)), (None, key(6).as_ref()));
        let first = ledger.finish(&chunk(0, key(6), None), 10);
        assert_eq!(first, Saved { up_to: key(3), rows: 20, ..Saved::NOTHING });
    }

    #[test]
    fn no_more_than_a_bound_is_saved() {
        let mut ledger = Ledger::after(&Saved::NOTHING, Order::Ascending);
        let saved = (1..=100).map(|number| ledger.finish(&chunk(number, key(1), key(2)), 1)).last();
        assert_eq!(saved.unwrap().beyond.len(), BEYOND_MAX);
    }

    #[test]
    fn progress_is_read_as_it_was_saved() {
        let end = pack(&key(7).unwrap().0);
        let beyond = vec![
            Done { after: key(8), up_to: key(9), rows: 5 },
            Done { after: key(9), up_to: None, rows: 0 },
        ];
        let saved = Saved { up_to: key(7), rows: 9, state: Extent::Part, beyond };
        assert_eq!(decode((Some(end.clone()), 9, 0, packed(&saved.beyond))), Some(saved));
        let alone = Saved { up_to: key(7), rows: 9, ..Saved::NOTHING };
        assert_eq!(decode((Some(end), 9, 0, packed(&[]))), Some(alone));
        assert_eq!(decode((Some(vec![0, 0, 0, 9]), 9, 0, Vec::new())), None);
    }
}
