//! A copy that was cut off goes on without the ranges that it has finished, wherever the gaps between them are.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{rows, until};

use super::moving::shop;

/// One row keeps its range from being finished while those beyond it are; `probe` is a row of theirs.
async fn are_not_copied_again(order: &str, probe: u32) {
    let mut shop = shop(&format!("copy = {{ order = \"{order}\", rows = 100, parallel = 2 }}"), 3_000).await;
    shop.proxy.stop_at("Work(Copy)");
    shop.run(&["move", "start", "shop"]);
    shop.proxy.is_at("Work(Copy)", 1).await;
    let mut other = shop.cluster.shards[0].connect(&shop.name).await;
    for sql in ["BEGIN", "INSERT INTO users_1 (id, name) VALUES (2501, 'not yet')"] {
        other.query_drop(sql).await.unwrap();
    }
    shop.proxy.go_on();
    let count = format!("SELECT COUNT(*) FROM users_1 WHERE id = {probe}");
    let there = async || shop.on_shard(0, &count).await == ["1"];
    until("a range beyond is finished", Duration::from_secs(60), async || there().await.then_some(())).await;
    shop.proxy.kill9();
    other.query_drop("ROLLBACK").await.unwrap();
    let kept = "SELECT up_to IS NULL AND NOT is_whole, LENGTH(beyond) > 0 FROM shardway_ranges";
    assert_eq!(shop.on_shard(0, kept).await, ["0|1"], "some rows, a gap, and more rows");
    // Whoever copied that range again would bring the row back.
    shop.on_shard(0, &format!("DELETE FROM users_1 WHERE id = {probe}")).await;
    shop.proxy.stop_at("Work(CatchUp)");
    shop.proxy.restart().await;
    shop.proxy.is_at("Work(CatchUp)", 1).await;
    assert_eq!(shop.on_shard(0, &count).await, ["0"]);
    let mut missing: Vec<String> = Vec::new();
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for (table, shard) in [("users_0", 0), ("users_1", 0), ("users_2", 1), ("users_3", 1)] {
        let copied = shop.on_shard(shard, &format!("SELECT id FROM {table}")).await;
        let rest = &table["users_".len()..];
        let all = format!("SELECT id FROM users WHERE id % 4 = {rest} ORDER BY id");
        let all = rows(&mut legacy, &all).await.unwrap();
        missing.extend(all.into_iter().filter(|id| !copied.contains(id)));
    }
    assert_eq!(missing, [probe.to_string()]);
    // The comparison after a copy finds it.
    shop.proxy.go_on();
    shop.reaches("Synced").await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    assert_eq!(shop.on_shard(0, &count).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_finished_beyond_a_gap_is_not_copied_again() {
    are_not_copied_again("asc", 3_001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_on_the_way_down() {
    are_not_copied_again("desc", 2_001).await;
}
