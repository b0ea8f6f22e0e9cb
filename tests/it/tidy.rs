//! Rules of the house that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

#[test]
fn every_module_says_what_it_is_for_and_fits_in_one_view() {
    for (path, text) in sources() {
        let is_tests = path.file_name().is_some_and(|name| name == "tests.rs");
        assert!(is_tests || text.starts_with("//!"), "{} has no module documentation", path.display());
        let lines = text.lines().count();
        // Two files are long because they are one table each.
        let limit =
            if path.ends_with("rules/check.rs") || path.ends_with("proxy/src/config.rs") { 460 } else { 420 };
        assert!(lines <= limit, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_test_sleeps() {
    let call = concat!("sle", "ep(");
    for (path, text) in sources() {
        let is_test = path.starts_with(root().join("tests")) || path.ends_with("tests.rs");
        // The one place that waits for what a server does by itself, clients with a pace of their own, and clocks that do
        // not run.
        let clients = ["tests/src/proxy.rs", "tests/src/load.rs"];
        let is_client =
            clients.iter().any(|of| path.ends_with(of)) || path.starts_with(root().join("tests/src/bin"));
        let waits = is_client || text.contains("start_paused = true");
        assert!(
            !is_test || waits || !text.contains(call),
            "{} sleeps; wait for a mark with `until`",
            path.display()
        );
    }
}

/// A source file without its tests.
fn outside_of_tests(path: &Path, text: &str) -> Option<String> {
    let is_code =
        ["routing/src", "migration/src", "proxy/src"].iter().any(|of| path.starts_with(root().join(of)));
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    (is_code && !path.ends_with("tests.rs")).then(|| code.to_owned())
}

#[test]
fn no_code_guesses_or_is_left_unfinished() {
    for (path, text) in sources() {
        let Some(code) = outside_of_tests(&path, &text) else { continue };
        for forbidden in [concat!(".unw", "rap()"), "Result<bool", "::*;", concat!("TO", "DO")] {
            assert!(!code.contains(forbidden), "{} contains {forbidden}", path.display());
        }
        let parameters = code.split("fn ").skip(1).filter_map(|function| {
            let signature = function.split(" {").next()?;
            signature.split("->").next()
        });
        for signature in parameters {
            assert!(!signature.contains(": bool"), "{}: a boolean parameter: {signature}", path.display());
        }
    }
    for (path, text) in sources() {
        assert!(!text.contains(concat!("#[ig", "nore")), "{} leaves a test out", path.display());
    }
}

#[test]
fn the_pure_crate_asks_nobody() {
    let asks = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "Instant::now",
        "SystemTime",
        "std::thread",
        " rand::",
    ];
    for (path, text) in sources() {
        let Some(code) = outside_of_tests(&path, &text) else { continue };
        let pure =
            path.starts_with(root().join("routing/src")) || path.starts_with(root().join("proxy/src/wire"));
        for ask in asks.iter().filter(|_| pure) {
            assert!(!code.contains(ask), "{} is to be pure and uses {ask}", path.display());
        }
    }
}

#[test]
fn every_refusal_can_be_given() {
    let registry = fs::read_to_string(root().join("routing/src/refusal.rs")).unwrap();
    let kinds = registry.lines().filter_map(|line| line.trim().split_once(" = \"SHD")).map(|(name, _)| name);
    let code: String = sources()
        .iter()
        .filter(|(path, _)| !path.ends_with("refusal.rs"))
        .filter_map(|(path, text)| outside_of_tests(path, text))
        .collect();
    let mut seen = 0;
    for name in kinds {
        assert!(code.contains(&format!("refusal::{name}")), "nothing gives {name}");
        seen += 1;
    }
    assert!(seen > 50, "only {seen} kinds were found");
}

#[test]
fn dependencies_point_one_way_and_say_why() {
    let manifest = |name: &str| fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    for forbidden in ["tokio", "mysql_async", "shardway-migration", "axum"] {
        assert!(!manifest("routing").contains(forbidden), "routing depends on {forbidden}");
    }
    assert!(!manifest("migration").contains("shardway.workspace"), "migration depends on proxy");
    for crate_of_tests in ["shardway-tests", "shardway-benches"] {
        let named =
            ["routing", "migration", "proxy"].map(manifest).iter().any(|text| text.contains(crate_of_tests));
        assert!(!named, "a crate depends on {crate_of_tests}");
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let external = workspace
        .split("[workspace.lints")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.contains(" = "))
        .filter(|line| {
            line.contains("version = \"")
                || line.split(" = ").nth(1).is_some_and(|version| version.starts_with('"'))
        });
    let named = external.skip_while(|line| !line.starts_with("anyhow"));
    for line in named {
        assert!(line.contains('#'), "no reason given: {line}");
    }
}

/// Crates whose second version comes with a dependency of ours that has not moved on.
const TWICE: [&str; 18] = [
    "base64",
    "btoi",
    "cpufeatures",
    "frunk_core",
    "getrandom",
    "hashbrown",
    "mysql_common",
    "r-efi",
    "rand",
    "rand_chacha",
    "rand_core",
    "syn",
    "synstructure",
    "thiserror",
    "thiserror-impl",
    "toml_datetime",
    "toml_edit",
    "winnow",
];

#[test]
fn licences_are_free_and_versions_are_few() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap();
    let free = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "Unlicense",
        "0BSD",
        "BSL-1.0",
        "CC0-1.0",
        "MIT-0",
        "CDLA-Permissive-2.0",
        "LLVM-exception",
        "MPL-2.0",
    ];
    let mut names: Vec<&str> = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        let choices = licence.replace('/', " OR ").replace(['(', ')'], " ");
        let ok = choices.split(" OR ").any(|choice| {
            choice
                .split(" AND ")
                .flat_map(|part| part.split(" WITH "))
                .all(|part| free.contains(&part.trim()))
        });
        assert!(ok, "{} has the licence {licence}", package.name);
        names.push(package.name.as_str());
    }
    names.sort_unstable();
    let windows = |name: &str| name.starts_with("windows") || name == "redox_syscall";
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1] && !windows(pair[0])) {
        assert!(TWICE.contains(&pair[0]), "{} is there in two versions", pair[0]);
    }
}
