//! Before statements are held: both sides are brought close, while clients go on.
//!
//! What is left to do under the hold is what was written meanwhile, so a round that went by quickly says that the hold
//! will be short. The same idea cuts tables over in online schema changes: only when the lag is below a threshold.

use std::time::{Duration, Instant};

use shardway_migration::prepare::Room;
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, Side, Topology};

use super::starts::make_room;
use super::{Moves, journal, moves};
use crate::control::deadline::Deadline;

/// The part of the hold that a round may take and statements be held after it.
const SHARE: u32 = 3;
/// How many times as long as the hold may be, both sides are given to come close.
const PATIENCE: u32 = 5;
/// That time at most.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// How long a counter of the side that is about to own writes waits for who reads the table.
const DEFINITION_WAIT: Duration = Duration::from_secs(1);

/// How long connections may take that clients will need.
const WARM_MAX: Duration = Duration::from_secs(1);

impl Moves {
    /// Catches up, again and again, until a hold of this length is likely to be enough.
    ///
    /// # Errors
    /// When the other side does not catch up, or cannot.
    pub async fn near(&self, old: &Topology, new: &Topology, limit: Duration) -> Result<(), String> {
        for (by, after) in moves(new) {
            if let Some(of) = old.moves.iter().find(|of| of.name == after.name)
                && is_brought_together(of, after)
            {
                let deadline = Deadline::after((limit * PATIENCE).min(PATIENCE_MAX));
                // Under the hold there is little left to raise, and a definition that waits for a long reader keeps
                // everybody else waiting.
                let room = make_room(of.owners(), after, by, new, Room::Ahead, DEFINITION_WAIT).await;
                room.map_err(|error| format!("moves.{}: counters were not raised: {error}", after.name))?;
                // Of the old rules no columns are known right after a start.
                let moving = tables::of_move(new, by).map_err(|refusal| refusal.to_string())?;
                self.near_one(of, &moving, limit / SHARE, deadline).await?;
                self.warm(of, after, new, &moving).await;
            }
        }
        Ok(())
    }

    /// Clients shall find connections where they go.
    async fn warm(&self, before: &Move, after: &Move, topology: &Topology, moving: &[MovingTable]) {
        let backends = |side| {
            let ends = moving.iter().flat_map(move |table| table.ends(side));
            ends.map(|end| topology.backend(end.backend).name.clone()).collect()
        };
        for side in after.owners().sides().filter(|side| !before.owners().include(*side)) {
            let workers = self.shared.config.workers;
            self.shared.warmth.ask(workers, backends(side.other()), backends(side), WARM_MAX).await;
        }
    }

    async fn near_one(
        &self,
        of: &Move,
        moving: &[MovingTable],
        short: Duration,
        deadline: Deadline,
    ) -> Result<(), String> {
        let behind = |why: String| {
            let code = match of.writes {
                Side::Source => &refusal::NOT_SYNCED,
                Side::Target => &refusal::SOURCE_NOT_KEPT,
            };
            format!("moves.{}: {}", of.name, code.because(why))
        };
        let mut last = Duration::MAX;
        while last > short {
            let began = Instant::now();
            match deadline.bound("the other side had not caught up", self.round(of, moving)).await {
                Ok(Ok(())) => last = began.elapsed(),
                Ok(Err(error)) => {
                    return Err(behind(format!("the other side cannot be brought up to date: {error}")));
                }
                // The rounds end, if slowly: the hold itself shows whether it is long enough.
                Err(_) if last < Duration::MAX => break,
                Err(late) => return Err(behind(late)),
            }
        }
        Ok(())
    }

    async fn round(&self, of: &Move, moving: &[MovingTable]) -> Result<(), WorkError> {
        for tail in self.tails(&of.name) {
            tail.catch_up().await?;
        }
        if of.double_write != DoubleWrite::Off {
            journal::catch_up(&self.shared, moving, of.writes).await?;
        }
        Ok(())
    }
}

/// Will the new rules begin with both sides equal? Not where double write ends and the source stays the authority: an
/// operator's lever for when the target is away.
fn is_brought_together(old: &Move, new: &Move) -> bool {
    let (was, on) = (old.double_write != DoubleWrite::Off, new.double_write != DoubleWrite::Off);
    let flips = old.owners() != new.owners();
    flips || (!was && on) || (was && !on && old.writes == Side::Target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_come_together_unless_the_source_merely_ends_double_write() {
        let of = |double_write, writes| Move { double_write, writes, ..Move::idle("shop") };
        let off = |writes| of(DoubleWrite::Off, writes);
        let on = |writes| of(DoubleWrite::Async, writes);
        let (source, target) = (Side::Source, Side::Target);
        let cases = [
            (off(source), off(target), true),
            (on(target), off(source), true),
            (off(source), on(source), true),
            (on(target), off(target), true),
            (on(source), off(source), false),
            (on(source), of(DoubleWrite::Strict, source), false),
            (off(target), off(target), false),
        ];
        for (old, new, expected) in cases {
            assert_eq!(is_brought_together(&old, &new), expected, "{old:?} {new:?}");
        }
    }
}
