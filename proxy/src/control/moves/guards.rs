//! What must hold before writes go to the other side, and what was known when they went.
//!
//! The rules say when the other side has everything (`transition`), a look at its tables that it stays so (`drift`), and
//! catching up that a hold will be short (`nearing`). Here: that the last comparison has said so, and that there is a way
//! back.

use std::collections::BTreeMap;

use shardway_migration::preflight;
use shardway_migration::report::Evidence;
use shardway_migration::settings::Settings;
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{MoveId, Side, Topology};

use super::state::Authority;
use super::{MoveState, Moves, points};
use crate::control::store::now_s;

impl Moves {
    /// Before writes go to the other side: has the last comparison found both sides equal? On the way there it must be
    /// young enough; on the way back its age is no reason to stay.
    ///
    /// # Errors
    /// Why a move may not switch.
    pub fn were_equal(&self, old: &Topology, new: &Topology, settings: &Settings) -> Result<(), String> {
        for (name, from, to) in points::switches(old, new) {
            // What its stream does not see is found, and repaired, while statements are held.
            if old.moves.iter().any(|of| of.name == name && of.capture.is_degraded(of.writes)) {
                continue;
            }
            let max_age = settings.moves.get(&name).cloned().unwrap_or_default().verify.max_age;
            let is_there = from == Authority::Source || to == Authority::Target;
            let max_age_s = is_there.then_some(max_age.as_secs());
            was_equal(&self.of(&name), max_age_s, now_s()).map_err(|why| format!("moves.{name}: {why}"))?;
        }
        Ok(())
    }

    /// What is known of the moves that are about to switch, by name.
    #[must_use]
    pub fn evidence(&self, old: &Topology, new: &Topology) -> BTreeMap<String, Evidence> {
        let of = |(name, _, _): (String, Authority, Authority)| {
            let known = self.of(&name);
            let tables = old.moves.iter().find(|of| of.name == name).map(|of| old.full_names(of));
            let lag = self.streams(&name).and_then(|streams| streams.lag);
            let evidence = Evidence {
                version: new.version,
                lag_ms: lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
                dirty_keys: tables.map_or(0, |tables| self.shared.dirty.extent(&tables).keys),
                mismatches: known.open_mismatches,
                verify: known.last_verify.as_ref().map(|verified| verified.mode.clone()),
                verified_at: known.last_verify.map(|verified| verified.finished_at),
                touched: None,
            };
            (name, evidence)
        };
        points::switches(old, new).into_iter().map(of).collect()
    }
}

fn was_equal(known: &MoveState, max_age_s: Option<u64>, now_s: u64) -> Result<(), Refusal> {
    let Some(verified) = &known.last_verify else {
        // Only the way there begins with a comparison.
        return match max_age_s {
            Some(_) => Err(refusal::NOT_COMPARED.because("no comparison has ended")),
            None => Ok(()),
        };
    };
    if !verified.clean || known.open_mismatches > 0 {
        let rows = verified.different.max(known.open_mismatches);
        return Err(refusal::NOT_COMPARED.because(format!("the last one found {rows} rows that differ")));
    }
    if max_age_s.is_some() && verified.mode == "count" {
        return Err(refusal::NOT_COMPARED.because("the last one only counted rows"));
    }
    let age_s = now_s.saturating_sub(verified.finished_at);
    match max_age_s {
        Some(max_age_s) if age_s > max_age_s => Err(refusal::NOT_COMPARED
            .because(format!("the last one is {age_s} s old, and verify.max_age is {max_age_s} s"))),
        _ => Ok(()),
    }
}

/// Can the side that writes are about to go to be written, and followed back?
///
/// # Errors
/// What its servers lack, or that nobody could tell.
pub(super) async fn can_take_over(topology: &Topology, by: MoveId, to: Side) -> Result<(), String> {
    let findings = preflight::takes_over(topology, by, to).await;
    let findings = findings.map_err(|error| refusal::NO_WAY_BACK.because(error.to_string()).to_string())?;
    if findings.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(refusal::NO_WAY_BACK.because(found.join("; ")).to_string())
}

#[cfg(test)]
mod tests {
    use shardway_migration::report::LastVerify;

    use super::*;

    fn compared(clean: bool, finished_at: u64, open_mismatches: u64) -> MoveState {
        let last = LastVerify { clean, finished_at, different: u64::from(!clean), ..LastVerify::default() };
        MoveState { last_verify: Some(last), open_mismatches, ..MoveState::default() }
    }

    #[test]
    fn a_switch_needs_a_clean_comparison_and_on_the_way_there_a_young_one() {
        let there = Some(60);
        let counted = |of: MoveState| MoveState {
            last_verify: of.last_verify.map(|last| LastVerify { mode: "count".into(), ..last }),
            ..of
        };
        let cases = [
            (compared(true, 940, 0), there, Ok(())),
            (compared(true, 939, 0), there, Err("the last one is 61 s old, and verify.max_age is 60 s")),
            (compared(true, 0, 0), None, Ok(())),
            (counted(compared(true, 999, 0)), there, Err("the last one only counted rows")),
            (counted(compared(true, 999, 0)), None, Ok(())),
            (compared(false, 999, 0), there, Err("the last one found 1 rows that differ")),
            (compared(false, 999, 0), None, Err("the last one found 1 rows that differ")),
            (compared(true, 999, 3), there, Err("the last one found 3 rows that differ")),
            (MoveState::default(), there, Err("no comparison has ended")),
            (MoveState::default(), None, Ok(())),
        ];
        for (known, max_age_s, expected) in cases {
            let said = was_equal(&known, max_age_s, 1_000).map_err(|refusal| refusal.detail.to_string());
            assert_eq!(said, expected.map_err(str::to_owned), "{known:?}");
        }
    }
}
