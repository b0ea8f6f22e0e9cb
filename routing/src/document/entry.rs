//! Values that a file may write in several forms: a number or a text, a list of texts and sections.

use std::ops::Range;

use toml::de::DeValue;

use super::{Document, Found, Section};

/// A value with its form.
#[derive(Debug)]
pub enum Entry<'a> {
    Text(String),
    Whole(i128),
    Fraction(f64),
    Flag(bool),
    List(Vec<Found<Entry<'a>>>),
    Section(Section<'a>),
}

impl<'a> Section<'a> {
    /// An entry in whatever form it is written.
    pub fn entry(&mut self, key: &'static str) -> Option<Found<Entry<'a>>> {
        let (_, value) = self.take_any(key)?;
        let at = value.span();
        self.read(key, at, value.into_inner())
    }

    /// Every entry that is left, by its name.
    pub fn entries(&mut self) -> Vec<(String, Found<Entry<'a>>)> {
        let left = std::mem::take(&mut self.left);
        let read = left.into_iter().filter_map(|(name, (_, value))| {
            let at = value.span();
            let entry = self.read(&name, at, value.into_inner())?;
            Some((name, entry))
        });
        read.collect()
    }

    /// A value that is true or false.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", |value| value.as_bool()).map(|found| found.value)
    }

    fn read(&self, key: &str, at: Range<usize>, value: DeValue<'a>) -> Option<Found<Entry<'a>>> {
        let entry = entry(self.document, &self.path_of(key), at.clone(), value);
        if entry.is_none() {
            self.report(key, &at, "must be a text, a number, a list or a section; write dates in quotes");
        }
        Some(Found { value: entry?, at })
    }
}

impl Entry<'_> {
    /// What the value is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Text(_) => "a text",
            Entry::Whole(_) => "a number",
            Entry::Fraction(_) => "a fraction",
            Entry::Flag(_) => "true or false",
            Entry::List(_) => "a list",
            Entry::Section(_) => "a section",
        }
    }

    /// The texts of a list of texts.
    #[must_use]
    pub fn into_texts(self) -> Option<Vec<String>> {
        let Entry::List(items) = self else { return None };
        let text = |item: Found<Entry<'_>>| match item.value {
            Entry::Text(text) => Some(text),
            _ => None,
        };
        items.into_iter().map(text).collect()
    }
}

fn entry<'a>(
    document: &'a Document<'a>,
    path: &str,
    at: Range<usize>,
    value: DeValue<'a>,
) -> Option<Entry<'a>> {
    match value {
        DeValue::String(text) => Some(Entry::Text(text.into_owned())),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(Entry::Whole)
        }
        DeValue::Float(number) => number.as_str().parse().ok().map(Entry::Fraction),
        DeValue::Boolean(flag) => Some(Entry::Flag(flag)),
        DeValue::Datetime(_) => None,
        DeValue::Array(items) => {
            let item = |(index, item): (usize, toml::Spanned<DeValue<'a>>)| {
                let at = item.span();
                let path = format!("{path}[{index}]");
                Some(Found { value: entry(document, &path, at.clone(), item.into_inner())?, at })
            };
            items.into_iter().enumerate().map(item).collect::<Option<Vec<_>>>().map(Entry::List)
        }
        DeValue::Table(table) => Some(Entry::Section(Section::new(document, path.to_owned(), at, table))),
    }
}
