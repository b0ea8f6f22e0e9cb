//! `SELECT`.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Query, Select, SetExpr, Visit, Visitor};

use super::names::{self, Renaming};
use super::planner::Planner;
use super::scopes::{Kind, OuterJoin, Scopes};
use super::sides::Placed;
use super::{Access, Gather, RoutePlan, SidePlan, Splice, names::Target, order};
use crate::refusal::{self, Refusal};
use crate::topology::Side;

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
    let mut splices = names::splices(&planner.parsed, topology, scopes, side, Renaming::Alias);
    splices.extend(planner.insert_id_splices());
    let gather = match &route {
        RoutePlan::ByKey(_) => match scattered(planner, query, scopes) {
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
) -> Result<(Gather, Vec<Splice>), Refusal> {
    let SetExpr::Select(select) = &*query.body else { return Err(refusal::SCATTERED_UNION.because("")) };
    let apart = scopes.scopes.iter().any(|scope| scope.kind == Kind::Apart);
    if query.with.is_some() || apart {
        return Err(refusal::SCATTERED_UNION.because(""));
    }
    plain(planner, select)?;
    let root = &scopes.scopes[0];
    let unsharded = scopes.of_scope(0).any(|(_, instance)| match instance.target {
        Target::Named(table) => planner.names.topology.table_of(table).shard_key().is_none(),
        _ => true,
    });
    if root.outer_join == OuterJoin::Yes && (unsharded || !root.opaque.is_empty()) {
        return Err(refusal::SCATTERED_OUTER_JOIN.because(""));
    }
    order::gather(&planner.parsed, planner.names.topology, scopes, query, select)
}

/// Nothing that would have to look at all shards' rows at once.
fn plain(planner: &Planner<'_>, select: &Select) -> Result<(), Refusal> {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(terms, modifiers) if terms.is_empty() && modifiers.is_empty());
    if select.distinct.is_some() || planner.parsed.has_word("distinctrow") {
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
    let mut functions = Functions { depth: 0 };
    for item in &select.projection {
        if let ControlFlow::Break(refusal) = item.visit(&mut functions) {
            return Err(refusal);
        }
    }
    Ok(())
}

/// Looks for aggregates and windows outside of subqueries.
struct Functions {
    depth: u32,
}

impl Visitor for Functions {
    type Break = Refusal;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_ascii_lowercase();
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if function.over.is_some() {
            return ControlFlow::Break(refusal::SCATTERED_WINDOW.because(name));
        }
        if is_aggregate(&name) {
            return ControlFlow::Break(refusal::SCATTERED_AGGREGATE.because(name));
        }
        ControlFlow::Continue(())
    }
}

/// MySQL's and MariaDB's aggregates; stored aggregate functions cannot be told from others, and are rare.
fn is_aggregate(name: &str) -> bool {
    const NAMES: [&str; 21] = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "group_concat",
        "bit_and",
        "bit_or",
        "bit_xor",
        "std",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "variance",
        "var_pop",
        "var_samp",
        "json_arrayagg",
        "json_objectagg",
        "any_value",
        "st_collect",
        "grouping",
    ];
    NAMES.contains(&name)
}
