//! A rule file's text as a whole: where rows are, how they travel, when somebody is told.
//!
//! Two readers look at the same text; what both find wrong is one list, in the order of the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use shardway_migration::settings::{self, Settings};
use shardway_routing::document::Problem;
use shardway_routing::rules;
use shardway_routing::topology::{Backend, Move, Seen, Side, Tls, Topology};

use super::moves::servers;
use crate::backend::trust;
use crate::config::User;
use crate::durable;

/// Reads and checks the text.
///
/// # Errors
/// Every problem on a line of its own, with the file's name.
pub fn load(file: &Path, text: &str, version: u64) -> Result<(Topology, Settings), String> {
    let variable = |name: &str| std::env::var(name).ok();
    match (rules::load(text, &variable, version), settings::load(text)) {
        (Ok(mut topology), Ok(settings)) => {
            topology.settle(&folder(file));
            let problems = authorities(&topology).into_iter();
            let problems =
                problems.chain(unmeasured(&topology, &settings)).chain(forgetful(&topology, &settings));
            let lines: Vec<String> =
                problems.map(|problem| format!("{}: {problem}", file.display())).collect();
            if lines.is_empty() { Ok((topology, settings)) } else { Err(lines.join("\n")) }
        }
        (topology, settings) => {
            let of_both = [topology.err(), settings.err()];
            let mut problems: Vec<Problem> = of_both.into_iter().flatten().flatten().collect();
            problems.sort();
            problems.dedup();
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
            Err(lines.join("\n"))
        }
    }
}

/// Where files are that the rules name.
#[must_use]
pub fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    std::path::absolute(Path::new(".").join(folder)).unwrap_or_else(|_| folder.to_owned())
}

/// What rules allow and their author may not mean. It keeps nothing from coming into force: a rollback must not fail
/// because of an account that has gone.
#[must_use]
pub fn notes(topology: &Topology, users: &[User]) -> Vec<String> {
    let idle =
        topology.backends.iter().filter(|backend| !backend.replicas.is_empty() && !backend.deals_reads());
    let idle = idle.map(|backend| {
        format!(
            "backends.{}.replicas have no weight: reads go there by the hint `replica` alone",
            backend.name
        )
    });
    let strange = topology.moves.iter().flat_map(|of| {
        let accounts = of.functions.accounts.iter().flatten();
        let unknown = accounts.filter(|account| users.iter().all(|user| user.name != **account));
        unknown.map(|account| {
            format!(
                "moves.{}.functions.accounts: no [[users]] is called `{account}`, so this moves nobody's reads",
                of.name
            )
        })
    });
    idle.chain(strange).collect()
}

/// Authorities that vouch for backends and cannot be read.
fn authorities(topology: &Topology) -> Vec<String> {
    let problem = |backend: &Backend| match &backend.primary.tls {
        Tls::VerifyIdentity(ca) => {
            trust::authorities(ca).err().map(|error| format!("backends.{}.tls.ca: {error}", backend.name))
        }
        Tls::Off | Tls::Required => None,
    };
    topology.backends.iter().filter_map(problem).collect()
}

/// Targets that may forget what they have committed, where no stream would bring it once more.
fn forgetful(topology: &Topology, settings: &Settings) -> Vec<String> {
    const FLUSH: &str = "innodb_flush_log_at_trx_commit";
    let problem = |of: &Move| {
        let value = settings.moves.get(&of.name)?.tune.get(FLUSH)?;
        let is_unseen = of.capture.seen(Side::Source) == Seen::Not;
        (is_unseen && value != "1").then(|| {
            format!(
                "moves.{}.tune.{FLUSH}: with capture = \"none\" nothing brings back what the target forgets when it dies: \
                 take the line out, or set it to 1",
                of.name
            )
        })
    };
    topology.moves.iter().filter_map(problem).collect()
}

/// Limits of a copy that would never be passed, since there is nothing to measure.
fn unmeasured(topology: &Topology, settings: &Settings) -> Vec<String> {
    let problem = |of: &Move| {
        settings.moves.get(&of.name)?.throttle.replica_lag_s?;
        servers(topology, of).1.is_empty().then(|| {
            format!("moves.{}.throttle.replica_lag_s: none of the move's backends has `replicas`", of.name)
        })
    };
    topology.moves.iter().filter_map(problem).collect()
}

/// Puts a text in the place of the operator's file, whole or not at all; where the file is a link, in the place of what
/// it points to.
///
/// # Errors
/// With the file's name.
pub fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::canonicalize(file).with_context(|| format!("finding {}", file.display()))?;
    durable::write(&file, text.as_bytes()).with_context(|| format!("writing {}", file.display()))
}

/// What stands for a password.
const MASK: &str = "***";

/// A text with every password of its URLs masked, in comments too. `${NAME}` is no secret and stays. Where it cannot be
/// told how far a password goes, more is masked rather than less.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut parts = line.split("://");
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            out.push_str("://");
            // No password has a `/`, which ends the address.
            let (address, rest) = part.split_at(part.find('/').unwrap_or(part.len()));
            match address.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?, host))) {
                Some(((user, password), host)) => {
                    let shown = if is_variable(password) { password } else { MASK };
                    out.push_str(&format!("{user}:{shown}@{host}"));
                }
                None => out.push_str(address),
            }
            out.push_str(rest);
        }
    }
    out
}

/// `${NAME}` and nothing else.
fn is_variable(password: &str) -> bool {
    let name = password.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let cases = [
            ("primary = \"mysql://u:p@h:1/d\"\n", "primary = \"mysql://u:***@h:1/d\"\n"),
            ("primary = \"mysql://u:${P}@h:1/d\"", "primary = \"mysql://u:${P}@h:1/d\""),
            ("primary = \"mysql://u:${P}x@h:1/d\"", "primary = \"mysql://u:***@h:1/d\""),
            ("primary = \"mysql://u@h:1/d\"", "primary = \"mysql://u@h:1/d\""),
            ("# was 'mysql://u:a\"b@c:d@h:1/d'", "# was 'mysql://u:***@h:1/d'"),
            (
                "[{ url = \"mysql://a:b@c/d\" }, { url = \"mysql://e:f@g/h\" }]",
                "[{ url = \"mysql://a:***@c/d\" }, { url = \"mysql://e:***@g/h\" }]",
            ),
            ("webhook = \"http://h:80/x\" # a@b", "webhook = \"http://h:80/x\" # a@b"),
            ("check_url = \"http://u:p@h\"", "check_url = \"http://u:***@h\""),
            ("no = 1\r\n\n", "no = 1\r\n\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn both_readers_problems_are_one_list_without_doubles() {
        let text = "[backends.a]\nprimary = \"mysql://u@h:1/d\"\n[databases.shop]\ndefault = \"b\"\n\
                    [moves.m]\ntables = 7\nreeds = 5\ncopy.rows = 0\n[[alerts]]\nwhen = \"heat > 1\"\n";
        let error = load(Path::new("r.toml"), text, 1).unwrap_err();
        let lines: Vec<&str> = error.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(lines, ["line 4", "line 5", "line 6", "line 7", "line 8", "line 10"], "{error}");
    }

    #[test]
    fn a_limit_that_nothing_is_measured_for_is_a_problem() {
        let rules = |replicas: &str| {
            format!(
                "[backends.a]\nprimary = \"mysql://u@h:1/d\"\n{replicas}\n[backends.b]\nprimary = \"mysql://u@h:2/d\"\n\
                 [databases.shop]\ndefault = \"a\"\n[tables.t]\nkind = \"single\"\nnodes = \"b\"\n\
                 [moves.m]\ntables = [\"t\"]\nfrom = \"a\"\nthrottle.replica_lag_s = 5\n"
            )
        };
        let error = load(Path::new("r.toml"), &rules(""), 1).unwrap_err();
        assert!(error.contains("moves.m.throttle.replica_lag_s") && error.contains("replicas"), "{error}");
        load(Path::new("r.toml"), &rules("replicas = [{ url = \"mysql://u@h:3/d\" }]"), 1).unwrap();
    }

    #[test]
    fn a_target_that_may_forget_needs_a_stream() {
        let rules = |lines: &str| {
            format!(
                "[backends.a]\nprimary = \"mysql://u@h:1/d\"\n[backends.b]\nprimary = \"mysql://u@h:2/d\"\n\
                 [databases.shop]\ndefault = \"a\"\n[tables.t]\nkind = \"single\"\nnodes = \"b\"\n\
                 [moves.m]\ntables = [\"t\"]\nfrom = \"a\"\n{lines}\n"
            )
        };
        let none = "capture = \"none\"\ndouble_write = \"sync\"";
        let tuned = |value: u8| format!("tune.innodb_flush_log_at_trx_commit = {value}");
        let error = load(Path::new("r.toml"), &rules(&format!("{none}\n{}", tuned(2))), 1).unwrap_err();
        assert!(error.contains("moves.m.tune.innodb_flush_log_at_trx_commit"), "{error}");
        load(Path::new("r.toml"), &rules(&format!("{none}\n{}", tuned(1))), 1).unwrap();
        load(Path::new("r.toml"), &rules(&tuned(2)), 1).unwrap();
    }
}
