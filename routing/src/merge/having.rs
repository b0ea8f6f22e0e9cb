//! Does a group meet a condition? As servers see it: what is NULL meets none, nor does its contrary.

use std::cmp::Ordering;

use super::decimal::Decimal;
use crate::plan::having::{Having, Relation};
use crate::refusal::{self, Refusal};

/// A column's value. An average has two: as it is calculated and as it is shown, and nobody says which one a server
/// compares.
pub(super) type Values = Option<Vec<Decimal>>;

/// Whether a row is kept. `None` is NULL.
///
/// # Errors
/// A value that is no number, or a condition that depends on rounding.
pub(super) fn meets(
    having: &Having,
    value: &dyn Fn(usize) -> Result<Values, Refusal>,
) -> Result<Option<bool>, Refusal> {
    match having {
        Having::All(both) => Ok(match (meets(&both[0], value)?, meets(&both[1], value)?) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        Having::Any(both) => Ok(match (meets(&both[0], value)?, meets(&both[1], value)?) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }),
        Having::Not(other) => Ok(meets(other, value)?.map(|meets| !meets)),
        Having::IsNull { column } => Ok(Some(value(*column)?.is_none())),
        Having::Compare { column, is, number } => {
            let Some(values) = value(*column)? else { return Ok(None) };
            let unfit = || refusal::SCATTERED_GROUP.because("HAVING with more digits than can be compared");
            let number = Decimal::read(number.as_bytes()).ok_or_else(unfit)?;
            let mut told = None;
            for value in values {
                let meets = stands(value.against(number).ok_or_else(unfit)?, *is);
                if told.is_some_and(|before| before != meets) {
                    return Err(refusal::SCATTERED_GROUP.because(
                        "HAVING compares an average with a number that it only becomes by rounding",
                    ));
                }
                told = Some(meets);
            }
            Ok(told)
        }
    }
}

fn stands(order: Ordering, is: Relation) -> bool {
    match is {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterOrEqual => order.is_ge(),
    }
}
