//! What a stream yields.

use std::collections::HashMap;

use crate::image::{Image, ImageShape};
use crate::mark::Token;
use crate::position::Position;

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Insert(Image),
    Update { before: Image, after: Image },
    Delete(Image),
}

/// A change and whose row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The number that [`Watched`] gives the physical table.
    pub table: usize,
    pub change: Change,
}

/// The next thing in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Changes of one transaction; a large one comes in several parts.
    Changes(Vec<RowChange>),
    /// A mark of ours was written, at that moment by the source's own clock (µs since 1970).
    Mark { token: Token, at_us: i64 },
    /// A transaction has ended, or there is nothing new: everything before is complete.
    Position(Position),
}

/// A physical table whose changes are wanted.
#[derive(Debug, Clone)]
pub struct WatchedTable {
    pub database: String,
    pub table: String,
    pub shape: ImageShape,
}

/// The tables whose changes are wanted; their places number them.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    pub tables: Vec<WatchedTable>,
    /// Physical databases that hold marks.
    pub mark_databases: Vec<String>,
}

impl Watched {
    /// Numbers by physical database and table.
    #[must_use]
    pub fn numbers(&self) -> HashMap<(String, String), usize> {
        let name = |table: &WatchedTable| (table.database.clone(), table.table.clone());
        self.tables.iter().enumerate().map(|(number, table)| (name(table), number)).collect()
    }
}
