//! Moves whose keys are divided: each side owns the writes of some of them, and has copies of the others' rows.

use sqlparser::ast::{Statement, Update};

use super::names::Target;
use super::planner::Planner;
use super::scopes::Scopes;
use super::{split, write};
use crate::refusal::{self, Refusal};
use crate::topology::{MoveId, Table};

/// Why a write may reach rows of other keys than it names: by a unique key without the shard key it would meet a copy,
/// and write it or pass over it where its owner knows nothing of that; or give a row a key that the other side gives away.
pub(super) fn reaches_others(planner: &Planner<'_>, by: MoveId, scopes: &Scopes) -> Option<Refusal> {
    let why = |table: &Table| format!("a row of another key of {} may have the same unique key", table.name);
    tables(planner, by, scopes)
        .find(|table| {
            !is_told_by_its_keys(table)
                && match &planner.parsed.statement {
                    Statement::Insert(insert) => split::overwrites(planner, insert),
                    Statement::Update(update) => {
                        planner.parsed.has_word("ignore") || sets_primary_key(update, table)
                    }
                    _ => false,
                }
        })
        .map(|table| refusal::KEYS_DIVIDED.because(why(table)))
}

/// The rows of an `INSERT` into a table whose primary key each side could give to a row of its own, and why they must have
/// ids of the proxy.
pub(super) fn numbered(planner: &Planner<'_>, by: MoveId, scopes: &Scopes) -> Option<(usize, Refusal)> {
    let Statement::Insert(insert) = &planner.parsed.statement else { return None };
    let table = tables(planner, by, scopes).find(|table| !is_told_by_its_keys(table))?;
    let rows = write::rows(insert).map_or(1, |rows| rows.len());
    let why = format!("only ids that the proxy gives are told apart in {}; leave the id out", table.name);
    Some((rows, refusal::KEYS_DIVIDED.because(why)))
}

/// The tables of the statement that are in the move, where it divides its keys.
fn tables<'a>(planner: &'a Planner<'_>, by: MoveId, scopes: &'a Scopes) -> impl Iterator<Item = &'a Table> {
    let topology = planner.names.topology;
    let is_divided = topology.move_of(by).divided.is_some();
    let named = scopes.instances.iter().filter_map(|instance| match instance.target {
        Target::Named(table) => Some(topology.table_of(table)),
        Target::Unnamed(_) | Target::Whole(_) => None,
    });
    named.filter(move |table| is_divided && table.moving.is_some())
}

/// Does every unique key hold the shard key, so that rows of different owners never want the same?
fn is_told_by_its_keys(table: &Table) -> bool {
    let known = table.shard_key().zip(table.schema.as_ref());
    known.is_some_and(|(key, schema)| !schema.has_unique_without(key))
}

fn sets_primary_key(update: &Update, table: &Table) -> bool {
    let Some(schema) = &table.schema else { return true };
    let is_primary = |name: &str| schema.primary.iter().any(|column| column.eq_ignore_ascii_case(name));
    update.assignments.iter().any(|assignment| write::column(assignment).is_none_or(is_primary))
}
