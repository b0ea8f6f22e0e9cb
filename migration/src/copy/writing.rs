//! A worker's connections to the servers of the target: a transaction on each, which end together.

use futures_util::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Server;

use super::kept::Kept;
use super::ledger::Saved;
use super::witness::{Witnesses, homes};
use crate::connection::connect_writer;
use crate::settings::Wire;
use crate::tables::{End, MovingTable, WorkError};

/// To every server of a table's target.
pub(super) struct Writing(Vec<Branch>);

pub(super) struct Branch {
    pub server: Server,
    /// The physical database that holds the progress rows there.
    database: String,
    pub connection: Conn,
    /// What the server takes in most cheaply.
    pub way: Way,
}

/// How a server takes in rows that are most likely absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Statements,
    /// `LOAD DATA LOCAL`, where the columns allow it.
    Bulk,
}

impl Way {
    /// `LOAD DATA` is for servers that allow it. Under the older modes of `AUTO_INCREMENT` it locks the whole table, and
    /// workers would wait for each other.
    async fn of(connection: &mut Conn, table: &MovingTable) -> Result<Way, WorkError> {
        let asked = "SELECT @@GLOBAL.local_infile, @@GLOBAL.innodb_autoinc_lock_mode";
        let (is_allowed, lock_mode): (u8, u8) = connection.query_first(asked).await?.unwrap_or_default();
        let locks = table.shape.is_numbered() && lock_mode < 2;
        Ok(if is_allowed == 1 && !locks { Way::Bulk } else { Way::Statements })
    }
}

impl Writing {
    pub(super) async fn open(
        table: &MovingTable,
        witnesses: &Witnesses,
        wire: Wire,
    ) -> Result<Writing, WorkError> {
        let mut branches = Vec::new();
        for End { server, database, .. } in homes([table]) {
            let mut connection = connect_writer(server, wire).await?;
            let way = Way::of(&mut connection, table).await?;
            branches.push(Branch { server: server.clone(), database: database.clone(), connection, way });
        }
        // Over connections to a server that has come back without them, rows would be saved as copied that it lost.
        witnesses.ask().await?;
        Ok(Writing(branches))
    }

    pub(super) fn branches(&mut self) -> impl Iterator<Item = &mut Branch> {
        self.0.iter_mut()
    }

    /// How far the copy is when these transactions are committed.
    pub(super) async fn save(&mut self, kept: &Kept<'_>, saved: &Saved) -> Result<(), WorkError> {
        let saving = self
            .0
            .iter_mut()
            .map(|Branch { database, connection, .. }| connection.query_drop(kept.save(database, saved)));
        all(join_all(saving).await)
    }

    /// `BEGIN`, `COMMIT` or `ROLLBACK` on every server.
    pub(super) async fn run(&mut self, what: &'static str) -> Result<(), WorkError> {
        all(join_all(self.0.iter_mut().map(|branch| branch.connection.query_drop(what))).await)
    }
}

/// The first error, once every server has answered: an answer that nobody reads would be taken for the next one.
fn all(answers: Vec<Result<(), mysql_async::Error>>) -> Result<(), WorkError> {
    Ok(answers.into_iter().collect::<Result<(), _>>()?)
}
