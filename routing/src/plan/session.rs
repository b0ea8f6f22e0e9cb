//! Statements about the session, recognised by their words: the parser knows few of them.

use super::{
    Access, Assignment, Autocommit, Begin, Completion, KillScope, Plan, SessionCommand, TransactionAccess,
};
use crate::lex::words::{Token, TokenKind};
use crate::refusal::{self, Refusal};

/// The session's own answer to a statement, if it is one of those.
pub(super) fn command(sql: &[u8], tokens: &[Token]) -> Option<Plan> {
    let words = Words { sql, tokens: without_semicolons(tokens) };
    let found = match words.upper(0)?.as_str() {
        "BEGIN" if words.rest_is(1, &["WORK"]) => Ok(SessionCommand::Begin(read_write())),
        "START" if words.is(1, "TRANSACTION") => begin(words),
        "COMMIT" => Ok(SessionCommand::Commit(completion(words)?)),
        "ROLLBACK" if words.is(1, "TO") || words.is(2, "TO") => Ok(SessionCommand::Savepoint),
        "ROLLBACK" => Ok(SessionCommand::Rollback(completion(words)?)),
        "SAVEPOINT" => Ok(SessionCommand::Savepoint),
        "RELEASE" if words.is(1, "SAVEPOINT") => Ok(SessionCommand::Savepoint),
        "USE" if words.len() == 2 => Ok(SessionCommand::Use { database: words.name(1)? }),
        "SET" => set(words).map(SessionCommand::Set),
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
    refused.then(|| refusal::UNSUPPORTED.because(first))
}

/// Does a statement that nobody parsed read or write?
pub(super) fn access(sql: &[u8], tokens: &[Token]) -> Option<(Access, &'static str)> {
    let words = Words { sql, tokens };
    let at = tokens.iter().position(|token| token.kind != TokenKind::Symbol(b'('))?;
    let first = words.upper(at)?;
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

fn without_semicolons(tokens: &[Token]) -> &[Token] {
    let end = tokens.iter().rposition(|token| token.kind != TokenKind::Symbol(b';'));
    &tokens[..end.map_or(0, |end| end + 1)]
}

#[derive(Clone, Copy)]
struct Words<'a> {
    sql: &'a [u8],
    tokens: &'a [Token],
}

impl Words<'_> {
    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(self.sql, word))
    }

    fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    fn name(&self, at: usize) -> Option<String> {
        self.tokens.get(at)?.name(self.sql)
    }

    fn upper(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at)?;
        (token.kind == TokenKind::Word).then(|| token.name(self.sql))?.map(|word| word.to_ascii_uppercase())
    }

    /// What follows is nothing, or exactly these words.
    fn rest_is(&self, at: usize, words: &[&str]) -> bool {
        self.len() == at
            || (self.len() == at + words.len() && words.iter().zip(at..).all(|(word, at)| self.is(at, word)))
    }

    fn text(&self, at: usize) -> Option<&str> {
        let token = self.tokens.get(at)?;
        std::str::from_utf8(&self.sql[token.start..token.end]).ok()
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.text(at)?.parse().ok()
    }
}

fn read_write() -> Begin {
    Begin { access: TransactionAccess::ReadWrite }
}

fn begin(words: Words<'_>) -> Result<SessionCommand, Refusal> {
    let read_only = (2..words.len()).any(|at| words.is(at, "READ") && words.is(at + 1, "ONLY"));
    let access = if read_only { TransactionAccess::ReadOnly } else { TransactionAccess::ReadWrite };
    Ok(SessionCommand::Begin(Begin { access }))
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
        "WARNINGS" => Some(SessionCommand::ShowWarnings),
        "ERRORS" => Some(SessionCommand::ShowErrors),
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

fn set(words: Words<'_>) -> Result<Vec<Assignment>, Refusal> {
    let mut assignments = Vec::new();
    let mut start = 1;
    let mut depth = 0_u32;
    for at in 1..=words.len() {
        match words.symbol(at) {
            Some(b'(') => depth += 1,
            Some(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if at == words.len() || (depth == 0 && words.symbol(at) == Some(b',')) {
            // `SET TRANSACTION ISOLATION LEVEL …, READ ONLY` is one assignment.
            let transaction = is_transaction(words, 1);
            if at < words.len() && transaction {
                continue;
            }
            assignments.push(assignment(Words { sql: words.sql, tokens: &words.tokens[start..at] })?);
            start = at + 1;
        }
    }
    Ok(assignments)
}

fn is_transaction(words: Words<'_>, at: usize) -> bool {
    words.is(at, "TRANSACTION") || (words.is(at + 1, "TRANSACTION") && words.symbol(at).is_none())
}

fn assignment(words: Words<'_>) -> Result<Assignment, Refusal> {
    let unsupported = || refusal::UNSUPPORTED.because(format!("SET {}", words.text(0).unwrap_or_default()));
    let Some(symbol) = words.symbol(0) else { return plain(words).ok_or_else(unsupported)? };
    if symbol != b'@' {
        return Err(unsupported());
    }
    if words.symbol(1) != Some(b'@') {
        return Ok(Assignment::UserVariable);
    }
    // `@@name`, `@@session.name`
    let (scope, at) = if words.symbol(3) == Some(b'.') { (words.upper(2), 4) } else { (None, 2) };
    scoped(scope.as_deref(), Words { sql: words.sql, tokens: &words.tokens[at..] }).ok_or_else(unsupported)?
}

/// An assignment that begins with a word.
fn plain(words: Words<'_>) -> Option<Result<Assignment, Refusal>> {
    let first = words.upper(0)?;
    match first.as_str() {
        "NAMES" | "CHARSET" => Some(Ok(Assignment::Names)),
        "CHARACTER" if words.is(1, "SET") => Some(Ok(Assignment::Names)),
        "TRANSACTION" => Some(Ok(Assignment::NextTransaction)),
        "SESSION" | "LOCAL" if words.is(1, "TRANSACTION") => Some(Ok(Assignment::SessionTransaction)),
        "SESSION" | "LOCAL" | "GLOBAL" | "PERSIST" | "PERSIST_ONLY" => {
            scoped(Some(&first), Words { sql: words.sql, tokens: &words.tokens[1..] })
        }
        "PASSWORD" | "ROLE" | "DEFAULT" | "RESOURCE" | "STATEMENT" => None,
        _ => scoped(None, words),
    }
}

/// `name = value` under a scope.
fn scoped(scope: Option<&str>, words: Words<'_>) -> Option<Result<Assignment, Refusal>> {
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
        "autocommit" => Some(autocommit(words, value)),
        // These change what the next statement alone does, on one connection alone.
        "insert_id" | "last_insert_id" | "identity" | "timestamp" | "rand_seed1" | "rand_seed2"
        | "pseudo_thread_id" => None,
        _ => Some(Ok(Assignment::Variable(name))),
    }
}

fn autocommit(words: Words<'_>, at: usize) -> Result<Assignment, Refusal> {
    let text = words.text(at).filter(|_| words.len() == at + 1).unwrap_or_default();
    match text.trim_matches(['\'', '"']).to_ascii_uppercase().as_str() {
        "1" | "ON" | "TRUE" | "DEFAULT" => Ok(Assignment::Autocommit(Autocommit::On)),
        "0" | "OFF" | "FALSE" => Ok(Assignment::Autocommit(Autocommit::Off)),
        _ => Err(refusal::SET_VALUE.because("autocommit")),
    }
}
