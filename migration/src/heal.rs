//! Bringing dirty keys in line: the authority's row, as it is, becomes the other side's.
//!
//! Lock the authority's row, write it where it belongs on the other side and delete it wherever else there it could be, commit
//! the other side, remove the key's entries in the authority's transaction. Running it twice changes nothing; a crash
//! between the commits leaves the entries. Keys go in lots; those of a lot that does not go through, one by one. Where a key
//! tells its shard, only that one is written, so that a shard which is away keeps no other shard's keys.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::connection::{connect, connect_writer};
use crate::dirty::{self, Entry, Stored};
use crate::image::Key;
use crate::image::write::Write;
use crate::line::{self, LotDone, LotSize};
use crate::pool::Pool;
use crate::settings::Wire;
use crate::tables::{MovingTable, WorkError};

/// Entries read together.
const BATCH: usize = 2_000;
/// How many times so many one pass looks at, where a server that is away keeps them from being healed.
const BATCHES: usize = 5;

/// Lots that one pass brings in line at a time.
const PARALLEL: usize = 8;

/// A journal: a physical database of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub server: Server,
    pub database: String,
}

/// The journals of a move's tables, without repetition.
#[must_use]
pub fn journals(tables: &[MovingTable], authority: Side) -> Vec<Journal> {
    let mut journals: Vec<Journal> = Vec::new();
    for end in tables.iter().flat_map(|table| table.ends(authority)) {
        let journal = Journal { server: end.server.clone(), database: end.database.clone() };
        if !journals.contains(&journal) {
            journals.push(journal);
        }
    }
    journals
}

fn names(tables: &[MovingTable]) -> Vec<&str> {
    tables.iter().map(|table| table.name.as_str()).collect()
}

/// Every entry of some tables in a journal; none if there is no journal.
///
/// # Errors
/// Whatever the server reports.
pub async fn all(tables: &[MovingTable], journal: &Journal) -> Result<Vec<Stored>, WorkError> {
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let batch = entries(tables, journal, after, 0).await?;
        let Some(last) = batch.last() else { return Ok(found) };
        after = last.id;
        found.extend(batch);
    }
}

/// The oldest entries of some tables in a journal behind an id, a batch of them, that are at least so old.
async fn entries(
    tables: &[MovingTable],
    journal: &Journal,
    after: u64,
    min_age_ms: u64,
) -> Result<Vec<Stored>, WorkError> {
    const NO_SUCH_TABLE: u16 = 1146;
    let mut connection = connect(&journal.server).await?;
    let select = dirty::select(&journal.database, &names(tables), after, min_age_ms, BATCH);
    let found = read(&mut connection, &select).await;
    connection.disconnect().await?;
    match found {
        Err(WorkError::Server(mysql_async::Error::Server(error))) if error.code == NO_SUCH_TABLE => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// The oldest entry of some tables in a journal.
///
/// # Errors
/// Whatever the server reports.
pub async fn oldest(tables: &[MovingTable], journal: &Journal) -> Result<Option<u64>, WorkError> {
    Ok(entries(tables, journal, 0, 0).await?.first().map(|stored| stored.id))
}

/// The newest entry of some tables in a journal, if it has any.
///
/// # Errors
/// Whatever the server reports.
pub async fn newest(tables: &[MovingTable], journal: &Journal) -> Result<Option<u64>, WorkError> {
    let mut connection = connect(&journal.server).await?;
    let sql = dirty::newest(&journal.database, &names(tables));
    let newest: Option<Option<u64>> = connection.query_first(sql).await?;
    connection.disconnect().await?;
    Ok(newest.flatten())
}

/// Those of some transactions that have entries of these tables in a journal. Waits for transactions that are committing.
///
/// # Errors
/// Whatever the server reports; error 1205 when such a transaction takes long.
pub async fn noted(
    tables: &[MovingTable],
    journal: &Journal,
    tokens: &[u64],
) -> Result<HashSet<u64>, WorkError> {
    let mut connection = connect_writer(&journal.server, Wire::Plain).await?;
    let sql = dirty::noted(&journal.database, &names(tables), tokens);
    let noted: Vec<u64> = connection.query(sql).await?;
    connection.disconnect().await?;
    Ok(noted.into_iter().collect())
}

async fn read(connection: &mut Conn, select: &str) -> Result<Vec<Stored>, WorkError> {
    let rows: Vec<dirty::Selected> = connection.query(select).await?;
    let decoded = rows.iter().map(|row| {
        let unread = || WorkError::Stopped(format!("the journal's entry {} cannot be read", row.0));
        dirty::decode(row).ok_or_else(unread)
    });
    decoded.collect()
}

/// What one pass over a journal has done.
#[derive(Debug, Default)]
pub struct Healed {
    /// Entries that are gone.
    pub entries: Vec<Entry>,
    /// Keys that must be tried again.
    pub failed: usize,
    /// The entry behind which the next pass goes on, so that those which wait for a server that is away are not all that is
    /// ever looked at. `None`: there was nothing behind.
    pub next: Option<u64>,
}

/// Heals entries of one journal behind an id, the oldest first, several keys at a time.
///
/// # Errors
/// When the authority cannot be asked. A row of the other side that is locked is left for the next time.
pub async fn run(
    tables: &[MovingTable],
    authority: Side,
    journal: &Journal,
    min_age_ms: u64,
    behind: u64,
) -> Result<Healed, WorkError> {
    let work = Work {
        tables,
        authority,
        journal,
        pool: Pool::default(),
        keys: Mutex::default(),
        away: Mutex::default(),
    };
    let mut healed = Healed { next: Some(behind), ..Healed::default() };
    for _ in 0..BATCHES {
        let batch = entries(tables, journal, healed.next.unwrap_or(0), min_age_ms).await?;
        healed.next = batch.last().filter(|_| batch.len() == BATCH).map(|last| last.id);
        work.keys().extend(by_key(batch).into_iter().rev());
        let lanes = futures_util::future::join_all((0..PARALLEL).map(|_| lane(&work))).await;
        for lane in lanes {
            healed.entries.extend(lane.entries);
            healed.failed += lane.failed;
        }
        if work.away().is_empty() || healed.next.is_none() {
            break;
        }
    }
    if work.away().is_empty() {
        healed.next = None;
    }
    work.pool.close().await;
    Ok(healed)
}

/// One pass, shared by its lanes.
struct Work<'a> {
    tables: &'a [MovingTable],
    authority: Side,
    journal: &'a Journal,
    pool: Pool,
    /// The oldest last.
    keys: Mutex<Vec<OfRow>>,
    /// Servers that what needs them is left for the next pass.
    away: Mutex<Vec<Server>>,
}

/// What the journal says of one row.
type OfRow = Vec<Stored>;

impl Work<'_> {
    fn keys(&self) -> MutexGuard<'_, Vec<OfRow>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> MutexGuard<'_, Vec<Server>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers of the other side that a row needs.
    fn needs<'b>(&self, table: &'b MovingTable, rows: &OfRow) -> impl Iterator<Item = &'b Server> {
        let other = self.authority.other();
        table.ends(other)[table.may_have(other, &rows[0].entry.key)].iter().map(|end| &end.server)
    }

    /// Somebody was away when these rows were to be written. If all of them need the same server of the other side, what else
    /// needs it waits for the next pass; if it was the authority, so does everything.
    fn is_away_if_alone(&self, table: &MovingTable, rows: &[OfRow]) {
        let mut needed = rows.iter().flat_map(|row| self.needs(table, row));
        let Some(first) = needed.next() else { return };
        if needed.all(|server| server.is_same_process(first)) {
            self.away().push(first.clone());
        }
    }

    fn is_within_reach(&self, table: &MovingTable, rows: &OfRow) -> bool {
        let away = self.away();
        !self.needs(table, rows).any(|server| away.iter().any(|away| away.is_same_process(server)))
    }

    /// The oldest rows that are left: of one table, and so many at most.
    fn next(&self, size: LotSize) -> Vec<OfRow> {
        let mut keys = self.keys();
        let Some(first) = keys.pop() else { return Vec::new() };
        let mut lot = vec![first];
        while lot.len() < size.keys()
            && let Some(next) = keys.pop_if(|next| next[0].entry.table == lot[0][0].entry.table)
        {
            lot.push(next);
        }
        lot
    }

    /// The statement that removes entries, if there are any.
    fn removal<'b>(&self, entries: impl IntoIterator<Item = &'b Stored>) -> Option<Write> {
        let ids: Vec<u64> = entries.into_iter().map(|stored| stored.id).collect();
        (!ids.is_empty()).then(|| dirty::remove(&self.journal.database, &ids).into())
    }
}

async fn lane(work: &Work<'_>) -> Healed {
    let mut healed = Healed::default();
    let mut size = LotSize::default();
    loop {
        let rows = work.next(size);
        let Some(first) = rows.first() else { return healed };
        let of = &first[0].entry.table;
        let Some(table) = work.tables.iter().find(|table| table.name == *of) else { continue };
        let (rows, unreachable): (Vec<OfRow>, Vec<OfRow>) =
            rows.into_iter().partition(|entries| work.is_within_reach(table, entries));
        healed.failed += unreachable.len();
        if rows.is_empty() {
            continue;
        }
        let left = match together(work, table, &rows).await {
            Ok(done) => {
                size = size.after(done.bytes);
                done.left
            }
            Err(error) => {
                tracing::debug!(table = table.name, %error, "dirty keys go one by one");
                if error.is_away() {
                    work.is_away_if_alone(table, &rows);
                }
                rows.iter().map(|entries| entries[0].entry.key.clone()).collect()
            }
        };
        for entries in rows {
            let is_healed = !left.contains(&entries[0].entry.key);
            if !is_healed && !work.is_within_reach(table, &entries) {
                healed.failed += 1;
                continue;
            }
            match if is_healed { Ok(()) } else { one(work, table, &entries).await } {
                Ok(()) => healed.entries.extend(entries.into_iter().map(|stored| stored.entry)),
                Err(error) => {
                    healed.failed += 1;
                    tracing::warn!(table = table.name, %error, "a dirty key is not healed yet");
                    if error.is_away() {
                        // Which one is not said; every other key would wait for it, too.
                        work.away().extend(work.needs(table, &entries).cloned());
                    }
                }
            }
        }
    }
}

/// Entries of the same row together, in the order of the first.
fn by_key(entries: Vec<Stored>) -> Vec<OfRow> {
    let mut places = std::collections::HashMap::new();
    let mut keys: Vec<OfRow> = Vec::new();
    for stored in entries {
        let of = (stored.entry.table.clone(), stored.entry.key.clone());
        let place = *places.entry(of).or_insert_with(|| {
            keys.push(Vec::new());
            keys.len() - 1
        });
        keys[place].push(stored);
    }
    keys
}

/// Brings those rows of a table in line that nobody holds.
async fn together(work: &Work<'_>, table: &MovingTable, rows: &[OfRow]) -> Result<LotDone, WorkError> {
    let keys: Vec<&Key> = rows.iter().map(|entries| &entries[0].entry.key).collect();
    // The row may have gone to another node of the authority since, so all of them are asked.
    let mut lot = line::hold_free(&work.pool, table, work.authority, &keys).await?;
    let written = async {
        // Each statement is right by itself, and the entries are there until all have run.
        lot.write(&work.pool, table, work.authority.other()).await?;
        let done = rows.iter().filter(|entries| lot.has(&entries[0].entry.key)).flatten();
        match work.removal(done) {
            Some(removal) => lot.grip.run(&work.pool, &work.journal.server, &removal).await,
            None => Ok(()),
        }
    };
    let written = written.await;
    lot.end(&work.pool, written).await
}

async fn one(work: &Work<'_>, table: &MovingTable, entries: &[Stored]) -> Result<(), WorkError> {
    let (pool, other) = (&work.pool, work.authority.other());
    let key = &entries[0].entry.key;
    let mut held = line::hold(pool, table, work.authority, key).await?;
    for place in table.may_have(other, key) {
        for statement in held.statements(table, other, place, key) {
            held.grip.write(pool, table, other, place, &statement).await?;
        }
    }
    if let Some(removal) = work.removal(entries) {
        held.grip.run(pool, &work.journal.server, &removal).await?;
    }
    held.grip.release(pool).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_of_one_row_are_healed_once() {
        let stored = |id, table: &str, key: &[u8]| Stored {
            id,
            entry: Entry {
                token: id,
                table: table.to_owned(),
                key: Key(vec![key.to_vec()]),
                shard_keys: Vec::new(),
            },
            age: Duration::ZERO,
        };
        let keys = by_key(vec![
            stored(1, "shop.users", b"1"),
            stored(2, "shop.orders", b"1"),
            stored(3, "shop.users", b"1"),
        ]);
        let ids: Vec<Vec<u64>> =
            keys.iter().map(|entries| entries.iter().map(|stored| stored.id).collect()).collect();
        assert_eq!(ids, [vec![1, 3], vec![2]]);
    }
}
