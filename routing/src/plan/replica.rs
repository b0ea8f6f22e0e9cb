//! Which reads a replica may answer: those whose answer depends on nothing but rows.
//!
//! A table of a move is read from primaries alone: what its sides have in common is told of them only. Functions that
//! answer about the server or the session, variables, stored functions and locks are the primary's. What was passed on
//! without being understood is too.

use super::names::{Names, Target};
use super::parse::Parsed;
use super::scopes::{Instance, Scopes};
use super::session::{self, Words};
use super::{Access, DataPlan, Pin, Sides};
use crate::lex::words::TokenKind;
use crate::topology::is_system;

/// Whose answer to a statement is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    Primary,
    /// A replica's too, as far as it has the rows.
    ReplicaToo,
    /// The primary's; it is about no rows, so nothing follows from it for what is read next.
    NoRows,
}

/// By the tables of a query.
pub(super) fn of_query(parsed: &Parsed<'_>, names: Names<'_>, scopes: &Scopes) -> ServedBy {
    let is_of_rows = |instance: &Instance| match instance.target {
        Target::Named(table) => names.topology.table_of(table).moving.is_none(),
        Target::Unnamed(_) => true,
        Target::Whole(_) => {
            let written = instance.database.and_then(|(start, _)| parsed.name_at(start));
            let database = written.or_else(|| names.database.map(str::to_owned));
            database.is_some_and(|database| !is_system(&database))
        }
    };
    let instances = &scopes.instances;
    if instances.is_empty() {
        ServedBy::NoRows
    } else if instances.iter().all(is_of_rows) {
        ServedBy::ReplicaToo
    } else {
        ServedBy::Primary
    }
}

/// Of a statement that nobody looks into.
pub(super) fn of_verb(verb: &str) -> ServedBy {
    if matches!(verb, "SHOW" | "DESC" | "DESCRIBE" | "HELP") { ServedBy::NoRows } else { ServedBy::Primary }
}

/// By everything else in a statement. Its needs are known.
pub(super) fn all_considered(plan: &DataPlan, words: Words<'_>) -> ServedBy {
    let is_plain = plan.access == Access::Read
        && plan.pin == Pin::None
        && matches!(plan.sides, Sides::One(_))
        && plan.needs.is_plain();
    match plan.served_by {
        ServedBy::NoRows if is_plain || plan.verb != "SELECT" => ServedBy::NoRows,
        ServedBy::ReplicaToo if is_plain && !(0..words.len()).any(|at| asks_primary(words, at)) => {
            ServedBy::ReplicaToo
        }
        _ => ServedBy::Primary,
    }
}

fn asks_primary(words: Words<'_>, at: usize) -> bool {
    let next = |list: &[&str]| list.iter().any(|word| words.is(at + 1, word));
    let locks =
        (words.is(at, "FOR") && next(&["UPDATE", "SHARE"])) || (words.is(at, "LOCK") && next(&["IN"]));
    let is_word = |list: &[&str]| list.iter().any(|word| words.is(at, word));
    let is_variable = words.tokens[at].kind == TokenKind::Symbol(b'@');
    let is_called = words.symbol(at + 1) == Some(b'(');
    locks
        || is_variable
        || is_word(&["INTO", "PROCEDURE", "CURRENT_USER", "CURRENT_ROLE"])
        || (words.is(at, "PREVIOUS") && next(&["VALUE"]))
        || session::fact(words.sql, &words.tokens[at..]).is_some()
        || (is_called && words.name(at).is_some_and(|name| is_of_server(&name)))
}

/// Functions whose answer is the server's or the session's own, beside those that the proxy answers.
fn is_of_server(name: &str) -> bool {
    const NAMES: &str = "version current_user current_role lastval uuid_short last_insert_id master_pos_wait \
        master_gtid_wait source_pos_wait wait_for_executed_gtid_set binlog_gtid_pos ps_thread_id \
        ps_current_thread_id icu_version wsrep_last_seen_gtid wsrep_last_written_gtid wsrep_sync_wait_upto_gtid \
        validate_password_strength";
    NAMES.split_ascii_whitespace().any(|of| name.eq_ignore_ascii_case(of))
}
