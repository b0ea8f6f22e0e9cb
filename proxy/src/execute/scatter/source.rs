//! One shard's answer, read piece by piece.

use std::collections::VecDeque;

use shardway_routing::bind::Leg;

use super::super::names::Names;
use super::super::{Job, relay, send};
use crate::session::{Failure, Session};
use crate::session_info::Running;
use crate::wire::parse::{self, Column, ErrPacket};
use crate::wire::scan::{Event, Scanner};

/// One shard's answer while it is read.
pub(super) struct Source<'a> {
    pub place: usize,
    pub leg: &'a Leg,
    pub scanner: Scanner,
    pub state: State,
    /// Notes, for `KILL`, that the connection runs the statement.
    pub watch: Option<Running>,
    /// Rows read ahead, where another answer follows on the same connection.
    pub ahead: VecDeque<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The statement has not been sent: another answer comes first on the connection.
    Waiting,
    Reading,
    Done,
}

/// Sends a source's statement.
pub(super) async fn ask(
    session: &mut Session,
    job: &Job<'_>,
    source: &mut Source<'_>,
) -> Result<(), Failure> {
    source.watch = Some(session.watch(source.place));
    source.state = State::Reading;
    source.scanner = send::leg(session, source.place, job, source.leg).await?;
    Ok(())
}

/// Reads an answer's column definitions.
pub(super) async fn head(
    session: &mut Session,
    job: &Job<'_>,
    source: &mut Source<'_>,
) -> Result<Vec<Column>, Failure> {
    if source.state == State::Waiting {
        ask(session, job, source).await?;
    }
    let names = Names::of(job.plan, job.topology(), job.route.side, source.leg);
    let mut columns = Vec::new();
    loop {
        match event(session, source).await? {
            Read::Column(column) => {
                let column = match &names {
                    Some(names) => names.column(&column),
                    None => Ok(column),
                };
                let column = column.and_then(|column| parse::column(&column));
                columns.push(column.map_err(|error| session.at(source.place).broken(error))?);
            }
            Read::Error(error) => return Err(Failure::Server(error)),
            Read::Other => {}
            Read::Row(_) | Read::End => {
                let connection = session.at(source.place);
                return Err(connection.broken("no result set where one was expected").into());
            }
        }
        if source.scanner.is_at_rows() {
            return Ok(columns);
        }
    }
}

/// The next row, of those read ahead first. `None`: there are no more.
pub(super) async fn next_row(
    session: &mut Session,
    source: &mut Source<'_>,
) -> Result<Option<Vec<u8>>, Failure> {
    if source.state == State::Done {
        return Ok(source.ahead.pop_front());
    }
    match event(session, source).await? {
        Read::Row(row) => Ok(Some(row)),
        Read::End => Ok(None),
        Read::Error(error) => Err(Failure::Server(error)),
        Read::Column(_) | Read::Other => Err(session.at(source.place).broken("a column among rows").into()),
    }
}

/// A complete piece of an answer, copied out of the buffer.
enum Read {
    Column(Vec<u8>),
    Row(Vec<u8>),
    End,
    Error(ErrPacket),
    Other,
}

async fn event(session: &mut Session, source: &mut Source<'_>) -> Result<Read, Failure> {
    loop {
        let connection = &mut session.held[source.place].checkout.connection;
        let step =
            source.scanner.next(connection.input.filled()).map_err(|error| connection.broken(error))?;
        let Some((event, consumed)) = step else {
            relay::read_on(session, source.place).await?;
            continue;
        };
        let bytes = connection.input.filled();
        let read = match event {
            Event::Column(payload) => Read::Column(payload.of(bytes).to_vec()),
            Event::Row(payload) => Read::Row(payload.of(bytes).to_vec()),
            Event::End => {
                (source.state, source.watch) = (State::Done, None);
                Read::End
            }
            Event::Error(payload) => {
                (source.state, source.watch) = (State::Done, None);
                Read::Error(parse::err(payload.of(bytes)).map_err(|error| connection.broken(error))?)
            }
            Event::ColumnCount(_) | Event::EndOfColumns => Read::Other,
        };
        connection.input.consume(consumed);
        return Ok(read);
    }
}

/// Reads what is left of the answers, so that the connections can go on. A long rest is not worth it, unless the
/// connection holds the session's transaction or other state.
pub(super) async fn finish(session: &mut Session, sources: &mut [Source<'_>]) {
    const REST: u32 = 1000;
    for source in sources {
        let mut rows = 0;
        while source.state == State::Reading {
            rows += 1;
            let worth = rows <= REST || !session.held[source.place].is_fresh();
            let usable = worth && session.at(source.place).is_usable();
            if !usable || event(session, source).await.is_err() {
                session.at(source.place).spoil();
                break;
            }
        }
    }
}
