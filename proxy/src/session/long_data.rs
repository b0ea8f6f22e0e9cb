//! `COM_STMT_SEND_LONG_DATA`: values that come ahead of an execution, in pieces and without an answer.
//!
//! What may come is bounded: for one parameter as servers bound it, and for all statements of a session together. Whoever
//! sends more, or for a parameter that there is not, is told at every execution until the statement is reset.

use std::collections::BTreeMap;

use shardway_routing::refusal;

use super::{Failure, MySqlError};

/// What a session may have sent ahead, in packets of the longest.
const PACKETS: usize = 4;

/// Collected for one statement.
#[derive(Debug, Default)]
pub(super) struct LongData {
    /// By parameter.
    values: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
    problem: Option<Problem>,
}

/// Why the statement cannot be executed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    NoParameter,
    TooLong,
    TooMuch,
}

/// What a session has sent ahead for its other statements, and what its packets may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub others: usize,
    pub max_packet: usize,
}

impl LongData {
    /// Bytes that are kept.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Another piece of a value, for a statement with that many parameters.
    pub fn add(&mut self, parameter: u16, piece: &[u8], parameters: u16, room: Room) {
        let length = self.values.get(&parameter).map_or(0, Vec::len) + piece.len();
        let problem = if parameter >= parameters {
            Problem::NoParameter
        } else if length > room.max_packet {
            Problem::TooLong
        } else if room.others + self.len() + piece.len() > PACKETS.saturating_mul(room.max_packet) {
            Problem::TooMuch
        } else if self.problem.is_some() {
            return;
        } else {
            self.values.entry(parameter).or_default().extend_from_slice(piece);
            self.bytes += piece.len();
            return;
        };
        (self.values, self.bytes) = (BTreeMap::new(), 0);
        self.problem.get_or_insert(problem);
    }

    /// Takes the values, for an execution.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn take(&mut self) -> Result<BTreeMap<u16, Vec<u8>>, Failure> {
        let own = |kind, message: &str| Err(Failure::Own(kind, message.to_owned()));
        match self.problem {
            None => {
                self.bytes = 0;
                Ok(std::mem::take(&mut self.values))
            }
            Some(Problem::NoParameter) => {
                own(MySqlError::WrongArguments, "Incorrect arguments to mysqld_stmt_send_long_data")
            }
            Some(Problem::TooLong) => own(
                MySqlError::TooLongData,
                "Parameter of prepared statement which is set through mysql_send_long_data() is longer than \
                 'max_allowed_packet' bytes",
            ),
            Some(Problem::TooMuch) => {
                Err(refusal::LONG_DATA.because(format!("{PACKETS} of the longest packets")).into())
            }
        }
    }
}
