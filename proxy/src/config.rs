//! The process configuration, `shardway.toml`: read, checked, and complete with its defaults.
//!
//! - A [`Config`] exists only when nothing in the file is wrong; otherwise every problem is told with its line and key.
//! - Unknown keys are problems: a mistyped limit must not be a default.
//! - Relative paths are relative to the file. Secrets may come from the environment or from files, and are never
//!   printed.

mod read;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardway_routing::document::{Document, Problem};
use shardway_routing::plan::rights::Databases;

pub use read::ADMIN;
pub use tls::Tls;

/// Everything the process was told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file this was read from.
    pub file: PathBuf,
    /// The rule file.
    pub rules: PathBuf,
    pub listen: Listen,
    pub users: Vec<User>,
    /// What callers of the admin API must show; `None` on loopback only.
    pub admin_token: Option<Secret>,
    /// What clients are offered; `None`: nothing.
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub log: Log,
    /// History of rules in force, progress of moves.
    pub state_dir: PathBuf,
    /// This proxy's own number among those in front of the same backends, which snowflake ids carry.
    pub node: u16,
    /// Threads of the data plane.
    pub workers: usize,
    /// What the greeting says instead of the backends' own version.
    pub server_version: Option<String>,
}

/// Where the process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub mysql: SocketAddr,
    /// `None`: switched off.
    pub admin: Option<SocketAddr>,
    /// `None`: switched off.
    pub console: Option<SocketAddr>,
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: Secret,
    pub databases: Databases,
    pub role: Role,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    ReadWrite,
    ReadOnly,
    /// Reads and writes, and logs in to the console.
    Admin,
}

/// A password or token, which does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Bounds on what clients may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub max_connections: usize,
    /// Bytes of one packet from a client.
    pub max_packet: usize,
    /// A connection that sends nothing for this long is closed.
    pub idle_timeout: Duration,
    /// A connection that has not logged in by then is closed.
    pub handshake_timeout: Duration,
    /// Statements waiting at most while a rule change holds their tables.
    pub held_statements: usize,
}

/// How much is logged, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A filter as `tracing` reads it: `info`, `shardway=debug,warn`.
    pub level: String,
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where passwords are looked up.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    pub file: PathBuf,
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Config {
    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }
}

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let place = if problem.line > 0 { format!(":{}", problem.line) } else { String::new() };
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            write!(f, "{separator}{}{place}: {key}{}", self.file.display(), problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Reads and checks a file, with passwords from this process's environment and disk.
///
/// # Errors
/// Every problem of the file.
pub fn load(file: &Path) -> Result<Config, Invalid> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot be read: {error}");
        Invalid { file: file.to_owned(), problems: vec![Problem { line: 0, key: String::new(), message }] }
    })?;
    let secrets =
        Secrets { variable: &|name| std::env::var(name).ok(), file: &|path| std::fs::read_to_string(path) };
    check(&text, file, secrets)
}

/// Checks the text of a file that stands at `file`.
///
/// # Errors
/// Every problem of the text.
pub fn check(text: &str, file: &Path, secrets: Secrets<'_>) -> Result<Config, Invalid> {
    let document = Document::new(text);
    let folder = file.parent().unwrap_or(Path::new(""));
    let reader = read::Reader { folder, secrets };
    let config = reader.config(document.root(), file);
    let problems = document.problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Invalid { file: file.to_owned(), problems }),
    }
}

#[cfg(test)]
mod tests;
