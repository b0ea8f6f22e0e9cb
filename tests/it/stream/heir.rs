//! Another server answers at the address of a stream: it goes on there by the numbers of transactions, or not at all.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::connection;
use shardway_migration::position::Position;
use shardway_migration::stream::{Item, Stream, StreamError};
use shardway_tests::{Flavour, Server, Shop, rows, until};

use super::order::short;
use super::{Source, address, next};

const TABLE: &str = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(40)) ENGINE = InnoDB";

const FIRST: &str = "--server-id=11";
const SECOND: &str = "--server-id=12";

/// Of servers that can succeed each other.
fn options(id: &'static str) -> Vec<&'static str> {
    let own: &[&str] = match Flavour::chosen() {
        Flavour::MariaDb => &["--log-slave-updates"],
        Flavour::MySql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    };
    [&[id, "--log-bin=bin", "--binlog-format=ROW"], own].concat()
}

async fn server(id: &'static str) -> Server {
    Server::start_with(&options(id)).await
}

/// A server that takes over, and replicates until it does.
struct Heir {
    server: Server,
}

impl Heir {
    async fn of(first: &Server) -> Heir {
        let heir = Heir { server: server(SECOND).await };
        heir.server.follow(first).await;
        heir
    }

    /// Until it has that row.
    async fn has(&self, source: &Source, id: u32) {
        self.has_one(&format!("SELECT COUNT(*) FROM {}.t WHERE id = {id}", source.database)).await;
    }

    async fn has_one(&self, sql: &str) {
        until("the replica has the row", Duration::from_secs(60), async || {
            let mut connection = self.server.connect("").await;
            rows(&mut connection, sql).await.is_ok_and(|found| found == ["1"]).then_some(())
        })
        .await;
    }

    /// The same database here.
    async fn source(&self, of: &Source) -> Source {
        let server = address(&self.server);
        let mut connection = connection::connect(&server).await.unwrap();
        connection.query_drop(format!("USE {}", of.database)).await.unwrap();
        Source { server, database: of.database.clone(), connection }
    }

    /// Why a stream cannot go on here.
    async fn refuses(&self, of: &Source, from: &Position) -> StreamError {
        let mut source = self.source(of).await;
        let watched = source.watched(&["t"]).await;
        let mut stream = match Stream::open(&source.server, from, watched).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        loop {
            match next(&mut stream).await {
                Ok(Item::Changes(changes)) => panic!("it goes on with {changes:?}"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_from_a_replica_that_was_promoted() {
    let mut first = server(FIRST).await;
    let heir = Heir::of(&first).await;
    let mut source = Source::on(&first).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;
    source.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    source.run("DELETE FROM t WHERE id = 1").await;
    let seen = source.rest(&mut stream).await;
    assert_eq!(short(&seen), ["+1", "+2", "-1"]);
    let read = seen.positions.last().unwrap().clone();
    source.run("INSERT INTO t VALUES (3, 'not read before')").await;
    heir.has(&source, 3).await;
    heir.server.replica("STOP").await;
    first.kill9();
    let mut promoted = heir.source(&source).await;
    promoted.run("UPDATE t SET v = 'c' WHERE id = 2").await;
    promoted.run("INSERT INTO t VALUES (4, 'd')").await;
    let mut stream = promoted.follow(&read, &["t"]).await;
    let seen = promoted.rest(&mut stream).await;
    assert_eq!(short(&seen), ["+3", "~2", "+4"]);
    let last = seen.positions.last().unwrap();
    assert_ne!(last.server, read.server);
    assert!(read.is_before(last) && !last.is_before(&read), "{read:?} {last:?}");
    promoted.run("INSERT INTO t VALUES (5, 'e')").await;
    let mut again = promoted.follow(&seen.positions[0], &["t"]).await;
    assert_eq!(short(&promoted.rest(&mut again).await).last().unwrap(), "+5");
}

#[tokio::test]
async fn a_promoted_replica_with_the_number_of_the_first_one_is_told_by_its_transactions() {
    let mut first = server(FIRST).await;
    let heir = Heir::of(&first).await;
    let mut source = Source::on(&first).await;
    source.run(TABLE).await;
    // Of other lengths in the two logs, so that the place of one is none, or another one, of the other.
    if Flavour::chosen() == Flavour::MariaDb {
        heir.server.run("SET gtid_domain_id = 7; CREATE DATABASE of_its_own").await;
    }
    source.run("INSERT INTO t VALUES (1, 'a')").await;
    let read = source.here().await;
    source.run("INSERT INTO t VALUES (2, 'not read before')").await;
    heir.has(&source, 2).await;
    heir.server.replica("STOP").await;
    first.kill9();
    if Flavour::chosen() == Flavour::MariaDb {
        heir.server.run("SET GLOBAL server_id = 11").await;
    }
    let mut promoted = heir.source(&source).await;
    let mut stream = promoted.follow(&read, &["t"]).await;
    assert_eq!(short(&promoted.rest(&mut stream).await), ["+2"]);
}

#[tokio::test]
async fn a_server_that_lacks_what_was_read_or_has_purged_what_was_not_is_no_heir() {
    let first = server(FIRST).await;
    let heir = Heir::of(&first).await;
    let mut source = Source::on(&first).await;
    source.run(TABLE).await;
    let early = source.here().await;
    source.run("INSERT INTO t VALUES (1, 'a')").await;
    heir.has(&source, 1).await;
    heir.server.replica("STOP").await;
    source.run("INSERT INTO t VALUES (2, 'lost')").await;
    let late = source.here().await;
    let error = heir.refuses(&source, &late).await;
    assert!(matches!(error, StreamError::Replaced(_)) && error.to_string().contains("SHD1470"), "{error}");
    let nameless = Position { gtids: None, ..early.clone() };
    assert!(heir.refuses(&source, &nameless).await.to_string().contains("SHD1470"));
    let mut promoted = heir.source(&source).await;
    promoted.run("FLUSH BINARY LOGS").await;
    promoted.run("FLUSH BINARY LOGS").await;
    let latest = promoted.here().await.file;
    until("the first log is gone", Duration::from_secs(30), async || {
        promoted.run(&format!("PURGE BINARY LOGS TO '{latest}'")).await;
        let logs = rows(&mut promoted.connection, "SHOW BINARY LOGS").await.unwrap();
        (!logs[0].starts_with("bin.000001")).then_some(())
    })
    .await;
    let error = heir.refuses(&source, &early).await;
    assert!(matches!(error, StreamError::Replaced(_) | StreamError::Purged { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_on_when_its_source_fails_over() {
    let mut shop = Shop::open_moving_with(&options(FIRST)).await;
    let mut heir = Heir::of(&shop.cluster.legacy).await;
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    source.query_drop("INSERT INTO users (id, name) VALUES (4, 'a'), (5, 'b'), (6, 'c')").await.unwrap();
    shop.save("# a move").await;
    shop.run(&["move", "start", "shop"]);
    shop.reaches("Synced").await;
    source.query_drop("UPDATE users SET name = 'before' WHERE id = 4").await.unwrap();
    heir.has_one(&format!("SELECT COUNT(*) FROM {}.users WHERE name = 'before'", shop.name)).await;
    heir.server.replica("STOP").await;
    shop.own().legacy.kill9();
    heir.server.take_over(&shop.cluster.legacy).await;
    shop.own().legacy = heir.server;
    let mut promoted = shop.cluster.legacy.connect(&shop.name).await;
    promoted.query_drop("UPDATE users SET name = 'after' WHERE id = 4").await.unwrap();
    promoted.query_drop("DELETE FROM users WHERE id = 5").await.unwrap();
    until("the stream goes on", Duration::from_secs(60), async || {
        let there = shop.on_shard(0, "SELECT name FROM users_0 UNION ALL SELECT name FROM users_1").await;
        (there == ["after"]).then_some(())
    })
    .await;
    assert_eq!(shop.of_move()["phase"], "Synced");
    shop.run(&["move", "verify", "shop"]);
    // Once more from what was saved, behind places that mean nothing.
    shop.proxy.kill9_and_restart().await;
    promoted.query_drop("UPDATE users SET name = 'again' WHERE id = 4").await.unwrap();
    until("the stream goes on again", Duration::from_secs(60), async || {
        (shop.on_shard(0, "SELECT name FROM users_0").await == ["again"]).then_some(())
    })
    .await;
    shop.run(&["move", "verify", "shop"]);
}
