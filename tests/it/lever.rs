//! Double write switched off while the target is away: the operator's lever in an emergency.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Shop, rows, until};

/// Carried over, read and written on both sides, with users 1 to 4.
async fn doubled(capture: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    shop.save(&format!("{capture}double_write = \"sync\"")).await;
    connection
        .query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        .await
        .unwrap();
    shop.carry_over().await;
    shop.save(&format!("{capture}double_write = \"sync\"\nreads = 100")).await;
    until("no table is in doubt any more", Duration::from_secs(30), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    (shop, connection)
}

/// The target is away, a key is dirty, and double write is switched off. Then the process ends, and begins again.
async fn pulled(shop: &mut Shop, connection: &mut Conn, capture: &str) {
    shop.own().shards[1].kill9();
    connection.query_drop("UPDATE users SET name = 'left dirty' WHERE id = 2").await.unwrap();
    assert_eq!(shop.of_move()["dirty_keys"], 1);
    // Readers of the target would miss what is written from here on.
    let error = shop.refused(&format!("{capture}double_write = \"off\"\nreads = 100")).await;
    assert!(error.contains("SHD1607"), "{error}");
    shop.save(&format!("{capture}double_write = \"off\"\nreads = 0")).await;
    connection.query_drop("UPDATE users SET name = 'alone' WHERE id = 3").await.unwrap();
    shop.proxy.kill9_and_restart().await;
    assert_eq!(shop.of_move()["dirty_keys"], 1, "the journal still has it");
    *connection = shop.connect().await;
    let name = rows(connection, "SELECT name FROM users WHERE id = 2").await.unwrap();
    assert_eq!(name, ["left dirty"]);
}

#[tokio::test]
async fn with_a_stream_gray_reads_go_on_once_the_target_has_everything() {
    let (mut shop, mut connection) = doubled("").await;
    pulled(&mut shop, &mut connection, "").await;
    let error = shop.refused("double_write = \"off\"\nreads = 100").await;
    assert!(error.contains("SHD1605"), "{error}");
    shop.own().shards[1].restart().await;
    until("the target has what was left dirty", Duration::from_secs(60), async || {
        (shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await == ["left dirty"]).then_some(())
    })
    .await;
    // A text that is there already would not be tried again.
    let mut hold_ms = 3_000;
    until("gray reads may go on", Duration::from_secs(60), async || {
        hold_ms += 1;
        let lines = format!("double_write = \"off\"\nreads = 100\nhold_ms = {hold_ms}");
        shop.saved(&lines).await.is_none().then_some(())
    })
    .await;
    until("dirty keys are healed", Duration::from_secs(60), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    shop.save("double_write = \"sync\"\nreads = 100").await;
    shop.run(&["move", "verify", "shop"]);
}

/// Holds a row of the target as somebody who reads there and thinks about it.
async fn held(shop: &Shop, id: usize) -> Conn {
    let number = id % 4;
    let mut holder = shop.cluster.shards[number / 2].connect(&shop.name).await;
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop(format!("SELECT name FROM users_{number} WHERE id = {id} FOR UPDATE")).await.unwrap();
    holder
}

/// Streams that double write ran ahead of may be slower than what is written, and never at the end of their log.
#[tokio::test]
async fn streams_that_stay_behind_get_past_what_double_write_left() {
    let (shop, mut connection) = doubled("").await;
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    let (mut first, mut second) = (held(&shop, 1).await, held(&shop, 2).await);
    source.query_drop("UPDATE users SET name = 'before' WHERE id = 1").await.unwrap();
    shop.save("double_write = \"off\"\nreads = 0").await;
    until("that is told", Duration::from_secs(60), async || {
        shop.proxy.log().contains("its streams have not caught up yet").then_some(())
    })
    .await;
    source.query_drop("UPDATE users SET name = 'after' WHERE id = 2").await.unwrap();
    first.query_drop("ROLLBACK").await.unwrap();
    until("nothing is left of double write", Duration::from_secs(120), async || {
        let state: Value = serde_json::from_str(&shop.proxy.state_file("moves/shop.json")).ok()?;
        (state["is_behind_double_write"] == false).then_some(())
    })
    .await;
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["before"]);
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["b"]);
    second.query_drop("ROLLBACK").await.unwrap();
    shop.in_step().await;
    shop.save("double_write = \"off\"\nreads = 100").await;
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 2").await.unwrap(), ["after"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn without_a_stream_the_target_is_carried_over_anew() {
    let capture = "capture = \"none\"\n";
    let (mut shop, mut connection) = doubled(capture).await;
    pulled(&mut shop, &mut connection, capture).await;
    shop.own().shards[1].restart().await;
    until("the key is healed", Duration::from_secs(60), async || {
        (shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await == ["left dirty"]).then_some(())
    })
    .await;
    // Nobody noted what was written since.
    let error = shop.refused(&format!("{capture}double_write = \"sync\"\nreads = 100")).await;
    assert!(error.contains("SHD1605"), "{error}");
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 3").await.unwrap(), ["alone"]);
}
