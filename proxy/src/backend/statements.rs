//! Statements prepared on one backend connection, by their text.
//!
//! A server binds a statement to the database and the settings under which it is prepared: under others the same text is
//! prepared anew. The least recently used one is closed when there are too many; a statement in use is the most recent
//! one.

use std::rc::Rc;

use foldhash::{HashMap, HashMapExt as _};

use super::vars::Vars;

/// Statements kept per connection.
const KEPT: usize = 256;

/// What a connection has set when it prepares or runs a statement; `vars` are `None` when nobody knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    pub database: Option<String>,
    pub vars: Option<Rc<Vars>>,
}

impl Setting {
    fn is(&self, other: &Setting) -> bool {
        let same_vars = match (&self.vars, &other.vars) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other) || one == other,
            _ => false,
        };
        same_vars && self.database == other.database
    }
}

/// What the server said when it prepared a statement.
#[derive(Debug, Clone)]
struct Known {
    id: u32,
    under: Setting,
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
    /// The server's id of a text prepared before under the same settings.
    pub(super) fn find(&mut self, sql: &[u8], now: &Setting) -> Option<u32> {
        self.clock += 1;
        let known = self.known.as_mut()?.get_mut(sql).filter(|known| known.under.is(now))?;
        known.used = self.clock;
        Some(known.id)
    }

    /// Remembers a text; returns the id of one to close for it.
    pub(super) fn add(&mut self, sql: &[u8], id: u32, under: Setting) -> Option<u32> {
        self.clock += 1;
        let known = self.known.get_or_insert_with(HashMap::new);
        let replaced = known.insert(sql.into(), Known { id, under, used: self.clock });
        if let Some(replaced) = replaced {
            return Some(replaced.id);
        }
        if known.len() <= KEPT {
            return None;
        }
        let oldest = known.iter().min_by_key(|(_, known)| known.used).map(|(sql, _)| sql.clone());
        oldest.and_then(|sql| known.remove(&sql)).map(|known| known.id)
    }

    /// Forgets all: the connection was reset.
    pub fn clear(&mut self) {
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(database: &str, mode: &str) -> Setting {
        let vars = Some(Rc::new(Vars::of(&[("sql_mode", mode)])));
        Setting { database: Some(database.to_owned()), vars }
    }

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut statements = Statements::default();
        let now = under("shop", "''");
        for id in 0..256 {
            assert_eq!(statements.add(format!("select {id}").as_bytes(), id, now.clone()), None);
        }
        assert_eq!(statements.find(b"select 0", &now), Some(0));
        assert_eq!(statements.add(b"select 256", 256, now.clone()), Some(1));
        assert_eq!(statements.find(b"select 1", &now), None);
        assert_eq!(statements.find(b"select 0", &now), Some(0));
    }

    #[test]
    fn the_same_text_is_another_statement_under_other_settings() {
        let mut statements = Statements::default();
        let now = under("shop", "''");
        assert_eq!(statements.add(b"select a", 1, now.clone()), None);
        assert_eq!(statements.find(b"select a", &under("shop", "''")), Some(1));
        assert_eq!(statements.find(b"select a", &under("store", "''")), None);
        assert_eq!(statements.find(b"select a", &under("shop", "'PIPES_AS_CONCAT'")), None);
        assert_eq!(statements.find(b"select a", &Setting { vars: None, ..now.clone() }), None);
        assert_eq!(statements.add(b"select a", 2, under("store", "''")), Some(1), "to be closed");
        assert_eq!(statements.find(b"select a", &now), None);
    }
}
