//! Removing what a finished move leaves behind: the tables of the side that has lost its rows, and the tables that the
//! move kept for itself.
//!
//! - A table is put aside under another name first; nobody finds it by accident any more, and giving it its name back is
//!   one statement. It is dropped no sooner than a grace time later, or when a person says so.
//! - Every stage is saved before it begins, and begins by looking at what is there, so it may run twice.
//! - A table whose number of rows is not what it was is left alone: somebody still writes to it. Rows that changed without
//!   a change of their number are not noticed.
//! - A table that was split in place stays; the rows that have left it are deleted, after the same grace time.
//! - Rows of a large table are deleted by primary key, some at a time, before it is dropped: dropping it whole would stall
//!   its server. A table with triggers is dropped whole: they must not fire.

mod left;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};

use crate::apply::progress;
use crate::copy::{ledger, witness};
use crate::dirty;
use crate::image::quoted;
use crate::mark;
use crate::place::run;
use crate::prepare::tune;
use crate::record;
use crate::schema;
use crate::tables::WorkError;

pub use left::RowsThatLeft;

/// What a move kept for itself while it ran: of no use once it is finished.
pub const WORKING: [&str; 5] = [mark::TABLE, progress::TABLE, ledger::TABLE, witness::TABLE, dirty::TABLE];
/// What a move tells people about itself: kept as long as its tables.
pub const EVIDENCE: [&str; 3] = [record::MISMATCHES, record::REPAIRS, tune::TABLE];
/// Identifiers have no more characters.
const NAME_MAX: usize = 64;
/// Of tables that are put aside.
pub(crate) const PREFIX: &str = "_shardway_old_";

/// A table that has lost its rows to the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    pub holder: Holder,
    /// The logical `database.table`.
    pub logical: String,
    pub table: String,
    /// The rows that have left a table split in place, as a condition. `None`: the table as a whole is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// When the way back was closed; not known when its server was away then, or while double write still wrote.
    pub rows: Option<u64>,
    pub stage: Stage,
}

/// A physical database on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The backend's name in the rules.
    pub backend: String,
    /// `host:port`: a name of the rules may come to mean another server.
    pub address: String,
    pub database: String,
}

/// How far it is. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Stage {
    /// There, under its own name.
    Left,
    /// About to be put aside.
    Renaming { to: String },
    /// Aside, with so many rows.
    Aside { name: String, since: u64, rows: u64, keep_until: u64 },
    /// About to be gone, and whether the grace time was waited for.
    Dropping { name: String, grace: Grace },
    /// Gone.
    Dropped { at: u64, grace: Grace },
}

/// Whether the grace time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grace {
    Kept,
    /// A person said `--now`.
    Skipped,
}

/// What happens next to a leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    PutAside,
    Drop,
    /// Until then it stays aside.
    Wait(u64),
    Nothing,
}

/// What a cleanup has done, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupReport {
    /// Of each table, in order.
    pub lines: Vec<CleanupLine>,
    /// When the last table that is aside may be dropped; seconds since 1970.
    pub keep_until: Option<u64>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupLine {
    pub backend: String,
    /// `database.table`
    pub table: String,
    pub what: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) {}", self.backend, self.address, self.database)
    }
}

impl Leftover {
    /// What a cleanup does now.
    #[must_use]
    pub fn next(&self, now: u64, grace: Grace) -> Next {
        match &self.stage {
            Stage::Left | Stage::Renaming { .. } => Next::PutAside,
            Stage::Aside { keep_until, .. } if now < *keep_until && grace == Grace::Kept => {
                Next::Wait(*keep_until)
            }
            Stage::Aside { .. } | Stage::Dropping { .. } => Next::Drop,
            Stage::Dropped { .. } => Next::Nothing,
        }
    }

    /// Was a stage begun that has not ended?
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Renaming { .. } | Stage::Dropping { .. })
    }

    /// Is it gone?
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Dropped { .. })
    }

    /// The name under which it is there now, or under which it shall be.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.stage {
            Stage::Left | Stage::Renaming { .. } | Stage::Dropped { .. } => &self.table,
            Stage::Aside { name, .. } | Stage::Dropping { name, .. } => name,
        }
    }
}

/// `_shardway_old_users_20261126`, shortened where it would be too long. `number` tells apart what would be the same.
#[must_use]
pub fn old_name(table: &str, date: &str, number: usize) -> String {
    let end = if number == 0 { format!("_{date}") } else { format!("_{date}_{number}") };
    let room = NAME_MAX - PREFIX.len() - end.len();
    let kept: String = table.chars().take(room).collect();
    format!("{PREFIX}{kept}{end}")
}

/// How many rows a table has, or how many under a condition; `None`: there is none of that name.
///
/// # Errors
/// Whatever the server reports.
pub async fn count(
    connection: &mut Conn,
    database: &str,
    table: &str,
    only: Option<&str>,
) -> Result<Option<u64>, WorkError> {
    const NO_SUCH_DATABASE: u16 = 1049;
    const NO_SUCH_TABLE: u16 = 1146;
    let sql = format!("SELECT COUNT(*) FROM {}.{}{}", quoted(database), quoted(table), condition(only));
    match connection.query_first(sql).await {
        Err(mysql_async::Error::Server(error)) if matches!(error.code, NO_SUCH_DATABASE | NO_SUCH_TABLE) => {
            Ok(None)
        }
        counted => Ok(counted?),
    }
}

/// Looks for a table.
///
/// # Errors
/// Whatever the server reports.
pub async fn there(connection: &mut Conn, database: &str, table: &str) -> Result<There, WorkError> {
    let found: Option<u8> = connection
        .exec_first(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (database, table),
        )
        .await?;
    Ok(if found.is_some() { There::Yes } else { There::No })
}

/// Whether there is a table of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    Yes,
    No,
}

/// Gives a table another name, unless it has it already.
///
/// # Errors
/// Whatever the server reports; a transaction that keeps the table is waited for ten seconds.
pub async fn rename(connection: &mut Conn, of: &Leftover, to: &str) -> Result<(), WorkError> {
    let Holder { backend, database, .. } = &of.holder;
    if there(connection, database, to).await? == There::Yes {
        return Ok(());
    }
    let database = quoted(database);
    let sql = format!("RENAME TABLE {database}.{} TO {database}.{}", quoted(&of.table), quoted(to));
    run(connection, backend, &sql).await
}

fn condition(only: Option<&str>) -> String {
    only.map(|only| format!(" WHERE {only}")).unwrap_or_default()
}

/// Deletes at most so many rows from the beginning of a table. Returns how many there were.
///
/// # Errors
/// Whatever the server reports.
pub async fn delete_some(
    connection: &mut Conn,
    holder: &Holder,
    table: &str,
    rows: u32,
) -> Result<u64, WorkError> {
    let primary =
        schema::read(connection, &holder.database, table).await?.map(|of| of.primary).unwrap_or_default();
    let columns: Vec<String> = primary.iter().map(|column| quoted(column)).collect();
    let order = if columns.is_empty() { String::new() } else { format!(" ORDER BY {}", columns.join(", ")) };
    let table = format!("{}.{}", quoted(&holder.database), quoted(table));
    run(connection, &holder.backend, &format!("DELETE FROM {table}{order} LIMIT {rows}")).await?;
    Ok(connection.affected_rows())
}

/// Would deleting rows make something else happen?
///
/// # Errors
/// Whatever the server reports.
pub async fn triggers(connection: &mut Conn, database: &str, table: &str) -> Result<Triggers, WorkError> {
    let found: Option<u64> = connection
        .exec_first(
            "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ?",
            (database, table),
        )
        .await?;
    Ok(if found == Some(0) { Triggers::None } else { Triggers::Some })
}

/// Whether a table has triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggers {
    None,
    Some,
}

/// Drops a table, if it is there.
///
/// # Errors
/// Whatever the server reports.
pub async fn drop_table(connection: &mut Conn, holder: &Holder, table: &str) -> Result<(), WorkError> {
    let sql = format!("DROP TABLE IF EXISTS {}.{}", quoted(&holder.database), quoted(table));
    run(connection, &holder.backend, &sql).await
}

/// Runs a statement where the holder is.
///
/// # Errors
/// Whatever the server reports.
pub async fn run_on(connection: &mut Conn, holder: &Holder, sql: &str) -> Result<(), WorkError> {
    run(connection, &holder.backend, sql).await
}

/// Is a table that a move keeps for itself of no more use? The old parameters of a server are kept until they are back.
///
/// # Errors
/// Whatever the server reports.
pub async fn spent(connection: &mut Conn, database: &str, table: &str) -> Result<Spent, WorkError> {
    match count(connection, database, table, None).await? {
        None => Ok(Spent::Gone),
        Some(rows) if table == tune::TABLE && rows > 0 => Ok(Spent::Needed),
        Some(_) => Ok(Spent::Yes),
    }
}

/// Whether a table may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    Yes,
    Needed,
    /// It is not there.
    Gone,
}

/// The time from which a table that is put aside now may be dropped.
#[must_use]
pub fn keep_until(now: u64, grace: Duration) -> u64 {
    now.saturating_add(grace.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(stage: Stage) -> Leftover {
        let holder =
            Holder { backend: "legacy".into(), address: "127.0.0.1:1".into(), database: "shop".into() };
        let (logical, table) = ("shop.users".into(), "users".into());
        Leftover { holder, logical, table, only: None, rows: Some(3), stage }
    }

    #[test]
    fn a_table_is_dropped_after_its_grace_or_when_a_person_says_so() {
        let aside = Stage::Aside { name: "x".into(), since: 10, rows: 3, keep_until: 100 };
        for (stage, now, grace, next) in [
            (Stage::Left, 0, Grace::Kept, Next::PutAside),
            (Stage::Left, 0, Grace::Skipped, Next::PutAside),
            (Stage::Renaming { to: "x".into() }, 0, Grace::Kept, Next::PutAside),
            (aside.clone(), 99, Grace::Kept, Next::Wait(100)),
            (aside.clone(), 99, Grace::Skipped, Next::Drop),
            (aside, 100, Grace::Kept, Next::Drop),
            (Stage::Dropping { name: "x".into(), grace: Grace::Kept }, 0, Grace::Kept, Next::Drop),
            (Stage::Dropped { at: 1, grace: Grace::Kept }, 200, Grace::Skipped, Next::Nothing),
        ] {
            assert_eq!(leftover(stage.clone()).next(now, grace), next, "{stage:?}");
        }
    }

    #[test]
    fn a_name_is_never_longer_than_servers_allow() {
        assert_eq!(old_name("users", "20261126", 0), "_shardway_old_users_20261126");
        assert_eq!(old_name("users", "20261126", 2), "_shardway_old_users_20261126_2");
        for number in [0, 1, 12] {
            let name = old_name(&"ä".repeat(64), "20261126", number);
            assert_eq!(name.chars().count(), NAME_MAX);
            assert!(name.ends_with('6') || name.ends_with(&number.to_string()));
        }
    }
}
