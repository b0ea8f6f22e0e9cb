//! How many rows there are to copy, for the percentage; rows that come and go meanwhile make it approximate.

use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::Side;

use super::{Job, Patience};
use crate::connection::connect;
use crate::image::Range;
use crate::pulse::Pulse;
use crate::tables::{End, MovingTable, WorkError};

/// A server that counts for longer has better things to do: what it estimates must do.
const LIMIT: &str = "SET SESSION /*M! max_statement_time = 5 */ /*!50708 max_execution_time = 5000, information_schema_stats_expiry = 0 */";
/// It has counted for too long, on MariaDB and on MySQL.
const TOO_LONG: [u16; 2] = [1969, 3024];

/// Rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Counted(u64),
    /// Of all rows of the physical table.
    Estimated(u64),
}

/// Counts what there is.
pub(super) async fn all(job: &Job, pulse: &Pulse) -> Result<(), WorkError> {
    for (number, table) in job.tables.iter().enumerate() {
        for end in table.origins(Side::Source) {
            let mut patience = Patience::new(job.limits.wait);
            let rows = loop {
                match pulse.during(of_end(table, end)).await {
                    Ok(rows) => break rows,
                    Err(error) => {
                        job.progress.wait(&mut patience, &format!("counting {}", table.name), error).await?;
                    }
                }
            };
            job.progress.expect(number, rows);
        }
    }
    Ok(())
}

async fn of_end(table: &MovingTable, end: &End) -> Result<Expected, WorkError> {
    let mut connection = connect(&end.server).await?;
    connection.query_drop(LIMIT).await?;
    let all = table.shape.within(&Range::default());
    let counted: Result<Option<u64>, _> =
        connection.query_first(format!("SELECT COUNT(*) FROM {} WHERE {all}", end.table)).await;
    let rows = match counted {
        Err(mysql_async::Error::Server(error)) if TOO_LONG.contains(&error.code) => {
            Expected::Estimated(end.estimated_rows(&mut connection).await?)
        }
        counted => Expected::Counted(counted?.unwrap_or(0)),
    };
    connection.disconnect().await?;
    Ok(rows)
}
