//! The MySQL listener: accepts, counts, and deals connections to the workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

use crate::shared::Shared;
use crate::wire::reply;

/// A connection on its way to a worker.
pub type Arrival = (std::net::TcpStream, SocketAddr);

/// A worker's inbox and its load.
#[derive(Debug, Clone)]
pub struct Inbox {
    pub arrivals: UnboundedSender<Arrival>,
    pub sessions: Arc<AtomicUsize>,
}

/// Binds the listener.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the process ends.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, workers: Vec<Inbox>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.sessions.len() >= shared.configured().limits.max_connections {
                    tokio::spawn(turn_away(stream));
                    continue;
                }
                if let Err(error) = hand_over(stream, peer, &workers) {
                    tracing::warn!(%error, "cannot hand a connection to a worker");
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again soon.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// To the worker with the fewest sessions.
fn hand_over(stream: TcpStream, peer: SocketAddr, workers: &[Inbox]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let least = workers.iter().min_by_key(|inbox| inbox.sessions.load(Ordering::Relaxed));
    let inbox = least.ok_or_else(|| io::Error::other("no worker runs"))?;
    inbox.sessions.fetch_add(1, Ordering::Relaxed);
    inbox.arrivals.send((stream, peer)).map_err(|_| io::Error::other("a worker has ended"))
}

async fn turn_away(mut stream: TcpStream) {
    let mut out = Vec::new();
    reply::err(1040, "08004", "Too many connections", &mut 0, &mut out);
    let _ = stream.write_all(&out).await;
}
