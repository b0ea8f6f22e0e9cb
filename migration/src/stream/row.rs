//! Rows events: the rows before and after a change. Pure.

use super::bytes::{Bytes, bit};
use super::change::Change;
use super::error::StreamError;
use super::table::Layout;
use super::value::field;
use crate::image::Image;

/// What happened to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

/// Do rows events of a kind have room for further data in their head?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Plain,
    Extended,
}

/// A rows event whose rows are still to be read.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub table: u64,
    verb: Verb,
    rest: Bytes<'a>,
}

impl<'a> Rows<'a> {
    pub fn read(verb: Verb, head: Head, data: &'a [u8]) -> Result<Rows<'a>, StreamError> {
        let mut rest = Bytes(data);
        let table = rest.number(6)?;
        let _flags = rest.take(2)?;
        if head == Head::Extended {
            // The length counts itself.
            let length = rest.size(2)?;
            rest.take(length.saturating_sub(2))?;
        }
        Ok(Rows { table, verb, rest })
    }

    /// Every change in the event.
    pub fn changes(self, layout: &Layout) -> Result<Vec<Change>, StreamError> {
        let mut rest = self.rest;
        let count = rest.packed()?;
        if count != layout.columns.len() {
            return Err(StreamError::garbled("rows have another number of columns than their table map"));
        }
        let logged = rest.take(count.div_ceil(8))?;
        let logged_after = if self.verb == Verb::Update { rest.take(count.div_ceil(8))? } else { logged };
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let row = image(layout, logged, &mut rest)?;
            changes.push(match self.verb {
                Verb::Insert => Change::Insert(row),
                Verb::Delete => Change::Delete(row),
                Verb::Update => {
                    Change::Update { before: row, after: image(layout, logged_after, &mut rest)? }
                }
            });
        }
        Ok(changes)
    }
}

/// The next row; `logged` has a bit for every column that is there.
fn image(layout: &Layout, logged: &[u8], rest: &mut Bytes<'_>) -> Result<Image, StreamError> {
    let present = (0..layout.columns.len()).filter(|place| bit(logged, *place)).count();
    if rest.is_empty() || present == 0 {
        return Err(StreamError::garbled("a row has no columns"));
    }
    let nulls = rest.take(present.div_ceil(8))?;
    let mut fields = vec![None; layout.fields];
    let mut nth = 0;
    for (place, column) in layout.columns.iter().enumerate() {
        if !bit(logged, place) {
            if column.goes.is_some() {
                return Err(StreamError::PartialImage { table: layout.table.clone() });
            }
            continue;
        }
        let is_null = bit(nulls, nth);
        nth += 1;
        if is_null {
            continue;
        }
        let bytes = column.wire.take(rest)?;
        if let Some((goes, kind)) = &column.goes {
            fields[*goes] = Some(field(column.wire, kind, bytes)?);
        }
    }
    Ok(Image(fields))
}
