//! Bringing rows that a comparison found different in line with the authority.
//!
//! Per row: lock the authority's row, let the other side catch up, look again, and write what is still wrong: the row
//! where it must be, no row where it must not. Every write commits with its record ([`crate::record`]), which says what the
//! row was and is, and is logged without values.
//! Rows that are equal by then are left alone, so a repair may run twice, and a crash leaves some rows repaired and
//! recorded.
//!
//! More differences than the cap are no drift but a bug, and none of them is written. A comparison that led to a repair
//! is not clean; only the next one can be.

pub mod report;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use crate::apply::progress;
use crate::connection::{self, images};
use crate::converge::Converge;
use crate::image::write::Write;
use crate::image::{Image, Key};
use crate::line::{self, Held};
use crate::owners;
use crate::pool::{Pool, promptly};
use crate::record;
use crate::tables::{End, MovingTable, WorkError};
use crate::verify::judge::{Copy, Right, judge};
use crate::verify::now_s;
use crate::verify::report::{Difference, RowKey};

use report::{Action, Done, NodeChange, Outcome, RepairReport, RowThen};

/// How long one row is locked before the other side is given up for this attempt.
const CATCH_UP_MAX: Duration = Duration::from_millis(900);
/// Rows that are locked at the same time.
const AT_ONCE: usize = 16;
/// Attempts at one row that is locked by somebody, or does not catch up.
const ATTEMPTS: usize = 5;
/// Rows repaired between two looks at how many records there are.
const TRIM_EVERY: usize = 1_000;

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
        return Ok(RepairReport::refused(refused, now_s()));
    }
    let pool = Pool::default();
    if policy.run == Run::Real {
        for side in written(tables, authority) {
            keep_records(&pool, tables, side).await?;
        }
    }
    let mut report = RepairReport::default();
    let one = async |(table, row_key): (&str, &RowKey)| -> Result<Vec<Outcome>, WorkError> {
        let outcome = |ended: Ended| Outcome {
            table: table.to_owned(),
            key: row_key.clone(),
            result: ended.result,
            faults: ended.faults,
            changes: ended.changes,
        };
        let Some((of, key)) = tables.iter().find(|of| of.name == table).zip(row_key.key()) else {
            let failed = Ended::failed("the move has no such table, or the key cannot be read".into());
            return Ok(vec![outcome(failed)]);
        };
        let owners = owners::of_keys(&pool, of, std::slice::from_ref(&key), authority).await?;
        let [Some(authority)] = owners[..] else {
            return Ok(vec![outcome(Ended::failed(of.on_several(&key).to_string()))]);
        };
        let mut outcomes = Vec::new();
        for copy in of.by_copy(authority) {
            let work = Work { move_name, table: &copy, authority, pool: &pool, run: policy.run };
            outcomes.push(outcome(work.row(converge, &key).await?));
        }
        Ok(outcomes)
    };
    // Waiting for the other side is what takes long, and rows can wait together.
    let mut done = stream::iter(rows.into_iter().map(one)).buffered(AT_ONCE);
    let mut rows = 0_usize;
    while let Some(outcomes) = done.try_next().await? {
        outcomes.into_iter().for_each(|outcome| report.add(outcome));
        rows += 1;
        if policy.run == Run::Real && rows.is_multiple_of(TRIM_EVERY) {
            for side in written(tables, authority) {
                trim_records(&pool, tables, side).await?;
            }
        }
    }
    drop(done);
    if policy.run == Run::Real {
        for side in written(tables, authority) {
            trim_records(&pool, tables, side).await?;
        }
    }
    pool.close().await;
    report.finished_at = now_s();
    Ok(report)
}

/// The databases of a side, each once.
fn databases(tables: &[MovingTable], side: Side) -> Vec<&End> {
    let mut databases: Vec<&End> = Vec::new();
    for end in tables.iter().flat_map(|table| table.ends(side)) {
        let is_same = |one: &&End| one.database == end.database && one.server.is_same_process(&end.server);
        if !databases.iter().any(is_same) {
            databases.push(end);
        }
    }
    databases
}

/// The sides that a repair may write: where keys are divided, either one.
fn written(tables: &[MovingTable], authority: Side) -> impl Iterator<Item = Side> {
    let both = tables.iter().any(|table| table.division().is_some());
    [Side::Source, Side::Target].into_iter().filter(move |side| both || *side != authority)
}

async fn keep_records(pool: &Pool, tables: &[MovingTable], side: Side) -> Result<(), WorkError> {
    for end in databases(tables, side) {
        let mut connection = pool.take(&end.server).await?;
        connection.query_drop(record::create_repairs(&end.database)).await?;
        connection.query_drop(progress::create(&end.database)).await?;
        pool.give(&end.server, connection);
    }
    Ok(())
}

async fn trim_records(pool: &Pool, tables: &[MovingTable], side: Side) -> Result<(), WorkError> {
    for end in databases(tables, side) {
        let mut connection = pool.take(&end.server).await?;
        let newest: Option<Option<u64>> =
            connection.query_first(record::newest_repair(&end.database)).await?;
        for statement in record::trim_repairs(&end.database, newest.flatten().unwrap_or(0)) {
            connection.query_drop(statement).await?;
        }
        pool.give(&end.server, connection);
    }
    Ok(())
}

/// How the repair of a row ended.
struct Ended {
    result: Done,
    faults: Vec<Difference>,
    changes: Vec<NodeChange>,
}

impl Ended {
    fn failed(reason: String) -> Ended {
        Ended { result: Done::Failed(reason), faults: Vec::new(), changes: Vec::new() }
    }
}

/// What a node of the other side is to be made, and the record of it.
struct Wrong {
    place: usize,
    change: NodeChange,
}

struct Work<'a> {
    move_name: &'a str,
    table: &'a MovingTable,
    authority: Side,
    pool: &'a Pool,
    run: Run,
}

impl Work<'_> {
    async fn row(&self, converge: &dyn Converge, key: &Key) -> Result<Ended, WorkError> {
        let mut last = "somebody holds the row".to_owned();
        for _ in 0..ATTEMPTS {
            converge.converge().await?;
            let mut held = match line::hold(self.pool, self.table, self.authority, key).await {
                Ok(held) => held,
                Err(error) if error.is_passing() => {
                    last = error.to_string();
                    continue;
                }
                Err(error) => return Ok(Ended::failed(error.to_string())),
            };
            // What is still on its way would undo the repair.
            let done = match tokio::time::timeout(CATCH_UP_MAX, converge.converge()).await {
                Ok(caught_up) => {
                    caught_up?;
                    self.under_lock(&mut held, key).await
                }
                Err(_) => Err(WorkError::Interrupted("the other side did not catch up in time".into())),
            };
            match done {
                Ok(done) => {
                    held.grip.release(self.pool).await?;
                    return Ok(done);
                }
                Err(error) => {
                    // A part of what was to be written there must not stay.
                    held.grip.give_up(self.pool).await;
                    if !error.is_passing() {
                        return Ok(Ended::failed(error.to_string()));
                    }
                    last = error.to_string();
                }
            }
        }
        Ok(Ended::failed(last))
    }

    async fn under_lock(&self, held: &mut Held, key: &Key) -> Result<Ended, WorkError> {
        let other = self.authority.other();
        let copies = promptly("the other side", 0, self.copies(key)).await?;
        let row = held.line.image.as_ref().zip(held.line.home());
        let row = row.map_or(Right::Nothing, |(image, home)| Right::Row { image, home });
        let difference = |fault: crate::verify::judge::Fault| Difference {
            table: self.table.name.clone(),
            key: RowKey::from(key),
            kind: fault.kind,
            columns: fault.columns,
        };
        let faults: Vec<Difference> =
            judge(&self.table.shape, row, &copies).into_iter().map(difference).collect();
        let Some(first) = faults.first().cloned() else {
            return Ok(Ended { result: Done::Equal, faults, changes: Vec::new() });
        };
        let wrong = self.wrong(held, &copies, &first.columns);
        if self.run == Run::Real {
            for Wrong { place, change } in &wrong {
                let statements = held.statements(self.table, other, *place, key);
                self.write(held, *place, statements, &first, change).await?;
            }
        }
        let result = if self.run == Run::Real { Done::Repaired } else { Done::WouldRepair };
        let changes = wrong.into_iter().map(|wrong| wrong.change).collect();
        Ok(Ended { result, faults, changes })
    }

    /// The nodes of the other side that do not have what they must.
    fn wrong(&self, held: &Held, copies: &[Copy], columns: &[String]) -> Vec<Wrong> {
        let ends = self.table.ends(self.authority.other());
        let then = |image: Option<&Image>| match image {
            Some(image) => RowThen::Row(self.table.shape.legible(image, columns)),
            None => RowThen::Absent,
        };
        let mut wrong = Vec::new();
        for (place, end) in ends.iter().enumerate() {
            let has = copies.iter().find(|(of, _)| *of == place).map(|(_, image)| image);
            let wants = held.line.image.as_ref().filter(|_| held.line.homes.contains(&place));
            let in_line = match (has, wants) {
                (None, None) => true,
                (Some(has), Some(wants)) => self.table.shape.differing(wants, has).is_empty(),
                _ => false,
            };
            if !in_line {
                let action = if wants.is_some() { Action::Written } else { Action::Deleted };
                let (before, after) = (then(has), then(wants));
                wrong.push(Wrong {
                    place,
                    change: NodeChange { node: end.table.clone(), action, before, after },
                });
            }
        }
        wrong
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
        statements: Vec<Write>,
        difference: &Difference,
        change: &NodeChange,
    ) -> Result<(), WorkError> {
        let other = self.authority.other();
        let end = &self.table.ends(other)[place];
        let record = Write::from(record::insert_repair(&end.database, self.move_name, difference, change));
        // Where a stream follows that side too, it must not bring the row back over what its owner gets meanwhile.
        let ours = self.table.division().map(|_| progress::mark_ours(&end.database, self.move_name));
        let all = ours.map(Write::from).into_iter().chain(statements).chain([record]);
        if held.grip.has(self.table, other, place) {
            for statement in all {
                held.grip.write(self.pool, self.table, other, place, &statement).await?;
            }
        } else {
            let all: Vec<Write> = all.collect();
            let bytes = all.iter().map(|statement| statement.sql().len()).sum();
            let written = async {
                let mut connection = self.pool.take(&end.server).await?;
                connection.query_drop("BEGIN").await?;
                for statement in all {
                    connection::write(&mut connection, &statement).await?;
                }
                connection.query_drop("COMMIT").await?;
                Ok(connection)
            };
            let connection = promptly(&end.server.address(), bytes, written).await?;
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
            after = change.action.text(),
            "repaired a row"
        );
        Ok(())
    }
}
