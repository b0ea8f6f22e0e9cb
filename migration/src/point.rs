//! What the servers of a move say of themselves at one moment: where their logs end, which ids they would give next, how
//! their tables are defined. Kept with a rollback point.
//!
//! It is read while clients write, so it is no snapshot of rows; the positions bound it. A server that does not answer in
//! time is named with the reason, and keeps nobody waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_routing::topology::{MoveId, Side, Topology};
use xxhash_rust::xxh3::xxh3_64;

use crate::place::{self, Place, reach_server};
use crate::position::Position;
use crate::prepare::next_id;
use crate::stream;
use crate::tables::WorkError;

/// The servers of a move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    /// Where the logs ended, by backend.
    pub positions: BTreeMap<String, Position>,
    /// Tables whose ids count up by themselves.
    pub counters: Vec<Counter>,
    /// One number for all definitions: equal when nothing about them changed. `null` when a server was not asked.
    pub schema: Option<String>,
    /// The definition of every physical table, as a number.
    pub definitions: BTreeMap<String, String>,
    /// Backends that could not be asked, and why.
    pub unknown: BTreeMap<String, String>,
}

/// A table that gives ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The logical table.
    pub table: String,
    /// `backend: database.table`
    pub node: String,
    pub next: u64,
}

impl Servers {
    /// What a person should know who goes back to this moment: definitions that are others now, and tables that would give
    /// ids again which they had given already. Of a server that was not asked, then or now, nothing is said.
    #[must_use]
    pub fn changes_until(&self, now: &Servers) -> Vec<String> {
        let is_known = |node: &str| {
            let of = |unknown: &String| node.starts_with(&format!("{unknown}: "));
            !self.unknown.keys().chain(now.unknown.keys()).any(of)
        };
        let mut changes = Vec::new();
        let nodes: BTreeSet<&String> = self.definitions.keys().chain(now.definitions.keys()).collect();
        for node in nodes.into_iter().filter(|node| is_known(node)) {
            match (self.definitions.get(node), now.definitions.get(node)) {
                (Some(_), None) => changes.push(format!("{node} is gone")),
                (None, Some(_)) => changes.push(format!("{node} is new")),
                (then, now) if then != now => changes.push(format!("the definition of {node} has changed")),
                _ => {}
            }
        }
        for Counter { node, next: then, .. } in self.counters.iter().filter(|of| is_known(&of.node)) {
            if let Some(lower) = now.counters.iter().find(|of| of.node == *node && of.next < *then) {
                changes.push(format!("{node} gives the id {} next, and would have given {then}", lower.next));
            }
        }
        changes
    }
}

/// What one server tells.
#[derive(Debug, Default)]
struct Told {
    position: Option<Position>,
    counters: Vec<Counter>,
    definitions: Vec<(String, String)>,
}

/// Asks every server of a move, all at once, each for at most `limit`.
pub async fn look(topology: &Topology, by: MoveId, limit: Duration) -> Servers {
    let mut servers: Vec<Vec<(String, Place)>> = Vec::new();
    for places in place::of_move(topology, by) {
        for place in [Side::Source, Side::Target].iter().flat_map(|side| places.of(*side)) {
            let named = (places.name.clone(), place.clone());
            match servers.iter_mut().find(|of| of[0].1.server.is_same_process(&place.server)) {
                Some(of) => of.push(named),
                None => servers.push(vec![named]),
            }
        }
    }
    let ask = servers.iter().map(|of| async move {
        match tokio::time::timeout(limit, ask(of)).await {
            Ok(told) => told.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not answer within {} ms", limit.as_millis())),
        }
    });
    let mut found = Servers::default();
    for (of, told) in servers.iter().zip(join_all(ask).await) {
        let backends = of.iter().map(|(_, place)| place.backend_name.clone());
        match told {
            Ok(told) => {
                found.positions.extend(backends.filter_map(|name| Some((name, told.position.clone()?))));
                found.counters.extend(told.counters);
                found.definitions.extend(told.definitions);
            }
            Err(why) => found.unknown.extend(backends.map(|name| (name, why.clone()))),
        }
    }
    found.counters.sort_by(|one, other| (&one.table, &one.node).cmp(&(&other.table, &other.node)));
    let all: Vec<String> = found.definitions.iter().map(|(node, of)| format!("{node}={of}\n")).collect();
    found.schema = found.unknown.is_empty().then(|| fingerprint(&all.concat()));
    found
}

async fn ask(of: &[(String, Place)]) -> Result<Told, WorkError> {
    let Some((_, first)) = of.first() else { return Ok(Told::default()) };
    let mut connection = reach_server(&first.backend_name, &first.server).await?;
    // A server without a log has no position, and the rest of it counts all the same.
    let position = stream::current(&mut connection).await.ok();
    let mut told = Told { position, ..Told::default() };
    for (table, place) in of {
        let Some(definition) = definition(&mut connection, place).await? else { continue };
        told.definitions.push((place.to_string(), fingerprint(&definition)));
        if let Some(next) = next_id(&mut connection, place).await? {
            told.counters.push(Counter { table: table.clone(), node: place.to_string(), next });
        }
    }
    connection.disconnect().await?;
    Ok(told)
}

/// A table's definition in its server's words; `None`: there is no such table.
async fn definition(connection: &mut Conn, place: &Place) -> Result<Option<String>, WorkError> {
    const NO_SUCH_TABLE: u16 = 1146;
    const NO_SUCH_DATABASE: u16 = 1049;
    let shown = connection.query_first(format!("SHOW CREATE TABLE {}", place.quoted())).await;
    match shown {
        Ok(shown) => Ok(shown.map(|(_, text): (String, String)| without_counter(&text))),
        Err(mysql_async::Error::Server(error)) if [NO_SUCH_TABLE, NO_SUCH_DATABASE].contains(&error.code) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The definition as it is while rows come and go. The option stands behind the last bracket; a comment with the same
/// words would have quotes before them.
fn without_counter(definition: &str) -> String {
    const OPTION: &str = " AUTO_INCREMENT=";
    let Some(at) = definition.rfind("\n)").and_then(|end| Some(end + definition[end..].find(OPTION)?)) else {
        return definition.to_owned();
    };
    let rest = definition[at + OPTION.len()..].trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{}{rest}", &definition[..at])
}

fn fingerprint(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_told_of_servers_that_were_asked_both_times() {
        let of = |definitions: &[(&str, &str)], next: u64, unknown: &[&str]| Servers {
            definitions: definitions
                .iter()
                .map(|(node, of)| ((*node).to_owned(), (*of).to_owned()))
                .collect(),
            counters: vec![Counter { table: "shop.a".into(), node: "s0: shop.a".into(), next }],
            unknown: unknown.iter().map(|name| ((*name).to_owned(), "away".to_owned())).collect(),
            ..Servers::default()
        };
        let then = of(&[("s0: shop.a", "1"), ("s0: shop.b", "1"), ("s1: shop.a", "1")], 100, &[]);
        assert_eq!(
            then.changes_until(&of(&[("s0: shop.a", "1"), ("s0: shop.b", "1")], 101, &["s1"])),
            [""; 0]
        );
        let now = of(&[("s0: shop.a", "2"), ("s0: shop.c", "1"), ("s1: shop.a", "1")], 7, &[]);
        let expected = [
            "the definition of s0: shop.a has changed",
            "s0: shop.b is gone",
            "s0: shop.c is new",
            "s0: shop.a gives the id 7 next, and would have given 100",
        ];
        assert_eq!(then.changes_until(&now), expected);
        assert_eq!(then.changes_until(&of(&[], 0, &["s0", "s1"])), [""; 0]);
    }

    #[test]
    fn a_counter_is_no_part_of_a_definition() {
        let of = |counter: &str| {
            format!(
                "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT\n) ENGINE=InnoDB{counter} COMMENT='x'"
            )
        };
        assert_eq!(without_counter(&of(" AUTO_INCREMENT=17")), of(""));
        assert_eq!(without_counter(&of("")), of(""));
        assert_ne!(fingerprint(&of("")), fingerprint(&of(" ROW_FORMAT=COMPACT")));
    }
}
