//! What comes to a move's tables after its preflight: double write and streams cannot see it, so nothing more goes over
//! to the target until it is gone and both sides have been compared.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{On, Shop, server_error, until};

/// Carried over and written on both sides.
async fn doubled(capture: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    shop.save(&format!("{capture}double_write = \"sync\"")).await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    shop.carry_over().await;
    (shop, connection)
}

#[tokio::test]
async fn gray_reads_wait_until_what_came_is_gone_and_the_sides_are_compared() {
    type Case = (On, &'static str, &'static str, &'static str);
    const COLUMN: Case =
        (On::Source, "ALTER TABLE users ADD COLUMN late INT", "ALTER TABLE users DROP COLUMN late", "late");
    const CASCADE: Case = (
        On::Source,
        "ALTER TABLE orders ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE",
        "ALTER TABLE orders DROP FOREIGN KEY c",
        "PF302",
    );
    const CASCADE_THERE: Case = (
        On::Target,
        "ALTER TABLE orders_0 ADD CONSTRAINT c FOREIGN KEY (user_id) REFERENCES users_0 (id) ON DELETE CASCADE",
        "ALTER TABLE orders_0 DROP FOREIGN KEY c",
        "PF302",
    );
    const TRIGGER: Case = (
        On::Source,
        "CREATE TRIGGER t AFTER INSERT ON settings FOR EACH ROW UPDATE users SET email = NEW.name",
        "DROP TRIGGER t",
        "PF306",
    );
    // A stream stops by itself at the definition of a table that it follows.
    let cases =
        [("capture = \"none\"\n", vec![COLUMN, CASCADE, TRIGGER]), ("", vec![TRIGGER, CASCADE_THERE])];
    for (capture, changes) in cases {
        let (shop, mut connection) = doubled(capture).await;
        let (both, gray) = (
            format!("{capture}double_write = \"sync\""),
            format!("{capture}double_write = \"sync\"\nreads = 100"),
        );
        let mut hold_ms = 3_000;
        for (on, change, back, said) in changes {
            let server = match on {
                On::Source => &shop.cluster.legacy,
                On::Target => &shop.cluster.shards[0],
            };
            let mut there = server.connect(&shop.name).await;
            there.query_drop(change).await.expect(change);
            let error = shop.refused(&gray).await;
            assert!(error.contains("SHD1441") && error.contains(said), "{error}");
            there.query_drop(back).await.expect(back);
            // What it did while it was there, nobody has looked at.
            let error = shop.refused(&format!("{gray}\nhold_ms = 2999")).await;
            assert!(error.contains("SHD1605"), "{error}");
            until("a comparison counts", Duration::from_secs(30), async || {
                shop.run(&["move", "verify", "shop"]);
                hold_ms += 1;
                shop.saved(&format!("{gray}\nhold_ms = {hold_ms}")).await.is_none().then_some(())
            })
            .await;
            shop.save(&both).await;
        }
        connection.query_drop("UPDATE users SET name = 'still' WHERE id = 1").await.unwrap();
    }
}

#[tokio::test]
async fn definitions_of_moving_tables_are_refused_through_the_proxy() {
    let (shop, mut connection) = doubled("capture = \"none\"\n").await;
    for sql in [
        "ALTER TABLE users ADD COLUMN late INT",
        "CREATE INDEX late ON users (name)",
        "DROP INDEX late ON users",
        "DROP TABLE orders",
        "TRUNCATE TABLE users",
        "RENAME TABLE users TO others",
        "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW SET @a = 1",
        "CREATE TRIGGER t AFTER INSERT ON settings FOR EACH ROW UPDATE users SET email = NEW.name",
        "ALTER TABLE settings ADD FOREIGN KEY (id) REFERENCES users (id) ON DELETE CASCADE",
        "CREATE TABLE extra (id BIGINT PRIMARY KEY, FOREIGN KEY (id) REFERENCES users (id) ON DELETE CASCADE)",
        "OPTIMIZE TABLE users",
    ] {
        let error = server_error(&connection.query_drop(sql).await.expect_err(sql));
        assert!(error.1.starts_with("SHD"), "{sql}: {error:?}");
    }
    assert_eq!(shop.of_move()["dirty_keys"], 0);
}

#[tokio::test]
async fn what_comes_while_rows_are_written_twice_is_told() {
    let (shop, _connection) = doubled("capture = \"none\"\n").await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("ALTER TABLE users ADD COLUMN late INT").await.unwrap();
    until("somebody is told", Duration::from_secs(60), async || {
        let told = shop.of_move()["last_error"].to_string();
        (told.contains("SHD1441") && told.contains("late")).then_some(())
    })
    .await;
}
