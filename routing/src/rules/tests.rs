use std::path::Path;

use proptest::prelude::proptest;

use super::*;
use crate::day::{Day, Unit};
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
fn the_authorities_of_a_backend_are_looked_for_beside_the_rules() {
    let text =
        BASE.replace("@h:2\"\n", "@h:2\"\ntls = { mode = \"verify_identity\", ca = \"tls/ca.pem\" }\n");
    let mut topology = load(&text, &|_| None, 1).unwrap();
    topology.settle(Path::new("/etc/shardway"));
    let tls: Vec<String> = topology.backends.iter().map(|backend| backend.primary.tls.to_string()).collect();
    assert_eq!(tls, ["off", "verify_identity by /etc/shardway/tls/ca.pem"]);
}

#[test]
fn replicas_have_a_weight_and_a_lag_that_they_may_have() {
    let with = |replicas: &str| {
        let text = BASE.replace("@h:2\"\n", &format!("@h:2/d\"\nreplicas = [{replicas}]\n"));
        load(&text, &|_| None, 1).map_err(|problems| problems[0].to_string())
    };
    let topology =
        with("{ url = \"mysql://u@r:3\" }, { url = \"mysql://u@r:4/d\", weight = 2, max_lag_ms = 400 }");
    let replicas = &topology.unwrap().backends[1].replicas;
    let told: Vec<_> = replicas.iter().map(|of| (of.server.port, of.weight, of.max_lag_ms)).collect();
    assert_eq!(told, [(3, 0, 1000), (4, 2, 400)]);
    assert!(replicas.iter().all(|of| of.server.database.as_deref() == Some("d")));
    let bad = [
        ("{ url = \"mysql://u@r:3\", weight = 1001 }", "weight"),
        ("{ url = \"mysql://u@r:3\", weight = -1 }", "weight"),
        ("{ url = \"mysql://u@r:3\", max_lag_ms = 0 }", "max_lag_ms"),
        ("{ url = \"mysql://u@r:3\", wieght = 1 }", "did you mean `weight`"),
        ("{ weight = 1 }", "`url` is missing"),
        ("{ url = \"mysql://u@r:3/other\" }", "the same database as its primary"),
        ("{ url = \"mysql://u@r:3\" }, { url = \"mysql://v@r:3\" }", "r:3 is named twice"),
        ("{ url = \"mysql://u@h:2\" }", "h:2 is named twice"),
    ];
    for (replicas, problem) in bad {
        let error = with(replicas).expect_err(problem);
        assert!(error.contains(problem) && error.contains("backends.b.replicas"), "{error}");
    }
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
    let time = function("kind = \"time\", unit = \"month\", from = \"2023-12\"", "2");
    let day = |year, month, day| Day::of(year, month, day).unwrap();
    assert_eq!(time, ShardFunction::Time { unit: Unit::Month, from: day(2023, 12, 1), shards: 3 });
    assert_eq!(time.shard(&KeyValue::Day(day(2024, 2, 29))), Some(ShardId(2)));
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
    let by_time = |more: &str| table.replace("kind = \"mod\", shards = 2", &format!("kind = \"time\"{more}"));
    check(&by_time(""), "line 9: tables.t.function: `unit` and `from` are needed");
    check(
        &by_time(", unit = \"hour\", from = \"2024\""),
        "function.unit: `hour` is none of day, week, month, year",
    );
    for (unit, from) in
        [("year", "2024-01"), ("month", "2024-13"), ("day", "2023-02-29"), ("week", "2021-W53")]
    {
        check(
            &by_time(&format!(", unit = \"{unit}\", from = \"{from}\"")),
            &format!("line 9: tables.t.function.from: `{from}` is no {unit}; it is written like \"20"),
        );
    }
    check(&by_time(", unit = \"year\", from = \"9999\""), "after the year 9999");
    check(&by_time(", unit = \"month\", from = \"2024-01\", until = \"2025\""), "unknown key");
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
        &format!("{table}id = {{ column = \"id\", generator = \"uuid\" }}\n"),
        "tables.t.id.generator: `uuid` is none of snowflake, sequence",
    );
    check(&format!("{table}[moves.m]\ntables = [\"x\"]\nfrom = \"a\"\n"), "has no [tables.x]");
    check(&format!("{table}[moves.m]\ntables = [\"t\"]\nfrom = \"a\"\nreads = 101\n"), "from 0 to 100");
    check(
        &format!("{table}[moves.m]\ntables = [\"t\"]\nfrom = \"a\"\ndouble_write = \"both\"\n"),
        "none of off",
    );
    check(&format!("{table}[moves.m]\ntables = [\"t\", \"t\"]\nfrom = \"a\"\n"), "in two moves");
    check("[tables.t]\nkind = \"single\"\nnodes = [\"a\", \"b\"]\n", "exactly one node");
    check("[backends.c]\ntls = { mode = \"on\" }\n", "backends.c: `primary` is missing");
    let tls = |lines: &str| format!("[backends.c]\nprimary = \"mysql://u@c\"\ntls = {{ {lines} }}\n");
    check(&tls("mode = \"on\""), "line 9: backends.c.tls.mode: `on` is none of");
    check(&tls("ca = \"ca.pem\""), "backends.c.tls: `mode` is missing");
    check(&tls("mode = \"verify_identity\""), "backends.c.tls.mode: `ca` is missing");
    check(&tls("mode = \"required\", ca = \"ca.pem\""), "backends.c.tls.ca: \"required\" verifies nothing");
    check(&tls("mode = \"verify_ca\", ca = \"ca.pem\""), "say \"verify_identity\"");
    check(&tls("mode = \"required\", key = \"k\""), "backends.c.tls.key: unknown key");
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

#[test]
fn no_place_has_rows_of_two_tables() {
    let problem = |text: &str| load(text, &|_| None, 1).err().map(|problems| problems[0].to_string());
    let two = BASE.replace("[databases.shop]", "[databases.crm]\ndefault = \"a\"\n[databases.shop]");
    assert!(problem(&two).unwrap().contains("it would be `d`, as `crm` is"), "{:?}", problem(&two));
    let apart = two.replace("@h:1/d", "@h:1");
    assert_eq!(problem(&apart), None, "each has its own name");
    let tables = "[tables.t]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 4 }\n\
                  nodes = \"{a,b}.t_{0..3}\"\n[moves.m]\ntables = [\"t\"]\n";
    let older = |nodes: &str| {
        format!(
            "{BASE}{tables}from.t = {{ function = {{ kind = \"mod\", shards = 2 }}, nodes = \"{nodes}\" }}\n"
        )
    };
    assert_eq!(problem(&older("{a,b}.old")), None);
    assert_eq!(problem(&older("{a,b}.t_{0..1}")), None, "a.t_0 keeps half of its rows");
    let both = problem(&older("{a,b}.t_{1..2}")).unwrap();
    assert!(both.contains("tables.t.nodes: a.t_1 belongs to both layouts of `t`"), "{both}");
    let hashed = problem(&older("{a,b}.t_{0..1}").replace("mod", "hash")).unwrap();
    assert!(hashed.contains("tables.t.nodes: a.t_0 belongs to both layouts of `t`"), "{hashed}");
    let same_server = BASE.replace("@h:2", "@h:1/d");
    let nodes = "nodes = [\"a.t\", \"b.t\"]";
    let twice = problem(&format!(
        "{same_server}[tables.t]\nshard_key = \"id\"\nfunction = {{ kind = \"mod\", shards = 2 }}\n{nodes}\n"
    ));
    assert!(twice.as_ref().unwrap().contains("b.t is a node of `t` already"), "{twice:?}");
}

#[test]
fn what_a_rule_says_beside_its_kind_is_a_problem() {
    let check = |text: &str, expected: &str| {
        let problems = load(text, &|_| None, 1).unwrap_err();
        assert!(problems.iter().any(|problem| problem.to_string().contains(expected)), "{problems:?}");
    };
    let table = |lines: &str| format!("{BASE}[tables.t]\nnodes = \"a\"\n{lines}");
    check(&table("kind = \"single\"\nshard_key = \"id\""), "tables.t.shard_key: is for sharded tables");
    check(
        &table("shard_key = \"id\"\nfunction = { kind = \"mod\", shards = 1, bounds = [7] }"),
        "tables.t.function.bounds: says nothing about a function of kind = \"mod\"",
    );
    let sharded = table("shard_key = \"id\"\nfunction = { kind = \"mod\", shards = 1 }");
    let moving = |lines: &str| format!("{sharded}\n[moves.m]\ntables = [\"t\"]\n{lines}");
    check(&moving("from = \"b\"\nalways = [7]\nnever = [7]"), "7 is in `always` and in `never`");
    check(&moving("from = \"b\"\ncolumn = \"changed\""), "moves.m.column: is for capture = \"timestamp\"");
    let older = "function = { kind = \"mod\", shards = 1 }, nodes = \"b\"";
    check(
        &moving(&format!("from.t = {{ {older} }}\nfrom.u = {{ {older} }}")),
        "moves.m.from.u: is no table of this move",
    );
}

/// The example that the outside of shardway is pinned by.
const PINNED: &str = r#"
[backends.legacy]
primary  = "mysql://shop:${LEGACY_PASSWORD}@127.0.0.1:4001/shop"
replicas = [{ url = "mysql://shop@127.0.0.1:5001/shop", weight = 2 }]       # optional; health-checked, lag-aware
pool     = { max = 64 }                                    # optional
[backends.s0]
primary = "mysql://shop@127.0.0.1:4002/shop"
[backends.s1]
primary = "mysql://shop@127.0.0.1:4003/shop"
[databases.shop]
default = "legacy"                # tables that no rule names live here, untouched
[databases."*"]                   # every other database (also ones created later) passes to this backend whole
default = "legacy"
[tables.users]
shard_key = "id"
function  = { kind = "mod", shards = 4 }
nodes     = "s{0..1}.users_{0..3}"
[tables.orders]
shard_key = "user_id"
with      = "users"
nodes     = "s{0..1}.orders_{0..3}"
id        = { column = "id", generator = "snowflake" }   # or "sequence"
[tables.regions]
kind  = "broadcast"
nodes = "s{0..1}"
[tables.settings]
kind  = "single"
nodes = "s0"
[moves.shop]
tables       = ["users", "orders"]
from         = "legacy"
capture      = "binlog"
double_write = "off"
reads        = 0
writes       = "source"
always = [1001]
never = [42]
history = { column = "created_at", since = "2024-01-01" }
shadow_reads = 5
functions = { writes_of = ["orders"] }
"#;

#[test]
fn the_pinned_example_is_valid_and_so_is_its_older_layout() {
    let password = |name: &str| (name == "LEGACY_PASSWORD").then(|| "secret".to_owned());
    let valid = |text: &str| load(text, &password, 1).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(valid(PINNED).moves[0].tables.len(), 2);
    let older = PINNED
        .replace(
            "from         = \"legacy\"",
            "from = { function = { kind = \"mod\", shards = 2 }, nodes = \"s{0..1}.users_{0..1}\" }",
        )
        .replace("[\"users\", \"orders\"]", "[\"users\"]")
        .replace("functions = { writes_of = [\"orders\"] }\n", "");
    let topology = valid(&older);
    let users = topology.tables.iter().find(|table| table.name == "users").unwrap();
    let Placement::Sharded(layout) = &users.placement else { panic!("users are sharded") };
    assert_eq!(layout.shared, [ShardId(0)], "s0.users_0 is split in place");
}
