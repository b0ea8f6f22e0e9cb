//! `SELECT`.

use sqlparser::ast::{Distinct, GroupByExpr, Query, Select, SetExpr};

use super::names::{self, Renaming};
use super::planner::Planner;
use super::scopes::{Kind, OuterJoin, Scopes};
use super::sides::Placed;
use super::{Access, Gather, RoutePlan, SidePlan, Splice, aggregates, items, names::Target, order, split};
use crate::refusal::{self, Refusal};
use crate::topology::{Placement, Side, Topology};

/// The plan of one side of a query.
pub(super) fn side(
    planner: &Planner<'_>,
    query: &Query,
    scopes: &Scopes,
    side: Side,
) -> Result<SidePlan, Refusal> {
    let topology = planner.names.topology;
    let placed = Placed::new(topology, scopes, side);
    let (route, because) = placed.read(&planner.parsed, scopes, planner.home()?)?;
    let mut splices = names::splices(&planner.parsed, topology, scopes, side, Renaming::Derived);
    splices.extend(planner.fact_splices());
    let names = items::named(&planner.parsed, query, &splices);
    splices.extend(names);
    let gather = match &route {
        RoutePlan::ByKey(_) => match scattered(planner, query, scopes, side) {
            Ok((gather, more)) => {
                splices.extend(more);
                gather
            }
            Err(refusal) => Gather::Single(refusal),
        },
        _ => Gather::Concat { limit: None },
    };
    splices.sort_by_key(|splice| splice.span.start);
    Ok(SidePlan { route, splices, gather, because })
}

pub(super) fn access(query: &Query) -> Access {
    if query.locks.is_empty() { Access::Read } else { Access::LockingRead }
}

/// What several shards' rows become, if plain rows they are.
fn scattered(
    planner: &Planner<'_>,
    query: &Query,
    scopes: &Scopes,
    side: Side,
) -> Result<(Gather, Vec<Splice>), Refusal> {
    let topology = planner.names.topology;
    let select = one_select(query, scopes)?;
    plain(planner, scopes, select)?;
    adds_no_rows(topology, scopes, side)?;
    split::reads(planner, query, scopes, side)?;
    order::gather(&planner.parsed, topology, scopes, query, select)
}

/// A query that is one `SELECT`, so that no part of it would be put together by each shard for itself.
pub(super) fn one_select<'q>(query: &'q Query, scopes: &Scopes) -> Result<&'q Select, Refusal> {
    let SetExpr::Select(select) = &*query.body else { return Err(refusal::SCATTERED_UNION.because("")) };
    let apart = scopes.scopes.iter().any(|scope| scope.kind == Kind::Apart);
    if query.with.is_some() || apart {
        return Err(refusal::SCATTERED_UNION.because(""));
    }
    Ok(select)
}

/// No row may come from a shard that has no part in it, nor from each of them.
pub(super) fn adds_no_rows(topology: &Topology, scopes: &Scopes, side: Side) -> Result<(), Refusal> {
    let root = &scopes.scopes[0];
    let unsharded = rows_come_from_shards(topology, scopes, side)?;
    if root.outer_join == OuterJoin::Yes && (unsharded == Unsharded::Some || !root.opaque.is_empty()) {
        return Err(refusal::SCATTERED_OUTER_JOIN.because(""));
    }
    Ok(())
}

/// A statement on several shards must take its rows from a sharded table: rows of others would come once from each.
/// Says whether unsharded tables stand beside it.
pub(super) fn rows_come_from_shards(
    topology: &Topology,
    scopes: &Scopes,
    side: Side,
) -> Result<Unsharded, Refusal> {
    let is_sharded = |target: Target| match target {
        Target::Named(table) => matches!(topology.table_of(table).placement(side), Placement::Sharded(_)),
        Target::Unnamed(_) | Target::Whole(_) => false,
    };
    let sharded = scopes.of_scope(0).filter(|(_, instance)| is_sharded(instance.target)).count();
    match scopes.of_scope(0).count() - sharded {
        _ if sharded == 0 => Err(refusal::SCATTERED_SUBQUERY.because("")),
        0 => Ok(Unsharded::None),
        _ => Ok(Unsharded::Some),
    }
}

/// Whether tables of a scattered statement are not sharded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsharded {
    None,
    Some,
}

/// Nothing that would have to look at all shards' rows at once.
fn plain(planner: &Planner<'_>, scopes: &Scopes, select: &Select) -> Result<(), Refusal> {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(terms, modifiers) if terms.is_empty() && modifiers.is_empty());
    // In a hint.
    if let Some(variable) =
        ["sql_select_limit", "sql_auto_is_null"].iter().find(|name| planner.parsed.mentions(name))
    {
        return Err(refusal::SCATTERED_LIMIT.because(*variable));
    }
    if matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_)))
        || planner.parsed.has_word("distinctrow")
    {
        return Err(refusal::SCATTERED_DISTINCT.because(""));
    }
    if grouped || select.having.is_some() {
        return Err(refusal::SCATTERED_GROUP.because(""));
    }
    if select.into.is_some()
        || ["sql_calc_found_rows", "into", "procedure"].iter().any(|word| planner.parsed.has_word(word))
    {
        return Err(refusal::SCATTERED_INTO.because(""));
    }
    aggregates::none(planner.names, scopes, select)
}
