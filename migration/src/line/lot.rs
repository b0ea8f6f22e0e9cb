//! Several keys of one table brought in line together: a few statements for all of them.

use std::collections::{HashMap, HashSet};

use shardway_routing::topology::Side;

use super::grip::Grip;
use super::{Line, Must, answer};
use crate::image::{Image, Key};
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// Keys in a lot at most.
const KEYS_MAX: usize = 64;
/// A lot that had more than this of rows is followed by smaller ones.
const BYTES_MAX: usize = 256 << 10;

/// What a server says when a row is somebody else's: MariaDB, MySQL.
const NOT_FREE: [u16; 2] = [1205, 3572];

/// A shared lock, as MySQL and MariaDB say it where more follows. One for writing would hold the table's definition as a
/// writer does, and a fence would wait for it while a statement of the same lot waits for the fence.
pub(crate) const SHARED: &str = "/*!80001 FOR SHARE *//*M! LOCK IN SHARE MODE */";

/// How many keys the next lot has: few at first, for rows may be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LotSize(usize);

impl Default for LotSize {
    fn default() -> LotSize {
        LotSize(4)
    }
}

impl LotSize {
    pub(crate) fn keys(self) -> usize {
        self.0
    }

    /// After a lot with so many bytes of rows.
    #[must_use]
    pub(crate) fn after(self, bytes: usize) -> LotSize {
        LotSize(if bytes > BYTES_MAX { self.0.div_ceil(2) } else { (self.0 * 2).min(KEYS_MAX) })
    }
}

/// Keys of the authority under lock.
#[derive(Debug)]
pub(crate) struct Lot<'a> {
    lines: HashMap<&'a Key, Line>,
    /// The transactions that hold them.
    pub grip: Grip,
    left: HashSet<Key>,
}

/// What was brought in line.
#[derive(Debug)]
pub(crate) struct LotDone {
    /// Bytes of the rows.
    pub bytes: usize,
    /// The keys that were not: somebody else holds them, or they can only be judged alone.
    pub left: HashSet<Key>,
}

/// Locks those keys of one table that nobody else holds. Whoever waits for a row while holding others may be waited for,
/// by a client for whom that would be a deadlock.
///
/// # Errors
/// Whatever the authority reports. Nothing is locked then.
pub(crate) async fn hold_free<'a>(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    keys: &[&'a Key],
) -> Result<Lot<'a>, WorkError> {
    answer(pool, table, authority.other(), keys.iter().copied()).await?;
    let mut grip = Grip::default();
    let found = async {
        let mut found = Found { rows: HashMap::new(), held: HashSet::new() };
        for place in 0..table.ends(authority).len() {
            found.at(&mut grip, pool, table, authority, place, keys).await?;
        }
        Ok(found)
    };
    let mut found = match found.await {
        Ok(found) => found,
        Err(error) => {
            grip.give_up(pool).await;
            return Err(error);
        }
    };
    let (mut lines, mut left) = (HashMap::new(), HashSet::new());
    for key in keys {
        let rows = found.rows.remove(*key).unwrap_or_default();
        match Line::of(table, authority, key, rows) {
            Ok(line) if !found.held.contains(*key) => drop(lines.insert(*key, line)),
            // The error comes again when the key is alone.
            Ok(_) | Err(_) => drop(left.insert((*key).clone())),
        }
    }
    Ok(Lot { lines, grip, left })
}

/// What the nodes of the authority have.
struct Found {
    /// Under lock, with the place of the node.
    rows: HashMap<Key, Vec<(usize, Image)>>,
    /// Keys that somebody else holds somewhere.
    held: HashSet<Key>,
}

impl Found {
    /// Locks at a node what nobody holds there.
    async fn at(
        &mut self,
        grip: &mut Grip,
        pool: &Pool,
        table: &MovingTable,
        authority: Side,
        place: usize,
        keys: &[&Key],
    ) -> Result<(), WorkError> {
        let of = |keys: &HashSet<Key>| {
            let keys: Vec<Key> = keys.iter().cloned().collect();
            // By another index, or by none, rows beside them would be locked too.
            format!("{} {}", table.shape.by_key(), table.shape.with_keys(&keys))
        };
        let is_asked = |key: &&&Key| table.owns_key(authority, place, key) != Some(false);
        let mut silent: HashSet<Key> = keys.iter().filter(is_asked).map(|key| (*key).clone()).collect();
        if silent.is_empty() {
            return Ok(());
        }
        let free = format!("{} {SHARED} SKIP LOCKED", of(&silent));
        for image in grip.read(pool, table, authority, place, &free).await? {
            self.take(table, place, image, &mut silent);
        }
        if silent.is_empty() {
            return Ok(());
        }
        // What is there and was not locked is somebody else's.
        for image in grip.read(pool, table, authority, place, &of(&silent)).await? {
            match silent.take(&table.shape.key_of(&image)) {
                Some(key) => drop(self.held.insert(key)),
                None => self.held.extend(silent.drain()),
            }
        }
        if silent.is_empty() {
            return Ok(());
        }
        // The others are not there, unless somebody is about to insert them, and shall not appear.
        let gaps = format!("{} {SHARED} NOWAIT", of(&silent));
        match grip.read(pool, table, authority, place, &gaps).await {
            Ok(appeared) => {
                appeared.into_iter().for_each(|image| self.take(table, place, image, &mut silent))
            }
            Err(WorkError::Server(mysql_async::Error::Server(error))) if NOT_FREE.contains(&error.code) => {
                self.held.extend(silent);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A row under lock. A server may find one under another spelling of its key: which of those asked for cannot be told.
    fn take(&mut self, table: &MovingTable, place: usize, image: Image, silent: &mut HashSet<Key>) {
        match silent.take(&table.shape.key_of(&image)) {
            Some(key) => self.rows.entry(key).or_default().push((place, image)),
            None => self.held.extend(silent.drain()),
        }
    }
}

impl Lot<'_> {
    /// Is the key under lock?
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.lines.contains_key(key)
    }

    /// Makes the nodes of the other side that could have the rows hold what they must. Statements one by one: each is right
    /// by itself.
    pub(crate) async fn write(
        &mut self,
        pool: &Pool,
        table: &MovingTable,
        other: Side,
    ) -> Result<(), WorkError> {
        for (place, end) in table.ends(other).iter().enumerate() {
            let (mut gone, mut put): (Vec<Key>, Vec<Image>) = (Vec::new(), Vec::new());
            let could_have = |key: &Key| table.may_have(other, key).contains(&place);
            for (key, line) in self.lines.iter().filter(|(key, _)| could_have(key)) {
                match line.must(table, other, place) {
                    Must::Nothing => {}
                    Must::Have(image) => put.push(image.clone()),
                    Must::NotHave => gone.push((*key).clone()),
                }
            }
            // First what goes: another spelling of its key may be what comes.
            let gone = (!gone.is_empty()).then(|| table.shape.delete(&end.table, &gone).into());
            for statement in gone.into_iter().chain(table.shape.replace(&end.table, &put)) {
                self.grip.write(pool, table, other, place, &statement).await?;
            }
        }
        Ok(())
    }

    /// Lets the keys go. What its transactions did is committed if all went well, and rolled back otherwise.
    pub(crate) async fn end(self, pool: &Pool, written: Result<(), WorkError>) -> Result<LotDone, WorkError> {
        if let Err(error) = written {
            self.grip.give_up(pool).await;
            return Err(error);
        }
        self.grip.release(pool).await?;
        let images = self.lines.values().filter_map(|line| line.image.as_ref());
        let bytes = images.flat_map(|image| &image.0).flatten().map(Vec::len).sum();
        Ok(LotDone { bytes, left: self.left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_grow_while_rows_are_small() {
        let mut size = LotSize::default();
        let mut sizes = Vec::new();
        for bytes in [100, 100, 100, 100, 100, BYTES_MAX + 1, BYTES_MAX + 1] {
            sizes.push(size.keys());
            size = size.after(bytes);
        }
        assert_eq!(sizes, [4, 8, 16, 32, 64, 64, 32]);
        let smallest = (0..9).fold(size, |size, _| size.after(usize::MAX));
        assert_eq!(smallest.keys(), 1);
    }
}
