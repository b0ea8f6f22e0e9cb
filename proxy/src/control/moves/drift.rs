//! What has come to a move's tables after its preflight: a column of one side, a trigger, a foreign key that acts by itself.
//!
//! Double write sees statements and streams see logs; neither sees what a server does to other rows by itself, and a
//! column that came later is not in the images of this process. So both sides are looked at before anything more goes over
//! to the target, and every now and then while rows are written twice. What has been seen once may have done harm: gray
//! reads and the switch wait for a comparison of every row after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_migration::phase::{Phase, State};
use shardway_migration::preflight;
use shardway_migration::preflight::finding::{self, Finding};
use shardway_migration::settings::Settings;
use shardway_migration::tables::{self, End, MovingTable};
use shardway_routing::gray;
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, MoveId, Side, Topology};

use super::starts::servers;
use super::{MoveState, Moves, guards, moves};
use crate::control::Control;
use crate::control::store::now_s;
use crate::control_connection;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long a server may take to answer at all before it counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// How long a change of the rules waits while servers that answer are looked at: busy ones take their time.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// What was found, and when it was there last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Seconds since 1970.
    pub at: u64,
    pub found: String,
}

impl MoveState {
    /// Has something come that no comparison of every row has followed?
    #[must_use]
    pub fn may_differ(&self) -> bool {
        let compared_after = |at: u64| {
            self.last_verify.as_ref().is_some_and(|verified| {
                verified.clean
                    && verified.finished_at > at
                    && matches!(verified.mode.as_str(), "hash" | "exact")
            })
        };
        self.unproved_since.is_some() || self.drift.as_ref().is_some_and(|drift| !compared_after(drift.at))
    }

    /// Are there rows on both sides?
    pub(super) fn is_carried(&self) -> bool {
        !matches!(self.state.phase(), Phase::Draft | Phase::Preflight | Phase::Prepare | Phase::Done)
    }
}

impl Moves {
    /// Before more of a move goes over: looks for what would make its sides differ.
    ///
    /// # Errors
    /// What was found, or that nobody could tell.
    pub async fn look_for_drift(
        &self,
        old: &Topology,
        new: &Topology,
        settings: &Settings,
    ) -> Result<(), String> {
        for (by, of) in moves(new) {
            let before = old.moves.iter().find(|before| before.name == of.name);
            if begins_doubled(before, of) && self.of(&of.name).state.phase() == Phase::Draft {
                let found = occupied(new, by).await;
                found.map_or(Ok(()), |found| Err(format!("moves.{}.double_write: {found}", of.name)))?;
            }
            if goes_over(before, of) && self.of(&of.name).is_carried() {
                let waived = settings.moves.get(&of.name).map(|of| of.waive.clone()).unwrap_or_default();
                let waived = for_now(of, waived);
                let looked = async {
                    all_answer(new, by).await?;
                    let looked = tokio::time::timeout(LOOK_MAX, self.drifted(new, by, &waived)).await;
                    looked.unwrap_or_else(|_| Err(format!("that takes longer than {LOOK_MAX:?}")))
                };
                let unknown = |error| {
                    let why = refusal::NOT_SYNCED.because(format!("its tables cannot be looked at: {error}"));
                    format!("moves.{}: {why}", of.name)
                };
                if let Some(found) = looked.await.map_err(unknown)? {
                    return Err(format!("moves.{}: {}", of.name, refusal::MOVE_DRIFTED.because(found)));
                }
                let takes_over = |side: &Side| before.is_some_and(|before| !before.owners().include(*side));
                for side in of.owners().sides().filter(takes_over) {
                    let can = tokio::time::timeout(LOOK_MAX, guards::can_take_over(new, by, side)).await;
                    let late =
                        |_| refusal::NO_WAY_BACK.because(format!("that takes longer than {LOOK_MAX:?}"));
                    let can = can.map_err(|late_by| late(late_by).to_string()).flatten();
                    can.map_err(|why| format!("moves.{}: {why}", of.name))?;
                }
            }
        }
        Ok(())
    }

    /// Notes what somebody has written past the proxy on the side that does not own it. What cannot be noted is tried again.
    pub(super) fn note_trespasses(&self, name: &str) -> Result<(), String> {
        let tails = self.tails(name);
        let open: Vec<u64> = tails.iter().map(|tail| tail.trespasses()).collect();
        let rows: u64 = open.iter().sum();
        if rows == 0 {
            return Ok(());
        }
        let found = format!(
            "{rows} changes were written past the proxy on the side that does not own their rows, and are carried nowhere"
        );
        tracing::error!(r#move = name, found, "the sides of a move differ");
        self.states.change(name, |state| {
            state.last_error = Some(refusal::NOT_COMPARED.because(found.clone()).to_string());
            state.drift = Some(Drift { at: now_s(), found });
        })?;
        tails.iter().zip(open).for_each(|(tail, rows)| tail.noted(rows));
        Ok(())
    }

    /// No key goes to another owner after that before a comparison of every row. To be called once the streams have caught up.
    pub(super) fn owners_are_right(&self, name: &str) -> Result<(), String> {
        self.note_trespasses(name)?;
        let known = self.of(name);
        match known.drift.as_ref().filter(|_| known.may_differ()) {
            Some(drift) => Err(refusal::NOT_COMPARED.because(drift.found.clone()).to_string()),
            None => Ok(()),
        }
    }

    /// How the authority of a move is followed may not change while it is.
    ///
    /// # Errors
    /// The first move that it would change of.
    pub fn capture_stays(&self, old: &Topology, new: &Topology) -> Result<(), String> {
        for (_, of) in moves(new) {
            let changes =
                old.moves.iter().any(|before| before.name == of.name && before.capture != of.capture);
            let known = self.of(&of.name);
            if changes && known.is_carried() && !matches!(known.state, State::Failed { .. }) {
                return Err(format!(
                    "moves.{}.capture: what follows the move would be taken for something else; finish it, or give a \
                     new move another name",
                    of.name
                ));
            }
        }
        Ok(())
    }

    /// Looks at both sides of a move, and notes what is found.
    async fn drifted(
        &self,
        topology: &Topology,
        by: MoveId,
        waived: &[String],
    ) -> Result<Option<String>, String> {
        let name = &topology.move_of(by).name;
        let findings = preflight::drift(topology, by, waived).await.map_err(|error| error.to_string())?;
        if findings.is_empty() {
            return Ok(None);
        }
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let found = found.join("; ");
        tracing::error!(r#move = name, found, "the tables of a move have changed");
        self.states.change(name, |state| {
            state.drift = Some(Drift { at: now_s(), found: found.clone() });
            state.last_error = Some(refusal::MOVE_DRIFTED.because(found.clone()).to_string());
        })?;
        Ok(Some(found))
    }
}

/// What of the findings that an operator accepts is acceptable now: triggers and events of the source end with a switch, but
/// a division keeps the source, where they would write rows of keys that the target owns.
fn for_now(of: &Move, mut waived: Vec<String>) -> Vec<String> {
    let ends_with_a_switch = [finding::TRIGGER.name, finding::WRITTEN_BY.name];
    waived.retain(|name| of.divided.is_none() || !ends_with_a_switch.contains(&name.as_str()));
    waived
}

/// A silent server is told at once.
async fn all_answer(topology: &Topology, by: MoveId) -> Result<(), String> {
    let moving = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
    let sides = [Side::Source, Side::Target].map(|side| servers(topology, &moving, side));
    let asked = sides.iter().flatten().map(|(backend, server)| async move {
        let answer = async { control_connection::connect(server).await?.disconnect().await };
        match tokio::time::timeout(SILENT_AFTER, answer).await {
            Ok(answer) => answer.map_err(|error| format!("{backend}: {error}")),
            Err(_) => Err(format!("{backend} does not answer")),
        }
    });
    futures_util::future::try_join_all(asked).await.map(drop)
}

/// Before a move carries anything, rows that its target has are none of its own, or old ones. Once rows are written twice
/// nobody could tell them apart. What cannot be asked now is the preflight's to find.
async fn occupied(topology: &Topology, by: MoveId) -> Option<Finding> {
    let moving = tables::of_move(topology, by).ok()?;
    let mut by_server: BTreeMap<(String, u16), Vec<(&MovingTable, &End)>> = BTreeMap::new();
    for table in &moving {
        let is_source = |end: &End| {
            let same = |of: &End| of.server.is_same_process(&end.server) && of.table == end.table;
            table.ends(Side::Source).iter().any(same)
        };
        for end in table.ends(Side::Target).iter().filter(|end| !is_source(end)) {
            let server = (end.server.host.clone(), end.server.port);
            by_server.entry(server).or_default().push((table, end));
        }
    }
    let asked = by_server.values().map(async |ends| {
        control_connection::answer_within(async {
            let mut connection = control_connection::connect(&ends[0].1.server).await?;
            for (table, end) in ends {
                let any = format!("SELECT 1 FROM {} LIMIT 1", end.table);
                if connection.query_first::<u8, _>(any).await?.is_some() {
                    return Ok(Some((*table, *end)));
                }
            }
            connection.disconnect().await?;
            Ok(None)
        })
        .await
    });
    for found in futures_util::future::join_all(asked).await {
        match found {
            Ok(Some((table, end))) => {
                let found = format!("{} on {}", end.table, topology.backend(end.backend).name);
                return Some(finding::TARGET_NOT_EMPTY.of(&table.name, found));
            }
            Ok(None) => {}
            Err(error) => tracing::info!(%error, "whether a target is empty is not known"),
        }
    }
    None
}

fn begins_doubled(before: Option<&Move>, of: &Move) -> bool {
    let doubled = |of: &Move| of.double_write != DoubleWrite::Off;
    doubled(of) && !before.is_some_and(doubled)
}

/// Does double write begin, do gray reads, or do writes go to the other side?
fn goes_over(before: Option<&Move>, of: &Move) -> bool {
    let Some(before) = before else { return begins_doubled(None, of) || gray::divides(of) };
    begins_doubled(Some(before), of)
        || (gray::divides(of) && !gray::divides(before))
        || of.owners() != before.owners()
}

/// Looks at every move that is written or read on both sides, for as long as the process runs.
pub(in crate::control) async fn look_always(control: Arc<Control>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let snapshot = control.shared.snapshot();
        for (by, of) in moves(&snapshot.topology) {
            let is_on_both = of.double_write != DoubleWrite::Off || gray::divides(of) || of.divided.is_some();
            if !is_on_both || !control.moves.of(&of.name).is_carried() {
                continue;
            }
            let waived = for_now(of, control.moves.settings(&of.name).waive);
            if let Err(error) = control.moves.drifted(&snapshot.topology, by, &waived).await {
                tracing::debug!(r#move = of.name, error, "a move's tables cannot be looked at");
            }
        }
    }
}
