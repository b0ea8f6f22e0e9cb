//! `ORDER BY` and `LIMIT` over several shards.
//!
//! Every sort key is appended to the select list as a hidden column, in a form that the proxy can compare: text as its
//! collation's weights, enumerations as numbers. So whatever the statement selects, the merge knows its columns.

use sqlparser::ast::{Expr, LimitClause, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem};

use super::names::Target;
use super::parse::Parsed;
use super::scopes::{Instance, Scopes};
use super::{Comparison, Direction, Gather, Limit, Operand, Replacement, SortKey, Splice, When};
use crate::refusal::{self, Refusal};
use crate::schema::{ColumnKind, TableSchema};
use crate::topology::Topology;

/// How shards' rows of a plain `SELECT` become one answer, and what each of them is asked besides.
pub(super) fn gather(
    parsed: &Parsed<'_>,
    topology: &Topology,
    scopes: &Scopes,
    query: &Query,
    select: &Select,
) -> Result<(Gather, Vec<Splice>), Refusal> {
    let mut splices = Vec::new();
    if query.fetch.is_some() {
        return Err(refusal::SCATTERED_LIMIT.because("FETCH FIRST"));
    }
    let limit = limit(parsed, query.limit_clause.as_ref(), &mut splices)?;
    let Some(order) = &query.order_by else { return Ok((Gather::Concat { limit }, splices)) };
    let OrderByKind::Expressions(terms) = &order.kind else {
        return Err(refusal::SCATTERED_ORDER.because("ORDER BY ALL"));
    };
    let mut keys = Vec::with_capacity(terms.len());
    let mut hidden = String::new();
    for (place, term) in (0_u16..).zip(terms) {
        let (text, compare) = sort_key(parsed, topology, scopes, select, term)?;
        hidden.push_str(&format!(", {text} AS `shardway_sort_{place}`"));
        let direction = match term.options.sort {
            Some(OrderBySort::Desc) => Direction::Descending,
            _ => Direction::Ascending,
        };
        keys.push(SortKey { column: place, direction, compare });
    }
    let at = parsed
        .word_at_top("from", 0)
        .map(|index| u32::try_from(parsed.tokens[index].start).unwrap_or(u32::MAX))
        .ok_or_else(|| refusal::SCATTERED_ORDER.because("without FROM"))?;
    splices.push(Splice {
        span: parsed.span(at, at),
        with: Replacement::Text(format!("{hidden} ")),
        when: When::Scattered,
    });
    let hidden = u16::try_from(keys.len()).unwrap_or(u16::MAX);
    Ok((Gather::Merge { order: keys, hidden, limit }, splices))
}

fn limit(
    parsed: &Parsed<'_>,
    clause: Option<&LimitClause>,
    splices: &mut Vec<Splice>,
) -> Result<Option<Limit>, Refusal> {
    let (count, offset) = match clause {
        None => return Ok(None),
        Some(LimitClause::LimitOffset { limit: Some(count), offset, .. }) => {
            (count, offset.as_ref().map(|offset| &offset.value))
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => (limit, Some(offset)),
        Some(LimitClause::LimitOffset { limit: None, .. }) => {
            return Err(refusal::SCATTERED_LIMIT.because(""));
        }
    };
    let limit = Limit { count: parsed.operand(count), offset: offset.map(|offset| parsed.operand(offset)) };
    push_down(parsed, limit.count, Replacement::LimitSum, splices)?;
    if let Some(offset) = limit.offset {
        push_down(parsed, offset, Replacement::Text("0".to_owned()), splices)?;
    }
    Ok(Some(limit))
}

/// Parameters are bound anew instead of being replaced.
fn push_down(
    parsed: &Parsed<'_>,
    operand: Operand,
    with: Replacement,
    splices: &mut Vec<Splice>,
) -> Result<(), Refusal> {
    match operand {
        Operand::Parameter(_) => Ok(()),
        Operand::Literal { region, .. } => {
            let region = parsed.lexed.regions[region as usize];
            // The places around a region, so that they hold whatever its length is.
            let span = parsed.around(region);
            splices.push(Splice { span, with, when: When::Scattered });
            Ok(())
        }
        Operand::Moment { .. } | Operand::Null | Operand::Computed => {
            Err(refusal::SCATTERED_LIMIT.because(""))
        }
    }
}

/// The hidden column's text and its comparison.
fn sort_key(
    parsed: &Parsed<'_>,
    topology: &Topology,
    scopes: &Scopes,
    select: &Select,
    term: &OrderByExpr,
) -> Result<(String, Comparison), Refusal> {
    let refuse = |what: &str| refusal::SCATTERED_ORDER.because(what.to_owned());
    let expr = aliased(select, &term.expr).unwrap_or(&term.expr);
    let (qualifier, name) = match expr {
        Expr::Identifier(column) => (None, column),
        Expr::CompoundIdentifier(idents) => match idents.as_slice() {
            [table, column] => (Some(table.value.to_lowercase()), column),
            _ => return Err(refuse("a column with its database")),
        },
        _ => return Err(refuse("an expression")),
    };
    let (_, schema) = owner(topology, scopes, qualifier.as_deref(), &name.value)?;
    let column = schema.column(&name.value).ok_or_else(|| refuse(&name.value))?;
    let (start, end) = parsed.ident(name);
    let from = match expr {
        Expr::CompoundIdentifier(idents) => parsed.ident(&idents[0]).0,
        _ => start,
    };
    let text = String::from_utf8_lossy(&parsed.sql[from as usize..end as usize]).into_owned();
    comparable(&text, &column.kind)
        .ok_or_else(|| refuse(&format!("{}, whose order the proxy does not know", name.value)))
}

/// `ORDER BY` looks among the selected columns first, by their aliases and names. Of several it is the server that
/// says that the name is ambiguous.
fn aliased<'a>(select: &'a Select, expr: &Expr) -> Option<&'a Expr> {
    let Expr::Identifier(name) = expr else { return None };
    let mut found = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => {
            alias.value.eq_ignore_ascii_case(&name.value).then_some(expr)
        }
        SelectItem::UnnamedExpr(column @ Expr::CompoundIdentifier(idents)) => {
            idents.last().is_some_and(|last| last.value.eq_ignore_ascii_case(&name.value)).then_some(column)
        }
        _ => None,
    });
    found.next().filter(|_| found.next().is_none())
}

/// The table of the statement that has the column.
fn owner<'a>(
    topology: &'a Topology,
    scopes: &'a Scopes,
    qualifier: Option<&str>,
    column: &str,
) -> Result<(&'a Instance, &'a TableSchema), Refusal> {
    let mut found = None;
    for (_, instance) in scopes.of_scope(0) {
        if qualifier.is_some_and(|qualifier| qualifier != instance.called) {
            continue;
        }
        let Target::Named(table) = instance.target else {
            return Err(refusal::SCATTERED_ORDER.because("beside tables that no rule names"));
        };
        let table = topology.table_of(table);
        let Some(schema) = table.schema.as_deref() else {
            return Err(refusal::SCHEMA_UNKNOWN.because(table.name.clone()));
        };
        if schema.column(column).is_some() {
            found.get_or_insert((instance, schema));
        }
    }
    found.ok_or_else(|| refusal::SCATTERED_ORDER.because(format!("{column} is no column of these tables")))
}

fn comparable(text: &str, kind: &ColumnKind) -> Option<(String, Comparison)> {
    match kind {
        ColumnKind::Integer { .. }
        | ColumnKind::Decimal
        | ColumnKind::Double
        | ColumnKind::Year
        | ColumnKind::Date
        | ColumnKind::Time
        | ColumnKind::DateTime
        | ColumnKind::Timestamp => Some((text.to_owned(), Comparison::ByType)),
        // As text it is rounded to six digits.
        ColumnKind::Float => Some((format!("{text}+0e0"), Comparison::ByType)),
        ColumnKind::Bit | ColumnKind::Enum | ColumnKind::Set => {
            Some((format!("{text}+0"), Comparison::ByType))
        }
        ColumnKind::Binary => Some((text.to_owned(), Comparison::Bytes)),
        ColumnKind::Text { collation, .. } => {
            let compare = match padding(collation)? {
                None => Comparison::Bytes,
                Some((space, width)) => Comparison::PaddedWeights { space, width },
            };
            Some((format!("WEIGHT_STRING({text})"), compare))
        }
        ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Uuid
        | ColumnKind::Inet { .. }
        | ColumnKind::Other(_) => None,
    }
}

/// What a trailing space weighs in collations that pad with spaces; `Some(None)`: it does not pad; `None`: not known.
fn padding(collation: &str) -> Option<Option<([u8; 4], u8)>> {
    if collation.contains("_0900_") || collation.contains("nopad") {
        return Some(None);
    }
    let unicode = collation.starts_with("utf8");
    let padded = |space, width| Some(Some((space, width)));
    match collation.split_once('_')?.1 {
        "general_ci" if unicode => padded([0, 0x20, 0, 0], 2),
        "unicode_ci" if unicode => padded([0x02, 0x09, 0, 0], 2),
        "unicode_520_ci" if unicode => padded([0x02, 0x0A, 0, 0], 2),
        "bin" if collation.starts_with("utf8mb4") => padded([0, 0, 0x20, 0], 3),
        "bin" if unicode => padded([0, 0x20, 0, 0], 2),
        "general_ci" | "swedish_ci" | "bin"
            if collation.starts_with("latin1") || collation.starts_with("ascii") =>
        {
            padded([0x20, 0, 0, 0], 1)
        }
        _ => None,
    }
}
