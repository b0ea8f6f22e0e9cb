//! The bytes of a connection, plain or inside TLS.
//!
//! - A plain connection costs what its socket costs: nothing is boxed, copied or flushed for it.
//! - Inside TLS a write ends when everything has gone to the socket, as it does without.
//! - Whoever drops a connection inside TLS tells the other end that it is over, without waiting for it.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::TcpKeepalive;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A host that has gone without a word is noticed after so long.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// How often a connection on which nothing comes is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A connection to a client or to a backend.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// A connection inside TLS.
#[derive(Debug)]
pub struct Secured(TlsStream<TcpStream>);

impl Drop for Secured {
    fn drop(&mut self) {
        // One try: a socket that takes no more is closed without a word.
        let _ = self.0.shutdown().now_or_never();
    }
}

/// Statements may take as long as they need, but not on a host that is not there any more.
///
/// # Errors
/// Whatever the socket reports.
pub fn look_after(socket: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(LOOK_EVERY).with_interval(LOOK_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    // Of what is sent and not acknowledged, too.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
    Ok(())
}

impl Stream {
    #[must_use]
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Stream {
        Stream::Tls(Box::new(Secured(stream.into())))
    }

    /// Waits until there are bytes to read, or the end. None are taken.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub async fn readable(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.readable().await,
            Stream::Tls(secured) => match secured.0.fill_buf().await {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Reads once, waiting for bytes, into the room that `into` has. Returns how many came; 0 means the peer has closed.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read_buf(into).await,
            Stream::Tls(secured) => secured.read(into).await,
        }
    }

    /// Reads once without waiting. `Ok(None)`: nothing has come.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub fn try_read(&mut self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(socket) => match socket.try_read_buf(into) {
                Ok(count) => Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Stream::Tls(secured) => secured.read(into).now_or_never().transpose(),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// Whatever the socket reports.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_all(bytes).await,
            Stream::Tls(secured) => {
                secured.0.write_all(bytes).await?;
                secured.0.flush().await
            }
        }
    }
}

impl Secured {
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let received = match self.0.fill_buf().await {
            Ok(received) => received,
            // Packets say where they end, so an end that TLS did not announce is one like that of a plain socket.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        };
        let count = received.len().min(into.capacity() - into.len());
        into.extend_from_slice(&received[..count]);
        self.0.consume(count);
        Ok(count)
    }
}
