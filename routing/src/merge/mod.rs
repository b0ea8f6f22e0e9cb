//! Rows of several sorted shards become one sorted answer.
//!
//! Sort keys are the last columns of every shard's rows, put there by the planner in a form that compares here as it
//! does on the server: numbers and dates by value, text as its collation's weights. NULL comes first. Hidden columns
//! are cut off before a row goes to the client.

mod decimal;
pub mod fold;
mod having;
mod row;
#[cfg(test)]
mod tests;
mod value;

use std::cmp::Ordering;

use crate::plan::{Comparison, Direction, SortKey};
use crate::refusal::{self, Refusal};

pub use row::{BadRow, RowProtocol};
pub use value::{ColumnType, Unsigned};

use value::SortValue;

/// How one statement's rows are merged.
#[derive(Debug)]
pub struct Merger {
    order: Vec<SortKey>,
    types: Vec<ColumnType>,
    protocol: RowProtocol,
    /// Columns that the client sees.
    visible: usize,
}

/// A row's sort keys.
#[derive(Debug, Clone, PartialEq)]
pub struct SortValues(Vec<Option<SortValue>>);

impl Merger {
    /// A merger of rows with these column types, the hidden ones included.
    ///
    /// # Errors
    /// A sort key of a type whose order is not known.
    pub fn new(
        order: &[SortKey],
        types: &[ColumnType],
        protocol: RowProtocol,
        hidden: u16,
    ) -> Result<Merger, Refusal> {
        let visible = types
            .len()
            .checked_sub(usize::from(hidden))
            .ok_or_else(|| refusal::SHARDS_DISAGREE.because("the number of columns"))?;
        for key in order {
            let bytes = types.get(visible + usize::from(key.column)) == Some(&ColumnType::Bytes);
            if bytes && key.compare == Comparison::ByType {
                return Err(refusal::MERGE_ORDER.because(""));
            }
        }
        Ok(Merger { order: order.to_vec(), types: types.to_vec(), protocol, visible })
    }

    /// Reads a row's sort keys.
    ///
    /// # Errors
    /// When the row is not of these types.
    pub fn sort_values(&self, row: &[u8]) -> Result<SortValues, BadRow> {
        let fields = row::fields(row, &self.types, self.protocol)?;
        let value = |key: &SortKey| {
            let place = self.visible + usize::from(key.column);
            let field = *fields.get(place).ok_or(BadRow)?;
            field.map(|bytes| value::read(bytes, self.types[place], self.protocol, key.compare)).transpose()
        };
        self.order.iter().map(value).collect::<Result<_, _>>().map(SortValues)
    }

    /// Which of two rows comes first.
    #[must_use]
    pub fn compare(&self, one: &SortValues, other: &SortValues) -> Ordering {
        for (key, (one, other)) in self.order.iter().zip(one.0.iter().zip(&other.0)) {
            let ordering = match (one, other) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(one), Some(other)) => value::compare(one, other, key.compare),
            };
            let ordering = if key.direction == Direction::Descending { ordering.reverse() } else { ordering };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    /// Appends the row without its hidden columns.
    ///
    /// # Errors
    /// When the row is not of these types.
    pub fn strip_hidden(&self, row: &[u8], out: &mut Vec<u8>) -> Result<(), BadRow> {
        row::strip(row, &self.types, self.visible, self.protocol, out)
    }
}
