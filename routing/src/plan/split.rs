//! Tables that a move splits in place. Until a cleanup, their nodes have rows that have left for others, which no
//! statement on several shards may see: those that belong there are told by a condition on the shard key.
//!
//! A statement whose keys lead to one shard needs none, as no row of that key is left on any other. A reading `SELECT`
//! sees a derived table of the rows that belong there, which servers merge into the query around it; an `UPDATE` or
//! `DELETE` gets a further condition.

use sqlparser::ast::{Insert, Query};

use super::names::Target;
use super::planner::Planner;
use super::scopes::Scopes;
use super::write::Write;
use super::{OwnRows, Replacement, Splice, When};
use crate::refusal::{self, Refusal};
use crate::topology::{Layout, Placement, Side, TableId, Topology};

/// The layout of a table that is being split in place, as that side sees it.
fn split(topology: &Topology, table: TableId, side: Side) -> Option<&Layout> {
    match topology.table_of(table).placement(side) {
        Placement::Sharded(layout) if !layout.shared.is_empty() => Some(layout),
        _ => None,
    }
}

/// The rows that belong on the nodes of a table split in place, by shard. `None` for other tables, and while the columns
/// are not known.
pub(super) fn own_rows(topology: &Topology, table: TableId, side: Side) -> Option<OwnRows> {
    let layout = split(topology, table, side)?;
    let column = topology.table_of(table).schema.as_ref()?.column(&layout.key)?;
    let name = super::names::quoted(&column.name);
    let condition = |shard: &_| Some((*shard, layout.at_home(&name, &column.kind, *shard)?));
    layout.shared.iter().map(condition).collect::<Option<_>>().map(OwnRows)
}

/// The tables of a statement that are split in place.
fn tables<'a>(
    topology: &'a Topology,
    scopes: &'a Scopes,
    side: Side,
) -> impl Iterator<Item = TableId> + use<'a> {
    let named = scopes.instances.iter().filter_map(|instance| match instance.target {
        Target::Named(table) => Some(table),
        Target::Unnamed(_) | Target::Whole(_) => None,
    });
    named.filter(move |table| split(topology, *table, side).is_some())
}

fn told(topology: &Topology, table: TableId, side: Side) -> Result<OwnRows, Refusal> {
    let unknown = || refusal::SCHEMA_UNKNOWN.because(topology.table_of(table).name.clone());
    own_rows(topology, table, side).ok_or_else(unknown)
}

/// Can a `SELECT` on several shards be kept from rows that have left?
pub(super) fn reads(
    planner: &Planner<'_>,
    query: &Query,
    scopes: &Scopes,
    side: Side,
) -> Result<(), Refusal> {
    let topology = planner.names.topology;
    let Some(table) = tables(topology, scopes, side).next() else { return Ok(()) };
    told(topology, table, side)?;
    if !query.locks.is_empty() {
        return Err(refusal::SPLIT_IN_PLACE.because("a locking read"));
    }
    scopes.demand.map_or(Ok(()), |demand| Err(refusal::SPLIT_IN_PLACE.because(demand)))
}

/// What keeps an `UPDATE` or `DELETE` on several shards from rows that have left.
pub(super) fn writes(planner: &Planner<'_>, scopes: &Scopes, side: Side) -> Result<Vec<Splice>, Refusal> {
    let topology = planner.names.topology;
    let Some(table) = tables(topology, scopes, side).next() else { return Ok(Vec::new()) };
    let own = told(topology, table, side)?;
    if scopes.instances.len() > 1 {
        return Err(refusal::SPLIT_IN_PLACE.because("a write with several tables"));
    }
    let parsed = &planner.parsed;
    let condition = parsed.word_at_top("where", 0);
    let ends = ["order", "limit", "returning"];
    let end = ends.iter().filter_map(|word| parsed.word_at_top(word, condition.unwrap_or(0))).min();
    let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    let end =
        end.and_then(|token| token.checked_sub(1)).map_or(parsed.end(), |last| at(parsed.tokens[last].end));
    let splice = |at: u32, with| Splice { span: parsed.span(at, at), with, when: When::Scattered };
    Ok(match condition {
        Some(token) => vec![
            splice(at(parsed.tokens[token].end), Replacement::Text(" (".to_owned())),
            splice(end, Replacement::AlsoOwn(own)),
        ],
        None => vec![splice(end, Replacement::OnlyOwn(own))],
    })
}

/// Would a row that has left stand in the way of a write to rows that belong there, unseen? A key without the shard key
/// may be that of both.
pub(super) fn meets_others(planner: &Planner<'_>, scopes: &Scopes, side: Side) -> Result<(), Refusal> {
    let topology = planner.names.topology;
    for table in tables(topology, scopes, side) {
        let Some(layout) = split(topology, table, side) else { continue };
        let unknown = || refusal::SCHEMA_UNKNOWN.because(topology.table_of(table).name.clone());
        let schema = topology.table_of(table).schema.as_ref().ok_or_else(unknown)?;
        if schema.has_unique_without(&layout.key) {
            let why =
                "a row that has left may have the same unique key, and would be taken for the one meant";
            return Err(refusal::SPLIT_IN_PLACE.because(why));
        }
    }
    Ok(())
}

/// Does an `UPDATE` pass over rows that stand in its way?
pub(super) fn ignores(planner: &Planner<'_>, write: &Write<'_>) -> bool {
    write.verb == "UPDATE" && planner.parsed.has_word("ignore")
}

/// Does an `INSERT` pass over rows that stand in its way, or write over them?
pub(super) fn overwrites(planner: &Planner<'_>, insert: &Insert) -> bool {
    insert.replace_into || insert.on.is_some() || planner.parsed.has_word("ignore")
}
