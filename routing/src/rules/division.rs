//! Who owns a move's writes: one side, or each side those of some keys.

use super::check::Check;
use super::raw::{RawMove, RawWrites};
use crate::gray::BUCKETS;
use crate::topology::{Capture, DoubleWrite, Move, Owners, Placement, Server, Side, Table};

impl Check<'_> {
    pub(super) fn owners(&mut self, raw: &RawMove, of: &mut Move, key: &str) {
        match &raw.writes {
            None => {}
            Some(RawWrites::Side(found)) => {
                let sides = [Side::Source, Side::Target].map(|side| (side.name(), side));
                let found = Some(found.clone());
                of.writes = self.choice(&found, &format!("{key}.writes"), Side::Source, &sides);
            }
            Some(RawWrites::Share { hundredths, .. }) => {
                // Nobody, or everybody, is no division.
                (of.writes, of.divided) = match *hundredths {
                    0 if of.always.is_empty() => (Side::Source, None),
                    BUCKETS if of.never.is_empty() => (Side::Target, None),
                    share => (Side::Source, Some(share)),
                };
            }
        }
    }

    /// Streams in both directions keep both sides current while each owns some keys. What they cannot do for such a move
    /// is refused.
    pub(super) fn may_divide(&self, raw: &RawMove, of: &Move, key: &str) {
        let (Owners::Divided { .. }, Some(RawWrites::Share { at, .. })) = (of.owners(), &raw.writes) else {
            return;
        };
        let key = format!("{key}.writes");
        let report = |message: &str| self.report(at, &key, format!("a percentage {message}"));
        if of.capture != Capture::Binlog {
            report("needs capture = \"binlog\": each side follows the other");
        }
        if of.double_write != DoubleWrite::Off {
            report("needs double_write = \"off\": streams carry what each side owns to the other");
        }
        if of.history.is_some() || of.shadow_reads > 0 {
            report("goes without `history` and `shadow_reads`: neither side is the older one");
        }
        if of.functions.writes_of.is_some() {
            report("divides every table of the move, so `functions.writes_of` has nothing to say");
        }
        for table in of.tables.iter().map(|id| self.topology.table_of(*id)) {
            if !matches!(table.placement, Placement::Sharded(_)) {
                report(&format!("is of shard keys, and `{}` has none", table.name));
            }
            if self.shares_servers(table) {
                report(&format!(
                    "needs servers of its own on each side, and both sides of `{}` share one",
                    table.name
                ));
            }
        }
    }

    fn shares_servers(&self, table: &Table) -> bool {
        let servers = |side: Side| -> Vec<&Server> {
            let nodes = table.placement(side).nodes().iter();
            nodes.map(|node| &self.topology.backend(node.backend).primary).collect()
        };
        let (here, there) = (servers(Side::Source), servers(Side::Target));
        here.iter().any(|one| there.iter().any(|other| one.is_same_process(other)))
    }
}
