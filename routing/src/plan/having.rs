//! Conditions on the groups of several shards: no shard knows a whole group, so they are looked at where groups are put
//! together, and shards leave all groups in.
//!
//! Such a condition compares counts, sums, averages, least and greatest values, or what is grouped by, with numbers.
//! Anything else would have to be evaluated as a server does, and is refused.

use sqlparser::ast::{BinaryOperator, Expr, GroupByExpr, Select, SelectItem, UnaryOperator, Value};

use super::parse::Parsed;
use super::whole::Columns;
use super::{Replacement, Splice, When};
use crate::lex::words::TokenKind;
use crate::refusal::{self, Refusal};

/// A condition on a row of a folded answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Having {
    All(Box<[Having; 2]>),
    Any(Box<[Having; 2]>),
    Not(Box<Having>),
    Compare {
        column: usize,
        is: Relation,
        /// As it is written, without exponent.
        number: String,
    },
    IsNull {
        column: usize,
    },
}

/// How a value is to stand to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    /// The same, said from the other side.
    fn turned(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessOrEqual => Relation::GreaterOrEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterOrEqual => Relation::LessOrEqual,
            Relation::Equal | Relation::NotEqual => self,
        }
    }
}

fn unfit(what: impl std::fmt::Display) -> Refusal {
    refusal::SCATTERED_GROUP.because(format!(
        "HAVING {what}: compare what is grouped by, or COUNT, SUM, AVG, MIN or MAX of a column, with numbers"
    ))
}

/// The condition in terms of columns; those that are not selected are added.
pub(super) fn condition(expr: &Expr, select: &Select, columns: &mut Columns) -> Result<Having, Refusal> {
    let mut both = |left: &Expr, right: &Expr| -> Result<Box<[Having; 2]>, Refusal> {
        Ok(Box::new([condition(left, select, columns)?, condition(right, select, columns)?]))
    };
    match expr {
        Expr::Nested(inner) => condition(inner, select, columns),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => Ok(Having::All(both(left, right)?)),
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => Ok(Having::Any(both(left, right)?)),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            Ok(Having::Not(Box::new(condition(expr, select, columns)?)))
        }
        Expr::IsNull(of) => Ok(Having::IsNull { column: column(of, select, columns)? }),
        Expr::IsNotNull(of) => {
            Ok(Having::Not(Box::new(Having::IsNull { column: column(of, select, columns)? })))
        }
        Expr::Between { expr, negated, low, high } => {
            let column = column(expr, select, columns)?;
            let ends =
                number(low).zip(number(high)).ok_or_else(|| unfit(format!("BETWEEN {low} AND {high}")))?;
            let within = Having::All(Box::new([
                Having::Compare { column, is: Relation::GreaterOrEqual, number: ends.0 },
                Having::Compare { column, is: Relation::LessOrEqual, number: ends.1 },
            ]));
            Ok(if *negated { Having::Not(Box::new(within)) } else { within })
        }
        Expr::BinaryOp { left, op, right } => {
            let is = match op {
                BinaryOperator::Eq => Relation::Equal,
                BinaryOperator::NotEq => Relation::NotEqual,
                BinaryOperator::Lt => Relation::Less,
                BinaryOperator::LtEq => Relation::LessOrEqual,
                BinaryOperator::Gt => Relation::Greater,
                BinaryOperator::GtEq => Relation::GreaterOrEqual,
                other => return Err(unfit(format!("with {other}"))),
            };
            match (number(left), number(right)) {
                (None, Some(number)) => {
                    Ok(Having::Compare { column: column(left, select, columns)?, is, number })
                }
                (Some(number), None) => {
                    let column = column(right, select, columns)?;
                    Ok(Having::Compare { column, is: is.turned(), number })
                }
                _ => Err(unfit(expr)),
            }
        }
        other => Err(unfit(other)),
    }
}

/// A number that is written without exponent.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            number(expr).filter(|number| !number.starts_with('-')).map(|number| format!("-{number}"))
        }
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                Some(number.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Which column of the answer is meant.
fn column(expr: &Expr, select: &Select, columns: &mut Columns) -> Result<usize, Refusal> {
    let expr = match expr {
        Expr::Nested(inner) => inner,
        other => other,
    };
    let is_it = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(of) => {
            of == expr
                || last_name(of).zip(bare(expr)).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
        }
        SelectItem::ExprWithAlias { expr: of, alias } => {
            of == expr || bare(expr).is_some_and(|name| alias.value.eq_ignore_ascii_case(name))
        }
        _ => false,
    };
    let mut found = select.projection.iter().enumerate().filter(|(_, item)| is_it(item));
    match (found.next(), found.next()) {
        (Some((at, item)), None) if !is_grouped_otherwise(expr, item, select) => Ok(at),
        (None, _) => match expr {
            Expr::Function(function) => columns.aggregate(function).ok_or_else(|| unfit(expr)),
            other => Err(unfit(other)),
        },
        _ => Err(unfit(format!("{expr}, which may be one or the other"))),
    }
}

fn bare(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        _ => None,
    }
}

fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.as_str()),
        other => bare(other),
    }
}

/// A name of a selected column may be that of another one which groups; servers prefer that.
fn is_grouped_otherwise(expr: &Expr, item: &SelectItem, select: &Select) -> bool {
    let (Some(name), SelectItem::ExprWithAlias { expr: of, .. }) = (bare(expr), item) else { return false };
    let GroupByExpr::Expressions(terms, _) = &select.group_by else { return true };
    let named = |term: &&Expr| last_name(term).is_some_and(|last| last.eq_ignore_ascii_case(name));
    last_name(of).is_none_or(|last| !last.eq_ignore_ascii_case(name)) && terms.iter().any(|term| named(&term))
}

/// What lets every group of a shard through, whatever the condition says there.
pub(super) fn let_through(parsed: &Parsed<'_>) -> Option<[Splice; 2]> {
    let having = parsed.word_at_top("having", 0)?;
    let last = parsed.tokens.iter().rfind(|token| token.kind != TokenKind::Symbol(b';'))?.end;
    let end = match parsed.word_at_top("order", having) {
        Some(order) => parsed.tokens[order - 1].end,
        None => last,
    };
    let at = |place: usize, text: &str| {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let with = Replacement::Text(text.to_owned());
        Splice { span: parsed.span(place, place), with, when: When::Scattered }
    };
    Some([at(parsed.tokens[having].end, " TRUE OR ("), at(end, ")")])
}
