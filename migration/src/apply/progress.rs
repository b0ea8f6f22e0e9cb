//! How far a stream has been applied, kept beside the rows it brought. This makes SQL text, others run it.
//!
//! One row for every connection that writes. Lane 0 commits last, so its row is the position to go on from; the others
//! only show streams in the other direction whose transactions they are.

use crate::image::{hex, quoted};
use crate::position::Position;

/// The table, in every physical database that a stream is applied to. A transaction whose first change is a row of it
/// was written by a move.
pub const TABLE: &str = "shardway_progress";

/// Names a stream: which move, under which epoch, from which backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamName(pub String);

impl StreamName {
    #[must_use]
    pub fn new(move_name: &str, epoch: u64, backend: &str) -> StreamName {
        StreamName(format!("{move_name}/{epoch}/{backend}"))
    }
}

/// Makes the table.
#[must_use]
pub fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{TABLE} (stream VARBINARY(300) NOT NULL, lane INT NOT NULL, \
         file VARBINARY(200) NOT NULL, position BIGINT UNSIGNED NOT NULL, gtids LONGBLOB, \
         batch BIGINT UNSIGNED NOT NULL, PRIMARY KEY (stream, lane)) ENGINE = InnoDB",
        quoted(database)
    )
}

/// Saves a position. `batch` only makes sure that the row changes, so that it is in the log.
#[must_use]
pub fn save(database: &str, stream: &StreamName, lane: usize, position: &Position, batch: u64) -> String {
    let gtids =
        position.gtids.as_ref().map_or("NULL".to_owned(), |gtids| format!("x'{}'", hex(gtids.as_bytes())));
    format!(
        "REPLACE INTO {}.{TABLE} (stream, lane, file, position, gtids, batch) VALUES (x'{}', {lane}, x'{}', {}, {gtids}, {batch})",
        quoted(database),
        hex(stream.0.as_bytes()),
        hex(file(position).as_bytes()),
        position.offset
    )
}

/// Begins a transaction that no stream takes for an application's, though it brings no stream's changes. Like every change
/// of the table it must be one, to be in the log.
#[must_use]
pub fn mark_ours(database: &str, move_name: &str) -> String {
    let StreamName(name) = StreamName::new(move_name, 0, "");
    format!(
        "INSERT INTO {}.{TABLE} (stream, lane, file, position, gtids, batch) VALUES (x'{}', 0, '', 0, NULL, {}) \
         ON DUPLICATE KEY UPDATE batch = VALUES(batch)",
        quoted(database),
        hex(name.as_bytes()),
        rand::random::<u64>()
    )
}

/// A file, and whose it is.
fn file(position: &Position) -> String {
    match &position.server {
        Some(server) => format!("{}@{server}", position.file),
        None => position.file.clone(),
    }
}

/// A row as [`load`] asks for it.
#[derive(Debug)]
pub struct Saved(pub Vec<u8>, pub u64, pub Option<Vec<u8>>);

impl Saved {
    /// The position in it.
    #[must_use]
    pub fn position(self) -> Position {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let Saved(file, offset, gtids) = self;
        let file = text(file);
        let (file, server) = match file.rsplit_once('@') {
            Some((file, server)) => (file.to_owned(), Some(server.to_owned())),
            None => (file, None),
        };
        Position { file, offset, gtids: gtids.map(text), server }
    }
}

/// Reads the position: file and server, offset, numbers of transactions.
#[must_use]
pub fn load(database: &str, stream: &StreamName) -> String {
    format!(
        "SELECT file, position, gtids FROM {}.{TABLE} WHERE stream = x'{}' AND lane = 0",
        quoted(database),
        hex(stream.0.as_bytes())
    )
}

/// Removes what is known of every stream of a move.
#[must_use]
pub fn forget(database: &str, move_name: &str) -> String {
    let prefix = format!("{move_name}/");
    format!(
        "DELETE FROM {}.{TABLE} WHERE LEFT(stream, {}) = x'{}'",
        quoted(database),
        prefix.len(),
        hex(prefix.as_bytes())
    )
}
