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
             COALESCE(CHARACTER_MAXIMUM_LENGTH, DATETIME_PRECISION), CONVERT(COLUMN_KEY USING utf8mb4) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            name(),
        )
        .await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let keys: Vec<KeyPart> = connection.exec(KEYS, name()).await?;
    let (columns, marks): (Vec<Column>, Vec<String>) = columns.into_iter().map(column).unzip();
    let mut schema = TableSchema { columns, ..TableSchema::default() };
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
    if schema.primary.is_empty()
        && let Some(place) = stand_in(&schema, &marks)
    {
        let UniqueKey { name, columns } = schema.unique.remove(place);
        (schema.primary, schema.stand_in) = (columns, Some(name));
    }
    Ok(Some(schema))
}

/// The unique key without NULL that the server has put in the place of a primary key that is missing. Its columns are
/// marked as that key's, and nothing else is. `None` too where another key could be meant: what servers say of a duplicate
/// must be about this one, and names it behind a quote or the table's name and a point.
fn stand_in(schema: &TableSchema, marks: &[String]) -> Option<usize> {
    let marked = schema.columns.iter().zip(marks).filter(|(_, mark)| *mark == "PRI");
    let marked: Vec<&Column> = marked.map(|(column, _)| column).collect();
    let fits = |key: &UniqueKey| {
        let has = |column: &&Column| key.columns.contains(&column.name) && !column.nullable;
        key.columns.len() == marked.len() && marked.iter().all(has)
    };
    let mut fitting = schema.unique.iter().enumerate().filter(|(_, key)| fits(key));
    let (place, key) = fitting.next()?;
    let is_the_end_of = |other: &UniqueKey| {
        other.name.strip_suffix(&key.name).is_some_and(|rest| rest.ends_with(['\'', '.']))
    };
    (fitting.next().is_none() && !schema.unique.iter().any(is_the_end_of)).then_some(place)
}

/// Index, column, and what counts instead of the whole column: so many characters of it, or an expression, which has no
/// column. Only MySQL has those, and reads the comment.
const KEYS: &str = "SELECT CONVERT(INDEX_NAME USING utf8mb4), CONVERT(COLUMN_NAME USING utf8mb4), \
     CONVERT(COALESCE(CONCAT(COLUMN_NAME, '(', SUB_PART, ')') /*!80013 , CONCAT('(', EXPRESSION, ')') */) USING utf8mb4) \
     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
     ORDER BY INDEX_NAME, SEQ_IN_INDEX";

type KeyPart = (String, Option<String>, Option<String>);
type Row = (String, String, String, String, String, Option<String>, Option<String>, Option<u64>, String);

/// A column, and its mark.
fn column(
    (name, data_type, column_type, nullable, extra, charset, collation, longest, mark): Row,
) -> (Column, String) {
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
    (Column { name, kind, nullable: nullable == "YES", generation, longest }, mark)
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
        "vector" => ColumnKind::Vector,
        "uuid" => ColumnKind::Uuid,
        "inet4" => ColumnKind::Inet { bytes: 4 },
        "inet6" => ColumnKind::Inet { bytes: 16 },
        other => ColumnKind::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_whose_duplicates_could_be_those_of_another_stands_in_for_none() {
        let integer = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: integer.clone(),
            nullable: false,
            generation: Generation::Stored,
            longest: None,
        };
        let key = |name: &str, columns: &[&str]| UniqueKey {
            name: name.to_owned(),
            columns: columns.iter().map(ToString::to_string).collect(),
        };
        let found = |keys: [UniqueKey; 2]| {
            let columns = vec![column("a"), column("b")];
            let schema = TableSchema { columns, unique: keys.into(), ..TableSchema::default() };
            stand_in(&schema, &["PRI".to_owned(), String::new()])
        };
        assert_eq!(found([key("x", &["b"]), key("k", &["a"])]), Some(1));
        for name in ["x.k", "x'k"] {
            assert_eq!(found([key(name, &["b"]), key("k", &["a"])]), None, "{name}");
        }
        assert_eq!(
            found([key("x", &["a"]), key("k", &["a"])]),
            None,
            "which of them the server means is not told"
        );
        assert_eq!(found([key("x", &["b"]), key("k", &["a", "b"])]), None, "only `a` is the server's choice");
    }
}
