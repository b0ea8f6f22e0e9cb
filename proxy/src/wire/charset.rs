//! Collation numbers of the handshake.

use mysql_common::collations::{Collation, CollationId};

/// `utf8mb3_tolower_ci` and the Croatian collations, which MariaDB lacks or names differently.
const ONE_SIDED: [u16; 3] = [76, 213, 245];

/// Character set and collation of a number that both MySQL and MariaDB know (MySQL's `_0900_` ones besides), unless no
/// client may have the character set: servers refuse one whose letters hide ASCII.
#[must_use]
pub fn names(id: u16) -> Option<(String, String)> {
    let collation = Collation::resolve(CollationId::from(id));
    let refused = ["ucs2", "utf16", "utf16le", "utf32"].contains(&collation.charset());
    let foreign = ONE_SIDED.contains(&id) || collation.charset() == "gb18030";
    if collation.id() == CollationId::UNKNOWN_COLLATION_ID || refused || foreign {
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
