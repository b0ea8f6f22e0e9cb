//! Connections of the engine to the servers of both sides, and images read over them.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, SslOpts, Value};
use shardway_routing::topology::{Server, Tls};

use crate::image::write::{Warning, Write};
use crate::image::{Image, ImageShape, Reader, SESSION};
use crate::settings::Wire;
use crate::tables::WorkError;

/// A row that is locked although it is not there stays away.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Waits for no gaps between rows, and keeps nobody else from them.
pub const NO_GAPS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A connection on which nothing has come for so long is looked after: a host that has gone without a word is noticed.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection that reads and writes images.
///
/// # Errors
/// Whatever connecting reports; it takes five seconds at most.
pub async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    connect_with(server, &session()).await
}

/// The same, with the bytes on the network compressed where that is wanted. A server that does not do so is told of: what
/// was chosen because of a narrow line must not go over it plain.
///
/// # Errors
/// See [`connect`].
pub async fn connect_over(server: &Server, wire: Wire) -> Result<Conn, WorkError> {
    if wire == Wire::Plain {
        return Ok(connect(server).await?);
    }
    let options = options(server, &session()).compression(mysql_async::Compression::default());
    let mut connection = within_time(options).await?;
    let told: Option<(String, String)> =
        connection.query_first("SHOW SESSION STATUS LIKE 'Compression'").await?;
    if told.is_none_or(|(_, state)| state != "ON") {
        return Err(WorkError::Stopped(format!(
            "{}:{} does not compress; allow it there, or take copy.compress out of the rules",
            server.host, server.port
        )));
    }
    Ok(connection)
}

fn session() -> String {
    let assignments: Vec<String> =
        SESSION.iter().map(|(name, value)| format!("SESSION {name} = {value}")).collect();
    format!("SET {}", assignments.join(", "))
}

/// A connection whose session begins with that statement.
pub(crate) async fn connect_with(server: &Server, setup: &str) -> Result<Conn, mysql_async::Error> {
    within_time(options(server, setup)).await
}

fn options(server: &Server, setup: &str) -> OptsBuilder {
    plain(server).setup(vec![setup.to_owned(), ISOLATION.to_owned()])
}

/// Options that connect to this server, over TCP and without extra round trips.
#[must_use]
pub fn plain(server: &Server) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(server.host.clone())
        .tcp_port(server.port)
        .user(Some(server.user.clone()))
        .pass(Some(server.password.clone()))
        .db_name(server.database.clone())
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE))
        // The most that a server takes: what it may send or store, we carry.
        .max_allowed_packet(Some(1 << 30))
        .wait_timeout(Some(28_800))
        .ssl_opts(tls(server))
}

/// What a driver is told of TLS for connections to this server. The file of authorities is read with each of them.
#[must_use]
pub fn tls(server: &Server) -> Option<SslOpts> {
    let options = SslOpts::default();
    match &server.tls {
        Tls::Off => None,
        // The driver's own authorities stay, or it would not begin; nobody asks them.
        Tls::Required => Some(options.with_danger_accept_invalid_certs(true)),
        Tls::VerifyIdentity(ca) => {
            Some(options.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true))
        }
    }
}

/// A new connection, or an error within five seconds.
///
/// # Errors
/// Whatever connecting reports.
pub async fn within_time(options: OptsBuilder) -> Result<Conn, mysql_async::Error> {
    match tokio::time::timeout(Duration::from_secs(5), Conn::new(options)).await {
        Ok(connected) => connected,
        Err(_) => Err(mysql_async::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
    }
}

/// A connection for one of several writers: they do not wait for the gaps between each other's rows.
///
/// # Errors
/// See [`connect`].
pub async fn connect_writer(server: &Server, wire: Wire) -> Result<Conn, WorkError> {
    let mut connection = connect_over(server, wire).await?;
    connection.query_drop(NO_GAPS).await?;
    Ok(connection)
}

/// Runs a `SELECT` of images and returns its rows.
///
/// # Errors
/// Whatever the server reports.
pub async fn images(
    connection: &mut Conn,
    shape: &ImageShape,
    table: &str,
    rest: &str,
) -> Result<Vec<Image>, WorkError> {
    let images = images_within(connection, shape, table, rest, usize::MAX).await?;
    Ok(images.expect("no rows take as much as that"))
}

/// The same. `None`: they take more bytes than `most`, and the rest of them is still to come over the connection.
///
/// # Errors
/// Whatever the server reports.
pub(crate) async fn images_within(
    connection: &mut Conn,
    shape: &ImageShape,
    table: &str,
    rest: &str,
    most: usize,
) -> Result<Option<Vec<Image>>, WorkError> {
    let mut rows = connection.query_iter(shape.select(Reader::Engine, table, rest)).await?;
    let (mut images, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().await? {
        let image = shape
            .image(Reader::Engine, fields(row))
            .ok_or_else(|| WorkError::Stopped(format!("a row of {table} is not as its columns say")))?;
        bytes += ImageShape::weight(&image);
        if bytes > most {
            return Ok(None);
        }
        images.push(image);
    }
    Ok(Some(images))
}

/// Puts another connection in place of one over which rows would still come. The server stops sending them.
pub(crate) async fn leave_the_rest(
    server: &Server,
    connection: &mut Conn,
    wire: Wire,
) -> Result<(), WorkError> {
    let mut next = connect_over(server, wire).await?;
    // A statement that has ended meanwhile needs no end.
    let _ = next.query_drop(format!("KILL QUERY {}", connection.id())).await;
    *connection = next;
    Ok(())
}

/// Runs a statement that writes rows. One that is lenient must run in a transaction, which takes it back.
///
/// # Errors
/// Whatever the server reports; a value that it cut.
pub async fn write(connection: &mut Conn, write: &Write) -> Result<(), WorkError> {
    connection.query_drop(write.sql()).await?;
    let count = connection.get_warnings();
    if write.is_whole(count) {
        return Ok(());
    }
    let listed: Vec<(String, u16, String)> = connection.query("SHOW WARNINGS").await?;
    let listed: Vec<Warning> = listed.into_iter().map(|(_, code, message)| (code, message)).collect();
    let judged = write.judged(count, &listed);
    judged.map_err(|message| WorkError::Stopped(format!("a row does not go in as it is: {message}")))
}

/// The fields of a row of the text protocol.
#[must_use]
pub fn fields(row: mysql_async::Row) -> Vec<Option<Vec<u8>>> {
    let field = |value: Option<Value>| match value {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    row.unwrap_raw().into_iter().map(field).collect()
}
