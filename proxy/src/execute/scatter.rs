//! Reads that several shards answer: rows one shard after the other, or merged in order.
//!
//! All shards get the statement at once; each answer waits in its socket until it is read, so memory holds one packet
//! per shard. Inside a transaction the shards of one backend share its connection and answer one after the other; a
//! merge then buffers rows, up to a bound. An error of any shard is the statement's error, also amid the rows.

use std::cmp::Ordering;
use std::collections::VecDeque;

use shardway_routing::merge::{ColumnType, Merger, RowProtocol, SortValues};
use shardway_routing::plan::{Gather, SidePlan};
use shardway_routing::refusal;

use super::{Job, send};
use crate::backend::{CommandError, Connection};
use crate::session::{Failure, Session};
use crate::wire::parse::{self, Column, ErrPacket};
use crate::wire::reply;
use crate::wire::scan::{Event, Scanner};

/// Runs a read on every leg and answers the client.
pub(super) async fn read(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let side = shardway_routing::bind::side_plan(job.plan, job.route.side)
        .expect("a route was taken on this side, so it has a plan");
    let mut sources = Vec::with_capacity(job.route.legs.len());
    let started = start(session, job, &mut sources).await;
    let result = match started {
        Ok(()) => gather(session, job, side, &mut sources).await,
        Err(failure) => Err(failure),
    };
    finish(session, &mut sources).await;
    result
}

/// What a merge inside a transaction may buffer.
const BUFFER_MAX: usize = 64 << 20;

/// One shard's answer while it is read.
struct Source {
    place: usize,
    scanner: Scanner,
    state: State,
    /// Rows read ahead, where another answer follows on the same connection.
    ahead: VecDeque<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
}

async fn start(session: &mut Session, job: &Job<'_>, sources: &mut Vec<Source>) -> Result<(), Failure> {
    let mut places = Vec::with_capacity(job.route.legs.len());
    for (nth, leg) in job.route.legs.iter().enumerate() {
        // In a transaction the statements of one backend queue up on its connection, and are answered in order.
        let lane = match session.transaction {
            Some(_) => 0,
            None => job.route.legs[..nth].iter().filter(|before| before.backend == leg.backend).count(),
        };
        let place = session.connection_on(job.view, leg.backend, lane).await?;
        // Preparing is a round trip, which must not fall among answers that are still to come.
        send::prepare_ahead(session, place, job, leg).await?;
        places.push(place);
    }
    for (&place, leg) in places.iter().zip(&job.route.legs) {
        let scanner = send::leg(session, place, job, leg).await?;
        sources.push(Source { place, scanner, state: State::Reading, ahead: VecDeque::new() });
    }
    Ok(())
}

async fn gather(
    session: &mut Session,
    job: &Job<'_>,
    side: &SidePlan,
    sources: &mut [Source],
) -> Result<(), Failure> {
    match &side.gather {
        Gather::Merge { order, hidden, .. } => {
            let columns = all_heads(session, sources).await?;
            let protocol = protocol(job);
            let types: Vec<ColumnType> = columns.iter().map(Column::merge_type).collect();
            let merger = Merger::new(order, &types, protocol, *hidden)?;
            write_head(session, &columns[..columns.len() - usize::from(*hidden)]);
            merge(session, job, sources, &merger).await?;
        }
        Gather::Concat { .. } | Gather::Single(_) | Gather::Sum | Gather::First => {
            concatenate(session, job, sources).await?;
        }
    }
    write_end(session, sources);
    Ok(())
}

fn protocol(job: &Job<'_>) -> RowProtocol {
    if job.request.execute.is_some() { RowProtocol::Binary } else { RowProtocol::Text }
}

async fn concatenate(session: &mut Session, job: &Job<'_>, sources: &mut [Source]) -> Result<(), Failure> {
    let mut window = Window::of(job);
    let mut columns = 0;
    for (nth, source) in sources.iter_mut().enumerate() {
        let head = head(session, source).await?;
        if nth == 0 {
            columns = head.len();
            write_head(session, &head);
        } else if head.len() != columns {
            return Err(refusal::SHARDS_DISAGREE.because("the number of columns").into());
        }
        while let Some(row) = next_row(session, source).await.map_err(|failure| midway(session, failure))? {
            if window.admits() {
                session.client.packet(&row);
                session.client.flush_if_large().await.map_err(|_| Failure::Over)?;
            }
        }
    }
    Ok(())
}

async fn merge(
    session: &mut Session,
    job: &Job<'_>,
    sources: &mut [Source],
    merger: &Merger,
) -> Result<(), Failure> {
    let mut window = Window::of(job);
    let mut heads: Vec<Option<(SortValues, Vec<u8>)>> = Vec::with_capacity(sources.len());
    for source in sources.iter_mut() {
        heads.push(sorted_row(session, source, merger).await.map_err(|failure| midway(session, failure))?);
    }
    let mut stripped = Vec::new();
    while let Some(first) = smallest(&heads, merger) {
        let (_, row) = heads[first].take().expect("the smallest head is there");
        if window.admits() {
            stripped.clear();
            merger.strip_hidden(&row, &mut stripped).map_err(|error| Failure::Unknown(error.to_string()))?;
            session.client.packet(&stripped);
            session.client.flush_if_large().await.map_err(|_| Failure::Over)?;
        } else if window.is_past() {
            break;
        }
        heads[first] = sorted_row(session, &mut sources[first], merger)
            .await
            .map_err(|failure| midway(session, failure))?;
    }
    Ok(())
}

/// The shard whose next row comes first; of equals the first shard, so the merge is stable.
fn smallest(heads: &[Option<(SortValues, Vec<u8>)>], merger: &Merger) -> Option<usize> {
    let mut best: Option<(usize, &SortValues)> = None;
    for (shard, head) in heads.iter().enumerate() {
        if let Some((values, _)) = head
            && best.is_none_or(|(_, least)| merger.compare(values, least) == Ordering::Less)
        {
            best = Some((shard, values));
        }
    }
    best.map(|(shard, _)| shard)
}

async fn sorted_row(
    session: &mut Session,
    source: &mut Source,
    merger: &Merger,
) -> Result<Option<(SortValues, Vec<u8>)>, Failure> {
    let Some(row) = next_row(session, source).await? else { return Ok(None) };
    let values = merger.sort_values(&row).map_err(|error| Failure::Unknown(error.to_string()))?;
    Ok(Some((values, row)))
}

/// `LIMIT` over the whole answer.
struct Window {
    skip: u64,
    take: u64,
}

impl Window {
    fn of(job: &Job<'_>) -> Window {
        Window { skip: job.route.skip, take: job.route.take.unwrap_or(u64::MAX) }
    }

    fn admits(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.take == 0 {
            return false;
        }
        self.take -= 1;
        true
    }

    fn is_past(&self) -> bool {
        self.skip == 0 && self.take == 0
    }
}

async fn all_heads(session: &mut Session, sources: &mut [Source]) -> Result<Vec<Column>, Failure> {
    let mut first: Option<Vec<Column>> = None;
    let mut buffered = 0;
    for nth in 0..sources.len() {
        let shared = sources[nth + 1..].iter().any(|later| later.place == sources[nth].place);
        let source = &mut sources[nth];
        let columns = head(session, source).await?;
        while shared && source.state == State::Reading {
            if let Some(row) = next_row(session, source).await? {
                buffered += row.len();
                source.ahead.push_back(row);
            }
            if buffered > BUFFER_MAX {
                return Err(refusal::MERGE_TOO_LARGE.because(format!("more than {BUFFER_MAX} bytes")).into());
            }
        }
        let same = |known: &Vec<Column>| {
            known.len() == columns.len()
                && known.iter().zip(&columns).all(|(a, b)| a.column_type == b.column_type)
        };
        if first.as_ref().is_some_and(|known| !same(known)) {
            return Err(refusal::SHARDS_DISAGREE.because("the columns' types").into());
        }
        first.get_or_insert(columns);
    }
    Ok(first.unwrap_or_default())
}

/// Reads an answer's column definitions.
async fn head(session: &mut Session, source: &mut Source) -> Result<Vec<Column>, Failure> {
    let connection = session.at(source.place);
    let mut columns = Vec::new();
    loop {
        match event(connection, source).await? {
            Read::Column(column) => columns.push(column),
            Read::Error(error) => return Err(Failure::Server(error)),
            Read::Other => {}
            Read::Row(_) | Read::End => {
                return Err(connection.broken("no result set where one was expected").into());
            }
        }
        if source.scanner.is_at_rows() {
            return Ok(columns);
        }
    }
}

async fn next_row(session: &mut Session, source: &mut Source) -> Result<Option<Vec<u8>>, Failure> {
    if source.state == State::Done {
        return Ok(source.ahead.pop_front());
    }
    let connection = session.at(source.place);
    match event(connection, source).await? {
        Read::Row(row) => Ok(Some(row)),
        Read::End => Ok(None),
        Read::Error(error) => Err(Failure::Server(error)),
        Read::Column(_) | Read::Other => Err(connection.broken("a column among rows").into()),
    }
}

/// A complete piece of an answer, copied out of the buffer.
enum Read {
    Column(Column),
    Row(Vec<u8>),
    End,
    Error(ErrPacket),
    Other,
}

async fn event(connection: &mut Connection, source: &mut Source) -> Result<Read, Failure> {
    loop {
        let step =
            source.scanner.next(connection.input.filled()).map_err(|error| connection.broken(error))?;
        let Some((event, consumed)) = step else {
            connection.read_more().await.map_err(CommandError::from)?;
            continue;
        };
        let bytes = connection.input.filled();
        let read = match event {
            Event::Column(payload) => {
                Read::Column(parse::column(payload.of(bytes)).map_err(|error| connection.broken(error))?)
            }
            Event::Row(payload) => Read::Row(payload.of(bytes).to_vec()),
            Event::End => {
                source.state = State::Done;
                Read::End
            }
            Event::Error(payload) => {
                source.state = State::Done;
                Read::Error(parse::err(payload.of(bytes)).map_err(|error| connection.broken(error))?)
            }
            Event::ColumnCount(_) | Event::EndOfColumns => Read::Other,
        };
        connection.input.consume(consumed);
        return Ok(read);
    }
}

fn write_head(session: &mut Session, columns: &[Column]) {
    let client = &mut session.client;
    reply::columns(columns, client.capabilities, &mut client.seq, &mut client.out);
}

fn write_end(session: &mut Session, sources: &[Source]) {
    let warnings =
        sources.iter().map(|source| source.scanner.outcome().warnings).fold(0, u16::saturating_add);
    let status = session.status();
    let client = &mut session.client;
    reply::end_of_rows(status, warnings, client.capabilities, &mut client.seq, &mut client.out);
}

/// A backend lost in the middle of rows is an error in the middle of rows, as a server would say it. What has been
/// collected and what follows are one answer, so the client never takes the part for the whole.
fn midway(session: &Session, failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(_) if session.transaction.is_none() => {
            Failure::Refused(refusal::BACKEND_LOST.because("while reading rows"))
        }
        other => other,
    }
}

/// Reads what is left of the answers, so that the connections can go on; a long rest is not worth it.
async fn finish(session: &mut Session, sources: &mut [Source]) {
    const REST: u32 = 1000;
    for source in sources {
        let connection = session.at(source.place);
        let mut rows = 0;
        while source.state == State::Reading {
            rows += 1;
            if rows > REST || !connection.is_usable() || event(connection, source).await.is_err() {
                connection.spoil();
                break;
            }
        }
    }
}
