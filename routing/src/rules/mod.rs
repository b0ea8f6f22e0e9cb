//! The rule file: from its text to a [`Topology`], or to every problem it has.
//!
//! - `raw` is the file as written: its sections and keys, unknown ones refused.
//! - `check` gives the names their meaning and finds contradictions.
//! - How rows travel ([`TRAVEL`], [`ALERTS`]) is not for this crate: those sections are left to their readers.
//! - What the file means but this version cannot do is a problem too, never ignored.

mod attach;
mod check;
mod division;
mod expand;
mod functions;
mod moves;
mod places;
mod raw;
#[cfg(test)]
mod tests;
mod url;

pub use attach::attach;
pub use raw::{ALERTS, TRAVEL};

use crate::document::{Document, Problem};
use crate::topology::Topology;

/// Reads and checks the text of a rule file. `variable` looks up `${NAME}`.
///
/// # Errors
/// Every problem of the text, in the order of the file.
pub fn load(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    version: u64,
) -> Result<Topology, Vec<Problem>> {
    let document = Document::new(text);
    let raw = raw::read(document.root());
    let topology = check::topology(&document, &raw, variable, version);
    let problems = document.problems();
    if problems.is_empty() { Ok(topology) } else { Err(problems) }
}
