//! Rules that take effect at once, because somebody declares an emergency.
//!
//! Statements are held for a moment only, so that nothing runs on both sides if that can be had; then the rules are
//! published whoever has not answered. No server is asked: columns are those of the rules in force. The point of no
//! return is the noted version, as for every change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardway_routing::rules;
use shardway_routing::topology::{Owners, Side, TableId, Topology};
use shardway_routing::transition::transition;
use tokio::sync::watch;

use super::{RuleStore, gate_name};
use crate::control::moves::Parting;
use crate::control::rule_file;
use crate::control::steps::{Step, reached};
use crate::gate::GateName;

/// How long statements are held at most before the rules are published without their transactions having ended.
const HOLD: Duration = Duration::from_secs(1);
/// How long single rows that are being healed may take.
const QUIET: Duration = Duration::from_secs(1);

/// An emergency that waits for the rules to be its own, or for somebody to give way to it.
pub struct Emergency<'a>(&'a watch::Sender<usize>);

impl Drop for Emergency<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl RuleStore {
    /// Brings what `edit` makes of the rules in force into force: a text that takes one move's traffic to the source,
    /// whatever the other servers do. Returns the text before and the one after; they are the same where nothing was to be
    /// done.
    ///
    /// # Errors
    /// When the text cannot be made, or may not be.
    pub async fn at_once(
        &self,
        name: &str,
        why: &str,
        edit: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<(String, String), String> {
        let _changing = {
            let _emergency = self.declare_emergency();
            self.changing.lock().await
        };
        let before = self.in_force().ok_or("no rules are in force")?.text;
        let after = edit(&before)?;
        if after == before {
            return Ok((before, after));
        }
        let version = self.desire(&after);
        match self.force(&after, version, name, why).await {
            Ok(()) => {
                self.lock().last_error = None;
                tracing::warn!(version, why, "rules are in force at once");
                Ok((before, after))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// While this is there, changes that have not come to their point of no return end, and are undone.
    pub fn declare_emergency(&self) -> Emergency<'_> {
        self.emergency.send_modify(|waiting| *waiting += 1);
        Emergency(&self.emergency)
    }

    /// Does the work, unless somebody declares an emergency; then it is dropped where it is, and what it has begun is for
    /// the caller to undo.
    ///
    /// # Errors
    /// That it was.
    pub async fn unless_emergency<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let mut emergency = self.emergency.subscribe();
        tokio::select! {
            done = work => Ok(done),
            _ = emergency.wait_for(|waiting| *waiting > 0) => Err(
                "an emergency rollback goes first; what the rule file had then, if it was not in force, is beside it as \
                 *.before-rollback"
                    .to_owned(),
            ),
        }
    }

    async fn force(&self, text: &str, version: u64, name: &str, why: &str) -> Result<(), String> {
        let (mut topology, settings) = rule_file::load(&self.shared.config.rules, text, version)?;
        let before = self.before()?.topology;
        keep_columns(&before, &mut topology)?;
        let change = transition(&before, &topology, &Parting { facts: &self.moves, name });
        let refusals: Vec<String> =
            change.refusals().map(|(change, refusal)| format!("{}: {refusal}", change.rule)).collect();
        if !refusals.is_empty() {
            return Err(refusals.join("\n"));
        }
        // Before anything is held: another event may wait for a server.
        let events = self.moves.no_other_event().await?;
        // Beside what is waited for anyway.
        let point = async {
            if let Some(in_force) = self.in_force() {
                self.moves.points_at_once(&before, &topology, &in_force).await;
            }
        };
        let (quiet, ()) = tokio::join!(tokio::time::timeout(QUIET, self.moves.quiet()), point);
        let is_quiet = matches!(quiet, Ok(Ok(_)));
        let names: Vec<GateName> = change.holds().into_iter().map(gate_name).collect();
        let evidence = self.moves.evidence(&before, &topology);
        let began = Instant::now();
        let held = self.shared.gates.hold(&names, HOLD).await;
        reached(Step::Hold).await;
        let mut open: Vec<String> = held.as_ref().err().map(ToString::to_string).into_iter().collect();
        if !is_quiet {
            open.push("a repair of single rows had not ended".to_owned());
        }
        let open = (!open.is_empty()).then(|| open.join("; "));
        let prepared = self.prepare_to_force(&before, &topology, why, open).await;
        drop(events);
        if let Err(error) = prepared.and_then(|()| self.note(text, version, why)) {
            drop(held);
            self.moves.undo(&before).await;
            return Err(error);
        }
        reached(Step::Journal).await;
        self.shared.publish(topology);
        let settings = Arc::new(settings);
        self.moves.set_settings(Arc::clone(&settings));
        self.lock().settings = settings;
        drop((held, quiet));
        let in_force = self.shared.snapshot();
        self.moves.note_switches(&before, &in_force.topology, began.elapsed(), evidence, BTreeMap::new());
        reached(Step::Publish).await;
        self.moves.after_publish(&self.shared.snapshot().topology).await;
        if let Some(in_force) = self.in_force() {
            self.moves.points_after(&before, in_force);
        }
        Ok(())
    }

    async fn prepare_to_force(
        &self,
        before: &Topology,
        topology: &Topology,
        why: &str,
        open: Option<String>,
    ) -> Result<(), String> {
        for of in &topology.moves {
            let Some(was) = before.moves.iter().find(|was| was.name == of.name) else { continue };
            if was.owners().include(Side::Target) && of.owners() == Owners::One(Side::Source) {
                self.moves.part(before, of, why, open.clone()).await?;
            } else if was.double_write != of.double_write {
                self.moves.stop_keeping(of)?;
            }
        }
        Ok(())
    }
}

/// The columns of every table, as other rules know them; those of the others where one does not fit.
pub(super) fn keep_columns(old: &Topology, new: &mut Topology) -> Result<(), String> {
    let known = |name: &str| {
        let id = (0..).map(TableId).take(old.tables.len()).find(|id| old.full_name(*id) == name)?;
        old.table_of(id).schema.clone()
    };
    let mut told = Ok(());
    for id in (0..).map(TableId).take(new.tables.len()) {
        let name = new.full_name(id);
        if let Some(schema) = known(&name) {
            let attached = rules::attach(new, id, schema).map_err(|error| format!("tables.{name}: {error}"));
            told = told.and(attached);
        }
    }
    told
}
