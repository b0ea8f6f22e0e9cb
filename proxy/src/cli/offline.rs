//! Commands that need no running proxy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shardway_migration::settings::Settings;
use shardway_routing::bind;
use shardway_routing::document::Document;
use shardway_routing::lex::{self, Flavour, Lexed, Quoting, ServerVersion};
use shardway_routing::merge::RowProtocol;
use shardway_routing::plan::explain::{explain as explained, under_hint};
use shardway_routing::plan::{self, Context};
use shardway_routing::topology::Topology;

use crate::config;
use crate::control::rule_file;

/// Prints every problem of both files.
pub(super) fn check(file: &Path) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(invalid) => {
            eprintln!("{invalid}");
            if let Some(Err(problems)) = rules_named_in(file).map(|named| rules(&named)) {
                eprintln!("{problems}");
            }
            return ExitCode::FAILURE;
        }
    };
    match rules(&config.rules) {
        Ok((topology, settings)) => {
            println!(
                "{} and {} are valid: {} backends, {} tables, {} moves, {} alerts",
                file.display(),
                config.rules.display(),
                topology.backends.len(),
                topology.tables.len(),
                topology.moves.len(),
                settings.alerts.len()
            );
            for note in rule_file::notes(&topology, &config.users) {
                println!("note: {note}");
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

/// The rule file that a configuration with problems names.
fn rules_named_in(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let document = Document::new(&text);
    let named = document.root().string("rules")?.value;
    Some(file.parent().unwrap_or(Path::new("")).join(named))
}

fn rules(file: &Path) -> Result<(Topology, Settings), String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    rule_file::load(file, &text, 1)
}

/// Prints a statement's plan. Without servers the columns are not known, so inserts without a column list and sorted
/// merges are refused here that a running proxy can serve.
pub(super) fn explain(file: &Path, database: Option<&str>, sql: &str) -> anyhow::Result<ExitCode> {
    let config = config::load(file)?;
    let (topology, _) = rules(&config.rules).map_err(anyhow::Error::msg)?;
    let only = match topology.databases.as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    };
    let mut lexed = Lexed::default();
    lex::lex(sql.as_bytes(), Quoting::default(), &mut lexed);
    let context = Context {
        topology: &topology,
        database: database.or(only.as_deref()),
        quoting: Quoting::default(),
        server: ServerVersion { flavour: Flavour::MySql, number: 80_000 },
        protocol: RowProtocol::Text,
    };
    bind::hint(sql.as_bytes(), &lexed).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let plan = plan::plan(sql.as_bytes(), &lexed, context);
    print!("{}", under_hint(lexed.hint_in(sql.as_bytes()), &explained(&plan, &topology)));
    Ok(if matches!(plan, plan::Plan::Refused(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
