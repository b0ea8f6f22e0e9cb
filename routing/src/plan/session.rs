//! Statements about the session, recognised by their words: the parser knows few of them.

use super::{
    Access, Completion, Fact, KillScope, Plan, Savepoint, SessionCommand, Shown, TransactionAccess, set,
};
use crate::lex::Flavour;
use crate::lex::words::{Token, TokenKind};
use crate::refusal::{self, Refusal};

/// The session's own answer to a statement, if it is one of those.
pub(super) fn command(words: Words<'_>, flavour: Flavour) -> Option<Plan> {
    let found = match words.upper(0)?.as_str() {
        "BEGIN" if words.rest_is(1, &["WORK"]) => Ok(SessionCommand::Begin),
        "START" if words.is(1, "TRANSACTION") => {
            Ok(if begins(words) { SessionCommand::Begin } else { SessionCommand::Malformed })
        }
        "COMMIT" => Ok(SessionCommand::Commit(completion(words)?)),
        "ROLLBACK" if words.is(1, "TO") || words.is(2, "TO") => {
            Ok(SessionCommand::Savepoint(Savepoint::RollbackTo(words.name(words.len() - 1)?)))
        }
        "ROLLBACK" => Ok(SessionCommand::Rollback(completion(words)?)),
        "SAVEPOINT" if words.len() == 2 => Ok(SessionCommand::Savepoint(Savepoint::Set(words.name(1)?))),
        "RELEASE" if words.is(1, "SAVEPOINT") && words.len() == 3 => {
            Ok(SessionCommand::Savepoint(Savepoint::Release(words.name(2)?)))
        }
        "USE" if words.len() == 2 => Ok(SessionCommand::Use { database: words.name(1)? }),
        "SET" => set::command(words, flavour),
        "SHOW" => Ok(show(words)?),
        "KILL" => kill(words),
        "EXPLAIN" if words.is(1, "ROUTE") && words.len() > 2 => {
            Ok(SessionCommand::ExplainRoute { offset: u32::try_from(words.tokens[2].start).ok()? })
        }
        "SELECT" => Ok(select(words)?),
        _ => return None,
    };
    Some(found.map_or_else(Plan::Refused, Plan::Session))
}

/// Is it one with a row for an answer that a backend can give as well?
pub(super) fn selects(plan: &Plan) -> bool {
    use SessionCommand::{ConnectionId, CurrentDatabase, LastInsertId};
    matches!(plan, Plan::Session(LastInsertId { .. } | CurrentDatabase { .. } | ConnectionId { .. }))
}

/// A function or variable about the session, at the start of these tokens, and how many of them it takes.
pub(super) fn fact(sql: &[u8], tokens: &[Token]) -> Option<(Fact, usize)> {
    let words = Words { sql, tokens };
    if words.symbol(0) == Some(b'@') && words.symbol(1) == Some(b'@') {
        let scoped = words.symbol(3) == Some(b'.') && (words.is(2, "session") || words.is(2, "local"));
        let at = if scoped { 4 } else { 2 };
        let known = words.is(at, "last_insert_id") || words.is(at, "identity");
        return known.then_some((Fact::LastInsertId, at + 1));
    }
    if words.symbol(1) != Some(b'(') || words.symbol(2) != Some(b')') {
        return None;
    }
    let fact = match words.upper(0)?.as_str() {
        "LAST_INSERT_ID" => Fact::LastInsertId,
        "ROW_COUNT" => Fact::RowCount,
        "FOUND_ROWS" => Fact::FoundRows,
        "CONNECTION_ID" => Fact::ConnectionId,
        "DATABASE" | "SCHEMA" => Fact::Database,
        "USER" | "SESSION_USER" | "SYSTEM_USER" => Fact::User,
        _ => return None,
    };
    Some((fact, 3))
}

/// `LAST_INSERT_ID(value)`: what the function answers from here on.
pub(super) fn gives_insert_id(words: Words<'_>, at: usize) -> bool {
    words.is(at, "last_insert_id") && words.symbol(at + 1) == Some(b'(') && words.symbol(at + 2) != Some(b')')
}

/// Statements that the proxy does not run, whatever tables they name.
pub(super) fn unsupported(sql: &[u8], tokens: &[Token]) -> Option<Refusal> {
    let words = Words { sql, tokens };
    let first = words.upper(0)?;
    let refused = match first.as_str() {
        "XA" | "HANDLER" | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "LOCK" | "UNLOCK" | "LOAD" | "SHUTDOWN"
        | "CHANGE" | "PURGE" | "STOP" | "START" | "BINLOG" | "INSTALL" | "UNINSTALL" | "RESET" | "CLONE"
        | "RESTART" | "IMPORT" | "BEGIN" => true,
        "DROP" => words.is(1, "PREPARE"),
        "FLUSH" => true,
        _ => false,
    };
    if refused {
        return Some(refusal::UNSUPPORTED.because(first));
    }
    // Only what these write answers with the new value.
    let answers = ["INSERT", "REPLACE", "UPDATE"].contains(&first.as_str());
    let gives = !answers && (1..words.len()).any(|at| gives_insert_id(words, at));
    gives.then(|| refusal::UNSUPPORTED.because("LAST_INSERT_ID with an argument, but in INSERT and UPDATE"))
}

/// Does a statement that nobody parsed read or write?
pub(super) fn access(sql: &[u8], tokens: &[Token]) -> Option<(Access, &'static str)> {
    let words = Words { sql, tokens };
    let at = tokens.iter().position(|token| token.kind != TokenKind::Symbol(b'('))?;
    let mut first = words.upper(at)?;
    if first == "WITH"
        && let Some(verb) = verb_behind(Words { sql, tokens: &tokens[at..] })
    {
        first = verb;
    }
    let find = |list: &[&'static str]| list.iter().find(|word| **word == first).copied();
    let reads =
        ["SELECT", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "CHECKSUM", "TABLE", "VALUES", "WITH", "HELP"];
    let writes = ["INSERT", "UPDATE", "DELETE", "REPLACE", "CALL", "DO"];
    let definitions = [
        "CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "ANALYZE", "CHECK", "OPTIMIZE", "REPAIR", "GRANT",
        "REVOKE",
    ];
    let read = find(&reads).map(|verb| (Access::Read, verb));
    let write = find(&writes).map(|verb| (Access::Write, verb));
    read.or(write).or_else(|| find(&definitions).map(|verb| (Access::Definition, verb)))
}

/// The verb that common table expressions stand before.
fn verb_behind(words: Words<'_>) -> Option<String> {
    const VERBS: [&str; 8] = ["SELECT", "TABLE", "VALUES", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"];
    let mut depth = 0_u32;
    for at in 0..words.len() {
        match words.symbol(at) {
            Some(b'(') => depth += 1,
            Some(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0
            && let Some(verb) = words.upper(at).filter(|word| VERBS.contains(&word.as_str()))
        {
            return Some(verb);
        }
    }
    None
}

pub(super) fn without_semicolons(tokens: &[Token]) -> &[Token] {
    let end = tokens.iter().rposition(|token| token.kind != TokenKind::Symbol(b';'));
    &tokens[..end.map_or(0, |end| end + 1)]
}

/// A statement by its words.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub sql: &'a [u8],
    pub tokens: &'a [Token],
}

impl<'a> Words<'a> {
    /// Those from the given one on.
    pub fn from(self, at: usize) -> Words<'a> {
        Words { sql: self.sql, tokens: self.tokens.get(at..).unwrap_or_default() }
    }

    /// What stands between commas.
    pub fn parted(self) -> impl Iterator<Item = Words<'a>> {
        let parts = self.tokens.split(|token| token.kind == TokenKind::Symbol(b','));
        parts.map(move |tokens| Words { sql: self.sql, tokens })
    }

    /// Are they exactly these words?
    pub fn are(self, phrase: &str) -> bool {
        self.len() == phrase.split(' ').count()
            && phrase.split(' ').enumerate().all(|(at, word)| self.is(at, word))
    }

    /// Their text, from the first to the last.
    pub fn all(self) -> &'a [u8] {
        match self.tokens {
            [first, .., last] => &self.sql[first.start..last.end],
            [only] => &self.sql[only.start..only.end],
            [] => &[],
        }
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(self.sql, word))
    }

    pub fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    pub fn name(&self, at: usize) -> Option<String> {
        self.tokens.get(at)?.name(self.sql)
    }

    pub fn upper(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at)?;
        (token.kind == TokenKind::Word).then(|| token.name(self.sql))?.map(|word| word.to_ascii_uppercase())
    }

    /// What follows is nothing, or exactly these words.
    fn rest_is(&self, at: usize, words: &[&str]) -> bool {
        self.len() == at
            || (self.len() == at + words.len() && words.iter().zip(at..).all(|(word, at)| self.is(at, word)))
    }

    pub fn text(&self, at: usize) -> Option<&str> {
        let token = self.tokens.get(at)?;
        std::str::from_utf8(&self.sql[token.start..token.end]).ok()
    }

    pub fn number(&self, at: usize) -> Option<u64> {
        self.text(at)?.parse().ok()
    }
}

/// Are these `START TRANSACTION` and its options?
fn begins(words: Words<'_>) -> bool {
    let mut access = None;
    for option in words.from(2).parted().filter(|_| words.len() > 2) {
        let said = match () {
            () if option.are("WITH CONSISTENT SNAPSHOT") => continue,
            () if option.are("READ ONLY") => TransactionAccess::ReadOnly,
            () if option.are("READ WRITE") => TransactionAccess::ReadWrite,
            () => return false,
        };
        if access.replace(said).is_some() {
            return false;
        }
    }
    true
}

/// `[WORK] [AND [NO] CHAIN] [[NO] RELEASE]`; `None` for anything else, which the server reports.
fn completion(words: Words<'_>) -> Option<Completion> {
    let mut at = 1 + usize::from(words.is(1, "WORK"));
    let mut completion = Completion::Plain;
    if words.is(at, "AND") {
        let no = words.is(at + 1, "NO");
        at += 1 + usize::from(no);
        if !words.is(at, "CHAIN") {
            return None;
        }
        at += 1;
        if !no {
            completion = Completion::Chain;
        }
    }
    let no = words.is(at, "NO");
    if words.is(at + usize::from(no), "RELEASE") {
        at += 1 + usize::from(no);
        if !no {
            completion = Completion::Release;
        }
    }
    (at == words.len()).then_some(completion)
}

fn show(words: Words<'_>) -> Option<SessionCommand> {
    match words.upper(1)?.as_str() {
        "COUNT" if words.len() == 6 && words.is(5, "WARNINGS") => Some(SessionCommand::CountWarnings),
        "COUNT" if words.len() == 6 && words.is(5, "ERRORS") => Some(SessionCommand::CountErrors),
        "WARNINGS" => shown(words).map(SessionCommand::ShowWarnings),
        "ERRORS" => shown(words).map(SessionCommand::ShowErrors),
        "PROCESSLIST" => Some(SessionCommand::ShowProcesslist),
        "FULL" if words.is(2, "PROCESSLIST") => Some(SessionCommand::ShowProcesslist),
        "DATABASES" | "SCHEMAS" if words.len() == 2 => Some(SessionCommand::ShowDatabases),
        _ => None,
    }
}

fn kill(words: Words<'_>) -> Result<SessionCommand, Refusal> {
    let (query_only, at) = match words.upper(1).as_deref() {
        Some("QUERY") => (KillScope::Query, 2),
        Some("CONNECTION") => (KillScope::Connection, 2),
        _ => (KillScope::Connection, 1),
    };
    let id = words.number(at).filter(|_| words.len() == at + 1);
    id.map(|id| SessionCommand::Kill { query_only, id })
        .ok_or_else(|| refusal::SET_VALUE.because("KILL needs the number of a session"))
}

/// `[LIMIT [skip,] take]`; `None` for anything else, which the server reports.
fn shown(words: Words<'_>) -> Option<Shown> {
    if words.len() == 2 {
        return Some(Shown { skip: 0, take: u64::MAX });
    }
    let first = words.is(2, "LIMIT").then(|| words.number(3))??;
    match words.len() {
        4 => Some(Shown { skip: 0, take: first }),
        6 if words.symbol(4) == Some(b',') => Some(Shown { skip: first, take: words.number(5)? }),
        6 if words.is(4, "OFFSET") => Some(Shown { skip: words.number(5)?, take: first }),
        _ => None,
    }
}

/// `SELECT` of one function about the session, alone.
fn select(words: Words<'_>) -> Option<SessionCommand> {
    if words.symbol(2) != Some(b'(') || words.symbol(3) != Some(b')') {
        return None;
    }
    let shown = std::str::from_utf8(&words.sql[words.tokens[1].start..words.tokens[3].end]).ok()?.to_owned();
    let mut column = shown;
    let mut at = 4;
    if words.is(at, "AS") && words.name(at + 1).is_some() {
        column = words.name(at + 1)?;
        at += 2;
    }
    if words.is(at, "LIMIT") && words.number(at + 1) == Some(1) {
        at += 2;
    }
    if at != words.len() {
        return None;
    }
    match words.upper(1)?.as_str() {
        "LAST_INSERT_ID" => Some(SessionCommand::LastInsertId { column }),
        "DATABASE" | "SCHEMA" => Some(SessionCommand::CurrentDatabase { column }),
        "CONNECTION_ID" => Some(SessionCommand::ConnectionId { column }),
        _ => None,
    }
}
