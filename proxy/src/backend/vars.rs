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
            return Difference::Reset(wanted.statement(wanted.assignments.iter()));
        }
        let changed = wanted.assignments.iter().filter(|(name, value)| self.get(name) != Some(value));
        Difference::Set(wanted.statement(changed))
    }

    /// Sets these of the variables. Character sets are set together where `SET NAMES` can: it alone makes results
    /// carry the collation.
    fn statement<'a>(&self, assignments: impl Iterator<Item = &'a (String, String)>) -> String {
        let assignments: Vec<_> = assignments.collect();
        let names =
            self.names().filter(|_| assignments.iter().any(|(name, _)| CHARSETS.contains(&name.as_str())));
        let mut text = String::new();
        if let Some((charset, collation)) = names {
            write!(text, "SET NAMES {charset} COLLATE {collation}").expect("a String takes every write");
        }
        let apart =
            assignments.into_iter().filter(|(name, _)| names.is_none() || !CHARSETS.contains(&name.as_str()));
        for (name, value) in apart {
            let lead = if text.is_empty() { "SET " } else { ", " };
            write!(text, "{lead}SESSION {name} = {value}").expect("a String takes every write");
        }
        text
    }

    /// The character set and the collation, when all three variables agree on them.
    fn names(&self) -> Option<(&str, &str)> {
        let [client, results, collation] = CHARSETS.map(|name| self.get(name));
        let (client, collation) = (client?, collation?);
        let of_it = collation.strip_prefix(client.trim_end_matches('\''))?.starts_with(['_', '\'']);
        (results == Some(client) && of_it).then_some((client, collation))
    }
}

/// In order of name.
const CHARSETS: [&str; 3] = ["character_set_client", "character_set_results", "collation_connection"];

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
    fn character_sets_that_agree_are_set_by_name() {
        let names = Vars::of(&[
            ("character_set_client", "'utf8mb4'"),
            ("character_set_results", "'utf8mb4'"),
            ("collation_connection", "'utf8mb4_bin'"),
            ("time_zone", "'+00:00'"),
        ]);
        let expected = "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin', SESSION time_zone = '+00:00'";
        assert_eq!(Vars::default().difference(&names), Difference::Set(expected.into()));
        let mut other = names.clone();
        other.set("character_set_results", "NULL".into());
        let expected = "SET SESSION character_set_results = NULL";
        assert_eq!(names.difference(&other), Difference::Set(expected.into()));
    }

    #[test]
    fn literals_cannot_end_early() {
        assert_eq!(quoted("ONLY_FULL_GROUP_BY,ANSI"), "'ONLY_FULL_GROUP_BY,ANSI'");
        assert_eq!(quoted("it's"), "_utf8mb4 x'69742773'");
    }
}
