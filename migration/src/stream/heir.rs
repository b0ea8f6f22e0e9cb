//! Going on with the log of another server that has taken over an address, as after a failover.
//!
//! A file and an offset mean nothing there; what was read is told by the numbers of its transactions. The heir must have all
//! of them, or rows of the other side would have come from nowhere, and must still log every one that is missing. A
//! stream that cannot be sure of both ends.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use mysql_common::packets::Sid;
use shardway_routing::refusal;

use super::error::StreamError;
use super::gtid::Gtids;
use super::link::{Flavour, numbers_at};
use crate::position::Position;

/// Where to begin.
pub(super) struct Start {
    pub from: Position,
    /// The transactions that were read before, where they tell the server where to begin. MariaDB's session knows them.
    pub known: Option<Vec<Sid<'static>>>,
}

/// Which server it is.
pub(super) async fn identity(
    connection: &mut Conn,
    flavour: Flavour,
) -> Result<Option<String>, mysql_async::Error> {
    let ask = match flavour {
        Flavour::MariaDb => "SELECT CONCAT(@@GLOBAL.server_id)",
        Flavour::MySql => "SELECT CONVERT(@@GLOBAL.server_uuid USING utf8mb4)",
    };
    connection.query_first(ask).await
}

/// Whose log a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    Own,
    Anothers,
}

/// Do these transactions end at that place of its log? MariaDB's `server_id` is given by hand, and an heir may get the one
/// of the server that it replaces.
async fn log_of(connection: &mut Conn, flavour: Flavour, from: &Position) -> Result<Log, mysql_async::Error> {
    let (Flavour::MariaDb, Some(numbers)) = (flavour, &from.gtids) else { return Ok(Log::Own) };
    let is_own = match numbers_at(connection, &from.file, from.offset).await? {
        Some(there) => Gtids::read(Some(&there)) == Gtids::read(Some(numbers)),
        // Of a place that its log does not reach the server says so itself; others lie between two events.
        None => {
            let logs: Vec<(String, u64)> = connection.query("SHOW BINARY LOGS").await?;
            !logs.iter().any(|(file, size)| *file == from.file && from.offset <= *size)
        }
    };
    Ok(if is_own { Log::Own } else { Log::Anothers })
}

/// Where to begin on this server, after what was read up to a place of this or another one.
pub(super) async fn start(
    connection: &mut Conn,
    flavour: Flavour,
    from: &Position,
) -> Result<Start, StreamError> {
    let reported = |error: mysql_async::Error| StreamError::reported(&error, from);
    let server = identity(connection, flavour).await.map_err(reported)?;
    let is_named_so = from.server.is_none() || from.server == server;
    let is_place = is_named_so && from.offset > 0;
    if is_place && log_of(connection, flavour, from).await.map_err(reported)? == Log::Own {
        return Ok(Start { from: Position { server, ..from.clone() }, known: None });
    }
    let replaced = |why: &str| {
        let name = |of: &Option<String>| of.clone().unwrap_or_else(|| "unknown".to_owned());
        let found = format!("{} after {}, at {from}: {why}", name(&server), name(&from.server));
        StreamError::Replaced(refusal::SOURCE_REPLACED.because(found))
    };
    let Some(numbers) = &from.gtids else {
        return Err(replaced("the numbers of the transactions that were read are not known"));
    };
    let known = match flavour {
        Flavour::MariaDb => {
            let ask = "SELECT CONVERT(@@GLOBAL.gtid_binlog_pos USING utf8mb4)";
            let logged: Option<String> = connection.query_first(ask).await.map_err(reported)?;
            if !Gtids::read(Some(numbers)).is_within(&Gtids::read(logged.as_deref())) {
                return Err(replaced("it does not log all that was read before (log_slave_updates)"));
            }
            // Whether it still has what follows, it says itself when it is asked.
            let state =
                format!("SET @slave_connect_state = '{}', @slave_gtid_strict_mode = 1", quoted(numbers));
            connection.query_drop(state).await.map_err(reported)?;
            Vec::new()
        }
        Flavour::MySql => {
            let set = quoted(numbers);
            let ask = format!(
                "SELECT GTID_SUBSET('{set}', @@GLOBAL.gtid_executed), GTID_SUBSET(@@GLOBAL.gtid_purged, '{set}')"
            );
            match connection.query_first(ask).await.map_err(reported)? {
                Some((true, true)) => {}
                Some((true, false)) => return Err(replaced("it has purged some that were not read")),
                _ => return Err(replaced("it lacks some that were read before")),
            }
            let sets = numbers.split(',').map(str::trim).filter(|set| !set.is_empty());
            let known: Result<Vec<Sid<'static>>, _> = sets.map(str::parse).collect();
            known.map_err(|_| replaced("their numbers cannot be sent"))?
        }
    };
    let begins = Position { file: String::new(), offset: 0, server, ..from.clone() };
    Ok(Start { from: begins, known: Some(known) })
}

/// Numbers hold no quotes unless somebody has changed the text.
fn quoted(numbers: &str) -> String {
    numbers.replace(['\'', '\\'], "")
}
