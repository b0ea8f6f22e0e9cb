//! The client's end of a session: packets in, packets out.

use std::io;

use shardway_routing::refusal::Refusal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::buffer::Buffer;
use crate::wire::frame::{self, FrameError};
use crate::wire::parse::ErrPacket;
use crate::wire::reply::{self, OkReply};

/// Answers collect up to this size before they are written.
const FLUSH_AT: usize = 64 * 1024;

/// The connection to a client.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    input: Buffer,
    /// Answer bytes not yet written.
    pub out: Vec<u8>,
    /// The next answer packet's sequence number.
    pub seq: u8,
    /// What both ends agreed on.
    pub capabilities: u32,
    max_packet: usize,
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
    #[must_use]
    pub fn new(stream: TcpStream, max_packet: usize) -> Client {
        Client { stream, input: Buffer::default(), out: Vec::new(), seq: 0, capabilities: 0, max_packet }
    }

    /// Reads one packet into `into` (cleared first). The answer's sequence numbers go on from it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), ReadError> {
        into.clear();
        self.input.shrink();
        loop {
            if let Some(taken) = frame::take(self.input.filled(), self.max_packet)? {
                into.extend_from_slice(&taken.payload);
                let consumed = taken.consumed;
                self.seq = taken.last_seq.wrapping_add(1);
                self.input.consume(consumed);
                return Ok(());
            }
            if self.input.fill(&mut self.stream).await? == 0 {
                return Err(ReadError::Gone);
            }
        }
    }

    /// Waits until the client has closed its end; bytes it sends ahead are kept for later.
    pub async fn gone(&mut self) {
        loop {
            // A client that pipelines much is read again when its turn comes.
            if self.input.filled().len() > FLUSH_AT || self.stream.readable().await.is_err() {
                return std::future::pending().await;
            }
            match self.input.try_fill(&self.stream) {
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

    /// Writes answer bytes as they came from a backend.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn relay(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
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
