//! One key brought in line: the authority's row is locked as it is, and what the other side must do follows from it.
//!
//! The lock is shared: it keeps writers away and lets whoever else copies the row read it. Where there is no row, the gap
//! is locked (sessions are `REPEATABLE READ`), so none can appear. A crash releases the lock and has written nothing
//! that a second run would not write again.

use std::ops::Range;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::connection::images;
use crate::image::{Image, Key};
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// The authority's row under lock.
#[derive(Debug)]
pub(crate) struct Held {
    /// The row; where the authority has several copies, the one that its own routing wants.
    pub image: Option<Image>,
    /// The node where the authority's own routing wants it, if it is there.
    at_home: Option<usize>,
    /// The nodes of the authority where it is locked.
    locked: Vec<usize>,
    /// The nodes where the other side's routing wants it.
    pub homes: Range<usize>,
    begun: Vec<(Server, Conn)>,
}

/// Locks a key on every node of the authority: its row may have gone to another one since it was seen.
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
    let rest = format!("{} LOCK IN SHARE MODE", table.shape.with_keys(std::slice::from_ref(key)));
    let mut begun: Vec<(Server, Conn)> = Vec::new();
    let mut image = None;
    let mut at_home = Vec::new();
    let mut locked = Vec::new();
    for (place, end) in table.ends(authority).iter().enumerate() {
        // What the key says to be the other side's there is not waited for.
        if table.owns_key(authority, place, key) == Some(false) {
            continue;
        }
        locked.push(place);
        let at = match begun.iter().position(|(server, _)| server.is_same_process(&end.server)) {
            Some(at) => at,
            None => {
                let mut connection = pool.take(&end.server).await?;
                connection.query_drop("BEGIN").await?;
                begun.push((end.server.clone(), connection));
                begun.len() - 1
            }
        };
        let found = images(&mut begun[at].1, &table.shape, &end.table, &rest).await?;
        for row in found {
            // Of a table that both sides have, rows that belong elsewhere are the other side's.
            let is_home = table.homes(authority, &row)?.contains(&place);
            if is_home {
                at_home.push(place);
            }
            if is_home || (image.is_none() && !table.has_others(authority, place)) {
                image = Some(row);
            }
        }
    }
    if at_home.len() > 1 && table.told_by(authority).is_some() {
        for (server, mut connection) in begun {
            connection.query_drop("ROLLBACK").await?;
            pool.give(&server, connection);
        }
        return Err(table.on_several(key));
    }
    // A row that is not carried is none: the other side must not have it.
    let image = image.filter(|image| table.takes(authority, image));
    let homes = match &image {
        Some(image) => table.homes(authority.other(), image)?,
        None => 0..0,
    };
    Ok(Held { image, at_home: at_home.last().copied(), locked, homes, begun })
}

impl Held {
    /// The first node where the other side's routing wants the row.
    pub(crate) fn home(&self) -> Option<usize> {
        self.homes.clone().next()
    }

    /// What makes the node of the other side at `place` hold what it must. Empty for a row that stays: a physical table that
    /// both sides have holds rows of the source's, whichever side they are at home on, and of the target's those that are
    /// at home there.
    pub(crate) fn statements(
        &self,
        table: &MovingTable,
        other: Side,
        place: usize,
        key: &Key,
    ) -> Vec<Vec<u8>> {
        let end = &table.ends(other)[place];
        match table.place_across(other, place) {
            Some(here) if other == Side::Target || self.at_home == Some(here) => return Vec::new(),
            _ => {}
        }
        match &self.image {
            Some(image) if self.homes.contains(&place) => {
                table.shape.replace(&end.table, std::slice::from_ref(image))
            }
            _ => vec![table.shape.delete(&end.table, std::slice::from_ref(key)).into_bytes()],
        }
    }

    /// What makes that node hold the row although another one has a value of its unique keys there. `None` where the
    /// authority does not keep them: only where it is one table can the other row be known to be out of date, and what
    /// made it so is on its way.
    pub(crate) fn alone(&self, table: &MovingTable, other: Side, place: usize) -> Option<Vec<u8>> {
        let image = self.image.as_ref().filter(|_| self.homes.contains(&place))?;
        let is_kept = table.origins(other.other()).len() == 1;
        is_kept.then(|| table.shape.overwrite(&table.ends(other)[place].table, [image]))
    }

    /// Runs a statement on a server of the authority, in the transaction that holds the row if it has begun there.
    pub(crate) async fn run(
        &mut self,
        pool: &Pool,
        server: &Server,
        statement: Vec<u8>,
    ) -> Result<(), WorkError> {
        let holder = self.begun.iter_mut().find(|(held, _)| held.is_same_process(server));
        if let Some((_, connection)) = holder {
            return Ok(connection.query_drop(statement).await?);
        }
        alone(pool, server, statement).await
    }

    /// Has the transaction that holds the row locked that physical table of the other side as well?
    pub(crate) fn is_in_hold(&self, table: &MovingTable, other: Side, place: usize) -> bool {
        table.place_across(other, place).is_some_and(|here| self.locked.contains(&here))
    }

    /// Runs a statement at a node of the other side: by itself, or in the transaction that holds the row where that has
    /// locked the node as well.
    pub(crate) async fn write(
        &mut self,
        pool: &Pool,
        table: &MovingTable,
        other: Side,
        place: usize,
        statement: Vec<u8>,
    ) -> Result<(), WorkError> {
        let server = &table.ends(other)[place].server;
        match self.is_in_hold(table, other, place) {
            true => self.run(pool, server, statement).await,
            false => alone(pool, server, statement).await,
        }
    }

    /// Lets the row go, and commits what [`Held::run`] did.
    pub(crate) async fn release(self, pool: &Pool) -> Result<(), WorkError> {
        for (server, mut connection) in self.begun {
            connection.query_drop("COMMIT").await?;
            pool.give(&server, connection);
        }
        Ok(())
    }
}

async fn alone(pool: &Pool, server: &Server, statement: Vec<u8>) -> Result<(), WorkError> {
    let mut connection = pool.take(server).await?;
    connection.query_drop(statement).await?;
    pool.give(server, connection);
    Ok(())
}
