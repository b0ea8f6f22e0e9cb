//! Session variables as values: what a client has set, replayed on every backend connection that serves it.
//!
//! Values are what a backend evaluated and reported, so `CONCAT(@@sql_mode, …)` is computed once, by the server.
//! Two sessions with equal variables can follow each other on a connection without a reset.

use std::fmt::Write as _;

/// Variables that differ from a fresh connection's, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vars {
    /// Lower-case name and value as a SQL literal, in order of name.
    assignments: Vec<(String, String)>,
}

/// What brings a connection from one set of variables to another.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    None,
    /// Run this statement.
    Set(String),
    /// Reset the connection, then run this statement unless it is empty.
    Reset(String),
}

impl Vars {
    /// The given assignments.
    #[must_use]
    pub fn of(assignments: &[(&str, &str)]) -> Vars {
        let mut vars = Vars::default();
        for (name, value) in assignments {
            vars.set(name, (*value).to_owned());
        }
        vars
    }

    /// Sets `name` (lower case) to a value already written as a SQL literal.
    pub fn set(&mut self, name: &str, literal: String) {
        match self.assignments.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            Ok(found) => self.assignments[found].1 = literal,
            Err(place) => self.assignments.insert(place, (name.to_owned(), literal)),
        }
    }

    /// Forgets `name`: it is what a fresh connection has.
    pub fn unset(&mut self, name: &str) {
        self.assignments.retain(|(known, _)| known != name);
    }

    /// The literal that `name` was set to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.assignments.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.assignments[found].1)
    }

    /// What leads from a connection with `self` to one with `wanted`.
    #[must_use]
    pub fn difference(&self, wanted: &Vars) -> Difference {
        if self == wanted {
            return Difference::None;
        }
        if self.assignments.iter().any(|(name, _)| wanted.get(name).is_none()) {
            return Difference::Reset(statement(wanted.assignments.iter()));
        }
        let changed = wanted.assignments.iter().filter(|(name, value)| self.get(name) != Some(value));
        Difference::Set(statement(changed))
    }
}

fn statement<'a>(assignments: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut text = String::new();
    for (name, value) in assignments {
        let lead = if text.is_empty() { "SET " } else { ", " };
        write!(text, "{lead}SESSION {name} = {value}").expect("a String takes every write");
    }
    text
}

/// `text` as a SQL string literal that every `sql_mode` reads the same way.
#[must_use]
pub fn quoted(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\'' && byte != b'\\' || byte == b' ') {
        return format!("'{text}'");
    }
    let mut literal = String::from("_utf8mb4 x'");
    for byte in text.bytes() {
        write!(literal, "{byte:02x}").expect("a String takes every write");
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_variables_need_nothing() {
        let vars = Vars::of(&[("sql_mode", "''"), ("autocommit", "0")]);
        assert_eq!(vars.difference(&vars.clone()), Difference::None);
    }

    #[test]
    fn only_what_differs_is_set() {
        let before = Vars::of(&[("a", "1"), ("b", "2")]);
        let wanted = Vars::of(&[("a", "1"), ("b", "3"), ("c", "4")]);
        assert_eq!(before.difference(&wanted), Difference::Set("SET SESSION b = 3, SESSION c = 4".into()));
    }

    #[test]
    fn a_variable_that_must_vanish_needs_a_reset() {
        let before = Vars::of(&[("a", "1"), ("b", "2")]);
        assert_eq!(
            before.difference(&Vars::of(&[("a", "1")])),
            Difference::Reset("SET SESSION a = 1".into())
        );
        assert_eq!(before.difference(&Vars::default()), Difference::Reset(String::new()));
    }

    #[test]
    fn literals_cannot_end_early() {
        assert_eq!(quoted("ONLY_FULL_GROUP_BY,ANSI"), "'ONLY_FULL_GROUP_BY,ANSI'");
        assert_eq!(quoted("it's"), "_utf8mb4 x'69742773'");
    }
}
