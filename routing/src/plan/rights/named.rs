//! The databases that a statement names, found by tokens: where a name with a dot stands tells what is before the dot.
//!
//! In a list of tables it is a database; in an expression it is a table, unless two dots or a parenthesis follow. Only
//! words that every server reserves end a list of tables, so no alias can. A name too many refuses a statement that a
//! server would run; a name too few is a hole.

use super::super::session::Words;
use crate::lex::words::TokenKind;

/// A database with the name behind its dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub database: String,
    pub table: Option<String>,
    /// Its token.
    pub at: usize,
}

/// Where the scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A definition: every dot is behind a database.
    Definition,
    Tables,
    /// What a join demands: a comma leads back to the tables.
    Demand,
    Expression,
}

/// One level of parentheses.
#[derive(Debug, Clone, Copy)]
struct Level {
    place: Place,
    /// `FROM` stands before tables; in `TRIM(x FROM y)` it does not.
    query: Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Query {
    Yes,
    No,
}

pub(super) fn databases(words: Words<'_>) -> Vec<Named> {
    let mut found = by_keyword(words);
    let mut levels = vec![Level { place: first(words), query: Query::Yes }];
    for at in 0..words.len() {
        let level = *levels.last().expect("the bottom is never popped");
        match words.tokens[at].kind {
            TokenKind::Symbol(b'(') => levels.push(inside(words, at, level.place)),
            TokenKind::Symbol(b')') if levels.len() > 1 => drop(levels.pop()),
            TokenKind::Symbol(b',') if level.place == Place::Demand => set(&mut levels, Place::Tables),
            TokenKind::Symbol(_) | TokenKind::Region(_) => {}
            _ if is_qualifier(words, at) => {
                if level.place != Place::Expression && level.place != Place::Demand || is_database(words, at)
                {
                    found.push(Named { database: text(words, at), table: words.name(at + 2), at });
                }
            }
            TokenKind::Quoted => {}
            TokenKind::Word if words.symbol(at.wrapping_sub(1)) == Some(b'.') => {}
            TokenKind::Word => {
                if words.is(at, "SELECT") {
                    levels.pop();
                    levels.push(Level { place: Place::Expression, query: Query::Yes });
                } else {
                    set(&mut levels, after(words, at, level));
                }
            }
        }
    }
    found
}

fn set(levels: &mut [Level], place: Place) {
    levels.last_mut().expect("the bottom is never popped").place = place;
}

/// What a statement begins with.
fn first(words: Words<'_>) -> Place {
    const DEFINITIONS: [&str; 11] = [
        "CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "ANALYZE", "CHECK", "CHECKSUM", "OPTIMIZE",
        "REPAIR", "GRANT",
    ];
    const TABLES: [&str; 5] = ["SHOW", "DESC", "DESCRIBE", "EXPLAIN", "CALL"];
    let is = |list: &[&str]| list.iter().any(|word| words.is(0, word));
    if is(&DEFINITIONS) {
        Place::Definition
    } else if is(&TABLES) {
        Place::Tables
    } else {
        Place::Expression
    }
}

/// Where a parenthesis leads.
fn inside(words: Words<'_>, at: usize, place: Place) -> Level {
    let before = |list: &[&str]| at > 0 && list.iter().any(|word| words.is(at - 1, word));
    let place = match place {
        Place::Definition => Place::Definition,
        _ if before(&["NEXTVAL", "LASTVAL", "SETVAL"]) => Place::Tables,
        Place::Tables if !before(&["JSON_TABLE", "PARTITION", "AS"]) => Place::Tables,
        _ => Place::Expression,
    };
    Level { place, query: Query::No }
}

/// Where a keyword leads.
fn after(words: Words<'_>, at: usize, level: Level) -> Place {
    const ENDS: [&str; 8] = ["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "SET", "PROCEDURE", "FETCH"];
    let before = |word: &str| at > 0 && words.is(at - 1, word);
    let place = level.place;
    if place == Place::Definition {
        return place;
    }
    let is = |list: &[&str]| list.iter().any(|word| words.is(at, word));
    if (words.is(at, "FROM") && level.query == Query::Yes)
        || is(&["INTO", "TABLE", "DELETE"])
        || (is(&["INSERT", "REPLACE"]) && words.symbol(at + 1) != Some(b'('))
        || (words.is(at, "UPDATE") && !["FOR", "KEY", "ON"].iter().any(|word| before(word)))
        || (words.is(at, "FOR") && before("VALUE"))
        || (place == Place::Demand && is(&["JOIN", "STRAIGHT_JOIN"]))
    {
        return Place::Tables;
    }
    match place {
        Place::Tables if words.is(at, "ON") => {
            let duplicate = words.is(at + 1, "DUPLICATE") && words.is(at + 2, "KEY");
            if duplicate { Place::Expression } else { Place::Demand }
        }
        // As a function it may stand in a demand.
        Place::Tables if words.is(at, "VALUES") => Place::Expression,
        // `USE INDEX FOR ORDER BY (i)` ends no list, nor does `WITHIN GROUP`.
        Place::Tables | Place::Demand if is(&ENDS) && !before("FOR") && !before("WITHIN") => {
            Place::Expression
        }
        _ => place,
    }
}

/// A name with a dot behind it, and none before.
fn is_qualifier(words: Words<'_>, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| words.symbol(before));
    words.symbol(at + 1) == Some(b'.') && before != Some(b'.')
}

/// `database.table.column`, `database.function(`.
fn is_database(words: Words<'_>, at: usize) -> bool {
    matches!(words.symbol(at + 3), Some(b'.' | b'('))
}

/// Databases that stand without a dot.
fn by_keyword(words: Words<'_>) -> Vec<Named> {
    let named = |at: usize| Named { database: text(words, at), table: None, at };
    let is_database = |at: usize| words.is(at, "DATABASE") || words.is(at, "SCHEMA");
    let is = |at: usize, list: &[&str]| list.iter().any(|word| words.is(at, word));
    if is(0, &["SHOW"]) && !words.is(1, "CREATE") {
        return shown(words).map(named).into_iter().collect();
    }
    let verb = ["CREATE", "ALTER", "DROP", "SHOW", "EXPLAIN", "DESC", "DESCRIBE"];
    let Some(at) = (1..words.len()).find(|at| is_database(*at)).filter(|_| is(0, &verb)) else {
        return Vec::new();
    };
    let name = (at + 1..words.len()).find(|at| !is(*at, &["IF", "NOT", "EXISTS"]));
    // `DATABASE()` is the current one.
    name.filter(|at| words.symbol(*at).is_none()).map(named).into_iter().collect()
}

/// The database of a `SHOW`: `FROM db`, or the second `FROM` behind that of a table.
fn shown(words: Words<'_>) -> Option<usize> {
    const OF_TABLE: [&str; 5] = ["COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"];
    let end = (1..words.len()).find(|at| words.is(*at, "LIKE") || words.is(*at, "WHERE"));
    let mut from = (1..end.unwrap_or(words.len())).filter(|at| words.is(*at, "FROM") || words.is(*at, "IN"));
    let first = from.next()?;
    let of_table = (1..first).any(|at| OF_TABLE.iter().any(|word| words.is(at, word)));
    let from = if of_table { from.next()? } else { first };
    Some(from + 1).filter(|at| *at < words.len())
}

/// A name that is not UTF-8 is none that an account lists.
fn text(words: Words<'_>, at: usize) -> String {
    words.name(at).unwrap_or_else(|| {
        let token = words.tokens[at];
        String::from_utf8_lossy(&words.sql[token.start..token.end]).into_owned()
    })
}
