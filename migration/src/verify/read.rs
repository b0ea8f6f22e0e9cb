//! Reading both sides of one table: signatures of ranges, rows, keys.
//!
//! Plain consistent reads without locks. Of a physical table that both sides have, each side sees the rows that its own
//! routing puts there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::future::{try_join, try_join_all};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use shardway_routing::topology::Side;

use super::judge::{Copy, Right};
use super::placement::{AtHome, at_home};
use crate::connection::{fields, images_within, leave_the_rest};
use crate::image::{Image, Key, Range, Reader, Second, Seed};
use crate::pool::Pool;
use crate::settings::Wire;
use crate::tables::{End, MovingTable, WorkError};

/// What a range of rows adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    pub rows: u64,
    xor: u64,
    sum: u128,
    /// Rows by the values of the grouping columns.
    pub groups: BTreeMap<Vec<Option<Vec<u8>>>, u64>,
}

/// A signature, and how many of its rows lie on a shard that routing does not name.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub signature: Signature,
    pub misplaced: u64,
}

/// What a signature is made of.
#[derive(Debug, Clone)]
pub(super) enum Measure {
    /// Rows, by the values of these columns, each with the expression that tells its values apart.
    Count {
        by: Vec<(String, String)>,
    },
    Hash {
        seed: Seed,
        second: Second,
    },
}

/// One table of a run, with what reads it.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub of: &'a MovingTable,
    pub authority: Side,
    pub pool: &'a Pool,
    pub measure: Measure,
    /// Ranges that are looked at together.
    pub lanes: usize,
    /// Differences that have been proved.
    pub proved: Arc<AtomicU64>,
}

impl<'a> Table<'a> {
    /// The same table where the other side is right.
    pub fn seen_from(&self, authority: Side) -> Table<'a> {
        Table { authority, measure: self.measure.clone(), proved: Arc::clone(&self.proved), ..*self }
    }

    fn at_home(&self, side: Side, place: usize) -> AtHome {
        at_home(self.of.placement(side), &self.of.shape, place)
    }

    /// Does a server have to tell apart the rows of one physical table, and cannot?
    pub fn is_beyond_signatures(&self) -> bool {
        let side = Side::Target;
        (0..self.of.ends(side).len()).any(|place| {
            self.of.has_others(side, place) && matches!(self.at_home(side, place), AtHome::ByKey { .. })
        })
    }

    /// Both sides' readings of a range, the authority's first.
    pub async fn readings(&self, range: &Range) -> Result<(Reading, Reading), WorkError> {
        try_join(self.reading(self.authority, range), self.reading(self.authority.other(), range)).await
    }

    async fn reading(&self, side: Side, range: &Range) -> Result<Reading, WorkError> {
        let mut parts = Vec::new();
        for (place, end) in self.of.ends(side).iter().enumerate() {
            parts.push(self.part(side, place, end, range));
        }
        let parts = try_join_all(parts).await?;
        Ok(parts.into_iter().fold(Reading::default(), Reading::and))
    }

    async fn part(&self, side: Side, place: usize, end: &End, range: &Range) -> Result<Reading, WorkError> {
        let mut condition = self.of.shape.within(range);
        let mut misplaced = "0".to_owned();
        if let AtHome::Condition(at_home) = self.at_home(side, place) {
            if self.of.has_others(side, place) {
                condition = format!("({condition}) AND {at_home}");
            } else {
                misplaced = format!("SUM(NOT {at_home})");
            }
        }
        let (select, group) = match &self.measure {
            Measure::Count { by } if by.is_empty() => (format!("COUNT(*), {misplaced}"), String::new()),
            Measure::Count { by } => {
                let places: Vec<String> = (3..3 + by.len()).map(|place| place.to_string()).collect();
                let group = format!(" GROUP BY {}", places.join(", "));
                let by: Vec<&str> = by.iter().map(|(_, expression)| expression.as_str()).collect();
                (format!("COUNT(*), {misplaced}, {}", by.join(", ")), group)
            }
            Measure::Hash { seed, second } => {
                let digest = self.of.shape.digest(*seed, *second);
                (format!("COUNT(*), {misplaced}, {digest}"), String::new())
            }
        };
        let by_key = self.of.shape.by_key();
        let sql = format!("SELECT {select} FROM {} {by_key} WHERE {condition}{group}", end.table);
        let rows = self.ask(end, &sql).await?;
        let read = rows.into_iter().map(|row| self.decoded(fields(row)));
        let read: Option<Vec<Reading>> = read.collect();
        let read = read.ok_or_else(|| WorkError::Stopped(format!("{} adds up to no number", end.table)))?;
        Ok(read.into_iter().fold(Reading::default(), Reading::and))
    }

    fn decoded(&self, row: Vec<Option<Vec<u8>>>) -> Option<Reading> {
        let number = |field: &Option<Vec<u8>>| -> Option<u128> {
            // The sum of no rows is NULL.
            let Some(field) = field else { return Some(0) };
            std::str::from_utf8(field).ok()?.parse().ok()
        };
        let rows = u64::try_from(number(row.first()?)?).ok()?;
        let misplaced = u64::try_from(number(row.get(1)?)?).ok()?;
        let mut signature = Signature { rows, ..Signature::default() };
        match &self.measure {
            Measure::Count { by } if by.is_empty() => {}
            Measure::Count { .. } => {
                signature.groups.insert(row[2..].to_vec(), rows);
            }
            Measure::Hash { .. } => {
                signature.xor = u64::try_from(number(row.get(2)?)?).ok()?;
                signature.sum = number(row.get(3)?)?;
            }
        }
        Some(Reading { signature, misplaced })
    }

    /// Every copy of a side's rows in a range. `None`: those of a node take more bytes than `most`.
    pub async fn rows(&self, side: Side, range: &Range, most: usize) -> Result<Option<Vec<Copy>>, WorkError> {
        self.copies(side, &format!("WHERE {}", self.of.shape.within(range)), most).await
    }

    /// Every copy of a side's rows with these keys.
    pub async fn with_keys(&self, side: Side, keys: &[Key]) -> Result<Vec<Copy>, WorkError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let copies = self.copies(side, &self.of.shape.with_keys(keys), usize::MAX).await?;
        Ok(copies.expect("no rows take as much as that"))
    }

    async fn copies(&self, side: Side, rest: &str, most: usize) -> Result<Option<Vec<Copy>>, WorkError> {
        let places = 0..self.of.ends(side).len();
        let parts = places.map(|place| copies_of(self.pool, self.of, side, place, rest, most));
        let parts: Option<Vec<Vec<Copy>>> = try_join_all(parts).await?.into_iter().collect();
        Ok(parts.map(|parts| parts.into_iter().flatten().collect()))
    }

    /// The end of a range that begins where `range` does, has at most so many rows on every node of these sides, and
    /// does not end later. `None`: `range` has no more itself.
    pub async fn step(&self, sides: &[Side], range: &Range, rows: u64) -> Result<Option<Key>, WorkError> {
        let mut range = range.clone();
        let mut found = None;
        let mut ends: Vec<&End> = Vec::new();
        for side in sides {
            ends.extend(self.of.ends(*side));
        }
        for end in ends {
            let order = self.of.shape.between(range.after.as_ref(), range.up_to.as_ref());
            let rest = format!("{order} LIMIT 1 OFFSET {}", rows.max(1) - 1);
            if let Some(key) = self.keys(end, &rest).await?.into_iter().next() {
                // The last row of the range ends it as its own bound does.
                if range.up_to.as_ref() != Some(&key) {
                    range.up_to = Some(key.clone());
                    found = Some(key);
                }
            }
        }
        Ok(found)
    }

    /// Keys of a node.
    pub async fn keys(&self, end: &End, rest: &str) -> Result<Vec<Key>, WorkError> {
        let sql = self.of.shape.select_keys(Reader::Engine, &end.table, None, rest);
        let rows = self.ask(end, &sql).await?;
        let key = |row| self.of.shape.key(Reader::Engine, fields(row));
        let keys: Option<Vec<Key>> = rows.into_iter().map(key).collect();
        keys.ok_or_else(|| WorkError::Stopped(format!("a key of {} is not as its columns say", end.table)))
    }

    /// Keys of rows in a range that lie on another node of a side than routing names, as far as the server or the key
    /// can tell.
    pub async fn misplaced(&self, side: Side, range: &Range, at_most: usize) -> Result<Vec<Key>, WorkError> {
        let mut found = Vec::new();
        for (place, end) in self.of.ends(side).iter().enumerate() {
            if self.of.has_others(side, place) {
                continue;
            }
            let within = self.of.shape.within(range);
            match self.at_home(side, place) {
                AtHome::Always => {}
                AtHome::Condition(at_home) => {
                    let rest = format!("WHERE {within} AND NOT {at_home} LIMIT {at_most}");
                    found.extend(self.keys(end, &rest).await?);
                }
                AtHome::ByKey { column } => {
                    let sql = self.of.shape.select_sparse(&column, &end.table, &format!("WHERE {within}"));
                    for row in self.ask(end, &sql).await? {
                        let image = self.of.shape.sparse(&column, fields(row)).ok_or_else(|| {
                            WorkError::Stopped(format!("a key of {} is not as its columns say", end.table))
                        })?;
                        if self.of.home(side, &image).ok() != Some(place) {
                            found.push(self.of.shape.key_of(&image));
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// Must the keys of a side be read to know whether its rows are in place?
    pub fn is_placed_by_key(&self, side: Side) -> bool {
        (0..self.of.ends(side).len()).any(|place| matches!(self.at_home(side, place), AtHome::ByKey { .. }))
    }

    /// See [`authoritative`].
    pub fn row<'c>(&self, copies: &'c [Copy]) -> Result<Right<'c>, WorkError> {
        authoritative(self.of, self.authority, copies)
    }

    pub async fn ask(&self, end: &End, sql: &str) -> Result<Vec<Row>, WorkError> {
        let mut connection: Conn = self.pool.take(&end.server).await?;
        let rows = connection.query(sql).await?;
        self.pool.give(&end.server, connection);
        Ok(rows)
    }
}

/// Those rows of a side's physical table that are the side's and are compared. `None`: they take more bytes than `most`.
pub(super) async fn copies_of(
    pool: &Pool,
    of: &MovingTable,
    side: Side,
    place: usize,
    rest: &str,
    most: usize,
) -> Result<Option<Vec<Copy>>, WorkError> {
    let end = &of.ends(side)[place];
    let mut connection = pool.take(&end.server).await?;
    let rows = images_within(&mut connection, &of.shape, &end.table, rest, most).await?;
    let Some(rows) = rows else {
        leave_the_rest(&end.server, &mut connection, Wire::Plain).await?;
        pool.give(&end.server, connection);
        return Ok(None);
    };
    pool.give(&end.server, connection);
    let is_meant = |image: &Image| of.owns(side, place, image) && of.compares(image);
    Ok(Some(rows.into_iter().filter(is_meant).map(|image| (place, image)).collect()))
}

/// The authority's row among its copies, with its place on the other side. The copy where the authority's own routing
/// wants it comes first.
pub(super) fn authoritative<'c>(
    of: &MovingTable,
    authority: Side,
    copies: &'c [Copy],
) -> Result<Right<'c>, WorkError> {
    let mut found = copies.first();
    let mut at_home = 0;
    for copy in copies {
        if of.home(authority, &copy.1)? == copy.0 {
            found = Some(copy);
            at_home += 1;
        }
    }
    match found {
        Some(_) if at_home > 1 && of.told_by(authority).is_some() => Ok(Right::Several),
        Some((_, image)) => Ok(Right::Row { image, home: of.home(authority.other(), image)? }),
        None => Ok(Right::Nothing),
    }
}

impl Reading {
    fn and(mut self, other: Reading) -> Reading {
        self.misplaced += other.misplaced;
        self.signature.add(&other.signature);
        self
    }
}

impl Signature {
    /// Adds the rows of another.
    pub fn add(&mut self, other: &Signature) {
        self.rows += other.rows;
        self.xor ^= other.xor;
        self.sum += other.sum;
        self.add_groups(other);
    }

    /// Adds the groups of another alone.
    pub(super) fn add_groups(&mut self, other: &Signature) {
        for (group, rows) in &other.groups {
            *self.groups.entry(group.clone()).or_default() += rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_shards_add_up_in_any_order() {
        let signature = |rows, xor, sum, group: &[u8]| Signature {
            rows,
            xor,
            sum,
            groups: BTreeMap::from([(vec![Some(group.to_vec())], rows)]),
        };
        let parts =
            [signature(1, 5, 7, b"a"), signature(2, 9, u128::from(u64::MAX), b"b"), signature(3, 1, 1, b"a")];
        let total = |order: [usize; 3]| {
            order.into_iter().fold(Signature::default(), |mut total, at| {
                total.add(&parts[at]);
                total
            })
        };
        assert_eq!(total([0, 1, 2]), total([2, 0, 1]));
        assert_eq!((total([0, 1, 2]).rows, total([0, 1, 2]).xor), (6, 5 ^ 9 ^ 1));
        assert_eq!(total([0, 1, 2]).groups[&vec![Some(b"a".to_vec())]], 4);
    }
}
