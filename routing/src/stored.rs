//! The stored functions of a logical database, as its servers told of them. Pure.

use std::collections::BTreeSet;

use crate::topology::{DatabaseId, Placement, Topology};

/// Stored functions by their names, lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredFunctions {
    all: BTreeSet<String>,
    /// Those that name a table of the rules, or call one that does; and those whose text nobody may read.
    naming: BTreeSet<String>,
}

/// A function as its server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFunction {
    pub name: String,
    /// `None`: the server does not let us read it.
    pub text: Option<String>,
}

impl StoredFunctions {
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all.contains(&name.to_lowercase())
    }

    /// Could the function read or write a table of the rules?
    #[must_use]
    pub fn names_tables(&self, name: &str) -> bool {
        self.naming.contains(&name.to_lowercase())
    }
}

/// Takes in the functions that one server has in a database.
pub fn add(topology: &mut Topology, database: DatabaseId, functions: &[StoredFunction]) {
    let mut suspects: Vec<String> = topology.tables.iter().map(|table| table.name.to_lowercase()).collect();
    let nodes = topology.tables.iter().flat_map(|table| {
        let source = table.moving.iter().map(|moving| &moving.source);
        source.chain([&table.placement]).flat_map(Placement::nodes)
    });
    suspects.extend(nodes.map(|node| node.table.to_lowercase()));
    let of = &mut topology.databases[usize::from(database.0)].stored;
    of.all.extend(functions.iter().map(|function| function.name.to_lowercase()));
    loop {
        let known = of.naming.len();
        for function in functions {
            let names = function.text.as_ref().is_none_or(|text| {
                suspects.iter().chain(&of.naming).any(|suspect| is_mentioned(text, suspect))
            });
            if names {
                of.naming.insert(function.name.to_lowercase());
            }
        }
        if of.naming.len() == known {
            return;
        }
    }
}

/// Is there such a word in the text? It may be in a comment or a literal.
fn is_mentioned(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    match name.chars().all(is_part) {
        true => text.split(|c| !is_part(c)).any(|word| word.to_lowercase() == name),
        false => text.to_lowercase().contains(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn functions_that_lead_to_a_table_of_the_rules_are_known() {
        let rules = "[backends.b]\nprimary = \"mysql://u@127.0.0.1:1/d\"\n[databases.d]\ndefault = \"b\"\n\
                     [tables.users]\nkind = \"single\"\nnodes = \"b.people\"\n";
        let mut topology = rules::load(rules, &|_| None, 1).unwrap();
        let function = |name: &str, text: Option<&str>| StoredFunction {
            name: name.into(),
            text: text.map(str::to_owned),
        };
        let told = [
            function("Outer", Some("RETURN inner_one(1)")),
            function("inner_one", Some("RETURN (SELECT COUNT(*) FROM `People`)")),
            function("plain", Some("RETURN 1 + users_of")),
            function("hidden", None),
        ];
        add(&mut topology, DatabaseId(0), &told);
        let of = &topology.databases[0].stored;
        let naming = ["outer", "INNER_ONE", "plain", "hidden"].map(|name| of.names_tables(name));
        assert_eq!(naming, [true, true, false, true]);
        assert!(of.contains("PLAIN") && !of.contains("concat"));
    }
}
