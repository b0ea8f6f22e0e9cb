//! One table's chunks: read between two marks, inserted where absent.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;
use tokio::sync::{Mutex, mpsc};

use super::kept::Kept;
use super::ledger::{Extent, Ledger, Saved};
use super::pace::{Begin, Turns};
use super::read::{Ends, Hand, Part};
use super::scout::{self, Chunk};
use super::setbacks::Setbacks;
use super::witness::Witnesses;
use super::writing::{Branch, Writing};
use super::{Job, WORKERS_MAX, insert};
use crate::apply::tail::Tail;
use crate::image::{Image, Key};
use crate::patience::WaitMax;
use crate::pulse::Pulse;
use crate::settings::{Order, Wire};
use crate::tables::{End, MovingTable, WorkError};

/// How much at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Rows of a chunk.
    pub rows: usize,
    /// Bytes of a chunk; a larger row is one of its own.
    pub bytes: usize,
    /// Chunks that are known ahead.
    pub parallel: usize,
    /// Which end of the primary key comes first.
    pub order: Order,
    pub wire: Wire,
    /// How long a server that is away is waited for.
    pub wait: WaitMax,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rows: 2_000,
            bytes: 1 << 20,
            parallel: 4,
            order: Order::Ascending,
            wire: Wire::Plain,
            wait: WaitMax::default(),
        }
    }
}

/// A physical table that is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// The table's place in the move.
    pub number: usize,
    pub table: &'a MovingTable,
    pub source: &'a End,
    pub tail: &'a Tail,
    pub pulse: &'a Pulse,
    pub witnesses: &'a Witnesses,
}

/// Copies one physical table.
pub(super) async fn table(job: &Job, source: Source<'_>) -> Result<(), WorkError> {
    let kept = Kept::of(job, source.table, source.source, job.limits.order);
    let saved = kept.load(job, source.pulse).await?.unwrap_or(Saved::NOTHING);
    job.progress.had(source.number, saved.all_rows());
    if saved.state == Extent::Whole {
        return Ok(());
    }
    let (sender, chunks) = mpsc::channel(job.limits.parallel);
    let table = Table {
        job,
        source,
        kept,
        turns: Turns::new(&job.pace),
        chunks: Mutex::new(chunks),
        ledger: Mutex::new(Ledger::after(&saved, job.limits.order)),
    };
    let scouting = scout::run(job, &source, saved, sender);
    // More than the rules allow now: they may change while the table is copied.
    let copying = try_join_all((0..WORKERS_MAX as usize).map(|worker| table.work(worker)));
    table.turns.during(async { tokio::try_join!(scouting, copying).map(|_| ()) }).await
}

/// A table on its way, which its workers share.
struct Table<'a> {
    job: &'a Job,
    source: Source<'a>,
    kept: Kept<'a>,
    turns: Turns,
    chunks: Mutex<mpsc::Receiver<Chunk>>,
    ledger: Mutex<Ledger>,
}

impl Table<'_> {
    /// One worker: chunk after chunk.
    async fn work(&self, worker: usize) -> Result<(), WorkError> {
        let mut hands: Option<Hands> = None;
        while self.turns.begin(worker).await == Begin::Now {
            let mut turn = Some(self.turns.take().await);
            let Some(chunk) = self.chunks.lock().await.recv().await else {
                self.turns.end();
                break;
            };
            let mut setbacks = Setbacks::new(self.job.limits.wait);
            let mut part = Begun { after: chunk.after.clone(), rows: 0 };
            loop {
                let turn = match turn.take() {
                    Some(turn) => turn,
                    None => self.turns.take().await,
                };
                let done = async {
                    let hands = match &mut hands {
                        Some(hands) => hands,
                        none => none.insert(Hands::open(self.source, worker, &self.job.limits).await?),
                    };
                    self.copy(hands, &chunk, &part).await
                };
                let working = self.job.progress.busy.work();
                let done = self.source.pulse.during(done).await;
                drop((working, turn));
                match done {
                    Ok(Went::ToItsEnd) => break,
                    Ok(Went::SoFar(more)) => {
                        part = more;
                        setbacks = Setbacks::new(self.job.limits.wait);
                    }
                    Err(error) => {
                        // Connections in an unknown state go with it.
                        hands = None;
                        setbacks.after(&self.job.progress, &self.source.table.name, error).await?;
                        self.source.witnesses.ask().await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// How much of a chunk is copied.
struct Begun {
    after: Option<Key>,
    rows: u64,
}

/// How far a chunk went.
enum Went {
    ToItsEnd,
    SoFar(Begun),
}

/// A worker's connections.
struct Hands {
    slot: String,
    reading: Hand,
    writing: Writing,
}

impl Hands {
    async fn open(source: Source<'_>, worker: usize, limits: &Limits) -> Result<Hands, WorkError> {
        let reading = Hand::open(&source, limits).await?;
        let writing = Writing::open(source.table, source.witnesses, limits.wire).await?;
        Ok(Hands { slot: format!("copy/{worker}"), reading, writing })
    }
}

impl Table<'_> {
    /// Copies a chunk on from where it is begun, as far as the limits allow.
    async fn copy(&self, hands: &mut Hands, chunk: &Chunk, begun: &Begun) -> Result<Went, WorkError> {
        let (job, source) = (self.job, self.source);
        let (table, shape) = (source.table, &source.table.shape);
        if let Some(rows) = chunk.copied_before {
            hands.writing.run("BEGIN").await?;
            self.finish(&mut hands.writing, chunk, rows).await?;
            return Ok(Went::ToItsEnd);
        }
        let open = source.tail.open(&hands.slot, source.number).await?;
        let range = (begun.after.as_ref(), chunk.up_to.as_ref());
        let Part { images, bytes, ends: reaches } = hands.reading.part(&source, &job.limits, range).await?;
        let keys = Arc::new(images.iter().map(|image| shape.key_of(image)).collect::<HashSet<_>>());
        let guard = open.close(&hands.slot, keys).await?;
        let ends = table.ends(Side::Target);
        let mut homes: Vec<Vec<&Image>> = vec![Vec::new(); ends.len()];
        for image in images.iter().filter(|image| !guard.touched.contains(&shape.key_of(image))) {
            for home in table.arrives(Side::Target, image)? {
                homes[home].push(image);
            }
        }
        let inserting = hands.writing.branches().map(|Branch { server, connection, way, .. }| {
            let server = &*server;
            let there = ends.iter().zip(&homes).filter(|(end, _)| end.server.is_same_process(server));
            async move {
                connection.query_drop("BEGIN").await?;
                let mut rivals = Vec::new();
                for (end, images) in there {
                    let inserted = insert::absent(connection, way, table, end, images).await;
                    rivals.extend(inserted.map_err(|error| error.at(server))?);
                }
                Ok::<_, WorkError>(rivals)
            }
        });
        let rivals = try_join_all(inserting).await?.concat();
        if !rivals.is_empty() {
            // Whoever settles them must not wait for us. Then the source may have other rows than were read.
            hands.writing.run("ROLLBACK").await?;
            drop(guard);
            insert::settle(table, &rivals).await?;
            return Err(table.on_several(&rivals[0]));
        }
        let rows = begun.rows + images.len() as u64;
        let went = match reaches {
            Ends::At(key) => {
                hands.writing.run("COMMIT").await?;
                Went::SoFar(Begun { after: Some(key), rows })
            }
            Ends::WithTheRange => {
                self.finish(&mut hands.writing, chunk, rows).await?;
                Went::ToItsEnd
            }
        };
        job.progress.add(source.number, images.len() as u64, bytes as u64);
        drop(guard);
        Ok(went)
    }

    /// Commits with the progress rows.
    async fn finish(&self, writing: &mut Writing, chunk: &Chunk, rows: u64) -> Result<(), WorkError> {
        // Held until the commits: a later position must not be saved by a transaction that commits earlier.
        let mut ledger = self.ledger.lock().await;
        let mut after = ledger.clone();
        let saved = after.finish(chunk, rows);
        writing.save(&self.kept, &saved).await?;
        writing.run("COMMIT").await?;
        // Not before: a chunk whose commit failed is not finished, and later chunks must not be saved past it.
        *ledger = after;
        Ok(())
    }
}
