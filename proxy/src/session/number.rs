//! Ids for rows that a client inserts without them, into sharded tables whose ids are generated.
//!
//! The statement is written anew with the ids in it, as literals or as parameters, and planned like any other: so a
//! generated id may be the shard key, and both sides of a move get the same one.

use shardway_routing::bind::{self, As, Numbered, Values, Zero};
use shardway_routing::plan::DataPlan;
use shardway_routing::topology::{Owners, Placement, Side, TableId, Topology};

use super::{Failure, Session};
use crate::worker::View;

/// How the ids get into the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Literals,
    Parameters,
}

/// Ids that a statement has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenIds {
    pub first: u64,
    /// How many rows have one.
    pub rows: usize,
}

/// A statement with its generated ids, at least one.
pub(super) struct WithIds {
    pub numbered: Numbered,
    pub ids: Vec<u64>,
}

impl Session {
    /// Gives ids to the rows of an `INSERT` that have none. `None`: the statement stays as it is.
    pub(super) async fn number(
        &self,
        view: &View,
        plan: &DataPlan,
        values: Values<'_>,
        form: Form,
    ) -> Result<Option<WithIds>, Failure> {
        let Some(numbering) = plan.numbering.as_deref() else { return Ok(None) };
        let topology = &view.snapshot.topology;
        let table = topology.table_of(numbering.table);
        let Some(id) = table.id.as_ref().filter(|_| is_written_to_shards(topology, numbering.table)) else {
            return Ok(None);
        };
        let zero = match self.vars.get("sql_mode") {
            Some(modes) if modes.to_ascii_uppercase().contains("NO_AUTO_VALUE_ON_ZERO") => Zero::Id,
            _ => Zero::NoId,
        };
        let ids = &self.worker.shared.ids;
        if let Some(greatest) =
            bind::greatest_given(numbering, values).and_then(|greatest| u64::try_from(greatest).ok())
        {
            ids.given(topology, numbering.table, id, greatest).await?;
        }
        let rows = bind::unnumbered(numbering, values, zero);
        if rows.is_empty() {
            return Ok(None);
        }
        let ids = ids.take(topology, numbering.table, id, rows.len()).await?;
        let form = match form {
            Form::Literals => As::Numbers(&ids),
            Form::Parameters => As::Placeholders,
        };
        Ok(Some(WithIds { numbered: bind::numbered(numbering, values, &rows, form), ids }))
    }
}

/// While a move's source owns all writes and is one server, that server counts.
fn is_written_to_shards(topology: &Topology, table: TableId) -> bool {
    let of = topology.table_of(table);
    let owners =
        of.moving.as_ref().map_or(Owners::One(Side::Target), |moving| topology.move_of(moving.by).owners());
    owners.sides().any(|side| matches!(of.placement(side), Placement::Sharded(_)))
}
