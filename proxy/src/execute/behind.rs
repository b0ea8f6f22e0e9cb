//! Writes that only a move's streams bring over: until they have, the authority answers reads of their keys.
//!
//! So a gray reader never misses what has been written through this proxy, whoever wrote it; what is written past it
//! the other side has as late as its streams, whose lag the move bounds.

use shardway_routing::bind;
use shardway_routing::gray;
use shardway_routing::key::KeyValue;
use shardway_routing::plan::{Access, Sides};
use shardway_routing::topology::Topology;

use super::{Job, is_mirrored};
use crate::dirty::Until;
use crate::followed::Left;
use crate::session::Session;
use crate::shared::Shared;

/// Keys of a table that one transaction leaves to the streams; more of them stand for the whole table.
const KEYS_MAX: usize = 1_000;

/// Rows that a transaction leaves to the streams of their move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftRows {
    pub move_name: String,
    /// Logical `database.table`, lower case.
    pub table: String,
    /// `None`: any of its keys.
    pub keys: Option<Vec<KeyValue>>,
    pub why: Why,
}

/// Why they are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody can name the rows, and the move writes on both sides.
    Unnamed,
    /// The rules do not write them on both sides.
    AsRuled,
}

/// What a statement leaves to the streams because of the rules.
pub(super) fn left(job: &Job<'_>) -> Vec<LeftRows> {
    let (plan, topology) = (job.plan, job.topology());
    let Sides::Moving(moving) = &plan.sides else { return Vec::new() };
    if plan.access != Access::Write || is_mirrored(plan, &job.route, topology) {
        return Vec::new();
    }
    let keys = bind::shard_keys(plan, moving, topology, job.request.values);
    let moving_tables = plan.tables.iter().filter(|table| topology.table_of(**table).moving.is_some());
    let rows = |table| LeftRows {
        move_name: topology.move_of(moving.by).name.clone(),
        table: topology.full_name(table),
        keys: keys.clone(),
        why: Why::AsRuled,
    };
    moving_tables.copied().map(rows).collect()
}

impl LeftRows {
    /// Joins what one transaction leaves, table by table.
    pub fn join(all: &mut Vec<LeftRows>, more: LeftRows) {
        let same = |of: &&mut LeftRows| (&of.table, of.why) == (&more.table, more.why);
        let Some(of) = all.iter_mut().find(same) else {
            all.push(more);
            return;
        };
        let joined = of.keys.take().zip(more.keys).map(|(mut keys, more)| {
            keys.extend(more);
            keys
        });
        of.keys = joined.filter(|keys| keys.len() <= KEYS_MAX);
    }
}

/// Rows that are left to the streams, and whether readers have been told.
pub(super) struct Leaving {
    rows: Vec<(LeftRows, Option<Left>)>,
}

impl Leaving {
    pub fn of(rows: Vec<LeftRows>) -> Leaving {
        Leaving { rows: rows.into_iter().map(|rows| (rows, None)).collect() }
    }

    /// Has the authority answer reads of the rows whose move has readers on both sides; those that are told stay so.
    /// To be called before the rows are there, and again after: the rules may have changed in between.
    pub fn tell(&mut self, shared: &Shared, topology: &Topology) {
        for (rows, left) in self.rows.iter_mut().filter(|(_, left)| left.is_none()) {
            let of = topology.moves.iter().find(|of| of.name == rows.move_name);
            let is_read = rows.why == Why::Unnamed || of.is_some_and(gray::divides);
            // Where keys are not noted, the authority answers all reads.
            if is_read && shared.followed.notes(&rows.move_name) {
                let token = rand::random();
                let table = &rows.table;
                let dirty: Vec<_> = match &rows.keys {
                    None => vec![(table.clone(), None)],
                    Some(keys) => keys.iter().map(|key| (table.clone(), Some(key.clone()))).collect(),
                };
                let keys = dirty.len() as u64;
                shared.dirty.add(token, dirty, Until::Streamed);
                *left = Some(Left { move_name: rows.move_name.clone(), token, keys });
            }
        }
    }

    /// The rows are there, or nobody knows: which of them, the streams will tell.
    pub fn leave(mut self, session: &Session) {
        let shared = &session.worker.shared;
        self.tell(shared, &session.worker.view().snapshot.topology);
        self.rows.into_iter().filter_map(|(_, left)| left).for_each(|left| shared.followed.leave(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: Option<Vec<i128>>) -> LeftRows {
        let keys = keys.map(|keys| keys.into_iter().map(KeyValue::Integer).collect());
        LeftRows { move_name: "shop".into(), table: "shop.users".into(), keys, why: Why::AsRuled }
    }

    #[test]
    fn keys_join_until_any_key_may_be_meant() {
        let mut all = Vec::new();
        LeftRows::join(&mut all, rows(Some(vec![1])));
        LeftRows::join(&mut all, rows(Some(vec![2, 3])));
        assert_eq!(all, [rows(Some(vec![1, 2, 3]))]);
        LeftRows::join(&mut all, rows(Some((0..1_000).collect())));
        assert_eq!(all, [rows(None)]);
        LeftRows::join(&mut all, rows(Some(vec![1])));
        assert_eq!(all, [rows(None)]);
    }
}
