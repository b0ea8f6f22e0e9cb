//! Documents that are written from the code, or must agree with it.

use std::fmt::Write as _;
use std::path::Path;

use shardway::config;
use shardway_routing::refusal::{self, Retry};
use shardway_routing::rules;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_list_of_errors_is_the_registry() {
    let mut text = String::from(
        "# Errors\n\nshardway's own refusals. Every one carries its id in the text; errno and SQL state are what clients \
         branch on.\nWritten from `routing/src/refusal.rs` by a test (`UPDATE_DOCS=1`).\n\n\
         | id | errno | SQL state | what | what to do | worth a retry |\n|---|---|---|---|---|---|\n",
    );
    for kind in refusal::ALL {
        let retry = if kind.retry == Retry::Later { "later" } else { "no" };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {retry} |",
            kind.id, kind.errno, kind.sql_state, kind.title, kind.remedy
        )
        .unwrap();
    }
    let file = root().join("docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text, "run with UPDATE_DOCS=1");
}

#[test]
fn refusal_ids_are_unique_and_in_order() {
    let ids: Vec<&str> = refusal::ALL.iter().map(|kind| kind.id).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    assert!(refusal::ALL.iter().all(|kind| kind.sql_state.len() == 5 && !kind.remedy.is_empty()));
}

#[test]
fn the_files_in_conf_are_valid() {
    let config = config::load(&root().join("conf/shardway.toml")).unwrap();
    let text = std::fs::read_to_string(&config.rules).unwrap();
    let topology = rules::load(&text, &|_| None, 1).unwrap();
    assert_eq!((topology.backends.len(), topology.tables.len(), topology.moves.len()), (3, 3, 1));
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let exe = std::env::current_exe().unwrap();
    let binary = exe.parent().unwrap().parent().unwrap().join("shardway");
    let mut tried = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("shardway ")) {
        let words: Vec<&str> =
            line.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
        let known = std::process::Command::new(&binary).args(&words).arg("--help").output().unwrap();
        assert!(known.status.success(), "{line}");
        tried += 1;
    }
    assert!(tried >= 5, "the README shows only {tried} commands");
}
