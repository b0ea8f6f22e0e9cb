//! The harness of the end-to-end tests: real database servers and the real proxy, on loopback.
//!
//! `SHARDWAY_TEST_SERVER` chooses the servers: `mariadb` (default) or `mysql`, which runs in the chroot named by
//! `SHARDWAY_MYSQL_ROOT`. Everything started here ends with the test process, however that ends.

mod certificates;
mod chance;
mod cluster;
mod disk;
mod launch;
pub mod load;
mod operator;
mod pair;
mod proxy;
pub mod raw;
pub mod relay;
mod server;
mod watchman;

pub use certificates::Certificates;
pub use chance::Chance;
pub use cluster::{Cluster, Shop, tables};
pub use pair::{On, Pair};
pub use proxy::{Proxy, command, run_in, until};
pub use server::{Flavour, Server};
pub use watchman::Watchman;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

/// Runs a statement and returns its rows as text, `NULL` for NULL, fields parted by `|`.
///
/// # Errors
/// What the server reports.
pub async fn rows(connection: &mut Conn, sql: &str) -> Result<Vec<String>, mysql_async::Error> {
    let rows: Vec<Row> = connection.query(sql).await?;
    Ok(rows.into_iter().map(text).collect())
}

/// A row as text.
#[must_use]
pub fn text(row: Row) -> String {
    row.unwrap_raw()
        .into_iter()
        .map(|value| field(value.unwrap_or(Value::NULL)))
        .collect::<Vec<_>>()
        .join("|")
}

fn field(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}

/// The code and text of a server error.
///
/// # Panics
/// When it is another kind of error.
#[must_use]
pub fn server_error(error: &mysql_async::Error) -> (u16, String) {
    match error {
        mysql_async::Error::Server(error) => (error.code, error.message.clone()),
        other => panic!("not a server's error: {other}"),
    }
}
