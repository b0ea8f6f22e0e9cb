//! A row's fields, in both protocols.

use super::value::ColumnType;

/// How rows are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowProtocol {
    Text,
    Binary,
}

/// A row that is not of its columns' types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed row")]
pub struct BadRow;

/// The bytes of every field, without lengths; `None` is NULL.
pub(super) fn fields<'a>(
    row: &'a [u8],
    types: &[ColumnType],
    protocol: RowProtocol,
) -> Result<Vec<Option<&'a [u8]>>, BadRow> {
    let ranges = ranges(row, types, protocol)?;
    Ok(ranges.into_iter().map(|range| range.map(|range| &row[range.value..range.end])).collect())
}

/// Where a field is: its length prefix begins at `start`, its value at `value`.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    value: usize,
    end: usize,
}

fn ranges(row: &[u8], types: &[ColumnType], protocol: RowProtocol) -> Result<Vec<Option<Field>>, BadRow> {
    let mut fields = Vec::with_capacity(types.len());
    let mut at = match protocol {
        RowProtocol::Text => 0,
        RowProtocol::Binary => 1 + bitmap(types.len()),
    };
    for (index, of) in types.iter().enumerate() {
        let null = match protocol {
            RowProtocol::Text => *row.get(at).ok_or(BadRow)? == 0xFB,
            RowProtocol::Binary => {
                let bit = index + 2;
                row.get(1 + bit / 8).ok_or(BadRow)? & (1 << (bit % 8)) != 0
            }
        };
        if null {
            at += usize::from(protocol == RowProtocol::Text);
            fields.push(None);
            continue;
        }
        let (value, length) = match (protocol, of.width()) {
            (RowProtocol::Binary, Some(width)) => (at, width),
            (RowProtocol::Binary, None) if of.is_temporal() => {
                (at + 1, usize::from(*row.get(at).ok_or(BadRow)?))
            }
            _ => length(row, at)?,
        };
        let end = value.checked_add(length).filter(|end| *end <= row.len()).ok_or(BadRow)?;
        fields.push(Some(Field { start: at, value, end }));
        at = end;
    }
    Ok(fields)
}

/// Bytes of the NULL bitmap of a binary row; its first two bits are unused.
fn bitmap(columns: usize) -> usize {
    (columns + 7 + 2) / 8
}

/// A length-encoded string: where it begins, how long it is.
fn length(row: &[u8], at: usize) -> Result<(usize, usize), BadRow> {
    let wide = |width: usize| {
        let bytes = row.get(at + 1..at + 1 + width).ok_or(BadRow)?;
        let length = bytes.iter().rev().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        Ok((at + 1 + width, usize::try_from(length).map_err(|_| BadRow)?))
    };
    match *row.get(at).ok_or(BadRow)? {
        0xFC => wide(2),
        0xFD => wide(3),
        0xFE => wide(8),
        0xFB | 0xFF => Err(BadRow),
        small => Ok((at + 1, usize::from(small))),
    }
}

/// Appends the row's first `visible` columns.
pub(super) fn strip(
    row: &[u8],
    types: &[ColumnType],
    visible: usize,
    protocol: RowProtocol,
    out: &mut Vec<u8>,
) -> Result<(), BadRow> {
    let fields = ranges(row, types, protocol)?;
    match protocol {
        RowProtocol::Text => {
            for field in &fields[..visible] {
                match field {
                    Some(field) => out.extend_from_slice(&row[field.start..field.end]),
                    None => out.push(0xFB),
                }
            }
        }
        RowProtocol::Binary => {
            out.push(0);
            let nulls = out.len();
            out.resize(nulls + bitmap(visible), 0);
            for (index, field) in fields[..visible].iter().enumerate() {
                match field {
                    Some(field) => out.extend_from_slice(&row[field.start..field.end]),
                    None => out[nulls + (index + 2) / 8] |= 1 << ((index + 2) % 8),
                }
            }
        }
    }
    Ok(())
}
