//! From a shape's plan and one statement's values to the exact bytes for each shard.
//!
//! This runs for every statement, so the one-shard case allocates nothing but its leg and the bytes sent.

mod keys;
mod number;
mod render;
mod route;
#[cfg(test)]
mod tests;

pub use number::{As, Had, Numbered, Zero, greatest_given, numbered, unnumbered};
pub use render::{full_table, parameters, place_of, render};
pub use route::{any_route, route, shard_keys};

use crate::key::{Fractions, KeyValue, Literal};
use crate::lex::{Lexed, Quoting, Region};
use crate::plan::{self, DataPlan, SidePlan};
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, Move, ShardId, Side, TableId};

/// The values of one statement: its text with regions, and its bound parameters if it is a prepared one.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    pub sql: &'a [u8],
    pub regions: &'a [Region],
    pub parameters: &'a [Literal<'a>],
    pub quoting: Quoting,
    pub characters: Characters,
    pub fractions: Fractions,
}

/// What functions about the session answer, whichever connection runs the statement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    pub last_insert_id: u64,
    pub row_count: i64,
    pub found_rows: u64,
    pub connection_id: u64,
    /// The current logical database.
    pub database: Option<&'a str>,
    /// `user@host`
    pub account: &'a str,
}

/// In which bytes the client writes what is not ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Characters {
    Utf8,
    /// The server translates them, in a way that is not ours to know.
    #[default]
    Foreign,
}

/// What, besides the statement, decides the side of a moving table.
pub trait Sides {
    /// Reads go where writes go: inside a transaction, or because of a hint.
    fn reads(&self) -> Reads;
    /// This key's row on the non-authority side may be behind: its reads go to the authority.
    fn is_dirty(&self, table: TableId, key: &KeyValue) -> bool;
    /// Any key of the table may be behind.
    fn any_dirty(&self, table: TableId) -> bool;
    /// The side that is not the authority is further behind than the move allows, or nobody knows how far.
    fn is_behind(&self, of: &Move) -> bool;
    /// Rows of the statement to which the proxy has given ids.
    fn numbered(&self) -> usize;
    /// The account that asks.
    fn account(&self) -> &str;
}

/// What decides the side of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// By gray percentage.
    ByKey,
    /// Where writes go.
    Authority,
    /// Forced by a hint.
    Side(Side),
}

/// What the statement's author asks for in `/* shardway: … */`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    None,
    /// Run on this shard, whatever the keys say.
    Shard(u32),
    Source,
    Target,
    /// Read where writes go.
    Primary,
    Replica,
}

/// What the statement's author asks for; `lexed` is what `sql` was taken apart into.
///
/// # Errors
/// A hint nobody knows.
pub fn hint(sql: &[u8], lexed: &Lexed) -> Result<Hint, Refusal> {
    let Some(comment) = lexed.hint_in(sql) else { return Ok(Hint::None) };
    let text = String::from_utf8_lossy(comment).to_ascii_lowercase();
    let inner = text.trim_start_matches("/*").trim_end_matches("*/").trim();
    let wish = inner.strip_prefix("shardway:").unwrap_or(inner).trim();
    let shard = || wish.strip_prefix("shard")?.trim_start().strip_prefix('=')?.trim().parse().ok();
    match wish {
        "source" => Ok(Hint::Source),
        "target" => Ok(Hint::Target),
        "primary" => Ok(Hint::Primary),
        "replica" => Ok(Hint::Replica),
        _ => shard().map(Hint::Shard).ok_or_else(|| refusal::UNKNOWN_HINT.because(wish.to_owned())),
    }
}

/// Where one statement goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub side: Side,
    /// What must be awaited first.
    pub wait: Wait,
    /// At least one; in shard order.
    pub legs: Vec<Leg>,
    /// Rows to skip and to return, when the plan's gather has a limit and there is more than one leg.
    pub skip: u64,
    pub take: Option<u64>,
    /// Parameters whose values change on the way to the shards: `LIMIT ?, ?` over several of them.
    pub rebind: Vec<(u16, u64)>,
}

/// What a statement waits for, so that its side has every row as it was when the statement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Nothing,
    /// The move's streams: the other side owns some of the rows, and what it has got must have arrived.
    Streams,
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

/// The parameters of a prepared statement that one leg's text still has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// All of that many.
    All(u16),
    /// These, in order: the rows of the others go to other shards.
    Some(Vec<u16>),
}

impl Kept {
    /// The place of a parameter among those kept.
    #[must_use]
    pub fn place_of(&self, parameter: u16) -> Option<u16> {
        match self {
            Kept::All(count) => (parameter < *count).then_some(parameter),
            Kept::Some(kept) => {
                kept.binary_search(&parameter).ok().and_then(|place| u16::try_from(place).ok())
            }
        }
    }

    /// The parameters kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        let (count, some) = match self {
            Kept::All(count) => (*count, None),
            Kept::Some(kept) => (0, Some(kept)),
        };
        (0..count).chain(some.into_iter().flatten().copied())
    }
}

/// The plan of the side a route took.
#[must_use]
pub fn side_plan(plan: &DataPlan, side: Side) -> Option<&SidePlan> {
    match (&plan.sides, side) {
        (plan::Sides::One(only), _) => Some(only),
        (plan::Sides::Moving(moving), Side::Source) => moving.source.as_ref().ok(),
        (plan::Sides::Moving(moving), Side::Target) => moving.target.as_ref().ok(),
    }
}
