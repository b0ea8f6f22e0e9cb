//! Comparing both sides of a move while they are written.
//!
//! - Nobody's writes are held. A difference is told only when it is definite: the other side was given the time to take
//!   everything that the authority had, and shows something that the authority did not have meanwhile ([`verdict`]).
//! - Ranges of the primary key are compared by signatures that the servers compute ([`crate::image::Seed`]); what
//!   differs is split until few rows are left, and those are compared as images, column by column.
//! - A row on another shard than routing names, or on two, is a difference too.
//! - What changes too fast to be judged is undecided, and an undecided run is not clean.
//!
//! It writes nothing, except what [`Converge`] writes; a crash leaves nothing behind.

mod at_rest;
pub mod judge;
mod keys;
mod placement;
mod read;
pub mod report;
mod sample;
pub mod verdict;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_routing::topology::{Server, Side};

pub use self::at_rest::{MODE as TOUCHED, at_rest};
use self::judge::Kind;
use self::keys::Settled;
use self::read::{Measure, Signature, Table};
use self::report::{Difference, Group, Report, RowKey, TableReport, Undecided};
use self::walk::{Depth, Walked};
use crate::converge::Converge;
use crate::image::{Second, Seed};
use crate::pool::Pool;
use crate::pulse::Pulse;
use crate::tables::{MovingTable, WorkError};
use crate::tally::Tally;

/// Differences of a table that a report keeps.
const KEPT: usize = 10_000;

/// How much is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Rows, in total and by the values of some columns, by the full name of their table.
    Count { by: BTreeMap<String, Vec<String>> },
    /// Random keys; clean while at most this share of them differs.
    Sample { keys: u64, tolerated: f64 },
    /// Every row, by signatures.
    Hash,
    /// Every row, brought here.
    Exact,
}

/// The share of a sample that may differ.
const TOLERATED: f64 = 0.001;

impl Mode {
    /// The total number of rows.
    #[must_use]
    pub fn count() -> Mode {
        Mode::Count { by: BTreeMap::new() }
    }

    /// 10,000 random keys, of which less than 0.1 % may differ.
    #[must_use]
    pub fn sample() -> Mode {
        Mode::Sample { keys: 10_000, tolerated: TOLERATED }
    }

    /// The mode of that name, as commands give it.
    #[must_use]
    pub fn named(name: &str) -> Option<Mode> {
        Some(match name {
            "count" => Mode::count(),
            "sample" => Mode::sample(),
            "hash" => Mode::Hash,
            "exact" => Mode::Exact,
            _ => return None,
        })
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Count { .. } => "count",
            Mode::Sample { .. } => "sample",
            Mode::Hash => "hash",
            Mode::Exact => "exact",
        }
    }

    fn is_clean(&self, checked: u64, different: u64, undecided: u64) -> bool {
        let bad = different + undecided;
        match self {
            // Counts stay far below what a double holds exactly.
            #[allow(clippy::cast_precision_loss, reason = "a share is what is asked for")]
            Mode::Sample { tolerated, .. } => bad == 0 || (bad as f64) < tolerated * checked as f64,
            _ => bad == 0,
        }
    }
}

/// Compares the tables. `authority` is the side that is right by definition; `lanes` are the ranges that are looked
/// at together. `tally` counts rows of the authority, is read meanwhile, and may slow this down.
///
/// # Errors
/// When a server cannot be asked or has gone silent, or the other side does not catch up: nothing is known then.
pub async fn run(
    tables: &[MovingTable],
    authority: Side,
    converge: &dyn Converge,
    mode: &Mode,
    lanes: usize,
    tally: &Tally,
) -> Result<Report, WorkError> {
    let pulse = Pulse::of(tables);
    pulse.beside(pulse.during(all(tables, authority, converge, mode, lanes, tally))).await
}

async fn all(
    tables: &[MovingTable],
    authority: Side,
    converge: &dyn Converge,
    mode: &Mode,
    lanes: usize,
    tally: &Tally,
) -> Result<Report, WorkError> {
    let (started_at, clock) = (now_s(), Instant::now());
    let pool = Pool::default();
    let second = second(tables, &pool).await?;
    let mut reports = Vec::new();
    let tables: Vec<MovingTable> = tables.iter().flat_map(|table| table.by_copy(authority)).collect();
    for table in &tables {
        tally.expect(expected(table, authority, &pool, mode).await?);
    }
    for table in &tables {
        let measure = match mode {
            Mode::Count { by } => Measure::Count { by: grouping(table, by.get(&table.name))? },
            _ => Measure::Hash { seed: Seed(rand::random()), second },
        };
        let lanes = lanes.max(1);
        let table = Table { of: table, authority, pool: &pool, measure, lanes, proved: Arc::default() };
        reports.push(one(&table, converge, mode, tally).await?);
    }
    pool.close().await;
    let report = summed(mode.name(), authority, reports, (started_at, clock));
    let clean = mode.is_clean(report.checked, report.different, report.undecided);
    Ok(Report { clean, ..report })
}

/// A comparison that began then, clean if nothing differs at all.
fn summed(
    mode: &str,
    authority: Side,
    tables: Vec<TableReport>,
    (started_at, clock): (u64, Instant),
) -> Report {
    let sum = |of: fn(&TableReport) -> u64| tables.iter().map(of).sum::<u64>();
    let (checked, different, undecided) = (sum(|t| t.checked), sum(|t| t.different), sum(|t| t.undecided));
    let ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    Report {
        mode: mode.to_owned(),
        authority: authority.name().to_owned(),
        checked,
        different,
        undecided,
        clean: different == 0 && undecided == 0,
        tables,
        started_at,
        finished_at: now_s(),
        rows_per_s: checked.saturating_mul(1000) / ms,
    }
}

/// The expressions that group a table's rows by these columns.
fn grouping(table: &MovingTable, columns: Option<&Vec<String>>) -> Result<Vec<(String, String)>, WorkError> {
    let expression = |column: &String| {
        let found = table.shape.grouping(column).map(|expression| (column.clone(), expression));
        found.ok_or_else(|| {
            WorkError::Stopped(format!(
                "verify.group_by: `{column}` is no column of {} that is carried",
                table.name
            ))
        })
    };
    columns.into_iter().flatten().map(expression).collect()
}

async fn one(
    table: &Table<'_>,
    converge: &dyn Converge,
    mode: &Mode,
    tally: &Tally,
) -> Result<TableReport, WorkError> {
    let depth = match mode {
        Mode::Exact => Depth::Rows,
        _ if table.is_beyond_signatures() => Depth::Rows,
        _ => Depth::Signatures,
    };
    let (walked, checked) = match mode {
        Mode::Sample { keys, .. } => {
            tally.may_begin(0).await;
            let keys = sample::draw(table, *keys).await?;
            let settled = keys::settle(table, converge, &keys, tally).await?;
            tally.did(keys.len() as u64);
            (Walked { settled, ..Walked::default() }, keys.len() as u64)
        }
        _ => {
            let walked = walk::walk(table, converge, depth, tally).await?;
            let checked = walked.authority.rows;
            (walked, checked)
        }
    };
    Ok(told(&table.of.name, walked, checked))
}

fn told(table: &str, walked: Walked, checked: u64) -> TableReport {
    let Settled { mut faults, mut undecided } = walked.settled;
    faults.sort_by(|(one, _), (other, _)| one.cmp(other));
    undecided.sort();
    let of_kind = |kind| faults.iter().filter(|(_, fault)| fault.kind == kind).count() as u64;
    let mut keys: Vec<_> = faults.iter().map(|(key, _)| key).collect();
    keys.dedup();
    TableReport {
        table: table.to_owned(),
        checked,
        authority_rows: walked.authority.rows,
        other_rows: walked.other.rows,
        groups: groups(&walked.authority, &walked.other),
        different: keys.len() as u64,
        undecided: undecided.len() as u64,
        misplaced: of_kind(Kind::Misplaced),
        duplicates: of_kind(Kind::Duplicate),
        missing: of_kind(Kind::Missing),
        differences: faults
            .iter()
            .take(KEPT)
            .map(|(key, fault)| Difference {
                table: table.to_owned(),
                key: RowKey::from(key),
                kind: fault.kind,
                columns: fault.columns.clone(),
            })
            .collect(),
        undecided_rows: undecided
            .iter()
            .take(KEPT)
            .map(|(key, why)| Undecided { key: RowKey::from(key), why: *why })
            .collect(),
    }
}

fn groups(authority: &Signature, other: &Signature) -> Vec<Group> {
    let mut all: Vec<_> = authority.groups.keys().chain(other.groups.keys()).collect();
    all.sort();
    all.dedup();
    let text = |value: &Option<Vec<u8>>| match value {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "NULL".to_owned(),
    };
    all.into_iter()
        .map(|group| Group {
            values: group.iter().map(text).collect(),
            authority_rows: authority.groups.get(group).copied().unwrap_or(0),
            other_rows: other.groups.get(group).copied().unwrap_or(0),
        })
        .collect()
}

/// The second hash function that every server of the tables has.
async fn second(tables: &[MovingTable], pool: &Pool) -> Result<Second, WorkError> {
    const NO_SUCH_FUNCTION: u16 = 1305;
    const NO_DATABASE_SELECTED: u16 = 1046;
    let mut servers: Vec<&Server> = Vec::new();
    for table in tables {
        for end in table.ends(Side::Source).iter().chain(table.ends(Side::Target)) {
            if !servers.iter().any(|server| server.is_same_process(&end.server)) {
                servers.push(&end.server);
            }
        }
    }
    for server in servers {
        let mut connection = pool.take(server).await?;
        match connection.query_drop("SELECT CRC32C('')").await {
            Ok(()) => pool.give(server, connection),
            // Without a database of its own, a session is told that none is selected.
            Err(mysql_async::Error::Server(error))
                if matches!(error.code, NO_SUCH_FUNCTION | NO_DATABASE_SELECTED) =>
            {
                return Ok(Second::Hex);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Second::Crc32c)
}

/// How many rows of a table there are to compare, as its servers estimate.
async fn expected(table: &MovingTable, authority: Side, pool: &Pool, mode: &Mode) -> Result<u64, WorkError> {
    let mut expected = 0;
    for end in table.ends(authority) {
        let mut connection = pool.take(&end.server).await?;
        expected += end.estimated_rows(&mut connection).await?;
        pool.give(&end.server, connection);
    }
    Ok(match mode {
        Mode::Sample { keys, .. } => expected.min(*keys),
        _ => expected,
    })
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_passes_below_its_limit_and_everything_else_only_when_equal() {
        let sample = Mode::sample();
        assert!(sample.is_clean(10_000, 0, 0));
        assert!(sample.is_clean(10_000, 9, 0));
        assert!(!sample.is_clean(10_000, 10, 0));
        assert!(!sample.is_clean(10_000, 5, 5));
        assert!(sample.is_clean(0, 0, 0));
        for mode in [Mode::count(), Mode::Hash, Mode::Exact] {
            assert!(
                mode.is_clean(10_000, 0, 0) && !mode.is_clean(10_000, 1, 0) && !mode.is_clean(10_000, 0, 1)
            );
            assert_eq!(Mode::named(mode.name()), Some(mode));
        }
    }
}
