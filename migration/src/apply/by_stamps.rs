//! Reading the rows that were stamped lately, pass after pass, and handing those that have changed to the writer.
//!
//! - A pass begins at the saved moment less the overlap, and ends with its own beginning as the position: a pass that was
//!   cut off begins anew.
//! - A mark is shown by a pass that begins after it was asked for. What was committed before and stamped within the
//!   overlap has been written then; deletions have not, they are seen by nobody here.
//! - One table is read by one statement, so its rows are as they were at one moment and take no unique value from each
//!   other; no batch holds rows of two passes. A row of the other side that stands in their way is out of date: a later
//!   state of it is in this pass or a later one, or it is gone.

use futures_util::TryStreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::follow::Course;
use super::marking::Passed;
use super::tail::Tail;
use super::writer::Writer;
use crate::connection::{connect, fields};
use crate::image::Reader;
use crate::stamps::{self, Known, Remembered, Rule, Window};
use crate::tables::{End, WorkError};

/// Follows until something goes wrong or the tail is stopped.
pub(super) async fn follow(course: &Course, tail: &Tail, passed: &Passed) -> Result<(), WorkError> {
    let rule = &passed.rule;
    rule.fits(&course.tables)?;
    let mut writer = Writer::open(course, tail).await?;
    writer.stand_here();
    let mut reading = connect(&course.server).await?;
    let mut sources = sources(course);
    tail.follows(writer.position.clone());
    loop {
        let asked = passed.asked();
        let window = stamps::window(&mut reading, &writer.position, rule.overlap).await?;
        for source in &mut sources {
            source.pass(course, &mut reading, rule, &window, &mut writer).await?;
            if tail.is_stopped() {
                return Ok(());
            }
        }
        writer.position = window.begun;
        writer.settle().await?;
        asked.iter().for_each(|token| tail.at_mark(*token));
        passed.shown(&asked);
        tokio::select! {
            () = passed.pause(rule.every) => {}
            () = tail.stopped() => return Ok(()),
        }
    }
}

/// A physical table that is read.
struct Source<'a> {
    /// The table's place in the move.
    number: usize,
    end: &'a End,
    rows: Remembered,
}

fn sources(course: &Course) -> Vec<Source<'_>> {
    let mut sources = Vec::new();
    for (number, table) in course.tables.iter().enumerate() {
        for end in table.origins(course.authority) {
            if end.server.is_same_process(&course.server) {
                sources.push(Source { number, end, rows: Remembered::default() });
            }
        }
    }
    sources
}

impl Source<'_> {
    /// Reads the table once.
    async fn pass(
        &mut self,
        course: &Course,
        reading: &mut Conn,
        rule: &Rule,
        window: &Window,
        writer: &mut Writer<'_>,
    ) -> Result<(), WorkError> {
        let of = &course.tables[self.number];
        let condition = rule.condition(of, window)?;
        let select = of.shape.select(Reader::Engine, &self.end.table, &condition);
        let mut found = reading.query_iter(select).await?;
        let Some(mut rows) = found.stream::<Row>().await? else { return Ok(()) };
        while let Some(row) = rows.try_next().await? {
            let image = of.shape.image(Reader::Engine, fields(row)).ok_or_else(|| {
                WorkError::Stopped(format!("a row of {} is not as its columns say", self.end.table))
            })?;
            let key = of.shape.key_of(&image);
            if self.rows.look(key.clone(), &image) == Known::Changed {
                writer.see(self.number, key, image)?;
                writer.flush_if_full().await?;
            }
        }
        drop(rows);
        found.drop_result().await?;
        self.rows.turn();
        Ok(())
    }
}
