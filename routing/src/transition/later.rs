//! A table by time that gets nodes for later units: no shard had those, so no row of them can be anywhere.

use super::{Changes, Effect, Hold};
use crate::function::ShardFunction;
use crate::topology::{Layout, Placement, ShardId, Table};

impl Changes<'_> {
    /// Sorts a table whose layout differs by later units alone. `None`: by something else, or not at all.
    ///
    /// Behind a barrier, since a transaction of before would not see what others write to the new shards.
    pub(super) fn later_units(&mut self, old: &Table, new: &Table) -> Option<()> {
        let (Placement::Sharded(before), Placement::Sharded(now)) = (&old.placement, &new.placement) else {
            return None;
        };
        let is_moving = old.moving.is_some() || new.moving.is_some();
        let is_longer = is_longer(&before.function, &now.function) && now.nodes.len() > before.nodes.len();
        let same_nodes = before.nodes.iter().zip(&now.nodes).all(|(before, now)| {
            let name = |of: &crate::topology::Topology, id| of.backend(id).name.clone();
            name(self.old, before.backend) == name(self.new, now.backend) && before.table == now.table
        });
        if is_moving || !is_longer || !same_nodes || before.key != now.key {
            return None;
        }
        let database = self.new.database_of(new.database).name.clone();
        let hold = Hold::Table { database, table: new.name.to_lowercase() };
        let rule = format!("tables.{}.nodes", new.name);
        self.add(&rule, until(before), until(now), Effect::Barrier(vec![hold]), 0);
        Some(())
    }
}

fn is_longer(before: &ShardFunction, now: &ShardFunction) -> bool {
    match (before, now) {
        (
            ShardFunction::Time { unit, from, shards },
            ShardFunction::Time { unit: unit_now, from: from_now, shards: shards_now },
        ) => unit == unit_now && from == from_now && shards < shards_now,
        _ => false,
    }
}

fn until(layout: &Layout) -> String {
    let count = layout.function.shards();
    let end = layout.function.days(ShardId(count.saturating_sub(1))).and_then(|(_, end)| end);
    end.map_or_else(|| format!("{count} nodes"), |end| format!("{count} nodes, until before {end}"))
}
