//! Statements that ask which tables there are, and what they look like: every logical table once.
//!
//! - `SHOW TABLES` lists the default backend's own tables and the tables that rules name, wherever their rows are.
//! - `DESCRIBE`, `SHOW COLUMNS`, `SHOW INDEX` and `SHOW CREATE TABLE` are answered by the first node of the side that
//!   owns the rows, under the logical name.
//! - What only the backends together could answer (`SHOW TABLE STATUS`, `information_schema`) is passed on where it can
//!   only concern tables that no rule names, and refused otherwise.
//!
//! Numbers that a node counts for itself (an index's cardinality, the next `AUTO_INCREMENT`) are those of the first node.

mod listing;
mod of_table;
mod rename;
mod schemata;

pub(super) use of_table::is_described;
pub use of_table::{Place, Seen, place_of};
pub use rename::definition;
pub(super) use schemata::{check, needs};

use super::names::Names;
use super::rights::Needs;
use super::session::{self, Words};
use super::{
    Access, DataPlan, Gather, Pin, Replacement, RoutePlan, ServedBy, SidePlan, Sides, Span, Splice, When,
};
use crate::lex::words::Token;
use crate::lex::{self, Lexed};
use crate::refusal::Refusal;
use crate::topology::{BackendId, DatabaseId, Topology};

/// The plan of a statement that shows tables; `None`: it is none of those.
pub(super) fn plan(
    sql: &[u8],
    lexed: &Lexed,
    tokens: &[Token],
    names: Names<'_>,
) -> Option<Result<DataPlan, Refusal>> {
    let words = Words { sql, tokens: session::without_semicolons(tokens) };
    let asked = Asked { words, lexed, names };
    match words.upper(0)?.as_str() {
        "SHOW" => show(asked),
        "DESC" | "DESCRIBE" | "EXPLAIN" if of_table::is_described(words) => {
            Some(of_table::columns(asked, 1, "DESCRIBE"))
        }
        _ => None,
    }
}

fn show(asked: Asked<'_>) -> Option<Result<DataPlan, Refusal>> {
    let words = asked.words;
    let mut at = 1;
    while words.is(at, "FULL") || words.is(at, "EXTENDED") {
        at += 1;
    }
    let from = |at: usize| words.is(at, "FROM") || words.is(at, "IN");
    match words.upper(at)?.as_str() {
        "TABLES" => Some(listing::tables(asked, at)),
        "TABLE" if words.is(at + 1, "STATUS") => Some(listing::about_all(asked, at + 2, "SHOW TABLE STATUS")),
        "OPEN" if words.is(at + 1, "TABLES") => Some(listing::about_all(asked, at + 2, "SHOW OPEN TABLES")),
        "TRIGGERS" => Some(listing::about_all(asked, at + 1, "SHOW TRIGGERS")),
        "COLUMNS" | "FIELDS" if from(at + 1) => Some(of_table::columns(asked, at + 2, "SHOW")),
        "INDEX" | "INDEXES" | "KEYS" if from(at + 1) => Some(of_table::keys(asked, at + 2)),
        "CREATE" if words.is(at + 1, "TABLE") => Some(of_table::definition(asked, at + 2)),
        _ => None,
    }
}

/// A statement under planning.
#[derive(Clone, Copy)]
struct Asked<'a> {
    words: Words<'a>,
    lexed: &'a Lexed,
    names: Names<'a>,
}

impl Asked<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        let at = |offset: usize| lex::place(&self.lexed.regions, u32::try_from(offset).unwrap_or(u32::MAX));
        Span { start: at(start), end: at(end) }
    }

    fn text(&self, (start, end): (usize, usize), text: String) -> Splice {
        Splice { span: self.span(start, end), with: Replacement::Text(text), when: When::Always }
    }

    fn plan(
        &self,
        verb: &'static str,
        backend: BackendId,
        database: Option<DatabaseId>,
        splices: Vec<Splice>,
        gather: Gather,
    ) -> DataPlan {
        let route = RoutePlan::Backend(backend);
        DataPlan {
            access: Access::Read,
            verb,
            tables: Vec::new(),
            databases: database.into_iter().collect(),
            pin: Pin::None,
            placeholders: self.lexed.placeholders,
            numbering: None,
            needs: Needs::default(),
            served_by: ServedBy::NoRows,
            sides: Sides::One(SidePlan { route, splices, gather, because: String::new() }),
        }
    }

    /// Passed on as it is.
    fn whole(&self, backend: BackendId, database: Option<DatabaseId>) -> DataPlan {
        self.plan("SHOW", backend, database, Vec::new(), Gather::Concat { limit: None })
    }
}

/// Has the database tables that rules name?
fn is_ruled(topology: &Topology, database: DatabaseId) -> bool {
    topology.tables.iter().any(|table| table.database == database)
}

/// Does the default backend carry the database under its own name?
fn is_named_so(topology: &Topology, database: DatabaseId) -> bool {
    let of = topology.database_of(database);
    topology.physical_database(of.default, &of.name) == of.name
}
