//! What `CREATE`, `ALTER` and `DROP` need of an account, by their words.

use super::super::session::Words;
use super::Need;
use crate::lex::words::TokenKind;

use Need::{Administration, Definitions, Files, Programs, Unclassified};

/// What is created, altered or dropped.
const DEFINED: [(&str, &[Need]); 3] = [
    ("TABLE|TABLES|INDEX|VIEW|SEQUENCE|DATABASE|SCHEMA", &[Definitions]),
    ("FUNCTION|PROCEDURE|TRIGGER|EVENT|PACKAGE", &[Definitions, Programs]),
    ("USER|ROLE|SERVER|TABLESPACE|LOGFILE|RESOURCE|INSTANCE|REFERENCE", &[Administration]),
];

pub(super) fn needs(words: Words<'_>) -> Vec<Need> {
    const BEFORE: [&str; 14] = [
        "OR",
        "REPLACE",
        "IF",
        "NOT",
        "EXISTS",
        "TEMPORARY",
        "AGGREGATE",
        "UNIQUE",
        "FULLTEXT",
        "SPATIAL",
        "ONLINE",
        "OFFLINE",
        "IGNORE",
        "UNDO",
    ];
    let mut needs = Vec::new();
    let mut at = 1;
    loop {
        if BEFORE.iter().any(|word| words.is(at, word)) {
            at += 1;
        } else if words.is(at, "ALGORITHM") || (words.is(at, "SQL") && words.is(at + 1, "SECURITY")) {
            at += 3;
        } else if words.is(at, "DEFINER") {
            needs.push(Programs);
            at = behind_account(words, at + 2);
        } else {
            break;
        }
    }
    let known = DEFINED.iter().find(|(list, _)| list.split('|').any(|word| words.is(at, word)));
    needs.extend(known.map_or(&[Definitions, Unclassified][..], |(_, needs)| needs));
    if needs.contains(&Programs) && administers(words) {
        needs.push(Administration);
    }
    if (1..words.len()).any(|at| words.is(at, "SONAME")) || uses_files(words) {
        needs.push(Files);
    }
    needs
}

/// `CURRENT_USER()`, `name@host` with quotes or without.
fn behind_account(words: Words<'_>, at: usize) -> usize {
    match (words.symbol(at + 1), words.symbol(at + 2)) {
        (Some(b'('), Some(b')')) => at + 3,
        // Its host is gone, as the names of variables are.
        (Some(b'@'), _) => at + 2,
        _ => at + 1,
    }
}

/// Does a stored program hold what its maker may not say himself, or what nobody can read before it runs?
fn administers(words: Words<'_>) -> bool {
    const PHRASES: [&[&str]; 15] = [
        &["PREPARE"],
        &["EXECUTE"],
        &["GRANT"],
        &["REVOKE"],
        &["INSTALL"],
        &["UNINSTALL"],
        &["CREATE", "USER"],
        &["ALTER", "USER"],
        &["DROP", "USER"],
        &["RENAME", "USER"],
        &["CREATE", "ROLE"],
        &["DROP", "ROLE"],
        &["SET", "PASSWORD"],
        &["SET", "GLOBAL"],
        &["SET", "PERSIST"],
    ];
    let is = |at: usize, phrase: &[&str]| phrase.iter().zip(at..).all(|(word, at)| words.is(at, word));
    // `@@global.x = 1`, of which the name is not here.
    let is_set = |at: usize| {
        (words.symbol(at), words.symbol(at + 1)) == (Some(b'@'), Some(b'@'))
            && matches!(words.symbol(at + 2), Some(b'=' | b':'))
    };
    let other_language = |at: usize| words.is(at, "LANGUAGE") && !words.is(at + 1, "SQL");
    (1..words.len()).any(|at| PHRASES.iter().any(|phrase| is(at, phrase)) || is_set(at) || other_language(at))
}

/// Does a table keep its rows in a file of the client's choice, or on a server of its choice?
fn uses_files(words: Words<'_>) -> bool {
    const ENGINES: [&str; 5] = ["CONNECT", "FEDERATED", "FEDERATEDX", "SPIDER", "S3"];
    const OPTIONS: [&str; 3] = ["FILE_NAME", "TABLE_TYPE", "CONNECTION"];
    let engine = |at: usize| {
        let name = words.text(at).unwrap_or_default().trim_matches(['\'', '"', '`']);
        ENGINES.iter().any(|of| of.eq_ignore_ascii_case(name))
    };
    let mut depth = 0_u32;
    for at in 1..words.len() {
        match words.tokens[at].kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth = depth.saturating_sub(1),
            _ if words.is(at, "SELECT") => return false,
            _ => {}
        }
        let directory = words.is(at + 1, "DIRECTORY") && (words.is(at, "DATA") || words.is(at, "INDEX"));
        let option = depth == 0
            && OPTIONS.iter().any(|of| words.is(at, of))
            && (words.symbol(at + 1) == Some(b'=')
                || words.tokens.get(at + 1).is_some_and(|next| matches!(next.kind, TokenKind::Region(_))));
        let chosen = words.is(at, "ENGINE") || words.is(at, "TYPE");
        if directory || option || (chosen && (engine(at + 1) || engine(at + 2))) {
            return true;
        }
    }
    false
}
