//! A TCP relay in front of a database server, which cuts a connection where a test wants it: around one command, of which
//! nobody behind the relay will learn whether it took effect.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::launch::free_port;

/// A relay that runs as long as the process.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

/// Which command a connection is cut at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The first `COMMIT` after a command that contains the armed text.
    Commit,
    /// The command that contains it, if that is a statement or the execution of a prepared one.
    Statement,
}

/// On which side of that command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server never gets it.
    Before,
    /// The server gets it and answers; the answer is lost.
    After,
    /// The server never gets it, and the connection stays until the client hangs up.
    Silence,
}

#[derive(Debug)]
struct Shared {
    armed: Mutex<Option<Armed>>,
    /// Connections that have been cut, and whose server has done what it was told to.
    done: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct Armed {
    text: Vec<u8>,
    at: At,
    cut: Cut,
}

const QUERY: u8 = 0x03;
const EXECUTE: u8 = 0x17;
/// A header and the command's code.
const CODE: usize = 4;

impl Relay {
    /// Starts one in front of a server on loopback, on a thread of its own: tests block theirs.
    ///
    /// # Panics
    /// When there is no port to listen on.
    #[must_use]
    pub fn start(server: u16) -> Relay {
        let port = free_port();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a port to listen on");
        listener.set_nonblocking(true).expect("a listener may be asked without waiting");
        let shared = Arc::new(Shared { armed: Mutex::default(), done: watch::Sender::new(0) });
        let server = SocketAddr::from(([127, 0, 0, 1], server));
        let accepting = accept(listener, server, Arc::clone(&shared));
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        std::thread::spawn(move || runtime.block_on(accepting));
        Relay { port, shared }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the first connection to which this happens, and no other.
    pub fn arm(&self, text: &str, at: At, cut: Cut) {
        *self.shared.armed() = Some(Armed { text: text.as_bytes().to_vec(), at, cut });
    }

    /// Waits until so many connections have been cut since the relay started, and their server has done what it will.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn was_cut(&self, times: u64) {
        let mut done = self.shared.done.subscribe();
        let cut = tokio::time::timeout(Duration::from_secs(60), done.wait_for(|done| *done >= times)).await;
        assert!(cut.is_ok(), "no connection was cut");
    }
}

impl Shared {
    fn armed(&self) -> MutexGuard<'_, Option<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is the connection cut around this packet? It is disarmed then. `marked`: the armed text has come by on it.
    fn cuts(&self, packet: &[u8], marked: &mut bool) -> Option<Cut> {
        let mut armed = self.armed();
        let Armed { text, at, cut } = armed.as_ref()?;
        let contains = packet.windows(text.len()).any(|window| window == text);
        let code = packet.get(CODE).copied();
        let is_it = match at {
            At::Statement => contains && matches!(code, Some(QUERY | EXECUTE)),
            At::Commit => {
                *marked |= contains;
                *marked && code == Some(QUERY) && packet[CODE + 1..].eq_ignore_ascii_case(b"COMMIT")
            }
        };
        let cut = is_it.then_some(*cut)?;
        *armed = None;
        Some(cut)
    }
}

async fn accept(listener: std::net::TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener that does not wait");
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A server that is away is one that hangs up.
            if let Ok(server) = TcpStream::connect(server).await {
                relay(client, server, &shared).await;
            }
        });
    }
}

/// Relays until an end hangs up or the connection is cut.
async fn relay(client: TcpStream, server: TcpStream, shared: &Shared) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let cut = tokio::select! {
        cut = forth(&mut from_client, &mut to_server, shared) => cut,
        _ = tokio::io::copy(&mut from_server, &mut to_client) => None,
    };
    let Some((cut, packet)) = cut else { return };
    if cut == Cut::Silence {
        let _ = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
    }
    drop((from_client, to_client));
    if cut == Cut::After {
        // The server's answer says that it is done.
        let _ = to_server.write_all(&packet).await;
        let _ = from_server.read(&mut [0; 64]).await;
    }
    drop((from_server, to_server));
    shared.done.send_modify(|done| *done += 1);
}

/// Passes a client's packets on. Returns the one at which the connection is cut, which has not been passed on.
async fn forth(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    shared: &Shared,
) -> Option<(Cut, Vec<u8>)> {
    let mut marked = false;
    loop {
        let mut packet = vec![0; CODE];
        client.read_exact(&mut packet).await.ok()?;
        let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]);
        packet.resize(CODE + usize::try_from(length).ok()?, 0);
        client.read_exact(&mut packet[CODE..]).await.ok()?;
        if let Some(cut) = shared.cuts(&packet, &mut marked) {
            return Some((cut, packet));
        }
        server.write_all(&packet).await.ok()?;
    }
}
