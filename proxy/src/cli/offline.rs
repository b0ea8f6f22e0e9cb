//! Commands that need no running proxy.

use std::path::Path;
use std::process::ExitCode;

use shardway_routing::lex::{self, Flavour, Lexed, Quoting, ServerVersion};
use shardway_routing::plan::explain::explain as explained;
use shardway_routing::plan::{self, Context};
use shardway_routing::rules;
use shardway_routing::topology::Topology;

use crate::config;

/// Prints every problem of both files.
pub(super) fn check(file: &Path) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(invalid) => {
            eprintln!("{invalid}");
            return ExitCode::FAILURE;
        }
    };
    match topology(&config.rules) {
        Ok(topology) => {
            println!(
                "{} and {} are valid: {} backends, {} tables, {} moves",
                file.display(),
                config.rules.display(),
                topology.backends.len(),
                topology.tables.len(),
                topology.moves.len()
            );
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

fn topology(file: &Path) -> Result<Topology, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    rules::load(&text, &|name| std::env::var(name).ok(), 1).map_err(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
        lines.join("\n")
    })
}

/// Prints a statement's plan. Without servers the columns are not known, so inserts without a column list and sorted
/// merges are refused here that a running proxy can serve.
pub(super) fn explain(file: &Path, database: Option<&str>, sql: &str) -> anyhow::Result<ExitCode> {
    let config = config::load(file)?;
    let topology = topology(&config.rules).map_err(anyhow::Error::msg)?;
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
    };
    let plan = plan::plan(sql.as_bytes(), &lexed, context);
    print!("{}", explained(&plan, &topology));
    Ok(if matches!(plan, plan::Plan::Refused(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
