use proptest::prelude::proptest;

use super::*;
use crate::function::ShardFunction;
use crate::key::KeyValue;
use crate::topology::{Placement, ShardId};

const BASE: &str = "[backends.a]\nprimary = \"mysql://u:p%40@h:1/d\"\n[backends.b]\nprimary = \"mysql://u@h:2\"\n[databases.shop]\ndefault = \"a\"\n";

fn loaded(tables: &str) -> Result<Topology, Vec<Problem>> {
    load(&format!("{BASE}{tables}"), &|name| (name == "SECRET").then(|| "p@ss/word".to_owned()), 1)
}

fn problems(tables: &str) -> String {
    let problems = loaded(tables).expect_err(tables);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn tables_are_dealt_evenly_over_backends_in_shard_order() {
    let topology = loaded(
        "[tables.t]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 4 }\nnodes = \"{a,b}.t_{0..3}\"\n",
    );
    let topology = topology.unwrap();
    let nodes: Vec<String> = topology.tables[0]
        .placement
        .nodes()
        .iter()
        .map(|node| format!("{}.{}", topology.backend(node.backend).name, node.table))
        .collect();
    assert_eq!(nodes, ["a.t_0", "a.t_1", "b.t_2", "b.t_3"]);
}

#[test]
fn urls_are_decoded_and_secrets_looked_up() {
    let text = BASE.replace("u@h:2", "u:${SECRET}@[::1]");
    let topology = load(&text, &|_| Some("p@ss/word".to_owned()), 1).unwrap();
    let [a, b] = topology.backends.as_slice() else { panic!("two backends") };
    assert_eq!((a.primary.password.as_str(), a.primary.database.as_deref()), ("p@", Some("d")));
    assert_eq!(
        (b.primary.password.as_str(), b.primary.host.as_str(), b.primary.port),
        ("p@ss/word", "::1", 3306)
    );
    assert!(!format!("{topology:?}").contains("p@ss"), "a password in the debug output");
}

#[test]
fn every_function_is_read() {
    let function = |text: &str, nodes: &str| {
        let table = format!(
            "[tables.t]\nshard_key = \"id\"\nfunction = {{ {text} }}\nnodes = \"a.t_{{0..{nodes}}}\"\n"
        );
        match &loaded(&table).unwrap().tables[0].placement {
            Placement::Sharded(layout) => layout.function.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(function("kind = \"hash\", shards = 3", "2"), ShardFunction::hash(3));
    let range = function("kind = \"range\", bounds = [10, 20]", "2");
    assert_eq!(range.shard(&KeyValue::Integer(10)), Some(ShardId(1)));
    let list = function("kind = \"list\", values = [[\"eu\"], [\"us\", 7]], default = 0", "1");
    assert_eq!(list.shard(&KeyValue::Integer(7)), Some(ShardId(1)));
    let slots = function("kind = \"slots\", slots = 4, owners = [[0, 1], [2, 3]]", "1");
    assert_eq!(slots, ShardFunction::Slots { owners: [0, 0, 1, 1].into() });
}

#[test]
fn every_contradiction_is_told_with_its_place() {
    let table =
        "[tables.t]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 2 }\nnodes = \"{a,b}\"\n";
    let check = |text: &str, expected: &str| {
        let told = problems(text);
        assert!(told.contains(expected), "{text}: {told}");
    };
    check("[tables.t]\nnodes = \"c\"\n", "line 8: tables.t.nodes: there is no backend `c`");
    check(&table.replace("mod", "mode"), "did you mean `mod`");
    check(&table.replace("mod", "time"), "not supported");
    check(&table.replace("shards = 2", "shards = 3"), "the function has 3 shards, `nodes` names 2");
    check(
        &format!("{table}[tables.u]\nshard_key = \"x\"\nwith = \"t\"\nnodes = \"{{b,a}}\"\n"),
        "in another order",
    );
    check(
        &format!("{table}[tables.u]\nshard_key = \"x\"\nwith = \"t\"\nnodes = \"{{a,b}}.t\"\n"),
        "is a node of `",
    );
    check(
        &format!("{table}id = {{ column = \"id\", generator = \"snowflake\" }}\n"),
        "tables.t.id: is not supported",
    );
    check(&format!("{table}[moves.m]\ntables = [\"x\"]\nfrom = \"a\"\n"), "has no [tables.x]");
    check(&format!("{table}[moves.m]\ntables = [\"t\"]\nfrom = \"a\"\nreads = 101\n"), "from 0 to 100");
    check(
        &format!("{table}[moves.m]\ntables = [\"t\"]\nfrom = \"a\"\ndouble_write = \"both\"\n"),
        "none of off",
    );
    check(&format!("{table}[moves.m]\ntables = [\"t\", \"t\"]\nfrom = \"a\"\n"), "in two moves");
    check("[tables.t]\nkind = \"single\"\nnodes = [\"a\", \"b\"]\n", "exactly one node");
    check("nonsense = 1\n", "unknown key");
    check("[tables", "");
}

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused(text in "(\\[[a-z.\\[]{0,9}\\]|[a-z_]{1,9} = (\"[^\"]{0,9}\"|\\[\\[?[0-9, ]*|\\{[a-z =]*\\}?|-?[0-9.]{1,5})|\n){0,12}") {
        let _ = load(&text, &|_| None, 1);
        let _ = load(&format!("{BASE}{text}"), &|_| None, 1);
    }
}
