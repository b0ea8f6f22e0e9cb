//! Walking ahead along a table's primary key, up or down, dealing chunks of about equal size.

use std::collections::VecDeque;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::mpsc;

use super::Job;
use super::chunk::{Limits, Source};
use super::ledger::{Done, Saved};
use crate::connection::{connect_over, fields};
use crate::image::{Key, Reader};
use crate::patience::Patience;
use crate::settings::Order;
use crate::tables::WorkError;

/// The rows after one key up to and including another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Chunks of a table are numbered from 0 in the order of the walk.
    pub number: u64,
    /// `None`: from the beginning of the table.
    pub after: Option<Key>,
    /// `None`: to the end of the table.
    pub up_to: Option<Key>,
    /// Its rows, where an earlier run has copied them.
    pub copied_before: Option<u64>,
}

/// Deals the chunks beyond what is saved until the table ends or nobody takes them any more.
pub(super) async fn run(
    job: &Job,
    source: &Source<'_>,
    saved: Saved,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), WorkError> {
    let limits = &job.limits;
    let (mut from, mut beyond) = (saved.up_to, VecDeque::from(saved.beyond));
    let mut connection = None;
    for number in 0.. {
        let stop = beyond.front().and_then(|done| done.begins(limits.order)).cloned();
        if stop.is_some()
            && stop == from
            && let Some(Done { after, up_to, rows }) = beyond.pop_front()
        {
            let to = match limits.order {
                Order::Ascending => &up_to,
                Order::Descending => &after,
            };
            from.clone_from(to);
            let chunk = Chunk { number, after, up_to, copied_before: Some(rows) };
            if chunks.send(chunk).await.is_err() || from.is_none() {
                break;
            }
            continue;
        }
        let mut patience = Patience::new(limits.wait);
        let bounds = (from.as_ref(), stop.as_ref());
        let to = loop {
            match source.pulse.during(end(source, limits, bounds, &mut connection)).await {
                // What is there already ends a chunk too.
                Ok(to) => break to.or(stop.clone()),
                Err(error) => {
                    connection = None;
                    let work = format!("reading the keys of {}", source.table.name);
                    job.progress.wait(&mut patience, &work, error).await?;
                }
            }
        };
        let is_last = to.is_none();
        let chunk = match limits.order {
            Order::Ascending => Chunk { number, after: from, up_to: to.clone(), copied_before: None },
            Order::Descending => Chunk { number, after: to.clone(), up_to: from, copied_before: None },
        };
        if chunks.send(chunk).await.is_err() || is_last {
            break;
        }
        from = to;
    }
    if let Some(connection) = connection {
        connection.disconnect().await?;
    }
    Ok(())
}

/// Where the chunk beyond a key ends; `None`: the table, or what there is before `stop`, ends before. The offset stays
/// within the chunk, whose keys are passed once: 0.4 ms for 2,000 rows, where reading them takes 7 ms.
async fn end(
    source: &Source<'_>,
    limits: &Limits,
    (from, stop): (Option<&Key>, Option<&Key>),
    connection: &mut Option<Conn>,
) -> Result<Option<Key>, WorkError> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(connect_over(&source.source.server, limits.wire).await?),
    };
    let shape = &source.table.shape;
    let rest = match limits.order {
        Order::Ascending => {
            format!("{} LIMIT 1 OFFSET {}", shape.between(from, stop), limits.rows.saturating_sub(1))
        }
        // The key below the chunk is not part of it.
        Order::Descending => format!("{} LIMIT 1 OFFSET {}", shape.down_from(from, stop), limits.rows.max(1)),
    };
    let sql = shape.select_keys(Reader::Engine, &source.source.table, None, &rest);
    let row: Option<mysql_async::Row> = connection.query_first(sql).await?;
    let Some(row) = row else { return Ok(None) };
    let key = shape.key(Reader::Engine, fields(row)).ok_or_else(|| {
        WorkError::Stopped(format!("a key of {} is not as its columns say", source.source.table))
    })?;
    Ok(Some(key))
}
