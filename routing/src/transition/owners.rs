//! Who owns a move's writes: one side, or each side those of some keys.

use super::{ALL, Changes, Effect, SourceKept, Synced, holds};
use crate::refusal::{self, Refusal};
use crate::topology::{Move, Owners, Side};

impl Changes<'_> {
    pub(super) fn writes(&mut self, old: &Move, new: &Move) {
        let (before, now) = (old.owners(), new.owners());
        if before == now {
            return;
        }
        let goes = |to: Side| now.include(to) && before != Owners::One(to);
        let name = &new.name;
        let effect = if goes(Side::Target) && self.facts.synced(name) == Synced::No {
            Effect::Refused(refusal::NOT_SYNCED.because(format!("writes of {name} to the target")))
        } else if goes(Side::Source) && self.facts.source_kept(name) == SourceKept::No {
            Effect::Refused(refusal::SOURCE_NOT_KEPT.because(name.clone()))
        } else if let Some(refusal) = new.divided.and_then(|_| self.indivisible(new)) {
            Effect::Refused(refusal)
        } else {
            Effect::Barrier(holds(self.new, new))
        };
        let share = |owners: &Owners<'_>| match owners {
            Owners::One(Side::Source) => 0,
            Owners::One(Side::Target) => ALL,
            Owners::Divided { share, .. } => *share,
        };
        // Of keys that are listed nobody knows how many rows they have.
        let share = share(&before).abs_diff(share(&now)).max(1);
        self.add(&format!("moves.{name}.writes"), old.writes_name(), new.writes_name(), effect, share);
    }

    /// Why the sides cannot own some keys each: both might give a unique key to a row of theirs.
    fn indivisible(&self, new: &Move) -> Option<Refusal> {
        new.tables.iter().map(|id| self.new.table_of(*id)).find_map(|table| {
            let Some((schema, key)) = table.schema.as_ref().zip(table.shard_key()) else {
                return Some(refusal::SCHEMA_UNKNOWN.because(table.name.clone()));
            };
            let is_primary =
                |name: &str| schema.primary.iter().any(|column| column.eq_ignore_ascii_case(name));
            let is_told = is_primary(key) || table.id.as_ref().is_some_and(|id| is_primary(&id.column));
            let is_key = |column: &String| column.eq_ignore_ascii_case(key);
            let further = schema.unique.iter().find(|unique| !unique.columns.iter().any(is_key));
            let why = match further {
                Some(unique) => {
                    format!("the unique key {} of {} does not hold {key}", unique.name, table.name)
                }
                None if is_told => return None,
                None => format!("the primary key of {} holds neither {key} nor ids of the proxy", table.name),
            };
            Some(refusal::INDIVISIBLE.because(why))
        })
    }
}
