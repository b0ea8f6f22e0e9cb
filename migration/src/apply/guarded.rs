//! Applying while double write is on: an event may be older than what double write has brought already.
//!
//! A row that the other side has as the event left it needs nothing. Any other is suspect: the authority's row is locked
//! and, as it is now, becomes the other side's. So no row ever goes back to an older state that gray readers could see.

use std::collections::HashMap;
use std::time::Duration;

use shardway_routing::topology::Side;

use super::batch::{Batch, Fate};
use crate::connection::images;
use crate::image::{Image, Key};
use crate::line::{self, LotDone, LotSize};
use crate::pool::Pool;
use crate::tables::{End, MovingTable, WorkError};

/// Keys asked for at once.
pub(super) const AT_ONCE: usize = 500;
/// Another row has the value of a unique key.
const DUPLICATE: u16 = 1062;
/// Tries at a row that somebody else holds.
const TRIES: u32 = 8;

/// Brings the rows of a batch in line. Running it again changes nothing.
pub(super) async fn write(
    pool: &Pool,
    tables: &[MovingTable],
    authority: Side,
    batch: &Batch,
) -> Result<(), WorkError> {
    for (place, fates) in batch.places() {
        let table = &tables[place.table];
        let keys: Vec<Key> = fates.keys().cloned().collect();
        for keys in keys.chunks(AT_ONCE) {
            let suspects = suspects(pool, table, authority, place.node, fates, keys).await?;
            bring_all_in_line(pool, table, authority, &suspects).await?;
        }
    }
    Ok(())
}

/// The rows that a node of the other side has neither as the batch left them nor as the authority has them now. A row
/// that was equal once needs nothing: whatever changes it has an event or a dirty key of its own.
///
/// A log shows a transaction before its server lets others see the rows, but not before they are locked: what is locked
/// on the authority is not known, and suspect.
async fn suspects(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    node: usize,
    fates: &HashMap<Key, Fate>,
    keys: &[Key],
) -> Result<Vec<Key>, WorkError> {
    let other = authority.other();
    let there = rows(pool, table, &table.ends(other)[node], keys, Locked::Read).await?;
    let is_as_left = |key: &Key| match &fates[key] {
        Fate::Put(image) | Fate::Alone(image) | Fate::New(image) => there.get(key) == Some(image),
        Fate::Gone(_) => !there.contains_key(key),
        Fate::Unsure => false,
    };
    let doubtful: Vec<Key> = keys.iter().filter(|key| !is_as_left(key)).cloned().collect();
    let mut here: HashMap<Key, Vec<Image>> = HashMap::new();
    for (place, end) in table.origins(authority).iter().enumerate() {
        for (key, image) in rows(pool, table, end, &doubtful, Locked::Skipped).await? {
            let is_meant = table.takes(authority, &image) && table.owns(authority, place, &image);
            if is_meant && table.homes(other, &image)?.contains(&node) {
                here.entry(key).or_default().push(image);
            }
        }
    }
    let is_in_line = |key: &Key| match here.get(key).map_or(&[][..], Vec::as_slice) {
        [wanted] => there.get(key) == Some(wanted),
        _ => false,
    };
    Ok(doubtful.into_iter().filter(|key| !is_in_line(key)).collect())
}

/// What is done about rows that somebody has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// They are read as they were committed last.
    Read,
    Skipped,
}

pub(super) async fn rows(
    pool: &Pool,
    table: &MovingTable,
    end: &End,
    keys: &[Key],
    locked: Locked,
) -> Result<HashMap<Key, Image>, WorkError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let mut connection = pool.take(&end.server).await?;
    let lock = if locked == Locked::Skipped { " FOR UPDATE SKIP LOCKED" } else { "" };
    let rest = format!("{}{lock}", table.shape.with_keys(keys));
    let found = images(&mut connection, &table.shape, &end.table, &rest).await?;
    pool.give(&end.server, connection);
    Ok(found.into_iter().map(|image| (table.shape.key_of(&image), image)).collect())
}

/// Makes rows what the authority has now: in lots, and one by one what does not go with the others.
async fn bring_all_in_line(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    keys: &[Key],
) -> Result<(), WorkError> {
    let (mut rest, mut size) = (keys, LotSize::default());
    while !rest.is_empty() {
        let (lot, later) = rest.split_at(size.keys().min(rest.len()));
        rest = later;
        let left = match together(pool, table, authority, lot).await {
            Ok(done) => {
                size = size.after(done.bytes);
                done.left.into_iter().collect()
            }
            Err(error) => {
                tracing::debug!(table = table.name, %error, "suspect rows go one by one");
                lot.to_vec()
            }
        };
        for key in left {
            bring_in_line(pool, table, authority, &key).await?;
        }
    }
    Ok(())
}

/// Brings those rows of a lot in line that nobody holds.
async fn together(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    keys: &[Key],
) -> Result<LotDone, WorkError> {
    let keys: Vec<&Key> = keys.iter().collect();
    let mut lot = line::hold_free(pool, table, authority, &keys).await?;
    let written = lot.write(pool, table, authority.other()).await;
    lot.end(pool, written).await
}

/// Makes a row what the authority has now, under its lock.
pub(crate) async fn bring_in_line(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    key: &Key,
) -> Result<(), WorkError> {
    let mut tries = 0;
    loop {
        match once(pool, table, authority, key).await {
            Err(error) if error.is_passing() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(10 << tries)).await;
            }
            other => return other,
        }
    }
}

async fn once(pool: &Pool, table: &MovingTable, authority: Side, key: &Key) -> Result<(), WorkError> {
    let mut held = line::hold(pool, table, authority, key).await?;
    let other = authority.other();
    for place in table.may_have(other, key) {
        for statement in held.statements(table, other, place, key) {
            let written = held.grip.write(pool, table, other, place, &statement).await;
            match (written, held.alone(table, other, place)) {
                (Err(WorkError::Server(mysql_async::Error::Server(error))), Some(alone))
                    if error.code == DUPLICATE =>
                {
                    held.grip.write(pool, table, other, place, &alone).await?;
                }
                (done, _) => done?,
            }
        }
    }
    held.grip.release(pool).await
}
