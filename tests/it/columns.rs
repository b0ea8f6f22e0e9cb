//! A backend that is down when the rules are read takes no shard from the others.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error, until};

/// A shop on servers of its own, with the users 1 to 8: 0, 1, 4, 5, 8 on the first backend, 2, 3, 6, 7 on the second.
async fn open() -> Shop {
    let shop = Shop::open_alone().await;
    let mut connection = shop.connect().await;
    for id in 1..=8 {
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')")).await.unwrap();
    }
    shop
}

/// Why a user cannot be had.
async fn refusal(shop: &Shop, id: u32) -> String {
    let mut connection = shop.connect().await;
    let asked = rows(&mut connection, &format!("SELECT name FROM users WHERE id = {id}")).await;
    server_error(&asked.expect_err("its shard is down")).1
}

async fn name_of(shop: &Shop, id: u32) -> Vec<String> {
    let mut connection = shop.connect().await;
    rows(&mut connection, &format!("SELECT name FROM users WHERE id = {id}")).await.unwrap()
}

fn unconfirmed(shop: &Shop) -> usize {
    shop.proxy.status()["rules"]["unconfirmed_columns"].as_array().unwrap().len()
}

async fn confirmed(shop: &Shop) {
    until("the columns are confirmed", Duration::from_secs(20), async || {
        (unconfirmed(shop) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn healthy_shards_are_served_over_reloads_and_restarts_while_the_first_one_is_down() {
    let mut shop = open().await;
    shop.own().shards[0].kill9();
    let reloaded = format!("{}[transactions]\nacross_shards = \"refuse\"\n", shop.rules());
    shop.proxy.save_rules(&reloaded);
    assert_eq!(shop.proxy.settled(2).await, None);
    assert_eq!(name_of(&shop, 2).await, ["u2"]);
    assert!(refusal(&shop, 1).await.contains("SHD1501"));
    shop.proxy.kill9_and_restart().await;
    assert_eq!(name_of(&shop, 3).await, ["u3"]);
    assert!(refusal(&shop, 4).await.contains("SHD1501"));
    assert_eq!(unconfirmed(&shop), 3, "users, orders, regions");
    shop.own().shards[0].restart().await;
    confirmed(&shop).await;
    assert_eq!(name_of(&shop, 4).await, ["u4"]);
}

#[tokio::test]
async fn columns_outlive_every_backend_of_their_table_and_are_compared_when_it_is_back() {
    let mut shop = open().await;
    for shard in [0, 1] {
        let mut connection = shop.cluster.shards[shard].connect(&shop.name).await;
        let added = format!("ALTER TABLE users_{} ADD COLUMN nick VARCHAR(20)", 2 * shard);
        connection.query_drop(added).await.unwrap();
        drop(connection);
        shop.own().shards[shard].kill9();
    }
    shop.proxy.kill9_and_restart().await;
    assert!(refusal(&shop, 1).await.contains("SHD1501"), "its columns are known, its server is down");
    assert!(shop.proxy.log().contains("those told last stand in"));
    for shard in [0, 1] {
        shop.own().shards[shard].restart().await;
    }
    confirmed(&shop).await;
    assert!(shop.proxy.log().contains("the columns are others than those that the table was served by"));
    assert!(shop.proxy.log().contains("the columns are confirmed"));
    assert_eq!(name_of(&shop, 1).await, ["u1"]);
}

#[tokio::test]
async fn damaged_columns_are_not_used() {
    let mut shop = open().await;
    shop.own().shards[0].kill9();
    shop.own().shards[1].kill9();
    shop.proxy.kill9();
    let kept = shop.proxy.state_file("columns.json");
    assert!(kept.contains("\"longest\""), "{kept}");
    shop.proxy.write_state_file("columns.json", &kept.replace("region_id", "region_ix"));
    shop.proxy.restart().await;
    assert!(shop.proxy.log().contains("do not fit their fingerprint"));
    assert!(refusal(&shop, 1).await.contains("SHD1220"), "nothing is guessed");
    shop.own().shards[1].restart().await;
    until("the other backend tells them", Duration::from_secs(20), async || {
        let mut connection = shop.connect().await;
        rows(&mut connection, "SELECT name FROM users WHERE id = 2").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_under_double_write_keeps_no_proxy_from_starting_while_one_server_is_down() {
    let mut shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    for id in 1..=8 {
        let insert = format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')");
        connection.query_drop(insert).await.unwrap();
    }
    drop(connection);
    assert!(shop.proxy.command(&["move", "start", "shop"]).status.success());
    until("both sides are equal", Duration::from_secs(60), async || {
        (shop.of_move()["phase"] == "Synced").then_some(())
    })
    .await;
    for (version, lines) in [(2, ""), (3, "writes = \"target\"\nreads = 100")] {
        shop.proxy.save_rules(&shop.moving_rules(&format!("double_write = \"sync\"\n{lines}")));
        assert_eq!(shop.proxy.settled(version).await, None);
    }
    shop.own().shards[0].kill9();
    shop.proxy.kill9_and_restart().await;
    assert_eq!(name_of(&shop, 2).await, ["u2"]);
    assert!(refusal(&shop, 1).await.contains("SHD1501"));
    let mut connection = shop.connect().await;
    connection.query_drop("UPDATE users SET name = 'new' WHERE id = 3").await.unwrap();
    assert!(shop.of_move()["dirty_keys"].as_u64() > Some(0), "nobody knows them yet");
    shop.own().shards[0].restart().await;
    until("the dirty keys are known and healed", Duration::from_secs(60), async || {
        let known = shop.proxy.log().contains("the dirty keys are known");
        (known && shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    assert_eq!(name_of(&shop, 1).await, ["u1"]);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    assert_eq!(rows(&mut legacy, "SELECT name FROM users WHERE id = 3").await.unwrap(), ["new"]);
}
