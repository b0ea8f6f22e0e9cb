use std::fmt::Write as _;

use super::*;
use crate::rules;
use crate::schema::{Column, ColumnKind, Generation, Sign, TableSchema, UniqueKey};

struct Known(Synced, SourceKept);

impl Facts for Known {
    fn synced(&self, _: &str) -> Synced {
        self.0
    }

    fn source_kept(&self, _: &str) -> SourceKept {
        self.1
    }

    fn cleaned(&self, _: &str) -> Cleaned {
        Cleaned::No
    }

    fn carried(&self, _: &str) -> Carried {
        Carried::Yes
    }
}

/// A move whose cleanup is done.
struct Tidied;

impl Facts for Tidied {
    fn synced(&self, _: &str) -> Synced {
        Synced::No
    }

    fn source_kept(&self, _: &str) -> SourceKept {
        SourceKept::No
    }

    fn cleaned(&self, _: &str) -> Cleaned {
        Cleaned::Yes
    }

    fn carried(&self, _: &str) -> Carried {
        Carried::No
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
fn stamps_alone_bring_no_gray_readers_to_the_target() {
    let with = |lines: &str| with_move(&format!("capture = \"timestamp\"\ncolumn = \"changed\"\n{lines}"));
    let reads = |to: &str| sorted(&with(""), &with(to), Synced::Yes, SourceKept::Yes);
    assert_eq!(reads("reads = 10"), "moves.shop.reads 0% -> 10%: refused SHD1607, 1000 keys");
    assert!(reads("always = [7]").contains("refused SHD1607"));
    assert!(!reads("double_write = \"sync\"\nreads = 10").contains("refused"));
    assert!(!reads("writes = \"target\"\nreads = 100").contains("refused"));
}

#[test]
fn a_source_that_has_missed_writes_answers_no_reads_where_no_stream_tells_which() {
    let with = |capture: &str, lines: &str| {
        with_move(&format!("capture = \"{capture}\"\nwrites = \"target\"\n{lines}"))
    };
    let (single, doubled) = ("reads = 50", "double_write = \"sync\"\nreads = 50");
    let whole = "double_write = \"sync\"\nreads = 100";
    for (capture, from, to, kept, is_refused) in [
        ("none", single, doubled, SourceKept::No, true),
        ("none", single, doubled, SourceKept::Yes, false),
        ("none", whole, doubled, SourceKept::No, true),
        ("none", "reads = 100", whole, SourceKept::No, false),
        ("binlog", single, doubled, SourceKept::No, false),
    ] {
        let told = sorted(&with(capture, from), &with(capture, to), Synced::Yes, kept);
        assert_eq!(told.contains("refused SHD1606"), is_refused, "{capture}, {from} -> {to}: {told}");
    }
    let switched = sorted(
        &with_move("capture = \"none\"\ndouble_write = \"sync\""),
        &with("none", doubled),
        Synced::Yes,
        SourceKept::No,
    );
    assert!(!switched.contains("refused"), "{switched}");
}

/// The move, with columns that are known: the table's primary key is this column.
fn with_columns(lines: &str, primary: &str) -> Topology {
    let mut topology = with_move(lines);
    let column = |name: &str| Column {
        name: name.into(),
        kind: ColumnKind::Integer { bits: 64, sign: Sign::Signed },
        nullable: false,
        generation: Generation::Stored,
        longest: None,
    };
    let columns = vec![column("id"), column("number")];
    let schema = TableSchema { columns, primary: vec![primary.into()], ..TableSchema::default() };
    rules::attach(&mut topology, TableId(0), schema.into()).unwrap();
    topology
}

#[test]
fn shares_of_writes_go_over_and_come_back_behind_a_barrier() {
    let change = |from: &str, to: &str, synced, kept| {
        sorted(&with_columns(from, "id"), &with_columns(to, "id"), synced, kept)
    };
    let (source, target) = ("writes = \"source\"", "writes = \"target\"");
    let (one, five) = ("writes = 1", "writes = 5");
    for (from, to, expected) in [
        (source, one, "moves.shop.writes source -> 1%: barrier on 1, 100 keys"),
        (one, five, "moves.shop.writes 1% -> 5%: barrier on 1, 400 keys"),
        (five, source, "moves.shop.writes 5% -> source: barrier on 1, 500 keys"),
        (five, target, "moves.shop.writes 5% -> target: barrier on 1, 9500 keys"),
        (target, one, "moves.shop.writes target -> 1%: barrier on 1, 9900 keys"),
        (source, "writes = 0", "nothing"),
        (target, "writes = 100", "nothing"),
    ] {
        assert_eq!(change(from, to, Synced::Yes, SourceKept::Yes), expected);
    }
    let is_refused = |from, to, synced, kept, code: &str| {
        let why = change(from, to, synced, kept);
        assert!(why.contains(code), "{from} -> {to}: {why}");
    };
    is_refused(source, one, Synced::No, SourceKept::Yes, "refused SHD1605");
    is_refused(one, five, Synced::Yes, SourceKept::No, "refused SHD1606");
    is_refused(one, target, Synced::No, SourceKept::Yes, "refused SHD1605");
    is_refused(target, one, Synced::Yes, SourceKept::No, "refused SHD1606");
    is_refused(
        "writes = 0\nalways = [7]",
        "writes = 0\nalways = [8]",
        Synced::Yes,
        SourceKept::No,
        "refused SHD1606",
    );
    let numbered =
        sorted(&with_columns("", "number"), &with_columns(one, "number"), Synced::Yes, SourceKept::Yes);
    assert!(numbered.contains("refused SHD1612"), "{numbered}");
    let mut unique = with_columns(one, "id");
    let schema = unique.tables[0].schema.as_deref().cloned().unwrap();
    let key = UniqueKey { name: "numbers".into(), columns: vec!["number".into()] };
    rules::attach(&mut unique, TableId(0), TableSchema { unique: vec![key], ..schema }.into()).unwrap();
    let further = sorted(&with_columns("", "id"), &unique, Synced::Yes, SourceKept::Yes);
    assert!(further.contains("refused SHD1612"), "{further}");
    let left = sorted(
        &with_columns(one, "id"),
        &rules::load(BASE, &|_| None, 1).unwrap(),
        Synced::Yes,
        SourceKept::Yes,
    );
    assert!(left.contains("refused SHD1601"), "{left}");
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
    let layouts = [
        ("three months", "month", "2024-01", "s0.v_{0..2}", ""),
        ("four months", "month", "2024-01", "s0.v_{0..3}", ""),
        ("the fourth elsewhere", "month", "2024-01", "[s0.v_{0..2}, s1.v]", ""),
        ("from another month", "month", "2024-02", "s0.v_{0..3}", ""),
        ("in another order", "month", "2024-01", "[s0.v_1, s0.v_0, s0.v_{2..3}]", ""),
        ("four years", "year", "2024", "s0.v_{0..3}", ""),
        (
            "four months, moving",
            "month",
            "2024-01",
            "s0.v_{0..3}",
            "[moves.v]\ntables = [\"visits\"]\nfrom = \"legacy\"\n",
        ),
    ];
    let by_time = |unit: &str, from: &str, nodes: &str, more: &str| {
        let nodes: Vec<String> =
            nodes.trim_matches(['[', ']']).split(", ").map(|node| format!("\"{node}\"")).collect();
        let table = format!(
            "[tables.visits]\nshard_key = \"at\"\nfunction = {{ kind = \"time\", unit = \"{unit}\", from = \"{from}\" }}\nnodes = [{}]\n",
            nodes.join(", ")
        );
        rules::load(&format!("{BASE}{table}{more}"), &|_| None, 1).unwrap()
    };
    let all = layouts.map(|(name, unit, since, nodes, more)| (name, by_time(unit, since, nodes, more)));
    let (base, others) = all.split_first().unwrap();
    for (from, to) in others.iter().flat_map(|other| [(base, other), (other, base)]) {
        let effect = sorted(&from.1, &to.1, Synced::Yes, SourceKept::Yes);
        writeln!(matrix, "{} => {}: {effect}", from.0, to.0).unwrap();
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
    check("[backends.s0]\n", "[backends.s0]\ntls = { mode = \"required\" }\n");
    check("[backends.s0]", "[backends.s9]\nprimary = \"mysql://a@b:1/c\"\n[backends.s0]");
    check("[databases.shop]", "[transactions]\nacross_shards = \"refuse\"\n[databases.shop]");
}

#[test]
fn what_replicas_get_changes_at_once() {
    let load = |replicas: &str| {
        let text = BASE.replace(":2/shop\"", &format!(":2/shop\"\nreplicas = [{replicas}]"));
        rules::load(&text, &|_| None, 1).unwrap()
    };
    let check = |from: &str, to: &str, golden: &str| {
        let effect = sorted(&load(from), &load(to), Synced::No, SourceKept::No);
        assert_eq!(effect, golden);
    };
    let (none, watched, reads) =
        ("", "{ url = \"mysql://a@h:7\" }", "{ url = \"mysql://a@h:7\", weight = 2, max_lag_ms = 300 }");
    let [watched_told, reads_told] = ["h:7 weight=0 max_lag_ms=1000", "h:7 weight=2 max_lag_ms=300"];
    let rule = "backends.s0.replicas";
    check(none, watched, &format!("{rule}  -> {watched_told}: instant, 0 keys"));
    check(watched, reads, &format!("{rule} {watched_told} -> {reads_told}: instant, 0 keys"));
    check(reads, none, &format!("{rule} {reads_told} -> : instant, 0 keys"));
    let other = reads.replace("a@h", "a:secret@h");
    check(reads, &other, &format!("{rule} {reads_told} -> another user or password: instant, 0 keys"));
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

#[test]
fn what_all_other_databases_had_is_not_lost_sight_of() {
    let base = BASE.replace("[tables.users]", "[tables.\"shop.users\"]");
    let load = |lines: &str| rules::load(&format!("{base}{lines}"), &|_| None, 1).unwrap();
    let change = |from: &str, to: &str| sorted(&load(from), &load(to), Synced::Yes, SourceKept::Yes);
    let others = |backend: &str| format!("[databases.\"*\"]\ndefault = \"{backend}\"\n");
    assert_eq!(change("", &others("s0")), "databases.\"*\".default  -> s0: instant, 0 keys");
    assert!(change(&others("s0"), &others("s1")).contains("s0 -> s1: refused SHD1604"));
    assert!(change(&others("s0"), "").contains("refused SHD1604"));
    let crm = "[backends.bare]\nprimary = \"mysql://shop@127.0.0.1:2\"\n\
               [backends.crm]\nprimary = \"mysql://shop@127.0.0.1:4/crm_2\"\n";
    let named = |backend: &str| format!("{crm}{}[databases.crm]\ndefault = \"{backend}\"\n", others("bare"));
    let before = format!("{crm}{}", others("bare"));
    assert_eq!(change(&before, &named("bare")), "nothing", "it stays where it is");
    assert!(change(&before, &named("crm")).contains("bare -> crm, as `crm_2`: refused SHD1604"));
    let table = "[tables.\"crm.notes\"]\nkind = \"single\"\nnodes = \"crm\"\n";
    assert!(change(&before, &format!("{}{table}", named("bare"))).contains("refused SHD16"));
}

#[test]
fn another_generator_of_ids_is_told() {
    let load = |lines: &str| rules::load(&format!("{BASE}{lines}"), &|_| None, 1).unwrap();
    let (before, after) = (load(""), load("id = { column = \"id\", generator = \"snowflake\" }\n"));
    let told = sorted(&before, &after, Synced::Yes, SourceKept::Yes);
    assert_eq!(told, "tables.users.id by nobody -> id by snowflake: instant, 0 keys");
}

#[test]
fn a_table_split_in_place_stays_in_its_move_while_rows_that_left_are_there() {
    let doubled = BASE.replace("shards = 2", "shards = 4").replace("users\"", "users_{0..3}\"");
    let older = "function = { kind = \"mod\", shards = 2 }, nodes = \"s{0..1}.users_{0..1}\"";
    let moving = |writes: &str| {
        let moves = format!(
            "[moves.shop]\ntables = [\"users\"]\nfrom.users = {{ {older} }}\nwrites = \"{writes}\"\n"
        );
        rules::load(&format!("{doubled}{moves}"), &|_| None, 1).unwrap()
    };
    let after = rules::load(&doubled, &|_| None, 1).unwrap();
    let left = sorted(&moving("target"), &after, Synced::Yes, SourceKept::Yes);
    assert!(left.contains("in move shop -> not moving: refused SHD1609"), "{left}");
    assert_eq!(transition(&moving("target"), &after, &Tidied).refusals().count(), 0);
    let before = BASE.replace("users\"", "users_{0..1}\"");
    let given_up = rules::load(&before, &|_| None, 1).unwrap();
    let stayed = sorted(&moving("source"), &given_up, Synced::No, SourceKept::No);
    assert!(stayed.contains("in move shop -> not moving: barrier"), "{stayed}");
}
