//! What a rehearsal has shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A rehearsal, step by step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rehearsal {
    pub r#move: String,
    /// Seconds since 1970.
    pub began_at: u64,
    pub steps: Vec<Step>,
    /// Did every step succeed?
    pub passed: bool,
    /// Where the rehearsing proxy has logged.
    pub log: String,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub name: String,
    pub seconds: f64,
    /// What came of it.
    pub detail: String,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// The slowest read and the slowest write or locking read of a client during it; `null` when none could be asked.
    pub longest_read_ms: Option<f64>,
    pub longest_write_ms: Option<f64>,
    /// Rows that this client has changed, where the source is a copy.
    #[serde(default)]
    pub changed_rows: u64,
    /// Statements of that client that failed.
    pub failed_statements: u64,
}

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        let verdict = if self.passed { "every step succeeded" } else { "it would not go through" };
        writeln!(f, "rehearsal of {}: {verdict}; the log is {}", self.r#move, self.log)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.error.is_none() { "ok" } else { "FAILED" };
        write!(f, "{sign:6} {:28} {:8.2} s", self.name, self.seconds)?;
        if let (Some(read), Some(write)) = (self.longest_read_ms, self.longest_write_ms) {
            write!(f, "  longest read {read:.0} ms, write {write:.0} ms")?;
        }
        if self.changed_rows > 0 {
            write!(f, ", {} rows changed", self.changed_rows)?;
        }
        if self.failed_statements > 0 {
            write!(f, ", {} statements failed", self.failed_statements)?;
        }
        if !self.detail.is_empty() {
            write!(f, "  {}", self.detail)?;
        }
        match &self.error {
            Some(error) => write!(f, "\n       {error}"),
            None => Ok(()),
        }
    }
}
