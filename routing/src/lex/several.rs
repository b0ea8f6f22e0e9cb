//! Several statements in one packet.

use super::scan::{comment_end, is_word, quoted_end};
use super::{Backslash, DoubleQuotes, Quoting};

/// Where a statement ends, before its `;`, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub end: usize,
    pub next: usize,
}

/// The first statement of several; `None`: there is only one. A definition with a body counts as one with all that
/// follows it, because nobody here knows where it ends.
#[must_use]
pub fn several(sql: &[u8], quoting: Quoting) -> Option<Cut> {
    if !sql.contains(&b';') {
        return None;
    }
    let mut words = Words::default();
    let mut at = 0;
    while let Some(&byte) = sql.get(at) {
        at = match byte {
            b'"' if quoting.double == DoubleQuotes::Identifier => quoted_end(sql, at, Backslash::Literal),
            b'\'' | b'"' => quoted_end(sql, at, quoting.backslash),
            b'`' => quoted_end(sql, at, Backslash::Literal),
            b'#' | b'-' | b'/' => comment_end(sql, at).unwrap_or(at + 1),
            b';' => match begin(sql, at + 1) {
                Some(next) if !words.has_body() => return Some(Cut { end: at, next }),
                _ => return None,
            },
            _ if is_word(byte) => {
                let end = at + sql[at..].iter().take_while(|&&byte| is_word(byte)).count();
                words.see(&sql[at..end]);
                end
            }
            _ => at + 1,
        };
    }
    None
}

/// Where the next statement begins, if there is one.
fn begin(sql: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&byte) = sql.get(at) {
        if byte.is_ascii_whitespace() || byte == b';' || byte == 0 {
            at += 1;
        } else if sql[at..].starts_with(b"/*!") || sql[at..].starts_with(b"/*M!") {
            return Some(at);
        } else if let Some(end) = comment_end(sql, at) {
            at = end;
        } else {
            return Some(at);
        }
    }
    None
}

/// What the words so far say about the statement.
#[derive(Default)]
struct Words {
    seen: u32,
    kind: Kind,
}

#[derive(Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Creates,
    WithBody,
}

impl Words {
    fn see(&mut self, word: &[u8]) {
        const BODIES: [&[u8]; 5] = [b"procedure", b"function", b"trigger", b"event", b"package"];
        let is = |other: &[u8]| word.eq_ignore_ascii_case(other);
        self.seen += 1;
        match self.kind {
            Kind::Plain if self.seen == 1 && (is(b"create") || is(b"alter")) => self.kind = Kind::Creates,
            // `BEGIN NOT ATOMIC`
            Kind::Plain if self.seen == 2 && is(b"not") => self.kind = Kind::WithBody,
            Kind::Creates if BODIES.iter().any(|body| is(body)) => self.kind = Kind::WithBody,
            _ => {}
        }
    }

    fn has_body(&self) -> bool {
        self.kind == Kind::WithBody
    }
}
