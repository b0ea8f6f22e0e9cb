//! Doing what the phases of a move ask for.
//!
//! An event changes the state, the state is saved, then the actions are done. Work that ends says so with another event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shardway_migration::apply::follow::{Course, Follower, Limits, Trail};
use shardway_migration::apply::progress::StreamName;
use shardway_migration::apply::tail::{Tail, TailState};
use shardway_migration::converge::Converge as _;
use shardway_migration::patience::Patience;
use shardway_migration::phase::{Action, Event, Phase};
use shardway_migration::report;
use shardway_migration::stamps;
use shardway_migration::stream::Missed;
use shardway_migration::tables::{self, WorkError};
use shardway_routing::gray;
use shardway_routing::topology::{DoubleWrite, MoveId, Seen, Side, TableId, Topology};

use super::carried::conditions;
use super::equal::{CatchUp, Repairs};
use super::starts::{positions, servers};
use super::{Live, Moves, find};
use crate::control::steps::{Step, reached};

/// Between two looks at the streams.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A lag below which the sides count as in step.
const IN_STEP: Duration = Duration::from_secs(1);
/// How long a stream may take to stop.
const STOP_MAX: Duration = Duration::from_secs(10);

impl Moves {
    /// Something happened to a move.
    ///
    /// # Errors
    /// When the event means nothing now, or the new state cannot be saved.
    pub(super) fn happen<'a>(
        self: &'a Arc<Self>,
        name: &'a str,
        event: Event,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        // Boxed: work that this starts ends with another event.
        Box::pin(async move {
            let _one_at_a_time = self.events.lock().await;
            let switched = event.is_switch();
            let actions = self.change(name, event)?;
            if switched {
                reached(Step::Reverse).await;
            }
            self.act(name, actions).await;
            Ok(())
        })
    }

    /// Saves what a move has become, and tells what is to be done about it.
    pub(super) fn change(&self, name: &str, event: Event) -> Result<Vec<Action>, String> {
        let before = self.of(name);
        let switched = event.is_switch();
        if matches!(event, Event::Start | Event::Resume) {
            self.not_parted(name)?;
        }
        // What the move becomes is settled already.
        if before.pending.is_some() && !switched {
            return Err("writes are just being switched; ask again in a moment".to_owned());
        }
        let (state, actions) = before.state.on(event).map_err(|refused| refused.to_string())?;
        self.states.change(name, |of| {
            if let Some(pending) = of.pending.take_if(|_| switched) {
                of.epoch = pending.epoch;
                of.starts = pending.starts;
                of.is_kept_by_double_write = pending.is_kept_by_double_write;
                of.parted = pending.parted;
            }
            of.last_error = state.needs_a_person().map(str::to_owned);
            of.state = state;
        })?;
        tracing::info!(r#move = name, state = self.of(name).state.name(), "a move has changed");
        Ok(actions)
    }

    /// After a start, or when a rule change was undone.
    pub(super) async fn resume(self: &Arc<Self>, name: &str) {
        let _one_at_a_time = self.events.lock().await;
        let actions = self.of(name).state.resume();
        self.act(name, actions).await;
    }

    /// Follows again what the state asks for.
    pub(super) async fn resume_streams(self: &Arc<Self>, name: &str) {
        let _one_at_a_time = self.events.lock().await;
        let mut actions = self.of(name).state.resume();
        actions.retain(|action| matches!(action, Action::Follow(_)));
        self.act(name, actions).await;
    }

    async fn act(self: &Arc<Self>, name: &str, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Work(phase) => self.work(name, phase),
                Action::Rest => self.rest(name),
                Action::Follow(side) => {
                    if let Err(error) = self.follow(name, side) {
                        tracing::error!(r#move = name, error, "the streams of a move cannot be followed");
                    }
                }
                Action::Unfollow => self.unfollow(name).await,
            }
        }
    }

    /// Ends the work of a phase where it is.
    fn rest(&self, name: &str) {
        let Some((work, progress)) =
            self.live().get_mut(name).and_then(|live| Some((live.work.take()?, Arc::clone(&live.progress))))
        else {
            return;
        };
        work.abort();
        if self.of(name).state.phase() == Phase::Copy
            && let Err(error) = self.note_copied(name, &progress)
        {
            tracing::warn!(r#move = name, error, "how far the copy is could not be noted");
        }
    }

    /// Follows the streams of a side that owns writes, unless that is done already.
    fn follow(&self, name: &str, authority: Side) -> Result<(), String> {
        let snapshot = self.shared.snapshot();
        if snapshot.topology.version == 0 {
            // The process is starting: every move is gone on with when its rules are in force.
            return Ok(());
        }
        let (by, of) = find(&snapshot.topology, name)?;
        let trail = match of.capture.seen(authority) {
            Seen::Not => return Ok(()),
            Seen::ByLog => Trail::Log,
            Seen::ByColumn(column) => Trail::Stamps(self.stamps(name, column)),
        };
        let follows = |live: &Live| live.followers.iter().any(|follower| follower.authority == authority);
        if self.live().get(name).is_some_and(follows) {
            return Ok(());
        }
        let moving = Arc::new(self.moving(&snapshot.topology, by).map_err(|error| error.to_string())?);
        let state = self.of(name);
        let settings = self.settings(name).apply;
        let limits = Limits {
            parallel: settings.parallel as usize,
            batch_rows: settings.batch_rows as usize,
            batch_bytes: usize::try_from(settings.batch_bytes).unwrap_or(usize::MAX),
        };
        let mut followers = Vec::new();
        for (backend, server) in servers(&snapshot.topology, &moving, authority) {
            let start = state.starts.get(&backend).cloned();
            let start = start.ok_or_else(|| format!("nobody noted where the stream of {backend} begins"))?;
            followers.push(Follower::start(Course {
                stream: StreamName::new(name, state.epoch, &backend),
                server,
                authority,
                tables: Arc::clone(&moving),
                trail: trail.clone(),
                start,
                limits,
            }));
        }
        let is_doubled = of.double_write != DoubleWrite::Off;
        if is_doubled || state.is_behind_double_write {
            followers.iter().for_each(|follower: &Follower| follower.tail.guard());
        }
        // What was left to the streams before they stopped, or before this process, nobody remembers.
        let is_left = trail == Trail::Log && (is_doubled || gray::divides(of));
        let left = is_left.then(|| self.shared.doubt(&snapshot.topology, of));
        self.live().entry(name.to_owned()).or_default().followers.extend(followers);
        self.shared.followed.set(name, self.tails(name));
        left.into_iter().for_each(|left| self.shared.followed.leave(left));
        Ok(())
    }

    /// How rows of a move are followed by their stamps.
    fn stamps(&self, name: &str, column: &str) -> stamps::Rule {
        let settings = self.settings(name).apply;
        stamps::Rule { column: column.to_owned(), overlap: settings.overlap, every: settings.every }
    }

    /// Stops every stream of a move and waits until it has stopped. One that a silent server keeps from stopping is cut
    /// off, as by a crash: what it has not committed, its server undoes.
    pub(super) async fn unfollow(&self, name: &str) {
        self.shared.followed.set(name, Vec::new());
        let followers = self.live().get_mut(name).map(|live| std::mem::take(&mut live.followers));
        let stopped = join_all(followers.unwrap_or_default().into_iter().map(Follower::stop));
        if tokio::time::timeout(STOP_MAX, stopped).await.is_err() {
            tracing::warn!(r#move = name, "a stream did not stop in time and was cut off");
        }
    }

    /// Begins the work of a phase.
    fn work(self: &Arc<Self>, name: &str, phase: Phase) {
        let (moves, owned) = (Arc::clone(self), name.to_owned());
        let work = tokio::spawn(async move {
            let event = match moves.patiently(&owned, phase).await {
                Ok(()) => Event::Done,
                Err(error) => {
                    let reason = error.to_string();
                    tracing::error!(r#move = owned, %phase, reason, "a move needs help");
                    match error {
                        WorkError::Away(reason) => Event::Away(reason),
                        _ => Event::Failed(reason),
                    }
                }
            };
            // Taken out first: what the event starts must not end this task, which is about to end by itself.
            moves.live().entry(owned.clone()).or_default().work = None;
            if let Err(error) = moves.happen(&owned, event).await {
                tracing::debug!(r#move = owned, error, "the end of a phase came too late");
            }
        });
        let before = self.live().entry(name.to_owned()).or_default().work.replace(work);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Once rows are on their way, a server that is away is waited for. Before that somebody is waiting to be told.
    async fn patiently(self: &Arc<Self>, name: &str, phase: Phase) -> Result<(), WorkError> {
        let mut patience = Patience::new(self.settings(name).wait);
        loop {
            self.waits(name, None);
            reached(Step::Work(phase)).await;
            match self.phase(name, phase).await {
                Err(error) if phase.is_patient() => {
                    self.note_failures(name, 1);
                    patience.came_to(self.progress(name).map_or(0, |of| of.rows().0));
                    let work = format!("the phase {phase} of {name}");
                    self.waits(name, Some(format!("another try at {work}: {error}")));
                    patience.after(&work, error).await?;
                }
                done => {
                    self.waits(name, None);
                    return done;
                }
            }
        }
    }

    async fn phase(self: &Arc<Self>, name: &str, phase: Phase) -> Result<(), WorkError> {
        let snapshot = self.shared.snapshot();
        let (by, of) = find(&snapshot.topology, name).map_err(WorkError::Stopped)?;
        let topology = &snapshot.topology;
        let needs_streams = phase.follows().iter().any(|side| of.capture.seen(*side) != Seen::Not);
        if needs_streams && self.tails(name).is_empty() {
            // Without them everything would look as if it were in step.
            return Err(WorkError::Interrupted("its streams are not followed yet".into()));
        }
        if matches!(phase, Phase::Copy | Phase::CatchUp | Phase::Index) {
            // While it rested, the servers had their own values.
            self.tune(name, topology, by).await?;
        }
        match phase {
            Phase::Preflight => self.preflight(name).await.map_err(WorkError::Stopped),
            Phase::Prepare => self.prepare(name, topology, by).await.map_err(WorkError::Stopped),
            Phase::Index => self.indexes(name, topology, by).await,
            Phase::Finishing => {
                self.restore(name, topology, by).await?;
                self.note_leftovers(topology, by).await
            }
            Phase::Capture => self.capture(name, topology, by).await.map_err(WorkError::Stopped),
            Phase::Copy => self.copy(name, topology, by).await,
            Phase::CatchUp => self.catch_up(topology, by).await,
            Phase::Verify => self.equal(name).await,
            Phase::Draft | Phase::Synced | Phase::Divided | Phase::ReverseSync | Phase::Done => Ok(()),
        }
    }

    /// Notes where the streams begin, before the first row is read.
    async fn capture(&self, name: &str, topology: &Topology, by: MoveId) -> Result<(), String> {
        let of = topology.move_of(by);
        let moving = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
        let carried = conditions(topology, by, &self.settings(name).copy)?;
        match of.capture.seen(Side::Source) {
            Seen::ByColumn(column) => {
                self.stamps(name, column).fits(&moving).map_err(|error| error.to_string())?;
            }
            Seen::Not if of.double_write == DoubleWrite::Off => {
                return Err(format!(
                    "without a stream the copy needs double write in force: set double_write of {name} first"
                ));
            }
            Seen::ByLog | Seen::Not => {}
        }
        let starts = positions(topology, of, &moving, Side::Source).await?;
        self.states.change(name, |state| {
            state.epoch += 1;
            state.starts = starts;
            state.carried = carried;
            state.copied = report::Progress::default();
            state.is_kept_by_double_write = of.double_write != DoubleWrite::Off;
        })
    }

    async fn catch_up(&self, topology: &Topology, by: MoveId) -> Result<(), WorkError> {
        let of = topology.move_of(by);
        let moving = self.moving(topology, by)?;
        let converge = CatchUp { moves: self, moving: &moving, of, repairs: Repairs::Unlocked };
        loop {
            converge.converge().await?;
            let tails = self.tails(&of.name);
            if tails.iter().all(|tail| tail.lag().is_some_and(|lag| lag < IN_STEP)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks after the streams for as long as the process runs.
    pub(in crate::control) async fn watch_streams(self: Arc<Self>) {
        let mut known = BTreeSet::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let snapshot = self.shared.snapshot();
            for of in &snapshot.topology.moves {
                // Without its columns nothing can be followed; a server that was away when the rules came tells them later.
                let has_columns = |id: &TableId| snapshot.topology.table_of(*id).schema.is_some();
                if !of.tables.iter().all(has_columns) {
                    known.remove(&of.name);
                } else if self.of(&of.name).pending.is_none() && known.insert(of.name.clone()) {
                    self.resume_streams(&of.name).await;
                }
                let stopped = |tail: &Arc<Tail>| match tail.state() {
                    TailState::Stopped { reason, missed: Missed::There } => {
                        Some(Event::StreamStopped(reason))
                    }
                    TailState::Stopped { reason, missed: Missed::Gone } => Some(Event::StreamLost(reason)),
                    _ => None,
                };
                let event = self.tails(&of.name).iter().find_map(stopped);
                let Some(event) = event else { continue };
                if let Err(error) = self.happen(&of.name, event).await {
                    tracing::debug!(r#move = of.name, error, "a stopped stream changes nothing");
                }
            }
        }
    }
}
