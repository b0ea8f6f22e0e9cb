//! Every kind of column with the values that bite.

use std::collections::HashMap;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Flavour, Server};

use super::{Source, check, play};

/// A column and what is stored in it, as SQL.
pub struct Column {
    pub definition: String,
    pub values: Vec<String>,
}

impl Column {
    /// One of its values, whatever the number.
    pub fn value(&self, number: usize) -> &str {
        &self.values[number % self.values.len()]
    }
}

/// Every column, in groups that fit a table.
pub fn groups() -> Vec<(&'static str, Vec<Column>)> {
    vec![
        ("numbers", numbers()),
        ("moments", moments()),
        ("strings", strings()),
        ("documents", vec![documents()]),
        ("own", own()),
    ]
}

fn column(definition: &str, values: &[&str]) -> Column {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Column { definition: definition.to_owned(), values }
}

fn numbers() -> Vec<Column> {
    let mut columns = Vec::new();
    for (name, bits) in [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)] {
        let (low, high) = (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
        let signed = [low.to_string(), high.to_string(), "0".into(), "-1".into(), "1".into()];
        let unsigned =
            [((1_i128 << bits) - 1).to_string(), "0".into(), high.to_string(), (high + 1).to_string()];
        columns.push(Column { definition: name.to_owned(), values: signed.to_vec() });
        columns.push(Column { definition: format!("{name} UNSIGNED"), values: unsigned.to_vec() });
    }
    let nines = "9".repeat(35);
    let long =
        [format!("{nines}.{}", "9".repeat(30)), format!("-{nines}.5"), format!("-0.{}1", "0".repeat(29))];
    columns.push(Column { definition: "DECIMAL(65,30)".to_owned(), values: long.to_vec() });
    columns.extend([
        column("INT(7) ZEROFILL", &["42", "0", "123456789"]),
        column("DECIMAL(7,2) ZEROFILL", &["1.5", "0", "99999.99"]),
        column("DECIMAL(5,5)", &["0.12345", "-0.99999", "0", "-0.00001"]),
        column("DECIMAL(9,0)", &["999999999", "-999999999", "0", "-1"]),
        column("DECIMAL(10,2)", &["12345678.90", "-0.01", "-12345678.99", "7"]),
        column("DECIMAL(18,9)", &["123456789.987654321", "-1.000000001", "0.000000001"]),
        column("FLOAT", &["0", "-0e0", "3.4028234e38", "1.17549435e-38", "0.1", "-16777217", "1e-40"]),
        column(
            "DOUBLE",
            &["0", "-0e0", "1.7976931348623157e308", "2.2250738585072014e-308", "0.1", "1e15", "-1e-5"],
        ),
        column("BIT(1)", &["b'0'", "b'1'"]),
        column("BIT(9)", &["b'0'", "b'111111111'", "b'100000000'", "b'101'"]),
        column("BIT(64)", &["b'0'", "18446744073709551615", "b'1000000000'"]),
        column("YEAR", &["'0000'", "1901", "2155", "1970"]),
    ]);
    columns
}

fn moments() -> Vec<Column> {
    let mut columns = vec![column(
        "DATE",
        &["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2023-02-31'", "'2024-00-00'", "'2024-05-00'"],
    )];
    for digits in 0..=6 {
        columns.push(column(
            &format!("TIME({digits})"),
            &[
                "'-838:59:59'",
                "'838:59:59'",
                "'00:00:00'",
                "'-00:00:00.5'",
                "'-11:22:33.44'",
                "'-00:00:01'",
                "'00:00:01.987654'",
                "'-00:00:00.000001'",
            ],
        ));
        columns.push(column(
            &format!("DATETIME({digits})"),
            &[
                "'0000-00-00 00:00:00'",
                "'9999-12-31 23:59:59'",
                "'1000-01-01 00:00:00.123456'",
                "'2023-02-31 12:00:00.5'",
                "'0000-01-00 00:00:00'",
            ],
        ));
        columns.push(column(
            &format!("TIMESTAMP({digits}) NULL"),
            &[
                "'0000-00-00 00:00:00'",
                "'1970-01-01 00:00:01'",
                "'2038-01-19 03:14:07'",
                "'2024-06-01 12:00:00.123456'",
                "'2024-06-01 12:00:00.05'",
            ],
        ));
    }
    columns
}

fn strings() -> Vec<Column> {
    let many: Vec<String> = (0..300).map(|number| format!("'m{number}'")).collect();
    let bits: Vec<String> = (0..64).map(|number| format!("'b{number}'")).collect();
    vec![
        column("CHAR(10)", &["''", "'a'", "'a  '", "'😀😀'", "'ä\\0b'"]),
        column("CHAR(200)", &["''", "REPEAT('😀', 200)", "'ab '"]),
        column("CHAR(5) CHARACTER SET latin1", &["_latin1 x'E4F6FF'", "_latin1 x'80'", "''"]),
        column("CHAR(3) CHARACTER SET ucs2", &["'a '", "'äö'"]),
        column("VARCHAR(40) CHARACTER SET latin1", &["_latin1 x'E4F6FF2020'", "''", "' '"]),
        column("VARCHAR(20) CHARACTER SET utf16", &["'😀'", "'a'"]),
        column(
            "VARCHAR(100)",
            &["''", "'trailing  '", "'😀'", "'\\''", "'\\\\'", "'\\ta\\n\\\\N'", "'\\\\N'"],
        ),
        column("TINYTEXT", &["''", "'ü '", "REPEAT('x', 255)"]),
        column("TEXT", &["''", "REPEAT('ü', 20000)", "'a\\0'"]),
        column("LONGTEXT", &["''", "REPEAT('y', 70000)"]),
        column("BINARY(4)", &["x''", "x'00'", "x'0100'", "x'FF00FF00'", "x'20202020'", "x'FFFFFFFF'"]),
        column("BINARY(255)", &["x''", "REPEAT(x'FF', 255)", "x'0001'"]),
        column("VARBINARY(8)", &["x''", "x'0000'", "x'FF20'", "x'2020'"]),
        column("VARBINARY(300)", &["x''", "REPEAT(x'00', 300)", "x'5C4E095C6E0A0D1A005C'"]),
        column("TINYBLOB", &["x''", "x'FF00'"]),
        column("BLOB", &["x''", "REPEAT(x'FFFE00', 20000)"]),
        column("MEDIUMBLOB", &["x''", "REPEAT(x'00', 70000)"]),
        column("ENUM('a', 'b', 'ü')", &["'a'", "'ü'", "0"]),
        // The error value looks like the last member.
        column("ENUM('a', '')", &["0", "2", "'a'", "''"]),
        Column { definition: format!("ENUM({})", many.join(", ")), values: vec!["300".into(), "256".into()] },
        column("SET('a', 'b', 'ü')", &["''", "'a,ü'", "7"]),
        Column {
            definition: format!("SET({})", bits.join(", ")),
            values: vec!["18446744073709551615".into(), "0".into(), "9223372036854775808".into()],
        },
        column("POINT", &["ST_GeomFromText('POINT(1 -2.5)')", "ST_GeomFromText('POINT(0 0)', 4326)"]),
        column("GEOMETRY", &["ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0)')"]),
    ]
}

fn documents() -> Column {
    let mut values = vec![
        "'{}'",
        "'[]'",
        "'null'",
        "'true'",
        "'0'",
        "'-1'",
        "'32767'",
        "'-32769'",
        "'65535'",
        "'2147483648'",
        "'18446744073709551615'",
        "'-9223372036854775808'",
        "'1.5'",
        "'1.0'",
        "'1e300'",
        "'1e-7'",
        "'-0.0'",
        "'\"\"'",
        "'\"ü😀\\\\u0001\\\\n\\\\\"\\\\\\\\/\"'",
        "'{\"b\": [1, 2, {\"c\": null}], \"a\": \"x\", \"\": false}'",
    ];
    if Flavour::chosen() == Flavour::MySql {
        values.extend([
            "JSON_ARRAY(REPEAT('x', 70000), 1, 100000, -100000, 5000000000, NULL, TRUE, 'y')",
            "JSON_OBJECT('k', REPEAT('x', 70000), 'n', 70000, 'u', 3000000000, 'd', 0.5e0)",
            "JSON_OBJECT('d', DATE'2024-02-29', 't', TIME'-11:22:33.5', 'dt', TIMESTAMP'2024-02-29 01:02:03.000001')",
            "JSON_ARRAY(CAST(1.50 AS DECIMAL(10,3)), CAST(-0.001 AS DECIMAL(10,3)), 1e15, 123456789012345680e0, 1e20)",
            "JSON_ARRAY(CAST(x'00FF' AS BINARY), x'', b'101')",
            "JSON_ARRAY(CAST(REPEAT('x', 100) AS BINARY))",
            "JSON_ARRAY(1.7976931348623157e308, 2.2250738585072014e-308, 0.1, 1e-5, 0.00001234, 123456.789)",
        ]);
    }
    column("JSON", &values)
}

/// What only one kind of server has.
fn own() -> Vec<Column> {
    if Flavour::chosen() == Flavour::MySql {
        let floats = "x'00000080FFFF7FFF01000000'";
        return vec![
            column("VECTOR(3)", &["STRING_TO_VECTOR('[1, -2.5, 3e-30]')", floats, "STRING_TO_VECTOR('[0]')"]),
            column("VECTOR", &["STRING_TO_VECTOR(CONCAT('[0', REPEAT(', 1e30', 2047), ']'))"]),
        ];
    }
    let mut uuids = vec!["UUID()".to_owned()];
    for version in 0..16_u8 {
        // The server refuses some of those that nobody has defined: it could not tell how it has stored them.
        for variant in [0x08_u8, 0x80, 0x88, 0xC8, 0xFF].into_iter().skip(usize::from(version > 7)) {
            uuids.extend(["ffeeddcc-bbaa", "00000000-0000"].map(|start| {
                format!("'{start}-{version:x}0{:02x}-{variant:02x}01-998877665500'", version * 16)
            }));
        }
    }
    uuids.extend(
        ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]
            .map(str::to_owned),
    );
    vec![
        Column { definition: "UUID".to_owned(), values: uuids },
        column("INET4", &["'0.0.0.0'", "'255.255.255.255'", "'1.2.3.0'", "'0.0.0.1'"]),
        column(
            "INET6",
            &["'::'", "'::1.2.3.4'", "'::ffff:1.2.3.4'", "'2001:db8::'", "'ffff:0:0:0:0:0:0:20'"],
        ),
    ]
}

/// Writes every value as an insert, an update and a delete, and compares with the stored rows after each.
async fn check_all(source: &mut Source, columns: &[Column]) {
    let names: Vec<String> = (0..columns.len()).map(|place| format!("c{place}")).collect();
    let definitions: Vec<String> =
        columns.iter().zip(&names).map(|(column, name)| format!("{name} {}", column.definition)).collect();
    // Generated columns are logged too, in the middle of the others.
    source
        .run(&format!(
            "CREATE TABLE t (v INT GENERATED ALWAYS AS (id + 1) VIRTUAL, {}, id INT NOT NULL PRIMARY KEY, \
             s VARCHAR(20) GENERATED ALWAYS AS (CONCAT('s', v)) STORED, last INT) ENGINE = InnoDB",
            definitions.join(", ")
        ))
        .await;
    let from = source.here().await;
    let shape = source.shape("t").await;
    assert!(shape.columns().iter().all(|(name, _)| name != "v" && name != "s"));
    let mut stream = source.follow(&from, &["t"]).await;
    let mut rows = HashMap::new();
    let most = columns.iter().map(|column| column.values.len()).max().unwrap();

    for row in 0..most {
        let values: Vec<&str> = columns.iter().map(|column| column.value(row)).collect();
        let list = format!("(id, {}, last) VALUES ({row}, {}, {row})", names.join(", "), values.join(", "));
        source.run(&format!("INSERT INTO t {list}")).await;
    }
    source.run("INSERT INTO t (id) VALUES (-1)").await;
    let seen = source.rest(&mut stream).await;
    play(&mut rows, &shape, &seen.changes);
    check(&shape, &rows, &source.images("t").await);

    for row in 0..most {
        let set = columns.iter().zip(&names);
        let set: Vec<String> =
            set.map(|(column, name)| format!("{name} = {}", column.value(row + 1))).collect();
        source.run(&format!("UPDATE t SET {}, id = id + 1000 WHERE id = {row}", set.join(", "))).await;
    }
    let seen = source.rest(&mut stream).await;
    assert_eq!(seen.changes.len(), most);
    play(&mut rows, &shape, &seen.changes);
    check(&shape, &rows, &source.images("t").await);

    source.run("DELETE FROM t").await;
    let seen = source.rest(&mut stream).await;
    play(&mut rows, &shape, &seen.changes);
    assert!(rows.is_empty());
    source.run("DROP TABLE t").await;
}

#[tokio::test]
async fn what_comes_is_what_is_stored_whatever_the_log_says_of_columns() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    for metadata in ["FULL", "MINIMAL"] {
        source.connection.query_drop(format!("SET GLOBAL binlog_row_metadata = {metadata}")).await.unwrap();
        for (_, columns) in groups() {
            check_all(&mut source, &columns).await;
        }
    }
}
