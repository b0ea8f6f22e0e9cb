//! What others may ask of a stream that is being applied: to wait for a mark, to guard a chunk, how far behind it is, what
//! it wrote last.

mod beats;
mod open;
mod together;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shardway_routing::topology::Server;
use tokio::sync::{Notify, oneshot};

use super::batch::Batch;
use super::marking::{Marking, Purpose};
use super::windows::{WindowId, Windows};
use crate::image::Key;
use crate::lately::Lately;
use crate::mark::Token;
use crate::position::Position;
use crate::stream::Missed;
use crate::tables::WorkError;
use beats::Beats;

/// How a stream is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailState {
    Connecting,
    Following,
    /// It begins anew after a pause.
    Waiting {
        reason: String,
    },
    /// For good.
    Stopped {
        reason: String,
        missed: Missed,
    },
}

/// What somebody wants of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concern {
    Nobody,
    /// To know which changes came before it and which after.
    Order,
    /// That everything before it has been applied.
    Everything,
}

/// Keys that the stream touched between a chunk's marks.
pub type Touched = std::collections::HashSet<Key>;

/// One followed stream, as others see it.
#[derive(Debug)]
pub struct Tail {
    server: Server,
    pub(super) marking: Marking,
    /// Changes applied since the start, before they were folded together.
    pub applied_changes: AtomicU64,
    /// Times that the stream failed and began anew.
    pub failures: AtomicU64,
    /// Changes of rows that the followed side does not own, until somebody notes them.
    trespasses: AtomicU64,
    /// Whether double write may have brought newer rows than the stream is at.
    is_guarded: AtomicBool,
    /// What it wrote last.
    pub lately: Lately,
    together: together::Together,
    inside: Mutex<Inside>,
    /// Something that somebody may wait for has happened.
    changed: Notify,
}

#[derive(Debug)]
struct Inside {
    state: TailState,
    windows: Windows,
    closing: HashMap<WindowId, oneshot::Sender<Touched>>,
    waiting: HashMap<Token, oneshot::Sender<()>>,
    position: Option<Position>,
    beats: Beats,
    lag: Option<Duration>,
    /// When the last heartbeat that came by was written.
    arrived: Option<Instant>,
}

impl std::fmt::Display for TailState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TailState::Connecting => f.write_str("connecting"),
            TailState::Following => f.write_str("following"),
            TailState::Waiting { reason } => write!(f, "waiting to begin anew: {reason}"),
            TailState::Stopped { reason, .. } => write!(f, "stopped: {reason}"),
        }
    }
}

impl Tail {
    pub(super) fn new(server: Server, marking: Marking) -> Tail {
        let inside = Inside {
            state: TailState::Connecting,
            windows: Windows::default(),
            closing: HashMap::new(),
            waiting: HashMap::new(),
            position: None,
            beats: Beats::default(),
            lag: None,
            arrived: None,
        };
        Tail {
            server,
            marking,
            applied_changes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            trespasses: AtomicU64::new(0),
            is_guarded: AtomicBool::new(false),
            lately: Lately::default(),
            together: together::Together::default(),
            inside: Mutex::new(inside),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server that is followed.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Does the stream bring over whatever is written, deletions too?
    #[must_use]
    pub fn brings_everything(&self) -> bool {
        matches!(self.marking, Marking::Logged(_))
    }

    /// From the next batch on, no event is written over a newer row. To be called before double write begins.
    pub fn guard(&self) {
        self.is_guarded.store(true, Ordering::Release);
    }

    /// No row is ahead of the stream any more. To be called when it has caught up, while statements are held and double
    /// write has ended: under guard a stream that nothing runs ahead of writes row by row, and falls behind.
    pub fn unguard(&self) {
        self.is_guarded.store(false, Ordering::Release);
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.is_guarded.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn state(&self) -> TailState {
        self.lock().state.clone()
    }

    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.lock().position.clone()
    }

    /// How far the other side is behind. `None`: not known, which counts as too much.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        let inside = self.lock();
        let waiting = inside.beats.oldest().map(|since| since.elapsed());
        // A heartbeat on its way makes the lag at least as old as it is.
        inside.lag.map(|lag| waiting.map_or(lag, |waiting| lag.max(waiting)))
    }

    /// What was committed longer ago than this has been applied. Unlike [`Tail::lag`] it grows until the next heartbeat.
    #[must_use]
    pub fn arrived(&self) -> Option<Duration> {
        self.lock().arrived.map(|written| written.elapsed())
    }

    /// Returns once everything that was committed before the call has been applied.
    ///
    /// # Errors
    /// When the mark cannot be written or the stream stops.
    pub async fn catch_up(&self) -> Result<(), WorkError> {
        let token = token();
        let (sender, seen) = oneshot::channel();
        {
            let mut inside = self.lock();
            if let TailState::Stopped { .. } = inside.state {
                drop(inside);
                return Err(self.stopped_because());
            }
            // Nobody waits for those that were given up.
            inside.waiting.retain(|_, waiting| !waiting.is_closed());
            inside.waiting.insert(token, sender);
        }
        if let Err(error) = self.mark("catch-up", token, Purpose::CatchUp).await {
            self.lock().waiting.remove(&token);
            return Err(error);
        }
        seen.await.map_err(|_| self.stopped_because())
    }

    /// Asks for a mark behind everything that has been committed.
    async fn mark(&self, slot: &str, token: Token, purpose: Purpose) -> Result<(), WorkError> {
        match &self.marking {
            Marking::Logged(marks) => marks.write(slot, token, purpose).await,
            Marking::Passed(passed) => {
                passed.ask(token, purpose);
                Ok(())
            }
        }
    }

    pub(super) async fn beat(&self) -> Result<(), WorkError> {
        let token = token();
        self.lock().beats.written(token, Instant::now());
        self.mark("heartbeat", token, Purpose::Heartbeat).await
    }

    /// A row was written on the side that does not own it. It is carried nowhere.
    pub(super) fn trespassed(&self) {
        self.trespasses.fetch_add(1, Ordering::Relaxed);
    }

    /// Such changes that nobody has noted yet.
    pub fn trespasses(&self) -> u64 {
        self.trespasses.load(Ordering::Relaxed)
    }

    /// So many of them are noted.
    pub fn noted(&self, trespasses: u64) {
        self.trespasses.fetch_sub(trespasses, Ordering::Relaxed);
    }

    pub(super) fn follows(&self, from: Position) {
        let mut inside = self.lock();
        if !matches!(inside.state, TailState::Stopped { .. }) {
            inside.state = TailState::Following;
        }
        inside.position = Some(from);
        self.changed.notify_waiters();
    }

    /// The stream begins anew: what windows have collected is lost, and marks may come by again.
    pub(super) fn began_anew(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut inside = self.lock();
        if !matches!(inside.state, TailState::Stopped { .. }) {
            inside.state = TailState::Waiting { reason: reason.to_owned() };
        }
        for id in inside.windows.restart() {
            inside.closing.remove(&id);
        }
        self.changed.notify_waiters();
    }

    pub(super) fn stop(&self, reason: &str, missed: Missed) {
        let mut inside = self.lock();
        if !matches!(inside.state, TailState::Stopped { .. }) {
            inside.state = TailState::Stopped { reason: reason.to_owned(), missed };
        }
        // Whoever waits learns it by the closed channel.
        inside.waiting.clear();
        inside.closing.clear();
        (inside.lag, inside.arrived) = (None, None);
        self.changed.notify_waiters();
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.lock().state, TailState::Stopped { .. })
    }

    pub(super) async fn stopped(&self) {
        self.until(|inside| matches!(inside.state, TailState::Stopped { .. })).await;
    }

    pub(super) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopped() => {}
        }
    }

    async fn until(&self, mut is_so: impl FnMut(&Inside) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that nothing is missed between the two.
            changed.as_mut().enable();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn stopped_because(&self) -> WorkError {
        match self.state() {
            TailState::Stopped { reason, .. } => WorkError::Stopped(reason),
            TailState::Waiting { reason } => {
                WorkError::Interrupted(format!("the stream began anew: {reason}"))
            }
            _ => WorkError::Interrupted("the stream began anew".into()),
        }
    }

    /// What the worker must do before it calls [`Tail::at_mark`].
    pub(super) fn concern(&self, token: Token) -> Concern {
        let inside = self.lock();
        if inside.waiting.contains_key(&token)
            || inside.windows.closes_at(token)
            || inside.beats.waits_for(token)
        {
            Concern::Everything
        } else if inside.windows.opens_at(token) {
            Concern::Order
        } else {
            Concern::Nobody
        }
    }

    /// Everything before the mark has been applied.
    pub(super) fn at_mark(&self, token: Token) {
        let mut inside = self.lock();
        if let Some(written) = inside.beats.seen(token) {
            inside.lag = Some(written.elapsed());
            inside.arrived = Some(written);
        }
        if let Some(waiting) = inside.waiting.remove(&token) {
            let _ = waiting.send(());
        }
        for (id, touched) in inside.windows.at_mark(token) {
            let taken = inside.closing.remove(&id).is_some_and(|closing| closing.send(touched).is_ok());
            if !taken {
                inside.windows.finish(id);
            }
        }
    }

    pub(super) fn touch(&self, table: usize, keys: &[Key]) {
        self.lock().windows.touch(table, keys.iter());
    }

    /// Waits until no chunk that is being inserted holds a key of the batch.
    pub(super) async fn past_guards(&self, batch: &Batch) {
        let keys: Vec<(usize, &Key)> = batch.keys().collect();
        self.until(|inside| inside.windows.guards(keys.iter().copied()).is_empty()).await;
    }

    pub(super) fn applied(&self, position: &Position, changes: u64) {
        self.applied_changes.fetch_add(changes, Ordering::Relaxed);
        self.lock().position = Some(position.clone());
    }

    fn finish(&self, id: WindowId) {
        let mut inside = self.lock();
        inside.windows.finish(id);
        inside.closing.remove(&id);
        self.changed.notify_waiters();
    }
}

fn token() -> Token {
    Token(rand::random())
}
