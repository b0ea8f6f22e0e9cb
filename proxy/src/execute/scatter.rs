//! Reads that several shards answer: rows one shard after the other, or merged in order.
//!
//! All backends get the statement at once; each answer waits in its socket until it is read, so memory holds one packet
//! per shard. Inside a transaction the shards of one backend share its connection and are asked one after the other,
//! because a server that waits for its answer to be read does not read the next statement; a merge then buffers rows,
//! up to a bound. An error of any shard is the statement's error, also amid the rows. A client that goes away ends the
//! statement on every backend.

mod source;

use std::cmp::Ordering;
use std::collections::VecDeque;

use shardway_routing::merge::{ColumnType, Merger, RowProtocol, SortValues};
use shardway_routing::plan::{Gather, SidePlan};
use shardway_routing::refusal;

use self::source::{Source, State, ask, finish, head, next_row};
use super::{Job, send};
use crate::session::{Failure, Session};
use crate::wire::parse::Column;
use crate::wire::reply;
use crate::wire::scan::Scanner;

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
    if let Err(Failure::Server(error)) = &result {
        after_error(session, &sources, error.code).await?;
    }
    result
}

/// A deadlock on one backend ends the transaction on all of them.
async fn after_error(session: &mut Session, sources: &[Source<'_>], code: u16) -> Result<(), Failure> {
    for source in sources {
        // Once it is over, the connections are given back.
        if session.transaction.is_none() {
            return Ok(());
        }
        if session.at(source.place).is_reusable() {
            session.after_error(source.place, code).await?;
        }
    }
    Ok(())
}

/// What a merge inside a transaction may buffer.
const BUFFER_MAX: usize = 64 << 20;

async fn start<'a>(
    session: &mut Session,
    job: &'a Job<'_>,
    sources: &mut Vec<Source<'a>>,
) -> Result<(), Failure> {
    let mut places = Vec::with_capacity(job.route.legs.len());
    for (nth, leg) in job.route.legs.iter().enumerate() {
        // In a transaction the statements of one backend queue up on its connection, and are answered in order.
        let lane = match session.transaction {
            Some(_) => 0,
            None => job.route.legs[..nth].iter().filter(|before| before.backend == leg.backend).count(),
        };
        let place = job.connection(session, leg.backend, lane).await?;
        // Preparing is a round trip, which must not fall among answers that are still to come.
        send::prepare_ahead(session, place, job, leg).await?;
        places.push(place);
    }
    for (&place, leg) in places.iter().zip(&job.route.legs) {
        let first = sources.iter().all(|before| before.place != place);
        let scanner = Scanner::query(session.at(place).capabilities());
        let ahead = VecDeque::new();
        sources.push(Source { place, leg, scanner, state: State::Waiting, watch: None, ahead });
        if let (true, Some(source)) = (first, sources.last_mut()) {
            ask(session, job, source).await?;
        }
    }
    Ok(())
}

async fn gather(
    session: &mut Session,
    job: &Job<'_>,
    side: &SidePlan,
    sources: &mut [Source<'_>],
) -> Result<(), Failure> {
    let rows = match &side.gather {
        Gather::Merge { order, hidden, .. } => {
            let columns = all_heads(session, job, sources).await?;
            let protocol = protocol(job);
            let types: Vec<ColumnType> = columns.iter().map(Column::merge_type).collect();
            let merger = Merger::new(order, &types, protocol, *hidden)?;
            write_head(session, &columns[..columns.len() - usize::from(*hidden)]);
            merge(session, job, sources, &merger).await?
        }
        Gather::Concat { .. } | Gather::Single(_) | Gather::Sum | Gather::First | Gather::Renamed(_) => {
            concatenate(session, job, sources).await?
        }
    };
    for source in sources.iter() {
        session.saw(source.place, source.scanner.outcome().status);
    }
    write_end(session, sources);
    session.answered_rows(rows);
    for source in sources.iter().filter(|source| source.scanner.outcome().warnings > 0) {
        session.list_warnings(source.place).await?;
    }
    Ok(())
}

fn protocol(job: &Job<'_>) -> RowProtocol {
    if job.request.execute.is_some() { RowProtocol::Binary } else { RowProtocol::Text }
}

async fn concatenate(
    session: &mut Session,
    job: &Job<'_>,
    sources: &mut [Source<'_>],
) -> Result<u64, Failure> {
    let mut window = Window::of(job);
    let mut columns = 0;
    for (nth, source) in sources.iter_mut().enumerate() {
        let head = head(session, job, source).await?;
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
    Ok(window.admitted)
}

async fn merge(
    session: &mut Session,
    job: &Job<'_>,
    sources: &mut [Source<'_>],
    merger: &Merger,
) -> Result<u64, Failure> {
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
    Ok(window.admitted)
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
    source: &mut Source<'_>,
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
    admitted: u64,
}

impl Window {
    fn of(job: &Job<'_>) -> Window {
        Window { skip: job.route.skip, take: job.route.take.unwrap_or(u64::MAX), admitted: 0 }
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
        self.admitted += 1;
        true
    }

    fn is_past(&self) -> bool {
        self.skip == 0 && self.take == 0
    }
}

async fn all_heads(
    session: &mut Session,
    job: &Job<'_>,
    sources: &mut [Source<'_>],
) -> Result<Vec<Column>, Failure> {
    let mut first: Option<Vec<Column>> = None;
    let mut buffered = 0;
    for nth in 0..sources.len() {
        let shared = sources[nth + 1..].iter().any(|later| later.place == sources[nth].place);
        let source = &mut sources[nth];
        let columns = head(session, job, source).await?;
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

fn write_head(session: &mut Session, columns: &[Column]) {
    let client = &mut session.client;
    reply::columns(columns, client.capabilities, &mut client.seq, &mut client.out);
}

fn write_end(session: &mut Session, sources: &[Source<'_>]) {
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
