//! Rows of several shards under one primary key, before a batch is written to a side that has room for one of them.
//!
//! Such a key is doubtful where the other side has the row of another shard: of two shards' streams nobody knows which
//! is ahead. The authority's row decides, under its lock; where several shards have one, nothing is written and the
//! stream tells. The other keys of the batch are written as they are, and only over the rows they speak of.

use shardway_routing::topology::Side;

use super::batch::{Batch, Fate, Place, Sorted};
use super::guarded::{AT_ONCE, Locked, bring_in_line, rows};
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// Writes the doubtful rows of a batch and takes them out of it. Running it again changes nothing.
pub(super) async fn settle(
    pool: &Pool,
    tables: &[MovingTable],
    authority: Side,
    batch: &mut Batch,
) -> Result<(), WorkError> {
    let told = |place: Place| tables[place.table].told_by(authority).map(|column| (place, column));
    let places: Vec<(Place, usize)> = batch.places().filter_map(|(place, _)| told(place)).collect();
    for (place, column) in places {
        let table = &tables[place.table];
        let end = &table.ends(authority.other())[place.node];
        for keys in batch.keys_of(place).chunks(AT_ONCE) {
            let there = rows(pool, table, end, keys, Locked::Read).await?;
            for key in keys {
                let fate = batch.fate(place, key);
                let is_doubtful = match (fate, there.get(key)) {
                    (Some(Fate::Unsure), _) => true,
                    (Some(fate), Some(image)) => fate.told(column) != image.0[column].as_ref(),
                    (_, None) | (None, _) => false,
                };
                if is_doubtful {
                    bring_in_line(pool, table, authority, key).await?;
                    batch.sort(place, key, Sorted::Written);
                } else if !there.contains_key(key) {
                    batch.sort(place, key, Sorted::New);
                }
            }
        }
    }
    Ok(())
}
