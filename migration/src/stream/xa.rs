//! XA transactions between their two phases. Pure.
//!
//! A prepared transaction's rows stand in the log where it was prepared, but count where it is committed. Until then
//! they wait here. A position to go on from must not lie between the two phases of any transaction, so while one waits
//! it stays at the last place where none did.

use super::change::RowChange;
use super::error::StreamError;
use super::event::Xid;
use crate::image::ImageShape;
use crate::position::Position;

/// How much may wait.
const BYTES_MAX: usize = 256 << 20;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    transactions: Vec<Waiting>,
    bytes: usize,
    /// The last place where nothing waited, while something does.
    calm: Option<Position>,
}

#[derive(Debug)]
struct Waiting {
    xid: Xid,
    rows: Vec<RowChange>,
    bytes: usize,
}

impl Prepared {
    /// `before` is the place before the transaction's first event.
    pub fn add(&mut self, xid: Xid, rows: Vec<RowChange>, before: Position) -> Result<(), StreamError> {
        let bytes = rows.iter().map(weight).sum();
        self.bytes += bytes;
        fits(self.bytes)?;
        self.transactions.push(Waiting { xid, rows, bytes });
        self.calm.get_or_insert(before);
        Ok(())
    }

    /// Rows of a transaction whose second phase has come.
    pub fn take(&mut self, xid: &Xid) -> Option<Vec<RowChange>> {
        let place = self.transactions.iter().position(|waiting| waiting.xid == *xid)?;
        let waiting = self.transactions.remove(place);
        self.bytes -= waiting.bytes;
        if self.transactions.is_empty() {
            self.calm = None;
        }
        Some(waiting.rows)
    }

    /// The last place where nothing waited. `None`: here.
    pub fn calm(&self) -> Option<&Position> {
        self.calm.as_ref()
    }
}

/// Refuses prepared transactions that would not fit into memory.
pub(super) fn fits(bytes: usize) -> Result<(), StreamError> {
    if bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(StreamError::NotSupported {
        what: format!("more than {} MiB of rows in prepared XA transactions", BYTES_MAX >> 20),
        remedy: "commit or roll back what XA RECOVER shows, and use smaller XA transactions",
    })
}

/// About how much memory a change takes.
pub(super) fn weight(change: &RowChange) -> usize {
    use super::Change::{Delete, Insert, Update};
    match &change.change {
        Insert(image) | Delete(image) => ImageShape::weight(image),
        Update { before, after } => ImageShape::weight(before) + ImageShape::weight(after),
    }
}
