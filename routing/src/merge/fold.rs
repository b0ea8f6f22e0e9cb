//! Several shards' counts, sums, averages, least and greatest values as those of the whole, by groups.
//!
//! Only what is exact is done: whole numbers and decimals are added digit by digit, and divided as servers do; floating
//! numbers are not added at all, because their sum depends on the order. Groups are told apart by their bytes, so text that a collation may take
//! for equal is refused; so is the least or greatest of texts.

use std::collections::BTreeMap;

use super::decimal::Decimal;
use super::having;
use super::value::{self, ColumnType};
use super::{BadRow, RowProtocol};
use crate::plan::Comparison;
use crate::plan::whole::{Folding, Part};
use crate::refusal::{self, Refusal};

/// A row of the text protocol.
pub type Row = Vec<Option<Vec<u8>>>;

/// A column of the shards' answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub of: ColumnType,
    pub equality: Equality,
    /// Digits of a decimal's fraction.
    pub decimals: u8,
}

/// When two values of a column are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// When their bytes are.
    Bytes,
    /// When a collation says so.
    Collation,
}

/// The longest fraction of a decimal. An average that would have a longer one does not tell how it was cut.
const DECIMALS_MAX: u8 = 30;

/// Puts the shards' rows together.
///
/// # Errors
/// A column that does not add up exactly.
pub fn fold(folding: &Folding, columns: &[Column], rows: Vec<Row>) -> Result<Vec<Row>, Refusal> {
    let parts = &folding.parts;
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
    let mut whole = Vec::with_capacity(groups.len());
    for mut row in groups.into_values() {
        let group = Group { folding, columns, row: &row };
        let averages = group.averages()?;
        let is_kept = match &folding.having {
            Some(having) => having::meets(having, &|column| group.values(column))? == Some(true),
            None => true,
        };
        if is_kept {
            averages.into_iter().for_each(|(at, average)| row[at] = average);
            row.truncate(row.len() - folding.hidden);
            whole.push(row);
        }
    }
    Ok(whole)
}

/// A column's place, and its value.
type Placed = (usize, Option<Vec<u8>>);

/// A row that all shards' parts have gone into.
struct Group<'a> {
    folding: &'a Folding,
    columns: &'a [Column],
    row: &'a Row,
}

impl Group<'_> {
    fn averages(&self) -> Result<Vec<Placed>, Refusal> {
        let mut averages = Vec::new();
        for (at, part) in self.folding.parts.iter().enumerate() {
            if let Part::Average { sum, count } = *part {
                let average = self.average(at, sum, count)?;
                averages.push((at, average.map(|[_, shown]| shown.to_string().into_bytes())));
            }
        }
        Ok(averages)
    }

    /// As it is calculated, and as it is shown.
    fn average(&self, at: usize, sum: usize, count: usize) -> Result<Option<[Decimal; 2]>, Refusal> {
        let (Some(total), Some(values)) = (self.number(sum)?, self.number(count)?) else { return Ok(None) };
        let (decimals, of) = (self.columns[at].decimals, self.columns[sum].decimals);
        let increment = match decimals.checked_sub(of) {
            Some(increment) if decimals < DECIMALS_MAX => u32::from(increment),
            _ => return Err(refusal::SCATTERED_AGGREGATE.because("an average of so many decimals")),
        };
        let calculated = total.average(values, increment).ok_or_else(too_long)?;
        let shown = calculated.rounded(u32::from(decimals)).ok_or_else(too_long)?;
        Ok(Some([calculated, shown]))
    }

    fn number(&self, at: usize) -> Result<Option<Decimal>, Refusal> {
        let read = |text: &Vec<u8>| Decimal::read(text).ok_or_else(too_long);
        self.row[at].as_ref().map(read).transpose()
    }

    /// What a condition compares.
    fn values(&self, at: usize) -> Result<having::Values, Refusal> {
        if let Part::Average { sum, count } = self.folding.parts[at] {
            return Ok(self.average(at, sum, count)?.map(|both| both.to_vec()));
        }
        match self.columns[at].of {
            ColumnType::Integer { .. } | ColumnType::Decimal => {
                Ok(self.number(at)?.map(|number| vec![number]))
            }
            _ => Err(refusal::SCATTERED_GROUP.because("HAVING compares numbers only, and no floating ones")),
        }
    }
}

fn too_long() -> Refusal {
    refusal::SCATTERED_AGGREGATE.because("a sum of more digits than can be added")
}

fn exact(part: Part, column: Column) -> Result<(), Refusal> {
    match (part, column.of, column.equality) {
        (Part::Group, _, Equality::Collation) => Err(refusal::SCATTERED_GROUP
            .because("by a text whose collation may take values for equal; use CAST(… AS BINARY)")),
        (Part::Sum | Part::Average { .. }, ColumnType::Float | ColumnType::Double, _) => {
            Err(refusal::SCATTERED_AGGREGATE.because("a sum of floating numbers depends on their order"))
        }
        (Part::Sum, ColumnType::Integer { .. } | ColumnType::Decimal, _)
        | (Part::Average { .. }, ColumnType::Decimal, _)
        | (Part::Group, ..) => Ok(()),
        (Part::Sum | Part::Average { .. }, ..) => {
            Err(refusal::SCATTERED_AGGREGATE.because("a sum that is no number"))
        }
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
            // An average is calculated from what is added up beside it.
            Part::Group | Part::Average { .. } => {}
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

/// Adds two numbers as they are written.
fn sum(one: &[u8], other: &[u8]) -> Result<Vec<u8>, Refusal> {
    let sum = Decimal::read(one).zip(Decimal::read(other)).and_then(|(one, other)| one.plus(other));
    sum.map(|sum| sum.to_string().into_bytes()).ok_or_else(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::Unsigned;
    use crate::plan::having::{Having, Relation};

    const INTEGER: Column = Column {
        of: ColumnType::Integer { width: 8, unsigned: Unsigned::No },
        equality: Equality::Bytes,
        decimals: 0,
    };
    const DECIMAL: Column = Column { of: ColumnType::Decimal, equality: Equality::Bytes, decimals: 2 };

    fn plain(parts: &[Part]) -> Folding {
        Folding { parts: parts.to_vec(), hidden: 0, having: None }
    }

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
        assert_eq!(fold(&plain(&parts), &columns, rows(&shards)), Ok(rows(&whole)));
    }

    #[test]
    fn without_groups_there_is_one_row() {
        let shards = ["3 NULL", "0 NULL", "4 0.10"];
        assert_eq!(
            fold(&plain(&[Part::Sum, Part::Sum]), &[INTEGER, DECIMAL], rows(&shards)),
            Ok(rows(&["7 0.10"]))
        );
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        let double = Column { of: ColumnType::Double, equality: Equality::Bytes, decimals: 31 };
        let text = Column { of: ColumnType::Bytes, equality: Equality::Collation, decimals: 0 };
        for (part, column) in
            [(Part::Sum, double), (Part::Sum, text), (Part::Group, text), (Part::Least, text)]
        {
            assert!(fold(&plain(&[part]), &[column], rows(&["1"])).is_err(), "{part:?} {column:?}");
        }
        let most = i128::MAX.to_string();
        assert!(fold(&plain(&[Part::Sum]), &[DECIMAL], rows(&[&most, "1"])).is_err());
    }

    /// Group, average, its hidden sum and count.
    fn averaging(having: Option<Having>) -> Folding {
        let parts = vec![Part::Group, Part::Average { sum: 2, count: 3 }, Part::Sum, Part::Sum];
        Folding { parts, hidden: 2, having }
    }

    const AVERAGE: Column = Column { of: ColumnType::Decimal, equality: Equality::Bytes, decimals: 6 };

    #[test]
    fn averages_are_of_all_shards_and_what_they_are_made_of_is_hidden() {
        let columns = [INTEGER, AVERAGE, DECIMAL, INTEGER];
        let shards =
            ["1 0.500000 1.00 2", "2 NULL NULL 0", "1 9.000000 9.00 1", "2 NULL NULL 0", "3 2.000000 2.00 1"];
        let whole = rows(&["1 3.333333", "2 NULL", "3 2.000000"]);
        assert_eq!(fold(&averaging(None), &columns, rows(&shards)), Ok(whole));
        let long = [INTEGER, Column { decimals: 30, ..AVERAGE }, DECIMAL, INTEGER];
        assert!(fold(&averaging(None), &long, rows(&shards)).is_err());
        let double = [INTEGER, Column { of: ColumnType::Double, ..AVERAGE }, DECIMAL, INTEGER];
        assert!(fold(&averaging(None), &double, rows(&shards)).is_err());
    }

    #[test]
    fn groups_that_meet_no_condition_are_left_out() {
        let columns = [INTEGER, AVERAGE, DECIMAL, INTEGER];
        let shards = ["1 0.500000 1.00 2", "2 NULL NULL 0", "1 9.000000 9.00 1", "3 2.000000 2.00 1"];
        let compare = |column, is, number: &str| Having::Compare { column, is, number: number.into() };
        let kept = |having| {
            let whole = fold(&averaging(Some(having)), &columns, rows(&shards));
            whole.map(|rows| rows.iter().map(|row| row[0].clone().unwrap()[0] - b'0').collect::<Vec<u8>>())
        };
        let more_than = |number| compare(1, Relation::Greater, number);
        assert_eq!(kept(more_than("1.5")), Ok(vec![1, 3]));
        assert_eq!(kept(Having::Not(Box::new(more_than("2")))), Ok(vec![3]), "NULL meets nothing");
        assert_eq!(kept(Having::IsNull { column: 1 }), Ok(vec![2]));
        let few = compare(3, Relation::LessOrEqual, "1");
        assert_eq!(kept(Having::Any(Box::new([more_than("3"), few.clone()]))), Ok(vec![1, 2, 3]));
        assert_eq!(kept(Having::All(Box::new([more_than("0"), few]))), Ok(vec![3]));
        assert!(kept(more_than("3.333333")).is_err(), "3.333333333 is more, and 3.333333 is not");
    }
}
