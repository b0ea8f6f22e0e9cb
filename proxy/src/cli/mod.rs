//! The command line. Exit codes: 0 done, 1 refused or failed, 2 usage.

mod api;
mod arguments;
mod back;
mod checks;
mod found;
mod moves;
mod offline;
mod online;
mod rehearse;
mod show;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shardway_migration::repair::Run;
use shardway_migration::throttle::{ByHand, Limits};

use crate::config::{self, Config, Invalid};
use crate::control::traffic::Wish;
use crate::logging;
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
        #[command(flatten)]
        output: Output,
    },
    /// Edits a move's traffic in the rule file, comments kept, and waits until it is in force.
    #[command(after_help = "Example: shardway traffic shop --reads 25 --writes source --double-write sync")]
    Traffic {
        #[command(flatten)]
        remote: Remote,
        /// The move.
        name: String,
        /// Percent of keys whose reads the target serves: 0 to 100 in steps of 0.01.
        #[arg(long, value_parser = arguments::percent)]
        reads: Option<f64>,
        /// The side that owns writes, or the percentage of keys whose writes the target owns: 0 to 100 in steps of 0.01.
        #[arg(long, value_parser = arguments::owner)]
        writes: Option<String>,
        /// How the other side gets what is written.
        #[arg(long, value_parser = ["off", "async", "sync", "strict"])]
        double_write: Option<String>,
        /// Percent of reads that are run on both sides and compared: 0 to 100 in steps of 0.01.
        #[arg(long, value_parser = arguments::percent)]
        shadow_reads: Option<f64>,
    },
    /// The versions of the rules that have been in force.
    #[command(subcommand, after_help = "Example: shardway rules history")]
    Rules(Rules),
    /// The life of a move.
    #[command(subcommand, after_help = "Example: shardway move status shop --watch")]
    Move(Move),
}

#[derive(Debug, Subcommand)]
enum Move {
    /// Looks for what speaks against the move, and estimates what it takes; changes nothing.
    #[command(after_help = "Example: shardway move preflight shop")]
    Preflight {
        #[command(flatten)]
        remote: Remote,
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Runs the whole move once against a scratch target, with a proxy of its own, and reports times and stalls. With
    /// copies of the sources it goes on to the switch and back; without, it ends when both sides are equal.
    #[command(
        after_help = "Example: shardway move rehearse shop --scratch mysql://root:secret@127.0.0.1:4009\n\
                            Example: shardway move rehearse shop --scratch mysql://root:secret@127.0.0.1:4009 \
                            --source legacy=mysql://root:secret@127.0.0.1:4010/shop"
    )]
    Rehearse {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// The server for the target: databases of its own are made there, and dropped afterwards.
        #[arg(long)]
        scratch: String,
        /// A copy of a source backend, which the rehearsal may write to: BACKEND=mysql://…/DATABASE; for each of them.
        #[arg(long)]
        source: Vec<String>,
        /// Leaves the scratch databases there.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Begins the move, or goes on with one that failed: preflight, tables, copy, catching up, comparing.
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
        #[command(flatten)]
        output: Output,
        /// Follows it until nothing goes on by itself any more; with --json, one document a line.
        #[arg(long)]
        watch: bool,
    },
    /// Lets what copies and compares rest; the streams go on.
    #[command(after_help = "Example: shardway move pause shop")]
    Pause {
        #[command(flatten)]
        remote: Remote,
        name: String,
    },
    /// Goes on after a pause or a failure.
    #[command(after_help = "Example: shardway move resume shop")]
    Resume {
        #[command(flatten)]
        remote: Remote,
        name: String,
    },
    /// Sets how fast the copy goes, in place of what was set before; what is not given is as the rules say.
    #[command(after_help = "Example: shardway move throttle shop --parallel 2 --pause-ms 200\n\
                            Example: shardway move throttle shop   (as the rules say again)")]
    Throttle {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// Chunks at the same time, at most.
        #[arg(long)]
        parallel: Option<u32>,
        /// Between two chunks of a worker, at least.
        #[arg(long)]
        pause_ms: Option<u64>,
        /// Ignores the limits of the rules, time windows too.
        #[arg(long)]
        off: bool,
    },
    /// Compares both sides while clients write.
    #[command(after_help = "Example: shardway move verify shop --mode hash")]
    Verify {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// count: rows only; sample: 10,000 random keys; hash: every row by signatures; exact: every row, value by value
        #[arg(long, default_value = "hash", value_parser = ["count", "sample", "hash", "exact"])]
        mode: String,
        #[command(flatten)]
        output: Output,
    },
    /// Runs the five checks before a switch: count, sample, assertions, baseline, hash; succeeds when all of them pass.
    #[command(after_help = "Example: shardway move check shop\n\
                            Example: shardway move check shop --last --json   (the last report again, without a run)")]
    Check {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// Shows the last report again and runs nothing.
        #[arg(long)]
        last: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Compares both sides and brings in line what differs: the side that owns a row's writes is right. With --json, what every row
    /// was before and is after.
    #[command(after_help = "Example: shardway move repair shop --dry-run")]
    Repair {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// Tells what would be written, and writes nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    #[command(flatten)]
    Back(back::Back),
    /// Closes the way back: the source is not followed any more. The target must own writes.
    #[command(after_help = "Example: shardway move finish shop")]
    Finish {
        #[command(flatten)]
        remote: Remote,
        name: String,
    },
    /// Removes what a finished move leaves behind: the first call puts the source's tables aside as
    /// `_shardway_old_TABLE_DATE`, one after the grace time (`cleanup.grace`, 7 days) drops them.
    #[command(after_help = "Example: shardway move cleanup shop --dry-run\n\
                            Example: shardway move cleanup shop          (puts aside; a week later, drops)\n\
                            Example: shardway move cleanup shop --now    (drops what is aside at once)")]
    Cleanup {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// Tells what would be done, and does nothing.
        #[arg(long)]
        dry_run: bool,
        /// Does not wait for the grace time; what a person has skipped is recorded.
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        output: Output,
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
struct Output {
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Output {
    fn form(&self) -> online::Form {
        if self.json { online::Form::Json } else { online::Form::Text }
    }
}

/// The process configuration, where none is named.
const CONFIG: &str = "conf/shardway.toml";

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The process configuration.
    #[arg(long, default_value = CONFIG)]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Remote {
    /// The process configuration; default: conf/shardway.toml, where there is one.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The admin address of the running proxy; default: that of the configuration, or 127.0.0.1:3380 where there is none.
    #[arg(long)]
    admin: Option<String>,
}

impl Remote {
    fn config(&self) -> Result<Config, Invalid> {
        config::load(self.config.as_deref().unwrap_or(Path::new(CONFIG)))
    }

    /// `None` where none is named and there is none.
    fn config_if_any(&self) -> Result<Option<Config>, Invalid> {
        let is_absent = self.config.is_none() && matches!(Path::new(CONFIG).try_exists(), Ok(false));
        if is_absent { Ok(None) } else { self.config().map(Some) }
    }
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
        Command::Status { remote, output } => online::status(&remote, output.form()),
        Command::Traffic { remote, name, reads, writes, double_write, shadow_reads } => {
            let wish = Wish { reads, writes, double_write, shadow_reads, ..Wish::default() };
            online::traffic(&remote, &name, &wish)
        }
        Command::Move(Move::Start { remote, name }) => moves::start(&remote, &name),
        Command::Move(Move::Status { remote, name, output, watch }) => {
            let form = output.form();
            if watch { watch::watch(&remote, &name, form) } else { moves::status(&remote, &name, form) }
        }
        Command::Move(Move::Throttle { remote, name, parallel, pause_ms, off }) => {
            let limits = if off { Limits::Ignored } else { Limits::Heeded };
            moves::throttle(&remote, &name, &ByHand { parallel, pause_ms, limits })
        }
        Command::Move(Move::Preflight { remote, name, output }) => {
            moves::preflight(&remote, &name, output.form())
        }
        Command::Move(Move::Rehearse { remote, name, scratch, source, keep, output }) => {
            let after = if keep { rehearse::Scratch::Kept } else { rehearse::Scratch::Dropped };
            let plan = rehearse::Plan { name: &name, scratch: &scratch, sources: &source, after };
            rehearse::rehearse(&remote, &plan, output.form())
        }
        Command::Move(Move::Pause { remote, name }) => moves::tell(&remote, &name, "pause"),
        Command::Move(Move::Resume { remote, name }) => moves::tell(&remote, &name, "resume"),
        Command::Move(Move::Finish { remote, name }) => moves::tell(&remote, &name, "finish"),
        Command::Move(Move::Cleanup { remote, name, dry_run, now, output }) => {
            let words = [(dry_run, "dry"), (now, "now")];
            let words: Vec<&str> =
                words.iter().filter(|(is_said, _)| *is_said).map(|(_, word)| *word).collect();
            moves::cleanup(&remote, &name, &words.join(" "), output.form())
        }
        Command::Move(Move::Verify { remote, name, mode, output }) => {
            moves::verify(&remote, &name, &mode, output.form())
        }
        Command::Move(Move::Check { remote, name, last, output }) => {
            let form = output.form();
            if last { checks::last(&remote, &name, form) } else { checks::run(&remote, &name, form) }
        }
        Command::Move(Move::Repair { remote, name, dry_run, output }) => {
            let run = if dry_run { Run::Dry } else { Run::Real };
            moves::repair(&remote, &name, run, output.form())
        }
        Command::Move(Move::Back(command)) => back::run(command),
        Command::Rules(Rules::History(remote)) => online::history(&remote),
        Command::Rules(Rules::Show { remote, version }) => online::show(&remote, version),
        Command::Rules(Rules::Revert { remote, version }) => online::revert(&remote, version),
    }
}

fn serve(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let config = config::load(&file.config)?;
    logging::start(&config.log).map_err(anyhow::Error::msg)?;
    serve::run(config)?;
    Ok(ExitCode::SUCCESS)
}
