//! Clients and backends that misbehave: each gets a clear error, and nothing leaks.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::raw::RawClient;
use shardway_tests::{Proxy, Server, Shop, rows, server_error, until};

async fn nobody_is_left(shop: &Shop) {
    until("the sessions have ended", Duration::from_secs(20), async || {
        (shop.proxy.status()["sessions"]["count"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn broken_packets_end_their_own_session_only() {
    let shop = Shop::open_with("[limits]\nmax_packet = 100000\nhandshake_timeout_s = 1\n").await;
    let mut witness = shop.connect().await;
    let port = shop.proxy.port();
    let (mut garbage, _) = RawClient::connect(port);
    garbage.send(1, b"\xff\xff not a login");
    assert_eq!(garbage.packet().unwrap()[..3], [0xFF, 0x13, 0x04], "1043");
    let (mut half, _) = RawClient::connect(port);
    half.bytes(&[50, 0, 0, 1, 1, 2]);
    assert_eq!(half.packet(), None);
    let mut large = RawClient::log_in(port);
    large.bytes(&[0, 0, 0x7F, 0, 3]);
    assert_eq!(large.packet().unwrap()[..3], [0xFF, 0x81, 0x04], "1153");
    assert_eq!(large.packet(), None);
    let mut unknown = RawClient::log_in(port);
    unknown.send(0, &[0x55, 1, 2]);
    assert_eq!(unknown.packet().unwrap()[..3], [0xFF, 0x17, 0x04], "1047");
    unknown.send(0, &[0x17, 9]);
    assert_eq!(unknown.packet().unwrap()[0], 0xFF);
    unknown.send(0, &[0x0E]);
    assert_eq!(unknown.packet().unwrap()[0], 0);
    witness.ping().await.unwrap();
    drop((witness, unknown));
    nobody_is_left(&shop).await;
    assert!(!shop.proxy.log().contains("panicked"), "{}", shop.proxy.log());
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_statement_and_its_transaction_with_it() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    let port = shop.proxy.port();
    let mut vanishing = RawClient::log_in(port);
    vanishing.send(0, format!("\x03USE {}", shop.name).as_bytes());
    assert_eq!(vanishing.packet().unwrap()[0], 0);
    for sql in ["\x03BEGIN", "\x03UPDATE users SET name = 'x' WHERE id = 1"] {
        vanishing.send(0, sql.as_bytes());
        assert_eq!(vanishing.packet().unwrap()[0], 0);
    }
    vanishing.send(0, b"\x03SELECT SLEEP(100) FROM users WHERE id = 2");
    let mut shard = shop.cluster.shards[1].connect(&shop.name).await;
    let sleeping = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(100)%'";
    until("the statement runs", Duration::from_secs(10), async || {
        (rows(&mut shard, sleeping).await.unwrap() == ["1"]).then_some(())
    })
    .await;
    drop(vanishing);
    until("the statement has ended", Duration::from_secs(10), async || {
        (rows(&mut shard, sleeping).await.unwrap() == ["0"]).then_some(())
    })
    .await;
    connection.query_drop("UPDATE users SET name = 'y' WHERE id = 1").await.unwrap();
    drop(connection);
    nobody_is_left(&shop).await;
}

#[tokio::test]
async fn sessions_that_come_and_go_leave_no_connection_behind() {
    let shop = Shop::open().await;
    for round in 0..40 {
        let mut connection = shop.connect().await;
        connection.query_drop("BEGIN").await.unwrap();
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({round}, 'a')")).await.unwrap();
        let _ = connection.query_drop("SELECT nonsense FROM users WHERE id = 1").await;
        if round % 2 == 0 {
            drop(connection);
        } else {
            connection.disconnect().await.unwrap();
        }
    }
    nobody_is_left(&shop).await;
    let open = shop.backend_connections();
    assert!(open <= 12, "{open} connections are open");
}

#[tokio::test]
async fn a_backend_that_is_down_is_told_and_sessions_live_on() {
    let mut own = Server::start().await;
    let mut direct = own.connect("").await;
    direct.query_drop("CREATE DATABASE alone").await.unwrap();
    let rules = format!(
        "[backends.only]\nprimary = \"mysql://shop:shop@127.0.0.1:{}/alone\"\n[databases.alone]\ndefault = \"only\"\n",
        own.port()
    );
    let proxy = Proxy::start(&rules).await;
    let mut connection = proxy.connect("alone").await;
    connection.query_drop("CREATE TABLE t (id INT)").await.unwrap();
    own.kill9();
    // The statement's outcome is unknown, so the connection ends as a lost server's would, or the refusal is clear.
    let _ = connection.query_drop("INSERT INTO t VALUES (1)").await;
    // The driver asks for the packet size when it logs in, which a backend would have to answer.
    let error = Conn::new(proxy.options("app", "app", "alone")).await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1501"), "{error}");
    until("the status says so", Duration::from_secs(10), async || {
        (proxy.status()["backends"][0]["state"] == "down").then_some(())
    })
    .await;
    let mut raw = RawClient::log_in(proxy.port());
    raw.send(0, &[0x0E]);
    assert_eq!(raw.packet().unwrap()[0], 0, "a session lives on without backends");
}
