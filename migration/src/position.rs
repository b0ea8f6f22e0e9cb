//! Places in what is followed: in a server's binary log, or in its time where its rows' stamps are read instead.

use serde::{Deserialize, Serialize};

use crate::stream::gtid;

/// What stands for a file where there is no log.
const STAMPS: &str = "stamps";

/// A place between two transactions of one server's binary log, or a moment by its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub file: String,
    /// 0 on a server that has taken over from another: its log may hold what was read elsewhere behind any of its places, so
    /// only numbers tell what comes next.
    pub offset: u64,
    /// Everything up to here, where the server numbers its transactions: MySQL's executed set, or MariaDB's
    /// `gtid_binlog_pos`. Needed to go on from another server of the same replication group.
    pub gtids: Option<String>,
    /// Whose log it is: MySQL's `server_uuid`, MariaDB's `server_id`. On another server the file and the offset mean nothing.
    #[serde(default)]
    pub server: Option<String>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.gtids {
            Some(numbers) if self.offset == 0 => f.write_str(numbers),
            _ => write!(f, "{}:{}", self.file, self.offset),
        }
    }
}

impl Position {
    /// A moment by the server's clock, in µs since 1970.
    #[must_use]
    pub fn moment(us: u64) -> Position {
        Position { file: STAMPS.to_owned(), offset: us, gtids: None, server: None }
    }

    /// The moment of [`Position::moment`]; `None`: it is a place in a log.
    #[must_use]
    pub fn as_moment(&self) -> Option<u64> {
        (self.file == STAMPS).then_some(self.offset)
    }

    /// Does it lie before another place? Log files are numbered, with at least six digits; in the logs of two servers, the
    /// numbers of transactions tell, and where they do not, nothing does.
    #[must_use]
    pub fn is_before(&self, other: &Position) -> bool {
        match (&self.server, &other.server) {
            (Some(one), Some(two)) if one != two || self.offset == 0 || other.offset == 0 => {
                gtid::precede(self.gtids.as_deref(), other.gtids.as_deref())
            }
            _ => (self.file_number(), self.offset) < (other.file_number(), other.offset),
        }
    }

    /// Has the same been read at both?
    #[must_use]
    pub fn is_same_place(&self, other: &Position) -> bool {
        let same_log = self.server == other.server || self.server.is_none() || other.server.is_none();
        let is_place =
            self.offset > 0 && (self.file_number(), self.offset) == (other.file_number(), other.offset);
        (same_log && is_place) || (self.gtids.is_some() && self.gtids == other.gtids)
    }

    fn file_number(&self) -> u64 {
        let number = self.file.rsplit('.').next().and_then(|number| number.parse().ok());
        number.unwrap_or(0)
    }
}
