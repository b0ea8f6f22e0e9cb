//! The tour of `./quickstart`: a shop moves from one server to two shards, and back, while its client keeps working.
//!
//! - Everything it says was measured in this run: answers carry the port of the server that gave them, rows are compared
//!   by `shardway move verify` and against the client's own journal.
//! - The first step that does not hold ends it with the reason and exit code 1.
//! - It starts and ends no server; `./quickstart` does, which also says where they are.

mod client;
mod journal;
mod operator;
mod page;
mod shop;
mod steps;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mysql_async::{Conn, OptsBuilder};

/// The tour of `./quickstart`.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port of the server that has all rows at first.
    #[arg(long)]
    legacy: u16,
    /// The ports of the two shards.
    #[arg(long, value_delimiter = ',')]
    shards: Vec<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the shop's tables on all servers and fills those of the legacy server.
    Load,
    /// Moves the shop and takes it back.
    Run {
        /// The port of the proxy.
        #[arg(long)]
        proxy: u16,
        /// The built program.
        #[arg(long)]
        shardway: PathBuf,
        /// The configuration that the proxy was started with.
        #[arg(long)]
        config: PathBuf,
        /// The rule files to save, one per stage.
        #[arg(long)]
        stages: PathBuf,
    },
}

/// The database servers of the tour.
#[derive(Debug, Clone)]
struct Servers {
    legacy: u16,
    shards: [u16; 2],
}

impl Servers {
    /// What people call the server on a port.
    fn name(&self, port: u16) -> String {
        match port {
            _ if port == self.legacy => "legacy".to_owned(),
            _ if port == self.shards[0] => "s0".to_owned(),
            _ if port == self.shards[1] => "s1".to_owned(),
            _ => format!("port {port}"),
        }
    }
}

/// A connection on loopback.
async fn connect(port: u16, user: &str, database: &str) -> anyhow::Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(user))
        .pass(Some(user))
        .db_name((!database.is_empty()).then_some(database))
        .prefer_socket(false);
    let connection = tokio::time::timeout(Duration::from_secs(10), Conn::new(options)).await;
    let connection = connection.with_context(|| format!("port {port} does not answer"))?;
    connection.with_context(|| format!("connecting to port {port} as {user}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Ok(shards) = <[u16; 2]>::try_from(arguments.shards) else {
        eprintln!("--shards takes two ports");
        return ExitCode::from(2);
    };
    let servers = Servers { legacy: arguments.legacy, shards };
    let done = match arguments.command {
        Command::Load => shop::load(&servers).await,
        Command::Run { proxy, shardway, config, stages } => {
            steps::run(&servers, proxy, operator::Operator { shardway, config, stages }).await
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            page::failed(&error);
            ExitCode::FAILURE
        }
    }
}
