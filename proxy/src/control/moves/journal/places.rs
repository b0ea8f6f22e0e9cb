//! How far the passes over each move's journals are. Pure.

use shardway_migration::heal::{Healed, Journal};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(String, Journal, Place)>);

/// How far the passes over one journal are.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The entry behind which the next pass goes on.
    pub behind: u64,
    /// Has anything been healed since the first entry?
    has_healed: bool,
}

impl Places {
    /// Of a move, whose tables alone are looked at in a journal that it may have in common with others.
    pub fn of(&mut self, move_name: &str, journal: &Journal) -> &mut Place {
        let known = self.0.iter().position(|(name, known, _)| name == move_name && known == journal);
        let at = known.unwrap_or_else(|| {
            self.0.push((move_name.to_owned(), journal.clone(), Place::default()));
            self.0.len() - 1
        });
        &mut self.0[at].2
    }
}

impl Place {
    /// After a pass. Have all entries been looked at, and none could be healed?
    pub fn is_stuck(&mut self, healed: &Healed) -> bool {
        self.has_healed |= !healed.entries.is_empty();
        self.behind = healed.next.unwrap_or(0);
        healed.next.is_none() && !std::mem::take(&mut self.has_healed) && healed.failed > 0
    }
}

#[cfg(test)]
mod tests {
    use shardway_migration::dirty::Entry;
    use shardway_migration::image::Key;
    use shardway_routing::topology::{Server, Tls};

    use super::*;

    #[test]
    fn moves_with_one_journal_are_as_far_as_each_of_them_is() {
        let server = Server {
            host: "a".to_owned(),
            port: 1,
            user: String::new(),
            password: String::new(),
            database: None,
            tls: Tls::Off,
        };
        let journal = Journal { server, database: "shop".to_owned() };
        let mut places = Places::default();
        let pass = |entries: Vec<Entry>, next| Healed { entries, failed: 1, next };
        assert!(!places.of("one", &journal).is_stuck(&pass(Vec::new(), Some(7))), "there are more");
        assert_eq!((places.of("one", &journal).behind, places.of("two", &journal).behind), (7, 0));
        assert!(places.of("one", &journal).is_stuck(&pass(Vec::new(), None)));
        assert_eq!(places.of("one", &journal).behind, 0);
        let entry =
            Entry { token: 1, table: "shop.users".to_owned(), key: Key(Vec::new()), shard_keys: Vec::new() };
        assert!(!places.of("one", &journal).is_stuck(&pass(vec![entry], Some(7))));
        assert!(
            !places.of("one", &journal).is_stuck(&pass(Vec::new(), None)),
            "an earlier pass has healed some"
        );
        assert!(places.of("one", &journal).is_stuck(&pass(Vec::new(), None)));
    }
}
