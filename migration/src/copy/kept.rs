//! How far the copy of a physical table is, as the target keeps it.
//!
//! Every server of the target has a progress row of its own, which is committed with or after the rows that it speaks of: a
//! server that loses what it had committed last loses the row first. A copy that was cut off goes on from the row that is
//! least far, past the ranges beyond it that every server has.

use mysql_async::prelude::Queryable as _;

use super::Job;
use super::ledger::{self, Done, Extent, Saved};
use super::witness::homes;
use crate::connection::connect;
use crate::image::Range;
use crate::patience::Patience;
use crate::pulse::Pulse;
use crate::settings::Order;
use crate::tables::{End, MovingTable, WorkError};

/// The progress rows of one physical table's copy.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    table: &'a MovingTable,
    source: &'a End,
    order: Order,
    copy: String,
    /// Tells the table from those of the same name on other servers.
    name: String,
}

impl<'a> Kept<'a> {
    /// Of a walk in that order over the source's table.
    pub(super) fn of(job: &Job, table: &'a MovingTable, source: &'a End, order: Order) -> Kept<'a> {
        // A walk in the other direction means something else by the same key.
        let copy = match order {
            Order::Ascending => job.name.clone(),
            Order::Descending => format!("{}/descending", job.name),
        };
        let name = format!("{}:{}/{}", source.server.host, source.server.port, source.table);
        Kept { table, source, order, copy, name }
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
        let mut all = Vec::new();
        for home in homes([self.table]) {
            all.push(self.loaded_from(home).await?);
        }
        // One that has saved nothing may have nothing.
        let Some(all) = all.into_iter().collect::<Option<Vec<Saved>>>() else { return Ok(None) };
        let mut rest = all.iter();
        let Some(mut least) = rest.next() else { return Ok(None) };
        for saved in rest {
            least = self.lesser(least, saved).await?;
        }
        // What is beyond must be so on every server.
        let everywhere =
            |done: &Done| all.iter().all(|saved| saved.state == Extent::Whole || saved.beyond.contains(done));
        let beyond = least.beyond.iter().filter(|done| everywhere(done)).cloned().collect();
        Ok(Some(Saved { beyond, ..least.clone() }))
    }

    async fn loaded_from(&self, home: &End) -> Result<Option<Saved>, WorkError> {
        let mut connection = connect(&home.server).await?;
        connection.query_drop(ledger::create(&home.database)).await?;
        let row = connection.query_first(ledger::load(&home.database, &self.copy, &self.name)).await?;
        connection.disconnect().await?;
        let Some(row) = row else { return Ok(None) };
        let saved = ledger::decode(row).ok_or_else(|| {
            WorkError::Stopped(format!("the progress of {} in {} cannot be read", self.name, ledger::TABLE))
        })?;
        Ok(Some(saved))
    }

    /// `other`, if there is a row that the walk has passed at `one` and not there. Rows that come later are the stream's.
    async fn lesser<'s>(&self, one: &'s Saved, other: &'s Saved) -> Result<&'s Saved, WorkError> {
        if one.up_to == other.up_to && one.state == other.state {
            return Ok(one);
        }
        if other.state == Extent::Whole || one.is_at_the_beginning() {
            return Ok(one);
        }
        if one.state == Extent::Whole || other.is_at_the_beginning() {
            return Ok(other);
        }
        let between = match self.order {
            Order::Ascending => Range { after: other.up_to.clone(), up_to: one.up_to.clone() },
            Order::Descending => Range { after: one.up_to.clone(), up_to: other.up_to.clone() },
        };
        let (table, rows) = (&self.source.table, self.table.shape.within(&between));
        let mut connection = connect(&self.source.server).await?;
        let found: Option<u8> =
            connection.query_first(format!("SELECT 1 FROM {table} WHERE {rows} LIMIT 1")).await?;
        connection.disconnect().await?;
        Ok(if found.is_some() { other } else { one })
    }

    /// The statement that keeps how far the copy is in that physical database; it goes into the transaction that writes the
    /// rows there.
    pub(super) fn save(&self, database: &str, saved: &Saved) -> String {
        ledger::save(database, &self.copy, &self.name, saved)
    }
}
