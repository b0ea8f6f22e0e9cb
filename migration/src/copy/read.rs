//! Reading a chunk: never more of it at once than a bound of bytes, and one row.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::chunk::{Limits, Source};
use crate::connection::{connect_over, fields, leave_the_rest};
use crate::image::{Image, ImageShape, Key, Reader};
use crate::tables::WorkError;

/// A connection that reads, and how many rows it asks for, so that a table of large rows is not cut again and again.
pub(super) struct Hand {
    connection: Conn,
    rows: usize,
}

/// The rows at the beginning of a range.
#[derive(Debug)]
pub(super) struct Part {
    pub images: Vec<Image>,
    pub bytes: usize,
    pub ends: Ends,
}

/// Where a part ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ends {
    WithTheRange,
    /// There may be rows after this key.
    At(Key),
}

impl Hand {
    pub(super) async fn open(source: &Source<'_>, limits: &Limits) -> Result<Hand, WorkError> {
        let connection = connect_over(&source.source.server, limits.wire).await?;
        Ok(Hand { connection, rows: limits.rows.max(1) })
    }

    /// Reads from the beginning of a range as far as the limits allow, one row at least.
    pub(super) async fn part(
        &mut self,
        source: &Source<'_>,
        limits: &Limits,
        (after, up_to): (Option<&Key>, Option<&Key>),
    ) -> Result<Part, WorkError> {
        let shape = &source.table.shape;
        let rest = format!("{} LIMIT {}", shape.between(after, up_to), self.rows);
        let sql = shape.select(Reader::Engine, &source.source.table, &rest);
        let mut part = Part { images: Vec::new(), bytes: 0, ends: Ends::WithTheRange };
        let mut rows = self.connection.query_iter(sql).await?;
        let mut is_cut = false;
        while let Some(row) = rows.next().await? {
            let image = shape.image(Reader::Engine, fields(row)).ok_or_else(|| {
                WorkError::Stopped(format!("a row of {} is not as its columns say", source.source.table))
            })?;
            part.bytes += ImageShape::weight(&image);
            part.images.push(image);
            is_cut = part.bytes >= limits.bytes;
            if is_cut {
                break;
            }
        }
        drop(rows);
        let read = part.images.len();
        if let Some(last) = part.images.last().filter(|_| is_cut || read == self.rows) {
            let last = shape.key_of(last);
            if Some(&last) != up_to {
                part.ends = Ends::At(last);
            }
        }
        if is_cut {
            let there_is_more = read < self.rows && part.ends != Ends::WithTheRange;
            // Somewhat fewer, so that the next parts end by themselves.
            self.rows = (read - read / 4).max(1);
            if there_is_more {
                leave_the_rest(&source.source.server, &mut self.connection, limits.wire).await?;
            }
        } else if part.bytes < limits.bytes / 4 {
            self.rows = (self.rows * 2).min(limits.rows.max(1));
        }
        Ok(part)
    }
}
