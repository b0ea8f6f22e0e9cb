//! Asks a server about itself and about what surrounds the tables of a move.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use shardway_routing::topology::{Backend, Side};

use super::facts::{Body, Flavour, Follows, ForeignKey, Prepared, ServerFacts, Trigger};
use super::grants::Grants;
use crate::image::quoted;
use crate::replication;
use crate::signals;

const SYSTEM: &str = "('information_schema', 'performance_schema', 'mysql', 'sys')";

pub(super) async fn ask(
    connection: &mut Conn,
    backend: &Backend,
    sides: Vec<Side>,
    databases: Vec<String>,
) -> Result<ServerFacts, mysql_async::Error> {
    let variables = connection.query("SHOW GLOBAL VARIABLES").await?;
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let version = variables.get("version").cloned().unwrap_or_default();
    let flavour = Flavour::of(&version);
    if flavour == Flavour::MySql {
        // Sizes of tables as they are, not as they were yesterday.
        connection.query_drop("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    let lines: Vec<String> = connection.query("SHOW GRANTS").await?;
    let user: Option<String> = connection.query_first("SELECT CURRENT_USER()").await?;
    Ok(ServerFacts {
        backend: backend.name.clone(),
        address: backend.primary.address(),
        sides,
        flavour,
        version,
        user: account(&user.unwrap_or_default()),
        grants: Grants::parse(&lines),
        prepared: prepared(connection).await?,
        filters: filters(connection, flavour).await?,
        follows: follows(connection, flavour).await?,
        disk_free_bytes: signals::disk(connection).await?.map(|disk| disk.available_bytes),
        streams: streams(connection, &databases).await?,
        foreign_keys: foreign_keys(connection).await?,
        triggers: triggers(connection).await?,
        events: events(connection).await?,
        views: views(connection).await?,
        databases,
        variables,
    })
}

/// `user@host` as statements name it.
fn account(user: &str) -> String {
    let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
    format!("'{name}'@'{host}'")
}

/// An answer, or what the server said against it; any other error is one.
async fn allowed(connection: &mut Conn, sql: &str) -> Result<Result<Vec<Row>, String>, mysql_async::Error> {
    match connection.query(sql).await {
        Ok(rows) => Ok(Ok(rows)),
        Err(mysql_async::Error::Server(error)) => Ok(Err(error.message)),
        Err(error) => Err(error),
    }
}

async fn prepared(connection: &mut Conn) -> Result<Prepared, mysql_async::Error> {
    Ok(match allowed(connection, "XA RECOVER").await? {
        Ok(rows) => Prepared::Count(rows.len()),
        Err(said) => Prepared::Unknown(said),
    })
}

/// Refused without the privilege to follow the binary log, which is a finding of its own.
async fn filters(
    connection: &mut Conn,
    flavour: Flavour,
) -> Result<Option<(String, String)>, mysql_async::Error> {
    let statements: &[&str] = match flavour {
        Flavour::MariaDb => &["SHOW MASTER STATUS"],
        Flavour::MySql => &["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"],
    };
    for sql in statements {
        if let Ok(rows) = allowed(connection, sql).await? {
            let text = |row: &Row, place: usize| {
                row.get::<Option<String>, usize>(place).flatten().unwrap_or_default()
            };
            return Ok(rows.first().map(|row| (text(row, 2), text(row, 3))));
        }
    }
    Ok(None)
}

/// The servers that it replicates from, whether or not it does so at present.
async fn follows(connection: &mut Conn, flavour: Flavour) -> Result<Follows, mysql_async::Error> {
    let statements: &[&str] = match flavour {
        Flavour::MariaDb => &["SHOW ALL SLAVES STATUS"],
        Flavour::MySql => &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"],
    };
    let mut refused = None;
    for sql in statements {
        match allowed(connection, sql).await? {
            Ok(rows) => return Ok(Follows::These(rows.iter().map(replication::followed_address).collect())),
            Err(said) => refused = refused.or(Some(format!("{sql} answers: {said}"))),
        }
    }
    Ok(Follows::Unknown(refused.unwrap_or_default()))
}

async fn streams(
    connection: &mut Conn,
    databases: &[String],
) -> Result<Vec<(String, String)>, mysql_async::Error> {
    const TABLE: &str = "shardway_progress";
    let mut found = Vec::new();
    for database in databases {
        let there: Option<u8> = connection
            .exec_first(
                "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
                (database, TABLE),
            )
            .await?;
        if there.is_some() {
            let sql =
                format!("SELECT DISTINCT CONVERT(stream USING utf8mb4) FROM {}.{TABLE}", quoted(database));
            let streams: Vec<String> = connection.query(sql).await?;
            found.extend(streams.into_iter().map(|stream| (database.clone(), stream)));
        }
    }
    Ok(found)
}

async fn foreign_keys(connection: &mut Conn) -> Result<Vec<ForeignKey>, mysql_async::Error> {
    let rows: Vec<Row> = connection
        .query(format!(
            "SELECT k.CONSTRAINT_NAME, k.TABLE_SCHEMA, k.TABLE_NAME, k.REFERENCED_TABLE_SCHEMA, \
             k.REFERENCED_TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME, r.UPDATE_RULE, r.DELETE_RULE \
             FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
             ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME \
             AND r.TABLE_NAME = k.TABLE_NAME \
             WHERE k.REFERENCED_TABLE_NAME IS NOT NULL AND k.TABLE_SCHEMA NOT IN {SYSTEM} \
             ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
        ))
        .await?;
    let mut keys: Vec<ForeignKey> = Vec::new();
    for row in rows {
        let text = |place: usize| row.get::<Option<String>, usize>(place).flatten().unwrap_or_default();
        let (name, child) = (text(0), (text(1), text(2)));
        let pair = (text(5), text(6));
        match keys.last_mut().filter(|key| key.name == name && key.child == child) {
            Some(key) => key.columns.push(pair),
            None => keys.push(ForeignKey {
                name,
                child,
                parent: (text(3), text(4)),
                columns: vec![pair],
                rules: [text(7), text(8)],
            }),
        }
    }
    Ok(keys)
}

async fn triggers(connection: &mut Conn) -> Result<Vec<Trigger>, mysql_async::Error> {
    let rows: Vec<(String, String, String, String, String)> = connection
        .query(format!(
            "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_SCHEMA, TRIGGER_NAME, ACTION_STATEMENT \
             FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA NOT IN {SYSTEM}"
        ))
        .await?;
    let trigger = |(on_database, on_table, database, name, text)| Trigger {
        on: (on_database, on_table),
        body: Body { database, name, text },
    };
    Ok(rows.into_iter().map(trigger).collect())
}

async fn events(connection: &mut Conn) -> Result<Vec<Body>, mysql_async::Error> {
    bodies(connection, "EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION", "EVENTS", "EVENT_SCHEMA").await
}

async fn views(connection: &mut Conn) -> Result<Vec<Body>, mysql_async::Error> {
    bodies(connection, "TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION", "VIEWS", "TABLE_SCHEMA").await
}

async fn bodies(
    connection: &mut Conn,
    columns: &str,
    table: &str,
    database: &str,
) -> Result<Vec<Body>, mysql_async::Error> {
    let sql = format!("SELECT {columns} FROM information_schema.{table} WHERE {database} NOT IN {SYSTEM}");
    let rows: Vec<(String, String, Option<String>)> = connection.query(sql).await?;
    let body = |(database, name, text): (String, String, Option<String>)| Body {
        database,
        name,
        text: text.unwrap_or_default(),
    };
    Ok(rows.into_iter().map(body).collect())
}
