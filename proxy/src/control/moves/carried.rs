//! Which rows a move carries, by the conditions of its rules.
//!
//! The conditions are fixed when the move begins (its state has them) and hold until it begins anew: a copy, a stream
//! and a comparison that each meant other rows would agree on nothing. A move that carries some rows only is never in
//! step with its source, so no rule change can make clients look for the others on the target.

use std::collections::BTreeMap;

use shardway_migration::filter::Filter;
use shardway_migration::settings::{CopySettings, Span};
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_routing::refusal;
use shardway_routing::topology::{Capture, DoubleWrite, MoveId, Topology};

use super::{Moves, on_their_way};

/// Conditions by the full name of their table.
pub(super) type Conditions = BTreeMap<String, String>;

impl Moves {
    /// The tables of a move, with the rows that it carries.
    ///
    /// # Errors
    /// A table that cannot be carried exactly.
    pub(super) fn moving(&self, topology: &Topology, by: MoveId) -> Result<Vec<MovingTable>, WorkError> {
        let carried = self.of(&topology.move_of(by).name).carried;
        let tables = on_their_way(topology, by)?;
        let carrying = |table: MovingTable| match carried.get(&table.name) {
            Some(condition) => {
                let filter = Filter::of(condition, &table.shape);
                let filter =
                    filter.map_err(|refusal| WorkError::Stopped(format!("{}: {refusal}", table.name)))?;
                Ok(table.carrying(filter))
            }
            None => Ok(table),
        };
        tables.into_iter().map(carrying).collect()
    }
}

/// The conditions that the rules ask for.
///
/// # Errors
/// Those that cannot be kept.
pub(super) fn conditions(
    topology: &Topology,
    by: MoveId,
    settings: &CopySettings,
) -> Result<Conditions, String> {
    let tables = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
    let mut conditions = Conditions::new();
    for table in &tables {
        let bare = table.name.split_once('.').map_or(table.name.as_str(), |(_, bare)| bare);
        let is_its = |name: &str| {
            name.is_empty() || name.eq_ignore_ascii_case(bare) || name.eq_ignore_ascii_case(&table.name)
        };
        let predicates = settings.predicates.iter().filter(|(name, _)| is_its(name));
        let mut terms: Vec<String> = predicates.map(|(_, text)| format!("({text})")).collect();
        terms.extend(settings.span.iter().filter(|span| has_column(table, span)).map(within));
        if terms.is_empty() {
            continue;
        }
        let condition = terms.join(" AND ");
        Filter::of(&condition, &table.shape).map_err(|refusal| format!("{}: {refusal}", table.name))?;
        conditions.insert(table.name.clone(), condition);
    }
    if let Some(span) = &settings.span
        && !tables.iter().any(|table| has_column(table, span))
    {
        let detail = format!("no table of the move has the column `{}`", span.column);
        return Err(refusal::INEXACT_FILTER.because(detail).to_string());
    }
    let of = topology.move_of(by);
    if !conditions.is_empty() && (of.capture != Capture::Binlog || of.double_write != DoubleWrite::Off) {
        return Err(
            "a move of some rows only goes by the log alone: double write brings every row; set capture = \
                    \"binlog\" and double_write = \"off\""
                .to_owned(),
        );
    }
    Ok(conditions)
}

fn has_column(table: &MovingTable, span: &Span) -> bool {
    table.shape.columns().iter().any(|(name, _)| name.eq_ignore_ascii_case(&span.column))
}

fn within(span: &Span) -> String {
    let column = format!("`{}`", span.column.replace('`', "``"));
    let since = span.since.iter().map(|since| format!("{column} >= '{since}'"));
    let until = span.until.iter().map(|until| format!("{column} < '{until}'"));
    since.chain(until).collect::<Vec<_>>().join(" AND ")
}
