//! The process configuration, `shardway.toml`: read, checked, and complete with its defaults.
//!
//! - A [`Config`] exists only when nothing in the file is wrong; otherwise every problem is told with its line and key.
//! - Unknown keys are problems: a mistyped limit must not be a default.
//! - Relative paths are relative to the file. Secrets may come from the environment or from files, and are never
//!   printed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardway_routing::document::{Document, Problem, Section};

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
    pub limits: Limits,
    pub log: Log,
    /// History of rules in force, progress of moves.
    pub state_dir: PathBuf,
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

/// The logical databases a user may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    All,
    Only(Vec<String>),
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

impl Databases {
    /// May the user use this logical database?
    #[must_use]
    pub fn allow(&self, database: &str) -> bool {
        match self {
            Databases::All => true,
            Databases::Only(names) => names.iter().any(|name| name == database),
        }
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
    let reader = Reader { folder, secrets };
    let config = reader.config(document.root(), file);
    let problems = document.problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Invalid { file: file.to_owned(), problems }),
    }
}

const MYSQL: &str = "127.0.0.1:3307";
/// Where the admin API listens when nothing else is said.
pub const ADMIN: &str = "127.0.0.1:3380";
const CONSOLE: &str = "127.0.0.1:3381";

struct Reader<'a> {
    folder: &'a Path,
    secrets: Secrets<'a>,
}

impl Reader<'_> {
    fn config(&self, mut root: Section<'_>, file: &Path) -> Option<Config> {
        if let Some(at) = root.skip("tls") {
            root.report("tls", &at, "TLS is not supported by this version; remove the section");
        }
        let rules = root.string("rules").map(|found| self.folder.join(found.value));
        if rules.is_none() {
            root.report_here(
                "`rules` is missing: the path of the rule file, for example rules = \"rules.toml\"",
            );
        }
        let workers = root.number("workers", 1, 1024);
        let server_version = root.string("server_version").map(|found| found.value);
        let listen = listen(root.section("listen"));
        let users = self.users(root.sections("users"));
        if users.is_empty() {
            root.report_here("nobody can log in: add at least one [[users]] with a name and a password");
        }
        let admin_token = self.admin_token(root.section("admin"), &root, &listen);
        let limits = limits(root.section("limits"));
        let log = log(root.section("log"));
        let state = root.section("state").and_then(|mut section| {
            let dir = section.string("dir");
            section.finish();
            dir
        });
        root.finish();
        Some(Config {
            file: file.to_owned(),
            rules: rules?,
            listen,
            users,
            admin_token,
            limits,
            log,
            state_dir: self.folder.join(state.map_or_else(|| "state".to_owned(), |found| found.value)),
            workers: workers.map_or_else(cores, |workers| usize::try_from(workers).unwrap_or(usize::MAX)),
            server_version,
        })
    }

    fn users(&self, sections: Vec<Section<'_>>) -> Vec<User> {
        let mut users: Vec<User> = Vec::new();
        for mut section in sections {
            let name = section.string("name");
            let password = self.secret(&mut section, ["password", "password_env", "password_file"]);
            let databases = databases(&mut section);
            let role = role(&mut section);
            match &name {
                None => section.report_here("`name` is missing"),
                Some(found) if users.iter().any(|user| user.name == found.value) => {
                    section.report("name", &found.at, format!("there is another user `{}`", found.value));
                }
                Some(_) => {}
            }
            match &password {
                None => section.report_here("one of `password`, `password_env`, `password_file` is missing"),
                Some(Some(secret)) if secret.reveal().is_empty() && role == Role::Admin => {
                    section.report_here("a user with role = \"admin\" must have a password");
                }
                Some(_) => {}
            }
            section.finish();
            if let (Some(name), Some(Some(password))) = (name, password) {
                users.push(User { name: name.value, password, databases, role });
            }
        }
        users
    }

    /// `None`: not given. `Some(None)`: given, but it could not be had, which has been reported.
    fn secret(&self, section: &mut Section<'_>, keys: [&'static str; 3]) -> Option<Option<Secret>> {
        let [plain, variable, file] = keys;
        let plain_found = section.string(plain);
        let variable_found = section.string(variable);
        let file_found = section.string(file);
        let given = [&plain_found, &variable_found, &file_found].into_iter().flatten().count();
        if given > 1 {
            section.report_here(format!("only one of `{plain}`, `{variable}`, `{file}` may be given"));
        }
        if let Some(found) = plain_found {
            return Some(Some(Secret(found.value)));
        }
        if let Some(found) = variable_found {
            let value = (self.secrets.variable)(&found.value);
            if value.is_none() {
                section.report(variable, &found.at, format!("the environment has no `{}`", found.value));
            }
            return Some(value.map(Secret));
        }
        let found = file_found?;
        match (self.secrets.file)(&self.folder.join(&found.value)) {
            Ok(text) => Some(Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))),
            Err(error) => {
                section.report(file, &found.at, format!("{} cannot be read: {error}", found.value));
                Some(None)
            }
        }
    }

    fn admin_token(
        &self,
        section: Option<Section<'_>>,
        root: &Section<'_>,
        listen: &Listen,
    ) -> Option<Secret> {
        let token = section.and_then(|mut section| {
            let token = self.secret(&mut section, ["token", "token_env", "token_file"]);
            if matches!(&token, Some(Some(secret)) if secret.reveal().is_empty()) {
                section.report_here("the token is empty");
            }
            section.finish();
            token
        });
        let open = listen.admin.is_some_and(|address| !address.ip().is_loopback());
        if open && token.is_none() {
            root.report_here(
                "the admin API listens beyond loopback, so it needs [admin] token, token_env or token_file",
            );
        }
        token.flatten()
    }
}

fn listen(section: Option<Section<'_>>) -> Listen {
    let default = |text: &str| text.parse().expect("the defaults are addresses");
    let mut listen =
        Listen { mysql: default(MYSQL), admin: Some(default(ADMIN)), console: Some(default(CONSOLE)) };
    let Some(mut section) = section else { return listen };
    if let Some(found) = section.string("mysql")
        && let Some(address) = address(&section, "mysql", &found.value, &found.at)
    {
        listen.mysql = address;
    }
    for key in ["admin", "console"] {
        let Some(found) = section.string(key) else { continue };
        let value = if found.value == "off" {
            None
        } else {
            let Some(address) = address(&section, key, &found.value, &found.at) else { continue };
            Some(address)
        };
        if key == "admin" { listen.admin = value } else { listen.console = value }
    }
    section.finish();
    listen
}

fn address(section: &Section<'_>, key: &str, text: &str, at: &Range<usize>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        section.report(key, at, format!("`{text}` is not an address with a port, like {MYSQL}"));
    }
    parsed
}

fn databases(section: &mut Section<'_>) -> Databases {
    let Some(found) = section.strings("databases") else { return Databases::All };
    if found.value.is_empty() {
        section.report(
            "databases",
            &found.at,
            "an empty list allows nothing; leave the key out to allow all",
        );
    }
    Databases::Only(found.value)
}

fn role(section: &mut Section<'_>) -> Role {
    let Some(found) = section.string("role") else { return Role::ReadWrite };
    match found.value.as_str() {
        "read_only" => Role::ReadOnly,
        "admin" => Role::Admin,
        other => {
            let message =
                format!("`{other}` is not a role; \"read_only\" and \"admin\" are, or leave the key out");
            section.report("role", &found.at, message);
            Role::ReadWrite
        }
    }
}

fn limits(section: Option<Section<'_>>) -> Limits {
    let mut section = section;
    let mut number = |key, least, most, default| {
        section.as_mut().and_then(|section| section.number(key, least, most)).unwrap_or(default)
    };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let limits = Limits {
        max_connections: size(number("max_connections", 1, 1_000_000, 10_000)),
        max_packet: size(number("max_packet", 1024, 1 << 30, 64 << 20)),
        idle_timeout: Duration::from_secs(number("idle_timeout_s", 1, 31_536_000, 28_800)),
        handshake_timeout: Duration::from_secs(number("handshake_timeout_s", 1, 3600, 10)),
        held_statements: size(number("held_statements", 0, 1_000_000, 10_000)),
    };
    if let Some(section) = section {
        section.finish();
    }
    limits
}

fn log(section: Option<Section<'_>>) -> Log {
    let mut log = Log { level: "info".to_owned(), format: LogFormat::Text };
    let Some(mut section) = section else { return log };
    if let Some(found) = section.string("level") {
        match tracing_subscriber::EnvFilter::builder().parse(&found.value) {
            Ok(_) => log.level = found.value,
            Err(error) => section.report("level", &found.at, format!("not a log level: {error}")),
        }
    }
    if let Some(found) = section.string("format") {
        match found.value.as_str() {
            "text" => log.format = LogFormat::Text,
            "json" => log.format = LogFormat::Json,
            other => {
                section.report("format", &found.at, format!("`{other}` is neither \"text\" nor \"json\""))
            }
        }
    }
    section.finish();
    log
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
