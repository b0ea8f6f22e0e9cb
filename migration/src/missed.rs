//! The rows that clients wrote on a server between two places of its log: what a stream that was cut off did not carry.
//!
//! It reads the log as a stream does, so rows that movers wrote are not among them, and writes nothing anywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardway_routing::topology::{Server, Side};

use crate::position::Position;
use crate::stream::{Change, Item, Stream, StreamError, Watched, WatchedTable};
use crate::tables::{End, MovingTable};
use crate::verify::report::RowKey;

/// A row, and what was done to it as a whole. The last rows before the end may have come over all the same: connections
/// that write side by side commit before the position is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Logical `database.table`.
    pub table: String,
    pub key: RowKey,
    /// `inserted`, `updated` or `deleted`.
    pub change: String,
}

/// Reads one server's log from a position to another, for at most `limit`. Returns every row once, in the order of
/// tables and keys.
///
/// # Errors
/// [`StreamError`], also when the log is gone or could not be read in time.
pub async fn between(
    server: &Server,
    tables: &[MovingTable],
    side: Side,
    from: &Position,
    to: &Position,
    limit: Duration,
) -> Result<Vec<Missed>, StreamError> {
    let (mut watched, mut owners) = (Watched::default(), Vec::new());
    for table in tables {
        let here = |(_, end): &(usize, &End)| end.server.is_same_process(server);
        for (place, end) in table.origins(side).iter().enumerate().filter(here) {
            let (database, name) = (end.database.clone(), end.name.clone());
            watched.tables.push(WatchedTable { database, table: name, shape: table.shape.clone() });
            owners.push((table, place));
        }
    }
    let read = async {
        let mut found: BTreeMap<(String, RowKey), &'static str> = BTreeMap::new();
        let mut stream = Stream::open(server, from, watched).await?;
        loop {
            match stream.next().await? {
                Item::Changes(changes) => {
                    for row in changes {
                        let Some((table, place)) = owners.get(row.table) else { continue };
                        let Some(change) = table.own_change(side, *place, row.change) else { continue };
                        let key = |image| RowKey::from(&table.shape.key_of(image));
                        let mut note = |image, change| {
                            let whole = found.entry((table.name.clone(), key(image))).or_insert(change);
                            *whole = together(whole, change);
                        };
                        match &change {
                            Change::Insert(image) => note(image, "inserted"),
                            Change::Delete(image) => note(image, "deleted"),
                            Change::Update { before, after } if key(before) == key(after) => {
                                note(after, "updated");
                            }
                            Change::Update { before, after } => {
                                note(before, "deleted");
                                note(after, "inserted");
                            }
                        }
                    }
                }
                Item::Position(position) if !position.is_before(to) => return Ok(found),
                Item::Position(_) | Item::Mark { .. } => {}
            }
        }
    };
    if !from.is_before(to) {
        if to.is_before(from) || from.is_same_place(to) {
            return Ok(Vec::new());
        }
        let why = format!("nobody can tell what lies between {from} and {to}, of another server");
        return Err(StreamError::Lost(why));
    }
    let late = || StreamError::Lost(format!("it was not read within {} s", limit.as_secs()));
    let found = tokio::time::timeout(limit, read).await.map_err(|_| late())??;
    let missed = |((table, key), change): ((String, RowKey), &'static str)| Missed {
        table,
        key,
        change: change.to_owned(),
    };
    Ok(found.into_iter().map(missed).collect())
}

/// Two changes of one row as one.
fn together(first: &str, then: &'static str) -> &'static str {
    match (first, then) {
        ("inserted", "updated") => "inserted",
        ("deleted", "inserted") => "updated",
        (_, then) => then,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_changes_of_a_row_are_told_as_one() {
        let whole = |changes: &[&'static str]| changes.iter().copied().reduce(together).unwrap();
        assert_eq!(whole(&["inserted", "updated", "updated"]), "inserted");
        assert_eq!(whole(&["updated", "deleted"]), "deleted");
        assert_eq!(whole(&["deleted", "inserted", "updated"]), "updated");
        assert_eq!(whole(&["inserted", "deleted"]), "deleted");
    }
}
