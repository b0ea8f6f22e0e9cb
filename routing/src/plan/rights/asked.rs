//! What a statement of each kind needs of an account, by its words.

use super::super::names::Names;
use super::super::session::{self, Words};
use super::super::{Assignment, catalogue};
use super::named::{self, Named};
use super::{Blanks, Need, Needs, called, defined, is_information_schema, is_own, shown};
use crate::lex::Flavour;
use crate::lex::words::{Token, TokenKind};
use crate::topology::is_system;

use Need::{Administration, Calls, Definitions, Files, Locks, Own, Server, Unclassified, Writes};

/// Of a statement that runs on backends.
pub(in crate::plan) fn of(words: Words<'_>, names: Names<'_>, flavour: Flavour) -> Needs {
    let tokens = without_variables(words);
    let words = Words { sql: words.sql, tokens: &tokens };
    let mut needs = Needs::default();
    verb(words, flavour).iter().for_each(|need| needs.add(*need));
    let changes = [Writes, Definitions].iter().any(|need| needs.has(*need)) || words.is(0, "CALL");
    if changes && names.database.is_some_and(is_system) {
        needs.add(Administration);
    }
    let only_read = only_read(words);
    for named in named::databases(words) {
        if changes
            && named.at < only_read
            && is_system(&named.database)
            && !is_information_schema(&named.database)
        {
            needs.add(Administration);
        }
        if !is_everybodys(&named, flavour) {
            name(named.database, &mut needs);
        }
    }
    if words.is(0, "SHOW") {
        shown::its_database(words).into_iter().for_each(|database| needs.name(database));
    }
    beside(words, flavour, &mut needs);
    needs
}

/// The token from which a write or a definition reads: behind `SELECT` in an `INSERT` and its like.
fn only_read(words: Words<'_>) -> usize {
    let reads = ["INSERT", "REPLACE", "CREATE"].iter().any(|verb| words.is(0, verb));
    (0..words.len()).find(|at| reads && words.is(*at, "SELECT")).unwrap_or(words.len())
}

fn name(database: String, needs: &mut Needs) {
    if is_own(&database) {
        needs.add(Own);
    }
    needs.name(database);
}

/// Of a `SET`, whose values are evaluated by a backend.
pub(in crate::plan) fn of_set(words: Words<'_>, assignments: &[Assignment], flavour: Flavour) -> Needs {
    let tokens = without_variables(words);
    let words = Words { sql: words.sql, tokens: &tokens };
    let mut needs = Needs::default();
    beside(words, flavour, &mut needs);
    named::databases(words).into_iter().for_each(|named| name(named.database, &mut needs));
    let privileged = |one: &Assignment| match one {
        Assignment::Variable(name) => PRIVILEGED.split_ascii_whitespace().any(|of| of == name),
        _ => false,
    };
    if assignments.iter().any(privileged) {
        needs.add(Server);
    }
    needs
}

/// Session variables that one of the servers lets an account set only with a privilege over the whole server.
const PRIVILEGED: &str = "binlog_annotate_row_events binlog_direct_non_transactional_updates \
    binlog_rows_query_log_events binlog_transaction_compression binlog_transaction_compression_level_zstd \
    bulk_insert_buffer_size character_set_database collation_database character_set_filesystem \
    connection_memory_chunk_size connection_memory_limit enforce_storage_engine global_connection_memory_tracking \
    histogram_generation_max_mem_size immediate_server_version innodb_strict_mode innodb_tmpdir \
    internal_tmp_mem_storage_engine log_disabled_statements low_priority_updates max_delayed_threads max_error_count \
    max_insert_delayed_threads min_examined_row_limit original_commit_timestamp original_server_version \
    preload_buffer_size pseudo_replica_mode pseudo_slave_mode select_into_buffer_size select_into_disk_sync_delay \
    sql_generate_invisible_primary_key sql_log_off sql_require_primary_key wsrep_on xa_detach_on_prepare";

/// Tables about the session that a server shows to every account.
fn is_everybodys(named: &Named, flavour: Flavour) -> bool {
    const BOTH: [&str; 2] = ["global_status", "session_status"];
    const MYSQL: [&str; 2] = ["global_variables", "session_variables"];
    let table = named.table.as_deref().unwrap_or_default();
    let is = |list: &[&str]| list.iter().any(|of| table.eq_ignore_ascii_case(of));
    named.database.eq_ignore_ascii_case("performance_schema")
        && (is(&BOTH) || (flavour == Flavour::MySql && is(&MYSQL)))
}

/// A variable's name may hold any word and a dot at its end: nothing but its `@` is left of it.
fn without_variables(words: Words<'_>) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::with_capacity(words.len());
    let mut end_of_variable = None;
    for (at, token) in words.tokens.iter().enumerate() {
        let is_at = token.kind == TokenKind::Symbol(b'@');
        let is_part = matches!(token.kind, TokenKind::Word | TokenKind::Symbol(b'.'))
            || (at > 0 && words.symbol(at - 1) == Some(b'@'));
        if is_at || end_of_variable != Some(token.start) || !is_part {
            kept.push(*token);
            end_of_variable = None;
        }
        if is_at || end_of_variable == Some(token.start) {
            end_of_variable = Some(token.end);
        }
    }
    kept
}

/// What stands in a statement of any kind.
fn beside(words: Words<'_>, flavour: Flavour, needs: &mut Needs) {
    // Other bytes that are blanks to a server are blanks in every character set.
    let blank = |token: &Token| {
        token.kind == TokenKind::Word
            && words.sql[token.start..token.end].iter().any(|byte| matches!(byte, 0xA0 | 0xFF))
    };
    needs.blanks = if words.tokens.iter().any(blank) { Blanks::Possible } else { Blanks::None };
    let to_file = |at: usize| words.is(at + 1, "OUTFILE") || words.is(at + 1, "DUMPFILE");
    if (0..words.len()).any(|at| words.is(at, "INTO") && to_file(at)) {
        needs.add(Files);
    }
    called::of(words, flavour, needs);
}

fn verb(words: Words<'_>, flavour: Flavour) -> Vec<Need> {
    let Some((_, verb)) = session::access(words.sql, words.tokens) else { return vec![Unclassified] };
    match verb {
        "SELECT" | "TABLE" | "VALUES" => {
            // MariaDB takes no more than SELECT for it.
            let locks = |at: usize| words.is(at, "FOR") && words.is(at + 1, "UPDATE");
            let any = flavour == Flavour::MySql && (0..words.len()).any(locks);
            if any { vec![Locks] } else { Vec::new() }
        }
        "CHECKSUM" | "DO" | "HELP" => Vec::new(),
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" => vec![Writes],
        "CALL" => vec![Calls],
        "SHOW" => shown::needs(words),
        "DESC" | "DESCRIBE" | "EXPLAIN" => explained(words, flavour),
        "ANALYZE" if !follows(words, &["TABLE", "TABLES", "NO_WRITE_TO_BINLOG", "LOCAL"]) => {
            explained(words, flavour)
        }
        "ANALYZE" | "CHECK" | "OPTIMIZE" | "REPAIR" | "TRUNCATE" => vec![Definitions],
        "RENAME" if follows(words, &["TABLE", "TABLES"]) => vec![Definitions],
        "CREATE" | "ALTER" | "DROP" => defined::needs(words),
        "GRANT" | "REVOKE" | "RENAME" => vec![Administration],
        _ => vec![Unclassified],
    }
}

fn follows(words: Words<'_>, list: &[&str]) -> bool {
    list.iter().any(|word| words.is(1, word))
}

/// `EXPLAIN` and `ANALYZE` need what the statement needs that they explain, whether they run it or not.
fn explained(words: Words<'_>, flavour: Flavour) -> Vec<Need> {
    const VERBS: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "TABLE", "VALUES"];
    if !words.is(0, "ANALYZE") && catalogue::is_described(words) {
        return Vec::new();
    }
    let begins = |at: &usize| VERBS.iter().any(|word| words.is(*at, word)) || words.symbol(*at) == Some(b'(');
    match (1..words.len()).find(begins) {
        Some(at) => verb(Words { sql: words.sql, tokens: &words.tokens[at..] }, flavour),
        None => vec![Server],
    }
}
