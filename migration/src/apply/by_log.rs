//! Reading a server's log and handing its changes to the writer, which writes them when they are many, when nothing more is
//! at hand, or when somebody waits for a mark.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::follow::{Course, FollowError};
use super::marking::Logged;
use super::tail::{Concern, Tail};
use super::writer::Writer;
use crate::image::ImageShape;
use crate::stream::{Change, Item, RowChange, Stream, StreamError, Watched, WatchedTable};

/// Items read ahead of the batch that is being written. What comes while one is written is the next one, so this bounds
/// how many small transactions are folded together.
const READ_AHEAD: usize = 4_096;
/// Bytes of rows read ahead.
const READ_AHEAD_BYTES: u32 = 16 << 20;

/// The physical tables of the followed server, and which table of the move each belongs to, at which place.
fn watched(course: &Course) -> (Watched, Vec<(usize, usize)>) {
    let (mut tables, mut owners) = (Vec::new(), Vec::new());
    for (owner, table) in course.tables.iter().enumerate() {
        for (place, end) in table.origins(course.authority).iter().enumerate() {
            if end.server.is_same_process(&course.server) {
                let (database, name) = (end.database.clone(), end.name.clone());
                tables.push(WatchedTable { database, table: name, shape: table.shape.clone() });
                owners.push((owner, place));
            }
        }
    }
    (Watched { tables, mark_databases: mark_databases(course) }, owners)
}

/// The databases of the followed server that hold marks.
pub(super) fn mark_databases(course: &Course) -> Vec<String> {
    let ends = course.tables.iter().flat_map(|table| table.origins(course.authority));
    let mut databases: Vec<String> = ends
        .filter(|end| end.server.is_same_process(&course.server))
        .map(|end| end.database.clone())
        .collect();
    databases.sort();
    databases.dedup();
    databases
}

/// Follows until something goes wrong or the tail is stopped.
pub(super) async fn follow(course: &Course, tail: &Tail, marks: &Logged) -> Result<(), FollowError> {
    marks.prepare().await?;
    let writer = Writer::open(course, tail).await?;
    let from = writer.position.clone();
    let (watched, owners) = watched(course);
    let stream = Stream::open(&course.server, &from, watched).await?;
    let (sender, items) = mpsc::channel(READ_AHEAD);
    // Decoding goes on while a batch is written.
    let reading = tokio::spawn(read(stream, sender));
    tail.follows(from);
    let mut worker = Worker { tail, owners, writer };
    let result = worker.work(items).await;
    reading.abort();
    result
}

/// An item that was read ahead, and its share of the bytes that may be.
struct Ahead {
    item: Result<Item, StreamError>,
    _share: OwnedSemaphorePermit,
}

async fn read(mut stream: Stream, items: mpsc::Sender<Ahead>) {
    let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES as usize));
    loop {
        let item = stream.next().await;
        let last = item.is_err();
        // An item that is larger than all the room has it to itself.
        let share = item.as_ref().map_or(0, weight).min(READ_AHEAD_BYTES);
        let Ok(share) = Arc::clone(&room).acquire_many_owned(share).await else { return };
        if items.send(Ahead { item, _share: share }).await.is_err() || last {
            return;
        }
    }
}

fn weight(item: &Item) -> u32 {
    let Item::Changes(changes) = item else { return 0 };
    let weight = |row: &RowChange| match &row.change {
        Change::Insert(image) | Change::Delete(image) => ImageShape::weight(image),
        Change::Update { before, after } => ImageShape::weight(before) + ImageShape::weight(after),
    };
    u32::try_from(changes.iter().map(weight).sum::<usize>()).unwrap_or(u32::MAX)
}

struct Worker<'a> {
    tail: &'a Tail,
    /// The move's table that each watched table belongs to, and its place.
    owners: Vec<(usize, usize)>,
    writer: Writer<'a>,
}

impl Worker<'_> {
    async fn work(&mut self, mut items: mpsc::Receiver<Ahead>) -> Result<(), FollowError> {
        loop {
            let item = match items.try_recv() {
                Ok(ahead) => ahead.item?,
                Err(_) => {
                    // Nothing more is at hand: what there is must not wait.
                    self.writer.flush().await?;
                    tokio::select! {
                        ahead = items.recv() => match ahead {
                            Some(ahead) => ahead.item?,
                            None => return Err(StreamError::Lost("the reader has ended".into()).into()),
                        },
                        () = self.tail.stopped() => return Ok(()),
                    }
                }
            };
            if self.tail.is_stopped() {
                return Ok(());
            }
            match item {
                Item::Changes(changes) => {
                    for row in changes {
                        let (table, place) = self.owners[row.table];
                        self.writer.take(table, place, row.change)?;
                    }
                    self.writer.flush_if_full().await?;
                }
                Item::Mark { token, .. } => {
                    let concern = self.tail.concern(token);
                    if concern == Concern::Everything {
                        self.writer.settle().await?;
                    }
                    if concern != Concern::Nobody {
                        self.tail.at_mark(token);
                    }
                }
                Item::Position(position) => self.writer.position = position,
            }
        }
    }
}
