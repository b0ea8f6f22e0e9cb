//! Rows of several shards under one primary key, while the other side of their move is a single table: each shard
//! allows them, the table has room for one.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error, until};

const SWITCHED: &str = "reads = 100\nwrites = \"target\"";

/// A shop whose writes have gone over to the shards, under this kind of double write.
async fn switched(double_write: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    connection
        .query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        .await
        .unwrap();
    shop.carry_over().await;
    shop.save(&format!("double_write = \"{double_write}\"")).await;
    shop.save(&format!("double_write = \"{double_write}\"\n{SWITCHED}")).await;
    (shop, connection)
}

async fn on_source(shop: &Shop, sql: &str) -> Vec<String> {
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    rows(&mut legacy, sql).await.unwrap()
}

/// The source has these rows of orders, in the end.
async fn source_gets(shop: &Shop, condition: &str, expected: &[&str]) {
    let sql = format!("SELECT id, user_id, note FROM orders WHERE {condition} ORDER BY id");
    until("the source has the rows", Duration::from_secs(30), async || {
        (on_source(shop, &sql).await == expected).then_some(())
    })
    .await;
}

async fn nothing_dirty(shop: &Shop) {
    until("dirty keys are healed", Duration::from_secs(60), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
}

fn verified(shop: &Shop) {
    let output = shop.proxy.command(&["move", "verify", "shop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn run(connection: &mut Conn, statements: &[&str]) {
    for sql in statements {
        connection.query_drop(*sql).await.expect(sql);
    }
}

#[tokio::test]
async fn strict_double_write_refuses_what_the_source_would_refuse() {
    let (shop, mut connection) = switched("strict").await;
    run(&mut connection, &["INSERT INTO orders (id, user_id, amount, note) VALUES (100, 1, 1, 'first')"])
        .await;
    let second = "INSERT INTO orders (id, user_id, amount, note) VALUES (100, 2, 1, 'second')";
    let error = server_error(&connection.query_drop(second).await.unwrap_err());
    assert!(error.0 == 1062 && error.1.starts_with("SHD1440"), "{error:?}");
    run(&mut connection, &["BEGIN", second]).await;
    let error = server_error(&connection.query_drop("COMMIT").await.unwrap_err());
    assert!(error.1.starts_with("SHD1440"), "{error:?}");
    let all = "SELECT user_id FROM orders WHERE id = 100";
    assert_eq!(rows(&mut connection, all).await.unwrap(), ["1"]);
    // The shard's own way of having two: nobody asked the source.
    let mut shard = shop.cluster.shards[1].connect(&shop.name).await;
    let direct = "INSERT INTO orders_2 (id, user_id, amount, note) VALUES (100, 2, 1, 'direct')";
    shard.query_drop(direct).await.unwrap();
    let update = "UPDATE orders SET note = 'lost' WHERE id = 100 AND user_id = 2";
    let error = server_error(&connection.query_drop(update).await.unwrap_err());
    assert!(error.1.starts_with("SHD1440"), "{error:?}");
    run(&mut connection, &["DELETE FROM orders WHERE id = 100 AND user_id = 2"]).await;
    source_gets(&shop, "id = 100", &["100|1|first"]).await;
    // Another user's row under a key that was given back.
    run(&mut connection, &["DELETE FROM orders WHERE id = 100 AND user_id = 1", second]).await;
    source_gets(&shop, "id = 100", &["100|2|second"]).await;
    verified(&shop);
}

#[tokio::test]
async fn a_key_of_two_shards_stays_dirty_until_one_of_them_gives_it_back() {
    let (shop, mut connection) = switched("sync").await;
    run(
        &mut connection,
        &[
            "INSERT INTO orders (id, user_id, amount, note) VALUES (100, 1, 1, 'first'), (101, 1, 1, 'kept')",
            "INSERT INTO orders (id, user_id, amount, note) VALUES (100, 2, 1, 'second')",
            "UPDATE orders SET note = 'again' WHERE id = 100 AND user_id = 2",
            "UPDATE orders SET note = 'other' WHERE id = 101 AND user_id = 1",
        ],
    )
    .await;
    source_gets(&shop, "id >= 100", &["100|1|first", "101|1|other"]).await;
    assert!(shop.of_move()["dirty_keys"].as_u64() > Some(0));
    run(&mut connection, &["DELETE FROM orders WHERE id = 100 AND user_id = 1"]).await;
    source_gets(&shop, "id >= 100", &["100|2|again", "101|1|other"]).await;
    nothing_dirty(&shop).await;
    verified(&shop);
}

#[tokio::test]
async fn streams_back_never_take_a_row_for_another_shards() {
    let (shop, mut connection) = switched("off").await;
    run(
        &mut connection,
        &[
            "INSERT INTO orders (id, user_id, amount, note) VALUES (100, 1, 1, 'first')",
            "INSERT INTO orders (id, user_id, amount, note) VALUES (200, 1, 1, 'same server')",
        ],
    )
    .await;
    source_gets(&shop, "id >= 100", &["100|1|first", "200|1|same server"]).await;
    run(&mut connection, &["INSERT INTO orders (id, user_id, amount, note) VALUES (100, 2, 1, 'second')"])
        .await;
    until("somebody is told", Duration::from_secs(30), async || {
        let status = shop.of_move().to_string();
        status.contains("several shards").then_some(())
    })
    .await;
    assert_eq!(on_source(&shop, "SELECT note FROM orders WHERE id = 100").await, ["first"]);
    run(&mut connection, &["DELETE FROM orders WHERE id = 100 AND user_id = 1"]).await;
    source_gets(&shop, "id = 100", &["100|2|second"]).await;
    // Keys that go from shard to shard: the streams of their servers bring the two halves in any order.
    for round in 0..10 {
        for user in 1..5 {
            let insert = format!(
                "INSERT INTO orders (id, user_id, amount, note) VALUES (300, {user}, 1, '{round}'), (301, {user}, 1, '{round}')"
            );
            let update = format!("UPDATE orders SET note = 'u{round}' WHERE user_id = {user} AND id >= 300");
            run(&mut connection, &[&insert, &update]).await;
            if (round, user) != (9, 4) {
                let delete = format!("DELETE FROM orders WHERE user_id = {user} AND id >= 300");
                run(&mut connection, &[&delete]).await;
            }
        }
    }
    source_gets(&shop, "id >= 200", &["200|1|same server", "300|4|u9", "301|4|u9"]).await;
    verified(&shop);
}
