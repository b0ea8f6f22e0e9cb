//! Statements that are passed on whole, without being understood: they can only concern one backend.
//!
//! That is provable where no name in the statement is that of a table which rules name, or of another database.

use super::names::Names;
use super::planner::pin;
use super::rights::{Need, Needs, is_information_schema};
use super::{Access, DataPlan, Gather, Pin, RoutePlan, SidePlan, Sides, called, replica, session};
use crate::lex::Lexed;
use crate::lex::words::Token;
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, TableId};

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
    if (0..tokens.len()).any(|at| session::fact(sql, &tokens[at..]).is_some()) {
        return Err(refusal::UNPARSED.because(format!("{why}; it asks about the session")));
    }
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
    // The statement would be about a database of another name, or end the one that carries the logical one.
    let renamed = current.map(|id| topology.database_of(id)).filter(|database| {
        let physical = topology.physical_database(database.default, &database.name);
        words.iter().any(|word| word.eq_ignore_ascii_case(&database.name))
            && (physical != database.name || is_about_a_database(sql, tokens))
    });
    if let Some(database) = renamed {
        return Err(refusal::UNPARSED.because(format!("{why}; it names the database {}", database.name)));
    }
    if let Some((_, table)) = named {
        return Err(match access {
            Access::Definition => refusal::DEFINITION.because(table.name.clone()),
            _ => refusal::UNPARSED.because(why.to_owned()),
        });
    }
    if !topology.tables.is_empty() && words.iter().any(|word| word.eq_ignore_ascii_case("information_schema"))
    {
        return Err(refusal::CATALOGUE.because("information_schema"));
    }
    called::check(sql, tokens, names, &[])?;
    let backend = names.home()?;
    if verb == "CALL" && topology.tables.iter().any(|table| Some(table.database) == current) {
        return Err(refusal::UNSUPPORTED.because("CALL in a database with tables that the rules name"));
    }
    let mut needs = Needs::default();
    let is_current = names.database.is_some_and(is_information_schema) && verb != "SHOW";
    if is_current || words.iter().any(|word| is_information_schema(word)) {
        needs.add(Need::Lists);
    }
    let pin = if verb == "CALL" { Pin::Procedure } else { pin(sql, tokens) };
    let plan = data(verb, access, backend, current, lexed, pin);
    Ok(DataPlan { needs, ..plan })
}

/// `CREATE DATABASE`, `ALTER SCHEMA`, `DROP DATABASE`.
fn is_about_a_database(sql: &[u8], tokens: &[Token]) -> bool {
    let [verb, of, ..] = tokens else { return false };
    ["create", "alter", "drop"].iter().any(|word| verb.is(sql, word))
        && ["database", "schema"].iter().any(|word| of.is(sql, word))
}

fn data(
    verb: &'static str,
    access: Access,
    backend: BackendId,
    database: Option<DatabaseId>,
    lexed: &Lexed,
    pin: Pin,
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
        numbering: None,
        needs: Needs::default(),
        served_by: replica::of_verb(verb),
        sides: Sides::One(side),
    }
}
