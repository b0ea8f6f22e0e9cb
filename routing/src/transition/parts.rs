//! Which part of a move's statements goes over: everything here is instant, as streams carry what is left out.

use super::{ALL, Changes, Effect};
use crate::topology::{Functions, Move, ReadKind, TableId, Topology};

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
            self.add(&rule, boundary(old), boundary(new), Effect::Instant, ALL);
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
