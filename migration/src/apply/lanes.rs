//! The connections that write batches to the other side, and the position each server has reached.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use super::batch::{Batch, Fate, Place, Statement, statements};
use super::progress::{self, Saved, StreamName};
use crate::connection::{self, connect_writer};
use crate::image::Key;
use crate::position::Position;
use crate::settings::Wire;
use crate::tables::{MovingTable, WorkError};

/// Between two savings of a position that no change came with.
const SAVE_EVERY: Duration = Duration::from_millis(900);

/// One server of the side that is written.
#[derive(Debug)]
pub(super) struct Lane {
    server: Server,
    /// The physical database that holds the progress rows.
    database: String,
    /// Lane 0 first; it commits last.
    connections: Vec<Conn>,
    /// Up to where this server has everything.
    pub applied: Option<Position>,
}

/// Every server of the side that is written.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    stream: StreamName,
    other: Side,
    batches: u64,
    saved_at: Instant,
    hasher: RandomState,
}

impl Lanes {
    /// Connects to every server of the other side, `parallel` times.
    pub(super) async fn open(
        tables: &[MovingTable],
        other: Side,
        stream: StreamName,
        parallel: usize,
    ) -> Result<Lanes, WorkError> {
        let mut lanes: Vec<Lane> = Vec::new();
        for end in tables.iter().flat_map(|table| table.ends(other)) {
            if lanes.iter().any(|lane| lane.server.is_same_process(&end.server)) {
                continue;
            }
            let (server, database) = (end.server.clone(), end.database.clone());
            let mut connections = Vec::with_capacity(parallel);
            for _ in 0..parallel.max(1) {
                connections.push(connect_writer(&server, Wire::Plain).await?);
            }
            connections[0].query_drop(progress::create(&database)).await?;
            let row: Option<(Vec<u8>, u64, Option<Vec<u8>>)> =
                connections[0].query_first(progress::load(&database, &stream)).await?;
            let applied = row.map(|(file, offset, gtids)| Saved(file, offset, gtids).position());
            lanes.push(Lane { server, database, connections, applied });
        }
        Ok(Lanes { lanes, stream, other, batches: 0, saved_at: Instant::now(), hasher: RandomState::new() })
    }

    /// Where to go on from: the earliest place that any server has reached. `None`: none has any.
    pub(super) fn resume(&self) -> Option<Position> {
        let mut applied = self.lanes.iter().filter_map(|lane| lane.applied.clone());
        let first = applied.next()?;
        if self.lanes.iter().any(|lane| lane.applied.is_none()) {
            return None;
        }
        Some(applied.fold(first, |least, next| if next.is_before(&least) { next } else { least }))
    }

    /// Every server stands at that place, whatever it has beyond it: for what is read anew, and not as it was.
    pub(super) fn stand_at(&mut self, position: &Position) {
        self.lanes.iter_mut().for_each(|lane| lane.applied = Some(position.clone()));
    }

    /// Has every server been there since its connections were opened? One that died may be back without what it had
    /// committed last.
    pub(super) async fn are_there(&mut self) -> Result<(), WorkError> {
        let asked = self.lanes.iter_mut().map(Lane::is_there);
        futures_util::future::try_join_all(asked).await.map(|_| ())
    }

    /// Is it time to save the position although no row has changed?
    pub(super) fn is_stale(&self, position: &Position) -> bool {
        self.saved_at.elapsed() >= SAVE_EVERY
            && self.lanes.iter().any(|lane| lane.applied.as_ref() != Some(position))
    }

    /// Writes a batch everywhere it belongs and saves the position with it. Writing it again changes nothing.
    pub(super) async fn write(
        &mut self,
        tables: &[MovingTable],
        batch: &Batch,
        position: &Position,
    ) -> Result<(), WorkError> {
        self.batches += 1;
        self.saved_at = Instant::now();
        let (stream, other, number, hasher) = (&self.stream, self.other, self.batches, &self.hasher);
        let writes = self.lanes.iter_mut().map(|lane| async move {
            // It was ahead of the others when the stream began anew.
            if lane.applied.as_ref().is_some_and(|applied| position.is_before(applied)) {
                return lane.is_there().await;
            }
            let parts = parts(lane, tables, batch, other, hasher);
            lane.write(stream, parts, position, number).await.map_err(|error| error.at(&lane.server))
        });
        futures_util::future::try_join_all(writes).await.map(|_| ())
    }
}

/// The statements of each connection of a lane.
fn parts(
    lane: &Lane,
    tables: &[MovingTable],
    batch: &Batch,
    other: Side,
    hasher: &RandomState,
) -> Vec<Vec<Statement>> {
    let width = lane.connections.len();
    let mut parts: Vec<Vec<Statement>> = vec![Vec::new(); width];
    for (Place { table, node }, fates) in batch.places() {
        let (of, end) = (&tables[table], &tables[table].ends(other)[node]);
        if !lane.server.is_same_process(&end.server) {
            continue;
        }
        let mut shares: Vec<Vec<(&Key, &Fate)>> = vec![Vec::new(); width];
        for (key, fate) in fates {
            // Rows that could stand in each other's way stay on one connection.
            let share = if of.is_divisible() { hasher.hash_one(key) as usize % width } else { 0 };
            shares[share].push((key, fate));
        }
        for (part, share) in parts.iter_mut().zip(shares) {
            part.extend(statements(&of.shape, &end.table, of.told_by(other.other()), &share));
        }
    }
    parts
}

impl Lane {
    async fn is_there(&mut self) -> Result<(), WorkError> {
        Ok(self.connections[0].query_drop("DO 0").await?)
    }

    async fn write(
        &mut self,
        stream: &StreamName,
        parts: Vec<Vec<Statement>>,
        position: &Position,
        number: u64,
    ) -> Result<(), WorkError> {
        let database = &self.database;
        let work =
            self.connections.iter_mut().zip(parts).enumerate().map(|(lane, (connection, part))| async move {
                if part.is_empty() && lane > 0 {
                    return Ok(());
                }
                connection.query_drop("BEGIN").await?;
                // First, so that a stream in the other direction knows the transaction by it.
                connection.query_drop(progress::save(database, stream, lane, position, number)).await?;
                for statement in part {
                    run(connection, statement).await?;
                }
                if lane > 0 {
                    connection.query_drop("COMMIT").await?;
                }
                Ok::<_, WorkError>(())
            });
        futures_util::future::try_join_all(work).await?;
        self.connections[0].query_drop("COMMIT").await?;
        self.applied = Some(position.clone());
        Ok(())
    }
}

async fn run(connection: &mut Conn, statement: Statement) -> Result<(), WorkError> {
    const DUPLICATE: u16 = 1062;
    let changed = || WorkError::Interrupted("a row of another shard came under the same primary key".into());
    match statement {
        Statement::Run(write) => connection::write(connection, &write).await,
        Statement::Insert(write) => match connection::write(connection, &write).await {
            Err(WorkError::Server(mysql_async::Error::Server(error))) if error.code == DUPLICATE => {
                Err(changed())
            }
            other => other,
        },
        Statement::Count(sql, wanted) => {
            let found: Option<usize> = connection.query_first(sql).await?;
            if found == Some(wanted) { Ok(()) } else { Err(changed()) }
        }
    }
}
