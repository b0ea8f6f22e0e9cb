//! Writing what was read of one server to the other side, batch by batch, each with the position that it leads to.

use super::batch::Batch;
use super::follow::Course;
use super::lanes::Lanes;
use super::marking::Marking;
use super::tail::Tail;
use super::{guarded, rivals, strays};
use crate::image::{Image, Key};
use crate::pool::Pool;
use crate::position::Position;
use crate::stream::Change;
use crate::tables::WorkError;

/// What is to be written, and where.
pub(super) struct Writer<'a> {
    course: &'a Course,
    tail: &'a Tail,
    lanes: Lanes,
    /// For what is written under guard.
    pool: Pool,
    batch: Batch,
    /// Everything before is in the batch, or written.
    pub position: Position,
}

impl<'a> Writer<'a> {
    /// Connects to every server of the other side. The position is where to read on from.
    pub(super) async fn open(course: &'a Course, tail: &'a Tail) -> Result<Writer<'a>, WorkError> {
        let (stream, parallel) = (course.stream.clone(), course.limits.parallel);
        let lanes = Lanes::open(&course.tables, course.authority.other(), stream, parallel).await?;
        let position = lanes.resume().unwrap_or_else(|| course.start.clone());
        let (pool, batch) = (Pool::default(), Batch::default());
        Ok(Writer { course, tail, lanes, pool, batch, position })
    }

    /// What is read from here on is as it is now, not as it was: no server of the other side has it yet, even one that was
    /// ahead of the others.
    pub(super) fn stand_here(&mut self) {
        self.lanes.stand_at(&self.position);
    }

    /// Takes a change at a place of `tables[table]` in.
    pub(super) fn take(&mut self, table: usize, place: usize, change: Change) -> Result<(), WorkError> {
        let of = &self.course.tables[table];
        if of.is_trespass(self.course.authority, &change) {
            self.tail.trespassed();
            return Ok(());
        }
        let Some(change) = of.own_change(self.course.authority, place, change) else { return Ok(()) };
        let shape = &of.shape;
        let keys = match &change {
            Change::Insert(image) | Change::Delete(image) => vec![shape.key_of(image)],
            Change::Update { before, after } => vec![shape.key_of(before), shape.key_of(after)],
        };
        self.tail.touch(table, &keys);
        self.batch.add(&self.course.tables, table, self.course.authority.other(), change)
    }

    /// Takes a row of `tables[table]` in as it is.
    pub(super) fn see(&mut self, table: usize, key: Key, image: Image) -> Result<(), WorkError> {
        self.tail.touch(table, &[key]);
        self.batch.see(&self.course.tables, table, self.course.authority.other(), image)
    }

    pub(super) async fn flush_if_full(&mut self) -> Result<(), WorkError> {
        let limits = &self.course.limits;
        if self.batch.changes() >= limits.batch_rows || self.batch.bytes() >= limits.batch_bytes {
            self.flush().await?;
        }
        Ok(())
    }

    fn has_nothing_to_write(&self) -> bool {
        self.batch.is_empty() && !self.lanes.is_stale(&self.position)
    }

    pub(super) async fn flush(&mut self) -> Result<(), WorkError> {
        if self.has_nothing_to_write() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.tail.past_guards(&batch).await;
        let tables = &self.course.tables;
        for (place, rows) in batch.places() {
            let rows = rows.iter().map(|(key, fate)| (key, fate.weight()));
            self.tail.lately.wrote(&tables[place.table].name, rows);
        }
        if self.tail.is_guarded() {
            guarded::write(&self.pool, tables, self.course.authority, &batch).await?;
            self.lanes.write(tables, &Batch::default(), &self.position).await?;
        } else {
            let authority = self.course.authority;
            match self.tail.marking {
                Marking::Logged(_) => rivals::settle(&self.pool, tables, authority, &mut batch).await?,
                Marking::Passed(_) => strays::find(&self.pool, tables, authority, &mut batch).await?,
            }
            self.lanes.write(tables, &batch, &self.position).await?;
        }
        self.tail.applied(&self.position, batch.changes() as u64);
        Ok(())
    }

    /// The same for somebody who takes it that everything is there: servers that nothing is written to are asked.
    pub(super) async fn settle(&mut self) -> Result<(), WorkError> {
        if self.has_nothing_to_write() {
            return self.lanes.are_there().await;
        }
        self.flush().await
    }
}
