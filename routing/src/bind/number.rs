//! Giving rows of an `INSERT` the ids that they leave to somebody else.

use super::{Values, keys};
use crate::key::{Exactness, KeyType, KeyValue};
use crate::lex::{self, RegionKind};
use crate::plan::{Numbering, Operand, RowNumber, Span};

/// What a zero means, by `sql_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// Nothing: the row gets an id, as by default.
    NoId,
    /// Itself, as `NO_AUTO_VALUE_ON_ZERO` has it.
    Id,
}

/// An id of a row as the statement gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Id(i128),
    No,
    /// Only the server could tell.
    Unknown,
}

fn told(row: &RowNumber, values: Values<'_>, zero: Zero) -> Told {
    match row {
        RowNumber::Missing { .. } => Told::No,
        RowNumber::Computed => Told::Unknown,
        RowNumber::Given { operand, .. } => match keys::stored(operand, &KeyType::Integer, values) {
            Exactness::Value(KeyValue::Integer(0)) if zero == Zero::NoId => Told::No,
            Exactness::Value(KeyValue::Integer(id)) => Told::Id(id),
            Exactness::Nothing => Told::No,
            Exactness::Value(KeyValue::Text(_) | KeyValue::Day(_)) | Exactness::Unknown => Told::Unknown,
        },
    }
}

/// The rows that need an id, by index.
#[must_use]
pub fn unnumbered(numbering: &Numbering, values: Values<'_>, zero: Zero) -> Vec<usize> {
    let needs = |row: &RowNumber| told(row, values, zero) == Told::No;
    (0..numbering.rows.len()).filter(|row| needs(&numbering.rows[*row])).collect()
}

/// The greatest id that the statement gives itself.
#[must_use]
pub fn greatest_given(numbering: &Numbering, values: Values<'_>) -> Option<i128> {
    let ids = numbering.rows.iter().filter_map(|row| match told(row, values, Zero::Id) {
        Told::Id(id) => Some(id),
        Told::No | Told::Unknown => None,
    });
    ids.max()
}

/// How ids are given to a statement.
#[derive(Debug, Clone, Copy)]
pub enum As<'a> {
    /// As numbers, one for each row that needs one.
    Numbers(&'a [u64]),
    /// As placeholders.
    Placeholders,
}

/// A statement whose rows all have ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    pub sql: Vec<u8>,
    /// For each row that needed one under [`As::Placeholders`]: which parameter it is, and whether the client has it too.
    pub parameters: Vec<(u16, Had)>,
}

/// Whether a parameter is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Had {
    /// The client bound NULL or zero to it.
    Yes,
    No,
}

/// Writes the ids of `rows` into a statement.
#[must_use]
pub fn numbered(numbering: &Numbering, values: Values<'_>, rows: &[usize], ids: As<'_>) -> Numbered {
    let mut writer = Writer { values, at: 0, new: 0, sql: Vec::with_capacity(values.sql.len() + 32) };
    if let Some((at, name)) = &numbering.name {
        writer.replace(*at, name.as_bytes());
    }
    let mut parameters = Vec::new();
    for (nth, row) in rows.iter().enumerate() {
        let id = match ids {
            As::Numbers(ids) => ids[nth].to_string(),
            As::Placeholders => "?".to_owned(),
        };
        match &numbering.rows[*row] {
            RowNumber::Missing { at, before, after } => {
                parameters.push((writer.parameter(*at), Had::No));
                writer.replace(*at, format!("{before}{id}{after}").as_bytes());
                writer.new += 1;
            }
            RowNumber::Given { operand: Operand::Parameter(_), span } => {
                parameters.push((writer.parameter(*span), Had::Yes));
            }
            RowNumber::Given { span, .. } => {
                parameters.push((writer.parameter(*span), Had::No));
                writer.replace(*span, id.as_bytes());
                writer.new += 1;
            }
            RowNumber::Computed => {}
        }
    }
    writer.sql.extend_from_slice(&values.sql[writer.at..]);
    Numbered { sql: writer.sql, parameters }
}

struct Writer<'a> {
    values: Values<'a>,
    /// Up to where the statement has been copied.
    at: usize,
    /// Placeholders that have been added.
    new: u16,
    sql: Vec<u8>,
}

impl Writer<'_> {
    fn replace(&mut self, span: Span, with: &[u8]) {
        let (start, end) = self.range(span);
        self.sql.extend_from_slice(&self.values.sql[self.at..start]);
        self.sql.extend_from_slice(with);
        self.at = end;
    }

    /// The number of a placeholder that stands there.
    fn parameter(&self, span: Span) -> u16 {
        let (start, _) = self.range(span);
        let regions = self.values.regions.iter();
        let before = regions.filter(|of| of.kind == RegionKind::Placeholder && (of.start as usize) < start);
        u16::try_from(before.count()).unwrap_or(u16::MAX).saturating_add(self.new)
    }

    fn range(&self, span: Span) -> (usize, usize) {
        (lex::offset(self.values.regions, span.start), lex::offset(self.values.regions, span.end))
    }
}
