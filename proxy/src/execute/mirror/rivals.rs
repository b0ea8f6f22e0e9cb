//! Rows of other shards that the other side has under the primary keys of a transaction.
//!
//! Shards may each have a row under one primary key; a side with one table for all of them has room for one. It is
//! another shard's where its shard key says so and that shard has it. A row whose shard has no such row any more is what
//! was left of this one.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use shardway_migration::image::{Image, Key, Reader};
use shardway_migration::tables::{End, MovingTable};

use super::commit::{Group, NotTaken};
use super::other::{Limit, Others};
use crate::backend::Checkout;
use crate::backend::connection::Rows;
use crate::session::Session;
use crate::session::held::{Branch, Held};
use crate::worker::View;

/// What a node of the other side has under a primary key.
pub(super) enum Under {
    Nothing,
    /// The row of the shard that the transaction wrote, or one that no shard has.
    Own,
    /// The row of another shard.
    Rival,
}

/// What a node of the other side has under some primary keys.
pub(super) struct There {
    own: HashSet<Key>,
    rivals: HashSet<Key>,
}

impl There {
    pub(super) fn under(&self, key: &Key) -> Under {
        match (self.own.contains(key), self.rivals.contains(key)) {
            (_, true) => Under::Rival,
            (true, false) => Under::Own,
            (false, false) => Under::Nothing,
        }
    }
}

/// Reads and locks the rows that a node of the other side has under a group's keys, and asks their own shards for them.
pub(super) async fn there(
    session: &mut Session,
    view: &View,
    group: &Group,
    place: usize,
    others: &mut Others,
) -> Result<There, NotTaken> {
    let Group { table, authority, end, rows } = group;
    let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
    let node = &table.ends(authority.other())[place];
    let limit = others.limit;
    let other = others.to(session, view, node).await?;
    // Only rows that are there are locked: the gaps of others belong to everybody who inserts.
    let mut found = read(limit, other, table, node, &keys, "").await?;
    if !found.is_empty() {
        let keys: Vec<Key> = found.keys().cloned().collect();
        found = read(limit, other, table, node, &keys, "FOR UPDATE").await?;
    }
    let mut there = There { own: HashSet::new(), rivals: HashSet::new() };
    let mut of_others: HashMap<usize, Vec<Key>> = HashMap::new();
    for (key, image) in found {
        match table.home(*authority, &image) {
            Ok(home) if table.ends(*authority)[home] != *end => of_others.entry(home).or_default().push(key),
            _ => drop(there.own.insert(key)),
        }
    }
    for (home, keys) in of_others {
        let owned = on_shard(session, view, limit, table, &table.ends(*authority)[home], &keys).await?;
        for key in keys {
            let side = if owned.contains_key(&key) { &mut there.rivals } else { &mut there.own };
            side.insert(key);
        }
    }
    Ok(there)
}

/// The rows of another shard, as this transaction sees them where it has written there, else as committed.
async fn on_shard(
    session: &mut Session,
    view: &View,
    limit: Limit,
    table: &MovingTable,
    end: &End,
    keys: &[Key],
) -> Result<HashMap<Key, Image>, NotTaken> {
    let pool = view.pool(end.backend);
    let is_ours = |held: &Held| held.branch == Branch::Open && Rc::ptr_eq(held.checkout.pool(), pool);
    if let Some(at) = session.held.iter().position(is_ours) {
        // The newest: what the transaction saw when it began may be gone.
        let sql = sql(Reader::Client, table, end, keys, "LOCK IN SHARE MODE");
        let found =
            session.at(at).rows(sql.as_bytes()).await.map_err(|error| NotTaken::Branch(error.into()))?;
        return images(Reader::Client, table, found);
    }
    let mut asked = limit.engine(session, view, end).await?;
    let found = read(limit, &mut asked, table, end, keys, "").await?;
    asked.give_back();
    Ok(found)
}

async fn read(
    limit: Limit,
    other: &mut Checkout,
    table: &MovingTable,
    end: &End,
    keys: &[Key],
    lock: &str,
) -> Result<HashMap<Key, Image>, NotTaken> {
    let found = limit.rows(other, &sql(Reader::Engine, table, end, keys, lock)).await?;
    images(Reader::Engine, table, found)
}

fn sql(reader: Reader, table: &MovingTable, end: &End, keys: &[Key], lock: &str) -> String {
    table.shape.select(reader, &end.table, &format!("{} {lock}", table.shape.with_keys(keys)))
}

fn images(reader: Reader, table: &MovingTable, found: Rows) -> Result<HashMap<Key, Image>, NotTaken> {
    let image = |row| {
        let image = table.shape.image(reader, row)?;
        Some((table.shape.key_of(&image), image))
    };
    let images: Option<HashMap<Key, Image>> = found.rows.into_iter().map(image).collect();
    images.ok_or_else(|| NotTaken::Error(format!("a row of {} is not as its columns say", table.name)))
}
