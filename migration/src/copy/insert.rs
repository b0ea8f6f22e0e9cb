//! Inserting rows where they are absent. Rows that are there have come by the stream, and are as new or newer.
//!
//! A row of another shard under the same primary key is no such row: it is told, and nothing is taken for inserted.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use super::writing::Way;
use crate::apply::batch::slices;
use crate::apply::bring_in_line;
use crate::connection::fields;
use crate::image::write::{ABOUT_WORDS, TRUNCATED, Write};
use crate::image::{Bulk, Image, ImageShape, Key};
use crate::pool::Pool;
use crate::tables::{End, MovingTable, WorkError};

/// Warnings that every server lists unless told otherwise.
const WARNINGS_LISTED: usize = 60;

/// A packet of `LOAD DATA`, well below what servers take.
const PACKET: usize = 256 << 10;

/// Lock wait timeout, a full lock table and deadlock: another try is needed whichever way rows are written.
const BUSY: [u16; 3] = [1205, 1206, 1213];
/// `LOAD DATA LOCAL` is not allowed, in the words of either kind of server.
const REFUSED: [u16; 3] = [1148, 3948, 4166];

/// Inserts what is absent. Returns the keys under which the end has the row of another shard.
pub(super) async fn absent(
    connection: &mut Conn,
    way: &mut Way,
    table: &MovingTable,
    end: &End,
    images: &[&Image],
) -> Result<Vec<Key>, WorkError> {
    let shape = &table.shape;
    let mut rivals = Vec::new();
    let (strict, with_errors): (Vec<&Image>, Vec<&Image>) =
        images.iter().partition(|image| shape.error_values(image) == 0);
    for slice in slices(strict.into_iter()) {
        connection.query_drop("SAVEPOINT slice").await?;
        if *way == Way::Bulk
            && let Some(bulk) = shape.bulk(&end.table, &slice)
        {
            match load(connection, bulk, slice.len()).await? {
                Loaded::AsTheyAre => continue,
                Loaded::Otherwise => {}
                Loaded::Refused => *way = Way::Statements,
            }
            connection.query_drop("ROLLBACK TO SAVEPOINT slice").await?;
        }
        let write = shape.insert_absent(&end.table, slice.iter().copied());
        match only_present(connection, shape, &end.table, &write).await? {
            Told::AllWereAbsent => {}
            Told::Whole => {
                rivals.extend(there(connection, table, end, &slice, Lock::None).await?.rivals);
            }
            Told::InPart => {
                // So many rows were there that the server does not list them all: again, in parts that it does.
                connection.query_drop("ROLLBACK TO SAVEPOINT slice").await?;
                for part in slice.chunks(WARNINGS_LISTED) {
                    rivals.extend(listed(connection, table, end, part).await?);
                }
            }
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
        rivals.extend(listed(connection, table, end, part).await?);
        rest = later;
    }
    Ok(rivals)
}

/// What has come of loading rows. Unless all of them are in as they are, statements find out what the matter is, once the
/// load is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    AsTheyAre,
    /// Some were there, did not fit, or were changed.
    Otherwise,
    /// No rows are loaded there.
    Refused,
}

async fn load(connection: &mut Conn, bulk: Bulk, rows: usize) -> Result<Loaded, WorkError> {
    let Bulk { sql, rows: bytes } = bulk;
    let mut bytes = Bytes::from(bytes);
    let packets =
        std::iter::from_fn(move || (!bytes.is_empty()).then(|| Ok(bytes.split_to(bytes.len().min(PACKET)))));
    connection.set_infile_handler(async move { Ok(stream::iter(packets).boxed()) });
    match connection.query_drop(sql).await {
        Ok(()) if connection.get_warnings() == 0 && connection.affected_rows() == rows as u64 => {
            Ok(Loaded::AsTheyAre)
        }
        Ok(()) => Ok(Loaded::Otherwise),
        Err(mysql_async::Error::Server(error)) if !BUSY.contains(&error.code) => {
            tracing::debug!(%error, "rows are not loaded but written by statements");
            let is_refused = REFUSED.contains(&error.code);
            Ok(if is_refused { Loaded::Refused } else { Loaded::Otherwise })
        }
        Err(error) => Err(error.into()),
    }
}

/// Inserts what is absent of so few rows that the server lists every warning.
async fn listed(
    connection: &mut Conn,
    table: &MovingTable,
    end: &End,
    images: &[&Image],
) -> Result<Vec<Key>, WorkError> {
    let write = table.shape.insert_absent(&end.table, images.iter().copied());
    match only_present(connection, &table.shape, &end.table, &write).await? {
        Told::AllWereAbsent => Ok(Vec::new()),
        Told::Whole => Ok(there(connection, table, end, images, Lock::None).await?.rivals),
        Told::InPart => Err(WorkError::Stopped(format!(
            "{}: the server keeps the warnings of an insertion to itself; set max_error_count to at least {WARNINGS_LISTED} there",
            end.table
        ))),
    }
}

/// Are rows kept from changing while they are looked at?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// The transaction has written them, or found them there, which holds them too.
    None,
    ForUpdate,
}

/// What an end has under some keys.
#[derive(Debug, Default)]
pub(super) struct There {
    /// Rows that the source's shard key tells from those that are to come.
    pub rivals: Vec<Key>,
    /// The same rows, as they are or were.
    pub ours: HashSet<Key>,
}

/// What an end has where these rows are to be. Nothing is known to be there where the primary key alone names a row.
pub(super) async fn there(
    connection: &mut Conn,
    table: &MovingTable,
    end: &End,
    images: &[&Image],
    lock: Lock,
) -> Result<There, WorkError> {
    let mut found = There::default();
    let Some(column) = table.told_by(Side::Source).filter(|_| !images.is_empty()) else {
        return Ok(found);
    };
    let (shape, name) = (&table.shape, &table.shape.columns()[column].0);
    let wanted: HashMap<Key, &Image> = images.iter().map(|image| (shape.key_of(image), *image)).collect();
    let keys: Vec<Key> = wanted.keys().cloned().collect();
    let lock = if lock == Lock::ForUpdate { " FOR UPDATE" } else { "" };
    let rest = format!("{} {}{lock}", shape.by_key(), shape.with_keys(&keys));
    let rows: Vec<mysql_async::Row> = connection.query(shape.select_sparse(name, &end.table, &rest)).await?;
    for row in rows {
        let there = shape
            .sparse(name, fields(row))
            .ok_or_else(|| WorkError::Stopped(format!("a row of {} is not as its columns say", end.table)))?;
        let key = shape.key_of(&there);
        match wanted.get(&key) {
            Some(image) if image.0[column] == there.0[column] => drop(found.ours.insert(key)),
            Some(_) => found.rivals.push(key),
            // The server found it under another spelling.
            None => {}
        }
    }
    Ok(found)
}

/// Makes the target's rows under such keys what the source has there. One of the two rows may be gone by now; of two
/// that are there a person must take one away.
pub(super) async fn settle(table: &MovingTable, rivals: &[Key]) -> Result<(), WorkError> {
    let pool = Pool::default();
    let mut settled = Ok(());
    for key in rivals {
        settled = bring_in_line(&pool, table, Side::Source, key).await;
        if settled.is_err() {
            break;
        }
    }
    pool.close().await;
    settled.map_err(|error| match error {
        WorkError::OnSeveral { .. } => {
            WorkError::Stopped(format!("{error}; then `shardway move start` goes on"))
        }
        other => other,
    })
}

/// What a server tells of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    AllWereAbsent,
    /// Some rows were there already.
    Whole,
    /// It does not list all of its warnings.
    InPart,
}

/// Runs an insertion and looks at its warnings: that rows were present, and that `ENUM` columns got error values, are the
/// only ones about rows that may be there.
async fn only_present(
    connection: &mut Conn,
    shape: &ImageShape,
    table: &str,
    write: &Write,
) -> Result<Told, WorkError> {
    connection.query_drop(write.sql()).await?;
    let count = usize::from(connection.get_warnings());
    if count == 0 && !write.is_lenient() {
        return Ok(Told::AllWereAbsent);
    }
    let warnings: Vec<(String, u16, String)> = connection.query("SHOW WARNINGS").await?;
    let (truncated, others): (Vec<_>, Vec<_>) =
        warnings.iter().partition(|(_, code, _)| write.is_lenient() && *code == TRUNCATED);
    let meant = |(_, code, message): &&&(String, u16, String)| {
        !ABOUT_WORDS.contains(code) && !shape.is_present(*code, message)
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
