//! Bringing both sides together while a rule change holds their statements.
//!
//! A switch has one point of no return: the version of the rules that is noted as in force. Before it, the intent is
//! saved; a process that ends between the two finds the intent and the old rules, and forgets the intent. After it, the
//! process finds the new rules and completes what the intent says.

#[cfg(test)]
mod division_model;
#[cfg(test)]
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardway_migration::fence;
use shardway_migration::report::Touched;
use shardway_migration::tables::{self, MovingTable};
use shardway_routing::gray;
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, MoveId, Owners, Seen, Side, Topology};
use tokio::sync::RwLockWriteGuard;

use super::starts::starts;
use super::state::{Authority, MoveState, Pending};
use super::touched::Unready;
use super::{Moves, journal, moves};
use crate::control::deadline::Deadline;
use crate::control::rule_file;
use crate::control::steps::{Step, reached};

/// How long a change of the rules waits for repairs to end.
const REPAIRS_MAX: Duration = Duration::from_secs(10);

/// How long statements are held for a target that may be away when double write ends.
const LEVER_MAX: Duration = Duration::from_secs(1);

/// What a switch has done while statements were held.
#[derive(Debug, Default)]
pub struct Crossing {
    /// What was compared; `None` where every row was.
    pub touched: Option<Touched>,
    /// How long each step took, in milliseconds.
    pub steps_ms: BTreeMap<String, u64>,
}

/// How long steps take.
struct Laps {
    began: Instant,
    ms: BTreeMap<String, u64>,
}

impl Laps {
    fn begin() -> Laps {
        Laps { began: Instant::now(), ms: BTreeMap::new() }
    }

    /// A step has ended, and the next begins.
    fn done(&mut self, step: &str) {
        let ended = Instant::now();
        let took = ended.duration_since(std::mem::replace(&mut self.began, ended)).as_millis();
        self.ms.insert(step.to_owned(), u64::try_from(took).unwrap_or(u64::MAX));
    }
}

impl Moves {
    /// Keeps single rows from being copied while the authority may change. To be called before statements are held.
    ///
    /// # Errors
    /// When a repair goes on for too long.
    pub async fn quiet(&self) -> Result<RwLockWriteGuard<'_, ()>, String> {
        let quiet = self.single.quiet(REPAIRS_MAX).await;
        quiet.ok_or_else(|| "a repair is going on; save the file again when it has ended".to_owned())
    }

    /// What can be done before statements are held: makes the journals of double write that is about to begin.
    ///
    /// # Errors
    /// When a server does not let it, or the move does not.
    pub async fn before_hold(&self, old: &Topology, new: &Topology, limit: Duration) -> Result<(), String> {
        let deadline = Deadline::after(limit);
        for (by, of) in moves(new) {
            let before = old.moves.iter().find(|before| before.name == of.name);
            let same =
                |before: &Move| (before.owners(), before.double_write) == (of.owners(), of.double_write);
            if of.double_write == DoubleWrite::Off || before.is_some_and(same) {
                continue;
            }
            self.not_parted(&of.name)?;
            if before.is_some() && !self.of(&of.name).carried.is_empty() {
                return Err(format!(
                    "moves.{} carries some rows only, and double write would bring every row; leave double_write off",
                    of.name
                ));
            }
            let moving = tables::of_move(new, by).map_err(|refusal| refusal.to_string())?;
            let made = deadline.bound("the journals were not made", journal::make_journals(&moving)).await?;
            made.map_err(|error| format!("moves.{}: {error}", of.name))?;
        }
        Ok(())
    }

    /// While all statements on changing moves are held: brings both sides to where the new rules may begin. Returns what that
    /// was, of the moves whose writes go over.
    ///
    /// # Errors
    /// Why the new rules must not take effect. Call [`Moves::undo`] then.
    pub async fn before_publish(
        &self,
        old: &Topology,
        new: &Topology,
        deadline: Deadline,
    ) -> Result<BTreeMap<String, Crossing>, Unready> {
        let mut passed = BTreeMap::new();
        for (by, of) in moves(new) {
            let before = old.moves.iter().find(|before| before.name == of.name);
            if before.is_none() && old.version > 0 {
                // What an earlier move of this name has left to be put back stays known, and that its copies and positions
                // are of other epochs.
                let anew = |state: &MoveState| MoveState {
                    tuned: state.tuned.clone(),
                    epoch: state.epoch,
                    ..MoveState::default()
                };
                self.states.change(&of.name, |state| *state = anew(state))?;
                self.endings.forget(&of.name);
                self.shared.shadow.forget(&of.name);
            }
            let one = self.one(before, of, new, by, deadline).await;
            let one = one.map_err(|unready| unready.of(&of.name))?;
            passed.extend(one.map(|one| (of.name.clone(), one)));
        }
        Ok(passed)
    }

    async fn one(
        &self,
        before: Option<&Move>,
        of: &Move,
        new: &Topology,
        by: MoveId,
        deadline: Deadline,
    ) -> Result<Option<Crossing>, Unready> {
        let was = before.map_or(DoubleWrite::Off, |before| before.double_write);
        let owner = before.map_or(of.writes, |before| before.writes);
        let owners = before.map_or(of.owners(), Move::owners);
        let (on, flips) = (of.double_write != DoubleWrite::Off, owners != of.owners());
        if !flips && (was != DoubleWrite::Off) == on {
            return Ok(None);
        }
        let moving = tables::of_move(new, by).map_err(|refusal| refusal.to_string())?;
        let is_seen = owners.sides().any(|side| of.capture.seen(side) != Seen::Not);
        if flips && is_seen && self.tails(&of.name).is_empty() {
            return Err("its streams are not followed, so nobody can tell what the other side lacks".into());
        }
        let mut laps = Laps::begin();
        if flips || on {
            self.pass_fences(&of.name, owners, &moving, deadline).await?;
        }
        laps.done("fence");
        // Nothing that was written under the old rules may be on its way when the new ones begin.
        let caught_up = async {
            self.streams_catch_up(&of.name).await?;
            if was != DoubleWrite::Off {
                journal::drain(&self.shared, &moving, owner).await?;
            }
            Ok::<_, tables::WorkError>(())
        };
        // An operator's lever for when the target is away. The source has every row, and its journal what the target lacks.
        if !on && !flips && owner == Side::Source {
            let caught_up = tokio::time::timeout(deadline.left().min(LEVER_MAX), caught_up).await;
            self.endings.forget(&of.name);
            self.states.change(&of.name, |state| {
                state.is_kept_by_double_write = false;
                state.is_behind_double_write = !matches!(caught_up, Ok(Ok(())));
            })?;
            return Ok(None);
        }
        let caught_up = deadline.bound("the other side had not caught up", caught_up).await?;
        caught_up.map_err(|error| format!("the other side cannot be brought up to date: {error}"))?;
        laps.done("catch_up");
        reached(Step::Drain).await;
        if on {
            self.tails(&of.name).iter().for_each(|tail| tail.guard());
        }
        let is_degraded = of.capture.is_degraded(owner);
        if let (true, Some(before)) = (flips && is_degraded, before) {
            let proved =
                deadline.bound("not every row was compared", self.prove_equal(before, &moving)).await;
            proved.map_err(|late| refusal::NOT_PROVED.because(late).to_string())??;
        }
        if flips {
            let touched = match is_degraded {
                // That has looked at every row.
                true => None,
                false => Some(self.were_carried(&of.name, &moving, owner, deadline).await?),
            };
            laps.done("compare");
            self.intend(owners, of, by, new, &moving, deadline).await?;
            laps.done("positions");
            deadline.bound("its streams had not stopped", self.unfollow(&of.name)).await?;
            reached(Step::Unfollow).await;
            laps.done("stop_streams");
            return Ok(Some(Crossing { touched, steps_ms: laps.ms }));
        }
        self.endings.forget(&of.name);
        self.states.change(&of.name, |state| match on {
            // What the journal holds is healed as ever.
            true => {
                state.is_behind_double_write = false;
                // What was deleted before is on the target still.
                state.unproved_since = is_degraded.then_some(new.version);
            }
            false => state.is_kept_by_double_write = false,
        })?;
        Ok(None)
    }

    /// Waits until nothing that was begun before writes to a side that owns keys.
    async fn pass_fences(
        &self,
        name: &str,
        owners: Owners<'_>,
        moving: &[MovingTable],
        deadline: Deadline,
    ) -> Result<(), String> {
        if let Owners::Divided { .. } = owners {
            // Streams write on both sides, over connections that wait for each other: a lock between them would never come.
            let quiet = deadline.bound("the streams had not caught up", self.streams_catch_up(name)).await?;
            quiet.map_err(|error| format!("the sides cannot be brought up to date: {error}"))?;
        }
        for side in owners.sides() {
            let passed = fence::pass(moving, side, deadline.left());
            let passed = deadline.bound("what was begun before had not ended", passed).await?;
            passed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn streams_catch_up(&self, name: &str) -> Result<(), tables::WorkError> {
        for tail in self.tails(name) {
            tail.catch_up().await?;
        }
        Ok(())
    }

    /// Saves what a switch is about to do, if the rows that go over are their owners'.
    async fn intend(
        &self,
        before: Owners<'_>,
        of: &Move,
        by: MoveId,
        new: &Topology,
        moving: &[MovingTable],
        deadline: Deadline,
    ) -> Result<(), String> {
        if let Owners::Divided { .. } = before {
            self.owners_are_right(&of.name)?;
        }
        let starts = starts(before, of, by, new, moving, deadline);
        let starts = deadline.bound("the servers had not answered", starts).await??;
        reached(Step::Position).await;
        {
            // From here on no event but the switch's own counts, so what is asked now stays so.
            let _one_at_a_time = deadline.bound("another event had not ended", self.events.lock()).await?;
            let to = Authority::from(of.owners());
            let (next, _) = self.of(&of.name).state.on(to.event()).map_err(|no| no.to_string())?;
            debug_assert_eq!(next.phase().authority(), of.writes);
            self.states.change(&of.name, |state| {
                state.pending = Some(Pending {
                    to,
                    epoch: state.epoch + 1,
                    starts,
                    is_kept_by_double_write: of.double_write != DoubleWrite::Off,
                    parted: None,
                });
            })?;
        }
        reached(Step::Intent).await;
        Ok(())
    }

    /// Right before the new rules are in force: reads that begin to go to both sides shall find there what was written
    /// while they did not.
    pub fn before_division(&self, old: &Topology, new: &Topology) {
        for (_, of) in moves(new) {
            let divided = old.moves.iter().any(|before| before.name == of.name && gray::divides(before));
            if gray::divides(of) && !divided && self.shared.followed.carries(&of.name) {
                self.shared.followed.leave(self.shared.doubt(new, of));
            }
        }
    }

    /// The new rules are in force.
    pub async fn after_publish(self: &Arc<Self>, new: &Topology) {
        for note in rule_file::notes(new, &self.shared.config.users) {
            tracing::warn!(version = new.version, note, "these rules may not mean what they say");
        }
        let followed: Vec<String> = self.live().keys().cloned().collect();
        for name in followed.iter().filter(|name| new.moves.iter().all(|of| of.name != **name)) {
            self.unfollow(name).await;
            let work = self.live().remove(name).and_then(|live| live.work);
            work.inspect(tokio::task::JoinHandle::abort);
        }
        for (_, of) in moves(new) {
            self.unguard(of);
            self.settle(of).await;
            if self.of(&of.name).parted.is_some() {
                self.forget_dirty(new, of);
            }
        }
    }

    /// Double write has ended behind a barrier at which the streams had caught up, unless it is noted that they had not.
    fn unguard(&self, of: &Move) {
        if of.double_write == DoubleWrite::Off && !self.of(&of.name).is_behind_double_write {
            self.tails(&of.name).iter().for_each(|tail| tail.unguard());
        }
    }

    /// What double write left behind is in line again: the target has what the journal said, and the streams are past all
    /// that it brought over.
    pub(in crate::control) fn in_line(&self, of: &Move) -> Result<(), String> {
        self.endings.forget(&of.name);
        self.states.change(&of.name, |state| state.is_behind_double_write = false)?;
        self.unguard(of);
        Ok(())
    }

    /// The new rules did not take effect: what was stopped for them goes on.
    pub async fn undo(self: &Arc<Self>, old: &Topology) {
        for (_, of) in moves(old) {
            if of.double_write != DoubleWrite::Off
                && self.of(&of.name).is_behind_double_write
                && let Err(error) = self.in_line(of)
            {
                tracing::error!(r#move = of.name, error, "double write goes on, and gray reads do not");
            }
            self.unguard(of);
            self.settle(of).await;
        }
    }

    /// What was intended has taken place if the rules in force say so, and only then. From one share of divided keys to another
    /// they say so either way; then the streams begin anew where the sides were equal, which is right for both shares.
    async fn settle(self: &Arc<Self>, of: &Move) {
        let Some(pending) = self.of(&of.name).pending else { return };
        if pending.to == of.owners().into() {
            if let Err(error) = self.happen(&of.name, pending.event()).await {
                tracing::error!(
                    r#move = of.name,
                    error,
                    "writes have switched, and their stream is not followed"
                );
            }
            return;
        }
        tracing::info!(r#move = of.name, "forgetting a switch that did not take place");
        if let Err(error) = self.states.change(&of.name, |state| state.pending = None) {
            tracing::error!(r#move = of.name, error, "a switch was not forgotten");
        }
        self.resume_streams(&of.name).await;
    }

    /// Before anything else: completes or forgets the switches that an earlier process left half-way. The rules that it
    /// had in force say which; those in the file may be others.
    ///
    /// # Errors
    /// When a state cannot be saved.
    pub fn recover(&self, in_force: &Topology) -> Result<(), String> {
        for (_, of) in moves(in_force) {
            let Some(pending) = self.of(&of.name).pending else { continue };
            if pending.to == of.owners().into() {
                tracing::info!(r#move = of.name, "completing a switch that a crash left behind");
                self.change(&of.name, pending.event())?;
            } else {
                tracing::info!(r#move = of.name, "forgetting a switch that did not take place");
                self.states.change(&of.name, |state| state.pending = None)?;
            }
        }
        Ok(())
    }

    /// After a start: goes on with every move.
    pub async fn resume_all(self: &Arc<Self>) {
        let snapshot = self.shared.snapshot();
        for (_, of) in moves(&snapshot.topology) {
            self.resume(&of.name).await;
        }
    }
}
