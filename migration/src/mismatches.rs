//! Keeping the table of differences: what comparisons found, and what has become of it.
//!
//! One row for each time that a row of a move differed, in the physical database of the first node of the move's target
//! ([`crate::record`]). A row is open until a repair has brought the sides in line or a comparison of every row no longer
//! finds it; one whose repair failed stays open with the reason, for a person. What a comparison could not decide, or did
//! not look at, stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use crate::connection::connect;
use crate::record::{self, Found, State};
use crate::repair::report::{Done, RepairReport};
use crate::tables::{End, MovingTable, WorkError};
use crate::verify::report::{Report, RowKey};

/// A row: its table and its key.
type Row = (String, String);

/// Open entries, by the row that differs.
type Open = BTreeMap<Row, Vec<u64>>;

/// Where a move's table of differences is: on the first node of its target.
#[must_use]
pub fn home(tables: &[MovingTable]) -> Option<&End> {
    tables.first().and_then(|table| table.ends(Side::Target).first())
}

/// Notes what a comparison found. Returns how many differences are open now.
///
/// # Errors
/// When the table cannot be written.
pub async fn compared(move_name: &str, tables: &[MovingTable], report: &Report) -> Result<u64, WorkError> {
    let found = found(report);
    let Some(home) = home(tables) else { return Ok(0) };
    let mut connection = connect(&home.server).await?;
    if !found.is_empty() {
        connection.query_drop(record::create_mismatches(&home.database)).await?;
    }
    connection.query_drop("BEGIN").await?;
    let open = open(&mut connection, &home.database, move_name).await?;
    let known = |row: &&Found| open.contains_key(&(row.table.clone(), row.key.clone()));
    let (seen, new): (Vec<&Found>, Vec<&Found>) = found.iter().partition(known);
    for rows in new.chunks(BATCH) {
        connection.query_drop(record::insert_mismatches(&home.database, move_name, rows)).await?;
    }
    for row in seen {
        let ids = &open[&(row.table.clone(), row.key.clone())];
        connection.query_drop(record::seen_again(&home.database, ids, row)).await?;
    }
    let mut left = open.len() + new.len();
    if tells_everything(report) {
        let still: BTreeSet<Row> = found.iter().map(|row| (row.table.clone(), row.key.clone())).collect();
        let undecided = undecided(report);
        let gone = open.iter().filter(|(row, _)| !still.contains(*row) && !undecided.contains(*row));
        let gone: Vec<u64> = gone.inspect(|_| left -= 1).flat_map(|(_, ids)| ids.clone()).collect();
        for ids in gone.chunks(BATCH) {
            connection.query_drop(record::close(&home.database, ids, State::Equal, "")).await?;
        }
    }
    connection.query_drop("COMMIT").await?;
    connection.disconnect().await?;
    Ok(left as u64)
}

/// Notes what a repair did. Returns how many differences are open now.
///
/// # Errors
/// When the table cannot be written.
pub async fn repaired(
    move_name: &str,
    tables: &[MovingTable],
    report: &RepairReport,
) -> Result<u64, WorkError> {
    let Some(home) = home(tables) else { return Ok(0) };
    let mut connection = connect(&home.server).await?;
    connection.query_drop("BEGIN").await?;
    let mut open = open(&mut connection, &home.database, move_name).await?;
    if let Some(reason) = &report.refused {
        let ids: Vec<u64> = open.values().flatten().copied().collect();
        for ids in ids.chunks(BATCH) {
            connection.query_drop(record::not_repaired(&home.database, ids, reason)).await?;
        }
    }
    // A row may have several outcomes, one for each copy: a failure of any leaves it open.
    let mut outcomes: BTreeMap<Row, &Done> = BTreeMap::new();
    let rank = |done: &Done| match done {
        Done::Equal => 0,
        Done::Repaired => 1,
        Done::WouldRepair => 2,
        Done::Failed(_) => 3,
    };
    for outcome in &report.outcomes {
        let row = (outcome.table.clone(), key_text(&outcome.key));
        let worst = outcomes.entry(row).or_insert(&outcome.result);
        if rank(&outcome.result) > rank(worst) {
            *worst = &outcome.result;
        }
    }
    for (row, done) in outcomes {
        let Some(ids) = open.get(&row).cloned() else { continue };
        let statement = match done {
            Done::Repaired => record::close(&home.database, &ids, State::Repaired, ""),
            Done::Equal => record::close(&home.database, &ids, State::Equal, ""),
            Done::Failed(reason) => record::not_repaired(&home.database, &ids, reason),
            Done::WouldRepair => continue,
        };
        connection.query_drop(statement).await?;
        if matches!(done, Done::Repaired | Done::Equal) {
            open.remove(&row);
        }
    }
    connection.query_drop("COMMIT").await?;
    connection.disconnect().await?;
    Ok(open.len() as u64)
}

/// Entries of one statement.
const BATCH: usize = 500;

/// The open entries, locked: two comparisons of one move must not note the same row twice. None where there is no table.
async fn open(connection: &mut Conn, database: &str, move_name: &str) -> Result<Open, WorkError> {
    const NO_SUCH_TABLE: u16 = 1146;
    let rows: Vec<(u64, Vec<u8>, Vec<u8>)> =
        match connection.query(record::open_mismatches(database, move_name)).await {
            Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => Vec::new(),
            other => other?,
        };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut open = Open::new();
    for (id, table, key) in rows {
        open.entry((text(table), text(key))).or_default().push(id);
    }
    Ok(open)
}

/// The rows that differ, each once.
fn found(report: &Report) -> Vec<Found> {
    let mut rows: BTreeMap<Row, Found> = BTreeMap::new();
    for difference in report.differences() {
        let (table, key) = (difference.table.clone(), key_text(&difference.key));
        let found = rows.entry((table.clone(), key.clone())).or_insert_with(|| Found {
            table,
            key,
            kinds: Vec::new(),
            columns: Vec::new(),
        });
        let kind = difference.kind.to_string();
        if !found.kinds.contains(&kind) {
            found.kinds.push(kind);
        }
        let new = difference.columns.iter().filter(|column| !found.columns.contains(column));
        let new: Vec<String> = new.cloned().collect();
        found.columns.extend(new);
    }
    rows.into_values().collect()
}

fn undecided(report: &Report) -> BTreeSet<Row> {
    let of_table = |table: &crate::verify::report::TableReport| {
        let name = table.table.clone();
        table.undecided_rows.iter().map(move |row| (name.clone(), key_text(&row.key))).collect::<Vec<_>>()
    };
    report.tables.iter().flat_map(of_table).collect()
}

/// Has every row been looked at, and is every difference in the report?
fn tells_everything(report: &Report) -> bool {
    let kept = |table: &crate::verify::report::TableReport| {
        let keys: BTreeSet<&RowKey> = table.differences.iter().map(|difference| &difference.key).collect();
        keys.len() as u64 == table.different && table.undecided_rows.len() as u64 == table.undecided
    };
    matches!(report.mode.as_str(), "hash" | "exact") && report.tables.iter().all(kept)
}

/// A key as a person reads it, told apart from every other: parts of a longer one as a JSON list.
fn key_text(key: &RowKey) -> String {
    match key.0.as_slice() {
        [only] => only.clone(),
        parts => serde_json::json!(parts).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::judge::Kind;
    use crate::verify::report::{Difference, TableReport};

    fn report(mode: &str, keys: &[&str], different: u64) -> Report {
        let difference = |key: &&str| Difference {
            table: "s.t".into(),
            key: RowKey(vec![(*key).to_owned()]),
            kind: Kind::Missing,
            columns: Vec::new(),
        };
        let table = TableReport {
            table: "s.t".into(),
            different,
            differences: keys.iter().map(difference).collect(),
            ..TableReport::default()
        };
        Report {
            mode: mode.into(),
            authority: "source".into(),
            checked: 9,
            different,
            undecided: 0,
            clean: different == 0,
            tables: vec![table],
            started_at: 1,
            finished_at: 2,
            rows_per_s: 1,
        }
    }

    #[test]
    fn only_a_whole_comparison_that_tells_every_difference_closes_others() {
        assert!(tells_everything(&report("hash", &["1", "2"], 2)));
        assert!(tells_everything(&report("exact", &[], 0)));
        assert!(!tells_everything(&report("hash", &["1", "2"], 3)));
        assert!(!tells_everything(&report("sample", &["1"], 1)));
        assert!(!tells_everything(&report("count", &[], 0)));
    }

    #[test]
    fn a_row_that_differs_in_two_ways_is_one_difference() {
        let mut report = report("hash", &["1", "1"], 1);
        report.tables[0].differences[1].kind = Kind::Misplaced;
        let found = found(&report);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kinds.len(), 2);
    }

    #[test]
    fn keys_of_several_parts_are_told_apart() {
        let key = |parts: &[&str]| key_text(&RowKey(parts.iter().map(|part| (*part).to_owned()).collect()));
        assert_eq!(key(&["7"]), "7");
        assert_ne!(key(&["1-2", "3"]), key(&["1", "2-3"]));
    }
}
