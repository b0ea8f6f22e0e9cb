//! What ends a stream, and what to do about it.

use shardway_routing::refusal::Refusal;

use crate::position::Position;

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The only one that passes by itself.
    #[error("the connection to the source's log is lost ({0}); open the stream again at the last position")]
    Lost(String),
    #[error(
        "the source cannot send its log from {position} on ({message}); what was logged there is lost: let the source \
         keep its log for longer, and begin the move anew; rows that were missed are found by its comparison, and \
         repaired if they are no more than repair.cap"
    )]
    Purged { position: Position, message: String },
    /// Somebody else answers, and cannot go on for whoever did before.
    #[error("{0}")]
    Replaced(Refusal),
    #[error(
        "the source refuses to send its log ({0}); grant the account REPLICATION SLAVE and REPLICATION CLIENT"
    )]
    Refused(String),
    #[error(
        "the definition of a followed table has changed ({statement}); changes before and after cannot be told apart: \
         begin the move anew"
    )]
    Definition { statement: String },
    #[error("{table} is logged otherwise than it is defined now ({difference}); begin the move anew")]
    Layout { table: String, difference: String },
    #[error(
        "a row of {table} was logged without some of its columns; set binlog_row_image = FULL and \
         binlog_row_value_options = '' on the source, let every client connect again, and begin the move anew"
    )]
    PartialImage { table: String },
    #[error(
        "a change was logged as a statement, not as rows ({statement}); set binlog_format = ROW on the source, let \
         every client connect again, and begin the move anew"
    )]
    Statement { statement: String },
    #[error(
        "the log holds an event of the unknown kind {kind}, which may carry changes; this source cannot be followed"
    )]
    Unknown { kind: u8 },
    #[error("the source reports that changes are missing in its log; begin the move anew")]
    Gap,
    #[error("the log is damaged or misunderstood: {0}; check the source's disk and begin the move anew")]
    Garbled(String),
    #[error("{what} cannot be followed; {remedy}")]
    NotSupported { what: String, remedy: &'static str },
    #[error(
        "the transaction {xid} was committed, but it had been prepared before the stream began, so its rows are \
         unknown; begin the move anew while XA RECOVER shows no transaction"
    )]
    PreparedEarlier { xid: String },
    #[error(
        "a transaction over tables with and without transactions was rolled back after its first rows had been \
         applied; keep followed tables and others apart, and begin the move anew"
    )]
    RolledBack,
}

/// What a stream that ended has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// It can be had once the cause is mended: the same stream goes on where it stopped.
    There,
    /// It cannot be had as rows any more: both sides must be brought together anew.
    Gone,
}

impl StreamError {
    /// What is to be had of what came after.
    #[must_use]
    pub fn missed(&self) -> Missed {
        match self {
            StreamError::Lost(_)
            | StreamError::Replaced(_)
            | StreamError::Refused(_)
            | StreamError::NotSupported { .. } => Missed::There,
            StreamError::Purged { .. }
            | StreamError::Definition { .. }
            | StreamError::Layout { .. }
            | StreamError::PartialImage { .. }
            | StreamError::Statement { .. }
            | StreamError::Unknown { .. }
            | StreamError::Gap
            | StreamError::Garbled(_)
            | StreamError::PreparedEarlier { .. }
            | StreamError::RolledBack => Missed::Gone,
        }
    }

    pub(super) fn garbled(what: &str) -> StreamError {
        StreamError::Garbled(what.to_owned())
    }

    /// What a server or the way to it reported while the stream stood at a position.
    pub(super) fn reported(error: &mysql_async::Error, position: &Position) -> StreamError {
        /// Connections that end or do not come about, for reasons that pass.
        const PASSING: &[u16] =
            &[1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1184, 1205, 1213, 1317, 1927, 2006, 2013, 3169];
        match error {
            mysql_async::Error::Server(error) if error.code == 1236 => {
                // Another connection took our number: a new one gets a new number.
                if error.message.contains("server_uuid") || error.message.contains("server_id") {
                    return StreamError::Lost(error.message.clone());
                }
                StreamError::Purged { position: position.clone(), message: error.message.clone() }
            }
            mysql_async::Error::Server(error) if !PASSING.contains(&error.code) => {
                StreamError::Refused(error.to_string())
            }
            other => StreamError::Lost(other.to_string()),
        }
    }
}
