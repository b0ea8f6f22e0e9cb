//! What a logged statement means for a stream of rows. Pure.
//!
//! In a log of rows, statements begin and end transactions, change definitions, or should not be there.

use super::event::{Query, Xid};
use super::table::{Owner, Targets};
use super::words::{Word, Words, words};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// Back to a savepoint: the log holds rows that do not count.
    RollbackTo,
    XaStart(Xid),
    XaCommit(Xid),
    XaRollback(Xid),
    /// It changes a followed table's definition, or removes its rows without saying which.
    Definition,
    /// It changes rows, and the log does not say which.
    Change,
    /// Nothing that matters.
    Other,
}

/// What a statement does to the tables that are wanted.
pub(super) fn meaning(query: &Query<'_>, targets: &Targets) -> Statement {
    // The usual ones, without taking them apart.
    match query.text {
        b"BEGIN" => return Statement::Begin,
        b"COMMIT" => return Statement::Commit,
        _ => {}
    }
    let words = words(query.text);
    let mut rest = Words(&words);
    if rest.accept("SET") && rest.accept("STATEMENT") {
        // MariaDB: variables for one statement, which follows.
        rest.pass_to("FOR");
    } else {
        rest = Words(&words);
    }
    let judge = Judge { database: &query.database, targets };
    judge.statement(rest)
}

/// A statement's start for messages.
pub(super) fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let start: String = text.chars().take(200).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

struct Judge<'a> {
    database: &'a str,
    targets: &'a Targets,
}

impl Judge<'_> {
    fn statement(&self, mut rest: Words<'_>) -> Statement {
        let all = rest;
        let Some(Word::Bare(first)) = rest.next() else { return Statement::Other };
        match first.to_ascii_uppercase().as_str() {
            "BEGIN" => Statement::Begin,
            "START" if rest.accept("TRANSACTION") => Statement::Begin,
            "COMMIT" => Statement::Commit,
            "ROLLBACK" => {
                rest.pass(&["WORK"]);
                if rest.accept("TO") { Statement::RollbackTo } else { Statement::Rollback }
            }
            "XA" => xa(rest),
            "ALTER" | "CREATE" | "DROP" | "RENAME" | "TRUNCATE" => {
                if self.is_definition(all) {
                    Statement::Definition
                } else {
                    Statement::Other
                }
            }
            "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" | "CALL" | "WITH" | "DO" | "SELECT"
            | "EXECUTE"
                if self.may_concern(all) =>
            {
                Statement::Change
            }
            _ => Statement::Other,
        }
    }

    fn is_definition(&self, mut rest: Words<'_>) -> bool {
        let Some(Word::Bare(verb)) = rest.next() else { return false };
        let verb = verb.to_ascii_uppercase();
        if verb == "TRUNCATE" {
            rest.pass(&["TABLE"]);
            return self.is_next(&mut rest);
        }
        if rest.accept("TEMPORARY") {
            return false;
        }
        let replaces = rest.accept("OR") && rest.accept("REPLACE");
        rest.pass(&["ONLINE", "OFFLINE", "IGNORE", "UNIQUE", "FULLTEXT", "SPATIAL"]);
        if rest.accept("DATABASE") || rest.accept("SCHEMA") {
            return verb != "CREATE" && self.is_database(rest);
        }
        if rest.accept("INDEX") || rest.accept("KEY") {
            return rest.pass_to("ON") && self.is_next(&mut rest);
        }
        if !rest.accept("TABLE") && !rest.accept("TABLES") {
            return false;
        }
        let careful = rest.accept("IF");
        rest.pass(&["NOT", "EXISTS"]);
        match verb.as_str() {
            "CREATE" => (replaces || !careful) && self.is_next(&mut rest),
            "ALTER" => self.is_next(&mut rest) || self.is_exchanged(rest),
            // Only names and a few keywords stand here, all separated by signs or keywords.
            _ => self.is_any(rest),
        }
    }

    fn is_database(&self, mut rest: Words<'_>) -> bool {
        /// `ALTER DATABASE` may leave the name out and go on with one of these.
        const OPTIONS: &[&str] =
            &["CHARACTER", "CHARSET", "COLLATE", "DEFAULT", "ENCRYPTION", "READ", "COMMENT"];
        rest.pass(&["IF", "EXISTS"]);
        let mut option = rest;
        option.pass(OPTIONS);
        let is_left_out = option.0.len() < rest.0.len();
        let named = if is_left_out { None } else { rest.name() };
        self.targets.watches_in(named.map_or(self.database, |(_, name)| name))
    }

    /// Is the next name that of a followed table?
    fn is_next(&self, rest: &mut Words<'_>) -> bool {
        rest.name().is_some_and(|(database, table)| {
            let owner = self.targets.owner(database.unwrap_or(self.database), table);
            matches!(owner, Owner::Table(_) | Owner::Mark)
        })
    }

    fn is_any(&self, mut rest: Words<'_>) -> bool {
        while !rest.0.is_empty() {
            if self.is_next(&mut rest) {
                return true;
            }
        }
        false
    }

    /// `ALTER TABLE other EXCHANGE PARTITION p WITH TABLE this`.
    fn is_exchanged(&self, mut rest: Words<'_>) -> bool {
        rest.pass_to("EXCHANGE") && rest.pass_to("TABLE") && self.is_next(&mut rest)
    }

    /// May a statement in words touch a followed table? Views, triggers and routines hide which tables they touch, so
    /// everything that runs in or names a followed database does.
    fn may_concern(&self, mut rest: Words<'_>) -> bool {
        if self.targets.watches_in(self.database) {
            return true;
        }
        while let Some(word) = rest.next() {
            if let Word::Bare(name) | Word::Quoted(name) = word
                && self.targets.watches_in(name)
            {
                return true;
            }
        }
        false
    }
}

fn xa(mut rest: Words<'_>) -> Statement {
    let Some(Word::Bare(verb)) = rest.next() else { return Statement::Other };
    let verb = verb.to_ascii_uppercase();
    let Some(xid) = xid(rest) else { return Statement::Other };
    match verb.as_str() {
        "START" | "BEGIN" => Statement::XaStart(xid),
        "COMMIT" => Statement::XaCommit(xid),
        "ROLLBACK" => Statement::XaRollback(xid),
        _ => Statement::Other,
    }
}

/// Servers always write `X'…',X'…',1`.
fn xid(mut rest: Words<'_>) -> Option<Xid> {
    let mut bytes = || match rest.next()? {
        Word::Bytes(bytes) => {
            rest.accept_sign(b',');
            Some(bytes.clone())
        }
        _ => None,
    };
    let (global, branch) = (bytes()?, bytes()?);
    match rest.next()? {
        Word::Bare(format) => Some(Xid { format: format.parse().ok()?, global, branch }),
        _ => None,
    }
}
