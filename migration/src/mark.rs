//! Marks: rows written into the source only to be seen again in its stream.
//!
//! When the stream shows a mark, it has shown everything that was committed before the mark was written, and nothing
//! that began after. So a mark is a position that needs no right to read the log's coordinates, means the same on every
//! kind of server, and never lies between a transaction's entry in the log and its becoming visible: a statement that
//! starts after the mark's commit has returned sees everything before the mark. (Servers commit in the order of their
//! log unless `binlog_order_commits` is off, which the preflight refuses. The scheme is that of DBLog's watermarks,
//! Andreakis & Papapanagiotou, 2020.)
//!
//! Pure: this makes SQL text, others run it.

use crate::image::quoted;

/// The marks' table, in every physical database that a stream is read from.
pub const TABLE: &str = "shardway_mark";

/// Names one mark; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Who writes marks: each has a row of its own, so that none waits for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot(pub String);

/// Makes the marks' table.
#[must_use]
pub fn create(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{TABLE} (slot VARBINARY(200) NOT NULL PRIMARY KEY, \
         token BIGINT UNSIGNED NOT NULL, at_us BIGINT NOT NULL) ENGINE = InnoDB",
        quoted(database)
    )
}

/// Writes a mark with the server's own clock.
#[must_use]
pub fn write(database: &str, slot: &Slot, token: Token) -> String {
    format!(
        "REPLACE INTO {}.{TABLE} (slot, token, at_us) VALUES (x'{}', {}, \
         CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED))",
        quoted(database),
        crate::image::hex(slot.0.as_bytes()),
        token.0
    )
}
