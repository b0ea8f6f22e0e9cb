//! A client's transaction: its branches on backends, the gates it is inside of, and the keys it must mirror.

use std::sync::Arc;

use crate::execute::behind::LeftRows;
use crate::execute::mirror::TouchedRow;
use crate::gate::{Gate, Pass, QueueFull, Visitor};

/// From `BEGIN` (or the first statement under `autocommit = 0`) to `COMMIT` or `ROLLBACK`.
#[derive(Debug)]
pub struct Transaction {
    pub start: Start,
    /// Held until the end, so no rule change can fall into the middle of it.
    pub gates: Gateways,
    /// The savepoints that there are, and what made them: a branch that joins later makes them first.
    pub savepoints: Vec<(String, Vec<u8>)>,
    /// Rows written under double write, which the other side gets at commit.
    pub touched: Vec<TouchedRow>,
    /// Rows that it leaves to the streams of their moves.
    pub left: Vec<LeftRows>,
    /// Names of the backends that it has written on, where the rules let it write on one only.
    pub written_on: Vec<String>,
}

/// What opens the transaction on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// This statement.
    Explicit(Vec<u8>),
    /// Any statement, as the connection has `autocommit = 0`.
    Implicit,
}

/// The gates somebody is inside of.
#[derive(Debug, Default)]
pub struct Gateways {
    passes: Vec<(Arc<Gate>, Pass)>,
}

impl Transaction {
    #[must_use]
    pub fn new(start: Start) -> Transaction {
        Transaction {
            start,
            gates: Gateways::default(),
            savepoints: Vec::new(),
            touched: Vec::new(),
            left: Vec::new(),
            written_on: Vec::new(),
        }
    }
}

impl Gateways {
    /// Enters a gate unless inside already; waits while it is closed.
    ///
    /// # Errors
    /// When too many wait already.
    pub async fn enter(&mut self, gate: &Arc<Gate>) -> Result<(), QueueFull> {
        if self.passes.iter().any(|(entered, _)| Arc::ptr_eq(entered, gate)) {
            return Ok(());
        }
        let visitor = if self.passes.is_empty() { Visitor::New } else { Visitor::Inside };
        let pass = match gate.try_enter(visitor) {
            Some(pass) => pass,
            None => gate.enter(visitor).await?,
        };
        self.passes.push((Arc::clone(gate), pass));
        Ok(())
    }

    /// Leaves all gates.
    pub fn leave(&mut self) {
        self.passes.clear();
    }
}
