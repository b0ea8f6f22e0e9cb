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
    witness.query_drop("SELECT * FROM nosuch").await.unwrap_err();
    drop((witness, unknown));
    nobody_is_left(&shop).await;
    let log = shop.proxy.log();
    assert!(!log.contains("panicked"), "{log}");
    for told in ["did not finish its handshake", "a client broke the protocol", "a statement failed"] {
        assert!(log.contains(told), "{told}: {log}");
    }
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

/// Clients that break off or talk nonsense, each in its own way.
fn barrage(shop: &Shop) {
    let port = shop.proxy.port();
    let entered = || {
        let mut client = RawClient::log_in(port);
        client.send(0, format!("\x02{}", shop.name).as_bytes());
        assert_eq!(client.packet().unwrap()[0], 0);
        client
    };
    for bytes in [
        &b""[..],
        b"\x01",
        b"\x30\0\0\x01",
        b"\x05\0\0\x01hello",
        b"\0\0\x10\x01too long",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let (mut client, _) = RawClient::connect(port);
        client.bytes(bytes);
    }
    // Every command, cut off after each of its first bytes.
    for code in 0..=0x20_u8 {
        for argument in [
            &b""[..],
            b"\x01",
            b"\x01\0\0",
            b"\x01\0\0\0",
            b"\x01\0\0\0\x01\x01\0\0\0\xff\xff",
            b"\xff\xfe\xfd",
        ] {
            // COM_PROCESS_KILL of the first session would do as it says.
            if code == 0x0C && argument.len() >= 4 {
                continue;
            }
            let mut client = entered();
            client.command(code, argument);
            client.bytes(&[9, 0, 0]);
        }
    }
    // In the middle of statements: one shard, all of them, a transaction, a write to all.
    for statements in [
        &["SELECT SLEEP(30) FROM users WHERE id = 1"][..],
        &["SELECT id, SLEEP(30) FROM users ORDER BY id"],
        &["BEGIN", "UPDATE users SET name = 'gone'", "SELECT SLEEP(30) FROM users"],
        &["UPDATE users SET name = 'done' WHERE SLEEP(0.2) = 0"],
        &["SELECT REPEAT('x', 10000000) FROM users"],
        &["SET @a = 1", "SELECT SLEEP(30), @a"],
        &["SET autocommit = 0", "DELETE FROM users", "SELECT nonsense"],
    ] {
        let mut client = entered();
        for (nth, sql) in statements.iter().enumerate() {
            client.command(3, sql.as_bytes());
            if nth + 1 < statements.len() {
                client.answer();
            }
        }
    }
}

/// Connections that the servers see.
async fn connections(shop: &Shop) -> u64 {
    let mut seen = 0;
    for server in [&shop.cluster.legacy, &shop.cluster.shards[0], &shop.cluster.shards[1]] {
        let mut connection = server.connect("").await;
        let sql = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{}'", shop.name);
        seen += rows(&mut connection, &sql).await.unwrap()[0].parse::<u64>().unwrap();
    }
    seen
}

#[tokio::test]
async fn nothing_leaks_whatever_clients_do() {
    let shop = Shop::open_with("[limits]\nmax_packet = 100000\nhandshake_timeout_s = 1\n").await;
    let mut witness = shop.connect().await;
    witness
        .query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        .await
        .unwrap();
    for _ in 0..3 {
        barrage(&shop);
        until("the others are gone", Duration::from_secs(30), async || {
            (shop.proxy.status()["sessions"]["count"] == 1).then_some(())
        })
        .await;
        // Those in the pool are for the next client; how many there are depends on who met whom.
        until(
            "the servers see the connections of the pool, and nobody holds one",
            Duration::from_secs(30),
            async || {
                let seen = connections(&shop).await;
                (shop.backend_connections() == (seen, 0)).then_some(())
            },
        )
        .await;
    }
    assert_eq!(rows(&mut witness, "SELECT COUNT(*) FROM users WHERE id = 1").await.unwrap(), ["1"]);
    assert_eq!(rows(&mut witness, "SELECT id FROM users ORDER BY id").await.unwrap().len(), 4);
    let listed = rows(&mut witness, "SHOW PROCESSLIST").await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let log = shop.proxy.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn who_has_not_logged_in_may_not_fill_memory() {
    let shop = Shop::open().await;
    let (mut client, _) = RawClient::connect(shop.proxy.port());
    client.bytes(&[0, 0, 0x20, 1]);
    assert_eq!(client.packet().unwrap()[..3], [0xFF, 0x13, 0x04], "1043");
    assert_eq!(client.packet(), None);
}

#[tokio::test]
async fn a_shard_that_is_down_fails_what_needs_it_and_nothing_else() {
    let (mut gone, there) = tokio::join!(Server::start(), Server::start());
    for server in [&gone, &there] {
        let mut direct = server.connect("").await;
        for sql in ["CREATE DATABASE half", "CREATE TABLE half.t (id BIGINT PRIMARY KEY, n INT)"] {
            direct.query_drop(sql).await.unwrap();
        }
    }
    let backend = |name: &str, server: &Server| {
        format!("[backends.{name}]\nprimary = \"mysql://shop:shop@127.0.0.1:{}/half\"\n", server.port())
    };
    let rules = format!(
        "{}{}[databases.half]\ndefault = \"b\"\n[tables.t]\nshard_key = \"id\"\nfunction = {{ kind = \"mod\", shards = 2 }}\nnodes = \"{{a,b}}.t\"\n",
        backend("a", &gone),
        backend("b", &there),
    );
    let proxy = Proxy::start(&rules).await;
    let mut open = proxy.connect("half").await;
    open.query_drop("INSERT INTO t VALUES (1, 1), (2, 2)").await.unwrap();
    let mut inside = proxy.connect("half").await;
    inside.query_drop("BEGIN").await.unwrap();
    inside.query_drop("UPDATE t SET n = 9 WHERE id IN (1, 2)").await.unwrap();
    gone.kill9();
    // Its transaction is lost with the shard, which it is told by the end of its connection or an error.
    assert!(inside.query_drop("UPDATE t SET n = 9 WHERE id = 2").await.is_err());
    assert!(inside.query_drop("COMMIT").await.is_err(), "a lost transaction was committed");
    until("what needs the shard is refused", Duration::from_secs(20), async || {
        let mut fresh = proxy.connect("half").await;
        let error = fresh.query_drop("SELECT n FROM t WHERE id = 2").await.err()?;
        matches!(&error, mysql_async::Error::Server(error) if error.message.starts_with("SHD1501"))
            .then_some(())
    })
    .await;
    let mut fresh = proxy.connect("half").await;
    for sql in ["SELECT n FROM t ORDER BY id", "UPDATE t SET n = 5", "INSERT INTO t VALUES (3, 3), (4, 4)"] {
        let error = fresh.query_drop(sql).await.unwrap_err();
        assert!(server_error(&error).1.starts_with("SHD1501"), "{sql}: {error}");
    }
    assert_eq!(
        rows(&mut fresh, "SELECT n FROM t WHERE id = 1").await.unwrap(),
        ["1"],
        "nothing was half done"
    );
    fresh.query_drop("INSERT INTO t VALUES (5, 5)").await.unwrap();
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
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
    let (open, _) = shop.backend_connections();
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
