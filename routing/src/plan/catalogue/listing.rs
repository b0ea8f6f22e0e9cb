//! Lists of tables.

use super::super::names::quoted;
use super::super::{DataPlan, Gather};
use super::{Asked, is_named_so, is_ruled};
use crate::lex::RegionKind;
use crate::lex::words::TokenKind;
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, Placement, Table, Topology, is_system};

/// The tables of the engine's own, on every backend.
const ENGINE: &str = "shardway_";

/// `SHOW [FULL] TABLES [FROM db] [LIKE … | WHERE …]`; `TABLES` is word `at`.
///
/// The server that would have answered answers a query of the same columns, so that its own collation compares.
pub(super) fn tables(asked: Asked<'_>, at: usize) -> Result<DataPlan, Refusal> {
    let (database, next) = database(asked, at + 1)?;
    let Of::Rules(id) = database else { return Ok(passed(asked, database)) };
    let topology = asked.names.topology;
    if !is_ruled(topology, id) && is_named_so(topology, id) {
        return Ok(asked.whole(topology.database_of(id).default, Some(id)));
    }
    let words = asked.words;
    let types = if (1..at).any(|word| words.is(word, "FULL")) { Types::Shown } else { Types::Hidden };
    let unknown = || refusal::UNPARSED.because("SHOW TABLES with more than LIKE or WHERE");
    let end = words.tokens.last().map_or(0, |token| token.end);
    let sql_end = words.sql.len();
    let name = words
        .name(next - 1)
        .filter(|_| next > at + 1)
        .unwrap_or_else(|| topology.database_of(id).name.clone());
    let column = format!("Tables_in_{name}");
    if next == words.len() {
        let text = format!("{}{}", union(topology, id, &column, types)?, sorted(&column));
        let all = asked.text((0, sql_end), text);
        return Ok(listed(asked, id, vec![all]));
    }
    if words.is(next, "WHERE") {
        no_subquery(asked, next)?;
        let text = format!("{} ", union(topology, id, &column, types)?);
        let before = asked.text((0, words.tokens[next].start), text);
        return Ok(listed(asked, id, vec![before, asked.text((end, sql_end), sorted(&column))]));
    }
    let pattern = pattern(asked, next).ok_or_else(unknown)?;
    if pattern.value.is_empty() {
        // MySQL finds nothing by it, MariaDB everything.
        return Err(refusal::CATALOGUE.because("an empty pattern"));
    }
    let column = format!("{column} ({})", pattern.value);
    // MariaDB compares the names themselves, and the column's collation knows no case.
    let text = format!(
        "{} WHERE {called} LIKE {like} AND (@@lower_case_table_names <> 0 OR CAST({called} AS BINARY) LIKE {like}){}",
        union(topology, id, &column, types)?,
        sorted(&column),
        called = quoted(&column),
        like = pattern.written,
    );
    Ok(listed(asked, id, vec![asked.text((0, sql_end), text)]))
}

/// `SHOW TABLE STATUS`, `SHOW TRIGGERS`, `SHOW OPEN TABLES`: passed on where they can concern no table of the rules.
pub(super) fn about_all(asked: Asked<'_>, at: usize, what: &'static str) -> Result<DataPlan, Refusal> {
    let (database, next) = database(asked, at)?;
    let Of::Rules(id) = database else { return Ok(passed(asked, database)) };
    let topology = asked.names.topology;
    let pattern = pattern(asked, next);
    let concerned = |name: &str| pattern.as_ref().is_none_or(|pattern| may_match(&pattern.value, name));
    let ruled = topology.tables.iter().filter(|table| table.database == id).map(|table| table.name.clone());
    if ruled.chain(nodes(topology, id)).any(|name| concerned(&name)) {
        return Err(refusal::CATALOGUE.because(what));
    }
    let backend = topology.database_of(id).default;
    if !is_named_so(topology, id) && next > at {
        // The name in the statement is not that of the physical database.
        let (start, end) = (asked.words.tokens[next - 1].start, asked.words.tokens[next - 1].end);
        let physical = topology.physical_database(backend, &topology.database_of(id).name);
        let named = asked.text((start, end), quoted(physical));
        return Ok(listed_on(asked, backend, id, vec![named]));
    }
    Ok(asked.whole(backend, Some(id)))
}

/// The database that is asked about.
#[derive(Clone, Copy)]
enum Of {
    Rules(DatabaseId),
    /// One that passes whole.
    Other(BackendId),
}

/// `[{FROM | IN} db]` at word `at`, and the word after it.
fn database(asked: Asked<'_>, at: usize) -> Result<(Of, usize), Refusal> {
    let words = asked.words;
    let named = words.is(at, "FROM") || words.is(at, "IN");
    let written = if named { words.name(at + 1) } else { None };
    let next = if named { at + 2 } else { at };
    let names = asked.names;
    let Some(name) = written.as_deref().or(names.database) else {
        return Err(refusal::NO_DATABASE.because(""));
    };
    if is_system(name) {
        return Ok((Of::Other(names.home()?), next));
    }
    if let Some(id) = names.topology.database(name) {
        return Ok((Of::Rules(id), next));
    }
    let other = names.topology.other_databases;
    other
        .map(|backend| (Of::Other(backend), next))
        .ok_or_else(|| refusal::UNKNOWN_DATABASE.because(format!("'{name}'")))
}

fn passed(asked: Asked<'_>, of: Of) -> DataPlan {
    match of {
        Of::Other(backend) => asked.whole(backend, None),
        Of::Rules(id) => asked.whole(asked.names.topology.database_of(id).default, Some(id)),
    }
}

fn listed(asked: Asked<'_>, id: DatabaseId, splices: Vec<super::Splice>) -> DataPlan {
    listed_on(asked, asked.names.topology.database_of(id).default, id, splices)
}

fn listed_on(asked: Asked<'_>, backend: BackendId, id: DatabaseId, splices: Vec<super::Splice>) -> DataPlan {
    asked.plan("SHOW", backend, Some(id), splices, Gather::Concat { limit: None })
}

/// Whether the second column is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    Shown,
    Hidden,
}

/// `SELECT * FROM` the tables of the default backend that no rule names, and those that rules name.
fn union(topology: &Topology, id: DatabaseId, column: &str, types: Types) -> Result<String, Refusal> {
    let database = topology.database_of(id);
    let (table_type, base) = match types {
        Types::Shown => (", TABLE_TYPE AS `Table_type`", ", 'BASE TABLE'"),
        Types::Hidden => ("", ""),
    };
    let ruled: Vec<&Table> = topology.tables.iter().filter(|table| table.database == id).collect();
    let mut hidden: Vec<String> =
        ruled.iter().map(|table| table.name.clone()).chain(nodes(topology, id)).collect();
    hidden.sort_unstable();
    hidden.dedup();
    let mut text = format!(
        "SELECT * FROM (SELECT TABLE_NAME AS {}{table_type} FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
         AND LEFT(TABLE_NAME, {}) <> '{ENGINE}'",
        quoted(column),
        string(topology.physical_database(database.default, &database.name))?,
        ENGINE.len(),
    );
    if !hidden.is_empty() {
        let hidden: Vec<String> = hidden.iter().map(|name| string(name)).collect::<Result<_, _>>()?;
        text.push_str(&format!(" AND TABLE_NAME NOT IN ({})", hidden.join(", ")));
    }
    for table in ruled {
        text.push_str(&format!(" UNION ALL SELECT {}{base}", string(&table.name)?));
    }
    text.push_str(") AS `tables`");
    Ok(text)
}

/// Servers sort names by their bytes.
fn sorted(column: &str) -> String {
    format!(" ORDER BY CAST({} AS BINARY)", quoted(column))
}

/// Physical tables in the database of the default backend that hold rows of tables that rules name.
fn nodes(topology: &Topology, id: DatabaseId) -> Vec<String> {
    let home = topology.database_of(id);
    let place = |backend: BackendId, logical: &str| {
        (topology.backend(backend).primary.clone(), topology.physical_database(backend, logical).to_owned())
    };
    let (server, physical) = place(home.default, &home.name);
    let mut found = Vec::new();
    for table in &topology.tables {
        let logical = &topology.database_of(table.database).name;
        let source = table.moving.as_ref().map(|moving| &moving.source);
        for node in source.into_iter().chain([&table.placement]).flat_map(Placement::nodes) {
            let (on, called) = place(node.backend, logical);
            if called == physical && on.is_same_process(&server) {
                found.push(node.table.clone());
            }
        }
    }
    found
}

/// A string literal that every `sql_mode` reads alike.
fn string(name: &str) -> Result<String, Refusal> {
    if name.contains('\\') {
        return Err(refusal::CATALOGUE.because("a name with a backslash"));
    }
    let introducer = if name.is_ascii() { "" } else { "_utf8mb4" };
    Ok(format!("{introducer}'{}'", name.replace('\'', "''")))
}

struct Pattern {
    /// As the client wrote it.
    written: String,
    /// Between its quotes.
    value: String,
}

/// `LIKE '…'` to the end of the statement.
fn pattern(asked: Asked<'_>, at: usize) -> Option<Pattern> {
    let words = asked.words;
    if !words.is(at, "LIKE") || words.len() != at + 2 {
        return None;
    }
    let TokenKind::Region(region) = words.tokens[at + 1].kind else { return None };
    if asked.lexed.regions[region].kind != RegionKind::String {
        return None;
    }
    let written = words.text(at + 1)?.to_owned();
    let quote = written.get(..1)?;
    let value = written.get(1..written.len().checked_sub(1)?)?.replace(&quote.repeat(2), quote);
    Some(Pattern { written, value })
}

/// Could `LIKE` find this name under any collation and `sql_mode`? A pattern with an escape might find every name.
fn may_match(pattern: &str, name: &str) -> bool {
    if pattern.contains('\\') || pattern.contains('\'') || !pattern.is_ascii() || !name.is_ascii() {
        return true;
    }
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    matches(pattern.as_bytes(), name.as_bytes())
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'%', rest @ ..], _) => matches(rest, name) || (!name.is_empty() && matches(pattern, &name[1..])),
        ([b'_', rest @ ..], [_, others @ ..]) => matches(rest, others),
        ([one, rest @ ..], [other, others @ ..]) => one == other && matches(rest, others),
        _ => false,
    }
}

/// A condition may ask of other tables, and those may be elsewhere.
fn no_subquery(asked: Asked<'_>, from: usize) -> Result<(), Refusal> {
    let words = asked.words;
    if (from..words.len()).any(|at| words.is(at, "SELECT") || words.is(at, "TABLE")) {
        return Err(refusal::CATALOGUE.because("a subquery in SHOW"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_match_what_it_matches() {
        for (pattern, name, expected) in [
            ("users", "users", true),
            ("USERS", "users", true),
            ("u%", "users", true),
            ("%s%r_", "users", true),
            ("user", "users", false),
            ("_", "users", false),
            ("settings", "users", false),
            ("%x%", "users", false),
            ("", "users", false),
            ("a\\_b", "users", true),
            ("ü", "users", true),
        ] {
            assert_eq!(may_match(pattern, name), expected, "{pattern}");
        }
    }
}
