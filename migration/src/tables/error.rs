//! What stops whoever carries or compares rows, and whether it may pass.

use mysql_common::proto::codec::error::PacketCodecError;
use shardway_routing::refusal::Refusal;
use shardway_routing::topology::Server;

use crate::room;

/// What stopped a worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("{}", told(.0))]
    Server(#[from] mysql_async::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{table}: the row {key} has a shard key that no shard takes")]
    Homeless { table: String, key: String },
    #[error("{0}")]
    Stopped(String),
    /// Another row of the other side has the value of a unique key.
    #[error(
        "two rows want the same value of a unique key of {table}: {message}; the source allows one of them only"
    )]
    Conflict { table: String, message: String },
    /// Which of them the other side shall have is for a person to say.
    #[error("{table}: several shards have a row under the primary key {key}; give all but one another key")]
    OnSeveral { table: String, key: String },
    /// The same may succeed at once.
    #[error("{0}")]
    Interrupted(String),
    /// A server has been away for longer than it is waited for.
    #[error("{0}")]
    Away(String),
    /// A server cannot store any more.
    #[error("{server} has no room left: {message}; make room on its disk")]
    Full { server: String, message: String },
}

impl WorkError {
    /// The same, with what was being done.
    #[must_use]
    pub fn of(self, work: &str) -> WorkError {
        let told = format!("{work}: {self}");
        if self.is_passing() { WorkError::Interrupted(told) } else { WorkError::Stopped(told) }
    }

    /// The same, with the server where it happened if that is what somebody has to know.
    #[must_use]
    pub fn at(self, server: &Server) -> WorkError {
        match self {
            WorkError::Server(mysql_async::Error::Server(error)) if room::is_lacking(&error) => {
                WorkError::Full { server: format!("{}:{}", server.host, server.port), message: error.message }
            }
            other => other,
        }
    }

    /// Is a server away, or was it a moment ago? Then it takes longer than a lock does.
    #[must_use]
    pub fn is_away(&self) -> bool {
        const LOCKS: &[u16] = &[1205, 1213, 3572];
        match self {
            WorkError::Server(mysql_async::Error::Server(error)) => {
                self.is_passing() && !LOCKS.contains(&error.code)
            }
            WorkError::Conflict { .. } | WorkError::OnSeveral { .. } => false,
            _ => self.is_passing(),
        }
    }

    /// Can the same succeed later without anybody's help? A lost connection, a lock that somebody held, a server that
    /// was shutting down or read-only for a moment; also a full disk, which others may empty as they have filled it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        const CODES: &[u16] =
            &[1040, 1053, 1077, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1836, 1927, 2006, 2013, 3572];
        match self {
            WorkError::Server(mysql_async::Error::Server(error)) => {
                CODES.contains(&error.code) || room::is_lacking(error)
            }
            WorkError::Server(error) if is_too_large(error) => false,
            WorkError::Server(mysql_async::Error::Io(_) | mysql_async::Error::Driver(_))
            | WorkError::Interrupted(_)
            | WorkError::Full { .. }
            | WorkError::Conflict { .. }
            | WorkError::OnSeveral { .. } => true,
            WorkError::Server(_)
            | WorkError::Refused(_)
            | WorkError::Homeless { .. }
            | WorkError::Stopped(_)
            | WorkError::Away(_) => false,
        }
    }
}

/// What a server or the connection to it said, and what to do about it where that is known.
fn told(error: &mysql_async::Error) -> String {
    if is_too_large(error) {
        return format!(
            "{error}; a row must fit into a statement of 1 GiB, the most that servers take: make it smaller, or leave it \
             out with copy.where"
        );
    }
    error.to_string()
}

/// Is it too large for our own side of a connection? No other connection takes it.
fn is_too_large(error: &mysql_async::Error) -> bool {
    match error {
        mysql_async::Error::Driver(mysql_async::DriverError::PacketTooLarge) => true,
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<PacketCodecError>())
            .is_some_and(|error| matches!(error, PacketCodecError::PacketTooLarge)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_connection_takes_is_not_tried_again() {
        let codec = mysql_async::Error::from(PacketCodecError::PacketTooLarge);
        for error in [codec, mysql_async::Error::Driver(mysql_async::DriverError::PacketTooLarge)] {
            let error = WorkError::from(error);
            assert!(!error.is_passing() && !error.is_away(), "{error}");
            assert!(error.to_string().contains("copy.where"), "{error}");
        }
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let lost = WorkError::from(mysql_async::Error::Io(lost.into()));
        assert!(lost.is_passing() && !lost.to_string().contains("copy.where"), "{lost}");
    }
}
