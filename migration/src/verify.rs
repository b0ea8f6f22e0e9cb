//! Comparing both sides, row by row, in exact images.
//!
//! The caller holds the writes, so that both sides stand still. Every row of the source is looked for on the very shard
//! that routing names, and the sides' counts must agree: then there is no row too many either.

use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use crate::image::{Image, Key};
use crate::tables::{MovingTable, WorkError, connect, image};

const PAGE: usize = 1000;
/// Different keys that are told.
const SAMPLES: usize = 10;

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Count,
    /// Every row.
    Full,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub checked: u64,
    pub different: u64,
    /// `table key` of some that differ.
    pub samples: Vec<String>,
}

/// Compares the tables.
///
/// # Errors
/// See [`WorkError`].
pub async fn run(tables: &[MovingTable], mode: Mode) -> Result<Report, WorkError> {
    let mut report = Report::default();
    for table in tables {
        let (source, target) = (count(table, Side::Source).await?, count(table, Side::Target).await?);
        if source != target {
            report.different += source.abs_diff(target);
            report
                .samples
                .push(format!("{}: {source} rows on the source, {target} on the target", table.name));
        }
        match mode {
            Mode::Count => report.checked += source,
            Mode::Full => rows(table, &mut report).await?,
        }
    }
    report.samples.truncate(SAMPLES);
    Ok(report)
}

async fn count(table: &MovingTable, side: Side) -> Result<u64, WorkError> {
    let mut total = 0;
    for end in table.ends(side) {
        let mut connection = connect(&end.server).await?;
        let count: Option<u64> =
            connection.query_first(format!("SELECT COUNT(*) FROM {}", end.table)).await?;
        total += count.unwrap_or(0);
        connection.disconnect().await?;
    }
    Ok(total)
}

async fn rows(table: &MovingTable, report: &mut Report) -> Result<(), WorkError> {
    let targets = table.ends(Side::Target);
    let mut reading = Vec::new();
    for end in targets {
        reading.push(connect(&end.server).await?);
    }
    for end in table.ends(Side::Source) {
        let mut connection = connect(&end.server).await?;
        let mut after: Option<Key> = None;
        loop {
            let rest = format!("{} LIMIT {PAGE}", table.shape.after(after.as_ref()));
            let found: Vec<mysql_async::Row> =
                connection.query(table.shape.select(&end.table, &rest)).await?;
            let images: Vec<Image> = found.into_iter().map(image).collect();
            let mut homes: Vec<Vec<&Image>> = vec![Vec::new(); targets.len()];
            for image in &images {
                homes[table.home(Side::Target, image)?].push(image);
            }
            for ((target, expected), connection) in targets.iter().zip(homes).zip(&mut reading) {
                compare(table, &target.table, &expected, connection, report).await?;
            }
            match images.last() {
                Some(last) if images.len() == PAGE => after = Some(table.shape.key_of(last)),
                _ => break,
            }
        }
    }
    Ok(())
}

async fn compare(
    table: &MovingTable,
    target: &str,
    expected: &[&Image],
    connection: &mut mysql_async::Conn,
    report: &mut Report,
) -> Result<(), WorkError> {
    if expected.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = expected.iter().map(|image| table.shape.key_of(image)).collect();
    let rows: Vec<mysql_async::Row> =
        connection.query(table.shape.select(target, &table.shape.with_keys(&keys))).await?;
    let found: std::collections::HashMap<Key, Image> =
        rows.into_iter().map(image).map(|image| (table.shape.key_of(&image), image)).collect();
    for (image, key) in expected.iter().zip(keys) {
        report.checked += 1;
        if found.get(&key) != Some(*image) {
            report.different += 1;
            let parts: Vec<String> =
                key.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            report.samples.push(format!("{} {}", table.name, parts.join("-")));
        }
    }
    Ok(())
}
