use std::fmt::Write as _;

use super::*;
use crate::rules;

struct Known(Synced, SourceKept);

impl Facts for Known {
    fn synced(&self, _: &str) -> Synced {
        self.0
    }

    fn source_kept(&self, _: &str) -> SourceKept {
        self.1
    }
}

const BASE: &str = r#"
[backends.legacy]
primary = "mysql://shop@127.0.0.1:1/shop"
[backends.s0]
primary = "mysql://shop@127.0.0.1:2/shop"
[backends.s1]
primary = "mysql://shop@127.0.0.1:3/shop"
[databases.shop]
default = "legacy"
[tables.users]
shard_key = "id"
function = { kind = "mod", shards = 2 }
nodes = "s{0..1}.users"
"#;

fn with_move(lines: &str) -> Topology {
    let text = format!("{BASE}[moves.shop]\ntables = [\"users\"]\nfrom = \"legacy\"\n{lines}");
    rules::load(&text, &|_| None, 1).unwrap()
}

fn sorted(old: &Topology, new: &Topology, synced: Synced, kept: SourceKept) -> String {
    let changes = transition(old, new, &Known(synced, kept)).changes;
    let line = |change: Change| {
        let effect = match change.effect {
            Effect::Instant => "instant".to_owned(),
            Effect::Barrier(holds) => format!("barrier on {}", holds.len()),
            Effect::Refused(refusal) => format!("refused {}", refusal.kind.id),
        };
        format!("{} {} -> {}: {effect}, {} keys", change.rule, change.from, change.to, change.share)
    };
    let lines: Vec<String> = changes.into_iter().map(line).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") }
}

#[test]
fn every_step_of_a_move_is_sorted_as_the_golden_says() {
    let steps = [
        "",
        "double_write = \"sync\"",
        "double_write = \"sync\"\nreads = 25",
        "double_write = \"strict\"\nreads = 100",
        "double_write = \"sync\"\nalways = [7]",
        "double_write = \"sync\"\nreads = 100\nwrites = \"target\"",
        "reads = 100\nwrites = \"target\"",
        "reads = 50",
    ];
    let mut matrix = String::new();
    for from in steps {
        for to in steps.iter().filter(|to| **to != from) {
            let (old, new) = (with_move(from), with_move(to));
            for (synced, kept) in [(Synced::No, SourceKept::No), (Synced::Yes, SourceKept::Yes)] {
                let name =
                    |text: &str| if text.is_empty() { "idle".to_owned() } else { text.replace('\n', " ") };
                let facts = if synced == Synced::Yes { "synced" } else { "not synced" };
                let effect = sorted(&old, &new, synced, kept);
                writeln!(matrix, "{} => {} ({facts}): {effect}", name(from), name(to)).unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transitions.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &matrix).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(matrix, golden, "review the difference, then run with UPDATE_GOLDEN=1");
}

#[test]
fn what_would_hide_rows_is_refused() {
    let base = rules::load(BASE, &|_| None, 1).unwrap();
    let check = |from: &str, to: &str, id: &str| {
        let new = rules::load(&BASE.replace(from, to), &|_| None, 2).unwrap();
        let effect = sorted(&base, &new, Synced::Yes, SourceKept::Yes);
        assert!(effect.contains(&format!("refused {id}")), "{to}: {effect}");
    };
    check(
        "shards = 2 }\nnodes = \"s{0..1}.users\"",
        "shards = 4 }\nnodes = \"s{0..1}.users_{0..3}\"",
        "SHD1601",
    );
    check("shard_key = \"id\"", "shard_key = \"user_id\"", "SHD1601");
    check("127.0.0.1:2/shop", "127.0.0.1:9/shop", "SHD1603");
    check("default = \"legacy\"", "default = \"s0\"", "SHD1604");
    check(
        "[tables.users]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 2 }\nnodes = \"s{0..1}.users\"",
        "",
        "SHD1601",
    );
}

#[test]
fn what_hides_nothing_is_instant() {
    let base = rules::load(BASE, &|_| None, 1).unwrap();
    let check = |from: &str, to: &str| {
        let new = rules::load(&BASE.replace(from, to), &|_| None, 2).unwrap();
        let effect = sorted(&base, &new, Synced::No, SourceKept::No);
        assert!(effect.contains(": instant"), "{to}: {effect}");
    };
    check("shop@127.0.0.1:2", "shop:secret@127.0.0.1:2");
    check("[backends.s0]", "[backends.s9]\nprimary = \"mysql://a@b:1/c\"\n[backends.s0]");
    check("[databases.shop]", "[transactions]\nacross_shards = \"refuse\"\n[databases.shop]");
}

#[test]
fn a_table_enters_a_move_behind_a_barrier_and_only_from_where_it_is() {
    let unnamed = rules::load(BASE.split("[tables.users]").next().unwrap(), &|_| None, 1).unwrap();
    let effect = sorted(&unnamed, &with_move(""), Synced::No, SourceKept::No);
    assert!(effect.starts_with("tables.users not moving -> in move shop: barrier on 2"), "{effect}");
    let named = rules::load(BASE, &|_| None, 1).unwrap();
    let effect = sorted(&named, &with_move(""), Synced::No, SourceKept::No);
    assert!(effect.contains("refused SHD1601"), "{effect}");
}
