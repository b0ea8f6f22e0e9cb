//! Several shards' counts, sums, least and greatest values as those of the whole, by groups.
//!
//! Only what is exact is done: whole numbers and decimals are added digit by digit, floating numbers are not added at
//! all, because their sum depends on the order. Groups are told apart by their bytes, so text that a collation may take
//! for equal is refused; so is the least or greatest of texts.

use std::collections::BTreeMap;

use super::value::{self, ColumnType};
use super::{BadRow, RowProtocol};
use crate::plan::Comparison;
use crate::plan::whole::Part;
use crate::refusal::{self, Refusal};

/// A row of the text protocol.
pub type Row = Vec<Option<Vec<u8>>>;

/// A column of the shards' answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub of: ColumnType,
    pub equality: Equality,
}

/// When two values of a column are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// When their bytes are.
    Bytes,
    /// When a collation says so.
    Collation,
}

/// Puts the shards' rows together.
///
/// # Errors
/// A column that does not add up exactly.
pub fn fold(parts: &[Part], columns: &[Column], rows: Vec<Row>) -> Result<Vec<Row>, Refusal> {
    if parts.len() != columns.len() || rows.iter().any(|row| row.len() != parts.len()) {
        return Err(refusal::SHARDS_DISAGREE.because("the number of columns"));
    }
    for (part, column) in parts.iter().zip(columns) {
        exact(*part, *column)?;
    }
    let mut groups: BTreeMap<Row, Row> = BTreeMap::new();
    for row in rows {
        let group = row.iter().zip(parts).filter(|(_, part)| **part == Part::Group);
        let group: Row = group.map(|(value, _)| value.clone()).collect();
        match groups.get_mut(&group) {
            None => {
                groups.insert(group, row);
            }
            Some(all) => add(parts, columns, all, row)?,
        }
    }
    Ok(groups.into_values().collect())
}

fn exact(part: Part, column: Column) -> Result<(), Refusal> {
    match (part, column.of, column.equality) {
        (Part::Group, _, Equality::Collation) => Err(refusal::SCATTERED_GROUP
            .because("by a text whose collation may take values for equal; use CAST(… AS BINARY)")),
        (Part::Sum, ColumnType::Float | ColumnType::Double, _) => {
            Err(refusal::SCATTERED_AGGREGATE.because("a sum of floating numbers depends on their order"))
        }
        (Part::Sum, ColumnType::Integer { .. } | ColumnType::Decimal, _) | (Part::Group, ..) => Ok(()),
        (Part::Sum, ..) => Err(refusal::SCATTERED_AGGREGATE.because("a sum that is no number")),
        (Part::Least | Part::Greatest, ColumnType::Bytes, _) => {
            Err(refusal::SCATTERED_AGGREGATE.because("the least or greatest of texts"))
        }
        (Part::Least | Part::Greatest, ..) => Ok(()),
    }
}

fn add(parts: &[Part], columns: &[Column], all: &mut Row, row: Row) -> Result<(), Refusal> {
    for (((part, column), all), value) in parts.iter().zip(columns).zip(all).zip(row) {
        // NULL says that a shard had nothing to add.
        let Some(value) = value else { continue };
        let Some(before) = all else {
            *all = Some(value);
            continue;
        };
        match part {
            Part::Group => {}
            Part::Sum => *all = Some(sum(before, &value)?),
            Part::Least | Part::Greatest => {
                let read =
                    |bytes: &[u8]| value::read(bytes, column.of, RowProtocol::Text, Comparison::ByType);
                let order = read(&value)
                    .and_then(|value| Ok(value::compare(&value, &read(before)?, Comparison::ByType)));
                let order =
                    order.map_err(|BadRow| refusal::SHARDS_DISAGREE.because("a value of no known form"))?;
                if (*part == Part::Least) == order.is_lt() && order.is_ne() {
                    *all = Some(value);
                }
            }
        }
    }
    Ok(())
}

/// Adds two numbers as they are written; the result has the longer fraction.
fn sum(one: &[u8], other: &[u8]) -> Result<Vec<u8>, Refusal> {
    let unfit = || refusal::SCATTERED_AGGREGATE.because("a sum of more digits than can be added");
    let (one, one_scale) = digits(one).ok_or_else(unfit)?;
    let (other, other_scale) = digits(other).ok_or_else(unfit)?;
    let scale = one_scale.max(other_scale);
    let widened =
        |number: i128, by: u32| 10_i128.checked_pow(by).and_then(|factor| number.checked_mul(factor));
    let one = widened(one, scale - one_scale).ok_or_else(unfit)?;
    let other = widened(other, scale - other_scale).ok_or_else(unfit)?;
    Ok(written(one.checked_add(other).ok_or_else(unfit)?, scale).into_bytes())
}

/// A decimal as a whole number and how many of its digits are a fraction.
fn digits(text: &[u8]) -> Option<(i128, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number = format!("{whole}{fraction}").parse().ok()?;
    Some((number, u32::try_from(fraction.len()).ok()?))
}

fn written(number: i128, scale: u32) -> String {
    let scale = scale as usize;
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::Unsigned;

    const INTEGER: Column =
        Column { of: ColumnType::Integer { width: 8, unsigned: Unsigned::No }, equality: Equality::Bytes };
    const DECIMAL: Column = Column { of: ColumnType::Decimal, equality: Equality::Bytes };

    fn rows(text: &[&str]) -> Vec<Row> {
        let value = |value: &str| (value != "NULL").then(|| value.as_bytes().to_vec());
        text.iter().map(|row| row.split(' ').map(value).collect()).collect()
    }

    #[test]
    fn groups_of_several_shards_add_up() {
        let parts = [Part::Group, Part::Sum, Part::Sum, Part::Least, Part::Greatest];
        let columns = [INTEGER, INTEGER, DECIMAL, DECIMAL, INTEGER];
        let shards = [
            "1 2 -0.50 -3.5 9",
            "2 1 NULL NULL NULL",
            "1 5 0.49 -3.25 10",
            "NULL 1 1.00 1.0 1",
            "NULL 1 99.99 0.5 -1",
        ];
        let whole = ["NULL 2 100.99 0.5 1", "1 7 -0.01 -3.5 10", "2 1 NULL NULL NULL"];
        assert_eq!(fold(&parts, &columns, rows(&shards)), Ok(rows(&whole)));
    }

    #[test]
    fn without_groups_there_is_one_row() {
        let shards = ["3 NULL", "0 NULL", "4 0.10"];
        assert_eq!(fold(&[Part::Sum, Part::Sum], &[INTEGER, DECIMAL], rows(&shards)), Ok(rows(&["7 0.10"])));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        let double = Column { of: ColumnType::Double, equality: Equality::Bytes };
        let text = Column { of: ColumnType::Bytes, equality: Equality::Collation };
        for (part, column) in
            [(Part::Sum, double), (Part::Sum, text), (Part::Group, text), (Part::Least, text)]
        {
            assert!(fold(&[part], &[column], rows(&["1"])).is_err(), "{part:?} {column:?}");
        }
        let most = i128::MAX.to_string();
        assert!(fold(&[Part::Sum], &[DECIMAL], rows(&[&most, "1"])).is_err());
    }
}
