//! Idle connections of one worker to one backend.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::Server;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{ConnectError, Connection};
use super::health::Health;

/// How long a statement waits for a free connection.
const WAIT: Duration = Duration::from_secs(10);
/// Idle connections older than this are closed.
const IDLE: Duration = Duration::from_secs(300);

/// What two users of a connection must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The client flags that shape answers (`FOUND_ROWS`, `DEPRECATE_EOF`, …).
    pub capabilities: u32,
    pub purpose: Purpose,
}

/// Who uses a connection; the two never share one, as their session variables never agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client's statements.
    Client,
    /// Row images of the double write.
    Engine,
}

/// The connections of one worker to one backend.
#[derive(Debug)]
pub struct Pool {
    pub name: String,
    pub server: Server,
    pub health: Arc<Health>,
    /// Connections at most.
    pub max: usize,
    permits: Arc<Semaphore>,
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    class: Class,
    permit: OwnedSemaphorePermit,
    since: Instant,
}

/// A connection in use. Given back with [`Checkout::give_back`]; dropped, it is closed.
#[derive(Debug)]
pub struct Checkout {
    pub connection: Connection,
    pool: Rc<Pool>,
    class: Class,
    permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of at most `max` connections.
    #[must_use]
    pub fn new(name: String, server: Server, health: Arc<Health>, max: usize) -> Pool {
        let permits = Arc::new(Semaphore::new(max));
        Pool { name, server, health, max, permits, idle: RefCell::new(Vec::new()) }
    }

    /// An idle connection of the class, or a new one.
    ///
    /// # Errors
    /// When the backend is down, refuses us, or has no free connection in time.
    pub async fn checkout(self: &Rc<Pool>, class: Class) -> Result<Checkout, Refusal> {
        if let Some(found) = self.take_idle(class) {
            return Ok(found);
        }
        let permit = self.permit().await?;
        // Somebody may have given one back while we waited.
        if let Some(found) = self.take_idle(class) {
            return Ok(found);
        }
        let connection = self.connect(class).await?;
        Ok(Checkout { connection, pool: Rc::clone(self), class, permit })
    }

    /// Closes what has been idle for long.
    pub fn reap(&self) {
        self.idle.borrow_mut().retain(|idle| idle.since.elapsed() < IDLE);
    }

    fn take_idle(self: &Rc<Pool>, class: Class) -> Option<Checkout> {
        let mut idle = self.idle.borrow_mut();
        while let Some(place) = idle.iter().rposition(|idle| idle.class == class) {
            let Idle { mut connection, class, permit, .. } = idle.remove(place);
            // A server that restarted or timed us out has closed it; that is seen without a system call.
            if connection.is_alive() {
                return Some(Checkout { connection, pool: Rc::clone(self), class, permit });
            }
        }
        None
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        // All in use or idle in another class: an idle one makes room.
        if !self.idle.borrow().is_empty() {
            self.idle.borrow_mut().remove(0);
        }
        let waiting = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(refusal::POOL_EXHAUSTED.because(format!("backend {}", self.name))),
        }
    }

    async fn connect(&self, class: Class) -> Result<Connection, Refusal> {
        let unavailable = || refusal::BACKEND_DOWN.because(format!("backend {}", self.name));
        if self.health.refuses().is_some() {
            return Err(unavailable());
        }
        match Connection::open(&self.server, class, Arc::clone(&self.health)).await {
            Ok(connection) => {
                self.health.answered(Some(connection.server_version()));
                Ok(connection)
            }
            Err(error) => {
                let told = error.to_string();
                tracing::warn!(backend = self.name, error = told, "cannot connect to a backend");
                if !matches!(error, ConnectError::Refused { .. }) {
                    self.health.failed(&told);
                }
                Err(unavailable())
            }
        }
    }
}

impl Checkout {
    /// The pool it came from: which backend this is.
    #[must_use]
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// For the next user, unless its state is unknown.
    pub fn give_back(mut self) {
        if self.connection.is_reusable() {
            self.connection.input.shrink();
            let idle = Idle {
                connection: self.connection,
                class: self.class,
                permit: self.permit,
                since: Instant::now(),
            };
            self.pool.idle.borrow_mut().push(idle);
        }
    }
}
