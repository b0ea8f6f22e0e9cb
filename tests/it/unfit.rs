//! Backends whose own settings would give statements another meaning than the proxy sees in them.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Proxy, Server, Shop, rows, server_error, until};

/// A proxy before a server with these options.
async fn before(options: &[&str]) -> (Server, Conn, Proxy) {
    let server = Server::start_with(options).await;
    let mut direct = server.connect("").await;
    direct.query_drop("CREATE DATABASE shop").await.unwrap();
    let rules = format!(
        "[backends.one]\nprimary = \"mysql://shop:shop@127.0.0.1:{}/shop\"\n[databases.shop]\ndefault = \"one\"\n",
        server.port()
    );
    let proxy = Proxy::start(&rules).await;
    (server, direct, proxy)
}

#[tokio::test]
async fn a_backend_that_reads_statements_otherwise_is_not_used_until_it_does() {
    for (option, mode, right) in [
        ("--sql-mode=ANSI_QUOTES", "ANSI_QUOTES", "SET GLOBAL sql_mode = ''"),
        (
            "--sql-mode=STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES",
            "NO_BACKSLASH_ESCAPES",
            "SET GLOBAL sql_mode = ''",
        ),
        ("--autocommit=0", "autocommit", "SET GLOBAL autocommit = 1"),
    ] {
        let (_server, mut direct, proxy) = before(&[option]).await;
        // The driver asks for variables as it connects.
        let error = Conn::new(proxy.options("app", "app", "shop")).await.unwrap_err();
        let (_, message) = server_error(&error);
        assert!(message.starts_with("SHD1505") && message.contains(mode), "{message}");
        direct.query_drop(right).await.unwrap();
        let mut connection = proxy.connect("shop").await;
        assert_eq!(rows(&mut connection, "SELECT 1 FROM DUAL").await.unwrap(), ["1"]);
    }
}

#[tokio::test]
async fn a_connection_reads_statements_as_it_did_at_first() {
    let (_server, mut direct, proxy) = before(&[]).await;
    let mut first = proxy.connect("shop").await;
    first.query_drop("SET lock_wait_timeout = 7").await.unwrap();
    let was = rows(&mut first, "SELECT CONNECTION_ID(), @@lock_wait_timeout FROM DUAL").await.unwrap();
    direct.query_drop("SET GLOBAL sql_mode = 'ANSI_QUOTES', GLOBAL autocommit = 0").await.unwrap();
    first.disconnect().await.unwrap();
    // Whoever follows on the same connection has it reset. A new one is not to be had any more.
    let mut second = until("the connection is given back", Duration::from_secs(30), async || {
        Conn::new(proxy.options("app", "app", "shop")).await.ok()
    })
    .await;
    let text = "SELECT \"text\", @@lock_wait_timeout <> 7, @@autocommit, @@sql_mode LIKE '%ANSI%' FROM DUAL";
    assert_eq!(rows(&mut second, text).await.unwrap(), ["text|1|1|0"], "after {was:?}");
}

#[tokio::test]
async fn no_session_keeps_its_writes_out_of_the_log() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    for set in [
        "SET sql_log_bin = 0",
        "SET SESSION sql_log_bin = OFF",
        "SET @@session.sql_log_bin = 0",
        "SET @@sql_log_bin := 0, @a = 1",
        "SET NAMES utf8mb4, sql_log_bin = 0",
        "SET binlog_format = 'STATEMENT'",
        "SET LOCAL binlog_row_image = minimal",
        "/*!50000 SET sql_log_bin = 0 */",
    ] {
        let error = connection.query_drop(set).await.unwrap_err();
        assert!(server_error(&error).1.starts_with("SHD1112"), "{set}: {error}");
    }
    connection.query_drop("SET SESSION sql_mode = ''").await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT @@session.sql_log_bin").await.unwrap(), ["1"]);
}
