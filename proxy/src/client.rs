//! The client's end of a session: packets in, packets out.

use std::io;

use shardway_routing::refusal::Refusal;

use crate::buffer::Buffer;
use crate::stream::Stream;
use crate::tls::{self, Identity};
use crate::wire::frame::{self, FrameError};
use crate::wire::parse::ErrPacket;
use crate::wire::reply::{self, OkReply};

/// Answers collect up to this size before they are written.
const FLUSH_AT: usize = 64 * 1024;

/// The connection to a client.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    input: Buffer,
    /// Answer bytes not yet written.
    pub out: Vec<u8>,
    /// The next answer packet's sequence number.
    pub seq: u8,
    /// What both ends agreed on.
    pub capabilities: u32,
    max_packet: usize,
    /// Answer bytes that have left for the client.
    written: u64,
}

/// A place in what a client is answered.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    written: u64,
    out: usize,
    seq: u8,
}

/// How reading a packet can end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the client has gone")]
    Gone,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

impl Client {
    /// Takes packets of this size from now on: who has not logged in may not fill memory.
    pub fn admit(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
    }

    #[must_use]
    pub fn new(stream: Stream, max_packet: usize) -> Client {
        let (input, out) = (Buffer::default(), Vec::new());
        Client { stream, input, out, seq: 0, capabilities: 0, max_packet, written: 0 }
    }

    /// Where the answer is now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { written: self.written, out: self.out.len(), seq: self.seq }
    }

    /// Takes back what has been added to the answer since. `None`: some of it has left.
    pub fn rewind(&mut self, to: Mark) -> Option<()> {
        (self.written == to.written).then(|| {
            self.out.truncate(to.out);
            self.seq = to.seq;
        })
    }

    /// Goes on inside TLS, as the client has asked to.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn secure(self, identity: &Identity) -> io::Result<Client> {
        let Stream::Plain(socket) = self.stream else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "TLS inside of TLS"));
        };
        let stream = tls::accept(identity, socket, self.input.filled()).await?;
        Ok(Client { stream, input: Buffer::default(), ..self })
    }

    /// Reads one packet into `into` (cleared first). The answer's sequence numbers go on from it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), ReadError> {
        into.clear();
        loop {
            if let Some(taken) = frame::take(self.input.filled(), self.max_packet)? {
                into.extend_from_slice(&taken.payload);
                let consumed = taken.consumed;
                self.seq = taken.last_seq.wrapping_add(1);
                self.input.consume(consumed);
                return Ok(());
            }
            if self.input.filled().is_empty() {
                // Thousands of clients that idle keep no buffer.
                self.input.release();
                self.stream.readable().await?;
            }
            if self.input.fill(&mut self.stream).await? == 0 {
                return Err(ReadError::Gone);
            }
        }
    }

    /// Has a packet begun that is not complete?
    #[must_use]
    pub fn is_mid_packet(&self) -> bool {
        !self.input.filled().is_empty()
    }

    /// Waits until the client has closed its end; bytes it sends ahead are kept for later.
    pub async fn gone(&mut self) {
        loop {
            // A client that pipelines much is read again when its turn comes.
            if self.input.filled().len() > FLUSH_AT {
                return std::future::pending().await;
            }
            if self.stream.readable().await.is_err() {
                return;
            }
            match self.input.try_fill(&mut self.stream) {
                Ok(Some(0)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Writes what has collected.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.written += self.out.len() as u64;
            self.stream.write_all(&self.out).await?;
            self.out.clear();
            if self.out.capacity() > 4 * FLUSH_AT {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Writes what has collected once it is worth a system call.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn flush_if_large(&mut self) -> io::Result<()> {
        if self.out.len() >= FLUSH_AT { self.flush().await } else { Ok(()) }
    }

    /// Writes answer bytes as they came from a backend; little ones together with what waits before them, since a copy
    /// costs less than a system call.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn relay(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.out.is_empty() && self.out.len() + bytes.len() <= FLUSH_AT {
            self.out.extend_from_slice(bytes);
            return self.flush().await;
        }
        self.flush().await?;
        self.written += bytes.len() as u64;
        self.stream.write_all(bytes).await
    }

    /// Adds one packet to the answer.
    pub fn packet(&mut self, payload: &[u8]) {
        frame::write(payload, &mut self.seq, &mut self.out);
    }

    pub fn ok(&mut self, ok: &OkReply<'_>) {
        reply::ok(ok, self.capabilities, &mut self.seq, &mut self.out);
    }

    pub fn error(&mut self, code: u16, sql_state: &str, message: &str) {
        reply::err(code, sql_state, message, &mut self.seq, &mut self.out);
    }

    pub fn refuse(&mut self, refusal: &Refusal) {
        self.error(refusal.kind.errno, refusal.kind.sql_state, &refusal.to_string());
    }

    /// A backend's error, as it said it.
    pub fn pass_on(&mut self, error: &ErrPacket) {
        self.error(error.code, &error.sql_state, &error.message);
    }
}
