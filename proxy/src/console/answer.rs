//! What the console understands, and the tables it answers with.
//!
//! Besides its own commands it answers what command-line clients and drivers send on connecting; everything else is
//! refused by naming what there is.

use shardway_migration::report::MoveReport;

use crate::control::history::Version;
use crate::control::status::{BackendStatus, ReplicaStatus, Status};
use crate::session_info::Described;
use crate::utc::rfc3339;

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Status,
    Rules,
    RulesHistory,
    Moves,
    Backends,
    Sessions,
    Statements,
    Reload,
    /// Ends a session.
    Kill(u64),
    Help,
    /// A client setting up its connection.
    Set,
    /// `SELECT @@version_comment LIMIT 1` and the like: each expression as written.
    Select(Vec<String>),
}

/// What the operator gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Table { columns: Vec<String>, rows: Vec<Vec<Option<String>>> },
    Done,
    Refused(String),
}

/// By its number in `SHOW SESSIONS`.
const KILL: &str = "KILL";

const COMMANDS: [(&str, Request, &str); 11] = [
    ("SHOW STATUS", Request::Status, "the process and its rules"),
    ("SHOW RULES", Request::Rules, "rules desired and in force, and why they differ"),
    ("SHOW RULES HISTORY", Request::RulesHistory, "versions that have been in force"),
    ("SHOW MOVES", Request::Moves, "moves: how far they are, what they wait for, their traffic"),
    ("SHOW BACKENDS", Request::Backends, "servers and whether they answer"),
    ("SHOW SESSIONS", Request::Sessions, "connected clients"),
    ("SHOW STATEMENTS", Request::Statements, "statements that run or wait now"),
    ("RELOAD", Request::Reload, "reads the rule file again"),
    (KILL, Request::Help, "KILL number: ends a session of SHOW SESSIONS, also where its server is silent"),
    ("SHOW HELP", Request::Help, "this list"),
    ("HELP", Request::Help, "the same; command-line clients keep this word for themselves"),
];

/// Understands a command.
pub(super) fn request(sql: &str) -> Result<Request, String> {
    let text = sql.trim().trim_end_matches(';').trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = words.join(" ");
    if let Some((_, request, _)) = COMMANDS.iter().find(|(name, ..)| plain.eq_ignore_ascii_case(name)) {
        return Ok(request.clone());
    }
    match words.split_first() {
        Some((first, [number])) if first.eq_ignore_ascii_case(KILL) => {
            number.parse().map(Request::Kill).map_err(|_| format!("`{number}` is no number of a session"))
        }
        Some((first, _)) if first.eq_ignore_ascii_case("set") => Ok(Request::Set),
        Some((first, rest)) if first.eq_ignore_ascii_case("select") => {
            let rest = match rest {
                [before @ .., limit, "1"] if limit.eq_ignore_ascii_case("limit") => before,
                all => all,
            };
            let list = rest.join(" ");
            let expressions: Vec<String> = list.split(',').map(|one| one.trim().to_owned()).collect();
            if expressions.iter().all(|one| known(one).is_some()) {
                Ok(Request::Select(expressions))
            } else {
                Err(unknown(text))
            }
        }
        _ => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> String {
    let commands: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    let shown: String = text.chars().take(60).collect();
    format!("the console does not know `{shown}`; it knows {}", commands.join(", "))
}

/// What clients ask on connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Fixed(&'static str),
    Version,
    Null,
}

fn known(expression: &str) -> Option<Known> {
    let lower = expression.to_ascii_lowercase();
    if ["database()", "schema()", "user()", "current_user()"].contains(&lower.as_str()) {
        return Some(Known::Null);
    }
    let name = lower.strip_prefix("@@")?;
    let name = name.strip_prefix("session.").or_else(|| name.strip_prefix("global.")).unwrap_or(name);
    Some(match name {
        "version_comment" => Known::Fixed("shardway console; SHOW HELP lists its commands"),
        "version" => Known::Version,
        "max_allowed_packet" => Known::Fixed("65536"),
        "wait_timeout" | "interactive_timeout" => Known::Fixed("28800"),
        "autocommit" => Known::Fixed("1"),
        "sql_mode" => Known::Fixed(""),
        "socket" => Known::Null,
        _ => return None,
    })
}

/// The answer to everything but [`Request::Reload`] and [`Request::Kill`], which are the caller's to do.
pub(super) fn answer(
    request: &Request,
    status: &Status,
    history: &[Version],
    mut sessions: Vec<Described>,
    version: &str,
) -> Answer {
    sessions.sort_by_key(|session| session.id);
    match request {
        Request::Status => of_status(status),
        Request::Rules => table(
            ["file", "desired_version", "in_force_version", "last_error"],
            [vec![
                text(status.rules.file.display()),
                text(status.rules.desired_version),
                text(status.rules.in_force_version),
                status.rules.last_error.clone(),
            ]],
        ),
        Request::RulesHistory => table(
            ["version", "in_force_since", "reason"],
            history
                .iter()
                .map(|one| vec![text(one.version), text(rfc3339(one.in_force_since)), text(&one.reason)]),
        ),
        Request::Moves => of_moves(&status.moves),
        Request::Backends => table(
            [
                "name",
                "address",
                "state",
                "version",
                "open_connections",
                "error",
                "role",
                "share",
                "lag_ms",
                "statements",
            ],
            status.backends.iter().flat_map(of_backend),
        ),
        Request::Sessions => table(
            ["id", "user", "peer", "database", "command", "seconds"],
            sessions.into_iter().map(|of| {
                let (user, peer, command) = (text(&of.user), text(&of.peer), text(of.command));
                vec![text(of.id), user, peer, of.database, command, text(of.seconds)]
            }),
        ),
        Request::Statements => table(
            ["session", "user", "database", "seconds", "statement"],
            sessions
                .into_iter()
                .filter(|of| of.statement.is_some())
                .map(|of| vec![text(of.id), text(of.user), of.database, text(of.seconds), of.statement]),
        ),
        Request::Help => {
            table(["command", "what"], COMMANDS.iter().map(|(name, _, what)| vec![text(name), text(what)]))
        }
        Request::Select(expressions) => of_variables(expressions, version),
        Request::Set | Request::Reload | Request::Kill(_) => Answer::Done,
    }
}

/// After a `RELOAD`.
pub(super) fn reloaded(version: u64) -> Answer {
    table(["in_force_version"], [vec![text(version)]])
}

/// The primary, and its replicas.
fn of_backend(of: &BackendStatus) -> Vec<Vec<Option<String>>> {
    let (address, state, open) = (text(&of.address), text(&of.state), text(of.open_connections));
    let (version, error, role) = (of.version.clone(), of.error.clone(), text("primary"));
    let primary = vec![text(&of.name), address, state, version, open, error, role, None, None, None];
    let replica = |replica: &ReplicaStatus| {
        vec![
            text(&of.name),
            text(&replica.address),
            text(&replica.state),
            replica.version.clone(),
            text(replica.open_connections),
            replica.unusable.clone(),
            text("replica"),
            text(replica.share),
            replica.lag_ms.map(|lag| lag.to_string()),
            text(replica.statements),
        ]
    };
    std::iter::once(primary).chain(of.replicas.iter().map(replica)).collect()
}

fn of_moves(moves: &[MoveReport]) -> Answer {
    let columns = [
        "name",
        "phase",
        "percent",
        "rows_per_s",
        "lag_s",
        "dirty_keys",
        "mismatches",
        "reads",
        "writes",
        "double_write",
        "degraded",
        "waits_for",
        "last_error",
        "tables",
    ];
    let row = |of: &MoveReport| {
        vec![
            text(&of.name),
            text(&of.phase),
            text(format!("{:.1}", of.progress.percent)),
            text(format!("{:.0}", of.progress.rows_per_s)),
            of.lag_s.map(|lag| format!("{lag:.1}")),
            text(of.dirty_keys),
            text(of.mismatches),
            text(of.reads),
            text(&of.writes),
            text(&of.double_write),
            of.degraded.clone(),
            of.waits_for.clone(),
            of.last_error.clone(),
            text(of.tables.join(", ")),
        ]
    };
    table(columns, moves.iter().map(row))
}

fn of_status(status: &Status) -> Answer {
    let down = status.backends.iter().filter(|backend| backend.state != "up").count();
    let lines = [
        ("version", text(status.version)),
        ("uptime_s", text(status.uptime_s)),
        ("rules_desired_version", text(status.rules.desired_version)),
        ("rules_in_force_version", text(status.rules.in_force_version)),
        ("rules_last_error", status.rules.last_error.clone()),
        ("backends", text(status.backends.len())),
        ("backends_down", text(down)),
        ("sessions", text(status.sessions.count)),
        ("held_statements", text(status.held_statements)),
    ];
    table(["name", "value"], lines.into_iter().map(|(name, value)| vec![text(name), value]))
}

fn of_variables(expressions: &[String], version: &str) -> Answer {
    let value = |expression: &String| match known(expression)? {
        Known::Fixed(value) => text(value),
        Known::Version => text(version),
        Known::Null => None,
    };
    Answer::Table { columns: expressions.to_vec(), rows: vec![expressions.iter().map(value).collect()] }
}

fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = Vec<Option<String>>>) -> Answer {
    Answer::Table { columns: columns.map(str::to_owned).to_vec(), rows: rows.into_iter().collect() }
}

#[expect(clippy::unnecessary_wraps, reason = "cells may be NULL, and most are not")]
fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}
