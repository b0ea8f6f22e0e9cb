//! Bytes received from a socket and not yet consumed.

use std::io;

use crate::stream::Stream;

/// What one read asks for at first; a buffer that fills grows to [`LARGE`].
const SMALL: usize = 16 * 1024;
const LARGE: usize = 256 * 1024;

/// A growing buffer with a consumed front. Its memory returns to 16 KiB when it runs empty.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The bytes not yet consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Marks the first `count` bytes as done.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.bytes.len(), "consumed more than was received");
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Reads once, waiting for bytes. Returns how many came; 0 means the peer has closed.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub async fn fill(&mut self, stream: &mut Stream) -> io::Result<usize> {
        self.make_room();
        stream.read(&mut self.bytes).await
    }

    /// Reads once without waiting. `Ok(None)`: nothing has come.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub fn try_fill(&mut self, stream: &mut Stream) -> io::Result<Option<usize>> {
        self.make_room();
        stream.try_read(&mut self.bytes)
    }

    /// Gives the memory of a large answer back while the connection idles.
    pub fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > SMALL {
            self.bytes = Vec::new();
        }
    }

    /// Gives all memory back, when nothing is in it.
    pub fn release(&mut self) {
        if self.filled().is_empty() {
            *self = Buffer::default();
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(SMALL);
        } else if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve(self.bytes.capacity().clamp(SMALL, LARGE));
        } else if self.bytes.is_empty() && self.bytes.capacity() > LARGE {
            self.bytes.shrink_to(LARGE);
        }
    }
}
