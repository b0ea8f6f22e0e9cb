//! A table's columns and keys, as its server's `information_schema` tells them.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params};
use shardway_routing::schema::{Column, ColumnKind, Generation, Length, Sign, TableSchema, UniqueKey};

/// Reads a table's schema; `None`: there is no such table.
///
/// # Errors
/// Whatever the server reports.
pub async fn read(
    connection: &mut Conn,
    database: &str,
    table: &str,
) -> Result<Option<TableSchema>, mysql_async::Error> {
    let name = || Params::from((database, table));
    let columns: Vec<Row> = connection
        .exec(
            "SELECT CONVERT(COLUMN_NAME USING utf8mb4), CONVERT(DATA_TYPE USING utf8mb4), \
             CONVERT(COLUMN_TYPE USING utf8mb4), CONVERT(IS_NULLABLE USING utf8mb4), CONVERT(EXTRA USING utf8mb4), \
             CONVERT(CHARACTER_SET_NAME USING utf8mb4), CONVERT(COLLATION_NAME USING utf8mb4), \
             COALESCE(CHARACTER_MAXIMUM_LENGTH, DATETIME_PRECISION) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            name(),
        )
        .await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let keys: Vec<KeyPart> = connection.exec(KEYS, name()).await?;
    let mut schema =
        TableSchema { columns: columns.into_iter().map(column).collect(), ..TableSchema::default() };
    for (index, column, part) in keys {
        if index == "PRIMARY" {
            schema.primary.extend(column);
            continue;
        }
        let part = part.or(column).unwrap_or_default();
        match schema.unique.iter_mut().find(|key| key.name == index) {
            Some(key) => key.columns.push(part),
            None => schema.unique.push(UniqueKey { name: index, columns: vec![part] }),
        }
    }
    Ok(Some(schema))
}

/// Index, column, and what counts instead of the whole column: so many characters of it, or an expression, which has no
/// column. Only MySQL has those, and reads the comment.
const KEYS: &str = "SELECT CONVERT(INDEX_NAME USING utf8mb4), CONVERT(COLUMN_NAME USING utf8mb4), \
     CONVERT(COALESCE(CONCAT(COLUMN_NAME, '(', SUB_PART, ')') /*!80013 , CONCAT('(', EXPRESSION, ')') */) USING utf8mb4) \
     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
     ORDER BY INDEX_NAME, SEQ_IN_INDEX";

type KeyPart = (String, Option<String>, Option<String>);
type Row = (String, String, String, String, String, Option<String>, Option<String>, Option<u64>);

fn column((name, data_type, column_type, nullable, extra, charset, collation, longest): Row) -> Column {
    let extra = extra.to_lowercase();
    let generation = if extra.contains("auto_increment") {
        Generation::AutoIncrement
    } else if extra.contains("virtual") || extra.contains("stored") || extra.contains("persistent") {
        Generation::Computed
    } else if extra.contains("on update") {
        Generation::Touched
    } else {
        Generation::Stored
    };
    let sign = if column_type.to_lowercase().contains("unsigned") { Sign::Unsigned } else { Sign::Signed };
    let data_type = data_type.to_lowercase();
    let longest = longest.map(|longest| match data_type.as_str() {
        "char" | "varchar" => Length::Characters(longest),
        "date" | "time" | "datetime" | "timestamp" => {
            Length::Digits(u8::try_from(longest).unwrap_or(u8::MAX))
        }
        _ => Length::Bytes(longest),
    });
    let kind = kind(&data_type, sign, charset, collation);
    Column { name, kind, nullable: nullable == "YES", generation, longest }
}

fn kind(data_type: &str, sign: Sign, charset: Option<String>, collation: Option<String>) -> ColumnKind {
    let integer = |bits| ColumnKind::Integer { bits, sign };
    match data_type {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "decimal" => ColumnKind::Decimal,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit,
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        "datetime" => ColumnKind::DateTime,
        "timestamp" => ColumnKind::Timestamp,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text {
            charset: charset.unwrap_or_default(),
            collation: collation.unwrap_or_default(),
        },
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Binary,
        "enum" => ColumnKind::Enum,
        "set" => ColumnKind::Set,
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => ColumnKind::Geometry,
        other => ColumnKind::Other(other.to_owned()),
    }
}
