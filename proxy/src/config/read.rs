//! Reading `shardway.toml`, section by section.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use shardway_routing::document::Section;
use shardway_routing::plan::rights::{self, Databases};

use super::{Config, Limits, Listen, Log, LogFormat, Role, Secret, Secrets, User, tls};

pub(super) const MYSQL: &str = "127.0.0.1:3307";
/// Where the admin API listens when nothing else is said.
pub const ADMIN: &str = "127.0.0.1:3380";
pub(super) const CONSOLE: &str = "127.0.0.1:3381";

/// Reads a file that stands in a folder.
pub(super) struct Reader<'a> {
    pub folder: &'a Path,
    pub secrets: Secrets<'a>,
}

impl Reader<'_> {
    /// What is wrong is reported to the document.
    pub fn config(&self, mut root: Section<'_>, file: &Path) -> Option<Config> {
        let rules = root.string("rules").map(|found| self.folder.join(found.value));
        if rules.is_none() {
            root.report_here(
                "`rules` is missing: the path of the rule file, for example rules = \"rules.toml\"",
            );
        }
        let workers = root.number("workers", 1, 1024);
        let node = root.number("node", 0, 1023).unwrap_or(0);
        let server_version = root.string("server_version").map(|found| found.value);
        let listen = listen(root.section("listen"));
        let users = self.users(root.sections("users"));
        if users.is_empty() {
            root.report_here("nobody can log in: add at least one [[users]] with a name and a password");
        }
        let admin_token = self.admin_token(root.section("admin"), &root, &listen);
        let tls = tls::tls(root.section("tls"), self);
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
            tls,
            limits,
            log,
            state_dir: self.folder.join(state.map_or_else(|| "state".to_owned(), |found| found.value)),
            node: u16::try_from(node).unwrap_or(0),
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
    if let Some(own) = found.value.iter().find(|name| rights::is_own(name)) {
        section.report("databases", &found.at, format!("`{own}` is the server's own and for no account"));
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
