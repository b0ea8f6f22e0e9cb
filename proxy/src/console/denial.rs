//! The answer to a wrong password, as servers give it.
//!
//! The library behind the console answers with an error that tools take for another one. Once the console has denied a
//! login, whatever the library writes is dropped, and the client gets the denial in its place.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::wire::reply;

/// Longer names are cut, as no account has one.
const NAME_MAX: usize = 80;

/// Why a login was denied, once it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Denial(Arc<OnceLock<String>>);

impl Denial {
    /// Denies the login.
    pub fn say(&self, user: &str, host: &str, proof: &[u8]) {
        let user: String = user.chars().take(NAME_MAX).collect();
        let using = if proof.is_empty() { "NO" } else { "YES" };
        self.0.get_or_init(|| format!("Access denied for user '{user}'@'{host}' (using password: {using})"));
    }
}

/// Writes to a client until it is denied.
pub(super) struct Answers<W> {
    to: W,
    denial: Denial,
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Yes,
    No,
}

impl<W> Answers<W> {
    /// A buffered writer takes the denial at once.
    pub(super) fn new(to: W, denial: Denial) -> Answers<W> {
        Answers { to, denial, said: Said::No }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Answers<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(denial) = this.denial.0.get() else {
            return Pin::new(&mut this.to).poll_write(context, bytes);
        };
        if this.said == Said::No {
            // The packet that is dropped begins with its header, and that ends with its number.
            let mut number = bytes.get(3).copied().unwrap_or_default();
            let mut packet = Vec::new();
            reply::err(1045, "28000", denial, &mut number, &mut packet);
            ready!(Pin::new(&mut this.to).poll_write(context, &packet))?;
            this.said = Said::Yes;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(context)
    }
}
