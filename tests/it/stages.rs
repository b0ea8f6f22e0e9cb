//! The files of `conf/stages`: one per stage of a move, each valid, each a step from the one before.

use std::path::Path;

use shardway_routing::rules;
use shardway_routing::topology::Topology;
use shardway_routing::transition::{Carried, Change, Cleaned, Effect, Facts, SourceKept, Synced, transition};

const STAGES: [&str; 8] = [
    "1-source-only",
    "2-double-write",
    "3-reads-1",
    "4-reads-25",
    "5-reads-100",
    "6-writes-to-target",
    "7-way-back-closed",
    "8-finished",
];

/// What has been done about the move.
struct Done(Synced, SourceKept);

impl Facts for Done {
    fn synced(&self, _: &str) -> Synced {
        self.0
    }

    fn source_kept(&self, _: &str) -> SourceKept {
        self.1
    }

    fn carried(&self, _: &str) -> Carried {
        Carried::Yes
    }

    fn cleaned(&self, _: &str) -> Cleaned {
        Cleaned::No
    }
}

const NOTHING: Done = Done(Synced::No, SourceKept::No);
const CARRIED_OVER: Done = Done(Synced::Yes, SourceKept::No);
const BOTH_KEPT: Done = Done(Synced::Yes, SourceKept::Yes);

fn conf() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../conf"))
}

fn load(file: &str) -> Topology {
    let text = std::fs::read_to_string(conf().join(file)).unwrap();
    rules::load(&text, &|_| None, 1).unwrap_or_else(|problems| panic!("{file}: {problems:?}"))
}

fn stage(number: usize) -> Topology {
    load(&format!("stages/{}.toml", STAGES[number - 1]))
}

/// The step's differences, each with its effect.
fn step(from: usize, to: usize, done: &Done) -> Vec<String> {
    let told = |change: Change| {
        let effect = match change.effect {
            Effect::Instant => "instant".to_owned(),
            Effect::Barrier(holds) => format!("barrier on {}", holds.len()),
            Effect::Refused(refusal) => format!("refused {}", refusal.kind.id),
        };
        format!("{} {} -> {}: {effect}", change.rule, change.from, change.to)
    };
    transition(&stage(from), &stage(to), done).changes.into_iter().map(told).collect()
}

#[test]
fn there_is_a_file_for_each_stage_and_no_other() {
    let mut found: Vec<String> = std::fs::read_dir(conf().join("stages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, STAGES.map(|stage| format!("{stage}.toml")));
}

#[test]
fn the_stages_begin_with_the_shipped_rules() {
    assert_eq!(transition(&load("rules.toml"), &stage(1), &NOTHING).changes, []);
}

#[test]
fn every_step_forward_takes_effect_as_designed() {
    assert_eq!(step(1, 2, &NOTHING), ["moves.shop.double_write off -> sync: barrier on 3"]);
    assert_eq!(step(2, 3, &CARRIED_OVER), ["moves.shop.reads 0% -> 1%: instant"]);
    assert_eq!(step(3, 4, &CARRIED_OVER), ["moves.shop.reads 1% -> 25%: instant"]);
    assert_eq!(step(4, 5, &CARRIED_OVER), ["moves.shop.reads 25% -> 100%: instant"]);
    assert_eq!(step(5, 6, &CARRIED_OVER), ["moves.shop.writes source -> target: barrier on 3"]);
    assert_eq!(step(6, 7, &BOTH_KEPT), ["moves.shop.double_write sync -> off: barrier on 3"]);
    let left = |table: &str| format!("tables.{table} in move shop -> not moving: barrier on 2");
    let mut last = step(7, 8, &CARRIED_OVER);
    last.sort();
    assert_eq!(last, [left("order_items"), left("orders"), left("users")]);
}

#[test]
fn every_step_back_takes_effect_until_the_way_back_is_closed() {
    for from in 2..=6 {
        for to in 1..from {
            let done = step(from, to, &BOTH_KEPT);
            let refused = done.iter().any(|change| change.contains("refused"));
            assert!(!done.is_empty() && !refused, "{from} to {to}: {done:?}");
        }
    }
    let closed = step(7, 2, &CARRIED_OVER);
    assert!(closed.iter().any(|change| change.ends_with("refused SHD1606")), "{closed:?}");
    let finished = step(8, 7, &CARRIED_OVER);
    assert!(finished.iter().all(|change| !change.contains("refused")), "{finished:?}");
    let finished = step(8, 2, &CARRIED_OVER);
    assert!(finished.iter().any(|change| change.ends_with("refused SHD1601")), "{finished:?}");
}

#[test]
fn no_stage_shows_rows_that_are_not_there() {
    for to in 3..=6 {
        let early = step(2, to, &NOTHING);
        assert!(early.iter().any(|change| change.ends_with("refused SHD1605")), "2 to {to}: {early:?}");
    }
    // Reads of the target without double write would fall behind at once.
    for from in 3..=5 {
        let stage = stage(from);
        let text = std::fs::read_to_string(conf().join(format!("stages/{}.toml", STAGES[from - 1]))).unwrap();
        let off = rules::load(&text.replace("\"sync\"", "\"off\""), &|_| None, 1);
        let refused = off.map_or(true, |off| transition(&stage, &off, &BOTH_KEPT).refusals().count() > 0);
        assert!(refused, "{from} without double write");
    }
}
