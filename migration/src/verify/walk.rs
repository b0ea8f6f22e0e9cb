//! A whole table, range by range, several at a time; what differs is split until rows can be compared.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;
use futures_util::stream::{FuturesUnordered, TryStreamExt as _};
use shardway_routing::topology::Side;

use super::judge::{Copy, Fault, Kind, judge};
use super::keys::{Settled, settle};
use super::read::{Measure, Reading, Signature, Table};
use super::verdict::{Seen, Verdict, decide};
use crate::converge::Converge;
use crate::image::{Key, Range};
use crate::tables::WorkError;
use crate::tally::Tally;

/// Rows of a table that are found to differ, one by one, before the rest of it is not looked at: no drift is that large.
const FOUND_MAX: usize = 100_000;
/// Rows of a range on one node, at most.
const RANGE: u64 = 50_000;
/// Ranges of so few rows are compared row by row.
const LEAF: u64 = 500;
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
}

/// How closely a walk looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Signatures first, rows where they differ.
    Signatures,
    /// Every row.
    Rows,
}

/// Walks a table to its end.
pub(super) async fn walk(
    table: &Table<'_>,
    converge: &dyn Converge,
    depth: Depth,
    tally: &Tally,
) -> Result<Walked, WorkError> {
    let rows = match depth {
        Depth::Signatures => RANGE,
        Depth::Rows => LEAF,
    };
    let mut all = Walked::default();
    let mut rest = Some(Range::default());
    let mut working = FuturesUnordered::new();
    loop {
        while working.len() < table.lanes
            && rest.is_some()
            && tally.may_begin(working.len()).await
            && let Some(range) = rest.take()
        {
            let end = table.step(&[table.authority], &range, rows).await?;
            rest = end.clone().map(|end| Range { after: Some(end), up_to: None });
            let range = Range { after: range.after, up_to: end };
            working.push(within(table, converge, depth, range, tally));
        }
        let Some(part) = working.try_next().await? else { return Ok(all) };
        all.authority.add(&part.authority);
        all.other.add(&part.other);
        all.settled.faults.extend(part.settled.faults);
        all.settled.undecided.extend(part.settled.undecided);
        let found = all.settled.faults.len() + all.settled.undecided.len();
        if found >= FOUND_MAX {
            tracing::warn!(
                table = table.of.name,
                found,
                "so many rows differ that the rest is not looked at"
            );
            return Ok(all);
        }
    }
}

/// One range, and the parts it is split into.
async fn within(
    table: &Table<'_>,
    converge: &dyn Converge,
    depth: Depth,
    range: Range,
    tally: &Tally,
) -> Result<Walked, WorkError> {
    let mut walked = Walked::default();
    let mut suspects: BTreeSet<Key> = BTreeSet::new();
    let mut open = vec![range];
    while let Some(range) = open.pop() {
        if depth == Depth::Rows {
            rows(table, &range, &mut walked, &mut suspects).await?;
            continue;
        }
        let (authority, other, verdict) = compared(table, converge, &range).await?;
        let largest = authority.signature.rows.max(other.signature.rows);
        if verdict != Verdict::Equal && largest > LEAF {
            let parts = split(table, &range, largest).await?;
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
            rows(table, &range, &mut walked, &mut suspects).await?;
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

/// Parts of a range, each with at most an eighth of its rows on every node of both sides.
async fn split(table: &Table<'_>, range: &Range, largest: u64) -> Result<Vec<Range>, WorkError> {
    let rows = (largest / FAN).max(LEAF / 2);
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

/// Compares the rows of a range as images, and notes the keys that look different.
async fn rows(
    table: &Table<'_>,
    range: &Range,
    walked: &mut Walked,
    suspects: &mut BTreeSet<Key>,
) -> Result<(), WorkError> {
    let other = table.authority.other();
    let (here, there) = try_join(table.rows(table.authority, range), table.rows(other, range)).await?;
    walked.authority.rows += here.len() as u64;
    walked.other.rows += there.len() as u64;
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
    Ok(())
}
