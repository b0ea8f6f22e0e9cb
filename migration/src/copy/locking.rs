//! Carrying rows over while both sides are written.
//!
//! Pages in primary-key order are read under share locks, which are held until the targets have committed them: no
//! write to a row of the page can come between. So this is right while double write is in force, which carries every other
//! write; or while a stream is followed: it never has anything newer of a locked row than the page, and whatever older
//! it brings once more is followed by what made it old. Writing images again changes nothing, so a copy that was cut off
//! begins anew.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;
use tokio::sync::watch;

use super::{Pace, Progress, count_rows, pace};
use crate::connection::{connect_over, images};
use crate::image::{Image, ImageShape, Key};
use crate::settings::Wire;
use crate::tables::{End, MovingTable, WorkError};

/// Rows of a page.
const PAGE: usize = 500;
/// Attempts at a page whose rows are locked by others.
const ATTEMPTS: u32 = 20;

/// Copies every row of the tables from the source to where they belong on the target.
///
/// # Errors
/// See [`WorkError`]; what has been copied stays.
pub async fn run(
    tables: &[MovingTable],
    wire: Wire,
    mut pace: watch::Receiver<Pace>,
    progress: &Progress,
) -> Result<(), WorkError> {
    for (number, table) in tables.iter().enumerate() {
        for end in table.origins(Side::Source) {
            progress.expect(number, count_rows(table, end).await?);
        }
    }
    for (number, table) in tables.iter().enumerate() {
        for end in table.origins(Side::Source) {
            from(number, table, end, wire, &mut pace, progress).await?;
        }
    }
    Ok(())
}

async fn from(
    number: usize,
    table: &MovingTable,
    source: &End,
    wire: Wire,
    pace: &mut watch::Receiver<Pace>,
    progress: &Progress,
) -> Result<(), WorkError> {
    let mut reading = connect_over(&source.server, wire).await?;
    let mut writing = Vec::new();
    for end in table.ends(Side::Target) {
        writing.push(connect_over(&end.server, wire).await?);
    }
    let mut after: Option<Key> = None;
    loop {
        pace::turn(pace, 0).await;
        let images =
            page_with_patience(table, source, after.as_ref(), &mut reading, &mut writing, progress).await?;
        progress.add(
            number,
            images.len() as u64,
            images.iter().map(ImageShape::weight).sum::<usize>() as u64,
        );
        match images.last() {
            Some(last) if images.len() == PAGE => after = Some(table.shape.key_of(last)),
            _ => return Ok(()),
        }
    }
}

/// Somebody may hold a row of the page, or wait for one of ours on the other server, which no server can see: give up
/// after the short lock wait of our sessions, and try again.
async fn page_with_patience(
    table: &MovingTable,
    source: &End,
    after: Option<&Key>,
    reading: &mut Conn,
    writing: &mut [Conn],
    progress: &Progress,
) -> Result<Vec<Image>, WorkError> {
    let mut attempt = 0;
    loop {
        match page(table, source, after, reading, writing).await {
            Err(WorkError::Server(mysql_async::Error::Server(error)))
                if matches!(error.code, 1205 | 1213) && attempt < ATTEMPTS =>
            {
                attempt += 1;
                progress.failures.fetch_add(1, Ordering::Relaxed);
                for connection in writing.iter_mut().chain([&mut *reading]) {
                    connection.query_drop("ROLLBACK").await?;
                }
                tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
            }
            other => return other,
        }
    }
}

async fn page(
    table: &MovingTable,
    source: &End,
    after: Option<&Key>,
    reading: &mut Conn,
    writing: &mut [Conn],
) -> Result<Vec<Image>, WorkError> {
    reading.query_drop("BEGIN").await?;
    let rest = format!("{} LIMIT {PAGE} LOCK IN SHARE MODE", table.shape.after(after));
    let images = images(reading, &table.shape, &source.table, &rest).await?;
    let ends = table.ends(Side::Target);
    let mut homes: Vec<Vec<Image>> = vec![Vec::new(); ends.len()];
    for image in &images {
        for home in table.arrives(Side::Target, image)? {
            homes[home].push(image.clone());
        }
    }
    for ((end, images), connection) in ends.iter().zip(&homes).zip(writing.iter_mut()) {
        if images.is_empty() {
            continue;
        }
        connection.query_drop("BEGIN").await?;
        for statement in table.shape.replace(&end.table, images) {
            connection.query_drop(statement).await?;
        }
        connection.query_drop("COMMIT").await?;
    }
    reading.query_drop("COMMIT").await?;
    Ok(images)
}
