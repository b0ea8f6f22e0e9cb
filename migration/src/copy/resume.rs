//! Where a copy that was cut off goes on.
//!
//! Every server of the target has a progress row of its own, which is committed with or after the rows that it speaks of: a
//! server that loses what it had committed last loses the row first. The copy goes on from the one that is least far.

use mysql_async::prelude::Queryable as _;

use super::Job;
use super::chunk::Source;
use super::ledger::{self, Extent, Saved};
use super::witness::homes;
use crate::connection::connect;
use crate::image::Range;
use crate::settings::Order;
use crate::tables::{End, WorkError};

/// How far an earlier copy has come on every server.
pub(super) async fn saved(job: &Job, source: Source<'_>) -> Result<Option<Saved>, WorkError> {
    let mut all = Vec::new();
    for home in homes([source.table]) {
        all.push(saved_at(job, source, home).await?);
    }
    // One that has saved nothing may have nothing.
    let Some(all) = all.into_iter().collect::<Option<Vec<Saved>>>() else { return Ok(None) };
    let mut all = all.into_iter();
    let Some(mut least) = all.next() else { return Ok(None) };
    for saved in all {
        least = lesser(job, source, least, saved).await?;
    }
    Ok(Some(least))
}

async fn saved_at(job: &Job, source: Source<'_>, home: &End) -> Result<Option<Saved>, WorkError> {
    let mut connection = connect(&home.server).await?;
    connection.query_drop(ledger::create(&home.database)).await?;
    let name = source.name();
    let row = connection.query_first(ledger::load(&home.database, &job.ledger_name(), &name)).await?;
    connection.disconnect().await?;
    let Some(row) = row else { return Ok(None) };
    let saved = ledger::decode(row).ok_or_else(|| {
        WorkError::Stopped(format!("the progress of {name} in {} cannot be read", ledger::TABLE))
    })?;
    Ok(Some(saved))
}

/// `other`, if there is a row that the walk has passed at `one` and not there. Rows that come later are the stream's.
async fn lesser(job: &Job, source: Source<'_>, one: Saved, other: Saved) -> Result<Saved, WorkError> {
    if one == other || other.state == Extent::Whole {
        return Ok(one);
    }
    if one.state == Extent::Whole {
        return Ok(other);
    }
    let between = match job.limits.order {
        Order::Ascending => Range { after: other.up_to.clone(), up_to: one.up_to.clone() },
        Order::Descending => Range { after: one.up_to.clone(), up_to: other.up_to.clone() },
    };
    let (table, rows) = (&source.source.table, source.table.shape.within(&between));
    let mut connection = connect(&source.source.server).await?;
    let found: Option<u8> =
        connection.query_first(format!("SELECT 1 FROM {table} WHERE {rows} LIMIT 1")).await?;
    connection.disconnect().await?;
    Ok(if found.is_some() { other } else { one })
}
