//! Reading a TOML file section by section, so that one pass finds every problem and says where it is.
//!
//! A [`Section`] is asked for the keys it may have; whatever is left when it is done is an unknown key, reported with
//! the nearest of those that were asked for. Serde would stop at the first.

mod entry;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use entry::Entry;

/// Something wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1; 0 when the problem is the file as a whole.
    pub line: usize,
    /// `limits.max_packet`; empty when no key is concerned.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The text being read and what was found wrong in it.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

/// A value with the bytes it stands at.
#[derive(Debug, Clone)]
pub struct Found<T> {
    pub value: T,
    pub at: Range<usize>,
}

/// One table of the file.
#[derive(Debug)]
pub struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    at: Range<usize>,
    left: BTreeMap<String, (Range<usize>, Spanned<DeValue<'a>>)>,
    asked: Vec<&'static str>,
}

impl<'a> Document<'a> {
    pub fn new(text: &'a str) -> Document<'a> {
        Document { text, problems: RefCell::new(Vec::new()) }
    }

    /// The whole file as a section; syntax errors are recorded and what could be read is returned.
    pub fn root(&'a self) -> Section<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.report(error.span().as_ref(), "", error.message().trim().to_owned());
        }
        let at = table.span();
        Section::new(self, String::new(), at, table.into_inner())
    }

    pub fn report(&self, at: Option<&Range<usize>>, key: &str, message: impl Into<String>) {
        let line = at.map_or(0, |at| line_of(self.text, at.start));
        self.problems.borrow_mut().push(Problem { line, key: key.to_owned(), message: message.into() });
    }

    /// Everything reported, in the order of the file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.borrow().clone();
        problems.sort();
        problems.dedup();
        problems
    }
}

impl<'a> Section<'a> {
    fn new(document: &'a Document<'a>, path: String, at: Range<usize>, table: DeTable<'a>) -> Section<'a> {
        let left =
            table.into_iter().map(|(key, value)| (key.get_ref().to_string(), (key.span(), value))).collect();
        Section { document, path, at, left, asked: Vec::new() }
    }

    /// `limits.max_packet` for `max_packet` in `[limits]`.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a problem with one key of this section.
    pub fn report(&self, key: &str, at: &Range<usize>, message: impl Into<String>) {
        self.document.report(Some(at), &self.path_of(key), message);
    }

    /// Reports a problem of the section as a whole.
    pub fn report_here(&self, message: impl Into<String>) {
        self.document.report(Some(&self.at), &self.path, message);
    }

    pub fn string(&mut self, key: &'static str) -> Option<Found<String>> {
        self.take(key, "text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// An integer from `least` to `most`.
    pub fn number(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let found = self.take(key, "a whole number", |value| {
            let integer = value.as_integer()?;
            i128::from_str_radix(integer.as_str(), integer.radix()).ok()
        })?;
        match u64::try_from(found.value) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.report(key, &found.at, format!("{} is not between {least} and {most}", found.value));
                None
            }
        }
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", DeValue::as_bool).map(|found| found.value)
    }

    /// Is the key there, and not yet read?
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// An entry of any kind.
    pub fn value(&mut self, key: &'static str) -> Option<Found<DeValue<'a>>> {
        let (_, value) = self.take_any(key)?;
        let at = value.span();
        Some(Found { at, value: value.into_inner() })
    }

    /// A value that is a section of its own.
    #[must_use]
    pub fn nested(&self, key: &str, at: Range<usize>, table: DeTable<'a>) -> Section<'a> {
        Section::new(self.document, self.path_of(key), at, table)
    }

    /// Every entry that is left, as a section by its name.
    pub fn named_sections(&mut self) -> Vec<(String, Section<'a>)> {
        let mut sections = Vec::new();
        for (name, (_, value)) in std::mem::take(&mut self.left) {
            let at = value.span();
            match value.into_inner() {
                DeValue::Table(table) => {
                    let section = self.nested(&name, at, table);
                    sections.push((name, section));
                }
                other => self.report(&name, &at, format!("must be a section, not {}", kind_of(&other))),
            }
        }
        sections
    }

    /// `moves.shop.copy`; empty for the file itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the section stands.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.at.clone()
    }

    pub fn strings(&mut self, key: &'static str) -> Option<Found<Vec<String>>> {
        self.take(key, "a list of texts", |value| {
            value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// A list of numbers, whole or not.
    pub fn numbers(&mut self, key: &'static str) -> Option<Found<Vec<f64>>> {
        self.take(key, "a list of numbers", |value| {
            let number = |item: &DeValue<'_>| match item {
                DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
                DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
                _ => None,
            };
            value.as_array()?.iter().map(|item| number(item.get_ref())).collect()
        })
    }

    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let (_, value) = self.take_any(key)?;
        let at = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Section::new(self.document, self.path_of(key), at, table)),
            other => {
                self.report(key, &at, format!("must be a section [{key}], not {}", kind_of(&other)));
                None
            }
        }
    }

    /// The elements of `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some((_, value)) = self.take_any(key) else { return Vec::new() };
        let at = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.report(key, &at, format!("must be written as [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = item.span();
            let path = format!("{}[{index}]", self.path_of(key));
            match item.into_inner() {
                DeValue::Table(table) => sections.push(Section::new(self.document, path, at, table)),
                other => {
                    self.report(key, &at, format!("must be written as [[{key}]], not {}", kind_of(&other)));
                }
            }
        }
        sections
    }

    /// Where the section is, if it is there at all; its keys are not looked at.
    pub fn skip(&mut self, key: &'static str) -> Option<Range<usize>> {
        self.take_any(key).map(|(at, _)| at)
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        for (key, (at, _)) in &self.left {
            let message = match nearest(key, &self.asked) {
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => format!("unknown key; known here: {}", self.asked.join(", ")),
            };
            self.report(key, at, message);
        }
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Option<Found<T>> {
        let (_, value) = self.take_any(key)?;
        let at = value.span();
        let found = read(value.get_ref()).map(|value| Found { value, at: at.clone() });
        if found.is_none() {
            self.report(key, &at, format!("must be {wanted}, not {}", kind_of(value.get_ref())));
        }
        found
    }

    fn take_any(&mut self, key: &'static str) -> Option<(Range<usize>, Spanned<DeValue<'a>>)> {
        self.asked.push(key);
        self.left.remove(key)
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list with other things in it",
        DeValue::Table(_) => "a section",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

/// The known word that `word` was most likely meant to be.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (best.0 <= word.chars().count().max(3) / 3).then_some(best.1)
}

/// Insertions, deletions, replacements and exchanges of neighbours between two words (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}
