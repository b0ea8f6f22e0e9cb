//! Stored functions: what they read is the server's business, which knows its own tables only.
//!
//! On a shard such a function sees that shard's rows, on the source of a move what was there before. So none is called
//! beside tables that are not whole on one server, and none that names a table of the rules is called at all.

use super::names::Names;
use crate::lex::words::{Token, TokenKind};
use crate::refusal::{self, Refusal};
use crate::topology::{Placement, Table, TableId};

/// Refuses a statement on these tables that calls what could answer otherwise than on one server.
pub(super) fn check(
    sql: &[u8],
    tokens: &[Token],
    names: Names<'_>,
    tables: &[TableId],
) -> Result<(), Refusal> {
    let topology = names.topology;
    let is_whole = |table: &Table| table.moving.is_none() && matches!(table.placement, Placement::Single(_));
    let all_whole = tables.iter().all(|id| is_whole(topology.table_of(*id)));
    for (at, token) in tokens.iter().enumerate() {
        if tokens.get(at + 1).is_none_or(|next| next.kind != TokenKind::Symbol(b'(')) {
            continue;
        }
        let Some(name) = token.name(sql) else { continue };
        let before = |back: usize| at.checked_sub(back).map(|at| &tokens[at]);
        let qualifier = before(1)
            .filter(|dot| dot.kind == TokenKind::Symbol(b'.'))
            .and_then(|_| before(2)?.name(sql))
            .or_else(|| names.database.map(str::to_owned));
        let Some(database) = qualifier.and_then(|name| topology.database(&name)) else { continue };
        let functions = &topology.database_of(database).stored;
        let is_refused = if all_whole { functions.names_tables(&name) } else { functions.contains(&name) };
        if is_refused {
            return Err(refusal::STORED_FUNCTION.because(name));
        }
    }
    Ok(())
}
