//! Carrying rows over while both sides are written.
//!
//! Pages in primary-key order are read under share locks, which are held until the targets have committed them: no
//! write to a row of the page can come between. So this is right while double write is in force, which carries every other
//! write; or while a stream is followed: it never has anything newer of a locked row than the page, and whatever older
//! it brings once more is followed by what made it old. Writing images again changes nothing, so a copy that was cut off
//! begins anew, also one whose target was away for a moment ([`super::witness`]).

use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;
use tokio::sync::watch;

use super::witness::Witnesses;
use super::{Limits, Pace, Progress, count_rows, pace};
use crate::connection::{self, connect_over, fields};
use crate::image::{Image, ImageShape, Key, Reader};
use crate::pulse::Pulse;
use crate::tables::{End, MovingTable, WorkError};

/// Rows of the first page, before it is known how large they are.
const FIRST: usize = 32;
/// Attempts at a page whose rows are locked by others.
const ATTEMPTS: u32 = 20;

/// Copies every row of the tables from the source to where they belong on the target, page by page within the limits;
/// one page at a time.
///
/// # Errors
/// See [`WorkError`]; what has been copied stays.
pub async fn run(
    tables: &[MovingTable],
    limits: &Limits,
    pace: watch::Receiver<Pace>,
    progress: &Progress,
) -> Result<(), WorkError> {
    let pulse = Pulse::of(tables);
    pulse.beside(pulse.during(all(tables, limits, pace, progress))).await
}

async fn all(
    tables: &[MovingTable],
    limits: &Limits,
    mut pace: watch::Receiver<Pace>,
    progress: &Progress,
) -> Result<(), WorkError> {
    let witnesses = Witnesses::open(tables).await?;
    for (number, table) in tables.iter().enumerate() {
        for end in table.origins(Side::Source) {
            progress.expect(number, count_rows(table, end).await?);
        }
    }
    for (number, table) in tables.iter().enumerate() {
        for source in table.origins(Side::Source) {
            let mut walk = Walk::open(table, source, limits).await?;
            loop {
                pace::turn(&mut pace, 0).await;
                let working = progress.busy.work();
                let page = walk.next(progress).await;
                drop(working);
                let page = page?;
                progress.add(number, page.rows, page.bytes as u64);
                if page.ends == Ends::WithTheTable {
                    break;
                }
            }
        }
        progress.is_whole(number);
    }
    witnesses.settle().await
}

/// A walk along the primary key of one physical table.
struct Walk<'a> {
    table: &'a MovingTable,
    source: &'a End,
    limits: &'a Limits,
    reading: Conn,
    /// One for each end of the target.
    writing: Vec<Conn>,
    after: Option<Key>,
    /// Rows of the next page.
    rows: usize,
}

/// A page that is copied.
struct Page {
    rows: u64,
    bytes: usize,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    WithTheTable,
    /// There may be rows behind it.
    Before,
}

impl<'a> Walk<'a> {
    async fn open(
        table: &'a MovingTable,
        source: &'a End,
        limits: &'a Limits,
    ) -> Result<Walk<'a>, WorkError> {
        let reading = connect_over(&source.server, limits.wire).await?;
        let mut writing = Vec::new();
        for end in table.ends(Side::Target) {
            writing.push(connect_over(&end.server, limits.wire).await?);
        }
        let rows = FIRST.min(limits.rows.max(1));
        Ok(Walk { table, source, limits, reading, writing, after: None, rows })
    }

    /// Copies the next page. Somebody may hold a row of it, or wait for one of ours on the other server, which no server
    /// can see: give up after the short lock wait of our sessions, and try again.
    async fn next(&mut self, progress: &Progress) -> Result<Page, WorkError> {
        let mut attempt = 0;
        loop {
            match self.page().await {
                Err(WorkError::Server(mysql_async::Error::Server(error)))
                    if matches!(error.code, 1205 | 1213) && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    progress.failures.fetch_add(1, Ordering::Relaxed);
                    for connection in self.writing.iter_mut().chain([&mut self.reading]) {
                        connection.query_drop("ROLLBACK").await?;
                    }
                    tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
                }
                other => return other,
            }
        }
    }

    async fn page(&mut self) -> Result<Page, WorkError> {
        let Read { images, bytes } = self.locked().await?;
        let ends = self.table.ends(Side::Target);
        let mut homes: Vec<Vec<Image>> = vec![Vec::new(); ends.len()];
        let asked = self.rows;
        let (read, last) = (images.len(), images.last().map(|last| self.table.shape.key_of(last)));
        for image in images {
            for home in self.table.arrives(Side::Target, &image)? {
                homes[home].push(image.clone());
            }
        }
        for ((end, images), connection) in ends.iter().zip(&homes).zip(self.writing.iter_mut()) {
            if images.is_empty() {
                continue;
            }
            connection.query_drop("BEGIN").await?;
            for statement in self.table.shape.replace(&end.table, images) {
                let written = connection::write(connection, &statement).await;
                written.map_err(|error| error.at(&end.server))?;
            }
            connection.query_drop("COMMIT").await?;
        }
        self.reading.query_drop("COMMIT").await?;
        if bytes < self.limits.bytes / 4 {
            self.rows = (self.rows * 2).min(self.limits.rows.max(1));
        }
        let ends = if read == asked { Ends::Before } else { Ends::WithTheTable };
        self.after = last.or(self.after.take());
        Ok(Page { rows: read as u64, bytes, ends })
    }

    /// The rows of the next page, which stay locked until the transaction ends. A page that turns out to be too large is
    /// left, with its locks, and a smaller one is read.
    async fn locked(&mut self) -> Result<Read, WorkError> {
        loop {
            self.reading.query_drop("BEGIN").await?;
            let read = self.read().await?;
            let rows = read.images.len();
            if rows == self.rows || read.bytes < self.limits.bytes {
                return Ok(read);
            }
            drop(read);
            let mut next = connect_over(&self.source.server, self.limits.wire).await?;
            // A statement that has ended meanwhile needs no end, and the locks go with the connection.
            let _ = next.query_drop(format!("KILL {}", self.reading.id())).await;
            self.reading = next;
            // Somewhat fewer, so that the next ones end by themselves.
            self.rows = (rows - rows / 4).max(1);
        }
    }

    /// Reads until the page ends or is as large as it may be; one row at least.
    async fn read(&mut self) -> Result<Read, WorkError> {
        let shape = &self.table.shape;
        let rest = format!("{} LIMIT {} LOCK IN SHARE MODE", shape.after(self.after.as_ref()), self.rows);
        let sql = shape.select(Reader::Engine, &self.source.table, &rest);
        let mut read = Read { images: Vec::new(), bytes: 0 };
        let mut rows = self.reading.query_iter(sql).await?;
        while let Some(row) = rows.next().await? {
            let image = shape.image(Reader::Engine, fields(row)).ok_or_else(|| {
                WorkError::Stopped(format!("a row of {} is not as its columns say", self.source.table))
            })?;
            read.bytes += ImageShape::weight(&image);
            read.images.push(image);
            if read.bytes >= self.limits.bytes {
                break;
            }
        }
        Ok(read)
    }
}

struct Read {
    images: Vec<Image>,
    bytes: usize,
}
