//! Carrying rows over while both sides are written.
//!
//! Pages in primary-key order are read under share locks, which are held until the targets have committed them: no
//! write to a row of the page can come between. So this is right only while double write is in force, which carries
//! every other write. Writing images again changes nothing, so a copy that was cut off begins anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use crate::image::{Image, Key};
use crate::tables::{End, MovingTable, WorkError, connect, image};

/// Rows of a page.
const PAGE: usize = 500;
/// Attempts at a page whose rows are locked by others.
const ATTEMPTS: u32 = 20;

/// How far a copy is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub copied: AtomicU64,
    pub total: AtomicU64,
}

/// Copies every row of the tables from the source to where they belong on the target.
///
/// # Errors
/// See [`WorkError`]; what has been copied stays.
pub async fn run(tables: &[MovingTable], progress: &Progress) -> Result<(), WorkError> {
    for table in tables {
        for end in table.ends(Side::Source) {
            let mut connection = connect(&end.server).await?;
            let count: Option<u64> =
                connection.query_first(format!("SELECT COUNT(*) FROM {}", end.table)).await?;
            progress.total.fetch_add(count.unwrap_or(0), Ordering::Relaxed);
            connection.disconnect().await?;
        }
    }
    for table in tables {
        for end in table.ends(Side::Source) {
            from(table, end, progress).await?;
        }
    }
    Ok(())
}

async fn from(table: &MovingTable, source: &End, progress: &Progress) -> Result<(), WorkError> {
    let mut reading = connect(&source.server).await?;
    let mut writing = Vec::new();
    for end in table.ends(Side::Target) {
        writing.push(connect(&end.server).await?);
    }
    let mut after: Option<Key> = None;
    loop {
        let images = page_with_patience(table, source, after.as_ref(), &mut reading, &mut writing).await?;
        progress.copied.fetch_add(images.len() as u64, Ordering::Relaxed);
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
) -> Result<Vec<Image>, WorkError> {
    let mut attempt = 0;
    loop {
        match page(table, source, after, reading, writing).await {
            Err(WorkError::Server(mysql_async::Error::Server(error)))
                if matches!(error.code, 1205 | 1213) && attempt < ATTEMPTS =>
            {
                attempt += 1;
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
    let rows: Vec<mysql_async::Row> = reading.query(table.shape.select(&source.table, &rest)).await?;
    let images: Vec<Image> = rows.into_iter().map(image).collect();
    let ends = table.ends(Side::Target);
    let mut homes: Vec<Vec<Image>> = vec![Vec::new(); ends.len()];
    for image in &images {
        homes[table.home(Side::Target, image)?].push(image.clone());
    }
    for ((end, images), connection) in ends.iter().zip(&homes).zip(writing.iter_mut()) {
        if images.is_empty() {
            continue;
        }
        connection.query_drop("BEGIN").await?;
        for statement in table.shape.upsert(&end.table, images) {
            connection.query_drop(statement).await?;
        }
        connection.query_drop("COMMIT").await?;
    }
    reading.query_drop("COMMIT").await?;
    Ok(images)
}
