//! What others may know of a session, and do to it: the process list and `KILL`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shardway_routing::topology::Server;
use tokio::sync::Notify;

/// How much of a statement the process list keeps.
const SHOWN: usize = 256;

/// How long servers have to answer a session that has been killed. Who has not answered by then is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A client's session as seen from outside.
#[derive(Debug)]
pub struct SessionInfo {
    pub id: u64,
    pub peer: SocketAddr,
    /// Wakes the session when it has been killed.
    pub killed: Notify,
    is_killed: AtomicBool,
    /// Its servers have had their time.
    is_cut_off: AtomicBool,
    cut_off: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    user: String,
    database: Option<String>,
    /// The current statement, cut off; reused from statement to statement.
    statement: Vec<u8>,
    busy: bool,
    since: Instant,
    /// Backend connections that run the statement.
    running: Vec<(Server, u32)>,
}

/// One line of the process list.
#[derive(Debug, Clone)]
pub struct Described {
    pub id: u64,
    pub user: String,
    pub peer: String,
    pub database: Option<String>,
    pub command: &'static str,
    pub seconds: u64,
    pub statement: Option<String>,
}

impl SessionInfo {
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr) -> SessionInfo {
        let state = State {
            user: "unauthenticated user".to_owned(),
            database: None,
            statement: Vec::new(),
            busy: true,
            since: Instant::now(),
            running: Vec::new(),
        };
        SessionInfo {
            id,
            peer,
            killed: Notify::new(),
            is_killed: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            cut_off: Notify::new(),
            state: Mutex::new(state),
        }
    }

    pub fn logged_in(&self, user: &str) {
        user.clone_into(&mut self.lock().user);
    }

    pub fn uses(&self, database: &str) {
        self.lock().database = Some(database.to_owned());
    }

    /// A statement begins.
    pub fn starts(&self, statement: &[u8]) {
        let mut state = self.lock();
        state.busy = true;
        state.since = Instant::now();
        state.statement.clear();
        state.statement.extend_from_slice(&statement[..statement.len().min(SHOWN)]);
    }

    /// Waits for the client.
    pub fn idle(&self) {
        let mut state = self.lock();
        if state.busy {
            state.busy = false;
            state.since = Instant::now();
        }
    }

    #[must_use]
    pub fn user(&self) -> String {
        self.lock().user.clone()
    }

    #[must_use]
    pub fn describe(&self) -> Described {
        let state = self.lock();
        Described {
            id: self.id,
            user: state.user.clone(),
            peer: self.peer.to_string(),
            database: state.database.clone(),
            command: if state.busy { "Query" } else { "Sleep" },
            seconds: state.since.elapsed().as_secs(),
            statement: state.busy.then(|| String::from_utf8_lossy(&state.statement).into_owned()),
        }
    }

    /// Ends the session as soon as it looks.
    pub fn kill(&self) {
        self.is_killed.store(true, Ordering::Release);
        self.killed.notify_one();
    }

    /// Ends the session and what it runs, also where a server does not say a word any more: its connections are given up
    /// some seconds later, as if the server had closed them.
    pub fn kill_connection(self: &Arc<SessionInfo>) {
        self.kill_query();
        self.kill();
        let info = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER_MAX).await;
            info.is_cut_off.store(true, Ordering::Release);
            info.cut_off.notify_waiters();
        });
    }

    /// Returns when the session's connections are given up.
    pub async fn cut_off(&self) {
        let told = self.cut_off.notified();
        if !self.is_cut_off.load(Ordering::Acquire) {
            told.await;
        }
    }

    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Acquire)
    }

    /// Ends the statement that runs now, on every backend that runs it.
    pub fn kill_query(&self) {
        for (server, id) in self.lock().running.clone() {
            tokio::spawn(async move {
                if let Err(error) = crate::control_connection::kill_query(&server, id).await {
                    tracing::warn!(?server, %error, "cannot kill a statement on a backend");
                }
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a backend connection noted as running the session's statement.
#[derive(Debug)]
pub struct Running {
    info: Arc<SessionInfo>,
    /// Servers count for themselves, so an id alone names no connection.
    connection: (Server, u32),
}

impl Running {
    #[must_use]
    pub fn new(info: &Arc<SessionInfo>, server: Server, id: u32) -> Running {
        let connection = (server, id);
        info.lock().running.push(connection.clone());
        Running { info: Arc::clone(info), connection }
    }

    /// Ends the statement: its client has gone.
    pub fn kill_query(&self) {
        self.info.kill_query();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.info.lock().running.retain(|connection| *connection != self.connection);
    }
}
