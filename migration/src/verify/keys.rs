//! Rows that looked different, settled one by one.
//!
//! A row is first read again after the other side has caught up. What still differs is read under a shared lock of the
//! authority's row, after the other side has caught up once more: nobody can change the row meanwhile, so the answer is
//! definite. A lock is held for [`LOCK_MAX`] at most; a row that cannot be locked or whose other side does not catch up
//! in that time, some times over, is undecided. Past [`LOCKED_ROWS`] differences of a table a race explains nothing any
//! more, and a row whose authority held still while the other side caught up counts without a lock.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::judge::{Copy, Fault, Right, judge};
use super::read::Table;
use super::report::Doubt;
use super::verdict::{Seen, Verdict, decide};
use crate::converge::Converge;
use crate::image::Key;
use crate::line;
use crate::owners;
use crate::tables::WorkError;
use crate::tally::Tally;

/// How long one row is locked at most.
const LOCK_MAX: Duration = Duration::from_millis(900);
/// Attempts at one row.
const ATTEMPTS: usize = 5;
/// Differences of a table that are each proved under a lock.
const LOCKED_ROWS: u64 = 2_000;
/// Rows under lock that are looked at together: each waits for the other side, and they can wait together.
const AT_ONCE: usize = 16;
/// Keys read with one statement.
const BATCH: usize = 200;

/// What became of the suspects.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub faults: Vec<(Key, Fault)>,
    pub undecided: Vec<(Key, Doubt)>,
}

/// What is wrong with a row, or why that cannot be told.
type Proved = Result<Vec<Fault>, Doubt>;

/// A key, and the copies of both sides that were seen.
type Suspect = (Key, Seen<Vec<Copy>, Vec<Copy>>);

/// Settles suspects. Keys that are not in the answer are equal.
pub(super) async fn settle(
    table: &Table<'_>,
    converge: &dyn Converge,
    suspects: &[Key],
    tally: &Tally,
) -> Result<Settled, WorkError> {
    if table.of.division().is_none() {
        return of_one_owner(table, converge, suspects, tally).await;
    }
    let (mut here, mut there, mut nobodys) = (Vec::new(), Vec::new(), Vec::new());
    for keys in suspects.chunks(BATCH) {
        let owners = owners::of_keys(table.pool, table.of, keys, table.authority).await?;
        for (key, owner) in keys.iter().zip(owners) {
            match owner {
                Some(owner) if owner == table.authority => here.push(key.clone()),
                Some(_) => there.push(key.clone()),
                None => nobodys.push(key.clone()),
            }
        }
    }
    let mut settled = of_one_owner(table, converge, &here, tally).await?;
    let others = of_one_owner(&table.seen_from(table.authority.other()), converge, &there, tally).await?;
    settled.faults.extend(others.faults);
    settled.undecided.extend(others.undecided);
    settled.undecided.extend(nobodys.into_iter().map(|key| (key, Doubt::OnBothSides)));
    Ok(settled)
}

/// The same of keys that the table's authority owns.
async fn of_one_owner(
    table: &Table<'_>,
    converge: &dyn Converge,
    suspects: &[Key],
    tally: &Tally,
) -> Result<Settled, WorkError> {
    let mut settled = Settled::default();
    for keys in suspects.chunks(BATCH) {
        tally.may_begin(0).await;
        let mut open: Vec<Suspect> = keys.iter().map(|key| (key.clone(), Seen::default())).collect();
        let mut hot = Vec::new();
        while !open.is_empty() {
            read(table, &mut open).await?;
            let mut again = Vec::new();
            for (key, seen) in open {
                match decide(&seen, |authority, other| agrees(table, authority, other)) {
                    Verdict::Equal => {}
                    Verdict::Again => again.push((key, seen)),
                    Verdict::Differs | Verdict::Moving => hot.push(key),
                }
            }
            open = again;
            if !open.is_empty() {
                converge.converge().await?;
            }
        }
        let proof = match table.proved.load(Ordering::Relaxed) < LOCKED_ROWS {
            true => Proof::Lock,
            false => Proof::Stillness,
        };
        let mut proved = Vec::new();
        for keys in hot.chunks(AT_ONCE) {
            let mut proofs = Vec::new();
            for key in keys {
                proofs.push(prove(table, converge, key, proof));
            }
            proved.extend(try_join_all(proofs).await?);
        }
        for (key, found) in proved {
            match found {
                Ok(faults) => {
                    let one = u64::from(!faults.is_empty());
                    table.proved.fetch_add(one, Ordering::Relaxed);
                    tally.differ(one);
                    settled.faults.extend(faults.into_iter().map(|fault| (key.clone(), fault)));
                }
                Err(doubt) => settled.undecided.push((key, doubt)),
            }
        }
    }
    Ok(settled)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Lock,
    Stillness,
}

async fn prove(
    table: &Table<'_>,
    converge: &dyn Converge,
    key: &Key,
    proof: Proof,
) -> Result<(Key, Proved), WorkError> {
    let found = match proof {
        Proof::Lock => locked(table, converge, key).await?,
        Proof::Stillness => still(table, converge, key).await?,
    };
    Ok((key.clone(), found))
}

/// One more round for each key.
async fn read(table: &Table<'_>, open: &mut [Suspect]) -> Result<(), WorkError> {
    let keys: Vec<Key> = open.iter().map(|(key, _)| key.clone()).collect();
    let by_key = |copies: Vec<Copy>| {
        let mut by_key: HashMap<Key, Vec<Copy>> = HashMap::new();
        for copy in copies {
            by_key.entry(table.of.shape.key_of(&copy.1)).or_default().push(copy);
        }
        by_key
    };
    let mut authority = by_key(table.with_keys(table.authority, &keys).await?);
    let mut other = by_key(table.with_keys(table.authority.other(), &keys).await?);
    for (key, seen) in open {
        seen.read(authority.remove(key).unwrap_or_default(), other.remove(key).unwrap_or_default());
    }
    Ok(())
}

fn agrees(table: &Table<'_>, authority: &[Copy], other: &[Copy]) -> bool {
    // A row that no shard takes agrees with nothing; the proof tells why.
    table.row(authority).is_ok_and(|row| judge(&table.of.shape, row, other).is_empty())
}

/// What is wrong with a row, told under a lock.
async fn locked(table: &Table<'_>, converge: &dyn Converge, key: &Key) -> Result<Proved, WorkError> {
    let mut doubt = Doubt::NotLocked;
    for _ in 0..ATTEMPTS {
        let held = match line::hold(table.pool, table.of, table.authority, key).await {
            Ok(held) => held,
            // They were locked together, so they are there together.
            Err(WorkError::OnSeveral { .. }) => {
                return Ok(Ok(judge(&table.of.shape, Right::Several, &[])));
            }
            Err(error) if error.is_passing() => {
                doubt = Doubt::NotLocked;
                continue;
            }
            Err(error) => return Err(error),
        };
        let read = async {
            converge.converge().await?;
            table.with_keys(table.authority.other(), std::slice::from_ref(key)).await
        };
        let read = tokio::time::timeout(LOCK_MAX, read).await;
        let row = held.line.image.clone().zip(held.line.home()).filter(|(image, _)| table.of.compares(image));
        held.grip.release(table.pool).await?;
        if let Ok(copies) = read {
            let row = row.as_ref().map_or(Right::Nothing, |(image, home)| Right::Row { image, home: *home });
            return Ok(Ok(judge(&table.of.shape, row, &copies?)));
        }
        doubt = Doubt::Behind;
        // Without the lock the other side may take as long as it needs.
        converge.converge().await?;
    }
    Ok(Err(doubt))
}

/// What is wrong with a row that holds still.
async fn still(table: &Table<'_>, converge: &dyn Converge, key: &Key) -> Result<Proved, WorkError> {
    let keys = std::slice::from_ref(key);
    let before = table.with_keys(table.authority, keys).await?;
    converge.converge().await?;
    let copies = table.with_keys(table.authority.other(), keys).await?;
    let after = table.with_keys(table.authority, keys).await?;
    if before != after {
        return Ok(Err(Doubt::Changing));
    }
    Ok(Ok(judge(&table.of.shape, table.row(&after)?, &copies)))
}
