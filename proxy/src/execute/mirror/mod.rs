//! Writing to both sides of a key while it moves.
//!
//! - The authority answers: the client sees its rows, warnings and affected count.
//! - The other side receives row images, not statements, at commit and while the authority's row locks are still held;
//!   so the order of two writes to a row is the same on both sides.
//! - Every touched key is noted as dirty in the authority's own transaction, and forgotten only once the other side
//!   has committed too. A difference nobody recorded is the one outcome this module must not produce.
//!
//! The pair is not atomic; a crash between the commits leaves a difference and its record, and healing follows the
//! record. `strict` and `sync` differ in what the client hears when the other side refuses; `async` leaves the other side
//! to healing.

mod commit;
#[cfg(test)]
mod model;
mod other;
mod rivals;
mod text;

use shardway_migration::image::{Key, Reader};
use shardway_migration::tables::{self, MovingTable};
use shardway_routing::bind::{self, Leg};
use shardway_routing::lex::Flavour;
use shardway_routing::plan::{Operand, Picks, Sides, Touch, TouchHow};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, TableId};

use self::text::{Number, condition_text, key_text, number};
use super::behind::{LeftRows, Why};
use super::{Job, finish, write};
use crate::session::{Failure, Session};
use crate::wire::parse::OkPacket;

pub(super) use commit::commit;

/// Rows that one transaction may touch under double write.
const ROWS_MAX: usize = 10_000;

/// A row that the transaction has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedRow {
    /// Logical `database.table`, lower case: table numbers change with the rules.
    name: String,
    /// The authority's backend, and the physical table there.
    backend: String,
    table: String,
    key: Key,
}

/// Runs a write on the authority and answers the client; the other side follows at commit.
pub(super) async fn write(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let own = write::begin(session);
    let result = touching(session, job, own).await;
    let ok = match (own, result) {
        (write::Own::No, result) => result?,
        (write::Own::Yes, Ok(ok)) => {
            finish::commit(session).await?;
            ok
        }
        (write::Own::Yes, Err(failure)) => {
            finish::rollback(session).await?;
            return Err(failure);
        }
    };
    session.answer_written(&ok)
}

/// Runs the statement and notes what it touched: its rows, or, where only a stream can name them, its tables.
async fn touching(session: &mut Session, job: &Job<'_>, own: write::Own) -> Result<OkPacket, Failure> {
    let before = match touch(job) {
        Ok(touch) => before(session, job, touch).await,
        Err(failure) => Err(failure),
    };
    let noted = match before {
        Ok(noted) => Some(noted),
        Err(failure) => {
            leave(session, job, failure)?;
            None
        }
    };
    let Some((touch, mut rows)) = noted else { return write::run(session, job).await };
    // In a client's transaction, what turns out to be unknown and is not left to a stream must be undone alone.
    let is_saved = own == write::Own::No && !may_leave(session, job);
    if is_saved {
        write::save(session, job).await?;
    }
    let ok = write::run(session, job).await?;
    let after = after(session, job, touch, &ok, &mut rows).await;
    let Some(open) = &mut session.transaction else { unreachable!("a mirrored write runs in a transaction") };
    let after = after.and_then(|()| match open.touched.len() + rows.len() {
        0..=ROWS_MAX => Ok(()),
        _ => Err(untouchable(format!("more than {ROWS_MAX} rows in one transaction"))),
    });
    match after {
        Ok(()) => open.touched.extend(rows),
        Err(failure) => {
            let left = leave(session, job, failure);
            if left.is_err() && is_saved {
                write::undo(session, job).await?;
            }
            left?;
        }
    }
    Ok(ok)
}

fn untouchable(why: impl Into<String>) -> Failure {
    refusal::UNTOUCHABLE.because(why.into()).into()
}

fn of_move<'a>(job: &'a Job<'_>) -> &'a Move {
    let Sides::Moving(moving) = &job.plan.sides else { unreachable!("only moving tables are mirrored") };
    job.topology().move_of(moving.by)
}

fn touch<'a>(job: &'a Job<'_>) -> Result<&'a Touch, Failure> {
    let Sides::Moving(moving) = &job.plan.sides else { unreachable!("only moving tables are mirrored") };
    match &moving.touch {
        Some(Ok(touch)) => Ok(touch),
        Some(Err(refusal)) => Err(refusal.clone().into()),
        None => Err(untouchable("")),
    }
}

/// Does a stream bring over what nobody can name, and does the client not want both sides or neither?
fn may_leave(session: &Session, job: &Job<'_>) -> bool {
    let of = of_move(job);
    session.worker.shared.followed.carries(&of.name) && of.double_write != DoubleWrite::Strict
}

/// Leaves the statement's tables to the stream: until it has brought over what they get now, the authority answers.
/// Gives the failure back where no stream follows, where the client wants both sides or neither, and where nobody said
/// that the rows cannot be named.
fn leave(session: &mut Session, job: &Job<'_>, failure: Failure) -> Result<(), Failure> {
    let of = of_move(job);
    let unnamed = [refusal::UNTOUCHABLE.id, refusal::UNIQUE_UPSERT.id];
    let is_unnamed = matches!(&failure, Failure::Refused(refused) if unnamed.contains(&refused.kind.id));
    if !is_unnamed || !may_leave(session, job) {
        return Err(failure);
    }
    let Some(open) = &mut session.transaction else { unreachable!("a mirrored write runs in a transaction") };
    for id in &job.plan.tables {
        if job.topology().table_of(*id).moving.is_some() {
            let rows = LeftRows {
                move_name: of.name.clone(),
                table: job.topology().full_name(*id),
                keys: None,
                why: Why::Unnamed,
            };
            LeftRows::join(&mut open.left, rows);
        }
    }
    Ok(())
}

/// The rows that a statement will write, where they can be asked for before it runs.
async fn before<'a>(
    session: &mut Session,
    job: &Job<'_>,
    touch: &'a Touch,
) -> Result<(&'a Touch, Vec<TouchedRow>), Failure> {
    let table = tables::of_table(job.topology(), touch.table)?;
    let mut rows = Vec::new();
    if let TouchHow::Select { picks, .. } = &touch.how {
        for leg in &job.route.legs {
            if *picks == Picks::First {
                locks_gaps(session, job, leg).await?;
            }
            let sql = selected(session, job, &table, touch, leg)?;
            rows.extend(keys(session, job, &table, leg, &sql).await?);
        }
    }
    Ok((touch, rows))
}

/// The rows that the statement has written.
async fn after(
    session: &mut Session,
    job: &Job<'_>,
    touch: &Touch,
    ok: &OkPacket,
    rows: &mut Vec<TouchedRow>,
) -> Result<(), Failure> {
    match &touch.how {
        // What an UPDATE counts as affected leaves out rows that stay as they are.
        TouchHow::Select { .. } => match ok.matched().unwrap_or(ok.affected) == rows.len() as u64 {
            true => Ok(()),
            false => Err(untouchable("its condition does not always find the same rows")),
        },
        TouchHow::Keys(operands) => {
            let table = tables::of_table(job.topology(), touch.table)?;
            let wanted = named(session, job, touch.table, operands, ok)?;
            for leg in &job.route.legs {
                let sql = table.shape.select_keys(
                    Reader::Client,
                    &place(job, touch.table, leg),
                    None,
                    &format!("{wanted} FOR UPDATE"),
                );
                rows.extend(keys(session, job, &table, leg, &sql).await?);
            }
            // A value that the server had to convert is not found under what the statement says.
            if rows.len() < operands.len() && ok.affected > 0 {
                return Err(untouchable("a row is not stored under the key that was given"));
            }
            Ok(())
        }
    }
}

/// Nobody else may put a row before those that `LIMIT` picks.
async fn locks_gaps(session: &mut Session, job: &Job<'_>, leg: &Leg) -> Result<(), Failure> {
    let fails = || untouchable("LIMIT at an isolation level that does not lock gaps");
    if session.next_transaction.isolation.is_some() {
        return Err(fails());
    }
    let variable = match session.worker.shared.server_version().flavour {
        Flavour::MariaDb => "SELECT @@session.tx_isolation",
        Flavour::MySql => "SELECT @@session.transaction_isolation",
    };
    let at = session.connection(job.view, leg.backend).await?;
    let level = session.at(at).rows(variable.as_bytes()).await?;
    let level = level.rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    match level {
        Some(b"REPEATABLE-READ" | b"SERIALIZABLE") => Ok(()),
        _ => Err(fails()),
    }
}

fn place(job: &Job<'_>, table: TableId, leg: &Leg) -> String {
    bind::full_table(job.topology(), table, job.route.side, leg)
}

/// The statement's own condition, asked for the keys it will write.
fn selected(
    session: &Session,
    job: &Job<'_>,
    table: &MovingTable,
    touch: &Touch,
    leg: &Leg,
) -> Result<String, Failure> {
    let condition = condition_text(session, job, touch)?;
    let TouchHow::Select { table_alias, .. } = &touch.how else { unreachable!("asked for selects only") };
    let logical = &job.topology().table_of(touch.table).name;
    let alias = table_alias.as_ref().unwrap_or(logical);
    Ok(table.shape.select_keys(
        Reader::Client,
        &place(job, touch.table, leg),
        Some(alias),
        &format!("{condition} FOR UPDATE"),
    ))
}

/// `WHERE` the keys that an insert gives.
fn named(
    session: &Session,
    job: &Job<'_>,
    id: TableId,
    operands: &[Vec<Operand>],
    ok: &OkPacket,
) -> Result<String, Failure> {
    let schema =
        job.topology().table_of(id).schema.as_ref().expect("a table without schema is not written to");
    let counted = schema.auto_increment().map(|column| column.name.as_str());
    let mut rows = Vec::with_capacity(operands.len());
    for row in operands {
        let mut values = Vec::with_capacity(row.len());
        for (operand, column) in row.iter().zip(&schema.primary) {
            values.push(match (counted == Some(column)).then(|| number(job, operand)).transpose()? {
                None => key_text(session, job, operand)?,
                Some(Number::Given(number)) => number,
                Some(Number::ByServer) if operands.len() > 1 => {
                    return Err(untouchable("several rows numbered by the server"));
                }
                Some(Number::ByServer) => ok.last_insert_id.to_string(),
            });
        }
        rows.push(format!("({})", values.join(", ")));
    }
    let names: Vec<String> =
        schema.primary.iter().map(|name| shardway_migration::image::quoted(name)).collect();
    Ok(format!("WHERE ({}) IN ({})", names.join(", "), rows.join(", ")))
}

async fn keys(
    session: &mut Session,
    job: &Job<'_>,
    table: &MovingTable,
    leg: &Leg,
    sql: &str,
) -> Result<Vec<TouchedRow>, Failure> {
    let at = session.connection(job.view, leg.backend).await?;
    let found = match session.at(at).rows(sql.as_bytes()).await {
        Ok(found) => found,
        Err(error) => {
            let failure = Failure::from(error);
            if let Failure::Server(error) = &failure {
                session.after_error(at, error.code).await?;
            }
            return Err(failure);
        }
    };
    let of = |row: Vec<Option<Vec<u8>>>| {
        let key = table.shape.key(Reader::Client, row).ok_or_else(|| garbled(table))?;
        Ok(TouchedRow {
            name: table.name.clone(),
            backend: job.topology().backend(leg.backend).name.clone(),
            table: place(job, table.id, leg),
            key,
        })
    };
    found.rows.into_iter().map(of).collect()
}

fn garbled(table: &MovingTable) -> Failure {
    Failure::Unknown(format!("a row of {} is not as its columns say", table.name))
}
