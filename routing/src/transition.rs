//! What going from one topology to another means: instantly, behind a barrier, or not at all.
//!
//! Every difference is sorted on its own. A difference that would hide or lose rows is refused with the reason and a
//! remedy; one refused difference keeps the whole file from taking effect. What is not known counts against it.

#[cfg(test)]
mod tests;

mod backends;
mod databases;
mod later;
mod owners;
mod parts;
mod places;

use self::databases::default_of;
use self::places::{authority, described};
use crate::refusal::{self, Refusal};
use crate::topology::{DoubleWrite, IdColumn, Move, Placement, Side, Table, TableId, Topology};

/// What has been done about the moves, which no rule file can say.
pub trait Facts {
    fn synced(&self, move_name: &str) -> Synced;
    fn source_kept(&self, move_name: &str) -> SourceKept;
    fn cleaned(&self, move_name: &str) -> Cleaned;
    fn carried(&self, move_name: &str) -> Carried;
}

/// Have rows of a move's tables gone to the other side, or do they?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    Yes,
    No,
}

/// Has the target every row of the source, and every write since?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    Yes,
    No,
}

/// Has the source received every write since the target owns writes?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKept {
    Yes,
    No,
}

/// Are the rows that have left tables split in place gone from there?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    Yes,
    No,
}

/// Everything that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    pub changes: Vec<Change>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `moves.shop.reads`
    pub rule: String,
    pub from: String,
    pub to: String,
    pub effect: Effect,
    /// Keys of the tables concerned that are affected, in hundredths of a percent.
    pub share: u16,
}

/// How a difference takes effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Instant,
    /// Behind these gates.
    Barrier(Vec<Hold>),
    Refused(Refusal),
}

/// A gate to close.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// A table that rules name, lower case.
    Table { database: String, table: String },
    /// All tables of a database that no rule names.
    Unnamed { database: String },
}

const ALL: u16 = crate::gray::BUCKETS;

impl Change {
    /// One that takes effect at once and sends no key elsewhere.
    #[must_use]
    pub fn instant(rule: String, from: impl Into<String>, to: impl Into<String>) -> Change {
        Change { rule, from: from.into(), to: to.into(), effect: Effect::Instant, share: 0 }
    }
}

impl Transition {
    /// Why the new topology cannot take effect.
    pub fn refusals(&self) -> impl Iterator<Item = (&Change, &Refusal)> {
        self.changes.iter().filter_map(|change| match &change.effect {
            Effect::Refused(refusal) => Some((change, refusal)),
            Effect::Instant | Effect::Barrier(_) => None,
        })
    }

    /// Every gate to close, in order.
    #[must_use]
    pub fn holds(&self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = self
            .changes
            .iter()
            .flat_map(|change| match &change.effect {
                Effect::Barrier(holds) => holds.clone(),
                Effect::Instant | Effect::Refused(_) => Vec::new(),
            })
            .collect();
        holds.sort();
        holds.dedup();
        holds
    }
}

/// Sorts every difference between the rules in force and those that are to come.
#[must_use]
pub fn transition(old: &Topology, new: &Topology, facts: &dyn Facts) -> Transition {
    let mut all = Changes { old, new, facts, changes: Vec::new() };
    all.backends();
    all.databases();
    all.tables();
    all.moves();
    if old.across_shards != new.across_shards {
        let (from, to) = (format!("{:?}", old.across_shards), format!("{:?}", new.across_shards));
        all.add("transactions.across_shards", from, to, Effect::Instant, 0);
    }
    Transition { changes: all.changes }
}

struct Changes<'a> {
    old: &'a Topology,
    new: &'a Topology,
    facts: &'a dyn Facts,
    changes: Vec<Change>,
}

impl Changes<'_> {
    fn add(
        &mut self,
        rule: &str,
        from: impl Into<String>,
        to: impl Into<String>,
        effect: Effect,
        share: u16,
    ) {
        self.changes.push(Change { rule: rule.to_owned(), from: from.into(), to: to.into(), effect, share });
    }

    fn is_first(&self) -> bool {
        self.old.version == 0
    }

    fn tables(&mut self) {
        if self.is_first() {
            return;
        }
        for (id, new) in (0..).map(TableId).zip(&self.new.tables) {
            let database = &self.new.database_of(new.database).name;
            let before = self.old.database(database).and_then(|database| self.old.table(database, &new.name));
            let was = match before {
                Some(before) => authority(self.old, self.old.table_of(before)),
                None => default_of(self.old, database).map(|backend| format!("{backend}.{}", new.name)),
            };
            if let Some(old) = before.map(|before| self.old.table_of(before)).filter(|old| old.id != new.id) {
                let rule = format!("tables.{}.id", new.name);
                let is_divided =
                    new.moving.as_ref().is_some_and(|of| self.new.move_of(of.by).divided.is_some());
                let effect = if is_divided {
                    Effect::Refused(refusal::INDIVISIBLE.because(format!("other ids of {}", new.name)))
                } else {
                    Effect::Instant
                };
                self.add(&rule, generated(old), generated(new), effect, 0);
            }
            let is = authority(self.new, new);
            let moves = |topology: &Topology, table: &Table| {
                table.moving.as_ref().map(|moving| topology.move_of(moving.by).name.clone())
            };
            let moved = before.and_then(|before| moves(self.old, self.old.table_of(before)));
            if was.is_some() && was != is {
                let later = before.and_then(|before| self.later_units(self.old.table_of(before), new));
                if later.is_some() {
                    continue;
                }
                // Within one move the authority changes by its own rule.
                if moved.is_some() && moved == moves(self.new, new) && self.same_ends(before, id) {
                    continue;
                }
                let refused = Effect::Refused(refusal::ROWS_HIDDEN.because(new.name.clone()));
                self.add(
                    &format!("tables.{}", new.name),
                    was.unwrap_or_default(),
                    is.unwrap_or_default(),
                    refused,
                    ALL,
                );
            } else if moved != moves(self.new, new) || before.is_none() {
                let left = before.and_then(|before| self.rows_left(self.old.table_of(before)));
                let left = left.or_else(|| self.comes_late(new));
                let holds = vec![
                    Hold::Table { database: database.clone(), table: new.name.to_lowercase() },
                    Hold::Unnamed { database: database.clone() },
                ];
                let text = |of: Option<String>| {
                    of.map_or_else(|| "not moving".to_owned(), |name| format!("in move {name}"))
                };
                let to = text(moves(self.new, new));
                let effect = left.map_or(Effect::Barrier(holds), Effect::Refused);
                self.add(&format!("tables.{}", new.name), text(moved), to, effect, ALL);
            } else if !self.same_ends(before, id) {
                let refused = Effect::Refused(refusal::LAYOUT_CHANGED.because(new.name.clone()));
                self.add(&format!("tables.{}", new.name), "a layout", "another layout", refused, ALL);
            }
        }
        self.tables_gone();
    }

    /// Why a table cannot leave its move: rows that have left its nodes would be seen there again.
    fn rows_left(&self, old: &Table) -> Option<Refusal> {
        let of = self.old.move_of(old.moving.as_ref()?.by);
        if of.divided.is_some() {
            return Some(refusal::ROWS_HIDDEN.because(format!("{}: each side owns some keys", old.name)));
        }
        let Placement::Sharded(layout) = &old.placement else { return None };
        let stays = of.writes == Side::Target && !layout.shared.is_empty();
        let is_left = stays && self.facts.cleaned(&of.name) == Cleaned::No;
        is_left.then(|| refusal::ROWS_LEFT.because(format!("{} after {}", old.name, of.name)))
    }

    /// Why a table cannot join its move: that has every row of the others, and would be taken to have every row of this one.
    fn comes_late(&self, new: &Table) -> Option<Refusal> {
        let name = &self.new.move_of(new.moving.as_ref()?.by).name;
        let is_new = self.old.moves.iter().all(|of| of.name != *name);
        let is_late = !is_new && self.facts.carried(name) == Carried::Yes;
        let why = || {
            format!("{} would join {name}, which has begun without it: give it a move of its own", new.name)
        };
        is_late.then(|| refusal::NOT_SYNCED.because(why()))
    }

    fn tables_gone(&mut self) {
        for old in &self.old.tables {
            let database = &self.old.database_of(old.database).name;
            let Some(new) = self.new.database(database) else { continue };
            if self.new.table(new, &old.name).is_some() {
                continue;
            }
            let default =
                format!("{}.{}", self.new.backend(self.new.database_of(new).default).name, old.name);
            let was = authority(self.old, old);
            let effect = if let Some(left) = self.rows_left(old) {
                Effect::Refused(left)
            } else if was.as_ref() == Some(&default) {
                Effect::Barrier(vec![
                    Hold::Table { database: database.clone(), table: old.name.to_lowercase() },
                    Hold::Unnamed { database: database.clone() },
                ])
            } else {
                Effect::Refused(refusal::ROWS_HIDDEN.because(old.name.clone()))
            };
            self.add(&format!("tables.{}", old.name), was.unwrap_or_default(), "no rule", effect, ALL);
        }
    }

    /// Are both ends of the table's move, or its only placement, where they were?
    fn same_ends(&self, before: Option<TableId>, now: TableId) -> bool {
        let Some(before) = before else { return false };
        let (old, new) = (self.old.table_of(before), self.new.table_of(now));
        [Side::Source, Side::Target].iter().all(|side| {
            described(self.old, old.placement(*side)) == described(self.new, new.placement(*side))
        })
    }

    fn moves(&mut self) {
        for new in &self.new.moves {
            let idle = Move::idle(&new.name);
            let old = self.old.moves.iter().find(|old| old.name == new.name).unwrap_or(&idle);
            self.double_write(old, new);
            self.reads(old, new);
            self.writes(old, new);
            self.parts(old, new);
            self.cleaned(new);
            if old.hold_ms != new.hold_ms && !self.is_first() {
                let rule = format!("moves.{}.hold_ms", new.name);
                self.add(&rule, old.hold_ms.to_string(), new.hold_ms.to_string(), Effect::Instant, 0);
            }
        }
    }

    /// After the cleanup of a table split in place, the source has nothing to answer from, and what was written there would
    /// be seen twice.
    fn cleaned(&mut self, new: &Move) {
        let is_split = |id: &TableId| match &self.new.table_of(*id).placement {
            Placement::Sharded(layout) => !layout.shared.is_empty(),
            Placement::Single(_) | Placement::Broadcast(_) => false,
        };
        let is_gone = new.tables.iter().any(is_split) && self.facts.cleaned(&new.name) == Cleaned::Yes;
        if is_gone && !new.leaves_the_source_alone() {
            let refused = Effect::Refused(refusal::WAY_BACK_CLOSED.because(new.name.clone()));
            self.add(&format!("moves.{}", new.name), "cleaned", "statements to the source", refused, ALL);
        }
    }

    fn double_write(&mut self, old: &Move, new: &Move) {
        if old.double_write == new.double_write {
            return;
        }
        let off = new.double_write == DoubleWrite::Off;
        let gray = new.writes == Side::Source && (new.reads > 0 || !new.always.is_empty());
        let effect = if let Some(refusal) = self.stale_source(old, new) {
            Effect::Refused(refusal)
        } else if off && gray {
            Effect::Refused(refusal::GRAY_WITHOUT_DOUBLE_WRITE.because(new.name.clone()))
        } else {
            Effect::Barrier(holds(self.new, new))
        };
        let rule = format!("moves.{}.double_write", new.name);
        self.add(&rule, old.double_write.name(), new.double_write.name(), effect, ALL);
    }

    fn reads(&mut self, old: &Move, new: &Move) {
        let (lists, share) =
            (old.always != new.always || old.never != new.never, old.reads.abs_diff(new.reads));
        if !lists && share == 0 {
            return;
        }
        let from_target = new.writes == Side::Source && (new.reads > 0 || !new.always.is_empty());
        let is_degraded = new.capture.is_degraded(Side::Source);
        let effect = if let Some(refusal) = self.stale_source(old, new) {
            Effect::Refused(refusal)
        } else if from_target && is_degraded && new.double_write == DoubleWrite::Off {
            // Rows that were deleted stay on the target until a comparison.
            Effect::Refused(refusal::GRAY_WITHOUT_DOUBLE_WRITE.because(new.name.clone()))
        } else if from_target && self.facts.synced(&new.name) == Synced::No {
            Effect::Refused(refusal::NOT_SYNCED.because(format!("gray reads of {}", new.name)))
        } else {
            Effect::Instant
        };
        let percent = |of: &Move| format!("{}%", f64::from(of.reads) / 100.0);
        self.add(&format!("moves.{}.reads", new.name), percent(old), percent(new), effect, share);
    }
}

fn holds(topology: &Topology, of: &Move) -> Vec<Hold> {
    let hold = |id: &TableId| {
        let table = topology.table_of(*id);
        let database = topology.database_of(table.database).name.clone();
        Hold::Table { database, table: table.name.to_lowercase() }
    };
    of.tables.iter().map(hold).collect()
}

/// Who gives new rows of a table their ids.
fn generated(table: &Table) -> String {
    let by = |id: &IdColumn| format!("{} by {:?}", id.column, id.generator).to_lowercase();
    table.id.as_ref().map_or_else(|| "by nobody".to_owned(), by)
}
