//! A whole table, range by range, several at a time; what differs is split until rows can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::try_join;
use futures_util::stream::{FuturesUnordered, Stream, TryStreamExt as _};
use shardway_routing::topology::Side;

use super::judge::{Copy, Fault, Kind, judge};
use super::keys::{Settled, settle};
use super::read::{Measure, Reading, Signature, Table};
use super::verdict::{Seen, Verdict, decide};
use crate::converge::Converge;
use crate::image::{ImageShape, Key, Range};
use crate::tables::WorkError;
use crate::tally::Tally;

/// Rows of a table that are found to differ, one by one, before the rest of it is not looked at: no drift is that large.
const FOUND_MAX: usize = 100_000;
/// Rows of a range on one node, at most.
const RANGE: u64 = 50_000;
/// Ranges of so few rows are compared row by row.
const LEAF: u64 = 500;
/// Ranges that are compared row by row take about so many bytes, and have so many rows at most; the first ones have few.
const BYTES: u64 = 1 << 20;
const ROWS: u64 = 4_000;
const FIRST_ROWS: u64 = 100;
/// Rows of one node that take more are not read at once.
const READ_MAX: usize = 8 << 20;
/// Into how many parts a differing range is split.
const FAN: u64 = 8;
/// Misplaced rows of a range that are looked at.
const MISPLACED: usize = 1_000;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub authority: Signature,
    pub other: Signature,
    pub settled: Settled,
    /// What the authority's rows took that were read here.
    pub bytes: u64,
}

impl Walked {
    fn add(&mut self, part: Walked) {
        self.authority.add(&part.authority);
        self.other.add(&part.other);
        self.settled.faults.extend(part.settled.faults);
        self.settled.undecided.extend(part.settled.undecided);
    }
}

/// How closely a walk looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Signatures first, rows where they differ.
    Signatures,
    /// Every row.
    Rows,
}

/// What a walk has found so far, and how many rows its next range has.
struct Walking {
    found: Walked,
    depth: Depth,
    size: u64,
}

impl Walking {
    fn begin(depth: Depth) -> Walking {
        let size = match depth {
            Depth::Signatures => RANGE,
            Depth::Rows => FIRST_ROWS,
        };
        Walking { found: Walked::default(), depth, size }
    }

    fn add(&mut self, part: Walked) {
        if self.depth == Depth::Rows && part.bytes > 0 {
            let fit = part.authority.rows * BYTES / part.bytes;
            self.size = fit.clamp(1, (self.size * FAN).min(ROWS));
        }
        self.found.add(part);
    }

    /// How many keys are not equal on both sides.
    fn bad(&self) -> usize {
        self.found.settled.faults.len() + self.found.settled.undecided.len()
    }

    /// Finds out where a range ends while those that have begun go on.
    async fn beside(
        &mut self,
        working: &mut (impl Stream<Item = Result<Walked, WorkError>> + Unpin),
        step: impl Future<Output = Result<Option<Key>, WorkError>>,
    ) -> Result<Option<Key>, WorkError> {
        let mut step = pin!(step);
        loop {
            tokio::select! {
                end = &mut step => return end,
                Some(part) = working.next() => self.add(part?),
            }
        }
    }
}

/// Walks a table to its end.
pub(super) async fn walk(
    table: &Table<'_>,
    converge: &dyn Converge,
    depth: Depth,
    tally: &Tally,
) -> Result<Walked, WorkError> {
    let mut walking = Walking::begin(depth);
    let mut rest = Some(Range::default());
    let mut working = FuturesUnordered::new();
    while walking.bad() < FOUND_MAX {
        let may_begin = working.len() < table.lanes && rest.is_some() && tally.may_begin(working.len()).await;
        let Some(range) = rest.take_if(|_| may_begin) else {
            let Some(part) = working.try_next().await? else { return Ok(walking.found) };
            walking.add(part);
            continue;
        };
        // What the other side has there may be more: only a range that was split for both sides is read without a bound.
        let (sides, size) = ([table.authority], walking.size.max(2));
        let end = walking.beside(&mut working, table.step(&sides, &range, size)).await?;
        rest = end.clone().map(|end| Range { after: Some(end), up_to: None });
        let range = Range { after: range.after, up_to: end };
        working.push(within(table, converge, depth, (range, size), tally));
    }
    tracing::warn!(
        table = table.of.name,
        found = walking.bad(),
        "so many rows differ that the rest is not looked at"
    );
    Ok(walking.found)
}

/// One range, and the parts it is split into.
async fn within(
    table: &Table<'_>,
    converge: &dyn Converge,
    depth: Depth,
    (range, size): (Range, u64),
    tally: &Tally,
) -> Result<Walked, WorkError> {
    let mut walked = Walked::default();
    let mut suspects: BTreeSet<Key> = BTreeSet::new();
    let mut open = vec![range];
    while let Some(range) = open.pop() {
        if depth == Depth::Rows {
            rows(table, (range, size), &mut walked, &mut suspects).await?;
            continue;
        }
        let (authority, other, verdict) = compared(table, converge, &range).await?;
        let largest = authority.signature.rows.max(other.signature.rows);
        if verdict != Verdict::Equal && largest > LEAF {
            let parts = split(table, &range, (largest / FAN).max(LEAF / 2)).await?;
            // Few rows on each of many nodes are one part, however many they are together.
            if parts.len() > 1 {
                open.extend(parts);
                continue;
            }
        }
        let other_side = table.authority.other();
        if other.misplaced > 0 || table.is_placed_by_key(other_side) {
            suspects.extend(table.misplaced(other_side, &range, MISPLACED).await?);
        }
        if verdict == Verdict::Equal {
            walked.authority.add(&authority.signature);
            walked.other.add(&other.signature);
        } else {
            walked.authority.add_groups(&authority.signature);
            walked.other.add_groups(&other.signature);
            rows(table, (range, largest), &mut walked, &mut suspects).await?;
        }
    }
    tally.did(walked.authority.rows);
    let suspects: Vec<Key> = suspects.into_iter().collect();
    walked.settled = settle(table, converge, &suspects, tally).await?;
    tally.rest().await;
    if let Measure::Count { by } = &table.measure {
        // Rows with other values are as many as they should be, unless they count in another group.
        let groups = |column: &String| by.iter().any(|(by, _)| by.eq_ignore_ascii_case(column));
        let counts = |fault: &Fault| fault.kind != Kind::Changed || fault.columns.iter().any(groups);
        walked.settled.faults.retain(|(_, fault)| counts(fault));
    }
    Ok(walked)
}

/// Both sides' readings of a range, as equal as time allows.
async fn compared(
    table: &Table<'_>,
    converge: &dyn Converge,
    range: &Range,
) -> Result<(Reading, Reading, Verdict), WorkError> {
    let mut seen = Seen::default();
    loop {
        let (authority, other) = table.readings(range).await?;
        seen.read(authority.signature.clone(), other.signature.clone());
        match decide(&seen, |authority, other| authority == other) {
            Verdict::Again => converge.converge().await?,
            verdict => return Ok((authority, other, verdict)),
        }
    }
}

/// Parts of a range, each with at most so many rows on every node of both sides.
async fn split(table: &Table<'_>, range: &Range, rows: u64) -> Result<Vec<Range>, WorkError> {
    let mut parts = Vec::new();
    let mut after = range.after.clone();
    loop {
        let rest = Range { after: after.clone(), up_to: range.up_to.clone() };
        match table.step(&[Side::Source, Side::Target], &rest, rows).await? {
            Some(end) => {
                parts.push(Range { after, up_to: Some(end.clone()) });
                after = Some(end);
            }
            None => {
                parts.push(rest);
                return Ok(parts);
            }
        }
    }
}

/// Compares the rows of a range, which are about so many, as images, and notes the keys that look different.
async fn rows(
    table: &Table<'_>,
    (range, size): (Range, u64),
    walked: &mut Walked,
    suspects: &mut BTreeSet<Key>,
) -> Result<(), WorkError> {
    let sides = [table.authority, table.authority.other()];
    let mut open = vec![(range, size)];
    while let Some((range, size)) = open.pop() {
        let most = if size > 1 { READ_MAX } else { usize::MAX };
        let [here, there] = sides.map(|side| table.rows(side, &range, most));
        let (Some(here), Some(there)) = try_join(here, there).await? else {
            let size = (size / FAN).max(1);
            open.extend(split(table, &range, size).await?.into_iter().map(|part| (part, size)));
            continue;
        };
        walked.authority.rows += here.len() as u64;
        walked.other.rows += there.len() as u64;
        walked.bytes += here.iter().map(|(_, image)| ImageShape::weight(image) as u64).sum::<u64>();
        let mut by_key: BTreeMap<Key, (Vec<Copy>, Vec<Copy>)> = BTreeMap::new();
        for copy in here {
            by_key.entry(table.of.shape.key_of(&copy.1)).or_default().0.push(copy);
        }
        for copy in there {
            by_key.entry(table.of.shape.key_of(&copy.1)).or_default().1.push(copy);
        }
        for (key, (here, there)) in by_key {
            let equal = table.row(&here).is_ok_and(|row| judge(&table.of.shape, row, &there).is_empty());
            if !equal {
                suspects.insert(key);
            }
        }
    }
    Ok(())
}
