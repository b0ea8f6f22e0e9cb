//! The words and symbols of a statement, outside of its literals and comments.

use super::scan::{is_word, quoted_end};
use super::{Backslash, Region};

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub start: usize,
    pub end: usize,
    pub kind: TokenKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    /// A single byte of punctuation.
    Symbol(u8),
    /// A literal or placeholder: the region of this index.
    Region(usize),
}

impl Token {
    /// Is it this keyword, in any letter case?
    #[must_use]
    pub fn is(&self, sql: &[u8], word: &str) -> bool {
        self.kind == TokenKind::Word && sql[self.start..self.end].eq_ignore_ascii_case(word.as_bytes())
    }

    /// A name's text without quotes; `None` for symbols, literals and text that is not UTF-8.
    #[must_use]
    pub fn name(&self, sql: &[u8]) -> Option<String> {
        match self.kind {
            TokenKind::Word => std::str::from_utf8(&sql[self.start..self.end]).ok().map(str::to_owned),
            TokenKind::Quoted => {
                let quote = char::from(sql[self.start]);
                let inner = sql.get(self.start + 1..self.end.checked_sub(1)?)?;
                let inner = std::str::from_utf8(inner).ok()?;
                Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
            }
            TokenKind::Symbol(_) | TokenKind::Region(_) => None,
        }
    }
}

/// All tokens but comments.
#[must_use]
pub fn tokens(sql: &[u8], regions: &[Region]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    for (index, region) in regions.iter().enumerate() {
        between(sql, at, region.start as usize, &mut tokens);
        at = region.end as usize;
        if region.kind != super::RegionKind::Comment {
            tokens.push(Token { start: region.start as usize, end: at, kind: TokenKind::Region(index) });
        }
    }
    between(sql, at, sql.len(), &mut tokens);
    tokens
}

fn between(sql: &[u8], from: usize, to: usize, tokens: &mut Vec<Token>) {
    let mut at = from;
    while at < to {
        let byte = sql[at];
        // The vertical tab is one to servers.
        let end = if byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0B) {
            at += 1;
            continue;
        } else if matches!(byte, b'`' | b'"') {
            quoted_end(&sql[..to], at, Backslash::Literal)
        } else if is_word(byte) {
            at + sql[at..to].iter().take_while(|&&byte| is_word(byte)).count()
        } else if sql[at..to].starts_with(b"/*") {
            // Hints are not regions, as they belong to the shape.
            super::scan::comment_end(&sql[..to], at).unwrap_or(to)
        } else {
            at + 1
        };
        let kind = match byte {
            b'`' | b'"' => Some(TokenKind::Quoted),
            _ if is_word(byte) => Some(TokenKind::Word),
            b'/' if end > at + 1 => None,
            symbol => Some(TokenKind::Symbol(symbol)),
        };
        tokens.extend(kind.map(|kind| Token { start: at, end, kind }));
        at = end;
    }
}
