//! Carrying rows over while both sides are written.
//!
//! Pages in primary-key order are read under share locks, which are held until the targets have committed them: no
//! write to a row of the page can come between. So this is right while double write is in force, which carries every other
//! write; or while a stream is followed: it never has anything newer of a locked row than the page, and whatever older
//! it brings once more is followed by what made it old.
//!
//! A row that somebody holds is not waited for while others are locked: the page is given up and a smaller one is read. How
//! far a table is commits with its page, and a copy that was cut off goes on from there. A server that is away is waited
//! for, with a patience that begins anew with every page; one of the target's cuts the copy off (`witness`).

use std::sync::atomic::Ordering;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use super::insert::{self, Lock, There};
use super::kept::Kept;
use super::ledger::{Extent, Saved};
use super::pace::{Begin, Turns};
use super::setbacks::Setbacks;
use super::witness::Witnesses;
use super::writing::{Branch, Writing};
use super::{Job, count};
use crate::connection::{self, connect_over, fields};
use crate::image::{Image, ImageShape, Key, Reader};
use crate::line::SHARED;
use crate::pool::promptly;
use crate::pulse::Pulse;
use crate::settings::Order;
use crate::tables::{End, MovingTable, WorkError};

/// Rows of the first page, before it is known how large they are.
const FIRST: usize = 32;

/// Copies every row of the tables from the source to where they belong on the target, page by page within the limits;
/// one page at a time.
///
/// # Errors
/// See [`WorkError`]; what has been copied stays, and the same call goes on from there.
pub async fn run(job: &Job) -> Result<(), WorkError> {
    let _running = job.progress.running();
    job.progress.workers_max.store(1, Ordering::Relaxed);
    let pulse = Pulse::of(&job.tables);
    let turns = Turns::new(&job.pace);
    pulse.beside(turns.during(all(job, &pulse, &turns))).await
}

async fn all(job: &Job, pulse: &Pulse, turns: &Turns) -> Result<(), WorkError> {
    let witnesses = pulse.during(Witnesses::open(&job.tables)).await?;
    count::all(job, pulse).await?;
    for (number, table) in job.tables.iter().enumerate() {
        for source in table.origins(Side::Source) {
            // Everything up to a key is there, however it came, so the other way to copy may go on from here.
            let kept = Kept::of(job, table, source, Order::Ascending);
            let saved = kept.load(job, pulse).await?;
            let rows = saved.as_ref().map_or(0, |saved| saved.rows);
            job.progress.had(number, rows);
            if saved.as_ref().is_some_and(|saved| saved.state == Extent::Whole) {
                continue;
            }
            let first = FIRST.min(job.limits.rows.max(1));
            let after = saved.and_then(|saved| saved.up_to);
            let witnesses = &witnesses;
            let (copied, rows, hands) = (rows, first, None);
            let mut walk = Walk { job, number, table, source, witnesses, kept, after, copied, rows, hands };
            witnesses.beside(walk.along(pulse, turns)).await?;
        }
        job.progress.note_whole(number);
    }
    // Nobody looks back at what was copied.
    pulse.during(witnesses.settle()).await
}

/// A walk along the primary key of one physical table.
struct Walk<'a> {
    job: &'a Job,
    number: usize,
    table: &'a MovingTable,
    source: &'a End,
    witnesses: &'a Witnesses,
    kept: Kept<'a>,
    after: Option<Key>,
    /// Rows that are there, those of earlier runs among them.
    copied: u64,
    /// Rows of the next page.
    rows: usize,
    hands: Option<Hands>,
}

struct Hands {
    reading: Conn,
    writing: Writing,
}

/// What was read for a page.
struct Read {
    images: Vec<Image>,
    bytes: usize,
}

/// What became of a page.
enum Carried {
    Page(Extent),
    /// The target has rows of other shards under some of its keys.
    Nothing {
        rivals: Vec<Key>,
    },
}

impl Walk<'_> {
    async fn along(&mut self, pulse: &Pulse, turns: &Turns) -> Result<(), WorkError> {
        while turns.begin(0).await == Begin::Now {
            let mut setbacks = Setbacks::new(self.job.limits.wait);
            let extent = loop {
                let turn = turns.take().await;
                let working = self.job.progress.busy.work();
                let done = pulse.during(self.page()).await;
                drop((working, turn));
                match done {
                    Ok(extent) => break extent,
                    Err(error) => {
                        self.give_up(&error).await;
                        setbacks.after(&self.job.progress, &self.table.name, error).await?;
                        self.witnesses.ask().await?;
                    }
                }
            };
            if extent == Extent::Whole {
                break;
            }
        }
        Ok(())
    }

    /// Lets the rows of a page go that was not copied.
    async fn give_up(&mut self, error: &WorkError) {
        self.rows = (self.rows / 2).max(1);
        // Connections in an unknown state are left.
        let Some(mut hands) = self.hands.take().filter(|_| !error.is_away()) else { return };
        let undone = async {
            hands.reading.query_drop("ROLLBACK").await?;
            hands.writing.run("ROLLBACK").await
        };
        if undone.await.is_ok() {
            self.hands = Some(hands);
        }
    }

    /// Copies the next page. Whoever waits for a row of ours on the source may hold one that we want on the target, which
    /// no server can see: our sessions wait for a second.
    async fn page(&mut self) -> Result<Extent, WorkError> {
        let mut hands = match self.hands.take() {
            Some(hands) => hands,
            None => self.connected().await?,
        };
        let copied = self.page_with(&mut hands).await;
        self.hands = Some(hands);
        copied
    }

    async fn connected(&self) -> Result<Hands, WorkError> {
        let wire = self.job.limits.wire;
        let writing = Writing::open(self.table, self.witnesses, wire).await?;
        Ok(Hands { reading: connect_over(&self.source.server, wire).await?, writing })
    }

    async fn page_with(&mut self, hands: &mut Hands) -> Result<Extent, WorkError> {
        // Before anything is locked: a target that says nothing now must not keep rows of the source.
        for Branch { connection, .. } in hands.writing.branches() {
            connection.query_drop("BEGIN").await?;
        }
        let Read { images, bytes } = self.locked(&mut hands.reading).await?;
        let servers: Vec<String> = hands.writing.branches().map(|branch| branch.server.address()).collect();
        let carry = Box::pin(self.carry(hands, images, bytes));
        let carried = promptly(&servers.join(" or "), bytes, carry).await?;
        match carried {
            Carried::Page(extent) => Ok(extent),
            Carried::Nothing { rivals } => {
                insert::settle(self.table, &rivals).await?;
                Err(self.table.on_several(&rivals[0]))
            }
        }
    }

    /// Writes a page whose rows are locked on the source, and lets them go.
    async fn carry(
        &mut self,
        hands: &mut Hands,
        images: Vec<Image>,
        bytes: usize,
    ) -> Result<Carried, WorkError> {
        let read = images.len() as u64;
        let extent = if images.len() == self.rows { Extent::Part } else { Extent::Whole };
        let up_to = images.last().map(|last| self.table.shape.key_of(last));
        let ends = self.table.ends(Side::Target);
        let mut homes: Vec<Vec<Image>> = vec![Vec::new(); ends.len()];
        for image in images {
            for home in self.table.arrives(Side::Target, &image)? {
                homes[home].push(image.clone());
            }
        }
        let mut rivals = Vec::new();
        for Branch { server, connection, .. } in hands.writing.branches() {
            for (end, images) in ends.iter().zip(&homes) {
                if end.server.is_same_process(server) && !images.is_empty() {
                    let written = self.write(connection, end, images).await;
                    rivals.extend(written.map_err(|error| error.at(server))?);
                }
            }
        }
        if !rivals.is_empty() {
            // Whoever settles them must not wait for us, on no server.
            hands.writing.run("ROLLBACK").await?;
            hands.reading.query_drop("ROLLBACK").await?;
            return Ok(Carried::Nothing { rivals });
        }
        let saved = Saved {
            up_to: up_to.clone().filter(|_| extent == Extent::Part),
            rows: self.copied + read,
            state: extent,
            beyond: Vec::new(),
        };
        hands.writing.save(&self.kept, &saved).await?;
        hands.writing.run("COMMIT").await?;
        hands.reading.query_drop("COMMIT").await?;
        if bytes < self.job.limits.bytes / 4 {
            self.rows = (self.rows * 2).min(self.job.limits.rows.max(1));
        }
        self.copied += read;
        self.after = up_to.or(self.after.take());
        self.job.progress.add(self.number, read, bytes as u64);
        Ok(Carried::Page(extent))
    }

    /// Writes the rows of a page that belong to a node. Returns the keys under which it has the row of another shard; then
    /// not all are written.
    async fn write(&self, connection: &mut Conn, end: &End, images: &[Image]) -> Result<Vec<Key>, WorkError> {
        let shape = &self.table.shape;
        if self.table.told_by(Side::Source).is_none() {
            for statement in shape.replace(&end.table, images) {
                connection::write(connection, &statement).await?;
            }
            return Ok(Vec::new());
        }
        let all: Vec<&Image> = images.iter().collect();
        let There { rivals, ours } =
            insert::there(connection, self.table, end, &all, Lock::ForUpdate).await?;
        if !rivals.is_empty() {
            return Ok(rivals);
        }
        let (present, absent): (Vec<Image>, Vec<Image>) =
            images.iter().cloned().partition(|image| ours.contains(&shape.key_of(image)));
        for statement in shape.replace(&end.table, &present) {
            connection::write(connection, &statement).await?;
        }
        if absent.is_empty() {
            return Ok(Vec::new());
        }
        match connection::write(connection, &shape.insert_rows(&end.table, &absent)).await {
            // Another shard's row may have come since we looked.
            Err(WorkError::Server(mysql_async::Error::Server(error)))
                if shape.is_present(error.code, &error.message) =>
            {
                Err(self.table.on_several(&shape.key_of(&absent[0])))
            }
            done => done.map(|()| Vec::new()),
        }
    }

    /// The rows of the next page, which stay locked until the transaction ends. A page that turns out to be too large is
    /// left, with its locks, and a smaller one is read.
    async fn locked(&mut self, reading: &mut Conn) -> Result<Read, WorkError> {
        loop {
            reading.query_drop("BEGIN").await?;
            let read = self.read(reading).await?;
            let rows = read.images.len();
            if rows == self.rows || read.bytes < self.job.limits.bytes {
                return Ok(read);
            }
            drop(read);
            let mut next = connect_over(&self.source.server, self.job.limits.wire).await?;
            // A statement that has ended meanwhile needs no end, and the locks go with the connection.
            let _ = next.query_drop(format!("KILL {}", reading.id())).await;
            *reading = next;
            // Somewhat fewer, so that the next ones end by themselves.
            self.rows = (rows - rows / 4).max(1);
        }
    }

    /// Reads until the page ends or is as large as it may be; one row at least.
    async fn read(&self, reading: &mut Conn) -> Result<Read, WorkError> {
        let shape = &self.table.shape;
        let rest = format!("{} LIMIT {} {SHARED} NOWAIT", shape.after(self.after.as_ref()), self.rows);
        let sql = shape.select(Reader::Engine, &self.source.table, &rest);
        let mut read = Read { images: Vec::new(), bytes: 0 };
        let mut rows = reading.query_iter(sql).await?;
        while let Some(row) = rows.next().await? {
            let image = shape.image(Reader::Engine, fields(row)).ok_or_else(|| {
                WorkError::Stopped(format!("a row of {} is not as its columns say", self.source.table))
            })?;
            read.bytes += ImageShape::weight(&image);
            read.images.push(image);
            if read.bytes >= self.job.limits.bytes {
                break;
            }
        }
        Ok(read)
    }
}
