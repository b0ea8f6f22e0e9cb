//! Shared inputs of the benchmarks.

use shardway_routing::rules;
use shardway_routing::topology::Topology;

/// The shop of `conf/rules.toml`.
///
/// # Panics
/// When that file is not valid.
#[must_use]
pub fn shop() -> Topology {
    let text = include_str!("../conf/rules.toml");
    rules::load(text, &|_| None, 1).expect("the file in conf is valid; a test says so")
}

/// Statements of a shop, from short to long.
pub const STATEMENTS: [&str; 4] = [
    "SELECT name FROM users WHERE id = 5017",
    "SELECT id, name, email, region_id FROM users WHERE id = 5017 AND region_id = 3 AND name <> 'nobody' LIMIT 10",
    "INSERT INTO orders (id, user_id, amount, status) VALUES (991, 5017, 12.50, 'new')",
    "SELECT u.name, o.id, o.amount FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = 5017 AND o.amount > 10",
];
