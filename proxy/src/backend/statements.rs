//! Statements prepared on one backend connection, by their text.
//!
//! The least recently used one is closed when there are too many; a statement in use is the most recent one.

use foldhash::{HashMap, HashMapExt as _};

/// Statements kept per connection.
const KEPT: usize = 256;

/// What the server said when it prepared a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub id: u32,
    /// For the order of use.
    used: u64,
}

/// Texts with the server's ids.
#[derive(Debug, Default)]
pub struct Statements {
    known: Option<HashMap<Box<[u8]>, Known>>,
    clock: u64,
}

impl Statements {
    /// The server's id of a text prepared before.
    pub fn find(&mut self, sql: &[u8]) -> Option<u32> {
        self.clock += 1;
        let known = self.known.as_mut()?.get_mut(sql)?;
        known.used = self.clock;
        Some(known.id)
    }

    /// Remembers a text; returns the id of one to close for it.
    pub fn add(&mut self, sql: &[u8], id: u32) -> Option<u32> {
        self.clock += 1;
        let known = self.known.get_or_insert_with(HashMap::new);
        let evicted = if known.len() >= KEPT {
            let oldest = known.iter().min_by_key(|(_, known)| known.used).map(|(sql, _)| sql.clone());
            oldest.and_then(|sql| known.remove(&sql)).map(|known| known.id)
        } else {
            None
        };
        known.insert(sql.into(), Known { id, used: self.clock });
        evicted
    }

    /// Forgets a text the server no longer knows.
    pub fn forget(&mut self, sql: &[u8]) {
        if let Some(known) = &mut self.known {
            known.remove(sql);
        }
    }

    /// Forgets all: the connection was reset.
    pub fn clear(&mut self) {
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut statements = Statements::default();
        for id in 0..256 {
            assert_eq!(statements.add(format!("select {id}").as_bytes(), id), None);
        }
        assert_eq!(statements.find(b"select 0"), Some(0));
        assert_eq!(statements.add(b"select 256", 256), Some(1));
        assert_eq!(statements.find(b"select 1"), None);
        assert_eq!(statements.find(b"select 0"), Some(0));
    }
}
