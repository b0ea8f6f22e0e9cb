//! Double write knows every row that a statement has written, or does not let it pass.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Flavour, Shop, rows, server_error, until};

/// A shop without a stream, whose users are numbered by the server: what double write misses stays missing.
async fn moving() -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let number = "MODIFY id BIGINT NOT NULL AUTO_INCREMENT";
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(format!("ALTER TABLE users {number}")).await.unwrap();
    for place in 0..4 {
        let mut shard = shop.cluster.shards[place / 2].connect(&shop.name).await;
        shard.query_drop(format!("ALTER TABLE users_{place} {number}")).await.unwrap();
    }
    shop.proxy.save_rules(&shop.moving_rules("capture = \"none\"\ndouble_write = \"sync\""));
    assert_eq!(shop.proxy.settled(2).await, None);
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')";
    connection.query_drop(users).await.unwrap();
    shop.carry_over().await;
    (shop, connection)
}

async fn is_equal(shop: &Shop, after: &str) {
    until("dirty keys are healed", Duration::from_secs(30), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    let output = shop.proxy.command(&["move", "verify", "shop"]);
    assert!(output.status.success(), "{after}: {}", String::from_utf8_lossy(&output.stdout));
}

/// Runs it; whatever else, it is refused for its rows or takes place on both sides.
async fn passes(connection: &mut Conn, write: &str) -> bool {
    match connection.query_drop(write).await {
        Ok(()) => true,
        Err(error) => {
            let (code, message) = server_error(&error);
            assert!(message.starts_with("SHD1410") || code != 1235, "{write}: {message}");
            false
        }
    }
}

#[tokio::test]
async fn keys_that_a_server_converts_are_stored_on_both_sides_or_on_none() {
    let (shop, mut connection) = moving().await;
    for mode in ["@@global.sql_mode", "''"] {
        connection.query_drop(format!("SET sql_mode = {mode}")).await.unwrap();
        for begin in ["", "BEGIN"] {
            connection.query_drop(if begin.is_empty() { "DO 0" } else { begin }).await.unwrap();
            for values in [
                "('0', 'q')",
                "(0.0, 'q')",
                "(00, 'q')",
                "(-0, 'q')",
                "(0x00, 'q')",
                "('0', 'a'), ('0', 'b')",
                "('', 'q')",
                "('abc', 'q')",
                "(50.4, 'q')",
                "('51.6', 'q')",
                "(-(5), 'q')",
                "(ABS(-5) - 11, 'q')",
                "(3 + 398, LAST_INSERT_ID(3))",
                "(DEFAULT, 'q')",
                "(NULL, 'q')",
                "(0, 'q')",
                "('77', 'q'), (-78, 'q')",
                "(1 + 0, 'x') ON DUPLICATE KEY UPDATE name = 'n'",
                "(NULL, 'a'), (NULL, 'b')",
            ] {
                passes(&mut connection, &format!("INSERT IGNORE INTO users (id, name) VALUES {values}"))
                    .await;
                passes(&mut connection, &format!("INSERT INTO users (id, name) VALUES {values}")).await;
                passes(&mut connection, &format!("REPLACE INTO users (id, name) VALUES {values}")).await;
            }
            connection.query_drop("INSERT INTO users (name) VALUES ('numbered')").await.unwrap();
            connection
                .exec_drop("INSERT INTO users (id, name) VALUES (?, 'p')", (700 + begin.len(),))
                .await
                .unwrap_or(());
            connection
                .exec_drop("REPLACE INTO users (id, name) VALUES (?, 'p')", ("55.4",))
                .await
                .unwrap_or(());
            connection.query_drop("COMMIT").await.unwrap();
            is_equal(&shop, &format!("sql_mode {mode} {begin}")).await;
        }
    }
    let numbered = rows(&mut connection, "SELECT COUNT(*) FROM users WHERE name = 'numbered'").await.unwrap();
    assert_eq!(numbered, ["4"]);
}

#[tokio::test]
async fn a_condition_that_may_find_other_rows_a_moment_later_is_refused() {
    let (shop, mut connection) = moving().await;
    connection.query_drop("SET @i := 0").await.unwrap();
    for write in [
        "UPDATE users SET balance = 1 WHERE MICROSECOND(SYSDATE(6)) % 2 = id % 2",
        "UPDATE users SET balance = 2 WHERE (@i := @i + 1) = 2",
        "DELETE FROM users WHERE id IN (SELECT 1)",
        "UPDATE users SET balance = 3 WHERE born < NOW()",
        "UPDATE users SET balance = 4 LIMIT 2",
        "UPDATE users SET balance = 5 ORDER BY name LIMIT 2",
    ] {
        assert!(!passes(&mut connection, write).await, "{write}");
    }
    for write in [
        "UPDATE users SET balance = 6 WHERE id = 1 -- and so on\n",
        "UPDATE users SET balance = 7 WHERE LENGTH(CONCAT(name, 'x')) = 2 AND id IN (2, 3)",
        "UPDATE users u SET u.balance = 8 ORDER BY name DESC, u.id LIMIT 1",
        "DELETE FROM users ORDER BY id DESC LIMIT 1",
    ] {
        assert!(passes(&mut connection, write).await, "{write}");
    }
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    assert!(!passes(&mut connection, "UPDATE users SET balance = 9 ORDER BY id LIMIT 1").await);
    if Flavour::chosen() == Flavour::MariaDb {
        for write in [
            "DELETE FROM users WHERE id = 1 RETURNING id",
            "INSERT INTO users (name) VALUES ('r') RETURNING id",
        ] {
            let error = connection.query_drop(write).await.unwrap_err();
            assert!(server_error(&error).1.starts_with("SHD1412"), "{error}");
        }
    }
    is_equal(&shop, "all of them").await;
    assert_eq!(
        rows(&mut connection, "SELECT balance FROM users ORDER BY id").await.unwrap(),
        ["6.00", "7.00", "7.00"]
    );
}

#[tokio::test]
async fn a_row_that_comes_between_is_not_missed() {
    let (shop, mut connection) = moving().await;
    let rows_of: Vec<String> = (10..60).map(|id| format!("({id}, 'r', 9)")).collect();
    let insert = format!("INSERT INTO users (id, name, region_id) VALUES {}", rows_of.join(", "));
    connection.query_drop(insert).await.unwrap();
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    connection.query_drop("UPDATE users SET balance = 1 WHERE region_id = 9").await.unwrap();
    // The statement waits for a lock after it has passed the place of the new row.
    let mut blocker = shop.cluster.legacy.connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users WHERE id = 59 FOR UPDATE").await.unwrap();
    let update = tokio::spawn(async move {
        let answer = connection.query_drop("UPDATE users SET balance = 1 WHERE region_id = 9").await;
        (connection, answer)
    });
    let mut other = shop.connect().await;
    until("the update waits", Duration::from_secs(20), async || {
        let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%FOR UPDATE' AND ID <> CONNECTION_ID()";
        (rows(&mut blocker, waiting).await.unwrap() == ["1"]).then_some(())
    })
    .await;
    other.query_drop("INSERT INTO users (id, name, region_id) VALUES (5, 'late', 9)").await.unwrap();
    blocker.query_drop("COMMIT").await.unwrap();
    let (_connection, answer) = update.await.unwrap();
    if let Err(error) = answer {
        assert!(server_error(&error).1.starts_with("SHD1410"), "{error}");
    }
    is_equal(&shop, "the late row").await;
}
