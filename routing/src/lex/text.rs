//! Other texts of the same length: for the server version's executable comments, and for the parser.

use super::scan::{comment_end, quoted_end};
use super::words::{self, TokenKind};
use super::{Backslash, Flavour, Quoting, Region, RegionKind, ServerVersion};

/// Executable comments (`/*!40101 … */`, `/*M! … */`) of versions that `server` executes, with their markers blanked;
/// the others blanked whole. Same length as `sql`; `None` when there are none, which is the usual case.
#[must_use]
pub fn expand_executable_comments(sql: &[u8], quoting: Quoting, server: ServerVersion) -> Option<Vec<u8>> {
    if !sql.windows(3).any(|three| matches!(three, b"/*!" | b"/*M")) {
        return None;
    }
    let mut text = sql.to_vec();
    let mut at = 0;
    let mut open = 0_u32;
    while at < sql.len() {
        if let Some(head) = Head::at(sql, at) {
            if head.runs_on(server) {
                text[at..at + head.length].fill(b' ');
                at += head.length;
                open += 1;
            } else {
                let end = comment_end(sql, at).unwrap_or(sql.len());
                text[at..end].fill(b' ');
                at = end;
            }
        } else if open > 0 && sql[at..].starts_with(b"*/") {
            text[at..at + 2].fill(b' ');
            at += 2;
            open -= 1;
        } else {
            at = match sql[at] {
                b'\'' | b'"' => quoted_end(sql, at, quoting.backslash),
                b'`' => quoted_end(sql, at, Backslash::Literal),
                _ => comment_end(sql, at).unwrap_or(at + 1),
            };
        }
    }
    Some(text)
}

/// The start of an executable comment.
struct Head {
    flavour: Option<Flavour>,
    version: Option<u32>,
    length: usize,
}

impl Head {
    fn at(sql: &[u8], at: usize) -> Option<Head> {
        let (flavour, skip) = match &sql[at..] {
            [b'/', b'*', b'!', ..] => (None, 3),
            [b'/', b'*', b'M', b'!', ..] => (Some(Flavour::MariaDb), 4),
            _ => return None,
        };
        let digits = sql[at + skip..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = if digits < 5 { 0 } else { digits };
        let number = std::str::from_utf8(&sql[at + skip..at + skip + digits]).ok()?;
        Some(Head { flavour, version: number.parse().ok(), length: skip + digits })
    }

    /// As both servers document it; MariaDB skips the versions that only MySQL ever had.
    fn runs_on(&self, server: ServerVersion) -> bool {
        if self.flavour.is_some_and(|flavour| flavour != server.flavour) {
            return false;
        }
        let Some(version) = self.version else { return true };
        let foreign = server.flavour == Flavour::MariaDb
            && self.flavour.is_none()
            && (50_700..=99_999).contains(&version);
        version <= server.number && !foreign
    }
}

/// A copy for the parser with the same byte offsets and no surprises: one line, strings without content, comments
/// blanked, modifiers and clauses it does not know blanked or respelled. `None` when it is not UTF-8 outside of
/// literals and comments.
#[must_use]
pub fn parser_text(sql: &[u8], regions: &[Region]) -> Option<String> {
    let mut text = sql.to_vec();
    for byte in &mut text {
        if byte.is_ascii_whitespace() || *byte == 0x0B {
            *byte = b' ';
        }
    }
    for region in regions {
        let bytes = &mut text[region.start as usize..region.end as usize];
        match region.kind {
            RegionKind::String | RegionKind::Opaque => {
                bytes.fill(b'x');
                if let [first, .., last] = bytes {
                    (*first, *last) = (b'\'', b'\'');
                }
            }
            RegionKind::Comment => bytes.fill(b' '),
            RegionKind::Integer | RegionKind::Number | RegionKind::Placeholder => {}
        }
    }
    respell(sql, regions, &mut text);
    String::from_utf8(text).ok()
}

fn respell(sql: &[u8], regions: &[Region], text: &mut [u8]) {
    const MODIFIERS: [&str; 5] = ["low_priority", "high_priority", "delayed", "quick", "ignore"];
    let tokens = words::tokens(sql, regions);
    let verbs = ["update", "delete", "insert", "replace"];
    if tokens.first().is_some_and(|first| verbs.iter().any(|verb| first.is(sql, verb))) {
        let modifiers =
            tokens[1..].iter().take_while(|token| MODIFIERS.iter().any(|word| token.is(sql, word)));
        for token in modifiers {
            text[token.start..token.end].fill(b' ');
        }
    }
    for four in tokens.windows(4) {
        let phrase = ["lock", "in", "share", "mode"];
        if four.iter().zip(phrase).all(|(token, word)| token.is(sql, word)) {
            text[four[0].start..four[3].end].fill(b' ');
            text[four[0].start..four[0].start + 9].copy_from_slice(b"FOR SHARE");
        }
    }
    // Under ANSI_QUOTES a double quote that is no literal quotes a name, which the parser reads in backticks.
    for token in tokens.iter().filter(|token| token.kind == TokenKind::Quoted && sql[token.start] == b'"') {
        text[token.start] = b'`';
        text[token.end - 1] = b'`';
    }
}
