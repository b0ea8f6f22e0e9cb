//! Questions about the whole of one side of a move, for whoever compares two sides.
//!
//! Beside everything that clients may ask of several shards, these may count, add up and look for the least and the
//! greatest, by groups: [`crate::merge::fold`] puts the shards' parts together. Aggregates that do not add up exactly
//! (averages, distinct counts, expressions around an aggregate) are refused, as are conditions on groups and limits.

use sqlparser::ast::{
    Expr, Function, FunctionArguments, GroupByExpr, Query, Select, SelectItem, Statement, Value,
};

use super::names::Names;
use super::parse::{self, NotParsed, Parsed};
use super::scopes::Scopes;
use super::{Access, Context, DataPlan, Gather, Plan, RoutePlan, SidePlan, Sides, read};
use crate::lex::{self, Lexed, Quoting, words};
use crate::refusal::{self, Refusal};
use crate::topology::{Move, Side, Topology};

/// A question with its plan.
#[derive(Debug, Clone)]
pub struct Whole {
    pub plan: DataPlan,
    /// How each column of several shards' rows adds up; `None`: the rows themselves are the answer.
    pub parts: Option<Vec<Part>>,
}

/// What becomes of a column over several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Rows with the same values in all such columns become one.
    Group,
    Sum,
    Least,
    Greatest,
}

/// The rules as seen by somebody who asks one side only.
#[must_use]
pub fn one_side(topology: &Topology, side: impl Fn(&Move) -> Side) -> Topology {
    let mut fixed = topology.clone();
    for table in &mut fixed.tables {
        let Some(moving) = table.moving.take() else { continue };
        if side(topology.move_of(moving.by)) == Side::Source {
            table.placement = moving.source;
        }
    }
    fixed
}

/// What is wrong with the text of a question, as far as the text alone can tell.
#[must_use]
pub fn flaw(sql: &str) -> Option<String> {
    let mut lexed = Lexed::default();
    lex::lex(sql.as_bytes(), Quoting::default(), &mut lexed);
    if lexed.second_statement.is_some() {
        return Some("must be one statement".to_owned());
    }
    if lexed.placeholders > 0 {
        return Some("must not have placeholders: nobody gives them values".to_owned());
    }
    let tokens = words::tokens(sql.as_bytes(), &lexed.regions);
    let parsed = match parse::parse(sql.as_bytes(), &lexed, &tokens) {
        Ok(parsed) => parsed,
        Err(NotParsed::Refused(refusal)) => return Some(refusal.to_string()),
        Err(NotParsed::Unknown(why)) => return Some(format!("cannot be read: {why}")),
    };
    match &parsed.statement {
        Statement::Query(query) if query.locks.is_empty() && !parsed.has_word("into") => None,
        Statement::Query(_) => Some("must neither lock rows nor write its answer anywhere".to_owned()),
        _ => Some("must be a SELECT: it runs on both sides and may change neither".to_owned()),
    }
}

/// Plans a question about a side that [`one_side`] shows.
///
/// # Errors
/// What cannot be answered exactly, and why.
pub fn plan(sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Result<Whole, Refusal> {
    let mut plan = match super::plan(sql, lexed, context) {
        Plan::Data(plan) if plan.access == Access::Read => *plan,
        Plan::Refused(refusal) => return Err(refusal),
        Plan::Data(_) | Plan::Session(_) => {
            return Err(refusal::UNSUPPORTED.because("no question about rows"));
        }
    };
    let Sides::One(side) = &mut plan.sides else { return Err(refusal::TWO_MOVES.because("")) };
    let parts = folded(side, sql, lexed, context);
    Ok(Whole { plan, parts })
}

/// Where plain rows will not do: how the shards' parts add up, if they do.
fn folded(side: &mut SidePlan, sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Option<Vec<Part>> {
    let (Gather::Single(_), RoutePlan::ByKey(_)) = (&side.gather, &side.route) else { return None };
    let tokens = words::tokens(sql, &lexed.regions);
    let parsed = parse::parse(sql, lexed, &tokens).ok()?;
    let Statement::Query(query) = &parsed.statement else { return None };
    let names = Names { topology: context.topology, database: context.database };
    match parts(&parsed, query, names) {
        Ok(parts) => {
            side.gather = Gather::Concat { limit: None };
            Some(parts)
        }
        Err(refusal) => {
            side.gather = Gather::Single(refusal);
            None
        }
    }
}

fn parts(parsed: &Parsed<'_>, query: &Query, names: Names<'_>) -> Result<Vec<Part>, Refusal> {
    let scopes = Scopes::of_query(parsed, names)?;
    let select = read::one_select(query, &scopes)?;
    read::adds_no_rows(names.topology, &scopes, Side::Target)?;
    if select.distinct.is_some() || parsed.has_word("distinctrow") {
        return Err(refusal::SCATTERED_DISTINCT.because(""));
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return Err(refusal::SCATTERED_LIMIT.because("of groups"));
    }
    let GroupByExpr::Expressions(terms, modifiers) = &select.group_by else {
        return Err(refusal::SCATTERED_GROUP.because("GROUP BY ALL"));
    };
    if !modifiers.is_empty() || select.having.is_some() {
        return Err(refusal::SCATTERED_GROUP.because("WITH ROLLUP or HAVING"));
    }
    let groups = terms.iter().map(|term| place(term, select)).collect::<Result<Vec<usize>, _>>()?;
    let part = |(at, item): (usize, &SelectItem)| match groups.contains(&at) {
        true => Ok(Part::Group),
        false => added_up(item),
    };
    select.projection.iter().enumerate().map(part).collect()
}

/// Which selected column a term of `GROUP BY` is: one that is not selected would keep groups apart unseen.
fn place(term: &Expr, select: &Select) -> Result<usize, Refusal> {
    if let Expr::Value(value) = term
        && let Value::Number(number, _) = &value.value
    {
        let place =
            number.parse::<usize>().ok().filter(|place| (1..=select.projection.len()).contains(place));
        return place.map(|place| place - 1).ok_or_else(|| refusal::SCATTERED_GROUP.because("by a place"));
    }
    let is_it = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => expr == term,
        SelectItem::ExprWithAlias { expr, alias } => {
            expr == term
                || matches!(term, Expr::Identifier(name) if name.value.eq_ignore_ascii_case(&alias.value))
        }
        _ => false,
    };
    let found = select.projection.iter().position(is_it);
    found.ok_or_else(|| refusal::SCATTERED_GROUP.because(format!("{term} is not selected")))
}

fn added_up(item: &SelectItem) -> Result<Part, Refusal> {
    match item {
        SelectItem::UnnamedExpr(Expr::Function(function))
        | SelectItem::ExprWithAlias { expr: Expr::Function(function), .. } => aggregate(function),
        other => Err(refusal::SCATTERED_AGGREGATE
            .because(format!("{other}: select groups, and COUNT, SUM, MIN or MAX with nothing around them"))),
    }
}

fn aggregate(function: &Function) -> Result<Part, Refusal> {
    let name = function.name.to_string().to_ascii_lowercase();
    let is_plain = function.over.is_none()
        && function.filter.is_none()
        && matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment.is_none());
    match name.as_str() {
        "count" | "sum" if is_plain => Ok(Part::Sum),
        "min" if is_plain => Ok(Part::Least),
        "max" if is_plain => Ok(Part::Greatest),
        _ => {
            Err(refusal::SCATTERED_AGGREGATE.because(format!("{name}: only COUNT, SUM, MIN and MAX add up")))
        }
    }
}
