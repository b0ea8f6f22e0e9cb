//! Several statements in one packet, as one server answers them.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{server_error, text};

use crate::twins::{Answer, Twins, as_prepared};

/// Every answer to a packet, up to the first error.
async fn answers(connection: &mut Conn, sql: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut result = match connection.query_iter(sql).await {
        Ok(result) => result,
        Err(error) => return vec![server_error(&error).0.to_string()],
    };
    while !result.is_empty() {
        let columns: Vec<String> =
            result.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        let (affected, id, warnings) = (result.affected_rows(), result.last_insert_id(), result.warnings());
        match result.collect::<mysql_async::Row>().await {
            Ok(rows) => {
                let rows: Vec<String> = rows.into_iter().map(text).collect();
                seen.push(format!("{columns:?} {rows:?} {affected} {id:?} {warnings}"));
            }
            Err(error) => {
                seen.push(server_error(&error).0.to_string());
                break;
            }
        }
    }
    seen
}

/// Packets, and how many answers each has at least: the client of the test swallows an error behind an answer.
const PACKETS: [(&str, usize); 13] = [
    ("SELECT 1; SELECT 2", 2),
    ("INSERT INTO settings (name, value) VALUES ('x', '1'); SELECT LAST_INSERT_ID()", 2),
    (
        "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'); SELECT id, name FROM users ORDER BY id",
        2,
    ),
    ("SET NAMES utf8mb4; SELECT id, name FROM users ORDER BY name DESC LIMIT 2; SELECT ROW_COUNT()", 3),
    ("UPDATE users SET name = 'z'; SELECT ROW_COUNT(); SELECT name FROM users WHERE id = 3", 3),
    ("BEGIN; UPDATE users SET name = 'q' WHERE id = 1; ROLLBACK; SELECT name FROM users WHERE id = 1", 4),
    ("SELECT ';' AS a; /* ; */ SELECT `name` FROM settings -- ; x\n; # ;\nSELECT 3 AS c;", 3),
    (
        "SET sql_mode = 'ANSI_QUOTES'; SELECT \"id\" FROM users WHERE \"id\" = 1; SET sql_mode = DEFAULT; SELECT 3",
        4,
    ),
    ("SELECT 'a\\';' AS x; SELECT \"b;\" AS y", 2),
    ("SELECT 1/0 AS n; SHOW WARNINGS; SELECT COUNT(*) FROM settings; SHOW WARNINGS", 4),
    ("SELECT 1; SELECT nonsense; INSERT INTO settings (name) VALUES ('never')", 1),
    (
        "INSERT INTO users (id, name) VALUES (7, 'x'); INSERT INTO users (id, name) VALUES (1, 'dup'); DELETE FROM users",
        1,
    ),
    ("SELECT name FROM settings; /*!40101 SELECT 1 */; SELECT id FROM users ORDER BY id", 3),
];

#[tokio::test]
async fn they_run_one_after_the_other_up_to_the_first_error() {
    let mut twins = Twins::open().await;
    for (sql, number) in PACKETS {
        let expected = answers(&mut twins.alone, sql).await;
        assert_eq!(answers(&mut twins.proxied, sql).await, expected, "{sql}");
        assert!(expected.len() >= number, "{sql}: {expected:?}");
    }
}

#[tokio::test]
async fn a_prepared_statement_is_always_one() {
    let mut twins = Twins::open().await;
    let sql = "SELECT 1; SELECT 2";
    let expected = as_prepared(&mut twins.alone, sql, ().into()).await;
    assert_eq!(expected, Answer::Error(1064, "42000".to_owned()));
    assert_eq!(as_prepared(&mut twins.proxied, sql, ().into()).await, Answer::Refused("SHD1101".to_owned()));
}

#[tokio::test]
async fn a_body_is_never_cut_apart() {
    let mut twins = Twins::open().await;
    for sql in [
        "CREATE PROCEDURE p() BEGIN DELETE FROM settings; DELETE FROM settings; END",
        "CREATE TRIGGER t BEFORE INSERT ON settings FOR EACH ROW BEGIN SET NEW.name = 'x'; DELETE FROM settings; END",
    ] {
        twins.refused(sql, "SHD1101").await;
    }
}
