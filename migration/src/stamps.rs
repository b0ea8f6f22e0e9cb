//! What has changed on a server by its rows' stamps: a column that says when a row was written last. For sources whose log
//! cannot be read.
//!
//! - Rows stamped since a moment are read anew with every pass. A row is seen if its transaction committed within the
//!   overlap after it was stamped: a pass begins so much before the moment at which the last one began.
//! - Moments are the server's own clock. A `DATETIME` is taken to be in its global time zone; where that turns back, the
//!   pass begins as much earlier.
//! - What no stamp tells is not seen: deletions, rows whose stamp was set back or left as it was, and transactions that
//!   stayed open for longer than the overlap. Comparisons find them ([`crate::verify`]), nothing else does.
//!
//! It only reads. A row may come again although it has not changed; a reader remembers those of the last pass.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::schema::ColumnKind;
use shardway_routing::topology::Side;

use crate::image::{Image, ImageShape, Key, quoted};
use crate::position::Position;
use crate::tables::{MovingTable, WorkError};

/// Rows of a table that are remembered; beyond these they are written again with every pass.
const REMEMBERED: usize = 200_000;

/// How rows are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The column with the stamp, of every table.
    pub column: String,
    /// How long after its stamp a row may be committed.
    pub overlap: Duration,
    /// Between two passes that nobody waits for.
    pub every: Duration,
}

impl Rule {
    /// Can the tables be followed?
    ///
    /// # Errors
    /// Why one cannot.
    pub fn fits(&self, tables: &[MovingTable]) -> Result<(), WorkError> {
        let why = |of: &MovingTable| {
            let source = Side::Source;
            if self.kind(&of.shape).is_none() {
                return Some(format!("there is no TIMESTAMP or DATETIME `{}`", self.column));
            }
            if of.is_split_in_place() {
                return Some("rows that stay in place would be written over".to_owned());
            }
            let are_several = of.origins(source).len() > 1;
            (of.told_by(source).is_some() || (are_several && of.shape.has_further_unique()))
                .then(|| "several source tables may each have a row under one key".to_owned())
        };
        match tables.iter().find_map(|of| Some((of, why(of)?))) {
            Some((of, why)) => {
                Err(WorkError::Stopped(format!("{} cannot be followed by a time column: {why}", of.name)))
            }
            None => Ok(()),
        }
    }

    /// `WHERE` a row of the table may have changed within a window.
    ///
    /// # Errors
    /// The table has no such column.
    pub fn condition(&self, of: &MovingTable, window: &Window) -> Result<String, WorkError> {
        let since = match self.kind(&of.shape) {
            Some(ColumnKind::Timestamp) => &window.in_utc,
            Some(ColumnKind::DateTime) => &window.in_zone,
            _ => return self.fits(std::slice::from_ref(of)).map(|()| String::new()),
        };
        Ok(format!("WHERE {} >= '{since}'", quoted(&self.column)))
    }

    fn kind<'a>(&self, shape: &'a ImageShape) -> Option<&'a ColumnKind> {
        let is_it = |(name, _): &&(String, ColumnKind)| name.eq_ignore_ascii_case(&self.column);
        let (_, kind) = shape.columns().iter().find(is_it)?;
        matches!(kind, ColumnKind::Timestamp | ColumnKind::DateTime).then_some(kind)
    }
}

/// What one pass reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// When it begins, by the server's clock: everything stamped and committed before has been read after the pass.
    pub begun: Position,
    /// The least stamp, as a `TIMESTAMP` in a session of the engine.
    in_utc: String,
    /// The same as a `DATETIME` that the server's clients write.
    in_zone: String,
}

/// The server's clock.
///
/// # Errors
/// Whatever the server reports.
pub async fn now(connection: &mut Conn) -> Result<Position, WorkError> {
    let ask = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)";
    let us: Option<u64> = connection.query_first(ask).await?;
    us.map(Position::moment).ok_or_else(|| WorkError::Stopped("the server does not tell the time".into()))
}

/// The window of a pass that begins now. `from` is when the last one began.
///
/// # Errors
/// Whatever the server reports, or a position of something else than stamps.
pub async fn window(connection: &mut Conn, from: &Position, overlap: Duration) -> Result<Window, WorkError> {
    let begun = now(connection).await?;
    let (Some(from_us), Some(now_us)) = (from.as_moment(), begun.as_moment()) else {
        let why = format!("{from} is no moment: `capture` has changed since the move began; begin it anew");
        return Err(WorkError::Stopped(why));
    };
    let (since, until) = (since(from_us.min(now_us), overlap), now_us / 1_000_000);
    // A zone's clock that was turned back meanwhile has shown the same times again: by as much it begins earlier.
    let local = |at: u64| format!("CONVERT_TZ(FROM_UNIXTIME({at}), '+00:00', @@GLOBAL.time_zone)");
    let ask = format!(
        "SELECT CAST(FROM_UNIXTIME({since}) AS CHAR), CAST({0} - INTERVAL \
         GREATEST(0, {1} - TIMESTAMPDIFF(SECOND, {0}, {2})) SECOND AS CHAR)",
        local(since),
        until.saturating_sub(since),
        local(until)
    );
    let answer: Option<(Option<String>, Option<String>)> = connection.query_first(ask).await?;
    let Some((Some(in_utc), Some(in_zone))) = answer else {
        let why = "the source does not know its own time zone; load its time zone tables";
        return Err(WorkError::Stopped(why.to_owned()));
    };
    // A clock that was turned back makes passes larger, never positions less.
    Ok(Window { begun: Position::moment(now_us.max(from_us)), in_utc, in_zone })
}

/// Seconds since 1970. Stamps may lack fractions of a second.
fn since(us: u64, overlap: Duration) -> u64 {
    (us / 1_000_000).saturating_sub(overlap.as_secs())
}

/// The rows of a table that the last pass saw, so that those that are still the same need not be written again.
#[derive(Debug, Default)]
pub struct Remembered {
    hasher: RandomState,
    last: HashMap<Key, u64>,
    current: HashMap<Key, u64>,
}

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Same,
    Changed,
}

impl Remembered {
    /// Looks at a row of the pass that is going on.
    pub fn look(&mut self, key: Key, image: &Image) -> Known {
        let print = self.hasher.hash_one(&image.0);
        let known = if self.last.get(&key) == Some(&print) { Known::Same } else { Known::Changed };
        if self.current.len() < REMEMBERED {
            self.current.insert(key, print);
        }
        known
    }

    /// The pass has read the whole table.
    pub fn turn(&mut self) {
        self.last = std::mem::take(&mut self.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_so_much_before_the_last_one_in_whole_seconds() {
        assert_eq!(since(100_900_000, Duration::from_secs(60)), 40);
        assert_eq!(since(5_000_000, Duration::from_secs(60)), 0);
    }

    #[test]
    fn only_rows_that_the_last_pass_saw_like_this_are_the_same() {
        let image = |v: &str| Image(vec![Some(b"1".to_vec()), Some(v.as_bytes().to_vec())]);
        let key = || Key(vec![b"1".to_vec()]);
        let mut rows = Remembered::default();
        assert_eq!(rows.look(key(), &image("a")), Known::Changed);
        rows.turn();
        assert_eq!(rows.look(key(), &image("a")), Known::Same);
        rows.turn();
        assert_eq!(rows.look(key(), &image("b")), Known::Changed);
        rows.turn();
        rows.turn();
        assert_eq!(rows.look(key(), &image("b")), Known::Changed);
    }
}
