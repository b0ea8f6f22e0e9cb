//! Asks a server about one table.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use shardway_routing::schema::{ColumnKind, TableSchema};

use super::facts::{ColumnText, Definition, Flavour, Occupied, Size};
use crate::image::quoted;
use crate::schema;

/// Type, engine, rows, bytes of data, bytes of indexes.
type TableRow = (String, Option<String>, Option<u64>, Option<u64>, Option<u64>);
/// Index, column, length of the prefix, place.
type KeyRow = (String, Option<String>, Option<u64>, u64);

/// A table's definition; `None`: it is not there.
pub(crate) async fn definition(
    connection: &mut Conn,
    database: &str,
    table: &str,
) -> Result<Option<Definition>, mysql_async::Error> {
    let name = (database, table);
    let found: Option<TableRow> = connection
        .exec_first(
            "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, INDEX_LENGTH FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            name,
        )
        .await?;
    let Some((table_type, engine, rows, data, index)) = found else { return Ok(None) };
    let schema = schema::read(connection, database, table).await?.unwrap_or_default();
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    let (columns, octets) = columns(connection, name).await?;
    let keys: Vec<KeyRow> = connection
        .exec(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, SEQ_IN_INDEX FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            name,
        )
        .await?;
    let prefix =
        |key: &KeyRow| (key.0 == "PRIMARY" && key.2.is_some()).then(|| key.1.clone().unwrap_or_default());
    let size = Size {
        rows: rows.unwrap_or(0),
        data_bytes: data.unwrap_or(0),
        index_bytes: index.unwrap_or(0),
        row_bytes_max: longest(&schema, &octets),
    };
    Ok(Some(Definition {
        flavour: Flavour::of(&version.unwrap_or_default()),
        table_type,
        engine: engine.unwrap_or_default(),
        primary_prefixes: keys.iter().filter_map(prefix).collect(),
        indexed: keys.iter().filter(|key| key.3 == 1).filter_map(|key| key.1.clone()).collect(),
        schema,
        columns,
        older_uuids: None,
        size,
        ids: None,
    }))
}

async fn columns(
    connection: &mut Conn,
    name: (&str, &str),
) -> Result<(Vec<ColumnText>, Vec<Option<u64>>), mysql_async::Error> {
    let rows: Vec<Row> = connection
        .exec(
            "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, CHARACTER_SET_NAME, COLLATION_NAME, \
             GENERATION_EXPRESSION, CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            name,
        )
        .await?;
    let text = |row: &Row, place: usize| row.get::<Option<String>, usize>(place).flatten();
    let column = |row: &Row| ColumnText {
        name: text(row, 0).unwrap_or_default(),
        full_type: text(row, 1).unwrap_or_default(),
        nullable: text(row, 2).unwrap_or_default(),
        default: text(row, 3),
        extra: text(row, 4).unwrap_or_default(),
        charset: text(row, 5),
        collation: text(row, 6),
        expression: text(row, 7).filter(|expression| !expression.is_empty()),
    };
    let octets = rows.iter().map(|row| row.get::<Option<u64>, usize>(8).flatten()).collect();
    Ok((rows.iter().map(column).collect(), octets))
}

/// The longest row that the columns allow, as an image.
fn longest(schema: &TableSchema, octets: &[Option<u64>]) -> u64 {
    let column =
        |(column, octets): (&shardway_routing::schema::Column, &Option<u64>)| match (octets, &column.kind) {
            (Some(octets), _) => *octets,
            (None, ColumnKind::Json | ColumnKind::Geometry | ColumnKind::Vector | ColumnKind::Other(_)) => {
                u64::from(u32::MAX)
            }
            // The digits of the longest decimal.
            (None, _) => 70,
        };
    schema.columns.iter().zip(octets).map(column).fold(0, u64::saturating_add)
}

pub(super) async fn has_rows(connection: &mut Conn, table: &str) -> Result<Occupied, mysql_async::Error> {
    let row: Option<u8> = connection.query_first(format!("SELECT 1 FROM {table} LIMIT 1")).await?;
    Ok(if row.is_some() { Occupied::Yes } else { Occupied::No })
}

/// Lowest and highest id; `None` without rows or without `AUTO_INCREMENT`.
pub(super) async fn ids(
    connection: &mut Conn,
    table: &str,
    schema: &TableSchema,
) -> Result<Option<(i128, i128)>, mysql_async::Error> {
    let Some(column) = schema.auto_increment() else { return Ok(None) };
    let name = quoted(&column.name);
    let sql = format!("SELECT CONCAT(MIN({name})), CONCAT(MAX({name})) FROM {table}");
    let found: Option<(Option<String>, Option<String>)> = connection.query_first(sql).await?;
    let (low, high) = found.unwrap_or_default();
    Ok(low.zip(high).and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?))))
}
