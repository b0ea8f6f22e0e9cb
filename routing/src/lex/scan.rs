//! One pass over a statement's bytes.

use super::{Backslash, DoubleQuotes, Lexed, Quoting, Region, RegionKind};

/// What no UTF-8 text contains: a mark begins with it, and so does its own escape.
const MARK: u8 = 0xFF;
/// After [`MARK`]: the byte itself.
const ESCAPED: u8 = 0x00;
/// After [`MARK`], at the start: the shape is the whole text.
const VERBATIM: u8 = 0x7F;
/// What a shape begins with that is the whole text.
pub(super) const WHOLE: [u8; 2] = [MARK, VERBATIM];
/// Its tables are named in literals.
const CATALOGUE: &[u8] = b"information_schema";

/// Takes `sql` apart into `out`, whose buffers are cleared and reused. Unterminated quotes and comments end with the
/// statement: the backend reports them.
pub fn lex(sql: &[u8], quoting: Quoting, out: &mut Lexed) {
    out.regions.clear();
    out.shape.clear();
    out.hint = None;
    out.placeholders = 0;
    out.second_statement = None;
    let shape = std::mem::take(&mut out.shape);
    let mut scan = Scan { sql, quoting, at: 0, copied: 0, shape, out, kept: Kept::Marks, words: 0 };
    scan.run();
    let Scan { shape, .. } = scan;
    out.shape = shape;
}

/// Where the end of a quoted piece is: just behind the closing quote, or the end of the text.
pub(super) fn quoted_end(sql: &[u8], start: usize, backslash: Backslash) -> usize {
    let quote = sql[start];
    let mut at = start + 1;
    while let Some(&byte) = sql.get(at) {
        if byte == quote {
            if sql.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else if byte == b'\\' && quote != b'`' && backslash == Backslash::Escapes {
            at += 2;
        } else {
            at += 1;
        }
    }
    sql.len()
}

/// Where a comment that starts here ends; `None` if none does. The line break that ends a line comment is not part of it.
pub(super) fn comment_end(sql: &[u8], at: usize) -> Option<usize> {
    let rest = &sql[at..];
    let line = |skip: usize| {
        let end = rest[skip..].iter().position(|&byte| byte == b'\n');
        end.map_or(sql.len(), |end| at + skip + end)
    };
    match rest {
        [b'#', ..] => Some(line(1)),
        [b'-', b'-'] => Some(sql.len()),
        [b'-', b'-', next, ..] if next.is_ascii_whitespace() || next.is_ascii_control() => Some(line(2)),
        [b'/', b'*', inner @ ..] => {
            let end = inner.windows(2).position(|pair| pair == b"*/");
            Some(end.map_or(sql.len(), |end| at + 2 + end + 2))
        }
        _ => None,
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Marks,
    Everything,
}

struct Scan<'a> {
    sql: &'a [u8],
    quoting: Quoting,
    at: usize,
    /// Everything before this is in the shape.
    copied: usize,
    shape: Vec<u8>,
    out: &'a mut Lexed,
    kept: Kept,
    words: u32,
}

impl Scan<'_> {
    fn run(&mut self) {
        while let Some(&byte) = self.sql.get(self.at) {
            match byte {
                b'\'' => {
                    self.region(RegionKind::String, quoted_end(self.sql, self.at, self.quoting.backslash))
                }
                b'"' if self.quoting.double == DoubleQuotes::String => {
                    self.region(RegionKind::String, quoted_end(self.sql, self.at, self.quoting.backslash));
                }
                b'"' | b'`' => self.quoted_name(),
                b'?' => {
                    self.out.placeholders = self.out.placeholders.saturating_add(1);
                    self.region(RegionKind::Placeholder, self.at + 1);
                }
                b'#' | b'-' | b'/' => match comment_end(self.sql, self.at) {
                    Some(end) => self.comment(end),
                    None => self.at += 1,
                },
                b'0'..=b'9' => self.number_or_word(),
                b'.' if self.starts_fraction() => self.region(RegionKind::Number, self.number_end(self.at)),
                b';' => self.semicolon(),
                _ if is_word(byte) => self.word(),
                _ => self.at += 1,
            }
        }
        self.copy_to(self.sql.len());
    }

    fn region(&mut self, kind: RegionKind, end: usize) {
        let start = self.at;
        self.at = end;
        self.out.regions.push(Region { start: position(start), end: position(end), kind });
        if self.kept == Kept::Marks {
            self.copy_to(start);
            self.shape.extend_from_slice(&[MARK, 1 + kind as u8]);
            self.copied = end;
        }
    }

    /// Comments vary (trace ids); hints and optimizer hints are part of the shape.
    fn comment(&mut self, end: usize) {
        let text = &self.sql[self.at..end];
        let inner = text.strip_prefix(b"/*").map(<[u8]>::trim_ascii_start);
        if inner.is_some_and(|inner| starts_with_ignore_case(inner, b"shardway:")) {
            self.out.hint = Some((position(self.at), position(end)));
            self.at = end;
        } else if inner.is_some_and(|inner| inner.starts_with(b"+")) {
            self.at = end;
        } else {
            self.region(RegionKind::Comment, end);
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let end = self.word_end(start);
        let text = &self.sql[start..end];
        let introduces = matches!(text, [b'x' | b'X' | b'b' | b'B' | b'n' | b'N']) || text[0] == b'_';
        if introduces && self.sql.get(end) == Some(&b'\'') {
            let backslash = self.quoting.backslash;
            self.region(RegionKind::Opaque, quoted_end(self.sql, end, backslash));
            return;
        }
        self.words += 1;
        if (self.words == 1 && !has_shape(text)) || text.eq_ignore_ascii_case(CATALOGUE) {
            self.verbatim();
        }
        self.at = end;
        // A qualified name may go on with digits: `t.1a`.
        if self.sql.get(end) == Some(&b'.') && self.sql.get(end + 1).is_some_and(|&next| is_word(next)) {
            self.at = self.word_end(end + 1);
        }
    }

    fn quoted_name(&mut self) {
        let start = self.at;
        self.at = quoted_end(self.sql, start, Backslash::Literal);
        if self.sql[start + 1..]
            .get(..CATALOGUE.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(CATALOGUE))
        {
            self.verbatim();
        }
    }

    fn verbatim(&mut self) {
        self.kept = Kept::Everything;
        self.shape.clear();
        self.shape.extend_from_slice(&WHOLE);
        self.copied = 0;
    }

    fn number_or_word(&mut self) {
        let start = self.at;
        if matches!(self.sql[start..], [b'0', b'x' | b'b', next, ..] if next.is_ascii_hexdigit()) {
            self.region(RegionKind::Opaque, self.word_end(start));
            return;
        }
        let digits = self.sql[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let next = self.sql.get(start + digits).copied().unwrap_or(b' ');
        let end = self.number_end(start);
        if end == start + digits && is_word(next) {
            // An identifier that begins with digits.
            self.at = self.word_end(start);
            return;
        }
        let kind = if end == start + digits { RegionKind::Integer } else { RegionKind::Number };
        self.region(kind, end);
    }

    /// `.5` after anything that is not a name.
    fn starts_fraction(&self) -> bool {
        let after_name =
            self.at > 0 && (is_word(self.sql[self.at - 1]) || matches!(self.sql[self.at - 1], b'`' | b'"'));
        !after_name && self.sql.get(self.at + 1).is_some_and(u8::is_ascii_digit)
    }

    /// Digits, a fraction, an exponent.
    fn number_end(&self, start: usize) -> usize {
        let digits = |at: usize| {
            at + self.sql[at.min(self.sql.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let mut end = digits(start);
        if self.sql.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(self.sql.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.sql.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
        end
    }

    fn word_end(&self, start: usize) -> usize {
        start + self.sql[start..].iter().take_while(|&&byte| is_word(byte)).count()
    }

    fn semicolon(&mut self) {
        self.at += 1;
        let mut at = self.at;
        while let Some(&byte) = self.sql.get(at) {
            if byte.is_ascii_whitespace() || byte == b';' || byte == 0 {
                at += 1;
            } else if let Some(end) = comment_end(self.sql, at) {
                at = end;
            } else {
                self.out.second_statement.get_or_insert(position(at));
                return;
            }
        }
    }

    fn copy_to(&mut self, end: usize) {
        for part in self.sql[self.copied..end].split_inclusive(|&byte| byte == MARK) {
            self.shape.extend_from_slice(part);
            if part.last() == Some(&MARK) {
                self.shape.push(ESCAPED);
            }
        }
        self.copied = end;
    }
}

fn has_shape(word: &[u8]) -> bool {
    const SHAPED: [&[u8]; 6] = [b"select", b"insert", b"update", b"delete", b"replace", b"with"];
    SHAPED.iter().any(|shaped| word.eq_ignore_ascii_case(shaped))
}

fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Packets are shorter than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
