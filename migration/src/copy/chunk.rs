//! One table's chunks: read between two marks, inserted where absent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};
use tokio::sync::{Mutex, mpsc};

use super::ledger::{self, Extent, Ledger};
use super::read::{Ends, Hand, Part};
use super::scout::{self, Chunk};
use super::witness::{Witnesses, homes};
use super::{Job, Progress, pace, resume};
use crate::apply::batch::slices;
use crate::apply::tail::Tail;
use crate::connection::connect_writer;
use crate::image::write::{ABOUT_WORDS, TRUNCATED, Write};
use crate::image::{Image, ImageShape, Key};
use crate::patience::{Patience, WaitMax};
use crate::pulse::Pulse;
use crate::settings::{Order, Wire};
use crate::tables::{End, MovingTable, WorkError};

/// Tries at one chunk whose rows somebody else holds before the copy gives up.
const TRIES: u32 = 12;

/// Warnings that every server lists unless told otherwise.
const WARNINGS_LISTED: usize = 60;

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

impl Source<'_> {
    /// Tells it from the tables of the same name on other servers.
    pub(super) fn name(&self) -> String {
        format!("{}:{}/{}", self.source.server.host, self.source.server.port, self.source.table)
    }
}

/// Copies one physical table.
pub(super) async fn table(job: &Job, source: Source<'_>) -> Result<(), WorkError> {
    let mut patience = Patience::new(job.limits.wait);
    let saved = loop {
        match source.pulse.during(resume::saved(job, source)).await {
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
    let copying = try_join_all(copying);
    tokio::try_join!(scouting, copying).map(|_| ())
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
        let mut setbacks = Setbacks::new(job.limits.wait);
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
                Ok(None) => break,
                Ok(Some(more)) => {
                    part = more;
                    setbacks = Setbacks::new(job.limits.wait);
                    pace::turn(&mut pace, worker).await;
                }
                Err(error) => {
                    job.progress.failures.fetch_add(1, Ordering::Relaxed);
                    // Connections in an unknown state go with it.
                    hands = None;
                    setbacks.after(&job.progress, &source.table.name, error).await?;
                    source.witnesses.ask().await?;
                }
            }
        }
    }
}

/// Failed tries at one chunk.
#[derive(Debug)]
struct Setbacks {
    tries: u32,
    patience: Patience,
}

impl Setbacks {
    fn new(wait: WaitMax) -> Setbacks {
        Setbacks { tries: 0, patience: Patience::new(wait) }
    }

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

/// A worker's connections.
struct Hands {
    slot: String,
    reading: Hand,
    /// By server of the target.
    writing: Vec<Writing>,
}

struct Writing {
    server: Server,
    /// The physical database that holds the progress row.
    database: String,
    connection: Conn,
}

impl Hands {
    async fn open(source: Source<'_>, worker: usize, limits: &Limits) -> Result<Hands, WorkError> {
        let reading = Hand::open(&source, limits).await?;
        let mut writing = Vec::new();
        for End { server, database, .. } in homes([source.table]) {
            let connection = connect_writer(server, limits.wire).await?;
            writing.push(Writing { server: server.clone(), database: database.clone(), connection });
        }
        // Over connections to a server that has come back without them, chunks would be saved as copied that it lost.
        source.witnesses.ask().await?;
        Ok(Hands { slot: format!("copy/{worker}"), reading, writing })
    }
}

/// Copies a chunk on from where it is begun, as far as the limits allow; what is begun then, unless it is done.
async fn copy(
    job: &Job,
    source: Source<'_>,
    hands: &mut Hands,
    chunk: &Chunk,
    begun: &Begun,
    ledger: &Mutex<Ledger>,
) -> Result<Option<Begun>, WorkError> {
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
    for Writing { server, connection, .. } in &mut hands.writing {
        connection.query_drop("BEGIN").await?;
        for (end, images) in ends.iter().zip(&homes) {
            if end.server.is_same_process(server) {
                insert(connection, shape, &end.table, images).await.map_err(|error| error.at(server))?;
            }
        }
    }
    let rows = begun.rows + images.len() as u64;
    let more = match reaches {
        Ends::At(key) => {
            commit(&mut hands.writing).await?;
            Some(Begun { after: Some(key), rows })
        }
        Ends::WithTheRange => {
            finish(job, source, &mut hands.writing, chunk, ledger, rows).await?;
            None
        }
    };
    job.progress.add(source.number, images.len() as u64, bytes as u64);
    drop(guard);
    Ok(more)
}

/// Commits with the progress rows, if the chunk closes a gap.
async fn finish(
    job: &Job,
    source: Source<'_>,
    writing: &mut [Writing],
    chunk: &Chunk,
    ledger: &Mutex<Ledger>,
    rows: u64,
) -> Result<(), WorkError> {
    // Held until the commits: a later position must not be saved by a transaction that commits earlier.
    let mut ledger = ledger.lock().await;
    let mut after = ledger.clone();
    let saved = after.finish(chunk.number, chunk.reaches(job.limits.order), rows);
    if let Some(saved) = saved {
        let saving = writing.iter_mut().map(|Writing { database, connection, .. }| {
            connection.query_drop(ledger::save(database, &job.ledger_name(), &source.name(), &saved))
        });
        try_join_all(saving).await?;
    }
    commit(writing).await?;
    // Not before: a chunk whose commit failed is not finished, and later chunks must not be saved past it.
    *ledger = after;
    Ok(())
}

async fn commit(writing: &mut [Writing]) -> Result<(), WorkError> {
    try_join_all(writing.iter_mut().map(|writing| writing.connection.query_drop("COMMIT"))).await?;
    Ok(())
}

/// Inserts what is absent. Rows that are there have come by the stream, and are as new or newer.
async fn insert(
    connection: &mut Conn,
    shape: &ImageShape,
    table: &str,
    images: &[&Image],
) -> Result<(), WorkError> {
    let (strict, with_errors): (Vec<&Image>, Vec<&Image>) =
        images.iter().partition(|image| shape.error_values(image) == 0);
    for slice in slices(strict.into_iter()) {
        connection.query_drop("SAVEPOINT slice").await?;
        if only_present(connection, table, &shape.insert_absent(table, slice.iter().copied())).await?
            == Told::Whole
        {
            continue;
        }
        // So many rows were there that the server does not list them all: again, in parts that it does.
        connection.query_drop("ROLLBACK TO SAVEPOINT slice").await?;
        for part in slice.chunks(WARNINGS_LISTED) {
            insert_listed(connection, shape, table, part).await?;
        }
    }
    // Each error value is warned of, so these go in such parts at once; all warnings are looked at either way.
    let mut rest = with_errors.as_slice();
    while !rest.is_empty() {
        let mut warnings = 0;
        let fits = |image: &&&Image| {
            warnings += 1 + shape.error_values(image);
            warnings <= WARNINGS_LISTED
        };
        let (part, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        insert_listed(connection, shape, table, part).await?;
        rest = later;
    }
    Ok(())
}

/// Inserts what is absent of so few rows that the server lists every warning.
async fn insert_listed(
    connection: &mut Conn,
    shape: &ImageShape,
    table: &str,
    images: &[&Image],
) -> Result<(), WorkError> {
    match only_present(connection, table, &shape.insert_absent(table, images.iter().copied())).await? {
        Told::Whole => Ok(()),
        Told::InPart => Err(WorkError::Stopped(format!(
            "{table}: the server keeps the warnings of an insertion to itself; set max_error_count to at least {WARNINGS_LISTED} there"
        ))),
    }
}

/// How many of its warnings a server lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Whole,
    InPart,
}

/// Runs an insertion and looks at its warnings: that rows were present, and that `ENUM` columns got error values, are the
/// only ones about rows that may be there.
async fn only_present(connection: &mut Conn, table: &str, write: &Write) -> Result<Told, WorkError> {
    connection.query_drop(write.sql()).await?;
    let count = usize::from(connection.get_warnings());
    if count == 0 && !write.is_lenient() {
        return Ok(Told::Whole);
    }
    let warnings: Vec<(String, u16, String)> = connection.query("SHOW WARNINGS").await?;
    let (truncated, others): (Vec<_>, Vec<_>) =
        warnings.iter().partition(|(_, code, _)| write.is_lenient() && *code == TRUNCATED);
    let meant = |(_, code, message): &&&(String, u16, String)| {
        !ABOUT_WORDS.contains(code) && !is_present(*code, message)
    };
    match others.iter().find(meant) {
        None if warnings.len() < count => Ok(Told::InPart),
        None if truncated.len() == write.error_values() => Ok(Told::Whole),
        None => {
            let told: Vec<&str> = truncated.iter().map(|(_, _, message)| message.as_str()).collect();
            Err(WorkError::Stopped(format!("a row does not fit into {table}: {}", told.join("; "))))
        }
        // The other row may be about to change in the stream; if the conflict lasts, it is real.
        Some((_, 1062, message)) => {
            Err(WorkError::Conflict { table: table.to_owned(), message: message.clone() })
        }
        Some((_, _, message)) => {
            Err(WorkError::Stopped(format!("a row does not fit into {table}: {message}")))
        }
    }
}

/// `Duplicate entry '…' for key 'PRIMARY'`, or `'table.PRIMARY'`.
fn is_present(code: u16, message: &str) -> bool {
    code == 1062 && (message.ends_with("'PRIMARY'") || message.ends_with(".PRIMARY'"))
}
