//! How far the copy of a physical table is, as the target keeps it.

use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use super::Job;
use super::ledger::{self, Saved};
use crate::connection::connect;
use crate::patience::Patience;
use crate::pulse::Pulse;
use crate::tables::{End, MovingTable, WorkError};

/// The progress rows of one physical table's copy.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    home: &'a End,
    copy: String,
    /// Tells the table from those of the same name on other servers.
    source: String,
}

impl<'a> Kept<'a> {
    /// `copy` names the move's progress rows.
    pub(super) fn of(table: &'a MovingTable, source: &End, copy: String) -> Kept<'a> {
        let server = &source.server;
        let name = format!("{}:{}/{}", server.host, server.port, source.table);
        Kept { home: &table.ends(Side::Target)[0], copy, source: name }
    }

    /// How far an earlier run has come. Servers that are away are waited for.
    pub(super) async fn load(&self, job: &Job, pulse: &Pulse) -> Result<Option<Saved>, WorkError> {
        let mut patience = Patience::new(job.limits.wait);
        loop {
            match pulse.during(self.loaded()).await {
                Ok(saved) => return Ok(saved),
                Err(error) => job.progress.wait(&mut patience, "reading how far the copy is", error).await?,
            }
        }
    }

    async fn loaded(&self) -> Result<Option<Saved>, WorkError> {
        let mut connection = connect(&self.home.server).await?;
        connection.query_drop(ledger::create(&self.home.database)).await?;
        let row = connection.query_first(ledger::load(&self.home.database, &self.copy, &self.source)).await?;
        connection.disconnect().await?;
        let Some(row) = row else { return Ok(None) };
        let saved = ledger::decode(row).ok_or_else(|| {
            WorkError::Stopped(format!("the progress of {} in {} cannot be read", self.source, ledger::TABLE))
        })?;
        Ok(Some(saved))
    }

    /// The statement that keeps how far the copy is; it goes into the transaction that writes the rows at the first node of
    /// the target.
    pub(super) fn save(&self, saved: &Saved) -> String {
        ledger::save(&self.home.database, &self.copy, &self.source, saved)
    }
}
