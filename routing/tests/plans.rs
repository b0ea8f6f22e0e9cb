//! Plans of statements, as people read them: `plans/*.plan`, rewritten by `UPDATE_PLANS=1`, reviewed as a diff.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shardway_routing::lex::{self, Flavour, Lexed, Quoting, ServerVersion};
use shardway_routing::merge::RowProtocol;
use shardway_routing::plan::explain::explain;
use shardway_routing::plan::{self, Context};
use shardway_routing::rules;
use shardway_routing::schema::{Column, ColumnKind, Generation, Length, Sign, TableSchema};
use shardway_routing::topology::{TableId, Topology};

const RULES: &str = r#"
[backends.legacy]
primary = "mysql://u@h:1/old_shop"
replicas = [{ url = "mysql://u@h:4", weight = 2 }, { url = "mysql://u@h:5" }]
[backends.s0]
primary = "mysql://u@h:2/shop"
[backends.s1]
primary = "mysql://u@h:3/shop"
[databases.shop]
default = "legacy"
[backends.archive]
primary = "mysql://u@h:2/old_logs"
[databases.logs]
default = "archive"
[tables."shop.users"]
shard_key = "id"
function = { kind = "mod", shards = 4 }
nodes = "s{0..1}.users_{0..3}"
[tables."shop.orders"]
shard_key = "user_id"
with = "shop.users"
nodes = "s{0..1}.orders_{0..3}"
[tables."shop.events"]
shard_key = "day"
function = { kind = "range", bounds = [100] }
nodes = "s{0..1}"
[tables."shop.visits"]
shard_key = "at"
function = { kind = "time", unit = "month", from = "2024-01" }
nodes = "s{0..1}.visits_{0..3}"
[tables."shop.regions"]
kind = "broadcast"
nodes = "s{0..1}"
[tables."shop.carts"]
shard_key = "user_id"
with = "shop.users"
nodes = "s{0..1}.carts_{0..3}"
[tables."shop.stock"]
shard_key = "id"
function = { kind = "mod", shards = 4 }
nodes = "s{0..1}.stock_{0..3}"
[tables."shop.parts"]
shard_key = "user_id"
with = "shop.stock"
nodes = "s{0..1}.parts_{0..3}"
[moves.stock]
tables = ["shop.stock", "shop.parts"]
from.stock = { function = { kind = "mod", shards = 2 }, nodes = "s{0..1}.stock_{0..1}" }
from.parts = { function = { kind = "mod", shards = 2 }, nodes = "s{0..1}.parts_{0..1}" }
[moves.carts]
tables = ["shop.carts"]
from = "legacy"
double_write = "sync"
reads = 25
"#;

fn topology() -> Topology {
    let mut topology = rules::load(RULES, &|_| None, 1).expect("valid rules");
    let integer = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
    let text = ColumnKind::Text { charset: "utf8mb4".into(), collation: "utf8mb4_general_ci".into() };
    let kinds = [
        ("id", &integer),
        ("user_id", &integer),
        ("day", &integer),
        ("at", &ColumnKind::DateTime),
        ("name", &text),
        ("amount", &ColumnKind::Decimal),
    ];
    let column = |(name, kind): (&str, &ColumnKind)| Column {
        name: name.to_owned(),
        kind: kind.clone(),
        nullable: false,
        generation: Generation::Stored,
        longest: (name == "at").then_some(Length::Digits(3)),
    };
    let schema = TableSchema {
        columns: kinds.map(column).into(),
        primary: vec!["id".into()],
        ..TableSchema::default()
    };
    for id in 0..u32::try_from(topology.tables.len()).expect("few tables") {
        rules::attach(&mut topology, TableId(id), Arc::new(schema.clone())).expect("the key is a column");
    }
    topology
}

#[test]
fn statements_have_the_plans_that_were_reviewed() {
    let topology = topology();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases = 0;
    for entry in fs::read_dir(folder).expect("the goldens are there") {
        let path = entry.expect("a readable folder").path();
        let golden = fs::read_to_string(&path).expect("a readable golden");
        let mut found = String::new();
        for case in golden.split("\n\n").filter(|case| !case.trim().is_empty()) {
            let title = case.lines().find(|line| line.starts_with("case: ")).expect("a case has a title");
            let sql =
                case.lines().find_map(|line| line.strip_prefix("sql:  ")).expect("a case has a statement");
            let mut lexed = Lexed::default();
            lex::lex(sql.as_bytes(), Quoting::default(), &mut lexed);
            let server = ServerVersion { flavour: Flavour::MySql, number: 80_000 };
            let context = Context {
                topology: &topology,
                database: Some("shop"),
                quoting: Quoting::default(),
                server,
                protocol: RowProtocol::Text,
            };
            let plan = explain(&plan::plan(sql.as_bytes(), &lexed, context), &topology);
            let indented: String = plan.lines().map(|line| format!("  {line}\n")).collect();
            found.push_str(&format!("{title}\nsql:  {sql}\nplan:\n{indented}\n"));
            cases += 1;
        }
        if std::env::var_os("UPDATE_PLANS").is_some() {
            fs::write(&path, &found).expect("a writable golden");
        }
        let golden = fs::read_to_string(&path).expect("a readable golden");
        assert!(found == golden, "{} differs; review it with UPDATE_PLANS=1 and git diff", path.display());
    }
    assert!(cases >= 60, "only {cases} cases");
}
