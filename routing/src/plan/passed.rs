//! Statements that are passed on whole, without being understood: they can only concern one backend.
//!
//! That is provable where no name in the statement is that of a table which rules name, or of another database.

use super::names::{Names, same_name};
use super::planner::pin;
use super::{Access, DataPlan, Gather, RoutePlan, SidePlan, Sides, session};
use crate::lex::Lexed;
use crate::lex::words::Token;
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, Placement, Side, TableId};

/// The plan, or a refusal that says `why` the statement had to be passed whole.
pub(super) fn whole(
    sql: &[u8],
    lexed: &Lexed,
    tokens: &[Token],
    names: Names<'_>,
    why: &str,
) -> Result<DataPlan, Refusal> {
    let (access, verb) =
        session::access(sql, tokens).ok_or_else(|| refusal::UNPARSED.because(why.to_owned()))?;
    let words: Vec<String> = tokens.iter().filter_map(|token| token.name(sql)).collect();
    let topology = names.topology;
    let current = names.database.and_then(|name| topology.database(name));
    let foreign = |word: &String| {
        topology.databases.iter().any(|database| {
            database.name.eq_ignore_ascii_case(word) && Some(database.name.as_str()) != names.database
        })
    };
    if let Some(word) = words.iter().find(|word| foreign(word)) {
        return Err(refusal::UNPARSED.because(format!("{why}; it names the database {word}")));
    }
    let named = (0..)
        .map(TableId)
        .zip(&topology.tables)
        .find(|(_, table)| words.iter().any(|word| word.eq_ignore_ascii_case(&table.name)));
    let backend = match named {
        None => names.home()?,
        Some((table, _)) => of_named(names, table, sql, tokens, access, why)?,
    };
    if verb == "CALL" && topology.tables.iter().any(|table| Some(table.database) == current) {
        return Err(refusal::UNSUPPORTED.because("CALL in a database with tables that the rules name"));
    }
    Ok(data(verb, access, backend, current, lexed, pin(sql, tokens)))
}

fn data(
    verb: &'static str,
    access: Access,
    backend: BackendId,
    database: Option<DatabaseId>,
    lexed: &Lexed,
    pin: super::Pin,
) -> DataPlan {
    let side = SidePlan {
        route: RoutePlan::Backend(backend),
        splices: Vec::new(),
        gather: Gather::Concat { limit: None },
        because: String::new(),
    };
    DataPlan {
        access,
        verb,
        tables: Vec::new(),
        databases: database.into_iter().collect(),
        pin,
        placeholders: lexed.placeholders,
        sides: Sides::One(side),
    }
}

/// What may be asked about a table that rules name: its columns and keys, where a node is called as it is.
fn of_named(
    names: Names<'_>,
    table: TableId,
    sql: &[u8],
    tokens: &[Token],
    access: Access,
    why: &str,
) -> Result<BackendId, Refusal> {
    let of = names.topology.table_of(table);
    if access == Access::Definition {
        return Err(refusal::DEFINITION.because(of.name.clone()));
    }
    let shows = ["show", "desc", "describe"]
        .iter()
        .any(|word| tokens.first().is_some_and(|first| first.is(sql, word)));
    if !shows {
        return Err(refusal::UNPARSED.because(why.to_owned()));
    }
    let side = of.moving.as_ref().map_or(Side::Target, |moving| names.topology.move_of(moving.by).writes);
    let placement = of.placement(side);
    if !same_name(placement, &of.name) {
        return Err(refusal::SHOW_RENAMED.because(of.name.clone()));
    }
    Ok(match placement {
        Placement::Single(node) => node.backend,
        Placement::Broadcast(nodes) => nodes[0].backend,
        Placement::Sharded(layout) => layout.nodes[0].backend,
    })
}
