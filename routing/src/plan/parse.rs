//! The parser, bounded, with its positions told as byte offsets.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, Ident, Query, SetExpr, Statement, TimezoneInfo, UnaryOperator, Value, Visit, Visitor,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span as ParserSpan};

use super::{MomentForm, Operand, OperandSign, Span};
use crate::lex::words::{Token, TokenKind};
use crate::lex::{self, Lexed, RegionKind};
use crate::refusal::{self, Refusal};

/// Operators in one statement at most: a longer chain makes a tree so deep that dropping it overflows the stack.
const OPERATORS: usize = 3_000;

/// A parsed statement with what is needed to find its parts in the bytes.
pub(super) struct Parsed<'a> {
    pub sql: &'a [u8],
    pub lexed: &'a Lexed,
    pub tokens: &'a [Token],
    pub statement: Statement,
    /// Byte offsets by character, where they differ.
    characters: Option<Vec<u32>>,
    length: u32,
}

/// Why there is no syntax tree.
pub(super) enum NotParsed {
    Refused(Refusal),
    /// The parser does not know this; the server may.
    Unknown(String),
}

pub(super) fn parse<'a>(
    sql: &'a [u8],
    lexed: &'a Lexed,
    tokens: &'a [Token],
) -> Result<Parsed<'a>, NotParsed> {
    let operators = tokens.iter().filter(|token| is_operator(sql, token)).count();
    if operators > OPERATORS {
        let detail = format!("{operators} operators, {OPERATORS} are the limit");
        return Err(NotParsed::Refused(refusal::TOO_COMPLEX.because(detail)));
    }
    let Some(text) = lex::parser_text(sql, &lexed.regions) else {
        return Err(NotParsed::Unknown("a name that is not UTF-8".to_owned()));
    };
    let mut statements =
        Parser::parse_sql(&MySqlDialect {}, &text).map_err(|error| NotParsed::Unknown(error.to_string()))?;
    let characters = (!text.is_ascii())
        .then(|| text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect());
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => match statement.visit(&mut Bodies) {
            ControlFlow::Continue(()) => Ok(Parsed { sql, lexed, tokens, statement, characters, length }),
            ControlFlow::Break(what) => Err(NotParsed::Unknown(format!("{what} in place of SELECT"))),
        },
        _ => Err(NotParsed::Unknown("not one statement".to_owned())),
    }
}

/// Looks for queries that are no `SELECT`: nobody looks for tables in there.
struct Bodies;

impl Visitor for Bodies {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        body(&query.body)
    }
}

fn body(of: &SetExpr) -> ControlFlow<&'static str> {
    match of {
        // A query inside is visited by itself.
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, right, op: _, set_quantifier: _ } => {
            body(left)?;
            body(right)
        }
        SetExpr::Table(_) => ControlFlow::Break("TABLE"),
        SetExpr::Insert(_) => ControlFlow::Break("INSERT"),
        SetExpr::Update(_) => ControlFlow::Break("UPDATE"),
        SetExpr::Delete(_) => ControlFlow::Break("DELETE"),
        SetExpr::Merge(_) => ControlFlow::Break("MERGE"),
    }
}

fn is_operator(sql: &[u8], token: &Token) -> bool {
    const WORDS: [&str; 11] =
        ["and", "or", "xor", "div", "mod", "like", "regexp", "rlike", "union", "except", "intersect"];
    match token.kind {
        TokenKind::Symbol(symbol) => b"+-*/|&^<>=!%~".contains(&symbol),
        TokenKind::Word => WORDS.iter().any(|word| token.is(sql, word)),
        TokenKind::Quoted | TokenKind::Region(_) => false,
    }
}

impl Parsed<'_> {
    fn offset(&self, location: Location) -> u32 {
        let character = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        match &self.characters {
            None => u32::try_from(character).unwrap_or(u32::MAX),
            Some(offsets) => offsets.get(character).copied().unwrap_or(self.length),
        }
    }

    /// The bytes of a parser span.
    pub fn range(&self, span: ParserSpan) -> (u32, u32) {
        (self.offset(span.start), self.offset(span.end))
    }

    /// A byte range as it is found in every statement of the shape.
    pub fn span(&self, start: u32, end: u32) -> Span {
        Span { start: lex::place(&self.lexed.regions, start), end: lex::place(&self.lexed.regions, end) }
    }

    /// A region, whatever its length: from the end of what is before it to the start of what follows.
    pub fn around(&self, region: lex::Region) -> Span {
        self.span(region.start, region.end)
    }

    pub fn ident(&self, ident: &Ident) -> (u32, u32) {
        self.range(ident.span)
    }

    /// The name that begins at this byte, without quotes.
    pub fn name_at(&self, start: u32) -> Option<String> {
        let token = self.tokens.iter().find(|token| u32::try_from(token.start) == Ok(start))?;
        token.name(self.sql)
    }

    /// The value an expression stands for, if it is written there.
    pub fn operand(&self, expr: &Expr) -> Operand {
        match expr {
            Expr::Nested(inner) => self.operand(inner),
            Expr::Value(value) => match &value.value {
                Value::Null => Operand::Null,
                Value::Placeholder(_) => self.placeholder(self.range(value.span).0),
                _ => self.literal(self.range(value.span).0, OperandSign::Plus),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
                Expr::Value(value) => self.literal(self.range(value.span).0, OperandSign::Minus),
                _ => Operand::Computed,
            },
            Expr::TypedString(typed) => {
                let form = match typed.data_type {
                    DataType::Date => MomentForm::Date,
                    DataType::Timestamp(None, TimezoneInfo::None) => MomentForm::Timestamp,
                    _ => return Operand::Computed,
                };
                match self.literal(self.range(typed.value.span).0, OperandSign::Plus) {
                    Operand::Literal { region, .. } => Operand::Moment { region, form },
                    _ => Operand::Computed,
                }
            }
            _ => Operand::Computed,
        }
    }

    fn placeholder(&self, start: u32) -> Operand {
        let before = self.lexed.regions.iter().take_while(|region| region.start < start);
        let index = before.filter(|region| region.kind == RegionKind::Placeholder).count();
        u16::try_from(index).map_or(Operand::Computed, Operand::Parameter)
    }

    fn literal(&self, start: u32, sign: OperandSign) -> Operand {
        let regions = &self.lexed.regions;
        let Ok(index) = regions.binary_search_by_key(&start, |region| region.start) else {
            return Operand::Computed;
        };
        // `'a' 'b'` is one string of two literals.
        let joined = regions.get(index + 1).is_some_and(|next| {
            let between = &self.sql[regions[index].end as usize..next.start as usize];
            matches!(next.kind, RegionKind::String | RegionKind::Comment) && between.trim_ascii().is_empty()
        });
        if joined && regions[index].kind == RegionKind::String && self.continues(index) {
            return Operand::Computed;
        }
        u32::try_from(index).map_or(Operand::Computed, |region| Operand::Literal { region, sign })
    }

    /// Is the next token after this region, comments aside, a string again?
    fn continues(&self, index: usize) -> bool {
        let at = self.tokens.iter().position(|token| token.kind == TokenKind::Region(index));
        let next = at.and_then(|at| self.tokens.get(at + 1));
        next.is_some_and(|token| match token.kind {
            TokenKind::Region(next) => self.lexed.regions[next].kind == RegionKind::String,
            _ => false,
        })
    }

    /// The first token of that word outside of parentheses, from a token index on.
    pub fn word_at_top(&self, word: &str, from: usize) -> Option<usize> {
        let mut depth = 0_i32;
        for (index, token) in self.tokens.iter().enumerate().skip(from) {
            match token.kind {
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth -= 1,
                TokenKind::Word if depth == 0 && token.is(self.sql, word) => return Some(index),
                _ => {}
            }
        }
        None
    }

    pub fn has_word(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(self.sql, word))
    }

    /// Does this stand anywhere but in literals and comments, be it in an optimizer hint?
    pub fn mentions(&self, text: &str) -> bool {
        let ends = self.lexed.regions.iter().map(|region| region.end as usize);
        let starts = self.lexed.regions.iter().map(|region| region.start as usize);
        let pieces = std::iter::once(0).chain(ends).zip(starts.chain([self.sql.len()]));
        pieces.into_iter().any(|(from, to)| {
            let piece = &self.sql[from..to];
            piece.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
        })
    }

    /// `||`, `&&`, `XOR` and `!` bind differently in the parser than in MySQL: conditions beside them prove nothing.
    pub fn has_doubtful_operators(&self) -> bool {
        let doubled = self.tokens.windows(2).any(|pair| {
            let same = |symbol| pair.iter().all(|token| token.kind == TokenKind::Symbol(symbol));
            pair[0].end == pair[1].start && (same(b'|') || same(b'&'))
        });
        let not = self
            .tokens
            .windows(2)
            .any(|pair| pair[0].kind == TokenKind::Symbol(b'!') && pair[1].kind != TokenKind::Symbol(b'='));
        doubled || not || self.has_word("xor")
    }

    /// Where the statement ends: before trailing semicolons and comments.
    pub fn end(&self) -> u32 {
        let last = self.tokens.iter().rfind(|token| token.kind != TokenKind::Symbol(b';'));
        last.map_or(self.length, |token| u32::try_from(token.end).unwrap_or(u32::MAX))
    }
}
