//! The command line. Exit codes: 0 done, 1 refused or failed, 2 usage.

mod api;
mod moves;
mod offline;
mod online;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{self, Config, LogFormat};
use crate::serve;

/// A MySQL-protocol sharding proxy for zero-downtime migrations.
#[derive(Debug, Parser)]
#[command(name = "shardway", version, after_help = "Example: shardway serve --config conf/shardway.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy.
    #[command(after_help = "Example: shardway serve --config conf/shardway.toml")]
    Serve(ConfigFile),
    /// Validates both files and prints every problem with its place.
    #[command(after_help = "Example: shardway check --config conf/shardway.toml")]
    Check(ConfigFile),
    /// Prints the plan of a statement; no server is needed.
    #[command(
        after_help = "Example: shardway explain --config conf/shardway.toml \"SELECT * FROM users WHERE id = 7\""
    )]
    Explain {
        #[command(flatten)]
        config: ConfigFile,
        /// The logical database; the only one of the rules if there is one.
        #[arg(long)]
        database: Option<String>,
        sql: String,
    },
    /// Shows what saving the rule file would do to the running proxy.
    #[command(after_help = "Example: shardway plan --config conf/shardway.toml")]
    Plan(Remote),
    /// Shows backends, rules, moves and sessions.
    #[command(after_help = "Example: shardway status --json")]
    Status {
        #[command(flatten)]
        remote: Remote,
        #[arg(long)]
        json: bool,
    },
    /// Edits a move's traffic in the rule file, comments kept, and waits until it is in force.
    #[command(after_help = "Example: shardway traffic shop --reads 25 --writes source --double-write sync")]
    Traffic {
        #[command(flatten)]
        remote: Remote,
        /// The move.
        name: String,
        /// Percent of keys whose reads the target serves.
        #[arg(long)]
        reads: Option<f64>,
        /// source | target
        #[arg(long)]
        writes: Option<String>,
        /// off | sync | strict
        #[arg(long)]
        double_write: Option<String>,
    },
    /// The versions of the rules that have been in force.
    #[command(subcommand)]
    Rules(Rules),
    /// The life of a move.
    #[command(subcommand)]
    Move(Move),
}

#[derive(Debug, Subcommand)]
enum Move {
    /// Carries the rows over; double write must be in force.
    #[command(after_help = "Example: shardway move start shop")]
    Start {
        #[command(flatten)]
        remote: Remote,
        name: String,
    },
    /// Shows how far it is.
    #[command(after_help = "Example: shardway move status shop --watch")]
    Status {
        #[command(flatten)]
        remote: Remote,
        name: String,
        #[arg(long)]
        json: bool,
        /// Follows a running copy to its end.
        #[arg(long)]
        watch: bool,
    },
    /// Compares both sides while their writes are held.
    #[command(after_help = "Example: shardway move verify shop --mode hash")]
    Verify {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// count: rows only; hash: every row
        #[arg(long, default_value = "hash", value_parser = ["count", "hash"])]
        mode: String,
    },
}

#[derive(Debug, Subcommand)]
enum Rules {
    /// Lists them.
    #[command(after_help = "Example: shardway rules history")]
    History(Remote),
    /// Prints one.
    #[command(after_help = "Example: shardway rules show 3")]
    Show {
        #[command(flatten)]
        remote: Remote,
        version: u64,
    },
    /// Writes one over the rule file, which brings it into force.
    #[command(after_help = "Example: shardway rules revert 3")]
    Revert {
        #[command(flatten)]
        remote: Remote,
        version: u64,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The process configuration.
    #[arg(long, default_value = "conf/shardway.toml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Remote {
    #[command(flatten)]
    config: ConfigFile,
    /// The admin address of the running proxy; default: that of the configuration, or 127.0.0.1:3380.
    #[arg(long)]
    admin: Option<String>,
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shardway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(file) => serve(&file),
        Command::Check(file) => Ok(offline::check(&file.config)),
        Command::Explain { config, database, sql } => {
            offline::explain(&config.config, database.as_deref(), &sql)
        }
        Command::Plan(remote) => online::plan(&remote),
        Command::Status { remote, json } => {
            online::status(&remote, if json { online::Form::Json } else { online::Form::Text })
        }
        Command::Traffic { remote, name, reads, writes, double_write } => {
            let wish = traffic::Wish { reads, writes, double_write };
            online::traffic(&remote, &name, &wish)
        }
        Command::Move(Move::Start { remote, name }) => moves::start(&remote, &name),
        Command::Move(Move::Status { remote, name, json, watch }) => {
            let form = if json { online::Form::Json } else { online::Form::Text };
            if watch {
                moves::watch(&remote, &name)?;
            }
            moves::status(&remote, &name, form)
        }
        Command::Move(Move::Verify { remote, name, mode }) => moves::verify(&remote, &name, &mode),
        Command::Rules(Rules::History(remote)) => online::history(&remote),
        Command::Rules(Rules::Show { remote, version }) => online::show(&remote, version),
        Command::Rules(Rules::Revert { remote, version }) => online::revert(&remote, version),
    }
}

fn serve(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let config = config::load(&file.config)?;
    log(&config)?;
    serve::run(config)?;
    Ok(ExitCode::SUCCESS)
}

fn log(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.level).context("log.level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
