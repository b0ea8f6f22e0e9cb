//! The connection that a log comes over.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, OptsBuilder, Row};
use mysql_common::binlog::consts::BinlogChecksumAlg;
use mysql_common::binlog::events::{Event, GtidEvent};
use shardway_routing::topology::Server;

use super::assemble::Assembler;
use super::change::{Watched, WatchedTable};
use super::error::StreamError;
use super::event::{Place, RawEvent, compressed};
use super::gtid::Gtid;
use super::heir;
use super::table::{Known, LetterCase, Targets};
use crate::position::Position;

/// The connection, as a replica has it.
pub(super) struct Link {
    events: BinlogStream,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    MariaDb,
    MySql,
}

impl Link {
    pub async fn open(
        server: &Server,
        from: &Position,
        watched: &Watched,
    ) -> Result<(Link, Targets, Position), StreamError> {
        let reported = |error: mysql_async::Error| StreamError::reported(&error, from);
        let mut connection = connect(server).await.map_err(reported)?;
        if compression(&mut connection).await.map_err(reported)? == Compression::On {
            return Err(compressed());
        }
        let targets = targets(&mut connection, watched, None).await?;
        prepare(&mut connection).await.map_err(reported)?;
        let flavour = flavour(&mut connection).await.map_err(reported)?;
        let start = heir::start(&mut connection, flavour, from).await?;
        // Far above the numbers that people give to servers; the server ends the older of two readers with one number.
        let number = rand::random_range(0xC000_0000..0xFFFF_0000_u32);
        let file = start.from.file.clone();
        let request = BinlogStreamRequest::new(number);
        let request = match (start.known, flavour) {
            (None, _) => request.with_filename(file.as_bytes()).with_pos(start.from.offset),
            (Some(_), Flavour::MariaDb) => request.with_pos(4),
            (Some(known), Flavour::MySql) => request.with_pos(4).with_gtid().with_gtid_set(known),
        };
        let events = connection.get_binlog_stream(request).await.map_err(reported)?;
        Ok((Link { events }, targets, start.from))
    }

    /// The next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event, mysql_async::Error> {
        match self.events.next().await {
            Some(event) => event,
            None => {
                Err(mysql_async::Error::Io(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()))
            }
        }
    }
}

/// Hands an event over, once it is known to be undamaged.
pub(super) fn feed(assembler: &mut Assembler, event: &Event) -> Result<(), StreamError> {
    let header = event.header();
    let place = if event.footer().get_checksum_enabled() { Place::Log } else { Place::Payload };
    if place == Place::Log {
        verify(event)?;
    }
    match header.event_type_raw() {
        33 | 42 => assembler.begins(Some(my_sql_gtid(event)?))?,
        34 => assembler.begins(None)?,
        _ => {}
    }
    assembler.take(RawEvent {
        kind: header.event_type_raw(),
        server: header.server_id(),
        end: header.log_pos(),
        flags: header.flags_raw(),
        place,
        data: event.data(),
    })
}

/// The library cuts checksums off and does not compare them.
fn verify(event: &Event) -> Result<(), StreamError> {
    let algorithm = event.footer().get_checksum_alg().ok().flatten();
    if algorithm != Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32) {
        return Ok(());
    }
    let expected = event.checksum().map(u32::from_le_bytes);
    if expected == Some(event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)) {
        return Ok(());
    }
    let header = event.header();
    Err(StreamError::Garbled(format!(
        "the event of the kind {} that ends at {} has a wrong checksum",
        header.event_type_raw(),
        header.log_pos()
    )))
}

fn my_sql_gtid(event: &Event) -> Result<Gtid, StreamError> {
    let gtid: GtidEvent = event
        .read_event()
        .map_err(|error| StreamError::Garbled(format!("a transaction has no readable number: {error}")))?;
    let digits = crate::image::hex(&gtid.sid()).to_lowercase();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    let mut source = parts.join("-");
    if let Some(tag) = gtid.tag() {
        source = format!("{source}:{tag}");
    }
    Ok(Gtid::MySql { source, number: gtid.gno() })
}

/// Where a server's log ends now.
///
/// # Errors
/// [`StreamError`], also when the server writes no log.
pub async fn current(connection: &mut Conn) -> Result<Position, StreamError> {
    let nowhere = Position { file: String::new(), offset: 0, gtids: None, server: None };
    let reported = |error: mysql_async::Error| StreamError::reported(&error, &nowhere);
    let no_log = || StreamError::NotSupported {
        what: "a server without a binary log".to_owned(),
        remedy: "start it with --log-bin and --binlog-format=ROW",
    };
    let flavour = flavour(connection).await.map_err(reported)?;
    let server = heir::identity(connection, flavour).await.map_err(reported)?;
    let at_once = match flavour {
        Flavour::MySql => at_once(connection).await,
        Flavour::MariaDb => standing_still(connection).await,
    };
    if let Some(position) = at_once.map_err(reported)? {
        return Ok(Position { server, ..position });
    }
    let status = match flavour {
        Flavour::MariaDb => "SHOW MASTER STATUS",
        Flavour::MySql => "SHOW BINARY LOG STATUS",
    };
    let row: Option<Row> = connection.query_first(status).await.map_err(reported)?;
    let (file, offset) = row.and_then(place).ok_or_else(no_log)?;
    let gtids = match flavour {
        // Of this very place, while the server goes on.
        Flavour::MariaDb => numbers_at(connection, &file, offset).await.map_err(reported)?,
        // Read apart from the place, it may be that of another one.
        Flavour::MySql => None,
    };
    Ok(Position { file, offset, gtids, server })
}

/// The file and the offset in the first row of a status.
fn place(row: Row) -> Option<(String, u64)> {
    row.get(0).zip(row.get(1))
}

/// The end of MariaDB's log and the transactions before it, where nothing is written to the log between two looks at its
/// end. `None`: something always is, or there is no log.
///
/// The server tells of any place ([`numbers_at`]), but reads the whole file up to there for it: 0.2 s for 460 MB, while
/// statements may be held.
async fn standing_still(connection: &mut Conn) -> Result<Option<Position>, mysql_async::Error> {
    const LOOKS: usize = 8;
    // Behind the commits of a busy server a look waits for its disk.
    const WITHIN: Duration = Duration::from_millis(50);
    let began = Instant::now();
    let ask =
        "SHOW MASTER STATUS; SELECT CONVERT(@@GLOBAL.gtid_binlog_pos USING utf8mb4); SHOW MASTER STATUS";
    for _ in 0..LOOKS {
        let mut answers = connection.query_iter(ask).await?;
        let before: Vec<Row> = answers.collect().await?;
        let numbers: Vec<Option<String>> = answers.collect().await?;
        let after: Vec<Row> = answers.collect().await?;
        answers.drop_result().await?;
        let [before, after] = [before, after].map(|rows| rows.into_iter().next().and_then(place));
        let Some((file, offset)) = after else { return Ok(None) };
        if before.as_ref() == Some(&(file.clone(), offset)) {
            let gtids = numbers.into_iter().next().flatten();
            return Ok(Some(Position { file, offset, gtids, server: None }));
        }
        if began.elapsed() > WITHIN {
            break;
        }
    }
    Ok(None)
}

/// The transactions before a place of MariaDB's log. `None`: there is no such file, or the place is between two events.
pub(crate) async fn numbers_at(
    connection: &mut Conn,
    file: &str,
    offset: u64,
) -> Result<Option<String>, mysql_async::Error> {
    let file = crate::image::hex(file.as_bytes());
    let ask = format!("SELECT CONVERT(BINLOG_GTID_POS(x'{file}', {offset}) USING utf8mb4)");
    Ok(connection.query_first::<Option<String>, _>(ask).await?.flatten())
}

/// The end of MySQL's log and the transactions before it, of one moment. `None`: the account may not ask, or there is no
/// log.
async fn at_once(connection: &mut Conn) -> Result<Option<Position>, mysql_async::Error> {
    const DENIED: [u16; 3] = [1044, 1142, 1227];
    #[derive(serde::Deserialize)]
    struct Local {
        gtid_executed: String,
        binary_log_file: String,
        binary_log_position: u64,
    }
    let ask = "SELECT CONVERT(LOCAL USING utf8mb4), CONVERT(@@GLOBAL.gtid_mode USING utf8mb4) \
               FROM performance_schema.log_status";
    let row: Option<(String, String)> = match connection.query_first(ask).await {
        Err(mysql_async::Error::Server(error)) if DENIED.contains(&error.code) => return Ok(None),
        row => row?,
    };
    let read = |(local, mode): (String, String)| {
        let local: Local = serde_json::from_str(&local).ok()?;
        let set: String = local.gtid_executed.split_whitespace().collect();
        let gtids = (mode == "ON").then_some(set);
        let (file, offset) = (local.binary_log_file, local.binary_log_position);
        (!file.is_empty()).then_some(Position { file, offset, gtids, server: None })
    };
    Ok(row.and_then(read))
}

async fn connect(server: &Server) -> Result<Conn, mysql_async::Error> {
    let options = OptsBuilder::default()
        .ip_or_hostname(server.host.clone())
        .tcp_port(server.port)
        .user(Some(server.user.clone()))
        .pass(Some(server.password.clone()))
        .prefer_socket(false)
        .tcp_keepalive(Some(crate::connection::KEEPALIVE))
        .ssl_opts(crate::connection::tls(server))
        // An event may be as large as servers allow.
        .max_allowed_packet(Some(1 << 30))
        .wait_timeout(Some(28_800));
    match tokio::time::timeout(Duration::from_secs(5), Conn::new(options)).await {
        Ok(connected) => connected,
        Err(_) => Err(mysql_async::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
    }
}

async fn flavour(connection: &mut Conn) -> Result<Flavour, mysql_async::Error> {
    let version: Option<String> = connection.query_first("SELECT CONVERT(VERSION() USING utf8mb4)").await?;
    let is_maria_db = version.is_some_and(|version| version.contains("MariaDB"));
    Ok(if is_maria_db { Flavour::MariaDb } else { Flavour::MySql })
}

/// Whether a log's events are compressed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    On,
    Off,
}

/// MariaDB compresses events one by one, in a way of its own.
async fn compression(connection: &mut Conn) -> Result<Compression, mysql_async::Error> {
    if flavour(connection).await? == Flavour::MySql {
        return Ok(Compression::Off);
    }
    let is_on: Option<bool> = connection.query_first("SELECT @@GLOBAL.log_bin_compress").await?;
    Ok(if is_on == Some(true) { Compression::On } else { Compression::Off })
}

/// What a replica tells its source. Each kind of server has its own names for it and ignores the other's.
async fn prepare(connection: &mut Conn) -> Result<(), mysql_async::Error> {
    connection.query_drop("SET @mariadb_slave_capability = 4").await?;
    connection
        .query_drop("SET @master_heartbeat_period = 1000000000, @source_heartbeat_period = 1000000000")
        .await?;
    connection.query_drop("SET @source_binlog_checksum = 'ALL'").await
}

/// What is wanted of a log. `columns_of`: the one database that has all the tables' columns, in place of their own.
pub(super) async fn targets(
    connection: &mut Conn,
    watched: &Watched,
    columns_of: Option<&str>,
) -> Result<Targets, StreamError> {
    let nowhere = Position { file: String::new(), offset: 0, gtids: None, server: None };
    let reported = |error: mysql_async::Error| StreamError::reported(&error, &nowhere);
    let ask = "SELECT @@GLOBAL.lower_case_table_names";
    let folded: Option<u8> = connection.query_first(ask).await.map_err(reported)?;
    let letter_case = if folded == Some(0) { LetterCase::Matters } else { LetterCase::DoesNot };
    let mut known = Vec::with_capacity(watched.tables.len());
    for table in &watched.tables {
        let database = columns_of.unwrap_or(&table.database);
        known.push(columns(connection, database, table).await.map_err(reported)?);
    }
    Ok(Targets::new(watched, known, letter_case))
}

/// All columns of a table, for logs that do not name them.
async fn columns(
    connection: &mut Conn,
    database: &str,
    table: &WatchedTable,
) -> Result<Vec<Known>, mysql_async::Error> {
    let names: Vec<String> = connection
        .exec(
            "SELECT CONVERT(COLUMN_NAME USING utf8mb4) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            (database, &table.table),
        )
        .await?;
    let place = |name: &String| table.shape.columns().iter().position(|(column, _)| column == name);
    Ok(names.into_iter().map(|name| Known { place: place(&name), name }).collect())
}
