//! A source's changes in the order of its binary log.
//!
//! - Every committed change of a watched table comes out exactly once per pass over the log, as full row images.
//! - Transactions that a mover wrote come out empty: those whose first row is one of `shardway_progress`.
//! - What cannot be carried exactly (DDL of a watched table, a partial image, a purged position, an unknown event with
//!   data) ends the stream with the reason; nothing is skipped.
//! - Rows of a prepared XA transaction come out when it is committed, not before. While one is prepared, positions stay
//!   at the last place where none was.
//! - On another server than the position's, it goes on by the numbers of transactions or not at all (`heir`).
//!
//! What decides is pure (`assemble` and below it, from bytes to items); this module and `link` hold the connection.
//! A stream keeps nothing: after a failure, open another one at the last [`Item::Position`].

mod assemble;
mod bytes;
mod change;
mod error;
mod event;
pub(crate) mod gtid;
mod heir;
mod json;
pub(crate) mod link;
mod row;
mod saved;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod wire;
mod words;
mod xa;

use std::time::Duration;

use tokio::time::Instant;

use shardway_routing::topology::Server;

pub use change::{Change, Item, RowChange, Watched, WatchedTable};
pub use error::{Missed, StreamError};
pub use link::current;
pub use saved::{Saved, Wanted};

use crate::position::Position;
use assemble::Assembler;
use link::Link;

/// A source sends something at least every second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a caller that comes back late waits at least.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// A followed log.
#[derive(Debug)]
pub struct Stream {
    link: Link,
    assembler: Assembler,
    /// Since when nothing has come, while somebody waited.
    silent_since: Option<Instant>,
}

impl Stream {
    /// Begins to read a server's log at a position; where another server has taken over from the one of the position, at
    /// the transactions that lie behind it.
    ///
    /// # Errors
    /// [`StreamError`]; whether the position is still there shows only in the first [`Stream::next`].
    pub async fn open(server: &Server, from: &Position, watched: Watched) -> Result<Stream, StreamError> {
        let (link, targets, from) = Link::open(server, from, &watched).await?;
        Ok(Stream { link, assembler: Assembler::new(targets, &from), silent_since: None })
    }

    /// The next item. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StreamError`], after which the stream is over.
    pub async fn next(&mut self) -> Result<Item, StreamError> {
        loop {
            if let Some(item) = self.assembler.pop() {
                return Ok(item);
            }
            let now = Instant::now();
            let since = *self.silent_since.get_or_insert(now);
            let limit = (since + SILENCE_MAX).max(now + PATIENCE_MIN);
            let Ok(event) = tokio::time::timeout_at(limit, self.link.next()).await else {
                return Err(StreamError::Lost(format!("nothing came for {} s", SILENCE_MAX.as_secs())));
            };
            self.silent_since = None;
            // Nothing is awaited from here on, so that no event is taken and not used.
            let event = event.map_err(|error| StreamError::reported(&error, &self.assembler.position()))?;
            link::feed(&mut self.assembler, &event)?;
        }
    }
}
