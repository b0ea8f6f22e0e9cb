//! Which privileges a user has, as `SHOW GRANTS` tells. What cannot be understood grants nothing.

/// The lines of `SHOW GRANTS` that grant or revoke something on databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    gives: Gives,
    privileges: Vec<String>,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Granted,
    /// A partial revoke: MySQL's exception from a global grant.
    Revoked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Everything,
    /// A pattern, in which `_` and `%` stand for others.
    Database(String),
}

impl Grants {
    /// Reads the lines.
    #[must_use]
    pub fn parse(lines: &[String]) -> Grants {
        Grants(lines.iter().filter_map(|line| grant(line)).collect())
    }

    /// On every database?
    #[must_use]
    pub fn everywhere(&self, privilege: &str) -> bool {
        self.0.iter().any(|grant| {
            grant.gives == Gives::Granted && grant.scope == Scope::Everything && grant.has(privilege)
        })
    }

    /// On every table of that database?
    #[must_use]
    pub fn on(&self, database: &str, privilege: &str) -> bool {
        let there = |grant: &&Grant| match &grant.scope {
            Scope::Everything => false,
            Scope::Database(pattern) => matches(pattern.as_bytes(), database.as_bytes()),
        };
        let of = |gives| {
            self.0.iter().filter(there).any(|grant: &Grant| grant.gives == gives && grant.has(privilege))
        };
        of(Gives::Granted) || (self.everywhere(privilege) && !of(Gives::Revoked))
    }
}

impl Grant {
    fn has(&self, privilege: &str) -> bool {
        self.privileges.iter().any(|has| has == privilege || has == "ALL PRIVILEGES" || has == "ALL")
    }
}

fn grant(line: &str) -> Option<Grant> {
    let (gives, rest) = if let Some(rest) = line.strip_prefix("GRANT ") {
        (Gives::Granted, rest)
    } else {
        (Gives::Revoked, line.strip_prefix("REVOKE ")?)
    };
    let (privileges, rest) = rest.split_once(" ON ")?;
    let privileges = privileges.split(',').map(|one| one.trim().to_ascii_uppercase()).collect();
    let scope = if rest.starts_with("*.*") {
        Scope::Everything
    } else {
        let (database, rest) = rest.strip_prefix('`')?.split_once('`')?;
        rest.starts_with(".* ").then(|| Scope::Database(database.to_owned()))?
    };
    Some(Grant { gives, privileges, scope })
}

/// `LIKE`, with `\` before a character that stands for itself.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'%', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([b'_', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([b'\\', wanted, rest @ ..] | [wanted, rest @ ..], [is, text @ ..]) => {
            wanted.eq_ignore_ascii_case(is) && matches(rest, text)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Grants;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_privilege_counts_where_it_was_granted() {
        let of = grants(&[
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*B6'",
            "GRANT SELECT, LOCK TABLES ON `shop\\_1`.* TO `u`@`%`",
            "GRANT INSERT ON `shop`.`t` TO `u`@`%`",
            "GRANT UPDATE (`a`) ON `shop`.`t` TO `u`@`%`",
            "GRANT `r` TO `u`@`%`",
            "GRANT PROXY ON ``@`%` TO `root`@`localhost` WITH GRANT OPTION",
        ]);
        assert!(of.on("shop_1", "SELECT") && of.on("shop_1", "LOCK TABLES"));
        assert!(!of.on("shopx1", "SELECT") && !of.on("shop", "INSERT") && !of.on("shop", "UPDATE"));
        assert!(!of.everywhere("SELECT"));
    }

    #[test]
    fn a_pattern_grants_on_what_it_matches_and_a_revoke_excepts() {
        let of = grants(&[
            "GRANT SELECT, REPLICATION SLAVE ON *.* TO `u`@`%`",
            "REVOKE SELECT ON `secret`.* FROM `u`@`%`",
        ]);
        assert!(of.on("shop", "SELECT") && !of.on("secret", "SELECT") && of.everywhere("REPLICATION SLAVE"));
        let of = grants(&["GRANT ALL PRIVILEGES ON `s%p_`.* TO `u`@`%` WITH GRANT OPTION"]);
        assert!(of.on("shop1", "DELETE") && !of.on("shop", "DELETE") && !of.everywhere("DELETE"));
    }
}
