//! Idle connections of one worker to one server of a backend.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::Server;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{ConnectError, Connection};
use super::health::{Health, InUse};
use super::replicas::Replica;
use super::trust::Kept;

/// How long a statement waits for a free connection.
const WAIT: Duration = Duration::from_secs(10);
/// Idle connections older than this are closed.
const IDLE: Duration = Duration::from_secs(300);
/// How long nobody asks a server for images that has not answered; then one asks, and again nobody for so long.
const SILENCE: Duration = Duration::from_secs(3);

/// What two users of a connection must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The client flags that shape answers (`FOUND_ROWS`, `DEPRECATE_EOF`, …).
    pub capabilities: u32,
    pub purpose: Purpose,
}

/// Who uses a connection; the two never share one, as their session variables never agree. Nor do they wait for each
/// other's: who writes images holds a client's connection meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client's statements.
    Client,
    /// Row images of the double write.
    Engine,
}

impl Purpose {
    /// How long logging in may take. Whoever writes images holds rows.
    pub(super) fn connect_max(self) -> Duration {
        match self {
            Purpose::Client => Duration::from_secs(5),
            Purpose::Engine => Duration::from_millis(1_500),
        }
    }
}

/// Which of a backend's servers it is.
#[derive(Debug, Clone)]
pub enum Role {
    Primary,
    Replica(Arc<Replica>),
}

impl Role {
    fn is(&self, other: &Role) -> bool {
        match (self, other) {
            (Role::Primary, Role::Primary) => true,
            (Role::Replica(one), Role::Replica(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A server of a backend, as a pool needs it.
#[derive(Debug, Clone)]
pub struct Served {
    /// The backend's name.
    pub backend: String,
    pub role: Role,
    pub server: Server,
}

/// The connections of one worker to one server of a backend.
#[derive(Debug)]
pub struct Pool {
    /// The backend's name.
    pub name: String,
    pub role: Role,
    pub server: Server,
    pub health: Arc<Health>,
    /// Connections at most, for each purpose.
    pub max: usize,
    trust: Kept,
    /// To use a connection. Idle ones need none, so that whoever waits is told when one is given back.
    for_clients: Arc<Semaphore>,
    for_engine: Arc<Semaphore>,
    /// When it did not answer somebody who writes images, or one was sent to see whether it does again.
    silent_since: Cell<Option<Instant>>,
    /// As the last client wanted one.
    last_client: Cell<Option<Class>>,
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    class: Class,
    since: Instant,
}

/// A connection in use. Given back with [`Checkout::give_back`]; dropped, it is closed.
#[derive(Debug)]
pub struct Checkout {
    pub connection: Connection,
    pool: Rc<Pool>,
    class: Class,
    _permit: OwnedSemaphorePermit,
    _in_use: InUse,
}

impl Pool {
    /// A pool of at most `max` connections for each purpose.
    #[must_use]
    pub fn new(of: Served, health: Arc<Health>, max: usize) -> Pool {
        let Served { backend: name, role, server } = of;
        let permits = || Arc::new(Semaphore::new(max));
        Pool {
            name,
            role,
            server,
            health,
            max,
            trust: Kept::default(),
            for_clients: permits(),
            for_engine: permits(),
            silent_since: Cell::new(None),
            last_client: Cell::new(None),
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Is it the pool of that server?
    #[must_use]
    pub fn is_of(&self, of: &Served, max: usize) -> bool {
        self.name == of.backend && self.role.is(&of.role) && self.server == of.server && self.max == max
    }

    /// How messages name the server.
    fn title(&self) -> String {
        match self.role {
            Role::Primary => format!("backend {}", self.name),
            Role::Replica(_) => format!("a replica of backend {}", self.name),
        }
    }

    /// An idle connection of the class, or a new one.
    ///
    /// # Errors
    /// When the backend is down, refuses us, or has no free connection in time.
    pub async fn checkout(self: &Rc<Pool>, class: Class) -> Result<Checkout, Refusal> {
        match class.purpose {
            Purpose::Client => self.last_client.set(Some(class)),
            Purpose::Engine if self.is_silent() => {
                return Err(refusal::BACKEND_DOWN.because(self.title()));
            }
            Purpose::Engine => {}
        }
        let permit = self.permit(class.purpose).await?;
        let connection = match self.take_idle(class) {
            Some(idle) => idle,
            None => {
                self.make_room(class.purpose);
                self.connect(class).await?
            }
        };
        let _in_use = InUse::new(&self.health);
        Ok(Checkout { connection, pool: Rc::clone(self), class, _permit: permit, _in_use })
    }

    /// The class of which a client wanted one last.
    #[must_use]
    pub fn last_client(&self) -> Option<Class> {
        self.last_client.get()
    }

    /// Clients' connections that are open, in use or idle.
    #[must_use]
    pub fn of_clients(&self) -> usize {
        let idle = self.idle.borrow();
        let idle = idle.iter().filter(|idle| idle.class.purpose == Purpose::Client).count();
        self.in_use(Purpose::Client) + idle
    }

    /// Opens connections of a client's class until there are so many, or half of those that there may be besides: clients who
    /// come meanwhile shall not wait for them.
    pub async fn warm(&self, class: Class, wanted: usize) {
        let lacking = wanted.min(self.max).saturating_sub(self.of_clients());
        let lacking = lacking.min(self.for_clients.available_permits().div_ceil(2));
        let opened = (0..lacking).map(async |_| {
            let Ok(_permit) = self.for_clients.try_acquire() else { return };
            // Why not is in the log.
            let Ok(connection) = self.connect(class).await else { return };
            self.idle.borrow_mut().push(Idle { connection, class, since: Instant::now() });
        });
        join_all(opened).await;
    }

    /// Somebody who writes images was not answered: the next shall not wait as long, holding rows, for the same.
    pub fn note_silence(&self) {
        self.silent_since.set(Some(Instant::now()));
        // Whether it answers is seen with a new connection.
        self.idle.borrow_mut().retain(|idle| idle.class.purpose != Purpose::Engine);
    }

    /// Somebody who writes images was answered.
    pub fn note_answer(&self) {
        self.silent_since.set(None);
    }

    /// Shall nobody ask for images now? Now and then one is let through.
    fn is_silent(&self) -> bool {
        match self.silent_since.get() {
            None => false,
            Some(since) if since.elapsed() < SILENCE => true,
            Some(_) => {
                self.silent_since.set(Some(Instant::now()));
                false
            }
        }
    }

    /// Closes what has been idle for long.
    pub fn reap(&self) {
        self.idle.borrow_mut().retain(|idle| idle.since.elapsed() < IDLE);
    }

    fn take_idle(&self, class: Class) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(place) = idle.iter().rposition(|idle| idle.class == class) {
            let Idle { mut connection, .. } = idle.remove(place);
            // A server that restarted or timed us out has closed it; that is seen without a system call.
            if connection.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Before a connection is made: of those that idle in other classes so many are closed that there are not too many.
    fn make_room(&self, purpose: Purpose) {
        let in_use = self.in_use(purpose);
        let mut idle = self.idle.borrow_mut();
        let of_purpose = idle.iter().filter(|idle| idle.class.purpose == purpose).count();
        for _ in self.max..in_use + of_purpose {
            if let Some(oldest) = idle.iter().position(|idle| idle.class.purpose == purpose) {
                idle.remove(oldest);
            }
        }
    }

    fn in_use(&self, purpose: Purpose) -> usize {
        self.max.saturating_sub(self.permits(purpose).available_permits())
    }

    fn permits(&self, purpose: Purpose) -> &Arc<Semaphore> {
        match purpose {
            Purpose::Client => &self.for_clients,
            Purpose::Engine => &self.for_engine,
        }
    }

    async fn permit(&self, purpose: Purpose) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = self.permits(purpose);
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Arc::clone(permits).acquire_owned();
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(refusal::POOL_EXHAUSTED.because(self.title())),
        }
    }

    async fn open(&self, class: Class) -> Result<Connection, ConnectError> {
        let trust = self.trust.trust(&self.server);
        let trust = trust.map_err(|what| ConnectError::NoTls { address: self.server.address(), what })?;
        Connection::open(&self.server, trust.as_ref(), class, Arc::clone(&self.health)).await
    }

    async fn connect(&self, class: Class) -> Result<Connection, Refusal> {
        let unavailable = || refusal::BACKEND_DOWN.because(self.title());
        if self.health.refuses().is_some() {
            return Err(unavailable());
        }
        match self.open(class).await {
            Ok(connection) => {
                self.health.answered(Some(connection.server_version()));
                Ok(connection)
            }
            Err(error) => {
                let told = error.to_string();
                tracing::warn!(backend = self.title(), error = told, "cannot connect to a backend");
                if let ConnectError::Unfit { what, .. } = &error {
                    return Err(refusal::BACKEND_UNFIT.because(format!("{}: {what}", self.title())));
                }
                match (error, class.purpose) {
                    (ConnectError::Refused { .. }, _) => {}
                    // It may take longer than that, and be well.
                    (ConnectError::TimedOut { .. }, Purpose::Engine) => self.note_silence(),
                    _ => self.health.failed(&told),
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
            if self.class.purpose == Purpose::Engine {
                self.pool.note_answer();
            }
            self.connection.input.shrink();
            self.connection.is_used_by(None);
            let idle = Idle { connection: self.connection, class: self.class, since: Instant::now() };
            self.pool.idle.borrow_mut().push(idle);
        }
    }
}
