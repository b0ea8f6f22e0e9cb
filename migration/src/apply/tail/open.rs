//! A chunk's window over a stream: what is touched meanwhile is left to the stream.

use tokio::sync::oneshot;

use super::{Tail, TailState, Touched, token};
use crate::apply::marking::{Marking, Purpose};
use crate::apply::windows::{Keys, WindowId, WindowLost};
use crate::tables::WorkError;

/// A chunk's window: read the chunk between [`Tail::open`] and [`Open::close`].
#[derive(Debug)]
pub struct Open<'a> {
    tail: &'a Tail,
    id: WindowId,
    closed: oneshot::Receiver<Touched>,
}

/// A window whose chunk may be inserted. Its keys are guarded until this is dropped.
#[derive(Debug)]
pub struct Guard<'a> {
    _open: Open<'a>,
    /// Rows to leave to the stream.
    pub touched: Touched,
}

impl Tail {
    /// Opens a window over a table of the move; a chunk read from now on belongs to it.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub async fn open(&self, slot: &str, table: usize) -> Result<Open<'_>, WorkError> {
        let opens = token();
        let (sender, closed) = oneshot::channel();
        let id = {
            let mut inside = self.lock();
            if let TailState::Stopped { .. } = inside.state {
                drop(inside);
                return Err(self.stopped_because());
            }
            let id = inside.windows.announce(table, opens);
            inside.closing.insert(id, sender);
            id
        };
        let open = Open { tail: self, id, closed };
        match &self.marking {
            Marking::Logged(marks) => marks.write(slot, opens, Purpose::Chunk).await?,
            // Whatever is taken in from here on may have been read after the chunk.
            Marking::Passed(_) => self.at_mark(opens),
        }
        Ok(open)
    }
}

impl<'a> Open<'a> {
    /// The chunk with these keys has been read. Returns when everything before has been applied: its rows may be
    /// inserted where absent, except those touched.
    ///
    /// # Errors
    /// [`WorkError::Interrupted`] when the stream began anew meanwhile: read the chunk again.
    pub async fn close(mut self, slot: &str, keys: Keys) -> Result<Guard<'a>, WorkError> {
        let closes = token();
        let noted = self.tail.lock().windows.close_at(self.id, closes, keys);
        noted.map_err(|WindowLost| self.tail.stopped_because())?;
        self.tail.mark(slot, closes, Purpose::Chunk).await?;
        let touched = (&mut self.closed).await.map_err(|_| self.tail.stopped_because())?;
        Ok(Guard { _open: self, touched })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.tail.finish(self.id);
    }
}
