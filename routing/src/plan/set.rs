//! `SET`: what it assigns, and what of it would not hold over several connections.

use super::planner::pin;
use super::rights::{self, Needs};
use super::session::{Words, gives_insert_id};
use super::{
    Assignment, Autocommit, Characteristics, Isolation, NewAutocommit, SessionCommand, Set, TransactionAccess,
};
use crate::lex::Flavour;
use crate::refusal::{self, Refusal};

/// The assignments of a `SET`, or why it is refused.
pub(super) fn command(words: Words<'_>, flavour: Flavour) -> Result<SessionCommand, Refusal> {
    if words.is(1, "TRANSACTION") {
        let characteristics = characteristics(words.from(2));
        return Ok(characteristics.map_or(SessionCommand::Malformed, SessionCommand::NextTransaction));
    }
    if reads_tables(words) {
        return Err(refusal::UNSUPPORTED.because("SET from tables; SELECT … INTO a variable"));
    }
    if (0..words.len()).any(|at| gives_insert_id(words, at)) {
        return Err(refusal::UNSUPPORTED.because("LAST_INSERT_ID with an argument in a SET"));
    }
    let mut set = Set {
        autocommit: None,
        others: Vec::new(),
        without_autocommit: Vec::new(),
        needs: Needs::default(),
        pin: pin(words.sql, words.tokens),
    };
    let mut others = Vec::new();
    for part in parts(words) {
        match assignment(part)? {
            Assigned::Autocommit(value) => {
                if set.autocommit.replace(value).is_some() {
                    return Err(refusal::SET_MIXED.because("autocommit, twice"));
                }
            }
            Assigned::Other(other) => {
                set.others.push(other);
                others.push(part.all());
            }
        }
    }
    set.needs = rights::of_set(words, &set.others, flavour);
    if set.autocommit.is_some() {
        set.without_autocommit = [&b"SET "[..], &others.join(&b", "[..])].concat();
    }
    Ok(SessionCommand::Set(set))
}

/// What stands between the commas.
fn parts(words: Words<'_>) -> Vec<Words<'_>> {
    let mut parts = Vec::new();
    let mut start = 1;
    let mut depth = 0_u32;
    let is_transaction = (words.is(1, "SESSION") || words.is(1, "LOCAL")) && words.is(2, "TRANSACTION");
    for at in 1..=words.len() {
        match words.symbol(at) {
            Some(b'(') => depth += 1,
            Some(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        // `SET SESSION TRANSACTION ISOLATION LEVEL …, READ ONLY` is one assignment.
        let parted = depth == 0 && words.symbol(at) == Some(b',') && !is_transaction;
        if at == words.len() || parted {
            parts.push(Words { sql: words.sql, tokens: &words.tokens[start..at] });
            start = at + 1;
        }
    }
    parts
}

/// What `SET TRANSACTION` says; `None` for anything that no server takes.
fn characteristics(words: Words<'_>) -> Option<Characteristics> {
    let mut all = Characteristics::default();
    for part in words.parted() {
        let one = characteristic(part)?;
        let again = one.isolation.and(all.isolation).is_some() || one.access.and(all.access).is_some();
        if again {
            return None;
        }
        all = all.changed(one);
    }
    Some(all)
}

fn characteristic(words: Words<'_>) -> Option<Characteristics> {
    let levels = [
        ("ISOLATION LEVEL READ UNCOMMITTED", Isolation::ReadUncommitted),
        ("ISOLATION LEVEL READ COMMITTED", Isolation::ReadCommitted),
        ("ISOLATION LEVEL REPEATABLE READ", Isolation::RepeatableRead),
        ("ISOLATION LEVEL SERIALIZABLE", Isolation::Serializable),
    ];
    let modes = [("READ ONLY", TransactionAccess::ReadOnly), ("READ WRITE", TransactionAccess::ReadWrite)];
    let isolation = levels.into_iter().find(|(phrase, _)| words.are(phrase)).map(|(_, level)| level);
    let access = modes.into_iter().find(|(phrase, _)| words.are(phrase)).map(|(_, mode)| mode);
    (isolation.is_some() || access.is_some()).then_some(Characteristics { isolation, access })
}

/// A query without `FROM` is no more than an expression: clients build their `sql_mode` with one.
fn reads_tables(words: Words<'_>) -> bool {
    let any = |word: &str| (1..words.len()).any(|at| words.is(at, word));
    any("table") || (any("select") && any("from"))
}

/// One part of a `SET`.
enum Assigned {
    Autocommit(NewAutocommit),
    Other(Assignment),
}

fn assignment(words: Words<'_>) -> Result<Assigned, Refusal> {
    let unsupported = || refusal::UNSUPPORTED.because(format!("SET {}", words.text(0).unwrap_or_default()));
    let Some(symbol) = words.symbol(0) else { return plain(words).ok_or_else(unsupported)? };
    if symbol != b'@' {
        return Err(unsupported());
    }
    if words.symbol(1) != Some(b'@') {
        return Ok(Assigned::Other(Assignment::UserVariable));
    }
    // `@@name`, `@@session.name`
    let (scope, at) = if words.symbol(3) == Some(b'.') { (words.upper(2), 4) } else { (None, 2) };
    let rest = words.from(at);
    // Without a scope and with the signs it is for the next transaction only, unlike any other variable.
    let once = ["tx_isolation", "tx_read_only", "transaction_isolation", "transaction_read_only"];
    let name = rest.name(0).unwrap_or_default();
    if scope.is_none() && once.iter().any(|once| once.eq_ignore_ascii_case(&name)) {
        let detail = format!("SET @@{name} without a scope; say SET TRANSACTION, or SET SESSION TRANSACTION");
        return Err(refusal::UNSUPPORTED.because(detail));
    }
    scoped(scope.as_deref(), rest).ok_or_else(unsupported)?
}

/// An assignment that begins with a word.
fn plain(words: Words<'_>) -> Option<Result<Assigned, Refusal>> {
    let first = words.upper(0)?;
    match first.as_str() {
        "NAMES" | "CHARSET" => Some(Ok(Assigned::Other(Assignment::Names))),
        "CHARACTER" if words.is(1, "SET") => Some(Ok(Assigned::Other(Assignment::Names))),
        "SESSION" | "LOCAL" if words.is(1, "TRANSACTION") => {
            Some(Ok(Assigned::Other(Assignment::SessionTransaction)))
        }
        "SESSION" | "LOCAL" | "GLOBAL" | "PERSIST" | "PERSIST_ONLY" => scoped(Some(&first), words.from(1)),
        "PASSWORD" | "ROLE" | "DEFAULT" | "RESOURCE" | "STATEMENT" | "TRANSACTION" => None,
        _ => scoped(None, words),
    }
}

/// `name = value` under a scope.
fn scoped(scope: Option<&str>, words: Words<'_>) -> Option<Result<Assigned, Refusal>> {
    if matches!(scope, Some("GLOBAL" | "PERSIST" | "PERSIST_ONLY")) {
        return Some(Err(refusal::SET_GLOBAL.because(words.name(0).unwrap_or_default())));
    }
    let name = words.name(0)?.to_ascii_lowercase();
    let value = match (words.symbol(1)?, words.symbol(2)) {
        (b'=', _) => 2,
        (b':', Some(b'=')) => 3,
        _ => return None,
    };
    match name.as_str() {
        "autocommit" => Some(autocommit(words.from(value))),
        // What a move follows must have every write, as it is.
        "sql_log_bin"
        | "binlog_format"
        | "binlog_row_image"
        | "binlog_row_value_options"
        | "skip_replication"
        | "gtid_next"
        | "gtid_domain_id"
        | "gtid_seq_no"
        | "server_id" => Some(Err(refusal::HIDES_WRITES.because(name))),
        // These change what the next statement alone does, on one connection alone.
        "insert_id" | "last_insert_id" | "identity" | "timestamp" | "rand_seed1" | "rand_seed2"
        | "pseudo_thread_id" => None,
        // Each shard would count by itself.
        "sql_select_limit" if !is_unlimited(words, value) => None,
        // Each connection has rows of its own that were the last.
        "sql_auto_is_null" if !is_off(words, value) => None,
        // Commits of the proxy's own would begin another transaction, or end the connection.
        "completion_type" if !is_off(words, value) && !is_no_chain(words, value) => None,
        _ => Some(Ok(Assigned::Other(Assignment::Variable(name)))),
    }
}

fn autocommit(value: Words<'_>) -> Result<Assigned, Refusal> {
    let literal = match (value.len(), value.text(0).unwrap_or_default().to_ascii_uppercase().as_str()) {
        (1, "1" | "ON" | "TRUE" | "DEFAULT" | "'ON'" | "\"ON\"") => Some(Autocommit::On),
        (1, "0" | "OFF" | "FALSE" | "'OFF'" | "\"OFF\"") => Some(Autocommit::Off),
        _ => None,
    };
    let computed = match (value.len(), value.upper(0)) {
        (0, _) => return Err(refusal::SET_VALUE.because("autocommit")),
        _ if !is_enclosed(value) => return Err(refusal::SET_VALUE.because("autocommit")),
        // A word alone is text to servers.
        (1, Some(word)) => format!("'{word}'").into_bytes(),
        _ => value.all().to_vec(),
    };
    Ok(Assigned::Autocommit(literal.map_or(NewAutocommit::Computed(computed), NewAutocommit::Literal)))
}

/// Can nothing of it stand outside, once it is put into parentheses?
fn is_enclosed(words: Words<'_>) -> bool {
    let mut depth = 0_i32;
    let never_left = (0..words.len()).all(|at| {
        depth += match words.symbol(at) {
            Some(b'(') => 1,
            Some(b')') => -1,
            _ => 0,
        };
        depth >= 0
    });
    never_left && depth == 0
}

fn is_unlimited(words: Words<'_>, at: usize) -> bool {
    words.len() == at + 1 && (words.is(at, "default") || words.number(at) == Some(u64::MAX))
}

fn is_off(words: Words<'_>, at: usize) -> bool {
    words.len() == at + 1
        && (["default", "off", "false"].iter().any(|off| words.is(at, off)) || words.number(at) == Some(0))
}

fn is_no_chain(words: Words<'_>, at: usize) -> bool {
    let text = words.text(at).filter(|_| words.len() == at + 1).unwrap_or_default();
    text.trim_matches(['\'', '"']).eq_ignore_ascii_case("no_chain")
}
