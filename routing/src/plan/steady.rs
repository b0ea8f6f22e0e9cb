//! Does a condition find the same rows when it is asked twice in a row, under locks?
//!
//! Told by its words: what is not known to be steady is not. A subquery reads other rows than a moment before, time goes
//! on, a variable may be assigned on the way.

use super::parse::Parsed;
use crate::lex::words::TokenKind;

/// Functions whose value depends on nothing but their arguments, and words that stand before a parenthesis.
const STEADY: [&str; 124] = [
    "abs",
    "adddate",
    "all",
    "and",
    "any",
    "ascii",
    "asin",
    "acos",
    "atan",
    "atan2",
    "between",
    "bin",
    "bit_count",
    "bit_length",
    "by",
    "case",
    "cast",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "conv",
    "convert",
    "cos",
    "cot",
    "crc32",
    "date",
    "date_add",
    "date_format",
    "date_sub",
    "datediff",
    "day",
    "dayname",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "degrees",
    "div",
    "else",
    "elt",
    "exp",
    "extract",
    "field",
    "find_in_set",
    "floor",
    "format",
    "from_days",
    "greatest",
    "hex",
    "hour",
    "if",
    "ifnull",
    "in",
    "inet_aton",
    "inet_ntoa",
    "instr",
    "interval",
    "is",
    "isnull",
    "json_contains",
    "json_extract",
    "json_length",
    "json_unquote",
    "json_valid",
    "last_day",
    "lcase",
    "least",
    "left",
    "length",
    "like",
    "ln",
    "locate",
    "log",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "makedate",
    "maketime",
    "md5",
    "microsecond",
    "mid",
    "minute",
    "mod",
    "month",
    "not",
    "nullif",
    "octet_length",
    "or",
    "ord",
    "position",
    "pow",
    "power",
    "quarter",
    "radians",
    "regexp",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "second",
    "sha1",
    "sha2",
    "sign",
    "sqrt",
    "strcmp",
    "substr",
    "substring",
    "then",
    "timestampdiff",
    "trim",
    "truncate",
    "upper",
    "when",
    "where",
    "year",
];

/// Words that are functions without a parenthesis, or that bring other rows in.
const FICKLE: [&str; 9] = [
    "select",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "utc_timestamp",
    "utc_date",
    "utc_time",
];

/// What makes the tokens from this one on fickle; `None`: nothing.
pub(super) fn fickle(parsed: &Parsed<'_>, from: usize) -> Option<String> {
    let text = |index: usize| {
        let token = &parsed.tokens[index];
        String::from_utf8_lossy(&parsed.sql[token.start..token.end]).to_ascii_lowercase()
    };
    for (index, token) in parsed.tokens.iter().enumerate().skip(from) {
        let is_called = parsed.tokens.get(index + 1).is_some_and(|next| next.kind == TokenKind::Symbol(b'('));
        match token.kind {
            TokenKind::Word => {
                let word = text(index);
                let is_known = STEADY.contains(&word.as_str());
                if FICKLE.contains(&word.as_str()) || (is_called && !is_known) {
                    return Some(word);
                }
            }
            TokenKind::Quoted if is_called => return Some(text(index)),
            TokenKind::Symbol(b'=')
                if index > from && parsed.tokens[index - 1].kind == TokenKind::Symbol(b':') =>
            {
                return Some(":=".to_owned());
            }
            TokenKind::Quoted | TokenKind::Symbol(_) | TokenKind::Region(_) => {}
        }
    }
    None
}

/// Do these columns, mere names at the top of the statement, stand in its `ORDER BY`?
pub(super) fn is_ordered_by(parsed: &Parsed<'_>, columns: &[String]) -> Option<()> {
    let order = parsed.word_at_top("order", 0)? + 2;
    let end = parsed.word_at_top("limit", order).unwrap_or(parsed.tokens.len());
    let terms = parsed.tokens[order..end].split(|token| token.kind == TokenKind::Symbol(b','));
    let mut names = Vec::new();
    for term in terms {
        let mut term = term.to_vec();
        term.pop_if(|token| token.is(parsed.sql, "asc") || token.is(parsed.sql, "desc"));
        // `u.id` is the column of the only table there is.
        match term.as_slice() {
            [name] => names.push(name.name(parsed.sql)?),
            [_, dot, name] if dot.kind == TokenKind::Symbol(b'.') => names.push(name.name(parsed.sql)?),
            _ => {}
        }
    }
    let is_there = |column: &String| names.iter().any(|name| name.eq_ignore_ascii_case(column));
    columns.iter().all(is_there).then_some(())
}
