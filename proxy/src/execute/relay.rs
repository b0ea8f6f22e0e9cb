//! One shard's answer, passed on as the packets it came in.

use std::sync::atomic::Ordering;

use shardway_routing::plan::{Access, Pin};

use super::names::Names;
use super::{Job, send};
use crate::backend::CommandError;
use crate::session::held::Warnings;
use crate::session::{Failure, Part, Session};
use crate::wire::command::Command;
use crate::wire::cursor::Malformed;
use crate::wire::scan::{Event, Outcome, OutcomeKind, Progress, Scanner};
use crate::wire::{frame, parse, reply};

/// Runs a statement that one shard answers alone.
pub(super) async fn statement(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let leg = &job.route.legs[0];
    let place = job.connection(session, leg.backend, 0).await?;
    let scanner =
        send::leg(session, place, job, leg).await.map_err(|failure| session.broke(failure, place))?;
    if job.from.of(leg.backend).is_some() {
        opening(session, place).await?;
    }
    if !matches!(job.plan.pin, Pin::None | Pin::FoundRows) {
        session.held[place].pin = job.plan.pin;
    }
    let names = Names::of(job.plan, job.topology(), job.route.side, leg);
    let outcome = relay(session, place, scanner, names.as_ref()).await?;
    if job.plan.access == Access::Definition {
        session.at(place).forget_database();
    }
    session.after(place, &outcome).await?;
    if job.plan.pin == Pin::FoundRows && matches!(outcome.kind, OutcomeKind::Rows { .. }) {
        session.ask_found_rows(place).await?;
    }
    Ok(())
}

/// Waits until an answer has begun. An error is told here, before anything is passed on.
async fn opening(session: &mut Session, place: usize) -> Result<(), Failure> {
    const ERROR: u8 = 0xFF;
    let _watch = session.watch(place);
    loop {
        let connection = session.at(place);
        match connection.input.filled().get(frame::HEADER).copied() {
            None => read_on(session, place).await?,
            Some(ERROR) => {
                let packet = connection.packet().await.map_err(CommandError::from)?;
                return Err(Failure::Server(parse::err(&packet).map_err(|error| connection.broken(error))?));
            }
            Some(_) => return Ok(()),
        }
    }
}

/// Waits for more of an answer. A client that goes meanwhile ends the statement on all its servers.
pub(super) async fn read_on(session: &mut Session, place: usize) -> Result<(), Failure> {
    let connection = &mut session.held[place].checkout.connection;
    tokio::select! {
        biased;
        read = connection.read_more() => Ok(read.map_err(CommandError::from)?),
        () = session.client.gone() => {
            tracing::info!(session = session.info.id, "a client left in the middle of a statement");
            connection.spoil();
            session.info.kill_query();
            Err(Failure::Over)
        }
    }
}

/// Passes an answer on until its end.
///
/// # Errors
/// [`Failure::Unknown`] when the backend is lost, [`Failure::Over`] when the client has gone (and the statement has
/// been killed).
pub(super) async fn relay(
    session: &mut Session,
    place: usize,
    mut scanner: Scanner,
    names: Option<&Names<'_>>,
) -> Result<Outcome, Failure> {
    let as_it_is = |row: &[u8], _| Ok(row.to_vec());
    if session.part != Part::Only {
        return packets(session, place, scanner, names, as_it_is).await;
    }
    let watch = session.watch(place);
    if names.is_some() {
        let mut columns = 0;
        while !scanner.is_at_rows() && !scanner.is_done() {
            packet(session, place, &mut scanner, names, &mut columns, as_it_is).await?;
        }
        if scanner.is_done() {
            return Ok(scanner.outcome());
        }
    }
    let result = loop {
        let connection = &mut session.held[place].checkout.connection;
        let progress = match scanner.advance(connection.input.filled()) {
            Ok(progress) => progress,
            Err(error) => break Err(Failure::from(connection.broken(error))),
        };
        let Progress { forward, end } = progress;
        if forward > 0 {
            if session.client.relay(&connection.input.filled()[..forward]).await.is_err() {
                connection.spoil();
                break Err(Failure::Over);
            }
            connection.input.consume(forward);
            session.worker.shared.metrics.relayed_bytes.fetch_add(forward as u64, Ordering::Relaxed);
        }
        if end.is_done() {
            break Ok(scanner.outcome());
        }
        tokio::select! {
            biased;
            read = connection.read_more() => {
                if let Err(error) = read {
                    break Err(Failure::from(CommandError::Lost(error)));
                }
            }
            () = session.client.gone() => {
                // Nobody waits for the answer: end the statement on the server, and the connection with it.
                tracing::info!(session = session.info.id, "a client left in the middle of a statement");
                connection.spoil();
                watch.kill_query();
                break Err(Failure::Over);
            }
        }
    };
    drop(watch);
    result
}

/// Passes an answer on packet by packet: numbered anew, because answers before it went to the same packet of the
/// client, under the logical names, and with `change` made to every row, which is told the number of columns.
///
/// # Errors
/// As [`relay`].
pub(super) async fn packets(
    session: &mut Session,
    place: usize,
    mut scanner: Scanner,
    names: Option<&Names<'_>>,
    change: impl Fn(&[u8], usize) -> Result<Vec<u8>, Malformed>,
) -> Result<Outcome, Failure> {
    let _watch = session.watch(place);
    let mut columns = 0;
    while !scanner.is_done() {
        packet(session, place, &mut scanner, names, &mut columns, &change).await?;
    }
    Ok(scanner.outcome())
}

/// Passes the next packet on.
async fn packet(
    session: &mut Session,
    place: usize,
    scanner: &mut Scanner,
    names: Option<&Names<'_>>,
    columns: &mut usize,
    change: impl Fn(&[u8], usize) -> Result<Vec<u8>, Malformed>,
) -> Result<(), Failure> {
    let more = session.more_follows();
    let (event, consumed) = loop {
        let connection = &mut session.held[place].checkout.connection;
        let step = scanner.next(connection.input.filled()).map_err(|error| connection.broken(error))?;
        if let Some(step) = step {
            break step;
        }
        read_on(session, place).await?;
    };
    let connection = &mut session.held[place].checkout.connection;
    let taken =
        frame::take(connection.input.filled(), usize::MAX).map(|taken| taken.map(|taken| taken.payload));
    let Ok(Some(payload)) = taken else {
        return Err(connection.broken("a packet that is not all there").into());
    };
    let packet = match event {
        Event::ColumnCount(_) => {
            *columns = 0;
            Ok(payload.into_owned())
        }
        Event::Column(_) => {
            *columns += 1;
            names.map_or_else(|| Ok(payload.to_vec()), |names| names.column(&payload))
        }
        Event::Row(_) => change(&payload, *columns),
        Event::End => reply::followed(&payload, more),
        Event::EndOfColumns | Event::Error(_) => Ok(payload.into_owned()),
    };
    let packet = match packet {
        Ok(packet) => packet,
        Err(error) => return Err(connection.broken(error).into()),
    };
    connection.input.consume(consumed);
    session.client.packet(&packet);
    if session.client.flush_if_large().await.is_err() {
        session.at(place).spoil();
        return Err(Failure::Over);
    }
    Ok(())
}

impl Session {
    /// Runs a statement on a connection that the session holds: `SHOW WARNINGS` where the warnings are.
    ///
    /// # Errors
    /// As any relayed statement.
    pub async fn relay_on(&mut self, place: usize, sql: &[u8]) -> Result<(), Failure> {
        let connection = self.at(place);
        connection.send(Command::Query, sql).await.map_err(CommandError::from)?;
        let scanner = Scanner::query(connection.capabilities());
        relay(self, place, scanner, None).await?;
        Ok(())
    }

    /// Notes what a statement's answer says about the session.
    pub(super) async fn after(&mut self, place: usize, outcome: &Outcome) -> Result<(), Failure> {
        match &outcome.kind {
            OutcomeKind::Ok { last_insert_id, affected } => {
                self.row_count = i64::try_from(*affected).unwrap_or(i64::MAX);
                if *last_insert_id != 0 {
                    self.last_insert_id = *last_insert_id;
                }
            }
            OutcomeKind::Rows { rows } => self.answered_rows(*rows),
            OutcomeKind::Error(error) => {
                self.remember_error(error.clone());
                return self.after_error(place, error.code).await;
            }
        }
        if outcome.warnings > 0 {
            self.held[place].warnings = Warnings::Some;
        }
        self.transaction_goes_on(place, outcome.status).await
    }

    /// How many rows there would have been without the `LIMIT`.
    async fn ask_found_rows(&mut self, place: usize) -> Result<(), Failure> {
        if self.held[place].warnings == Warnings::Some {
            self.list_warnings(place).await?;
            self.held[place].warnings = Warnings::None;
        }
        let rows = self.at(place).rows(b"SELECT FOUND_ROWS()").await?;
        let number = rows.rows.first().and_then(|row| row.first()?.as_deref());
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.found_rows = number.unwrap_or_default();
        Ok(())
    }

    /// A connection failed before or while a statement was sent. Outside of a transaction it is just dropped.
    pub(super) fn broke(&mut self, failure: Failure, place: usize) -> Failure {
        if let Failure::Unknown(_) = failure {
            self.at(place).spoil();
        }
        failure
    }
}
