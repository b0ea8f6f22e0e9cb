//! Counters of a side that is about to own writes, while somebody reads its tables for long: a definition that waits for
//! such a reader keeps everybody else waiting.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows};

const SWITCHED: &str = "hold_ms = 20000\nwrites = \"target\"\nreads = 100";

/// Carried over, with orders that the servers number.
async fn synced() -> Shop {
    let shop = Shop::open_moving_alone().await;
    let counted = "MODIFY id BIGINT NOT NULL AUTO_INCREMENT, AUTO_INCREMENT";
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(format!("ALTER TABLE orders {counted} = 700")).await.unwrap();
    for place in 0..4 {
        let mut shard = shop.cluster.shards[place / 2].connect(&shop.name).await;
        shard.query_drop(format!("ALTER TABLE orders_{place} {counted} = 1")).await.unwrap();
    }
    let mut connection = shop.connect().await;
    for sql in [
        "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO orders (id, user_id, amount) VALUES (699, 1, 1)",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    // With the columns as they are now.
    shop.save("hold_ms = 20000").await;
    shop.carry_over().await;
    shop.in_step().await;
    shop
}

/// Somebody whose transaction has read a table of the first shard server.
async fn reader(shop: &Shop) -> Conn {
    let mut reader = shop.cluster.shards[0].connect(&shop.name).await;
    reader.query_drop("BEGIN").await.unwrap();
    reader.query_drop("SELECT COUNT(*) FROM orders_0").await.unwrap();
    reader
}

/// A shard gives no id that the source has given.
async fn counts_on(shop: &Shop) {
    let mut shard = shop.cluster.shards[0].connect(&shop.name).await;
    shard.query_drop("INSERT INTO orders_1 (user_id, amount) VALUES (1, 1)").await.unwrap();
    assert!(shard.last_insert_id().unwrap() >= 700);
}

#[tokio::test]
async fn a_switch_that_a_long_reader_of_the_target_would_stop_is_refused_before_statements_are_held() {
    let shop = synced().await;
    let mut long = reader(&shop).await;
    let refused = shop.refused(SWITCHED).await;
    assert!(refused.contains("counters were not raised"), "{refused}");
    // Nothing waits for the reader, and nobody behind it.
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%'";
    assert_eq!(shop.on_shard(0, waiting).await, ["0"]);
    long.query_drop("ROLLBACK").await.unwrap();
    shop.save(&format!("{SWITCHED}\nshadow_reads = 0")).await;
    shop.reaches("ReverseSync").await;
    counts_on(&shop).await;
}

#[tokio::test]
async fn a_reader_that_comes_under_the_hold_does_not_keep_the_switch_from_its_end() {
    let shop = synced().await;
    shop.proxy.stop_at("Hold");
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules(SWITCHED));
    shop.proxy.is_at("Hold", 1).await;
    let mut long = reader(&shop).await;
    shop.proxy.go_on();
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    shop.reaches("ReverseSync").await;
    counts_on(&shop).await;
    assert_eq!(rows(&mut long, "SELECT COUNT(*) FROM orders_0").await.unwrap(), ["0"]);
}
