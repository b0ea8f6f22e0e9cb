//! The byte lexer of the hot path: a statement's *shape* and the places of what varies in it.
//!
//! Two statements have the same shape when they are the same bytes outside their regions. A region is a literal,
//! a `?` placeholder's position, or a comment; so a plan made for one statement fits every statement of its shape,
//! with positions told as "so many bytes after region N". Nothing is allocated once the buffers have grown.
//!
//! Only `SELECT`, `INSERT`, `REPLACE`, `UPDATE`, `DELETE` and `WITH` have shapes; of any other statement every byte
//! counts, because a literal may decide what it means (`SET autocommit = 0`, `KILL 7`, a table's name in a condition on
//! `information_schema`).

mod scan;
mod several;
mod text;
pub mod words;

pub use scan::lex;
pub use several::{Cut, several};
pub use text::{expand_executable_comments, parser_text};

use crate::key::Literal;
use crate::plan::{OperandSign, Place};

/// A varying part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub start: u32,
    pub end: u32,
    pub kind: RegionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Digits only.
    Integer,
    /// A number with a point or exponent.
    Number,
    /// `'…'` or `"…"` without introducer.
    String,
    /// `x'…'`, `0x…`, `b'…'`, `0b…`, `n'…'`, `_utf8mb4'…'`: shown to the planner as opaque.
    Opaque,
    /// `?`
    Placeholder,
    /// `/* … */`, `-- …`, `# …`, never an executable comment and never a shardway hint (both are part of the shape).
    Comment,
}

/// A statement taken apart; reused from statement to statement.
#[derive(Debug, Clone, Default)]
pub struct Lexed {
    /// In order of position, not overlapping.
    pub regions: Vec<Region>,
    /// The statement with every region replaced by a mark of its kind: the plan cache's key.
    pub shape: Vec<u8>,
    /// The text of a `/* shardway: … */` hint, as a byte range of the statement.
    pub hint: Option<(u32, u32)>,
    pub placeholders: u16,
    /// Where a second statement begins behind a `;`.
    pub second_statement: Option<u32>,
}

impl Lexed {
    /// Is the shape the whole text, so that every statement of it has the same literals?
    #[must_use]
    pub fn is_verbatim(&self) -> bool {
        self.shape.starts_with(&scan::WHOLE)
    }

    /// The `/* shardway: … */` of the statement that this was made from.
    #[must_use]
    pub fn hint_in<'a>(&self, sql: &'a [u8]) -> Option<&'a [u8]> {
        self.hint.map(|(start, end)| &sql[start as usize..end as usize])
    }
}

/// How the session's `sql_mode` reads quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quoting {
    pub double: DoubleQuotes,
    pub backslash: Backslash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoubleQuotes {
    #[default]
    String,
    /// `ANSI_QUOTES`.
    Identifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backslash {
    #[default]
    Escapes,
    /// `NO_BACKSLASH_ESCAPES`.
    Literal,
}

/// The flavour and version number (`80032`, `101106`) of the servers behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerVersion {
    pub flavour: Flavour,
    pub number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    MySql,
    MariaDb,
}

/// The place of a byte offset of the lexed statement; offsets inside a region count as its start.
#[must_use]
pub fn place(regions: &[Region], offset: u32) -> Place {
    let after = regions.partition_point(|region| region.end <= offset);
    let from = after.checked_sub(1).map_or(0, |last| regions[last].end);
    let limit = regions.get(after).map_or(offset, |next| offset.min(next.start));
    Place { after: u32::try_from(after).unwrap_or(u32::MAX), delta: limit - from }
}

/// The byte offset of a place in any statement of the shape.
#[must_use]
pub fn offset(regions: &[Region], place: Place) -> usize {
    let from = place.after.checked_sub(1).map_or(0, |last| regions[last as usize].end);
    (from + place.delta) as usize
}

/// The literal that a region holds. `scratch` receives the bytes of a string with escapes.
pub fn literal<'a>(
    sql: &'a [u8],
    region: Region,
    sign: OperandSign,
    quoting: Quoting,
    scratch: &'a mut Vec<u8>,
) -> Literal<'a> {
    let text = &sql[region.start as usize..region.end as usize];
    match (region.kind, sign) {
        (RegionKind::Integer, _) => integer(text, sign),
        (RegionKind::Number, OperandSign::Plus) => Literal::Number(text),
        (RegionKind::String, OperandSign::Plus) => match text {
            [quote, inner @ .., last] if quote == last => {
                Literal::String(unescape(inner, *quote, quoting, scratch))
            }
            _ => Literal::Opaque,
        },
        _ => Literal::Opaque,
    }
}

fn integer(text: &[u8], sign: OperandSign) -> Literal<'_> {
    let mut value: i128 = 0;
    for digit in text {
        let next = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0')));
        let Some(next) = next else { return Literal::Opaque };
        value = next;
    }
    Literal::Integer(if sign == OperandSign::Minus { -value } else { value })
}

/// The value of a quoted string, as MySQL reads it.
fn unescape<'a>(inner: &'a [u8], quote: u8, quoting: Quoting, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let escapes = quoting.backslash == Backslash::Escapes;
    if !inner.iter().any(|&byte| byte == quote || (escapes && byte == b'\\')) {
        return inner;
    }
    scratch.clear();
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == quote {
            // A doubled quote; the second one is part of the pair.
            bytes.next();
            scratch.push(byte);
        } else if escapes && byte == b'\\' {
            match bytes.next() {
                Some(b'0') => scratch.push(0),
                Some(b'b') => scratch.push(8),
                Some(b'n') => scratch.push(b'\n'),
                Some(b'r') => scratch.push(b'\r'),
                Some(b't') => scratch.push(b'\t'),
                Some(b'Z') => scratch.push(26),
                // Outside of LIKE patterns these two keep their backslash.
                Some(kept @ (b'%' | b'_')) => scratch.extend_from_slice(&[b'\\', kept]),
                Some(other) => scratch.push(other),
                None => {}
            }
        } else {
            scratch.push(byte);
        }
    }
    scratch
}

#[cfg(test)]
mod tests;
