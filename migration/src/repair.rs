//! Bringing rows that a comparison found different in line with the authority.
//!
//! Per row: lock the authority's row, let the other side catch up, look again, and write what is still wrong: the row
//! where it must be, no row where it must not. Every write commits with its record ([`crate::record`]) and is logged.
//! Rows that are equal by then are left alone, so a repair may run twice, and a crash leaves some rows repaired and
//! recorded.
//!
//! More differences than the cap are no drift but a bug, and none of them is written. A comparison that led to a repair
//! is not clean; only the next one can be.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_routing::topology::Side;

use crate::connection::images;
use crate::converge::Converge;
use crate::image::Key;
use crate::line::{self, Held};
use crate::owners;
use crate::pool::Pool;
use crate::record;
use crate::tables::{MovingTable, WorkError};
use crate::verify::judge::{Copy, Kind, judge};
use crate::verify::now_s;
use crate::verify::report::{Difference, RowKey};

/// How long one row is locked before the other side is given up for this attempt.
const CATCH_UP_MAX: Duration = Duration::from_millis(900);
/// Rows that are locked at the same time.
const AT_ONCE: usize = 16;
/// Attempts at one row that is locked by somebody, or does not catch up.
const ATTEMPTS: usize = 5;

/// What a repair may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Rows at most.
    pub cap: usize,
    pub run: Run,
}

/// Whether it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Tells what it would write.
    Dry,
    Real,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub table: String,
    pub key: RowKey,
    pub result: Done,
    /// What was wrong under the lock.
    pub faults: Vec<Difference>,
}

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Both sides have it now.
    Repaired,
    /// A real run would write it.
    WouldRepair,
    /// It was equal by the time it was looked at.
    Equal,
    /// It could not be written; the reason.
    Failed(String),
}

/// The whole repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairReport {
    pub outcomes: Vec<Outcome>,
    /// Why nothing was written at all.
    pub refused: Option<String>,
    pub finished_at: u64,
}

impl RepairReport {
    /// Rows that ended like this.
    #[must_use]
    pub fn count(&self, like: fn(&Done) -> bool) -> usize {
        self.outcomes.iter().filter(|outcome| like(&outcome.result)).count()
    }

    /// Has every row been brought in line, or been found so?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let open = |done: &Done| matches!(done, Done::WouldRepair | Done::Failed(_));
        self.refused.is_none() && self.count(open) == 0
    }
}

/// Repairs the differences that a comparison told of.
///
/// # Errors
/// When the records cannot be kept or the other side does not catch up at all. What failed for one row is in the report.
pub async fn run(
    move_name: &str,
    tables: &[MovingTable],
    authority: Side,
    converge: &dyn Converge,
    differences: &[Difference],
    policy: Policy,
) -> Result<RepairReport, WorkError> {
    let mut rows: Vec<(&str, &RowKey)> =
        differences.iter().map(|difference| (difference.table.as_str(), &difference.key)).collect();
    rows.sort_unstable();
    rows.dedup();
    if rows.len() > policy.cap {
        let refused = format!(
            "{} rows differ and at most {} may be repaired: unless a stream was lost, that is a bug, not drift: find it first",
            rows.len(),
            policy.cap
        );
        return Ok(RepairReport { refused: Some(refused), finished_at: now_s(), ..RepairReport::default() });
    }
    let pool = Pool::default();
    if policy.run == Run::Real {
        for side in [Side::Source, Side::Target] {
            // Where keys are divided, either side may be written.
            if side != authority || tables.iter().any(|table| table.division().is_some()) {
                keep_records(&pool, tables, side).await?;
            }
        }
    }
    let mut report = RepairReport::default();
    let one = async |(table, row_key): (&str, &RowKey)| -> Result<Vec<Outcome>, WorkError> {
        let outcome =
            |result, faults| Outcome { table: table.to_owned(), key: row_key.clone(), result, faults };
        let Some((of, key)) = tables.iter().find(|of| of.name == table).zip(row_key.key()) else {
            let result = Done::Failed("the move has no such table, or the key cannot be read".into());
            return Ok(vec![outcome(result, Vec::new())]);
        };
        let authority = owners::of_key(&pool, of, &key, authority).await?;
        let mut outcomes = Vec::new();
        for copy in of.by_copy(authority) {
            let work = Work { move_name, table: &copy, authority, pool: &pool, run: policy.run };
            let (result, faults) = work.row(converge, &key).await?;
            outcomes.push(outcome(result, faults));
        }
        Ok(outcomes)
    };
    // Waiting for the other side is what takes long, and rows can wait together.
    let mut done = stream::iter(rows.into_iter().map(one)).buffered(AT_ONCE);
    while let Some(outcomes) = done.try_next().await? {
        report.outcomes.extend(outcomes);
    }
    drop(done);
    pool.close().await;
    report.finished_at = now_s();
    Ok(report)
}

async fn keep_records(pool: &Pool, tables: &[MovingTable], side: Side) -> Result<(), WorkError> {
    for table in tables {
        for end in table.ends(side) {
            let mut connection = pool.take(&end.server).await?;
            connection.query_drop(record::create_repairs(&end.database)).await?;
            pool.give(&end.server, connection);
        }
    }
    Ok(())
}

struct Work<'a> {
    move_name: &'a str,
    table: &'a MovingTable,
    authority: Side,
    pool: &'a Pool,
    run: Run,
}

impl Work<'_> {
    async fn row(&self, converge: &dyn Converge, key: &Key) -> Result<(Done, Vec<Difference>), WorkError> {
        let mut last = "somebody holds the row".to_owned();
        for _ in 0..ATTEMPTS {
            converge.converge().await?;
            let mut held = match line::hold(self.pool, self.table, self.authority, key).await {
                Ok(held) => held,
                Err(error) if error.is_passing() => {
                    last = error.to_string();
                    continue;
                }
                Err(error) => return Ok((Done::Failed(error.to_string()), Vec::new())),
            };
            // What is still on its way would undo the repair.
            let done = match tokio::time::timeout(CATCH_UP_MAX, converge.converge()).await {
                Ok(caught_up) => {
                    caught_up?;
                    self.under_lock(&mut held, key).await
                }
                Err(_) => Err(WorkError::Interrupted("the other side did not catch up in time".into())),
            };
            held.grip.release(self.pool).await?;
            match done {
                Ok(done) => return Ok(done),
                Err(error) if error.is_passing() => last = error.to_string(),
                Err(error) => return Ok((Done::Failed(error.to_string()), Vec::new())),
            }
        }
        Ok((Done::Failed(last), Vec::new()))
    }

    async fn under_lock(&self, held: &mut Held, key: &Key) -> Result<(Done, Vec<Difference>), WorkError> {
        let other = self.authority.other();
        let copies = self.copies(key).await?;
        let row = held.line.image.as_ref().zip(held.line.home());
        let difference = |fault: crate::verify::judge::Fault| Difference {
            table: self.table.name.clone(),
            key: RowKey::from(key),
            kind: fault.kind,
            columns: fault.columns,
        };
        let faults: Vec<Difference> =
            judge(&self.table.shape, row, &copies).into_iter().map(difference).collect();
        let Some(first) = faults.first() else { return Ok((Done::Equal, faults)) };
        if self.run == Run::Dry {
            return Ok((Done::WouldRepair, faults));
        }
        for place in 0..self.table.ends(other).len() {
            let has = copies.iter().find(|(of, _)| *of == place);
            let wants = held.line.image.as_ref().filter(|_| held.line.homes.contains(&place));
            let in_line = match (has, wants) {
                (None, None) => true,
                (Some((_, has)), Some(wants)) => self.table.shape.differing(wants, has).is_empty(),
                _ => false,
            };
            if !in_line {
                let action = if wants.is_some() { "written" } else { "deleted" };
                let statements = held.statements(self.table, other, place, key);
                self.write(held, place, statements, first, action).await?;
            }
        }
        Ok((Done::Repaired, faults))
    }

    async fn copies(&self, key: &Key) -> Result<Vec<Copy>, WorkError> {
        let other = self.authority.other();
        let rest = self.table.shape.with_keys(std::slice::from_ref(key));
        let mut copies = Vec::new();
        for (place, end) in self.table.ends(other).iter().enumerate() {
            let mut connection = self.pool.take(&end.server).await?;
            let rows = images(&mut connection, &self.table.shape, &end.table, &rest).await?;
            self.pool.give(&end.server, connection);
            let own = rows.into_iter().filter(|image| self.table.owns(other, place, image));
            copies.extend(own.map(|image| (place, image)));
        }
        Ok(copies)
    }

    /// Writes one node, with the record of it.
    async fn write(
        &self,
        held: &mut Held,
        place: usize,
        statements: Vec<Vec<u8>>,
        difference: &Difference,
        action: &str,
    ) -> Result<(), WorkError> {
        let other = self.authority.other();
        let end = &self.table.ends(other)[place];
        let record = record::insert_repair(&end.database, self.move_name, difference, action).into_bytes();
        let all = statements.into_iter().chain([record]);
        if held.grip.has(self.table, other, place) {
            for statement in all {
                held.grip.write(self.pool, self.table, other, place, statement).await?;
            }
        } else {
            let mut connection = self.pool.take(&end.server).await?;
            connection.query_drop("BEGIN").await?;
            for statement in all {
                connection.query_drop(statement).await?;
            }
            connection.query_drop("COMMIT").await?;
            self.pool.give(&end.server, connection);
        }
        tracing::warn!(
            r#move = self.move_name,
            table = self.table.name,
            key = %difference.key,
            node = end.table,
            right = self.authority.name(),
            before = %difference.kind,
            columns = difference.columns.join(","),
            after = action,
            "repaired a row"
        );
        Ok(())
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refused) = &self.refused {
            return writeln!(f, "nothing was repaired: {refused}");
        }
        writeln!(
            f,
            "{} rows repaired, {} would be, {} were equal by now, {} failed",
            self.count(|done| matches!(done, Done::Repaired)),
            self.count(|done| matches!(done, Done::WouldRepair)),
            self.count(|done| matches!(done, Done::Equal)),
            self.count(|done| matches!(done, Done::Failed(_))),
        )?;
        for outcome in &self.outcomes {
            let why: Vec<String> = outcome.faults.iter().map(fault_text).collect();
            let result = match &outcome.result {
                Done::Repaired => "repaired".to_owned(),
                Done::WouldRepair => "would be repaired".to_owned(),
                Done::Equal => "equal by now".to_owned(),
                Done::Failed(reason) => format!("failed: {reason}"),
            };
            let why = if why.is_empty() { String::new() } else { format!(" (was {})", why.join("; ")) };
            writeln!(f, "  {} {}: {result}{why}", outcome.table, outcome.key)?;
        }
        Ok(())
    }
}

fn fault_text(fault: &Difference) -> String {
    match fault.kind {
        Kind::Changed => format!("{} in {}", fault.kind, fault.columns.join(", ")),
        _ => fault.kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_became_of_every_row() {
        let key = RowKey(vec!["7".into()]);
        let fault = Difference {
            table: "s.t".into(),
            key: key.clone(),
            kind: Kind::Changed,
            columns: vec!["a".into(), "b".into()],
        };
        let outcome = |result, faults| Outcome { table: "s.t".into(), key: key.clone(), result, faults };
        let mut report = RepairReport {
            outcomes: vec![outcome(Done::Repaired, vec![fault]), outcome(Done::Equal, Vec::new())],
            refused: None,
            finished_at: 1,
        };
        let expected = "1 rows repaired, 0 would be, 1 were equal by now, 0 failed\n\
                        \x20 s.t 7: repaired (was different in a, b)\n\
                        \x20 s.t 7: equal by now\n";
        assert_eq!(report.to_string(), expected);
        assert!(report.is_complete());
        report.outcomes.push(outcome(Done::Failed("locked".into()), Vec::new()));
        assert!(!report.is_complete());
    }
}
