//! Whether the servers that rows are copied to have been there all the time.
//!
//! - A server that dies may be back within a second, without what it had committed last, where its settings allow that. No
//!   connection outlives its server: while one is there that was opened before it was read how far a copy is, nothing is
//!   lost that was committed since.
//! - So a copy that finds it gone ends, and goes on from what is saved. It may have gone for a lesser reason; then some
//!   rows are carried twice, which changes nothing.
//! - What was committed before [`Witnesses::settle`] is on disk when it returns, whatever the settings are: a server that
//!   dies later loses nothing of it.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{Server, Side};
use tokio::sync::Mutex;

use crate::connection::connect;
use crate::image::quoted;
use crate::tables::{End, MovingTable, WorkError};

/// A table that is made and dropped.
pub const TABLE: &str = "shardway_settled";
/// A server that takes longer to say that it is there is as good as gone.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_secs(30);

/// A connection to every server of the target.
#[derive(Debug)]
pub(super) struct Witnesses(Vec<Witness>);

#[derive(Debug)]
struct Witness {
    server: Server,
    /// A physical database of the move there.
    database: String,
    /// Taken out while it is asked: an answer that nobody has read would be taken for the next one.
    connection: Mutex<Option<Conn>>,
}

/// The physical tables of the target, one for each server.
pub(super) fn homes<'a>(tables: impl IntoIterator<Item = &'a MovingTable>) -> Vec<&'a End> {
    let mut homes: Vec<&End> = Vec::new();
    for end in tables.into_iter().flat_map(|table| table.ends(Side::Target)) {
        if homes.iter().all(|home| !home.server.is_same_process(&end.server)) {
            homes.push(end);
        }
    }
    homes
}

impl Witnesses {
    /// To be called before it is read how far the copy is.
    pub(super) async fn open(tables: &[MovingTable]) -> Result<Witnesses, WorkError> {
        let mut witnesses = Vec::new();
        for End { server, database, .. } in homes(tables) {
            let connection = Mutex::new(Some(connect(server).await?));
            witnesses.push(Witness { server: server.clone(), database: database.clone(), connection });
        }
        Ok(Witnesses(witnesses))
    }

    /// Connections that were open before the call are to servers that have lost nothing since the beginning.
    ///
    /// # Errors
    /// Some server may have; this passes.
    pub(super) async fn ask(&self) -> Result<(), WorkError> {
        for witness in &self.0 {
            match tokio::time::timeout(ANSWER_MAX, witness.run("DO 0")).await {
                Ok(answer) => answer.map_err(|error| witness.is_gone(&error.to_string()))?,
                Err(_) => return Err(witness.is_gone("it does not answer")),
            }
        }
        Ok(())
    }

    /// Does the work, and asks now and then meanwhile: what is idle for long, servers and those in front of them close.
    pub(super) async fn beside<T>(
        &self,
        work: impl Future<Output = Result<T, WorkError>>,
    ) -> Result<T, WorkError> {
        let watch = async {
            loop {
                tokio::time::sleep(ASK_EVERY).await;
                if let Err(error) = self.ask().await {
                    return error;
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = watch => Err(error),
        }
    }

    /// Returns when everything that was committed before the call is on disk.
    ///
    /// # Errors
    /// Some of it may be lost; this passes.
    pub(super) async fn settle(&self) -> Result<(), WorkError> {
        for witness in &self.0 {
            let table = format!("{}.{TABLE}", quoted(&witness.database));
            // Definitions are flushed whatever the server does with transactions, and all of the log before them.
            for definition in [
                format!("CREATE TABLE IF NOT EXISTS {table} (id INT NOT NULL PRIMARY KEY) ENGINE = InnoDB"),
                format!("DROP TABLE IF EXISTS {table}"),
            ] {
                witness.run(&definition).await.map_err(|error| match error {
                    error if error.is_away() => witness.is_gone(&error.to_string()),
                    error => error.at(&witness.server),
                })?;
            }
        }
        Ok(())
    }
}

impl Witness {
    async fn run(&self, statement: &str) -> Result<(), WorkError> {
        let mut place = self.connection.lock().await;
        let mut connection = place
            .take()
            .ok_or_else(|| WorkError::Interrupted("its last answer was not waited for".into()))?;
        connection.query_drop(statement).await?;
        *place = Some(connection);
        Ok(())
    }

    fn is_gone(&self, why: &str) -> WorkError {
        let Server { host, port, .. } = &self.server;
        WorkError::Interrupted(format!(
            "{host}:{port} has closed a connection and may have lost what it had committed last, so the copy goes on from \
             what is saved ({why})"
        ))
    }
}
