//! Questions about the whole of one side of a move, for whoever compares two sides.
//!
//! Beside everything that clients may ask of several shards, these may count, add up, average and look for the least and
//! the greatest, by groups, and keep some of the groups ([`super::having`]): [`crate::merge::fold`] puts the shards' parts
//! together. What an average or a condition needs besides is asked of the shards in hidden columns. Aggregates that do not
//! add up exactly (distinct counts, expressions around an aggregate, quotients inside of one) are refused, as are limits.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query,
    Select, SelectItem, Statement, Value, visit_expressions,
};

use super::having::{self, Having};
use super::names::{Names, quoted};
use super::parse::{self, NotParsed, Parsed};
use super::scopes::Scopes;
use super::{
    Access, Context, DataPlan, Gather, Plan, Replacement, RoutePlan, SidePlan, Sides, Splice, When, read,
};
use crate::lex::{self, Lexed, Quoting, words};
use crate::refusal::{self, Refusal};
use crate::topology::{Move, Side, Topology};

/// A question with its plan.
#[derive(Debug, Clone)]
pub struct Whole {
    pub plan: DataPlan,
    /// How several shards' rows add up; `None`: the rows themselves are the answer.
    pub folding: Option<Folding>,
}

/// How several shards' rows become one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folding {
    /// By column.
    pub parts: Vec<Part>,
    /// So many columns at the end are no part of the answer.
    pub hidden: usize,
    /// Which groups are kept.
    pub having: Option<Having>,
}

/// What becomes of a column over several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Rows with the same values in all such columns become one.
    Group,
    Sum,
    Least,
    Greatest,
    /// From two other columns.
    Average {
        sum: usize,
        count: usize,
    },
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
    let folding = folded(side, sql, lexed, context);
    Ok(Whole { plan, folding })
}

/// Where plain rows will not do: how the shards' parts add up, if they do.
fn folded(side: &mut SidePlan, sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Option<Folding> {
    let (Gather::Single(_), RoutePlan::ByKey(_)) = (&side.gather, &side.route) else { return None };
    let tokens = words::tokens(sql, &lexed.regions);
    let parsed = parse::parse(sql, lexed, &tokens).ok()?;
    let Statement::Query(query) = &parsed.statement else { return None };
    let names = Names { topology: context.topology, database: context.database };
    match folding(&parsed, query, names) {
        Ok((folding, splices)) => {
            side.gather = Gather::Concat { limit: None };
            side.splices.extend(splices);
            side.splices.sort_by_key(|splice| splice.span.start);
            Some(folding)
        }
        Err(refusal) => {
            side.gather = Gather::Single(refusal);
            None
        }
    }
}

fn folding(parsed: &Parsed<'_>, query: &Query, names: Names<'_>) -> Result<(Folding, Vec<Splice>), Refusal> {
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
    if !modifiers.is_empty() {
        return Err(refusal::SCATTERED_GROUP.because("WITH ROLLUP"));
    }
    let groups = terms.iter().map(|term| place(term, select)).collect::<Result<Vec<usize>, _>>()?;
    let mut columns = Columns { visible: select.projection.len(), hidden: Vec::new() };
    let part = |(at, item): (usize, &SelectItem)| match groups.contains(&at) {
        true => Ok(Part::Group),
        false => added_up(item, &mut columns),
    };
    let mut parts = select.projection.iter().enumerate().map(part).collect::<Result<Vec<Part>, _>>()?;
    let having = select.having.as_ref();
    let having = having.map(|expr| having::condition(expr, select, &mut columns)).transpose()?;
    let mut splices = columns.asked(parsed)?;
    if having.is_some() {
        let through =
            having::let_through(parsed).ok_or_else(|| refusal::SCATTERED_GROUP.because("HAVING"))?;
        splices.extend(through);
    }
    parts.extend(columns.hidden.iter().map(|(_, part)| *part));
    Ok((Folding { parts, hidden: columns.hidden.len(), having }, splices))
}

/// The columns that shards are asked for beside those that are selected: as text, and how they add up.
pub(super) struct Columns {
    visible: usize,
    hidden: Vec<(String, Part)>,
}

impl Columns {
    /// The place of a hidden column.
    fn ask(&mut self, text: String, part: Part) -> usize {
        let known = self.hidden.iter().position(|(known, _)| *known == text);
        let at = known.unwrap_or_else(|| {
            self.hidden.push((text, part));
            self.hidden.len() - 1
        });
        self.visible + at
    }

    /// How the average of a column adds up.
    fn average(&mut self, of: &str) -> Part {
        let sum = self.ask(format!("SUM({of})"), Part::Sum);
        let count = self.ask(format!("COUNT({of})"), Part::Sum);
        Part::Average { sum, count }
    }

    /// The place of an aggregate of a column, or of `COUNT(*)`; `None`: it is something else.
    pub(super) fn aggregate(&mut self, function: &Function) -> Option<usize> {
        let of = plain_argument(function)?;
        let name = plain_name(function)?;
        let part = match name.as_str() {
            "count" | "sum" => Part::Sum,
            "min" => Part::Least,
            "max" => Part::Greatest,
            "avg" if of != "*" => self.average(&of),
            _ => return None,
        };
        Some(self.ask(format!("{name}({of})"), part))
    }

    /// What adds them to the select list.
    fn asked(&self, parsed: &Parsed<'_>) -> Result<Vec<Splice>, Refusal> {
        if self.hidden.is_empty() {
            return Ok(Vec::new());
        }
        let from = parsed.word_at_top("from", 0).and_then(|at| u32::try_from(parsed.tokens[at].start).ok());
        let from = from.ok_or_else(|| refusal::SCATTERED_AGGREGATE.because("without FROM"))?;
        let mut text = String::new();
        for (at, (column, _)) in self.hidden.iter().enumerate() {
            let _ = write!(text, ", {column} AS `shardway_part_{at}`");
        }
        text.push(' ');
        let span = parsed.span(from, from);
        Ok(vec![Splice { span, with: Replacement::Text(text), when: When::Scattered }])
    }
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

fn added_up(item: &SelectItem, columns: &mut Columns) -> Result<Part, Refusal> {
    match item {
        SelectItem::UnnamedExpr(Expr::Function(function))
        | SelectItem::ExprWithAlias { expr: Expr::Function(function), .. } => aggregate(function, columns),
        other => Err(refusal::SCATTERED_AGGREGATE.because(format!(
            "{other}: select groups, and COUNT, SUM, AVG, MIN or MAX with nothing around them"
        ))),
    }
}

fn aggregate(function: &Function, columns: &mut Columns) -> Result<Part, Refusal> {
    let refused = |why: &str| Err(refusal::SCATTERED_AGGREGATE.because(why.to_owned()));
    let Some(name) = plain_name(function) else {
        return refused(&format!("{}: only COUNT, SUM, AVG, MIN and MAX add up", function.name));
    };
    match name.as_str() {
        // Servers keep quotients with more digits than they show, and add those up.
        "sum" if divides(function) => refused("the sum of a quotient: divide after adding up"),
        "count" | "sum" => Ok(Part::Sum),
        "min" => Ok(Part::Least),
        "max" => Ok(Part::Greatest),
        "avg" => match plain_argument(function) {
            Some(of) if of != "*" => Ok(columns.average(&of)),
            _ => refused("AVG of an expression: select its SUM and COUNT"),
        },
        _ => refused(&format!("{name}: only COUNT, SUM, AVG, MIN and MAX add up")),
    }
}

/// The name of a function that is called without further ado, in lower case.
fn plain_name(function: &Function) -> Option<String> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let is_plain = function.over.is_none()
        && function.filter.is_none()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    is_plain.then(|| function.name.to_string().to_ascii_lowercase())
}

/// The column that a function is called with, as SQL, or `*`.
fn plain_argument(function: &Function) -> Option<String> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [FunctionArg::Unnamed(argument)] = list.args.as_slice() else { return None };
    match argument {
        FunctionArgExpr::Wildcard => Some("*".to_owned()),
        FunctionArgExpr::Expr(Expr::Identifier(column)) => Some(quoted(&column.value)),
        FunctionArgExpr::Expr(Expr::CompoundIdentifier(names)) if names.len() == 2 => {
            Some(format!("{}.{}", quoted(&names[0].value), quoted(&names[1].value)))
        }
        _ => None,
    }
}

/// Is anything divided in there?
fn divides(function: &Function) -> bool {
    let found = visit_expressions(&function.args, |expr| match expr {
        Expr::BinaryOp { op: BinaryOperator::Divide, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
