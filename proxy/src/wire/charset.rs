//! Collation numbers of the handshake.

use mysql_common::collations::{Collation, CollationId};

use shardway_routing::lex::Flavour;

use crate::backend::vars::Vars;

/// Character sets with a backslash or a quote among the bytes of other characters, and those that no client may have:
/// statements in them cannot be taken apart byte by byte.
pub const UNSAFE: [&str; 9] =
    ["big5", "cp932", "gb18030", "gbk", "sjis", "ucs2", "utf16", "utf16le", "utf32"];

/// The unsafe character set among these variables.
#[must_use]
pub fn unsafe_in(vars: &Vars) -> Option<&'static str> {
    let named = |variable: &str, name: &str| {
        let value = vars.get(variable).unwrap_or_default().trim_matches('\'');
        value.split('_').next().is_some_and(|charset| charset.eq_ignore_ascii_case(name))
    };
    UNSAFE
        .into_iter()
        .find(|name| ["character_set_client", "collation_connection"].iter().any(|of| named(of, name)))
}

/// Character sets that no client may have: their letters hide ASCII.
const IMPOSSIBLE: [&str; 4] = ["ucs2", "utf16", "utf16le", "utf32"];

/// What a collation's number in a login asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// This character set with this collation.
    For(SessionCharset),
    /// What the server has for those who ask for nothing: it does not know the number.
    Default,
    /// A character set that the server refuses.
    Impossible(String),
}

/// The character set of a session, as `SET NAMES` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCharset {
    pub client: String,
    /// `NULL`: none.
    pub results: Option<String>,
    pub collation: String,
}

impl Default for SessionCharset {
    /// Of a server that nobody has been able to ask.
    fn default() -> SessionCharset {
        SessionCharset::named("utf8mb4", "utf8mb4_general_ci")
    }
}

impl SessionCharset {
    fn named(charset: &str, collation: &str) -> SessionCharset {
        SessionCharset {
            client: charset.to_owned(),
            results: Some(charset.to_owned()),
            collation: collation.to_owned(),
        }
    }

    /// As a session's variables.
    #[must_use]
    pub fn vars(&self) -> Vars {
        let results = self.results.as_ref().map_or("NULL".to_owned(), |results| format!("'{results}'"));
        Vars::of(&[
            ("character_set_client", &format!("'{}'", self.client)),
            ("character_set_results", &results),
            ("collation_connection", &format!("'{}'", self.collation)),
        ])
    }
}

/// What a server of this flavour gives to a client that logs in with this number.
#[must_use]
pub fn asked(id: u16, flavour: Flavour) -> Asked {
    let known = Collation::resolve(CollationId::from(id));
    let (charset, collation) = (modern(known.charset()), modern(known.collation()));
    if IMPOSSIBLE.contains(&charset.as_str()) {
        return Asked::Impossible(charset);
    }
    let is_foreign = flavour == Flavour::MariaDb
        && (charset == "gb18030" || collation.contains("_0900_") || collation == "utf8mb3_tolower_ci");
    if is_foreign || known.id() == CollationId::UNKNOWN_COLLATION_ID {
        return Asked::Default;
    }
    // MariaDB has had a name of its own for Croatian, under another number.
    let collation = match flavour {
        Flavour::MariaDb => collation.replace("_croatian_ci", "_croatian_mysql561_ci"),
        Flavour::MySql => collation,
    };
    Asked::For(SessionCharset::named(&charset, &collation))
}

/// Both servers have taken back what `utf8` alone means.
fn modern(name: &str) -> String {
    match name.strip_prefix("utf8_") {
        Some(rest) => format!("utf8mb3_{rest}"),
        None if name == "utf8" => "utf8mb3".to_owned(),
        None => name.to_owned(),
    }
}
