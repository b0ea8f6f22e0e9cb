//! What one table looks like.

use super::super::names::quoted;
use super::super::session::Words;
use super::super::{DataPlan, Gather, ShownAs, ShownNode};
use super::Asked;
use crate::lex::words::TokenKind;
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, Placement, Side, TableId, Topology, is_system};

/// `DESCRIBE t …`, `DESC t …`, `EXPLAIN t …`: is it the table that is to be explained, not a statement?
pub(in crate::plan) fn is_described(words: Words<'_>) -> bool {
    const STATEMENTS: [&str; 17] = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "REPLACE",
        "WITH",
        "TABLE",
        "VALUES",
        "FORMAT",
        "EXTENDED",
        "PARTITIONS",
        "ANALYZE",
        "FOR",
        "ROUTE",
        "SCHEMA",
        "DATABASE",
        "INTO",
    ];
    words.name(1).is_some() && !STATEMENTS.iter().any(|statement| words.is(1, statement))
}

/// `SHOW COLUMNS FROM t …`, `DESCRIBE t …`; the name is word `at`.
pub(super) fn columns(asked: Asked<'_>, at: usize, verb: &'static str) -> Result<DataPlan, Refusal> {
    plan(asked, at, verb, None)
}

/// `SHOW INDEX FROM t …`: every row names the table.
pub(super) fn keys(asked: Asked<'_>, at: usize) -> Result<DataPlan, Refusal> {
    plan(asked, at, "SHOW", Some(ShownAs::Name))
}

/// `SHOW CREATE TABLE t`.
pub(super) fn definition(asked: Asked<'_>, at: usize) -> Result<DataPlan, Refusal> {
    plan(asked, at, "SHOW", Some(ShownAs::Definition))
}

/// A table's name in a statement.
struct Named {
    database: Option<String>,
    table: String,
    /// The bytes of the whole name, and of a `FROM db` behind it.
    span: (usize, usize),
    from: Option<(usize, usize)>,
    /// The word after all that.
    next: usize,
}

fn named(words: Words<'_>, at: usize) -> Option<Named> {
    let first = words.name(at)?;
    let start = words.tokens[at].start;
    let (mut database, table, mut next) = match words.symbol(at + 1) {
        Some(b'.') => (Some(first), words.name(at + 2)?, at + 3),
        _ => (None, first, at + 1),
    };
    let span = (start, words.tokens[next - 1].end);
    let mut from = None;
    if words.is(next, "FROM") || words.is(next, "IN") {
        database = Some(words.name(next + 1)?);
        from = Some((words.tokens[next].start, words.tokens[next + 1].end));
        next += 2;
    }
    Some(Named { database, table, span, from, next })
}

fn plan(
    asked: Asked<'_>,
    at: usize,
    verb: &'static str,
    shown: Option<ShownAs>,
) -> Result<DataPlan, Refusal> {
    let words = asked.words;
    let unknown = || refusal::UNPARSED.because("no name of a table where one was expected");
    let named = named(words, at).ok_or_else(unknown)?;
    let topology = asked.names.topology;
    let place = place_of(topology, asked.names.database, named.database.as_deref(), &named.table)?;
    let place = match place {
        Place::Node(place) => place,
        Place::Passed { backend } => {
            return Ok(asked.whole(backend.map_or_else(|| asked.names.home(), Ok)?, None));
        }
    };
    let rest = || named.next..words.len();
    if rest().any(|at| words.is(at, "SELECT")) {
        return Err(refusal::CATALOGUE.because("a subquery in SHOW"));
    }
    let mut splices = Vec::new();
    if !place.is_called(&named, asked.names.database) {
        let name = format!("{}.{}", quoted(&place.database), quoted(&place.table));
        splices.push(asked.text(named.span, name));
        splices.extend(named.from.map(|from| asked.text(from, String::new())));
    }
    let gather = match (shown, place.ruled) {
        (Some(what), Some(table)) if place.table != topology.table_of(table).name => {
            let is_asked = |at: usize| {
                matches!(words.tokens[at].kind, TokenKind::Word | TokenKind::Quoted)
                    && words.name(at).is_some_and(|name| name.eq_ignore_ascii_case("table"))
            };
            if rest().any(is_asked) {
                return Err(
                    refusal::CATALOGUE.because("a condition on the name of a table whose shards have others")
                );
            }
            Gather::Renamed(ShownNode { table, backend: place.backend, node: place.table.clone(), what })
        }
        _ => Gather::Concat { limit: None },
    };
    Ok(asked.plan(verb, place.backend, Some(place.logical), splices, gather))
}

/// Where a table can be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Node(Seen),
    /// A system table, or one of a database that passes whole; without a backend, where statements without tables run.
    Passed {
        backend: Option<BackendId>,
    },
}

/// A physical table that looks like the logical one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub backend: BackendId,
    /// The physical names.
    pub database: String,
    pub table: String,
    pub logical: DatabaseId,
    pub ruled: Option<TableId>,
}

impl Seen {
    /// Does the name in the statement lead there by itself?
    fn is_called(&self, named: &Named, current: Option<&str>) -> bool {
        // Without a database in the statement the connection's own is meant, which is the physical one.
        let database = named.database.as_deref();
        let there = match database {
            Some(database) => database == self.database,
            None => current.is_some(),
        };
        there && named.table == self.table
    }
}

/// The node to look at: the first one of the side that owns the rows.
///
/// # Errors
/// Without a database, or of one that nobody serves.
pub fn place_of(
    topology: &Topology,
    current: Option<&str>,
    database: Option<&str>,
    table: &str,
) -> Result<Place, Refusal> {
    let Some(name) = database.or(current) else { return Err(refusal::NO_DATABASE.because("")) };
    if is_system(name) {
        return Ok(Place::Passed { backend: None });
    }
    let Some(logical) = topology.database(name) else {
        let unknown = || refusal::UNKNOWN_DATABASE.because(format!("'{name}'"));
        return topology
            .other_databases
            .map(|backend| Place::Passed { backend: Some(backend) })
            .ok_or_else(unknown);
    };
    let ruled = topology.table(logical, table);
    let (backend, table) = match ruled {
        None => (topology.database_of(logical).default, table.to_owned()),
        Some(id) => {
            let of = topology.table_of(id);
            let side = of.moving.as_ref().map_or(Side::Target, |moving| topology.move_of(moving.by).writes);
            let node = match of.placement(side) {
                Placement::Single(node) => node,
                Placement::Broadcast(nodes) => &nodes[0],
                Placement::Sharded(layout) => &layout.nodes[0],
            };
            (node.backend, node.table.clone())
        }
    };
    let database = topology.physical_database(backend, name).to_owned();
    Ok(Place::Node(Seen { backend, database, table, logical, ruled }))
}
