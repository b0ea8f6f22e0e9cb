//! Documents that are written from the code, or must agree with it.

use std::fmt::Write as _;
use std::path::Path;

use shardway::config;
use shardway_migration::preflight::finding::{self, Severity, Waiver};
use shardway_migration::settings;
use shardway_migration::settings::metric::{self, Unknown};
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
    is_written("docs/errors.md", &text);
}

/// The document is this text; with `UPDATE_DOCS=1` it becomes it.
fn is_written(name: &str, text: &str) {
    let file = root().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), text, "run with UPDATE_DOCS=1");
}

#[test]
fn the_list_of_findings_is_the_registry() {
    let mut text = String::from(
        "# Preflight\n\nWhat `shardway move preflight NAME` can find. A refused move does not begin; a warning is worth \
         knowing.\nWhat may be waived is waived by its id or name, or in one place by `name:subject`.\n\
         Written from `migration/src/preflight/finding.rs` by a test (`UPDATE_DOCS=1`).\n\n\
         | id | name | what | what to do | severity | may be waived |\n|---|---|---|---|---|---|\n",
    );
    for kind in finding::ALL {
        let severity = if kind.severity == Severity::Refused { "refused" } else { "warning" };
        let waivable = if kind.waiver == Waiver::Operator { "yes" } else { "no" };
        writeln!(
            text,
            "| {} | {} | {} | {} | {severity} | {waivable} |",
            kind.id, kind.name, kind.title, kind.remedy
        )
        .unwrap();
    }
    is_written("docs/preflight.md", &text);
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

/// The file with its examples in force: comments that hold a section or a key.
fn uncommented(text: &str) -> String {
    let example = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let is_key = !word.is_empty() && rest[word.len()..].trim_start().starts_with('=');
        (rest.starts_with('[') || is_key).then(|| rest.to_owned())
    };
    text.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_examples_in_the_rule_file_are_valid_and_show_every_section() {
    let text = uncommented(&std::fs::read_to_string(root().join("conf/rules.toml")).unwrap());
    rules::load(&text, &|_| None, 1).unwrap();
    let settings = settings::load(&text).unwrap();
    let of = &settings.moves["shop"];
    assert_eq!((settings.alerts.len(), of.asserts.len(), of.baselines.len()), (2, 1, 1));
    assert_eq!((of.tune.len(), of.waive.len(), of.throttle.windows.len()), (2, 1, 1));
    assert_eq!(of.verify.group_by["orders"], ["status"]);
    let mut copy = of.copy.clone();
    assert!(copy.span.take().is_some() && !std::mem::take(&mut copy.predicates).is_empty());
    assert_eq!(copy, settings::CopySettings::default(), "the file says that it shows the defaults");
    assert_eq!(of.apply, settings::ApplySettings::default());
    assert_eq!(of.repair, settings::RepairSettings::default());
}

#[test]
fn the_list_of_metrics_is_the_registry() {
    let mut text = String::from(
        "# Alerts\n\nWhat `when` of `[[alerts]]` in the rule file may watch: `metric < value`, with `<`, `<=`, `>` or \
         `>=`. An alert fires when its condition has been true for `for`, and clears when it has been false for as long, or when \
         its rule or its move goes. \
         A metric with nothing to measure makes its condition false; one that should be known and is not leaves the \
         alert as it is, or counts as too much where the table says so.\n\n\
         Actions: `\"log\"` (the default), `\"pause\"` (the move, until a person lets it go on), \
         `{ webhook = \"https://…\" }` (a JSON document by POST when the alert fires and when it clears, tried again \
         for two minutes: `move, alert, level, message, value, state, at`).\n\
         Written from `migration/src/settings/metric.rs` by a test (`UPDATE_DOCS=1`).\n\n\
         | metric | compared with | unknown | what |\n|---|---|---|---|\n",
    );
    for meter in &metric::ALL {
        let names: Vec<String> =
            [meter.name].iter().chain(meter.aliases).map(|name| format!("`{name}`")).collect();
        let unknown = if meter.unknown == Unknown::TooMuch { "too much" } else { "stays as it is" };
        let (names, example) = (names.join(", "), meter.quantity.example());
        writeln!(text, "| {names} | {example} | {unknown} | {} |", meter.meaning).unwrap();
    }
    is_written("docs/alerts.md", &text);
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
