//! Rows that were seen at home, and may be on another shard where they were before.
//!
//! Hardly any ever are. To delete each of them everywhere else would take locks on rows of others, so they are looked for
//! first, without locks: nobody else writes them there while their batch is being written.

use futures_util::future::try_join_all;
use shardway_routing::topology::Side;

use super::batch::{Batch, Fate, Place, Sorted};
use super::guarded::{AT_ONCE, Locked, rows};
use crate::image::Key;
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// Leaves of the deletions of a batch those of rows that are there.
pub(super) async fn find(
    pool: &Pool,
    tables: &[MovingTable],
    authority: Side,
    batch: &mut Batch,
) -> Result<(), WorkError> {
    let places: Vec<Place> = batch.places().map(|(place, _)| place).collect();
    let looks = places.into_iter().map(|place| {
        let mut keys: Vec<Key> = batch.keys_of(place);
        keys.retain(|key| matches!(batch.fate(place, key), Some(Fate::Gone(_))));
        async move {
            Ok::<_, WorkError>((place, absent(pool, &tables[place.table], authority, place, &keys).await?))
        }
    });
    for (place, absent) in try_join_all(looks).await? {
        absent.iter().for_each(|key| batch.sort(place, key, Sorted::Written));
    }
    Ok(())
}

/// The keys that a node of the other side has not got.
async fn absent(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    place: Place,
    keys: &[Key],
) -> Result<Vec<Key>, WorkError> {
    let end = &table.ends(authority.other())[place.node];
    let mut absent = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let there = rows(pool, table, end, keys, Locked::Read).await?;
        // A collation may find a row under another spelling of its key.
        if there.keys().all(|of| keys.contains(of)) {
            absent.extend(keys.iter().filter(|key| !there.contains_key(key)).cloned());
        }
    }
    Ok(absent)
}
