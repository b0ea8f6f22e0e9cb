//! Which rows of a table a move carries: conditions that servers and the engine evaluate alike. Pure.
//!
//! Columns are compared with constants, and only where that comparison is known exactly: whole numbers, dates and
//! moments, bytes, and texts whose collation compares them as such. Everything else is refused: a row that the copy
//! takes and the stream does not would be lost without a word. NULL compares as in SQL, and a row is carried only where
//! its condition is true.
//!
//! The condition that servers get is written anew from what was understood, not passed on.

mod constant;
mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use shardway_routing::refusal::{self, Refusal};

use crate::image::{Image, ImageShape, quoted};
use constant::Constant;
use parse::{Compare, Written};

/// A condition on the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    term: Term,
    sql: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Compare { place: usize, compare: Compare, with: Constant },
    IsNull { place: usize },
    Not(Box<Term>),
    All(Vec<Term>),
    Any(Vec<Term>),
}

/// What is wrong with a condition's text, whatever the table.
#[must_use]
pub fn flaw(text: &str) -> Option<String> {
    parse::parse(text).err()
}

impl Filter {
    /// The condition of that text on a table.
    ///
    /// # Errors
    /// What in it cannot be evaluated exactly.
    pub fn of(text: &str, shape: &ImageShape) -> Result<Filter, Refusal> {
        let written = parse::parse(text).map_err(|flaw| refusal::INEXACT_FILTER.because(flaw))?;
        let term = bound(&written, shape)?;
        let sql = sql(&term, shape);
        Ok(Filter { term, sql })
    }

    /// Is the row carried?
    #[must_use]
    pub fn takes(&self, image: &Image) -> bool {
        truth(&self.term, image) == Some(true)
    }

    /// The same question for a server, in a session with [`crate::image::SESSION`].
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

fn bound(written: &Written, shape: &ImageShape) -> Result<Term, Refusal> {
    let place = |column: &str| {
        let found = shape.columns().iter().position(|(name, _)| name.eq_ignore_ascii_case(column));
        found.ok_or_else(|| {
            refusal::INEXACT_FILTER.because(format!("`{column}` is no column that is carried"))
        })
    };
    let all = |terms: &[Written]| terms.iter().map(|term| bound(term, shape)).collect::<Result<Vec<_>, _>>();
    Ok(match written {
        Written::Compare { column, compare, with } => {
            let place = place(column)?;
            let with = Constant::of(with, &shape.columns()[place].1)
                .map_err(|why| refusal::INEXACT_FILTER.because(format!("`{column}`: {why}")))?;
            Term::Compare { place, compare: *compare, with }
        }
        Written::IsNull { column } => Term::IsNull { place: place(column)? },
        Written::Not(term) => Term::Not(Box::new(bound(term, shape)?)),
        Written::All(terms) => Term::All(all(terms)?),
        Written::Any(terms) => Term::Any(all(terms)?),
    })
}

/// As SQL has it: `None` is NULL.
fn truth(term: &Term, image: &Image) -> Option<bool> {
    match term {
        Term::Compare { place, compare, with } => {
            let order = with.order_of(image.0[*place].as_deref()?)?;
            Some(compare.holds(order))
        }
        Term::IsNull { place } => Some(image.0[*place].is_none()),
        Term::Not(term) => truth(term, image).map(|truth| !truth),
        Term::All(terms) => all(terms.iter().map(|term| truth(term, image))),
        // Any is true unless all are false.
        Term::Any(terms) => {
            all(terms.iter().map(|term| truth(term, image).map(|truth| !truth))).map(|none| !none)
        }
    }
}

/// One that is false decides; else one that is NULL makes the whole NULL.
fn all(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut whole = Some(true);
    for truth in truths {
        match truth {
            Some(false) => return Some(false),
            Some(true) => {}
            None => whole = None,
        }
    }
    whole
}

fn sql(term: &Term, shape: &ImageShape) -> String {
    let column = |place: &usize| quoted(&shape.columns()[*place].0);
    let list = |terms: &[Term], word: &str| {
        let terms: Vec<String> = terms.iter().map(|term| sql(term, shape)).collect();
        format!("({})", terms.join(word))
    };
    match term {
        Term::Compare { place, compare, with } => {
            format!("{} {} {}", column(place), compare.sql(), with.sql(&shape.columns()[*place].1))
        }
        Term::IsNull { place } => format!("{} IS NULL", column(place)),
        Term::Not(term) => format!("NOT ({})", sql(term, shape)),
        Term::All(terms) => list(terms, " AND "),
        Term::Any(terms) => list(terms, " OR "),
    }
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Unequal => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Compare::Equal => "=",
            Compare::Unequal => "<>",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        }
    }
}
