//! Collation numbers of the handshake.

use mysql_common::collations::{Collation, CollationId};

/// Character set and collation of a number that both MySQL and MariaDB know.
#[must_use]
pub fn names(id: u16) -> Option<(String, String)> {
    let collation = Collation::resolve(CollationId::from(id));
    if collation.id() == CollationId::UNKNOWN_COLLATION_ID {
        return None;
    }
    // Both servers have taken back what `utf8` alone means.
    let modern = |name: &str| match name.strip_prefix("utf8_") {
        Some(rest) => format!("utf8mb3_{rest}"),
        None if name == "utf8" => "utf8mb3".to_owned(),
        None => name.to_owned(),
    };
    Some((modern(collation.charset()), modern(collation.collation())))
}
