//! The items of a select list, as far as their text names the columns of the answer.
//!
//! A server calls an expression without alias as it is written. Where the proxy writes it otherwise, it adds the
//! client's own text as the alias; so no client sees a shard's table names.

use sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr};

use super::parse::Parsed;
use super::{Replacement, Splice, When};
use crate::lex::words::TokenKind;

/// Aliases may not be longer; a longer text keeps the name that its shard gives it.
const LONGEST: usize = 256;

/// Splices that name the rewritten expressions of the query's select list.
pub(super) fn named(parsed: &Parsed<'_>, query: &Query, splices: &[Splice]) -> Vec<Splice> {
    let Some(select) = first_select(&query.body) else { return Vec::new() };
    let ranges = ranges(parsed, select);
    if ranges.len() != select.projection.len() {
        return Vec::new();
    }
    let items = select.projection.iter().zip(ranges);
    let rewritten = items.filter(|(item, (start, end))| {
        let inside = |splice: &&Splice| {
            let (from, to) = (parsed.span(*start, *start).start, parsed.span(*end, *end).start);
            from <= splice.span.start && splice.span.start < to
        };
        let bare = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => !name.value.starts_with('@'),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => !names[0].value.starts_with('@'),
            _ => false,
        };
        let unnamed = matches!(item, SelectItem::UnnamedExpr(_)) && !bare;
        unnamed && (*end - *start) as usize <= LONGEST && splices.iter().any(|splice| inside(&splice))
    });
    rewritten
        .map(|(_, (start, end))| Splice {
            span: parsed.span(end, end),
            with: Replacement::Name(parsed.span(start, end)),
            when: When::Always,
        })
        .collect()
}

/// The `SELECT` that names the columns of a query.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// From where to where each item of the first select list stands, its alias included.
fn ranges(parsed: &Parsed<'_>, select: &Select) -> Vec<(u32, u32)> {
    const MODIFIERS: [&str; 11] = [
        "all",
        "distinct",
        "distinctrow",
        "high_priority",
        "straight_join",
        "sql_small_result",
        "sql_big_result",
        "sql_buffer_result",
        "sql_no_cache",
        "sql_cache",
        "sql_calc_found_rows",
    ];
    const ENDS: [&str; 10] =
        ["from", "into", "where", "group", "having", "order", "limit", "union", "for", "procedure"];
    let start = parsed.word_at_top("select", 0).map_or(0, |select| select + 1);
    let skipped = parsed.tokens[start..]
        .iter()
        .take_while(|token| MODIFIERS.iter().any(|word| token.is(parsed.sql, word)))
        .count();
    let mut ranges = Vec::with_capacity(select.projection.len());
    let (mut depth, mut begin, mut end) = (0_i32, None, 0);
    for token in &parsed.tokens[start + skipped..] {
        let ends = depth == 0 && ENDS.iter().any(|word| token.is(parsed.sql, word));
        match token.kind {
            _ if ends => break,
            TokenKind::Symbol(b';') => break,
            TokenKind::Symbol(b',') if depth == 0 => {
                ranges.extend(begin.take().map(|begin| (begin, end)));
                continue;
            }
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth -= 1,
            _ => {}
        }
        begin.get_or_insert(u32::try_from(token.start).unwrap_or(u32::MAX));
        end = u32::try_from(token.end).unwrap_or(u32::MAX);
    }
    ranges.extend(begin.map(|begin| (begin, end)));
    ranges
}
