//! What cannot be carried exactly ends the stream, and says why.

use mysql_async::prelude::Queryable as _;
use shardway_migration::mark;
use shardway_migration::stream::{Stream, StreamError, Watched};
use shardway_tests::{Flavour, Server};

use super::{Source, end};

const TABLE: &str =
    "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(40), j JSON, KEY k (v)) ENGINE = InnoDB";

async fn source() -> (Source, Watched) {
    let mut source = Source::open().await;
    source.run(TABLE).await;
    source.run("CREATE TABLE other (id INT NOT NULL PRIMARY KEY, t INT) ENGINE = InnoDB").await;
    let watched = source.watched(&["t"]).await;
    (source, watched)
}

/// What ends a stream that meets these statements.
async fn check(statements: &[&str]) -> StreamError {
    let (mut source, watched) = source().await;
    let from = source.here().await;
    let mut stream = Stream::open(&source.server, &from, watched).await.unwrap();
    for sql in statements {
        source.run(&sql.replace("DB", &source.database.clone())).await;
    }
    end(&mut stream).await
}

#[tokio::test]
async fn a_new_definition_of_a_followed_table_ends_the_stream() {
    for sql in [
        "ALTER TABLE t ADD COLUMN w INT",
        "alter table /* why */ `DB`.`t` modify v varchar(50)",
        "CREATE INDEX i ON t (v)",
        "DROP INDEX k ON t",
        "TRUNCATE t",
        "TRUNCATE TABLE DB . t",
        "RENAME TABLE other TO other2, t TO t2",
        "DROP TABLE other, t",
        "DROP TABLE IF EXISTS t",
        "ALTER DATABASE CHARACTER SET latin1",
        "DROP DATABASE DB",
    ] {
        let error = check(&[sql]).await;
        assert!(matches!(error, StreamError::Definition { .. }), "{sql}: {error}");
    }
}

#[tokio::test]
async fn other_definitions_pass() {
    let (mut source, watched) = source().await;
    let from = source.here().await;
    let mut stream = Stream::open(&source.server, &from, watched).await.unwrap();
    let mark = mark::create(&source.database);
    for sql in [
        &mark,
        TABLE.replace("TABLE t", "TABLE IF NOT EXISTS t").as_str(),
        "CREATE TABLE shardway_progress (id INT PRIMARY KEY)",
        "ALTER TABLE other ADD COLUMN w INT COMMENT 'ALTER TABLE t'",
        "CREATE INDEX t ON other (t)",
        "CREATE TABLE child (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id))",
        "DROP TABLE child",
        "CREATE VIEW seen AS SELECT * FROM t",
        "ANALYZE TABLE t",
        "TRUNCATE other",
        "RENAME TABLE other TO another",
        "CREATE TEMPORARY TABLE t (a INT)",
        "DROP TEMPORARY TABLE t",
        "CREATE TABLE copied AS SELECT id FROM t",
        "DROP TABLE another, copied, shardway_progress",
        "INSERT INTO t VALUES (1, 'x', NULL)",
    ] {
        source.run(sql).await;
    }
    assert_eq!(source.rest(&mut stream).await.changes.len(), 1);
}

#[tokio::test]
async fn changes_without_whole_rows_end_the_stream() {
    let insert = "INSERT INTO t VALUES (1, 'x', '{\"a\": 1, \"b\": \"some longer text\"}')";
    let error = check(&[insert, "SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET v = 'y'"]).await;
    assert!(matches!(error, StreamError::PartialImage { .. }), "{error}");
    let error = check(&["SET SESSION binlog_format = STATEMENT", insert]).await;
    assert!(matches!(error, StreamError::Statement { .. }), "{error}");
    if Flavour::chosen() == Flavour::MySql {
        let partial = "SET SESSION binlog_row_value_options = PARTIAL_JSON";
        let error = check(&[insert, partial, "UPDATE t SET j = JSON_SET(j, '$.a', 2)"]).await;
        assert!(matches!(error, StreamError::PartialImage { .. }), "{error}");
    }
}

#[tokio::test]
async fn rows_of_an_earlier_definition_are_not_read_as_the_present_one() {
    let (mut source, _) = source().await;
    let from = source.here().await;
    source.run("INSERT INTO t VALUES (1, 'x', NULL)").await;
    source.run("ALTER TABLE t ADD COLUMN w INT FIRST").await;
    let mut stream = source.follow(&from, &["t"]).await;
    let error = end(&mut stream).await;
    assert!(matches!(error, StreamError::Layout { .. }), "{error}");
}

#[tokio::test]
async fn compressed_logs_and_columns_are_refused() {
    if Flavour::chosen() == Flavour::MySql {
        // It has neither.
        return;
    }
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source
        .run("CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(4000) COMPRESSED) ENGINE = InnoDB")
        .await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;
    source.run("INSERT INTO t VALUES (1, REPEAT('x', 4000))").await;
    let error = end(&mut stream).await;
    assert!(matches!(error, StreamError::NotSupported { .. }), "{error}");

    source.run("CREATE TABLE plain (id INT NOT NULL PRIMARY KEY, v TEXT) ENGINE = InnoDB").await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &[]).await;
    source.run("SET GLOBAL log_bin_compress = ON").await;
    let watched = source.watched(&[]).await;
    let refused = Stream::open(&source.server, &from, watched).await.unwrap_err();
    assert!(matches!(refused, StreamError::NotSupported { .. }), "{refused}");
    // A stream that is open already meets such events.
    source.run("INSERT INTO plain VALUES (1, REPEAT('y', 4000))").await;
    let error = end(&mut stream).await;
    assert!(matches!(error, StreamError::NotSupported { .. }), "{error}");
}

#[tokio::test]
async fn a_position_that_is_gone_is_told_from_a_connection_that_is_lost() {
    let mut server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut follower = source.follow(&from, &["t"]).await;
    source.run("FLUSH BINARY LOGS").await;
    let here = source.here().await;
    source.rest(&mut follower).await;
    drop(follower);
    // The file is in use until the server has noticed that its reader is gone.
    shardway_tests::until("the old log is purged", std::time::Duration::from_secs(20), async || {
        source.connection.query_drop(format!("PURGE BINARY LOGS TO '{}'", here.file)).await.ok()?;
        let logs: Vec<mysql_async::Row> = source.connection.query("SHOW BINARY LOGS").await.unwrap();
        (logs.len() == 1).then_some(())
    })
    .await;
    let mut stream = source.follow(&from, &["t"]).await;
    let error = end(&mut stream).await;
    assert!(matches!(&error, StreamError::Purged { position, .. } if *position == from), "{error}");

    let mut beyond = here.clone();
    beyond.offset += 1_000_000;
    let mut stream = source.follow(&beyond, &["t"]).await;
    let error = end(&mut stream).await;
    assert!(matches!(error, StreamError::Purged { .. }), "{error}");

    let mut stream = source.follow(&here, &["t"]).await;
    source.rest(&mut stream).await;
    server.kill9();
    let error = end(&mut stream).await;
    assert!(matches!(error, StreamError::Lost(_)), "{error}");
}
