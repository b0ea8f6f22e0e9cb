//! The rows that were written to the other side last, of each table: what a switch looks at once more under its hold.
//!
//! Few, and of bounded size, so that a hold does not notice how long reading them takes. They are lost with the process:
//! looking at them comes on top of every other comparison and stands in for none.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::image::Key;

/// Rows of a table that are kept.
pub const ROWS: usize = 64;
/// What the rows of a table may weigh together; one is kept however large it is.
const WEIGHT: usize = 1 << 20;

/// Keys by the full name of their table.
pub type Keys = BTreeMap<String, BTreeSet<Key>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Lately {
    tables: Mutex<HashMap<String, Rows>>,
}

/// The rows of one table, the oldest first, each once.
#[derive(Debug, Default)]
struct Rows {
    rows: VecDeque<(Key, usize)>,
    weight: usize,
}

impl Lately {
    /// Rows of a table have been written: their keys, and what they weigh. Of many at once some are enough.
    pub fn wrote<'a>(&self, table: &str, rows: impl IntoIterator<Item = (&'a Key, usize)>) {
        let mut rows = rows.into_iter().take(ROWS).peekable();
        if rows.peek().is_none() {
            return;
        }
        let mut tables = self.lock();
        if !tables.contains_key(table) {
            tables.insert(table.to_owned(), Rows::default());
        }
        let Some(kept) = tables.get_mut(table) else { return };
        for (key, weight) in rows {
            kept.add(key, weight);
        }
    }

    /// Adds what is kept to `keys`.
    pub fn tell(&self, keys: &mut Keys) {
        for (table, kept) in self.lock().iter() {
            let own = keys.entry(table.clone()).or_default();
            own.extend(kept.rows.iter().map(|(key, _)| key.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Rows>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn add(&mut self, key: &Key, weight: usize) {
        if let Some(at) = self.rows.iter().position(|(known, _)| known == key) {
            self.forget(at);
        }
        self.rows.push_back((key.clone(), weight));
        self.weight += weight;
        while self.rows.len() > ROWS || (self.weight > WEIGHT && self.rows.len() > 1) {
            self.forget(0);
        }
    }

    fn forget(&mut self, at: usize) {
        if let Some((_, weight)) = self.rows.remove(at) {
            self.weight -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> Key {
        Key(vec![id.to_string().into_bytes()])
    }

    fn wrote(lately: &Lately, table: &str, ids: impl IntoIterator<Item = usize>, weight: usize) {
        for id in ids {
            lately.wrote(table, [(&key(id), weight)]);
        }
    }

    fn told(lately: &Lately, table: &str) -> BTreeSet<Key> {
        let mut keys = Keys::new();
        lately.tell(&mut keys);
        keys.remove(table).unwrap_or_default()
    }

    #[test]
    fn the_last_rows_of_each_table_are_kept_each_once() {
        let lately = Lately::default();
        wrote(&lately, "s.t", 0..100, 1);
        wrote(&lately, "s.t", [40, 40, 99], 1);
        wrote(&lately, "s.u", [7], 1);
        assert_eq!(told(&lately, "s.t"), (36..100).map(key).collect(), "40 was kept already");
        assert_eq!(told(&lately, "s.u"), [key(7)].into());
        let rows: Vec<Key> = (0..1_000).map(key).collect();
        lately.wrote("s.v", rows.iter().map(|key| (key, 1)));
        assert_eq!(told(&lately, "s.v").len(), ROWS);
    }

    #[test]
    fn large_rows_leave_room_for_few() {
        let lately = Lately::default();
        wrote(&lately, "s.t", 0..10, WEIGHT / 4);
        assert_eq!(told(&lately, "s.t"), (6..10).map(key).collect());
        wrote(&lately, "s.t", [11], 2 * WEIGHT);
        assert_eq!(told(&lately, "s.t"), [key(11)].into());
        wrote(&lately, "s.t", [12], 0);
        assert_eq!(told(&lately, "s.t"), [key(12)].into());
    }
}
