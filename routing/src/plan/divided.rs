//! Moves whose keys are divided: each side owns the writes of some of them, and has copies of the others' rows.

use sqlparser::ast::Statement;

use super::names::Target;
use super::planner::Planner;
use super::scopes::Scopes;
use super::split;
use crate::refusal::{self, Refusal};
use crate::topology::MoveId;

/// Why a write may reach rows of other keys than it names: by a unique key without the shard key it would meet a copy,
/// and write it or pass over it where its owner knows nothing of that.
pub(super) fn reaches_others(planner: &Planner<'_>, by: MoveId, scopes: &Scopes) -> Option<Refusal> {
    let topology = planner.names.topology;
    topology.move_of(by).divided?;
    let meets = match &planner.parsed.statement {
        Statement::Insert(insert) => split::overwrites(planner, insert),
        Statement::Update(_) => planner.parsed.has_word("ignore"),
        _ => false,
    };
    let tables = scopes.instances.iter().filter_map(|instance| match instance.target {
        Target::Named(table) => Some(topology.table_of(table)),
        Target::Unnamed(_) | Target::Whole(_) => None,
    });
    let mut moving = tables.filter(|table| meets && table.moving.is_some());
    moving.find_map(|table| {
        let is_told = table.shard_key().zip(table.schema.as_ref());
        let is_safe = is_told.is_some_and(|(key, schema)| !schema.has_unique_without(key));
        let why = format!("a row of another key of {} may have the same unique key", table.name);
        (!is_safe).then(|| refusal::KEYS_DIVIDED.because(why))
    })
}
