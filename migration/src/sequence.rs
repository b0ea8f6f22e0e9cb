//! Ids of a sharded table in blocks from one place: a row of `shardway_sequences` on the table's first node.
//!
//! A block begins above every id that any node of either side has or would give next, so ids go on where a server that
//! counted before has ended. Several proxies may take blocks; what one does not use is left out.

use std::ops::Range;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::schema::{ColumnKind, Generation, Sign};
use shardway_routing::topology::{IdColumn, Side, TableId, Topology};

use crate::image::quoted;
use crate::place::{self, Place};
use crate::tables::WorkError;

/// Where blocks are counted.
pub const SEQUENCES: &str = "shardway_sequences";

/// Where a block may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// Above every id that there is.
    Rows,
    /// Where the last one ended, or at this id if that is greater.
    At(u64),
}

/// Takes the next ids of a table.
///
/// # Errors
/// [`WorkError::Stopped`] when they are used up, or whatever a server says.
pub async fn reserve(
    topology: &Topology,
    table: TableId,
    id: &IdColumn,
    count: u64,
    floor: Floor,
) -> Result<Range<u64>, WorkError> {
    let [source, target] = [Side::Source, Side::Target].map(|side| place::of_table(topology, table, side));
    let Some(home) = target.first() else { return Err(WorkError::Stopped("a table without nodes".into())) };
    let floor = match floor {
        Floor::At(floor) => floor,
        Floor::Rows => {
            let mut floor = 1;
            for place in source.iter().chain(&target) {
                let mut connection = place::reach_server(&place.backend_name, &place.server).await?;
                floor = floor.max(next_id(&mut connection, place, topology, table, id).await?);
                connection.disconnect().await?;
            }
            floor
        }
    };
    let mut connection = place::reach_server(&home.backend_name, &home.server).await?;
    let block = count_up(&mut connection, &home.database, &topology.full_name(table), floor, count).await?;
    connection.disconnect().await?;
    let most = topology
        .table_of(table)
        .schema
        .as_ref()
        .and_then(|schema| greatest(&schema.column(&id.column)?.kind));
    match most {
        Some(most) if block.end - 1 > most => Err(WorkError::Stopped(format!(
            "the ids of {} are used up: the next would be {}, and `{}` ends at {most}",
            topology.full_name(table),
            block.start,
            id.column
        ))),
        _ => Ok(block),
    }
}

async fn count_up(
    connection: &mut Conn,
    database: &str,
    name: &str,
    floor: u64,
    count: u64,
) -> Result<Range<u64>, WorkError> {
    let sequences = format!("{}.{SEQUENCES}", quoted(database));
    let begin = format!(
        "INSERT INTO {sequences} (name, next) VALUES (?, ?) ON DUPLICATE KEY UPDATE next = GREATEST(next, ?)"
    );
    connection
        .query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {sequences} (name VARBINARY(300) NOT NULL PRIMARY KEY, \
             next BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB"
        ))
        .await?;
    connection.query_drop("BEGIN").await?;
    connection.exec_drop(begin, (name, floor, floor)).await?;
    let start: Option<u64> = connection
        .exec_first(format!("SELECT next FROM {sequences} WHERE name = ? FOR UPDATE"), (name,))
        .await?;
    let start = start.ok_or_else(|| WorkError::Interrupted("a sequence has gone".into()))?;
    let end = start.checked_add(count).ok_or_else(|| WorkError::Stopped("the ids are used up".into()))?;
    connection.exec_drop(format!("UPDATE {sequences} SET next = ? WHERE name = ?"), (end, name)).await?;
    connection.query_drop("COMMIT").await?;
    Ok(start..end)
}

/// Above every id that a node has, or would give next.
async fn next_id(
    connection: &mut Conn,
    place: &Place,
    topology: &Topology,
    table: TableId,
    id: &IdColumn,
) -> Result<u64, WorkError> {
    let schema = topology.table_of(table).schema.as_ref();
    let column = schema.and_then(|schema| schema.column(&id.column));
    if column.is_some_and(|column| column.generation == Generation::AutoIncrement) {
        return Ok(crate::prepare::next_id(connection, place).await?.unwrap_or(1));
    }
    let sql = format!("SELECT CONCAT(MAX({})) FROM {}", quoted(&id.column), place.quoted());
    let highest: Option<Option<String>> = connection.query_first(sql).await?;
    let highest: u64 = highest.flatten().and_then(|id| id.parse().ok()).unwrap_or(0);
    Ok(highest.saturating_add(1))
}

fn greatest(kind: &ColumnKind) -> Option<u64> {
    match kind {
        ColumnKind::Integer { bits, sign: Sign::Unsigned } => Some(u64::MAX >> (64 - u32::from(*bits))),
        ColumnKind::Integer { bits, sign: Sign::Signed } => Some(u64::MAX >> (65 - u32::from(*bits))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_where_their_type_says() {
        let of = |bits, sign| greatest(&ColumnKind::Integer { bits, sign });
        assert_eq!(of(8, Sign::Signed), Some(127));
        assert_eq!(of(32, Sign::Unsigned), Some(u64::from(u32::MAX)));
        assert_eq!(of(64, Sign::Signed), Some(i64::MAX.unsigned_abs()));
        assert_eq!(greatest(&ColumnKind::Decimal), None);
    }
}
