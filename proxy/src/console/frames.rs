//! The client's bytes, handed on so that no read ever holds parts of two packets.
//!
//! The library behind the console frees a packet that it still uses when the next one came with it in the same read,
//! panics on sequence numbers at their end, and has no bound on a packet's size. Here those inputs end the connection.
//! So does a client that is silent for too long; before it has logged in, that is short.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

const HEADER: usize = 4;

/// No command of the console is longer.
const LARGEST: usize = 64 << 10;

/// How long a client may be silent.
pub(super) struct Patience {
    pub logging_in: Duration,
    pub idle: Duration,
    pub logged_in: Arc<AtomicBool>,
}

/// Reads packet by packet.
pub(super) struct Frames<R> {
    from: R,
    patience: Patience,
    silence: Pin<Box<Sleep>>,
    /// Whose time `silence` measures.
    waits_for: WaitsFor,
    part: Part,
}

/// What a silent client has not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    Login,
    Command,
}

/// Where in a packet the next byte belongs.
enum Part {
    /// So many bytes of the header have come.
    Header { bytes: [u8; HEADER], come: usize },
    /// The header is complete, and so many of its bytes are handed on.
    Announced { bytes: [u8; HEADER], passed: usize },
    /// So many bytes of the payload are left.
    Payload { left: usize },
}

const START: Part = Part::Header { bytes: [0; HEADER], come: 0 };

impl<R> Frames<R> {
    /// A reader of whole packets.
    pub(super) fn new(from: R, patience: Patience) -> Frames<R> {
        let silence = Box::pin(sleep(patience.logging_in));
        Frames { from, patience, silence, waits_for: WaitsFor::Login, part: START }
    }

    /// Something came, or the login was accepted. Before that nothing buys a client more time.
    fn restart_silence(&mut self) {
        if self.patience.logged_in.load(Ordering::Acquire) {
            self.waits_for = WaitsFor::Command;
            self.silence.as_mut().reset(Instant::now() + self.patience.idle);
        }
    }
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// As many bytes as came, `Ok(0)` at the end.
    fn poll_some(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = into.filled().len();
        match Pin::new(&mut self.from).poll_read(context, into) {
            Poll::Ready(read) => {
                read?;
                self.restart_silence();
                Poll::Ready(Ok(into.filled().len() - before))
            }
            Poll::Pending => {
                // The answer to the last packet may have logged the client in.
                if self.waits_for == WaitsFor::Login {
                    self.restart_silence();
                }
                if self.silence.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "silent for too long")));
                }
                Poll::Pending
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Frames<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.part {
                Part::Header { bytes, come } => {
                    let (mut bytes, come) = (*bytes, *come);
                    let mut into = ReadBuf::new(&mut bytes[come..]);
                    let more = ready!(this.poll_some(context, &mut into))?;
                    if more == 0 {
                        return Poll::Ready(if come == 0 { Ok(()) } else { Err(cut()) });
                    }
                    this.part = if come + more == HEADER {
                        check(bytes)?;
                        Part::Announced { bytes, passed: 0 }
                    } else {
                        Part::Header { bytes, come: come + more }
                    };
                }
                Part::Announced { bytes, passed } => {
                    let now = (HEADER - *passed).min(out.remaining());
                    out.put_slice(&bytes[*passed..*passed + now]);
                    *passed += now;
                    if *passed == HEADER {
                        let left = length(*bytes);
                        this.part = if left == 0 { START } else { Part::Payload { left } };
                    }
                    return Poll::Ready(Ok(()));
                }
                Part::Payload { left } => {
                    let left = *left;
                    let room = left.min(out.remaining());
                    let mut bounded = ReadBuf::new(out.initialize_unfilled_to(room));
                    let came = ready!(this.poll_some(context, &mut bounded))?;
                    if came == 0 {
                        return Poll::Ready(Err(cut()));
                    }
                    out.advance(came);
                    this.part = if came == left { START } else { Part::Payload { left: left - came } };
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

fn length(header: [u8; HEADER]) -> usize {
    usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16
}

fn check(header: [u8; HEADER]) -> io::Result<()> {
    if length(header) > LARGEST || header[3] == u8::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet that no console command needs"));
    }
    Ok(())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended inside a packet")
}
