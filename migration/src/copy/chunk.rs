//! One table's chunks: read between two marks, inserted where absent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};
use tokio::sync::{Mutex, mpsc};

use super::ledger::{self, Extent, Ledger, Saved};
use super::read::{Ends, Hand, Part};
use super::scout::{self, Chunk};
use super::{Job, Progress, insert, pace};
use crate::apply::tail::Tail;
use crate::connection::{connect, connect_writer};
use crate::image::{Image, Key};
use crate::patience::Patience;
use crate::pulse::Pulse;
use crate::settings::{Order, Wire};
use crate::tables::{End, MovingTable, WorkError};

/// Tries at one chunk whose rows somebody else holds before the copy gives up.
const TRIES: u32 = 12;

/// How much at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Rows of a chunk.
    pub rows: usize,
    /// Bytes of a chunk; a larger row is one of its own.
    pub bytes: usize,
    /// Chunks at once.
    pub parallel: usize,
    /// Which end of the primary key comes first.
    pub order: Order,
    pub wire: Wire,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rows: 2_000, bytes: 1 << 20, parallel: 4, order: Order::Ascending, wire: Wire::Plain }
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
}

impl Source<'_> {
    /// Tells it from the tables of the same name on other servers.
    fn name(&self) -> String {
        format!("{}:{}/{}", self.source.server.host, self.source.server.port, self.source.table)
    }
}

/// Copies one physical table.
pub(super) async fn table(job: &Job, source: Source<'_>) -> Result<(), WorkError> {
    let mut patience = Patience::default();
    let saved = loop {
        match source.pulse.during(saved(job, source)).await {
            Ok(saved) => break saved,
            Err(error) => job.progress.wait(&mut patience, "reading how far the copy is", error).await?,
        }
    };
    let before = saved.as_ref().map_or(0, |saved| saved.rows);
    job.progress.add(source.number, before, 0);
    if saved.as_ref().is_some_and(|saved| saved.state == Extent::Whole) {
        return Ok(());
    }
    let (sender, chunks) = mpsc::channel(job.limits.parallel);
    let (ledger, chunks) = (Mutex::new(Ledger::after(before)), Mutex::new(chunks));
    let scouting = scout::run(job, &source, saved.and_then(|saved| saved.up_to), sender);
    let copying = (0..job.limits.parallel).map(|worker| work(job, source, worker, &chunks, &ledger));
    let copying = futures_util::future::try_join_all(copying);
    tokio::try_join!(scouting, copying).map(|_| ())
}

/// How far an earlier copy has come.
async fn saved(job: &Job, source: Source<'_>) -> Result<Option<Saved>, WorkError> {
    let home = &source.table.ends(Side::Target)[0];
    let mut connection = connect(&home.server).await?;
    connection.query_drop(ledger::create(&home.database)).await?;
    let name = source.name();
    let row = connection.query_first(ledger::load(&home.database, &job.ledger_name(), &name)).await?;
    connection.disconnect().await?;
    let Some(row) = row else { return Ok(None) };
    let saved = ledger::decode(row).ok_or_else(|| {
        WorkError::Stopped(format!("the progress of {name} in {} cannot be read", ledger::TABLE))
    })?;
    Ok(Some(saved))
}

/// One worker: chunk after chunk.
async fn work(
    job: &Job,
    source: Source<'_>,
    worker: usize,
    chunks: &Mutex<mpsc::Receiver<Chunk>>,
    ledger: &Mutex<Ledger>,
) -> Result<(), WorkError> {
    let mut pace = job.pace.clone();
    let mut hands: Option<Hands> = None;
    loop {
        pace::turn(&mut pace, worker).await;
        let Some(chunk) = chunks.lock().await.recv().await else { return Ok(()) };
        let mut setbacks = Setbacks::default();
        let mut part = Begun { after: chunk.after.clone(), rows: 0 };
        loop {
            let done = async {
                let hands = match &mut hands {
                    Some(hands) => hands,
                    none => none.insert(Hands::open(source, worker, &job.limits).await?),
                };
                copy(job, source, hands, &chunk, &part, ledger).await
            };
            let working = job.progress.busy.work();
            let done = source.pulse.during(done).await;
            drop(working);
            match done {
                Ok(Went::ToItsEnd) => break,
                Ok(Went::SoFar(more)) => {
                    part = more;
                    setbacks = Setbacks::default();
                    pace::turn(&mut pace, worker).await;
                }
                Err(error) => {
                    job.progress.failures.fetch_add(1, Ordering::Relaxed);
                    // Connections in an unknown state go with it.
                    hands = None;
                    setbacks.after(&job.progress, &source.table.name, error).await?;
                }
            }
        }
    }
}

/// Failed tries at one chunk.
#[derive(Debug, Default)]
struct Setbacks {
    tries: u32,
    patience: Patience,
}

impl Setbacks {
    /// Returns when it is time for another try: soon where rows stood in the way, later where a server is away.
    async fn after(&mut self, progress: &Progress, table: &str, error: WorkError) -> Result<(), WorkError> {
        if error.is_away() {
            return progress.wait(&mut self.patience, &format!("copying {table}"), error).await;
        }
        if !error.is_passing() || self.tries == TRIES {
            return Err(error);
        }
        self.tries += 1;
        tracing::debug!(table, %error, tries = self.tries, "a chunk is copied again");
        tokio::time::sleep(Duration::from_millis(20 << self.tries.min(9))).await;
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
    /// By server of the target.
    writing: Vec<(Server, Conn)>,
}

impl Hands {
    async fn open(source: Source<'_>, worker: usize, limits: &Limits) -> Result<Hands, WorkError> {
        let reading = Hand::open(&source, limits).await?;
        let mut writing: Vec<(Server, Conn)> = Vec::new();
        for end in source.table.ends(Side::Target) {
            if writing.iter().all(|(server, _)| !server.is_same_process(&end.server)) {
                writing.push((end.server.clone(), connect_writer(&end.server, limits.wire).await?));
            }
        }
        Ok(Hands { slot: format!("copy/{worker}"), reading, writing })
    }
}

/// Copies a chunk on from where it is begun, as far as the limits allow.
async fn copy(
    job: &Job,
    source: Source<'_>,
    hands: &mut Hands,
    chunk: &Chunk,
    begun: &Begun,
    ledger: &Mutex<Ledger>,
) -> Result<Went, WorkError> {
    let (table, shape) = (source.table, &source.table.shape);
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
    let mut rivals = Vec::new();
    for (at, (server, connection)) in hands.writing.iter_mut().enumerate() {
        connection.query_drop("BEGIN").await?;
        for (end, images) in ends.iter().zip(&homes) {
            if end.server.is_same_process(server) {
                let inserted = insert::absent(connection, table, end, images).await;
                rivals.extend(inserted.map_err(|error| error.at(server))?);
            }
        }
        // The first server's transaction has the progress row, so it is committed last.
        if at > 0 {
            connection.query_drop("COMMIT").await?;
        }
    }
    if !rivals.is_empty() {
        // Whoever settles them must not wait for us. Then the source may have other rows than were read.
        hands.writing[0].1.query_drop("ROLLBACK").await?;
        drop(guard);
        insert::settle(table, &rivals).await?;
        return Err(table.on_several(&rivals[0]));
    }
    let rows = begun.rows + images.len() as u64;
    let went = match reaches {
        Ends::At(key) => {
            hands.writing[0].1.query_drop("COMMIT").await?;
            Went::SoFar(Begun { after: Some(key), rows })
        }
        Ends::WithTheRange => {
            finish(job, source, &mut hands.writing[0].1, chunk, ledger, rows).await?;
            Went::ToItsEnd
        }
    };
    job.progress.add(source.number, images.len() as u64, bytes as u64);
    drop(guard);
    Ok(went)
}

/// Commits with the progress row, if the chunk closes a gap.
async fn finish(
    job: &Job,
    source: Source<'_>,
    connection: &mut Conn,
    chunk: &Chunk,
    ledger: &Mutex<Ledger>,
    rows: u64,
) -> Result<(), WorkError> {
    // Held until the commit: a later position must not be saved by a transaction that commits earlier.
    let mut ledger = ledger.lock().await;
    let mut after = ledger.clone();
    let saved = after.finish(chunk.number, chunk.reaches(job.limits.order), rows);
    if let Some(saved) = saved {
        let database = &source.table.ends(Side::Target)[0].database;
        connection.query_drop(ledger::save(database, &job.ledger_name(), &source.name(), &saved)).await?;
    }
    connection.query_drop("COMMIT").await?;
    // Not before: a chunk whose commit failed is not finished, and later chunks must not be saved past it.
    *ledger = after;
    Ok(())
}
