//! May two servers that hold the same rows answer a read differently? Told by its words; what may is not compared.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{parse, steady};
use crate::lex::words::{self, TokenKind};
use crate::lex::{Lexed, RegionKind};
use crate::topology::{TableId, Topology};

/// How the rows of two equal answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// In any order.
    #[default]
    Free,
    /// In one order alone: that of the one table's primary key, or of more columns than it.
    Total,
}

/// Functions whose value is the server's, the connection's, or chance; or that take rows in the order they come.
const OWN_CALLS: [&str; 52] = [
    "any_value",
    "benchmark",
    "connection_id",
    "curdate",
    "current_role",
    "curtime",
    "database",
    "encrypt",
    "first_value",
    "found_rows",
    "get_lock",
    "group_concat",
    "is_free_lock",
    "is_used_lock",
    "json_arrayagg",
    "json_objectagg",
    "lag",
    "last_insert_id",
    "last_value",
    "lastval",
    "lead",
    "load_file",
    "master_gtid_wait",
    "master_pos_wait",
    "nextval",
    "now",
    "nth_value",
    "ntile",
    "rand",
    "random_bytes",
    "release_all_locks",
    "release_lock",
    "row_count",
    "row_number",
    "schema",
    "session_user",
    "setval",
    "sleep",
    "source_pos_wait",
    "sys_guid",
    "sysdate",
    "system_user",
    "unix_timestamp",
    "user",
    "uuid",
    "uuid_short",
    "uuid_v4",
    "uuid_v7",
    "version",
    "wait_for_executed_gtid_set",
    "wait_until_sql_thread_after_gtids",
    "ps_current_thread_id",
];

/// The same, and no parenthesis need follow.
const OWN_WORDS: [&str; 9] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "utc_date",
    "utc_time",
    "utc_timestamp",
];

/// How answers to a read of these tables are to be compared.
///
/// # Errors
/// Why they cannot be.
pub fn order(sql: &[u8], lexed: &Lexed, topology: &Topology, tables: &[TableId]) -> Result<Order, String> {
    let tokens = words::tokens(sql, &lexed.regions);
    for (token, next) in tokens.iter().zip(tokens.iter().skip(1).map(Some).chain([None])) {
        if token.kind == TokenKind::Symbol(b'@') {
            return Err("a variable".to_owned());
        }
        let is_called = next.is_some_and(|next| next.kind == TokenKind::Symbol(b'('));
        let own = OWN_WORDS.iter().chain(OWN_CALLS.iter().filter(|_| is_called));
        if let Some(own) = own.into_iter().find(|word| token.is(sql, word)) {
            return Err((*own).to_owned());
        }
    }
    let is_total = || {
        let [table] = tables else { return None };
        let primary = &topology.table_of(*table).schema.as_ref()?.primary;
        total(&parse::parse(sql, lexed, &tokens).ok()?, primary)
    };
    let order = is_total().map_or(Order::Free, |()| Order::Total);
    // Which rows are the first must not be left to the server.
    if order == Order::Free && tokens.iter().any(|token| token.is(sql, "limit")) {
        return Err("limit without the primary key in its order".to_owned());
    }
    Ok(order)
}

/// Does the statement read one table once, row by row, in an order that its primary key settles?
fn total(parsed: &parse::Parsed<'_>, primary: &[String]) -> Option<()> {
    const OTHER_ROWS: [&str; 8] =
        ["union", "except", "intersect", "join", "straight_join", "group", "distinct", "select"];
    let order = parsed.word_at_top("order", 0)?;
    let from = parsed.word_at_top("from", 0).filter(|from| *from < order)?;
    let end = parsed.word_at_top("where", from).unwrap_or(order);
    let is_other = |at: usize| OTHER_ROWS.iter().any(|word| parsed.tokens[at].is(parsed.sql, word));
    let is_several = (1..parsed.tokens.len()).any(is_other)
        || parsed.tokens[from..end].iter().any(|token| token.kind == TokenKind::Symbol(b','));
    // An alias may give the key's name to something else.
    let is_renamed = parsed.tokens[..from].windows(2).any(|pair| {
        let name = pair[1].name(parsed.sql);
        let is_key = |name: String| primary.iter().any(|column| column.eq_ignore_ascii_case(&name));
        !matches!(pair[0].kind, TokenKind::Symbol(b',' | b'.' | b'('))
            && !pair[0].is(parsed.sql, "select")
            && name.is_some_and(is_key)
    });
    // The top LIMIT is of these rows; another one is of a subquery's.
    let is_whole = !is_several && !is_renamed && !primary.is_empty();
    steady::is_ordered_by(parsed, primary).filter(|()| is_whole)
}

/// A statement without its values, comments and spaces: what statements of one kind have in common.
#[must_use]
pub fn fingerprint(sql: &[u8], lexed: &Lexed) -> String {
    const LENGTH_MAX: usize = 1_000;
    let mut text = String::new();
    let (mut before, mut values) = (TokenKind::Symbol(b'('), 0_usize);
    for token in words::tokens(sql, &lexed.regions) {
        let is_value = matches!(token.kind, TokenKind::Region(index) if lexed.regions[index].kind != RegionKind::Comment);
        let comma = token.kind == TokenKind::Symbol(b',');
        if is_value {
            values += 1;
            if values == 2 && text.ends_with("?, ") {
                // A list is one value, however long.
                text.truncate(text.len() - 2);
                text.push('…');
            }
            if values > 1 {
                before = token.kind;
                continue;
            }
        } else if !(comma && values > 0) {
            values = 0;
        } else if values > 1 {
            continue;
        }
        let closes = matches!(token.kind, TokenKind::Symbol(b',' | b')' | b'.' | b'('));
        let opened = matches!(before, TokenKind::Symbol(b'(' | b'.' | b'@'));
        if !text.is_empty() && !closes && !opened {
            text.push(' ');
        }
        text.push_str(if is_value {
            "?"
        } else {
            std::str::from_utf8(&sql[token.start..token.end]).unwrap_or("…")
        });
        if comma && values == 1 {
            text.push(' ');
        }
        before = token.kind;
    }
    if text.len() > LENGTH_MAX {
        // Long statements often differ in their last words alone.
        let mut rest = DefaultHasher::new();
        text.hash(&mut rest);
        let end = (0..=LENGTH_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str(&format!("… {:016x}", rest.finish()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex::{self, Quoting};
    use crate::topology::Topology;

    fn lexed(sql: &str) -> Lexed {
        let mut lexed = Lexed::default();
        lex::lex(sql.as_bytes(), Quoting::default(), &mut lexed);
        lexed
    }

    #[test]
    fn what_a_server_decides_for_itself_is_not_compared() {
        let order = |sql: &str| order(sql.as_bytes(), &lexed(sql), &Topology::empty(), &[]);
        let why = |sql: &str| order(sql).expect_err(sql);
        assert_eq!(order("SELECT a, now, user FROM t WHERE version = 3"), Ok(Order::Free));
        assert_eq!(why("SELECT NOW() FROM t"), "now");
        assert_eq!(why("SELECT 1 FROM t WHERE d < CURRENT_DATE"), "current_date");
        assert_eq!(why("SELECT 1 FROM t WHERE d > UTC_TIMESTAMP - INTERVAL 1 HOUR"), "utc_timestamp");
        assert_eq!(why("SELECT USER() FROM t"), "user");
        assert_eq!(why("SELECT ROW_NUMBER() OVER (ORDER BY a) FROM t"), "row_number");
        assert_eq!(why("SELECT @a FROM t"), "a variable");
        why("SELECT a FROM t LIMIT 1");
    }

    #[test]
    fn the_order_is_total_when_one_tables_primary_key_settles_it() {
        let total = |sql: &str| {
            let lexed = lexed(sql);
            let tokens = words::tokens(sql.as_bytes(), &lexed.regions);
            let parsed = parse::parse(sql.as_bytes(), &lexed, &tokens).unwrap_or_else(|_| panic!("{sql}"));
            total(&parsed, &["id".to_owned()]).is_some()
        };
        assert!(total("SELECT id, name FROM t WHERE a IN (1, 2) ORDER BY name, id DESC"));
        assert!(total("SELECT t.id FROM t ORDER BY t.id LIMIT 3"));
        for other in [
            "SELECT id, name FROM t ORDER BY name",
            "SELECT name AS id FROM t ORDER BY id",
            "SELECT name id FROM t ORDER BY id",
            "SELECT a.id FROM t a, t b ORDER BY a.id",
            "SELECT a.id FROM t a JOIN t b ON a.x = b.x ORDER BY a.id",
            "SELECT id FROM t UNION ALL SELECT id FROM t ORDER BY id",
            "SELECT name FROM t GROUP BY name ORDER BY id",
            "SELECT (SELECT x FROM t LIMIT 1), id FROM t ORDER BY id",
        ] {
            assert!(!total(other), "{other}");
        }
    }

    #[test]
    fn statements_of_one_kind_have_one_fingerprint() {
        let of = |sql: &str| fingerprint(sql.as_bytes(), &lexed(sql));
        assert_eq!(of("SELECT  a.b /* x */ FROM a WHERE id=7"), "SELECT a.b FROM a WHERE id = ?");
        assert_eq!(
            of("SELECT a FROM t WHERE id IN (1, 2,3) AND b = 'x'"),
            "SELECT a FROM t WHERE id IN(?…) AND b = ?"
        );
        assert_eq!(of("SELECT a FROM t WHERE id IN (1,2)"), of("SELECT a FROM t WHERE id IN (?, ?, ?)"));
        assert_eq!(of("SELECT COUNT(*) FROM t"), "SELECT COUNT(*) FROM t");
        assert_ne!(of("SELECT a FROM t WHERE id = 1"), of("SELECT a FROM t WHERE id > 1"));
        let long = |end: &str| of(&format!("SELECT {} FROM t WHERE {end}", "ä, ".repeat(600) + "z"));
        assert_eq!(long("a = 1"), long("a = 2"));
        assert_ne!(long("a = 1"), long("b = 1"));
    }
}
