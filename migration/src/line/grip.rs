//! Transactions on the authority that hold its rows.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};

use crate::connection::{self, images};
use crate::image::write::Write;
use crate::image::{Image, Key};
use crate::pool::{Pool, promptly};
use crate::tables::{MovingTable, WorkError};

/// One transaction for each server of the authority.
#[derive(Debug, Default)]
pub(crate) struct Grip {
    /// The nodes of the authority where rows are locked.
    locked: Vec<usize>,
    begun: Vec<(Server, Conn)>,
}

impl Grip {
    /// Locks a key on every node of the authority that may have it, and reads what it has there. Whoever writes it is
    /// waited for; others may read it under a lock of their own.
    pub(super) async fn lock(
        &mut self,
        pool: &Pool,
        table: &MovingTable,
        authority: Side,
        key: &Key,
    ) -> Result<Vec<(usize, Image)>, WorkError> {
        let mut found = Vec::new();
        for place in 0..table.ends(authority).len() {
            // What the key says to be the other side's there is not waited for.
            if table.owns_key(authority, place, key) != Some(false) {
                let rest = format!("{} LOCK IN SHARE MODE", table.shape.with_keys(std::slice::from_ref(key)));
                let rows = self.read(pool, table, authority, place, &rest).await?;
                found.extend(rows.into_iter().map(|image| (place, image)));
            }
        }
        Ok(found)
    }

    /// Reads rows of a node of the authority in the transaction, which locks them if `rest` says so.
    pub(super) async fn read(
        &mut self,
        pool: &Pool,
        table: &MovingTable,
        authority: Side,
        place: usize,
        rest: &str,
    ) -> Result<Vec<Image>, WorkError> {
        let end = &table.ends(authority)[place];
        let connection = self.begin(pool, &end.server).await?;
        let rows = images(connection, &table.shape, &end.table, rest).await?;
        if !self.locked.contains(&place) {
            self.locked.push(place);
        }
        Ok(rows)
    }

    async fn begin(&mut self, pool: &Pool, server: &Server) -> Result<&mut Conn, WorkError> {
        let at = match self.begun.iter().position(|(begun, _)| begun.is_same_process(server)) {
            Some(at) => at,
            None => {
                let mut connection = pool.take(server).await?;
                connection.query_drop("BEGIN").await?;
                self.begun.push((server.clone(), connection));
                self.begun.len() - 1
            }
        };
        Ok(&mut self.begun[at].1)
    }

    /// Runs a statement on a server of the authority, in its transaction if it has one there. That commits behind the others
    /// then: what says that all is done must not outlive what was to be done.
    pub(crate) async fn run(
        &mut self,
        pool: &Pool,
        server: &Server,
        statement: &Write,
    ) -> Result<(), WorkError> {
        let Some(at) = self.begun.iter().position(|(begun, _)| begun.is_same_process(server)) else {
            return by_itself(pool, server, statement).await;
        };
        let (server, mut connection) = self.begun.remove(at);
        let done = connection::write(&mut connection, statement).await;
        let done = done.map_err(|error| error.at(&server));
        self.begun.push((server, connection));
        done
    }

    /// Is that physical table of the other side one that was locked here?
    pub(crate) fn has(&self, table: &MovingTable, other: Side, place: usize) -> bool {
        table.place_across(other, place).is_some_and(|here| self.locked.contains(&here))
    }

    /// Runs a statement at a node of the other side: by itself, or in the transaction that has locked the node.
    pub(crate) async fn write(
        &mut self,
        pool: &Pool,
        table: &MovingTable,
        other: Side,
        place: usize,
        statement: &Write,
    ) -> Result<(), WorkError> {
        let server = &table.ends(other)[place].server;
        match self.has(table, other, place) {
            true => self.run(pool, server, statement).await,
            false => {
                let bytes = statement.sql().len();
                promptly(&server.address(), bytes, by_itself(pool, server, statement)).await
            }
        }
    }

    /// Commits, in the order of the last statements.
    pub(crate) async fn release(self, pool: &Pool) -> Result<(), WorkError> {
        for (server, mut connection) in self.begun {
            connection.query_drop("COMMIT").await?;
            pool.give(&server, connection);
        }
        Ok(())
    }

    /// Rolls back. Where that cannot be said, the server does it when it finds the connection closed.
    pub(crate) async fn give_up(self, pool: &Pool) {
        for (server, mut connection) in self.begun {
            if connection.query_drop("ROLLBACK").await.is_ok() {
                pool.give(&server, connection);
            }
        }
    }
}

/// In a transaction: what a server is told while it says nothing, it may do when everybody has gone and the rows here are
/// free again. So it takes that back; and where it was told to commit, its locks keep the rows there until it has.
async fn by_itself(pool: &Pool, server: &Server, statement: &Write) -> Result<(), WorkError> {
    let mut connection = pool.take(server).await?;
    connection.query_drop("BEGIN").await?;
    connection::write(&mut connection, statement).await.map_err(|error| error.at(server))?;
    connection.query_drop("COMMIT").await?;
    pool.give(server, connection);
    Ok(())
}
