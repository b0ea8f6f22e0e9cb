//! Every refusal the proxy can give, listed once.
//!
//! An entry has a stable id, the MySQL errno and SQL state that clients branch on, whether a retry can help, a
//! sentence safe for clients and a remedy for operators. `docs/errors.md` is written from this list by a test.

use std::borrow::Cow;

/// Can the same statement succeed later without a change?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
}

/// One kind of refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// `SHD1207`; never reused.
    pub id: &'static str,
    pub errno: u16,
    pub sql_state: &'static str,
    /// What is refused, in a few words.
    pub title: &'static str,
    pub remedy: &'static str,
    pub retry: Retry,
}

/// A refusal of one statement or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: &'static Kind,
    /// What exactly, in this case; never an address, a cause or somebody else's data.
    pub detail: Cow<'static, str>,
}

impl Kind {
    /// This refusal, about `detail`.
    pub fn because(&'static self, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { kind: self, detail: detail.into() }
    }
}

impl std::fmt::Display for Refusal {
    /// `SHD1207: what: detail (remedy)`, as clients see it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.id, self.kind.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " ({})", self.kind.remedy)
    }
}

impl std::error::Error for Refusal {}

/// Declares the kinds and the list of all of them.
macro_rules! registry {
    ($($name:ident = $id:literal $errno:literal $state:literal $retry:ident $title:literal, $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Kind = Kind {
                id: $id, errno: $errno, sql_state: $state, title: $title, remedy: $remedy, retry: Retry::$retry,
            };
        )*
        /// Every kind, by id.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

// 10xx connection and protocol, 11xx statements we cannot plan, 12xx statements we cannot route exactly,
// 13xx transactions, 14xx moves and double write, 15xx backends, 16xx rules.
registry! {
    UNKNOWN_COMMAND = "SHD1001" 1047 "08S01" Never "unknown command", "use a MySQL client of version 5.7 or later";
    MULTIPLE_STATEMENTS = "SHD1101" 1235 "42000" Never "several statements in one packet", "send them one by one";
    UNPARSED = "SHD1102" 1235 "42000" Never "the statement could not be understood", "rewrite it without the clause named, or run it on the backend itself";
    TOO_COMPLEX = "SHD1103" 1235 "42000" Never "the statement has too many terms", "split it";
}
