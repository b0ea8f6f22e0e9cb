//! Changes of a saved log, brought into tables that were loaded from a dump.
//!
//! The last state of every row that changes touch is written in lots. A row that the log changes and the dump has not,
//! or the other way about, ends it: then the log is not the one that goes on from the dump. A lot that fails leaves
//! nothing of itself; the tables are of no use afterwards.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::Part;
use crate::apply::batch::slices;
use crate::connection;
use crate::image::{Image, ImageShape, Key, quoted};
use crate::stream::{Change, RowChange, Watched, WatchedTable};
use crate::tables::WorkError;

/// Changes of one lot.
const LOT_ROWS: usize = 5_000;
/// Bytes of one lot's rows.
const LOT_BYTES: usize = 8 << 20;
/// Keys of one `DELETE`.
const DELETE_KEYS: usize = 1_000;

/// Changes on their way into the tables of a part, in another database than its own.
#[derive(Debug)]
pub struct Replay<'a> {
    part: &'a Part,
    database: &'a str,
    /// By the number of the table.
    touched: Vec<HashMap<Key, Touched>>,
    changes: usize,
    bytes: usize,
}

/// A row that the lot changes.
#[derive(Debug, PartialEq, Eq)]
struct Touched {
    was: Was,
    is: Option<Image>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    There,
    Absent,
}

/// What a part's log is read for.
#[must_use]
pub fn watched(part: &Part) -> Watched {
    let table = |(name, shape): &(String, ImageShape)| WatchedTable {
        database: part.database.clone(),
        table: name.clone(),
        shape: shape.clone(),
    };
    Watched { tables: part.tables.iter().map(table).collect(), mark_databases: Vec::new() }
}

impl<'a> Replay<'a> {
    #[must_use]
    pub fn new(part: &'a Part, database: &'a str) -> Replay<'a> {
        let touched = part.tables.iter().map(|_| HashMap::new()).collect();
        Replay { part, database, touched, changes: 0, bytes: 0 }
    }

    /// Takes changes in, numbered as [`watched`] does, and writes them when they are many.
    ///
    /// # Errors
    /// Changes that do not fit the rows, and whatever the server reports.
    pub async fn take(&mut self, connection: &mut Conn, changes: Vec<RowChange>) -> Result<(), WorkError> {
        for row in changes {
            self.add(row)?;
        }
        if self.changes >= LOT_ROWS || self.bytes >= LOT_BYTES {
            self.flush(connection).await?;
        }
        Ok(())
    }

    fn add(&mut self, row: RowChange) -> Result<(), WorkError> {
        self.changes += 1;
        match row.change {
            Change::Insert(image) => self.put(row.table, image),
            Change::Delete(image) => self.gone(row.table, &image),
            Change::Update { before, after } => {
                self.gone(row.table, &before)?;
                self.put(row.table, after)
            }
        }
    }

    fn put(&mut self, table: usize, image: Image) -> Result<(), WorkError> {
        self.bytes += ImageShape::weight(&image);
        let (name, shape) = &self.part.tables[table];
        let touched =
            self.touched[table].entry(shape.key_of(&image)).or_insert(Touched { was: Was::Absent, is: None });
        if touched.is.is_some() {
            return Err(misfit(name));
        }
        touched.is = Some(image);
        Ok(())
    }

    fn gone(&mut self, table: usize, image: &Image) -> Result<(), WorkError> {
        let (name, shape) = &self.part.tables[table];
        let key = shape.key_of(image);
        match self.touched[table].get_mut(&key) {
            Some(Touched { is: None, .. }) => return Err(misfit(name)),
            Some(touched) => touched.is = None,
            None => {
                self.bytes += ImageShape::weight(image);
                self.touched[table].insert(key, Touched { was: Was::There, is: None });
            }
        }
        Ok(())
    }

    /// Writes what was taken in.
    ///
    /// # Errors
    /// See [`Replay::take`].
    pub async fn flush(&mut self, connection: &mut Conn) -> Result<(), WorkError> {
        connection.query_drop("BEGIN").await?;
        for ((name, shape), touched) in self.part.tables.iter().zip(&mut self.touched) {
            let table = format!("{}.{}", quoted(self.database), quoted(name));
            let expected = touched.values().filter(|row| row.was == Was::There).count() as u64;
            let (mut keys, mut images) = (Vec::new(), Vec::new());
            for (key, row) in touched.drain() {
                keys.push(key);
                images.extend(row.is);
            }
            let mut deleted = 0;
            // Two keys may be one row where a collation ignores what they differ by, so everything goes first.
            for keys in keys.chunks(DELETE_KEYS) {
                connection.query_drop(shape.delete(&table, keys)).await?;
                deleted += connection.affected_rows();
            }
            if deleted != expected {
                return Err(misfit(name));
            }
            for images in slices(images.iter()) {
                connection::write(connection, &shape.insert_rows(&table, images)).await?;
            }
        }
        connection.query_drop("COMMIT").await?;
        (self.changes, self.bytes) = (0, 0);
        Ok(())
    }
}

fn misfit(table: &str) -> WorkError {
    WorkError::Stopped(format!(
        "the log changes rows of {table} that are otherwise before: it does not go on from there"
    ))
}

#[cfg(test)]
mod tests {
    use shardway_routing::topology::{Server, Tls};

    use super::*;
    use crate::image::example::integers;

    fn part() -> Part {
        let server = Server {
            host: "h".into(),
            port: 1,
            user: "u".into(),
            password: String::new(),
            database: None,
            tls: Tls::Off,
        };
        let tables = vec![("t".to_owned(), ImageShape::of(&integers(["id", "v"])).unwrap())];
        Part { server, database: "d".into(), tables }
    }

    fn image(id: u8, v: u8) -> Image {
        Image([id, v].map(|field| Some(field.to_string().into_bytes())).to_vec())
    }

    fn insert(id: u8, v: u8) -> Change {
        Change::Insert(image(id, v))
    }

    fn delete(id: u8, v: u8) -> Change {
        Change::Delete(image(id, v))
    }

    fn update(before: (u8, u8), after: (u8, u8)) -> Change {
        Change::Update { before: image(before.0, before.1), after: image(after.0, after.1) }
    }

    /// What is left of changes: every touched id, whether it was there, and its value.
    fn folded(changes: Vec<Change>) -> Result<Vec<(String, bool, Option<String>)>, WorkError> {
        let part = part();
        let mut replay = Replay::new(&part, "d_beside");
        for change in changes {
            replay.add(RowChange { table: 0, change })?;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut rows: Vec<_> = replay.touched[0]
            .iter()
            .map(|(key, row)| {
                let is = row.is.as_ref().map(|image| text(image.0[1].as_deref().unwrap()));
                (text(&key.0[0]), row.was == Was::There, is)
            })
            .collect();
        rows.sort();
        Ok(rows)
    }

    #[test]
    fn the_last_state_of_every_row_is_kept_and_whether_it_was_there() {
        let changes = vec![
            insert(1, 1),
            update((2, 1), (2, 2)),
            delete(3, 1),
            update((1, 1), (4, 5)),
            insert(3, 9),
            delete(2, 2),
        ];
        let row = |id: &str, was: bool, is: Option<&str>| (id.to_owned(), was, is.map(str::to_owned));
        let expected = vec![
            row("1", false, None),
            row("2", true, None),
            row("3", true, Some("9")),
            row("4", false, Some("5")),
        ];
        assert_eq!(folded(changes).unwrap(), expected);
    }

    #[test]
    fn changes_that_cannot_follow_each_other_end_it() {
        assert!(folded(vec![insert(1, 1), insert(1, 2)]).is_err());
        assert!(folded(vec![delete(1, 1), delete(1, 1)]).is_err());
        assert!(folded(vec![update((1, 1), (2, 1)), update((1, 1), (3, 1))]).is_err());
    }
}
