//! Shard keys whose rows may differ between the two sides of a move until they are healed.
//!
//! In memory for reads: the durable record is the journal on the authority. Loaded from there at start.

use std::time::{Duration, Instant};

use dashmap::DashMap;
use shardway_routing::key::KeyValue;
use tokio::sync::Notify;

/// Logical `database.table` and shard key; `None` is a key that nobody knows, so any may be meant.
pub type Dirty = (String, Option<KeyValue>);

/// See the module.
#[derive(Debug, Default)]
pub struct DirtyKeys {
    /// By the transaction's token.
    transactions: DashMap<u64, Transaction>,
    /// Transactions by table and key.
    keys: DashMap<Dirty, u32>,
    /// Keys by table.
    tables: DashMap<String, u64>,
    /// Told when a transaction has ended whose keys nobody but healing will bring over.
    pub awaits_healing: Notify,
}

#[derive(Debug)]
struct Transaction {
    keys: Vec<Dirty>,
    until: Until,
    since: Instant,
}

/// What makes the rows of a transaction equal on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The journal names the keys; healing brings them over.
    Healed,
    /// Nobody knows the keys; a stream brings them over.
    Streamed,
}

/// What is dirty of some tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    pub keys: u64,
    /// How long the oldest has been dirty.
    pub oldest: Option<Duration>,
}

impl DirtyKeys {
    /// Keys of a transaction; those that are known of it already are noted once.
    pub fn add(&self, token: u64, keys: Vec<Dirty>, until: Until) {
        self.add_aged(token, keys, until, Duration::ZERO);
    }

    /// The same, of one that has been dirty for so long.
    pub fn add_aged(&self, token: u64, mut keys: Vec<Dirty>, until: Until, age: Duration) {
        let now = Instant::now();
        let new = || Transaction { keys: Vec::new(), until, since: now.checked_sub(age).unwrap_or(now) };
        let mut transaction = self.transactions.entry(token).or_insert_with(new);
        let known = std::mem::take(&mut transaction.keys);
        keys.retain(|key| !known.contains(key));
        for key in &keys {
            let mut count = self.keys.entry(key.clone()).or_insert(0);
            if *count == 0 {
                *self.tables.entry(key.0.clone()).or_insert(0) += 1;
            }
            *count += 1;
        }
        keys.extend(known);
        transaction.keys = keys;
    }

    /// Both sides hold the rows of a transaction.
    pub fn remove(&self, token: u64) {
        if let Some((_, transaction)) = self.transactions.remove(&token) {
            self.are_equal(transaction.keys);
        }
    }

    /// Both sides hold a transaction's rows of these tables.
    pub fn remove_of(&self, token: u64, tables: &[String]) {
        let dashmap::Entry::Occupied(mut entry) = self.transactions.entry(token) else { return };
        let of_tables = |(table, _): &mut Dirty| tables.contains(table);
        let equal: Vec<Dirty> = entry.get_mut().keys.extract_if(.., of_tables).collect();
        if entry.get().keys.is_empty() {
            entry.remove();
        } else {
            drop(entry);
        }
        self.are_equal(equal);
    }

    /// Both sides hold every row of these tables that waited for this.
    pub fn forget(&self, tables: &[String], until: Until) {
        for token in self.tokens(tables, until, Duration::ZERO) {
            self.remove_of(token, tables);
        }
    }

    fn are_equal(&self, keys: Vec<Dirty>) {
        for key in keys {
            let dashmap::Entry::Occupied(mut entry) = self.keys.entry(key) else { continue };
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                let ((table, _), _) = entry.remove_entry();
                if let Some(mut count) = self.tables.get_mut(&table) {
                    *count -= 1;
                }
            }
        }
    }

    #[must_use]
    pub fn knows(&self, token: u64) -> bool {
        self.transactions.contains_key(&token)
    }

    /// May this key's rows differ?
    #[must_use]
    pub fn contains(&self, table: &str, key: &KeyValue) -> bool {
        let known = |key| self.keys.contains_key(&(table.to_owned(), key));
        !self.is_empty() && (known(Some(key.clone())) || known(None))
    }

    /// May any row of this table differ?
    #[must_use]
    pub fn has_table(&self, table: &str) -> bool {
        self.tables.get(table).is_some_and(|count| *count > 0)
    }

    /// Tokens of the transactions that touched one of these tables at least so long ago and wait for this.
    #[must_use]
    pub fn tokens(&self, tables: &[String], until: Until, min_age: Duration) -> Vec<u64> {
        let is_meant = |of: &Transaction| {
            of.until == until
                && of.since.elapsed() >= min_age
                && of.keys.iter().any(|(table, _)| tables.contains(table))
        };
        self.transactions.iter().filter(|entry| is_meant(entry)).map(|entry| *entry.key()).collect()
    }

    /// What is dirty of these tables.
    #[must_use]
    pub fn extent(&self, tables: &[String]) -> Extent {
        let keys = tables.iter().filter_map(|table| self.tables.get(table).map(|count| *count)).sum();
        if keys == 0 {
            return Extent::default();
        }
        let concerns = |keys: &[Dirty]| keys.iter().any(|(table, _)| tables.contains(table));
        let ages =
            self.transactions.iter().filter(|entry| concerns(&entry.keys)).map(|entry| entry.since.elapsed());
        Extent { keys, oldest: ages.max() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_dirty_until_its_last_transaction_is_healed() {
        let dirty = DirtyKeys::default();
        let key = |key| ("shop.users".to_owned(), Some(KeyValue::Integer(key)));
        dirty.add(1, vec![key(7), key(8)], Until::Healed);
        dirty.add(2, vec![key(7), ("shop.orders".to_owned(), None)], Until::Streamed);
        dirty.remove(1);
        assert!(dirty.contains("shop.users", &KeyValue::Integer(7)));
        assert!(!dirty.contains("shop.users", &KeyValue::Integer(8)));
        assert!(dirty.contains("shop.orders", &KeyValue::Integer(8)), "an unknown key may be any");
        assert_eq!(dirty.extent(&["shop.users".into(), "shop.orders".into()]).keys, 2);
        assert_eq!(dirty.tokens(&["shop.orders".into()], Until::Streamed, Duration::ZERO), [2]);
        assert_eq!(dirty.tokens(&["shop.users".into()], Until::Healed, Duration::ZERO), [0; 0]);
        dirty.remove(2);
        assert!(dirty.is_empty() && !dirty.has_table("shop.users"));
        assert_eq!(dirty.extent(&["shop.users".into()]), Extent::default());
    }

    #[test]
    fn what_a_transaction_did_to_tables_of_another_move_stays_dirty() {
        let dirty = DirtyKeys::default();
        let users = (String::from("shop.users"), Some(KeyValue::Integer(7)));
        dirty.add(1, vec![users.clone(), ("shop.orders".to_owned(), None)], Until::Healed);
        dirty.add(2, vec![users], Until::Streamed);
        dirty.forget(&["shop.users".into()], Until::Healed);
        assert!(dirty.contains("shop.users", &KeyValue::Integer(7)) && dirty.has_table("shop.orders"));
        dirty.forget(&["shop.users".into()], Until::Streamed);
        assert!(!dirty.has_table("shop.users") && dirty.knows(1) && !dirty.knows(2));
        // Each move reads its own part of the journal.
        dirty.add(1, vec![("shop.orders".to_owned(), None), ("shop.carts".to_owned(), None)], Until::Healed);
        dirty.remove_of(1, &["shop.orders".into()]);
        assert!(dirty.has_table("shop.carts") && !dirty.has_table("shop.orders"));
        dirty.remove_of(1, &["shop.carts".into()]);
        assert!(dirty.is_empty() && !dirty.knows(1));
    }
}
