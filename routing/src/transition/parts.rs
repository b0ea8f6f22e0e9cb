//! Which part of a move's statements goes over: everything here is instant, as streams carry what is left out.

use super::{ALL, Changes, Effect, SourceKept};
use crate::gray;
use crate::refusal::{self, Refusal};
use crate::topology::{Functions, Move, Owners, ReadKind, Seen, Side, TableId, Topology};

impl Changes<'_> {
    pub(super) fn parts(&mut self, old: &Move, new: &Move) {
        let (before, now) = (told(self.old, &old.functions), told(self.new, &new.functions));
        if before != now {
            self.add(&format!("moves.{}.functions", new.name), before, now, Effect::Instant, ALL);
        }
        if old.history != new.history {
            let boundary = |of: &Move| {
                of.history.as_ref().map_or("none".to_owned(), |of| format!("{} >= {}", of.column, of.since))
            };
            let rule = format!("moves.{}.history", new.name);
            let effect = self.stale_source(old, new).map_or(Effect::Instant, Effect::Refused);
            self.add(&rule, boundary(old), boundary(new), effect, ALL);
        }
        if old.shadow_reads != new.shadow_reads {
            let percent = |of: &Move| format!("{}%", f64::from(of.shadow_reads) / 100.0);
            self.add(
                &format!("moves.{}.shadow_reads", new.name),
                percent(old),
                percent(new),
                Effect::Instant,
                0,
            );
        }
        if old.lag_max_ms != new.lag_max_ms && !self.is_first() {
            let bound = |of: &Move| of.lag_max_ms.map_or("default".to_owned(), |bound| bound.to_string());
            let rule = format!("moves.{}.lag_max_ms", new.name);
            self.add(&rule, bound(old), bound(new), Effect::Instant, 0);
        }
    }
}

impl Changes<'_> {
    /// Would the source answer reads though it has missed writes of the target, and nobody sees of which keys? Where there is
    /// a stream, that says so itself; a switch finds the source current.
    pub(super) fn stale_source(&self, old: &Move, new: &Move) -> Option<Refusal> {
        let at_target = |of: &Move| of.owners() == Owners::One(Side::Target);
        let is_asked = at_target(old) && at_target(new) && gray::divides(new);
        let is_stale = is_asked
            && new.capture.seen(Side::Target) == Seen::Not
            && self.facts.source_kept(&new.name) == SourceKept::No;
        is_stale.then(|| {
            let why = format!(
                "reads of {}: give the target all of them (reads = 100, no `never`, no `history`)",
                new.name
            );
            refusal::SOURCE_NOT_KEPT.because(why)
        })
    }
}

/// Functions in words that mean the same in every version.
fn told(topology: &Topology, functions: &Functions) -> String {
    let tables = |of: &Vec<TableId>| of.iter().map(|table| topology.full_name(*table)).collect::<Vec<_>>();
    let kinds = |of: &Vec<ReadKind>| of.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
    let parts = [
        ("reads of ", functions.reads_of.as_ref().map(tables)),
        ("writes of ", functions.writes_of.as_ref().map(tables)),
        ("statements ", functions.statements.as_ref().map(kinds)),
        ("accounts ", functions.accounts.clone()),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter_map(|(what, names)| names.map(|names| format!("{what}{}", names.join(", "))))
        .collect();
    if said.is_empty() { "all".to_owned() } else { said.join("; ") }
}
