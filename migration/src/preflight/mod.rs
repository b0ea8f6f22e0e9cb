//! What must hold before a move begins: everything that would lose rows, hide them or stop the move half-way is found
//! beforehand, with what to do about it; and an estimate of what the move will take.
//!
//! - It reads only; nothing on any server is changed, so a crash leaves nothing.
//! - What cannot be seen speaks against the move: a lacking privilege is a finding, not an empty answer.
//! - It proves nothing about later: whoever changes a server's settings or a table's definition while the move runs is
//!   seen by the stream and by verification, not here.
//!
//! What decides is pure (`decide`, [`estimate`]); `read` only asks.

mod around;
mod ask_server;
mod ask_table;
pub(crate) mod compare;
mod decide;
pub mod estimate;
#[cfg(test)]
mod example;
pub mod facts;
pub mod finding;
mod grants;
mod read;
mod servers;
mod tables;
#[cfg(test)]
mod tests;
mod uuids;

pub(crate) use ask_table::definition;

use serde::Serialize;
use shardway_routing::topology::{MoveId, Side, Topology};

use crate::tables::WorkError;
use estimate::Estimate;
use finding::{Finding, Severity};

/// What a preflight says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Gravest first.
    pub findings: Vec<Finding>,
    pub estimate: Estimate,
}

impl Report {
    /// What keeps the move from beginning.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Refused)
    }
}

/// What the rules of a move say that a preflight has to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Findings that a person takes the responsibility for.
    pub waived: &'a [String],
    /// Parameters of the target's servers that the move sets.
    pub tuned: &'a [String],
}

/// Looks at every server of a move.
///
/// # Errors
/// [`WorkError`] when a server does not answer.
pub async fn run(topology: &Topology, by: MoveId, rules: Rules<'_>) -> Result<Report, WorkError> {
    let mut facts = read::facts(topology, by).await?;
    facts.tuned = rules.tuned.to_vec();
    facts.unnamed = read::unnamed(topology, by).await?;
    uuids::look(&mut facts, topology).await?;
    let estimate = estimate::estimate(&facts);
    let findings = decide::decide(&facts, &estimate, rules.waived);
    Ok(Report { findings, estimate })
}

/// What speaks against writes going to a side now: its servers cannot be written, or not be followed from there. For a
/// move whose rows have been carried over.
///
/// # Errors
/// See [`run`].
pub async fn takes_over(topology: &Topology, by: MoveId, to: Side) -> Result<Vec<Finding>, WorkError> {
    let facts = read::facts(topology, by).await?;
    Ok(servers::of_authority(&facts, to))
}

/// What has come since about the tables themselves: definitions that are no longer the same on both sides, triggers,
/// events and foreign keys that write rows on one side only. For a move whose rows have been carried over.
///
/// # Errors
/// See [`run`].
pub async fn drift(topology: &Topology, by: MoveId, waived: &[String]) -> Result<Vec<Finding>, WorkError> {
    let facts = read::facts(topology, by).await?;
    let findings = decide::drift(&facts, waived);
    Ok(findings.into_iter().filter(|finding| finding.severity == Severity::Refused).collect())
}
