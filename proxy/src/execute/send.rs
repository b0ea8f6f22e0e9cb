//! A statement's bytes for one shard, and their way onto a connection.

use std::rc::Rc;

use shardway_routing::bind::{self, Facts, Leg};

use super::Job;
use crate::backend::{CommandError, Connection};
use crate::session::{Failure, Session};
use crate::wire::command::Command;
use crate::wire::prepared::{self, Execute};
use crate::wire::scan::Scanner;
use crate::wire::{frame, parse};

/// Less than any server's `max_allowed_packet`.
const LONG_DATA_PIECE: usize = 512 << 10;

/// Sends a leg's part of the statement. The scanner reads its answer.
pub(super) async fn leg(
    session: &mut Session,
    place: usize,
    job: &Job<'_>,
    leg: &Leg,
) -> Result<Scanner, Failure> {
    let database = session.database.clone();
    let account = Rc::clone(&session.account);
    let facts = session.facts(database.as_deref(), &account);
    let connection = session.at(place);
    match job.request.execute {
        None => text(connection, job, leg, &facts).await,
        Some(execute) => binary(connection, job, leg, &facts, execute).await,
    }
}

/// Prepares a leg's part of a prepared statement where the connection does not know it yet.
pub(super) async fn prepare_ahead(
    session: &mut Session,
    place: usize,
    job: &Job<'_>,
    leg: &Leg,
) -> Result<(), Failure> {
    if job.request.execute.is_some() {
        let mut sql = Vec::with_capacity(job.request.values.sql.len() + 64);
        render(job, leg, &session.facts(session.database.as_deref(), &session.account), &mut sql)?;
        prepared_id(session.at(place), &sql).await?;
    }
    Ok(())
}

/// The connection's id of a statement, which it prepares if it must.
async fn prepared_id(connection: &mut Connection, sql: &[u8]) -> Result<u32, Failure> {
    match connection.prepared(sql) {
        Some(id) => Ok(id),
        None => Ok(prepare(connection, sql).await?.id),
    }
}

async fn text(
    connection: &mut Connection,
    job: &Job<'_>,
    leg: &Leg,
    facts: &Facts<'_>,
) -> Result<Scanner, Failure> {
    let mut out = Vec::with_capacity(job.request.values.sql.len() + 64);
    let mark = frame::begin(&mut out);
    out.push(Command::Query as u8);
    render(job, leg, facts, &mut out)?;
    frame::finish(mark, &mut 0, &mut out);
    connection.send_frames(&out).await.map_err(CommandError::from)?;
    Ok(Scanner::query(connection.capabilities()))
}

fn render(job: &Job<'_>, leg: &Leg, facts: &Facts<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    bind::render(job.plan, job.topology(), job.request.values, &job.route, leg, facts, out)?;
    Ok(())
}

async fn binary(
    connection: &mut Connection,
    job: &Job<'_>,
    leg: &Leg,
    facts: &Facts<'_>,
    execute: &Execute<'_>,
) -> Result<Scanner, Failure> {
    let mut sql = Vec::with_capacity(job.request.values.sql.len() + 64);
    render(job, leg, facts, &mut sql)?;
    let id = prepared_id(connection, &sql).await?;
    let kept = bind::parameters(job.plan, job.request.values, &job.route, leg);
    for (parameter, data) in execute.long_data() {
        if let Some(place) = kept.place_of(parameter) {
            long_data(connection, id, place, data).await?;
        }
    }
    let mut out = Vec::with_capacity(64);
    let mark = frame::begin(&mut out);
    out.push(Command::StmtExecute as u8);
    prepared::rewrite(execute, id, &kept, &job.route.rebind, &mut out);
    frame::finish(mark, &mut 0, &mut out);
    connection.send_frames(&out).await.map_err(CommandError::from)?;
    Ok(Scanner::execute(connection.capabilities()))
}

/// Sends a value ahead in pieces, as a server's packets may be no longer than the value.
async fn long_data(connection: &mut Connection, id: u32, place: u16, data: &[u8]) -> Result<(), Failure> {
    let mut rest = data;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(LONG_DATA_PIECE));
        let argument = [&id.to_le_bytes()[..], &place.to_le_bytes(), piece].concat();
        connection.send(Command::StmtSendLongData, &argument).await.map_err(CommandError::from)?;
        rest = after;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// A statement prepared on a backend, with the metadata that came with it.
#[derive(Debug)]
pub struct Prepared {
    pub id: u32,
    pub warnings: u16,
    /// Column definition packets of the parameters.
    pub parameters: Vec<Vec<u8>>,
    /// Column definition packets of the result.
    pub columns: Vec<Vec<u8>>,
}

/// Prepares a statement on a connection, which remembers it.
pub async fn prepare(connection: &mut Connection, sql: &[u8]) -> Result<Prepared, Failure> {
    connection.send(Command::StmtPrepare, sql).await.map_err(CommandError::from)?;
    let first = connection.packet().await.map_err(CommandError::from)?;
    if first.first() == Some(&0xFF) {
        return Err(Failure::Server(parse::err(&first).map_err(|error| connection.broken(error))?));
    }
    let head = parse::prepare_ok(&first).map_err(|error| connection.broken(error))?;
    let parameters = definitions(connection, head.parameters).await?;
    let columns = definitions(connection, head.columns).await?;
    if let Some(evicted) = connection.has_prepared(sql, head.statement_id) {
        // COM_STMT_CLOSE has no answer.
        connection.send(Command::StmtClose, &evicted.to_le_bytes()).await.map_err(CommandError::from)?;
    }
    Ok(Prepared { id: head.statement_id, warnings: head.warnings, parameters, columns })
}

async fn definitions(connection: &mut Connection, count: u16) -> Result<Vec<Vec<u8>>, Failure> {
    let mut packets = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        packets.push(connection.packet().await.map_err(CommandError::from)?);
    }
    if count > 0 && !parse::deprecates_eof(connection.capabilities()) {
        connection.packet().await.map_err(CommandError::from)?;
    }
    Ok(packets)
}
