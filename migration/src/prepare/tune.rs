//! Parameters of a server that are changed for the time of a move, and put back.
//!
//! - The old value is in the server itself, committed, before the new one is set; so whoever comes after a crash puts it
//!   back with [`restore`], which may run any number of times.
//! - Only parameters that a copy gains from, that a running server takes, and that lose no row which a replay of the
//!   stream would not bring again; any other is an error that says why.
//! - One move at a time has a parameter: a second would take the first one's value for the old one.
//!
//! A server that starts again reads its own configuration and not our values; restoring is harmless then. Whoever changes
//! such a parameter by hand during a move finds the value from before the move afterwards.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::Serialize;
use shardway_routing::topology::Backend;

use crate::image::quoted;
use crate::place::{reach, run};
use crate::tables::WorkError;

/// The table of old values, in a physical database of the server.
pub const TABLE: &str = "shardway_tuned";

/// Parameters that may be changed.
pub const ALLOWED: [&str; 13] = [
    "binlog_expire_logs_seconds",
    "innodb_adaptive_hash_index",
    "innodb_buffer_pool_size",
    "innodb_flush_log_at_trx_commit",
    "innodb_flush_neighbors",
    "innodb_io_capacity",
    "innodb_io_capacity_max",
    "innodb_lru_scan_depth",
    "innodb_max_dirty_pages_pct",
    "innodb_stats_auto_recalc",
    "local_infile",
    "max_allowed_packet",
    "sync_binlog",
];

/// A parameter that was changed, or put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tuned {
    pub backend: String,
    pub name: String,
    pub old: String,
    /// What the server says it is now; servers round some values.
    pub now: String,
}

/// Sets parameters of a server for a move. What was set before an error stays set until [`restore`].
///
/// # Errors
/// A parameter that is not allowed, that the server does not know or that it refuses, by name.
pub async fn apply(
    backend: &Backend,
    database: &str,
    by: &str,
    list: &[(String, String)],
) -> Result<Vec<Tuned>, WorkError> {
    for (name, value) in list {
        check(name, value).map_err(WorkError::Stopped)?;
    }
    let mut connection = reach(backend).await?;
    run(&mut connection, &backend.name, &create(database)).await?;
    let mut tuned = Vec::new();
    for (name, value) in list {
        tuned.push(set(&mut connection, backend, database, by, (name, value)).await?);
    }
    connection.disconnect().await?;
    Ok(tuned)
}

/// Puts every parameter back that the move has changed, the last one first.
///
/// # Errors
/// Whatever the server reports; what is not back yet stays recorded.
pub async fn restore(backend: &Backend, database: &str, by: &str) -> Result<Vec<Tuned>, WorkError> {
    const NO_SUCH_DATABASE: u16 = 1049;
    const NO_SUCH_TABLE: u16 = 1146;
    let mut connection = reach(backend).await?;
    let table = format!("{}.{TABLE}", quoted(database));
    let found: Result<Vec<(String, String)>, _> = connection
        .exec(format!("SELECT name, old_value FROM {table} WHERE move_name = ? ORDER BY place DESC"), (by,))
        .await;
    let recorded = match found {
        Err(mysql_async::Error::Server(error)) if matches!(error.code, NO_SUCH_DATABASE | NO_SUCH_TABLE) => {
            Vec::new()
        }
        other => other?,
    };
    let mut restored = Vec::new();
    for (name, old) in recorded {
        let before = value(&mut connection, &name).await?.unwrap_or_default();
        set_global(&mut connection, backend, &name, &old).await?;
        connection
            .exec_drop(format!("DELETE FROM {table} WHERE move_name = ? AND name = ?"), (by, &name))
            .await?;
        restored.push(Tuned { backend: backend.name.clone(), name, old: before, now: old });
    }
    connection.disconnect().await?;
    Ok(restored)
}

/// May it be set to that?
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let reason = match name {
        "unique_checks" | "foreign_key_checks" => "it is the mover's own sessions' affair",
        "innodb_autoinc_lock_mode" => {
            "a running server cannot change it; set it in the server's configuration"
        }
        "innodb_doublewrite" => "a crash without it tears pages",
        _ if !ALLOWED.contains(&name) => {
            return Err(format!(
                "`{name}` is not among the parameters a move may set: {}",
                ALLOWED.join(", ")
            ));
        }
        _ => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            if value.is_empty() || !value.chars().all(is_plain) {
                return Err(format!("`{value}` is no value for `{name}`: write a number, ON or OFF"));
            }
            return Ok(());
        }
    };
    Err(format!("a move does not set `{name}`: {reason}"))
}

fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{TABLE} (name VARCHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY, \
         move_name VARCHAR(200) CHARACTER SET utf8mb4 NOT NULL, old_value VARCHAR(200) CHARACTER SET ascii NOT NULL, \
         set_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, place INT NOT NULL AUTO_INCREMENT, KEY (place)) \
         ENGINE = InnoDB",
        quoted(database)
    )
}

async fn set(
    connection: &mut Conn,
    backend: &Backend,
    database: &str,
    by: &str,
    (name, wanted): (&str, &str),
) -> Result<Tuned, WorkError> {
    let unknown = || WorkError::Stopped(format!("{} has no parameter `{name}`", backend.name));
    let old = value(connection, name).await?.ok_or_else(unknown)?;
    let recorded = record(connection, backend, database, by, (name, &old)).await?;
    if let Err(error) = set_global(connection, backend, name, wanted).await {
        if recorded == Recorded::Now {
            let table = format!("{}.{TABLE}", quoted(database));
            connection.exec_drop(format!("DELETE FROM {table} WHERE name = ?"), (name,)).await?;
        }
        return Err(error);
    }
    let now = value(connection, name).await?.unwrap_or_default();
    Ok(Tuned { backend: backend.name.clone(), name: name.to_owned(), old, now })
}

/// When an old value was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    Now,
    /// By an earlier run of the same move: that value is the old one.
    Before,
}

async fn record(
    connection: &mut Conn,
    backend: &Backend,
    database: &str,
    by: &str,
    (name, old): (&str, &str),
) -> Result<Recorded, WorkError> {
    let databases: Vec<String> = connection
        .exec("SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = ?", (TABLE,))
        .await?;
    for holding in databases {
        let sql = format!("SELECT move_name FROM {}.{TABLE} WHERE name = ?", quoted(&holding));
        match connection.exec_first::<String, _, _>(sql, (name,)).await? {
            Some(owner) if owner == by && holding == database => return Ok(Recorded::Before),
            Some(owner) => {
                return Err(WorkError::Stopped(format!(
                    "{}: move `{owner}` has set `{name}` (recorded in `{holding}`); finish it, or take it out of the rules, first",
                    backend.name
                )));
            }
            None => {}
        }
    }
    let sql =
        format!("INSERT INTO {}.{TABLE} (name, move_name, old_value) VALUES (?, ?, ?)", quoted(database));
    connection.exec_drop(sql, (name, by, old)).await?;
    Ok(Recorded::Now)
}

async fn value(connection: &mut Conn, name: &str) -> Result<Option<String>, WorkError> {
    let shown: Option<(String, String)> =
        connection.exec_first("SHOW GLOBAL VARIABLES WHERE Variable_name = ?", (name,)).await?;
    Ok(shown.map(|(_, value)| value))
}

async fn set_global(
    connection: &mut Conn,
    backend: &Backend,
    name: &str,
    wanted: &str,
) -> Result<(), WorkError> {
    const ACCESS_DENIED: u16 = 1227;
    match connection.query_drop(format!("SET GLOBAL {name} = {wanted}")).await {
        Ok(()) => Ok(()),
        Err(mysql_async::Error::Server(error)) if error.code == ACCESS_DENIED => {
            Err(WorkError::Stopped(format!(
                "{} does not let us set `{name}`: grant SYSTEM_VARIABLES_ADMIN on MySQL or SUPER on MariaDB, or leave it out ({})",
                backend.name, error.message
            )))
        }
        Err(error) => {
            Err(WorkError::from(error).of(&format!("{}: setting `{name}` to {wanted}", backend.name)))
        }
    }
}
