//! XA transactions count where they are committed.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_migration::connection;
use shardway_migration::stream::StreamError;
use shardway_tests::Server;

use super::{Source, end};

const TABLE: &str = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(40)) ENGINE = InnoDB";

/// Brings a transaction that inserts a row up to its preparation, in a session of its own.
async fn prepare(source: &Source, xid: &str, id: u32) -> Conn {
    let mut connection = connection::connect(&source.server).await.unwrap();
    connection.query_drop(format!("XA START {xid}")).await.unwrap();
    connection.query_drop(format!("INSERT INTO {}.t VALUES ({id}, 'xa')", source.database)).await.unwrap();
    connection.query_drop(format!("XA END {xid}")).await.unwrap();
    connection.query_drop(format!("XA PREPARE {xid}")).await.unwrap();
    connection
}

fn ids(seen: &super::Seen) -> Vec<String> {
    use shardway_migration::stream::Change::{Delete, Insert, Update};
    let image = |row: &shardway_migration::stream::RowChange| match &row.change {
        Insert(image) | Delete(image) | Update { after: image, .. } => image.0[0].clone().unwrap(),
    };
    seen.changes.iter().map(|row| String::from_utf8(image(row)).unwrap()).collect()
}

#[tokio::test]
async fn rows_come_with_the_commit_and_positions_wait_for_it() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;

    let mut first = prepare(&source, "'a\\'b', x'FF00', 7", 1).await;
    let mut second = prepare(&source, "'b'", 2).await;
    source.run("INSERT INTO t VALUES (3, 'between')").await;
    let seen = source.rest(&mut stream).await;
    assert_eq!(ids(&seen), ["3"]);
    let waits = seen.positions.last().unwrap().clone();
    assert!(
        seen.positions.iter().all(|position| *position == from),
        "a stream begun later would miss the rows"
    );

    first.query_drop("XA COMMIT 'a\\'b', x'FF00', 7").await.unwrap();
    let seen = source.rest(&mut stream).await;
    assert_eq!(ids(&seen), ["1"]);
    second.query_drop("XA ROLLBACK 'b'").await.unwrap();
    source.run("INSERT INTO t VALUES (4, 'after')").await;
    let after = source.here().await;
    let seen = source.rest(&mut stream).await;
    assert_eq!(ids(&seen), ["4"]);
    assert!(seen.positions.contains(&after), "nothing waits any more");

    let mut again = source.follow(&waits, &["t"]).await;
    assert_eq!(ids(&source.rest(&mut again).await), ["3", "1", "4"]);
}

#[tokio::test]
async fn one_phase_is_like_any_commit() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;
    for sql in ["XA START 'c'", "INSERT INTO t VALUES (1, 'x')", "XA END 'c'", "XA COMMIT 'c' ONE PHASE"] {
        source.run(sql).await;
    }
    for sql in ["XA START 'd'", "INSERT INTO t VALUES (2, 'x')", "XA END 'd'", "XA ROLLBACK 'd'"] {
        source.run(sql).await;
    }
    assert_eq!(ids(&source.rest(&mut stream).await), ["1"]);
}

#[tokio::test]
async fn rows_that_were_prepared_before_the_stream_are_not_lost_in_silence() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let mut committed = prepare(&source, "'a'", 1).await;
    let mut rolled_back = prepare(&source, "'b'", 2).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;
    rolled_back.query_drop("XA ROLLBACK 'b'").await.unwrap();
    assert_eq!(ids(&source.rest(&mut stream).await), Vec::<String>::new());
    committed.query_drop("XA COMMIT 'a'").await.unwrap();
    let error = end(&mut stream).await;
    assert!(matches!(&error, StreamError::PreparedEarlier { xid } if xid == "X'61',X'',1"), "{error}");
}
