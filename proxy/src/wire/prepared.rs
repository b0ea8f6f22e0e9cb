//! `COM_STMT_EXECUTE`: bound values read, and written again for a shard.

use std::collections::BTreeMap;

use mysql_common::constants::ColumnType;
use shardway_routing::bind::{Had, Kept};
use shardway_routing::key::Literal;
use shardway_routing::moment::Moment;

use super::cursor::{Cursor, Malformed};

/// How a client binds a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterType {
    pub kind: ColumnType,
    pub sign: u8,
}

/// The values of one execution.
#[derive(Debug)]
pub struct Execute<'a> {
    types: Vec<ParameterType>,
    values: Vec<Value<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Null,
    /// The value's bytes as they came.
    Inline(&'a [u8]),
    /// Sent before, by `COM_STMT_SEND_LONG_DATA`.
    Long(&'a [u8]),
}

const UNSIGNED: u8 = 0x80;

/// Why an execution cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    #[error("Malformed communication packet")]
    Malformed(#[from] Malformed),
    /// No types, or such as there are not.
    #[error("Incorrect arguments to mysqld_stmt_execute")]
    Arguments,
}

impl<'a> Execute<'a> {
    /// Reads the packet, without its command byte, of a statement with `count` parameters. `types` are those bound
    /// before, as clients send them only once; `long_data` is what came beforehand.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub fn parse(
        argument: &'a [u8],
        count: u16,
        types: &[ParameterType],
        long_data: &'a BTreeMap<u16, Vec<u8>>,
    ) -> Result<Execute<'a>, ExecuteError> {
        let mut cursor = Cursor(argument);
        cursor.u32()?;
        // A server may answer without the cursor that was asked for, and clients look at the status for it.
        cursor.u8()?;
        cursor.u32()?;
        let count = usize::from(count);
        let mut execute = Execute { types: types.to_vec(), values: Vec::with_capacity(count) };
        if count == 0 {
            return Ok(execute);
        }
        let nulls = cursor.bytes(count.div_ceil(8))?;
        if cursor.u8()? == 1 {
            let read = |_| Ok(ParameterType { kind: kind(cursor.u8()?)?, sign: cursor.u8()? });
            execute.types = (0..count).map(read).collect::<Result<_, ExecuteError>>()?;
        }
        if execute.types.len() != count {
            return Err(ExecuteError::Arguments);
        }
        for (index, of) in execute.types.iter().enumerate() {
            let long = u16::try_from(index).ok().and_then(|parameter| long_data.get(&parameter));
            let value = match long {
                Some(data) => Value::Long(data),
                None if nulls[index / 8] & (1 << (index % 8)) != 0 => Value::Null,
                None => inline(*of, &mut cursor)?,
            };
            execute.values.push(value);
        }
        Ok(execute)
    }

    #[must_use]
    pub fn types(&self) -> &Vec<ParameterType> {
        &self.types
    }

    /// The values as routing sees them.
    #[must_use]
    pub fn literals(&self) -> Vec<Literal<'_>> {
        self.types.iter().zip(&self.values).map(|(of, value)| literal(*of, *value)).collect()
    }

    /// The same with numbers at these places: in place of what the client has bound, or as further parameters.
    #[must_use]
    pub fn with_numbers<'b>(&self, places: &[(u16, Had)], numbers: &'b [[u8; 8]]) -> Execute<'b>
    where
        'a: 'b,
    {
        let mut execute = Execute { types: self.types.clone(), values: self.values.clone() };
        let number = ParameterType { kind: ColumnType::MYSQL_TYPE_LONGLONG, sign: UNSIGNED };
        for ((place, had), bytes) in places.iter().zip(numbers) {
            let place = usize::from(*place);
            match had {
                Had::Yes => (execute.types[place], execute.values[place]) = (number, Value::Inline(bytes)),
                Had::No => {
                    execute.types.insert(place, number);
                    execute.values.insert(place, Value::Inline(bytes));
                }
            }
        }
        execute
    }

    /// Parameters whose values were sent beforehand.
    pub fn long_data(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        (0_u16..).zip(&self.values).filter_map(|(index, value)| match value {
            Value::Long(data) => Some((index, *data)),
            Value::Null | Value::Inline(_) => None,
        })
    }
}

/// Appends the argument of `COM_STMT_EXECUTE` for the statement `id`, which has the parameters `kept`. `rebind` gives
/// some of them other values.
pub fn rewrite(execute: &Execute<'_>, id: u32, kept: &Kept, rebind: &[(u16, u64)], out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&1_u32.to_le_bytes());
    let parameters: Vec<u16> = kept.iter().collect();
    if parameters.is_empty() {
        return;
    }
    let nulls = out.len();
    out.resize(nulls + parameters.len().div_ceil(8), 0);
    out.push(1);
    let bound = |parameter: u16| rebind.iter().find(|(of, _)| *of == parameter).map(|(_, value)| *value);
    for &parameter in &parameters {
        let of = execute.types[usize::from(parameter)];
        match bound(parameter) {
            Some(_) => out.extend_from_slice(&[ColumnType::MYSQL_TYPE_LONGLONG as u8, UNSIGNED]),
            None => out.extend_from_slice(&[of.kind as u8, of.sign]),
        }
    }
    for (place, &parameter) in parameters.iter().enumerate() {
        match (bound(parameter), execute.values[usize::from(parameter)]) {
            (Some(value), _) => out.extend_from_slice(&value.to_le_bytes()),
            (None, Value::Null) => out[nulls + place / 8] |= 1 << (place % 8),
            (None, Value::Inline(bytes)) => out.extend_from_slice(bytes),
            (None, Value::Long(_)) => {}
        }
    }
}

fn kind(byte: u8) -> Result<ColumnType, ExecuteError> {
    ColumnType::try_from(byte).map_err(|_| ExecuteError::Arguments)
}

/// Bytes of values that always have the same number of them.
fn width(kind: ColumnType) -> Option<usize> {
    match kind {
        ColumnType::MYSQL_TYPE_NULL => Some(0),
        ColumnType::MYSQL_TYPE_TINY => Some(1),
        ColumnType::MYSQL_TYPE_SHORT | ColumnType::MYSQL_TYPE_YEAR => Some(2),
        ColumnType::MYSQL_TYPE_LONG | ColumnType::MYSQL_TYPE_INT24 | ColumnType::MYSQL_TYPE_FLOAT => Some(4),
        ColumnType::MYSQL_TYPE_LONGLONG | ColumnType::MYSQL_TYPE_DOUBLE => Some(8),
        _ => None,
    }
}

fn inline<'a>(of: ParameterType, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Malformed> {
    let before = cursor.0;
    match (width(of.kind), of.kind) {
        (Some(width), _) => {
            cursor.bytes(width)?;
        }
        (
            None,
            ColumnType::MYSQL_TYPE_DATE
            | ColumnType::MYSQL_TYPE_DATETIME
            | ColumnType::MYSQL_TYPE_TIMESTAMP
            | ColumnType::MYSQL_TYPE_TIME,
        ) => {
            let length = cursor.u8()?;
            cursor.bytes(usize::from(length))?;
        }
        (None, _) => {
            cursor.string()?;
        }
    }
    Ok(Value::Inline(&before[..before.len() - cursor.0.len()]))
}

fn literal<'a>(of: ParameterType, value: Value<'a>) -> Literal<'a> {
    let bytes = match value {
        Value::Null => return Literal::Null,
        Value::Long(data) => return Literal::String(data),
        Value::Inline(bytes) => bytes,
    };
    match (of.kind, width(of.kind)) {
        (ColumnType::MYSQL_TYPE_NULL, _) => Literal::Null,
        (ColumnType::MYSQL_TYPE_FLOAT, _) => Literal::Opaque,
        (ColumnType::MYSQL_TYPE_DOUBLE, _) => whole(bytes).map_or(Literal::Opaque, Literal::Integer),
        (_, Some(width)) => {
            let raw = Cursor(bytes).number(width).unwrap_or_default();
            let unused = 64 - 8 * u32::try_from(width).unwrap_or(8);
            let signed = (raw << unused).cast_signed() >> unused;
            Literal::Integer(if of.sign & UNSIGNED != 0 { i128::from(raw) } else { i128::from(signed) })
        }
        (
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP,
            None,
        ) => Cursor(bytes).string().ok().and_then(moment).map_or(Literal::Opaque, Literal::Moment),
        (ColumnType::MYSQL_TYPE_TIME, None) => Literal::Opaque,
        (ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL, None) => {
            Cursor(bytes).string().map_or(Literal::Opaque, Literal::Number)
        }
        (_, None) => Cursor(bytes).string().map_or(Literal::Opaque, Literal::String),
    }
}

/// A double that is a whole number, where servers compare and write it as they do the integer: some clients bind every
/// number as a double.
fn whole(bytes: &[u8]) -> Option<i128> {
    let value = f64::from_bits(Cursor(bytes).number(8).ok()?);
    // From 1e15 on servers write an exponent.
    let is_whole = value.fract() == 0.0 && value.abs() < 1e15 && (value != 0.0 || value.is_sign_positive());
    is_whole.then(|| format!("{value:.0}").parse().ok())?
}

/// A date of the binary protocol; what it leaves out is zero.
fn moment(packed: &[u8]) -> Option<Moment> {
    if !matches!(packed.len(), 4 | 7 | 11) {
        return None;
    }
    let mut fields = Cursor(packed);
    let mut next = |width| fields.number(width).unwrap_or_default();
    let (year, month, day) = (next(2), next(1), next(1));
    let date =
        Moment::midnight(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let (hour, minute, second) = (next(1), next(1), next(1));
    Some(Moment {
        hour: u8::try_from(hour).ok()?,
        minute: u8::try_from(minute).ok()?,
        second: u8::try_from(second).ok()?,
        micros: u32::try_from(next(4)).ok()?,
        ..date
    })
}
