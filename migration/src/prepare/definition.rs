//! `SHOW CREATE TABLE`, taken apart just far enough to put it together again under another name. Pure.
//!
//! The text is cut where its commas and brackets are outside of strings, names and brackets of their own; every piece
//! keeps its bytes.

use super::Indexes;
use crate::place::Place;
use crate::preflight::facts::Flavour;

/// A table's definition in its server's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// Columns, keys and constraints.
    parts: Vec<String>,
    /// What follows the brackets, without the counter.
    options: String,
}

/// What one part defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Column,
    /// The primary key, and unique ones: rows cannot be written rightly without them.
    Unique,
    /// Only speeds reading up.
    Index,
    ForeignKey,
    Check,
    Other,
}

impl Definition {
    /// Cuts the text. `None`: it is not such a text.
    pub(super) fn parse(text: &str) -> Option<Definition> {
        text.strip_prefix("CREATE TABLE `")?;
        let open = cuts(text).find_map(|(at, cut)| (cut == Cut::Open).then_some(at))?;
        let inside: Vec<(usize, Cut)> = cuts(text).filter(|(at, _)| *at > open).collect();
        let mut parts = Vec::new();
        let (mut depth, mut begin) = (1, open + 1);
        for (at, cut) in inside {
            match cut {
                Cut::Open => depth += 1,
                Cut::Comma if depth == 1 => {
                    parts.push(text[begin..at].trim().to_owned());
                    begin = at + 1;
                }
                Cut::Comma => {}
                Cut::Close if depth > 1 => depth -= 1,
                Cut::Close => {
                    parts.push(text[begin..at].trim().to_owned());
                    return Some(Definition { parts, options: without_counter(&text[at + 1..]) });
                }
            }
        }
        None
    }

    /// The statement that makes the same table elsewhere.
    pub(super) fn create(&self, target: &Place, flavour: Flavour, indexes: Indexes) -> String {
        let needed = self.needed_index();
        let kept = self.parts.iter().filter(|part| match kind(part) {
            Part::ForeignKey => false,
            Part::Index => indexes == Indexes::Now || Some(part.as_str()) == needed,
            _ => true,
        });
        // MySQL's check constraints are named once in a database, which may hold several shards.
        let named = |part: &String| match (kind(part), flavour) {
            (Part::Check, Flavour::MySql) => without_name(part),
            _ => part.clone(),
        };
        let parts: Vec<String> = kept.map(named).collect();
        format!("CREATE TABLE {} (\n  {}\n){}", target.quoted(), parts.join(",\n  "), self.options)
    }

    /// The indexes that are not unique: name and definition.
    pub(super) fn indexes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().filter(|part| kind(part) == Part::Index).map(|part| (name(part), part.as_str()))
    }

    pub(super) fn foreign_keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter(|part| kind(part) == Part::ForeignKey).map(String::as_str)
    }

    /// The index without which the server would not take the `AUTO_INCREMENT` column.
    fn needed_index(&self) -> Option<&str> {
        let counted = self.parts.iter().find(|part| {
            kind(part) == Part::Column && outside(part).to_ascii_uppercase().contains(" AUTO_INCREMENT")
        })?;
        let begins = format!("(`{}`", name(counted));
        let keyed = |part: &&String| part.find('(').is_some_and(|at| part[at..].starts_with(&begins));
        let unique = self.parts.iter().filter(|part| kind(part) == Part::Unique);
        let index = self.parts.iter().filter(|part| kind(part) == Part::Index);
        if unique.clone().any(|part| keyed(&part)) {
            return None;
        }
        index.clone().find(keyed).map(String::as_str)
    }
}

fn kind(part: &str) -> Part {
    if part.starts_with('`') {
        return Part::Column;
    }
    let words: Vec<&str> = part.split_whitespace().take(4).collect();
    match words.as_slice() {
        ["PRIMARY" | "UNIQUE", ..] => Part::Unique,
        ["KEY" | "INDEX" | "FULLTEXT" | "SPATIAL" | "VECTOR", ..] => Part::Index,
        ["CONSTRAINT", ..] | ["FOREIGN", ..] => {
            // The name may hold spaces, so what follows it decides.
            let rest = part.strip_prefix("CONSTRAINT ").map_or(part, after_name).trim_start();
            if rest.starts_with("FOREIGN KEY") {
                Part::ForeignKey
            } else if rest.starts_with("CHECK") {
                Part::Check
            } else {
                Part::Other
            }
        }
        _ => Part::Other,
    }
}

/// The first name in backticks, as it stands there.
fn name(part: &str) -> &str {
    let Some(begin) = part.find('`') else { return "" };
    let rest = &part[begin + 1..];
    &rest[..name_length(rest)]
}

/// Up to the backtick that is not doubled.
fn name_length(rest: &str) -> usize {
    let mut at = 0;
    while let Some(found) = rest[at..].find('`') {
        at += found;
        if !rest[at + 1..].starts_with('`') {
            return at;
        }
        at += 2;
    }
    rest.len()
}

fn after_name(text: &str) -> &str {
    match text.strip_prefix('`') {
        Some(rest) => rest.get(name_length(rest) + 1..).unwrap_or_default(),
        None => text,
    }
}

fn without_name(part: &str) -> String {
    part.strip_prefix("CONSTRAINT ").map_or(part, after_name).trim_start().to_owned()
}

/// Places that structure the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Open,
    Close,
    Comma,
}

fn cuts(text: &str) -> impl Iterator<Item = (usize, Cut)> {
    plain(text).filter_map(|(at, byte)| match byte {
        b'(' => Some((at, Cut::Open)),
        b')' => Some((at, Cut::Close)),
        b',' => Some((at, Cut::Comma)),
        _ => None,
    })
}

/// Bytes outside of strings and names. Servers double a quote inside; a backslash escapes in strings.
fn plain(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut inside: Option<u8> = None;
    let mut escaped = false;
    text.bytes().enumerate().filter(move |(_, byte)| match inside {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(quote) => {
            escaped = *byte == b'\\' && quote != b'`';
            if *byte == quote {
                inside = None;
            }
            false
        }
        None => {
            if matches!(byte, b'\'' | b'"' | b'`') {
                inside = Some(*byte);
            }
            true
        }
    })
}

/// The text with everything inside of strings and names blanked.
fn outside(text: &str) -> String {
    let mut blank = vec![b' '; text.len()];
    for (at, byte) in plain(text) {
        blank[at] = if byte.is_ascii() { byte } else { b' ' };
    }
    String::from_utf8(blank).expect("only ASCII was put there")
}

/// Every target begins to count by itself; its counter is raised before it takes writes of clients.
fn without_counter(options: &str) -> String {
    const NAME: &str = " AUTO_INCREMENT=";
    let Some(begin) = outside(options).find(NAME) else { return options.to_owned() };
    let digits = options[begin + NAME.len()..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{}", &options[..begin], &options[begin + NAME.len() + digits..])
}
