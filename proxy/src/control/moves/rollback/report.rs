//! What a rollback is asked for, and what is told of it while it runs and afterwards.

use serde::{Deserialize, Serialize};

use crate::control::moves::backup::Restored;
use crate::control::moves::part::NotSynchronised;

/// What an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    pub manner: Manner,
    /// The point whose rules and, with `restore`, whose rows are wanted.
    pub to: Option<String>,
    /// How both sides are compared at the end: a mode of `verify`, or `none`.
    pub verify: Option<String>,
    /// Restore the point's backup beside the source's tables.
    pub restore: bool,
    /// The operator knows what it may cost.
    pub yes: bool,
}

/// Whether the source may lack writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    #[default]
    Planned,
    Emergency,
}

/// A rollback, under way or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    pub ask: Ask,
    /// Seconds since 1970.
    pub started_at: u64,
    pub finished_at: Option<u64>,
    pub outcome: Outcome,
    pub steps: Vec<StepReport>,
    /// After an emergency.
    pub not_synchronised: Option<NotSynchronised>,
    /// What was restored beside the tables that clients use, and the statements that a person runs to put it in place.
    #[serde(default)]
    pub restored: Vec<Restored>,
}

/// How a rollback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Running,
    Done,
    /// Everything is done but what a person must do: the statements of what was restored.
    AwaitsAPerson,
    Failed,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    pub step: String,
    pub state: StepState,
    pub detail: String,
    pub seconds: f64,
}

/// How a step is, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Running,
    Done,
    /// There was nothing to do.
    Skipped,
    /// What could be done without a person is done.
    AwaitsAPerson,
    Failed,
    /// The process ended; the rollback began again.
    Interrupted,
}
