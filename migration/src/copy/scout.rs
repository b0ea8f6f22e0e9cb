//! Walking ahead along a table's primary key, up or down, dealing chunks of about equal size.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::mpsc;

use super::Job;
use super::chunk::{Limits, Source};
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
}

impl Chunk {
    /// How far the walk is with it; `None`: all the way.
    pub(super) fn reaches(&self, order: Order) -> Option<Key> {
        match order {
            Order::Ascending => self.up_to.clone(),
            Order::Descending => self.after.clone(),
        }
    }
}

/// Deals the chunks beyond a key until the table ends or nobody takes them any more.
pub(super) async fn run(
    job: &Job,
    source: &Source<'_>,
    mut from: Option<Key>,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), WorkError> {
    let limits = &job.limits;
    let mut connection = None;
    for number in 0.. {
        let mut patience = Patience::new(limits.wait);
        let to = loop {
            match source.pulse.during(end(source, limits, from.as_ref(), &mut connection)).await {
                Ok(to) => break to,
                Err(error) => {
                    connection = None;
                    let work = format!("reading the keys of {}", source.table.name);
                    job.progress.wait(&mut patience, &work, error).await?;
                }
            }
        };
        let is_last = to.is_none();
        let chunk = match limits.order {
            Order::Ascending => Chunk { number, after: from, up_to: to.clone() },
            Order::Descending => Chunk { number, after: to.clone(), up_to: from },
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

/// Where the chunk beyond a key ends; `None`: the table ends before. The offset stays within the chunk, whose keys are
/// passed once: 0.4 ms for 2,000 rows, where reading them takes 7 ms.
async fn end(
    source: &Source<'_>,
    limits: &Limits,
    from: Option<&Key>,
    connection: &mut Option<Conn>,
) -> Result<Option<Key>, WorkError> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(connect_over(&source.source.server, limits.wire).await?),
    };
    let shape = &source.table.shape;
    let rest = match limits.order {
        Order::Ascending => format!("{} LIMIT 1 OFFSET {}", shape.after(from), limits.rows.saturating_sub(1)),
        // The key below the chunk is not part of it.
        Order::Descending => format!("{} LIMIT 1 OFFSET {}", shape.down_from(from), limits.rows.max(1)),
    };
    let sql = shape.select_keys(Reader::Engine, &source.source.table, None, &rest);
    let row: Option<mysql_async::Row> = connection.query_first(sql).await?;
    let Some(row) = row else { return Ok(None) };
    let key = shape.key(Reader::Engine, fields(row)).ok_or_else(|| {
        WorkError::Stopped(format!("a key of {} is not as its columns say", source.source.table))
    })?;
    Ok(Some(key))
}
