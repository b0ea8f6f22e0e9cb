//! From a shape's plan and one statement's values to the exact bytes for each shard.
//!
//! This runs for every statement, so it allocates nothing for the one-shard case beyond the bytes sent.

use crate::key::{KeyValue, Literal};
use crate::lex::{Quoting, Region};
use crate::plan::{DataPlan, SidePlan};
use crate::refusal::Refusal;
use crate::topology::{BackendId, ShardId, Side, TableId, Topology};

/// The values of one statement: its text with regions, and its bound parameters if it is a prepared one.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    pub sql: &'a [u8],
    pub regions: &'a [Region],
    pub parameters: &'a [Literal<'a>],
    pub quoting: Quoting,
}

/// What, besides the statement, decides the side of a moving table.
pub trait Sides {
    /// Reads go where writes go: inside a transaction, or because of a hint.
    fn reads(&self) -> Reads;
    /// This key's row on the non-authority side may be behind: its reads go to the authority.
    fn is_dirty(&self, table: TableId, key: &KeyValue) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// By gray percentage.
    ByKey,
    /// Where writes go.
    Authority,
    /// Forced by a hint.
    Side(Side),
}

/// Where one statement goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub side: Side,
    /// At least one; in shard order.
    pub legs: Vec<Leg>,
    /// Rows to skip and to return, when the plan's gather has a limit and there is more than one leg.
    pub skip: u64,
    pub take: Option<u64>,
}

/// One shard's part.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    pub backend: BackendId,
    /// Index into the placement's nodes; 0 for whole tables.
    pub shard: ShardId,
    /// `INSERT … VALUES`: the rows of this leg, by index; empty means all.
    pub rows: Vec<u32>,
}

/// Picks the side and the legs.
///
/// # Errors
/// The side's own refusal, a key no shard takes, a NULL or inexact key on insert, a statement for one shard that
/// would need several.
pub fn route(plan: &DataPlan, topology: &Topology, values: Values<'_>, sides: &impl Sides) -> Result<Route, Refusal> {
    let _ = (plan, topology, values, sides);
    unimplemented!()
}

/// The plan of the side a route took.
#[must_use]
pub fn side_plan(plan: &DataPlan, side: Side) -> Option<&SidePlan> {
    let _ = (plan, side);
    unimplemented!()
}

/// Appends the statement for `leg` to `out`: the client's bytes with this leg's splices. `last_insert_id` replaces
/// the plan's `LAST_INSERT_ID()` calls.
///
/// # Errors
/// `LIMIT` values whose sum does not fit.
pub fn render(
    plan: &DataPlan,
    topology: &Topology,
    values: Values<'_>,
    route: &Route,
    leg: &Leg,
    last_insert_id: u64,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let _ = (plan, topology, values, route, leg, last_insert_id, out);
    unimplemented!()
}
