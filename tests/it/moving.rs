//! Moving a live table: copy, follow, verify, switch and the way back, while clients write.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::load::{Load, Transfers};
use shardway_tests::{Shop, rows, until};

/// A shop on the legacy server with some rows, under these lines of its move.
pub(super) async fn shop(lines: &str, users: u64) -> Shop {
    with_rows(Shop::open_moving().await, lines, users).await
}

/// The same on these servers.
pub(super) async fn with_rows(shop: Shop, lines: &str, users: u64) -> Shop {
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(Load::shared_rows()).await.unwrap();
    for first in (0..users).step_by(1_000) {
        let values: Vec<String> = (first..users.min(first + 1_000))
            .map(|id| format!("({}, 'old', '{id}@x')", 1_000 + id))
            .collect();
        let insert = format!("INSERT INTO users (id, name, email) VALUES {}", values.join(", "));
        legacy.query_drop(insert).await.unwrap();
        let orders: Vec<String> = (first..users.min(first + 1_000))
            .map(|id| format!("({}, {}, {}.5)", 5_000 + id, 1_000 + id, id % 100))
            .collect();
        let insert = format!("INSERT INTO orders (id, user_id, amount) VALUES {}", orders.join(", "));
        legacy.query_drop(insert).await.unwrap();
    }
    shop.save(lines).await;
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_moves_there_and_back_under_load_by_its_log_alone() {
    let shop = shop("double_write = \"off\"", 5_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    load.more(50).await;
    shop.carry_over().await;
    load.more(200).await;
    shop.run(&["move", "verify", "shop"]);
    shop.save("writes = \"target\"\nreads = 100").await;
    shop.reaches("ReverseSync").await;
    let switched = &shop.of_move()["last_switch"];
    assert!(
        switched["to"] == "target" && switched["held_ms"].is_u64() && switched["at"].is_u64(),
        "{switched}"
    );
    let steps = switched["steps_ms"].as_object().unwrap();
    assert!(steps.keys().eq(["catch_up", "compare", "fence", "positions", "stop_streams"]), "{switched}");
    let sum: u64 = steps.values().map(|ms| ms.as_u64().unwrap()).sum();
    assert!(sum <= switched["held_ms"].as_u64().unwrap(), "{switched}");
    shop.followed().await;
    load.more(300).await;
    shop.run(&["move", "verify", "shop"]);
    shop.save("writes = \"source\"\nreads = 0").await;
    shop.reaches("Synced").await;
    load.more(300).await;
    shop.run(&["move", "verify", "shop"]);
    shop.save("writes = \"target\"\nreads = 100").await;
    load.more(100).await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    journal.check(&mut shop.connect().await).await;
    shop.run(&["move", "verify", "shop"]);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    journal.check(&mut legacy).await;
    let direct = shop.on_shard(0, "SELECT COUNT(*) FROM users_1").await;
    let expected = rows(&mut legacy, "SELECT COUNT(*) FROM users WHERE id % 4 = 1").await.unwrap();
    assert_eq!(direct, expected);
    println!("longest stall {:?} in {} statements", journal.longest_stall, journal.acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_and_double_write_together_end_equal() {
    let shop = shop("double_write = \"off\"", 3_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    shop.run(&["move", "start", "shop"]);
    shop.save("double_write = \"sync\"").await;
    shop.reaches("Synced").await;
    load.more(200).await;
    shop.save("double_write = \"sync\"\nreads = 25").await;
    load.more(100).await;
    shop.save("double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    load.more(200).await;
    shop.save("double_write = \"off\"\nreads = 100\nwrites = \"target\"").await;
    load.more(200).await;
    shop.run(&["move", "verify", "shop"]);
    shop.save("double_write = \"off\"").await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    shop.run(&["move", "verify", "shop"]);
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_proxy_goes_on_where_it_was() {
    let mut shop = shop("double_write = \"off\"", 20_000).await;
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 3, Transfers::WithinShard);
    shop.run(&["move", "start", "shop"]);
    for copied in [1, 8_000, 20_000] {
        until("rows are copied", Duration::from_secs(60), async || {
            let of = &shop.of_move();
            (of["rows_copied"].as_u64() >= Some(copied) || of["phase"] != "Copy").then_some(())
        })
        .await;
        shop.proxy.kill9_and_restart().await;
        load.more(50).await;
    }
    shop.reaches("Synced").await;
    shop.save("writes = \"target\"").await;
    load.more(100).await;
    shop.proxy.kill9_and_restart().await;
    load.more(100).await;
    shop.reaches("ReverseSync").await;
    shop.followed().await;
    shop.save("writes = \"source\"").await;
    load.more(50).await;
    let journal = load.stop().await;
    shop.run(&["move", "verify", "shop"]);
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_put_back_begins_anew() {
    let shop = shop("double_write = \"off\"", 500).await;
    let mut client = shop.connect().await;
    for life in 0..2 {
        shop.carry_over().await;
        shop.save("writes = \"target\"\nreads = 100").await;
        shop.reaches("ReverseSync").await;
        let name = format!("UPDATE users SET name = 'life {life}' WHERE id = 1001");
        client.query_drop(name).await.unwrap();
        shop.followed().await;
        shop.save("writes = \"source\"\nreads = 0").await;
        shop.reaches("Synced").await;
        shop.run(&["move", "verify", "shop"]);
        assert_eq!(
            rows(&mut client, "SELECT name FROM users WHERE id = 1001").await.unwrap(),
            [format!("life {life}")]
        );
        // Out of the rules: what is written then no stream sees.
        let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
        shop.proxy.save_rules(&super::tuned::without(&shop));
        assert_eq!(shop.proxy.settled(desired + 1).await, None);
        client.query_drop("DELETE FROM users WHERE id BETWEEN 1100 AND 1199").await.unwrap();
        client.query_drop("UPDATE users SET name = 'meanwhile' WHERE id > 1400").await.unwrap();
        for (shard, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
            for table in ["users", "orders"] {
                shop.on_shard(shard, &format!("DELETE FROM {table}_{number}")).await;
            }
        }
        shop.save("double_write = \"off\"").await;
    }
}
