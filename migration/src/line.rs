//! Keys brought in line: the authority's rows are locked as they are, and what the other side must do follows from them.
//!
//! The lock of a single key is shared: it keeps writers away and lets whoever else copies the row read it. Where there is
//! no row, the gap is locked (sessions are `REPEATABLE READ`), so none can appear. A crash releases the lock and has
//! written nothing that a second run would not write again.

mod grip;
mod lot;

use std::collections::BTreeSet;
use std::ops::Range;

use shardway_routing::topology::{Server, Side};

use crate::image::write::Write;
use crate::image::{Image, Key};
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

use grip::Grip;
pub(crate) use lot::{LotDone, LotSize, SHARED, hold_free};

/// What the authority has under a key.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The row; where the authority has several copies, the one that its own routing wants.
    pub image: Option<Image>,
    /// The node where the authority's own routing wants it, if it is there.
    at_home: Option<usize>,
    /// The nodes where the other side's routing wants it.
    pub homes: Range<usize>,
}

/// What a node of the other side must do about a key.
enum Must<'a> {
    /// The row stays where it is, on both sides.
    Nothing,
    Have(&'a Image),
    NotHave,
}

impl Line {
    /// From what the nodes of the authority have under the key.
    fn of(
        table: &MovingTable,
        authority: Side,
        key: &Key,
        found: impl IntoIterator<Item = (usize, Image)>,
    ) -> Result<Line, WorkError> {
        let (mut image, mut at_home, mut carried) = (None, None, 0);
        for (place, row) in found {
            // Of a table that both sides have, rows that belong elsewhere are the other side's.
            let is_home = table.homes(authority, &row)?.contains(&place);
            carried += usize::from(is_home && table.takes(authority, &row));
            let is_carried = carried == 0 || table.takes(authority, &row);
            if is_home && is_carried {
                at_home = Some(place);
            }
            if (is_home && is_carried) || (image.is_none() && !table.has_others(authority, place)) {
                image = Some(row);
            }
        }
        if carried > 1 && table.told_by(authority).is_some() {
            return Err(table.on_several(key));
        }
        // A row that is not carried is none: the other side must not have it.
        let image = image.filter(|image| table.takes(authority, image));
        let homes = match &image {
            Some(image) => table.homes(authority.other(), image)?,
            None => 0..0,
        };
        Ok(Line { image, at_home, homes })
    }

    /// The first node where the other side's routing wants the row.
    pub(crate) fn home(&self) -> Option<usize> {
        self.homes.clone().next()
    }

    /// Nothing for a row that stays: a physical table that both sides have holds rows of the source's, whichever side they
    /// are at home on, and of the target's those that are at home there.
    fn must(&self, table: &MovingTable, other: Side, place: usize) -> Must<'_> {
        match table.place_across(other, place) {
            Some(here) if other == Side::Target || self.at_home == Some(here) => return Must::Nothing,
            _ => {}
        }
        match &self.image {
            Some(image) if self.homes.contains(&place) => Must::Have(image),
            _ => Must::NotHave,
        }
    }
}

/// One of the authority's rows under lock.
#[derive(Debug)]
pub(crate) struct Held {
    pub line: Line,
    /// The transactions that hold it.
    pub grip: Grip,
}

/// Fails when a server that could have one of these rows on a side does not answer.
async fn answer(
    pool: &Pool,
    table: &MovingTable,
    side: Side,
    keys: impl IntoIterator<Item = &Key>,
) -> Result<(), WorkError> {
    let places: BTreeSet<usize> = keys.into_iter().flat_map(|key| table.may_have(side, key)).collect();
    let mut asked: Vec<&Server> = Vec::new();
    for server in places.iter().map(|place| &table.ends(side)[*place].server) {
        if !asked.iter().any(|known| known.is_same_process(server)) {
            pool.answers(server).await?;
            asked.push(server);
        }
    }
    Ok(())
}

/// Locks a key on every node of the authority: its row may have gone to another one since it was seen. Nothing is locked for
/// servers of the other side that do not answer.
///
/// # Errors
/// Error 1205 or 1213 of the server when somebody else holds the row; [`WorkError::OnSeveral`] when several shards have
/// one. Nothing is locked then.
pub(crate) async fn hold(
    pool: &Pool,
    table: &MovingTable,
    authority: Side,
    key: &Key,
) -> Result<Held, WorkError> {
    answer(pool, table, authority.other(), [key]).await?;
    let mut grip = Grip::default();
    let line = async {
        let found = grip.lock(pool, table, authority, key).await?;
        Line::of(table, authority, key, found)
    };
    match line.await {
        Ok(line) => Ok(Held { line, grip }),
        Err(error) => {
            grip.give_up(pool).await;
            Err(error)
        }
    }
}

impl Held {
    /// What makes the node of the other side at `place` hold what it must.
    pub(crate) fn statements(&self, table: &MovingTable, other: Side, place: usize, key: &Key) -> Vec<Write> {
        let end = &table.ends(other)[place];
        match self.line.must(table, other, place) {
            Must::Nothing => Vec::new(),
            Must::Have(image) => table.shape.replace(&end.table, std::slice::from_ref(image)),
            Must::NotHave => vec![table.shape.delete(&end.table, std::slice::from_ref(key)).into()],
        }
    }

    /// What makes that node hold the row although another one has a value of its unique keys there. `None` where the
    /// authority does not keep them: only where it is one table can the other row be known to be out of date, and what
    /// made it so is on its way.
    pub(crate) fn alone(&self, table: &MovingTable, other: Side, place: usize) -> Option<Write> {
        let image = self.line.image.as_ref().filter(|_| self.line.homes.contains(&place))?;
        let is_kept = table.origins(other.other()).len() == 1;
        is_kept.then(|| table.shape.overwrite(&table.ends(other)[place].table, [image]))
    }
}
