//! Whether a server cannot store any more. Pure.
//!
//! A full disk passes when somebody makes room, and somebody must, so it is waited for like a server that is away and told
//! with what to do.

use mysql_async::ServerError;

/// About a file of the server, its disk, a table's file; in the words of its file layer and of its own.
const CODES: [u16; 5] = [3, 20, 1021, 1026, 1114];
/// What a storage engine was told by the system, with the number that it was told.
const BY_NUMBER: u16 = 1030;
const NO_SPACE: &str = "error 28";

/// Does the server say that it has no room left?
pub(crate) fn is_lacking(error: &ServerError) -> bool {
    CODES.contains(&error.code) || (error.code == BY_NUMBER && error.message.contains(NO_SPACE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::WorkError;

    fn says(code: u16, message: &str) -> ServerError {
        ServerError { code, message: message.to_owned(), state: "HY000".to_owned() }
    }

    #[test]
    fn a_full_disk_is_told_by_many_names() {
        let full = says(1114, "The table 'users_2' is full");
        assert!(is_lacking(&full));
        assert!(is_lacking(&says(
            1030,
            "Got error 28 \"No space left on device\" from storage engine InnoDB"
        )));
        assert!(!is_lacking(&says(1030, "Got error 168 \"Unknown\" from storage engine InnoDB")));
        assert!(!is_lacking(&says(1062, "Duplicate entry '28' for key 'PRIMARY'")));
        let error = WorkError::from(mysql_async::Error::Server(full));
        assert!(error.is_passing() && error.is_away(), "{error}");
    }
}
