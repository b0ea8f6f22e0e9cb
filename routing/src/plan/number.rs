//! Where an `INSERT` leaves the numbering of its rows to somebody else: `AUTO_INCREMENT` and its like, which shards
//! cannot count by themselves.

use sqlparser::ast::Insert;

use super::planner::Planner;
use super::{Numbering, Operand, RowNumber, Span, write};
use crate::lex::words::{Token, TokenKind};
use crate::topology::TableId;

/// Of an `INSERT` or `REPLACE` with rows of its own, into a table whose ids are generated.
pub(super) fn of_insert(planner: &Planner<'_>, insert: &Insert, table: TableId) -> Option<Numbering> {
    let of = planner.names.topology.table_of(table);
    let column = &of.id.as_ref()?.column;
    let columns = write::columns(insert, of.schema.as_deref())?;
    let place = columns.iter().position(|name| name.eq_ignore_ascii_case(column));
    let given = write::given(planner, insert, &columns, column);
    let quoted = format!("`{}`", column.replace('`', "``"));
    let walk = Walk { planner };
    if !insert.assignments.is_empty() {
        let row = match place {
            None => RowNumber::Missing {
                at: walk.after(planner.parsed.word_at_top("set", 0)?),
                before: format!("{quoted} = "),
                after: ", ".to_owned(),
            },
            Some(_) => walk.number(&[walk.assigned(column)?], *given.first()?),
        };
        return Some(Numbering { table, name: None, rows: vec![row] });
    }
    let values =
        planner.parsed.word_at_top("values", 0).or_else(|| planner.parsed.word_at_top("value", 0))?;
    let rows = walk.rows(values);
    if rows.len() != given.len() || (place.is_none() && insert.columns.is_empty()) {
        return None;
    }
    let name = match place {
        Some(_) => None,
        None => Some((walk.after(walk.list_before(values)?), format!("{quoted}, "))),
    };
    let row = |(row, given): (&Row<'_>, Operand)| match place {
        None => Some(RowNumber::Missing {
            at: walk.after(row.open),
            before: String::new(),
            after: ", ".to_owned(),
        }),
        Some(place) => Some(walk.number(row.items.get(place)?, given)),
    };
    let rows = rows.iter().zip(given).map(row).collect::<Option<Vec<RowNumber>>>()?;
    Some(Numbering { table, name, rows })
}

/// Finds places among the tokens.
struct Walk<'a> {
    planner: &'a Planner<'a>,
}

/// One row of `VALUES`.
struct Row<'a> {
    /// The token of its `(`.
    open: usize,
    /// The tokens of each value.
    items: Vec<Vec<&'a Token>>,
}

impl<'a> Walk<'a> {
    fn tokens(&self) -> &'a [Token] {
        self.planner.parsed.tokens
    }

    fn after(&self, token: usize) -> Span {
        let at = u32::try_from(self.tokens()[token].end).unwrap_or(u32::MAX);
        self.planner.parsed.span(at, at)
    }

    /// A number that is plainly there, or not; an expression is the server's, which shards must not ask.
    fn number(&self, item: &[&Token], given: Operand) -> RowNumber {
        let (Some(first), Some(last)) = (item.first(), item.last()) else { return RowNumber::Computed };
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let span = self.planner.parsed.span(at(first.start), at(last.end));
        match given {
            Operand::Computed if item.len() == 1 && first.is(self.planner.parsed.sql, "default") => {
                RowNumber::Given { operand: Operand::Null, span }
            }
            Operand::Computed => RowNumber::Computed,
            operand => RowNumber::Given { operand, span },
        }
    }

    /// The rows after `VALUES`.
    fn rows(&self, values: usize) -> Vec<Row<'a>> {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut depth = 0_u32;
        for (index, token) in self.tokens().iter().enumerate().skip(values + 1) {
            match token.kind {
                TokenKind::Symbol(b'(') if depth == 0 => {
                    depth = 1;
                    rows.push(Row { open: index, items: vec![Vec::new()] });
                    continue;
                }
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth = depth.saturating_sub(1),
                TokenKind::Word if depth == 0 && !token.is(self.planner.parsed.sql, "row") => break,
                _ => {}
            }
            let Some(row) = rows.last_mut().filter(|_| depth > 0) else { continue };
            if depth == 1 && token.kind == TokenKind::Symbol(b',') {
                row.items.push(Vec::new());
            } else if let Some(item) = row.items.last_mut() {
                item.push(token);
            }
        }
        rows
    }

    /// The `(` of the column list that ends right before a token.
    fn list_before(&self, token: usize) -> Option<usize> {
        let mut depth = 0_u32;
        for index in (0..token).rev() {
            match self.tokens()[index].kind {
                TokenKind::Symbol(b')') => depth += 1,
                TokenKind::Symbol(b'(') if depth == 1 => return Some(index),
                TokenKind::Symbol(b'(') => depth -= 1,
                _ if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// The one token that `SET column = …` gives.
    fn assigned(&self, column: &str) -> Option<&'a Token> {
        let tokens = self.tokens();
        let named = |token: &Token| {
            token.name(self.planner.parsed.sql).is_some_and(|name| name.eq_ignore_ascii_case(column))
        };
        let ends = |token: Option<&Token>| {
            token.is_none_or(|token| matches!(token.kind, TokenKind::Symbol(b',' | b';') | TokenKind::Word))
        };
        let set = self.planner.parsed.word_at_top("set", 0)?;
        let found = (set + 1..tokens.len()).find(|&index| {
            named(&tokens[index])
                && tokens.get(index + 1).is_some_and(|next| next.kind == TokenKind::Symbol(b'='))
        })?;
        tokens.get(found + 2).filter(|_| ends(tokens.get(found + 3)))
    }
}
