//! What a `sql_mode` says of how statements are read.

use std::collections::BTreeSet;

use shardway_routing::key::Fractions;
use shardway_routing::lex::{Backslash, DoubleQuotes, Flavour, Quoting};

/// Flags that a server looks at while a statement runs. Whatever else there is may change what a text means.
const WHILE_IT_RUNS: [&str; 14] = [
    "ALLOW_INVALID_DATES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_AUTO_CREATE_USER",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    // Looked at when a statement is prepared, where it makes an error and never another answer.
    "ONLY_FULL_GROUP_BY",
    "PAD_CHAR_TO_FULL_LENGTH",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TIME_TRUNCATE_FRACTIONAL",
    "TRADITIONAL",
];

/// How a `sql_mode`, given as a literal, reads quotes.
pub(super) fn quoting(mode: &str) -> Quoting {
    let mode = mode.to_ascii_uppercase();
    let has = |flag: &str| mode.contains(flag);
    Quoting {
        double: if has("ANSI") { DoubleQuotes::Identifier } else { DoubleQuotes::String },
        backslash: if has("NO_BACKSLASH_ESCAPES") { Backslash::Literal } else { Backslash::Escapes },
    }
}

/// What servers of a flavour do under a `sql_mode`, given as a literal, with digits of a second that a column does not
/// keep.
pub(super) fn fractions(mode: &str, flavour: Flavour) -> Fractions {
    let mode = mode.to_ascii_uppercase();
    let rounds = match flavour {
        Flavour::MySql => !mode.contains("TIME_TRUNCATE_FRACTIONAL"),
        Flavour::MariaDb => mode.contains("TIME_ROUND_FRACTIONAL"),
    };
    if rounds { Fractions::Rounded } else { Fractions::Truncated }
}

/// Is a text the same statement under both modes, given as literals?
pub(super) fn read_alike(one: &str, other: &str) -> bool {
    let reading = |mode: &str| -> BTreeSet<String> {
        let flags = mode.trim_matches('\'').split(',').map(str::to_ascii_uppercase);
        flags.filter(|flag| !flag.is_empty() && !WHILE_IT_RUNS.contains(&flag.as_str())).collect()
    };
    one == other || reading(one) == reading(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_alike_where_they_differ_in_what_runs() {
        assert!(read_alike("''", "'STRICT_TRANS_TABLES,NO_ZERO_DATE'"));
        assert!(read_alike("'ANSI_QUOTES,STRICT_ALL_TABLES'", "'NO_AUTO_VALUE_ON_ZERO,ANSI_QUOTES'"));
        assert!(!read_alike("''", "'PIPES_AS_CONCAT'"));
        assert!(!read_alike("'ANSI_QUOTES'", "'ANSI_QUOTES,IGNORE_SPACE'"));
        assert!(!read_alike("''", "'A_MODE_OF_TOMORROW'"));
    }
}
