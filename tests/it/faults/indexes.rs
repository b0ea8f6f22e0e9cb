//! The proxy or the target is killed while the target builds the indexes that a copy left out: in the end there is every
//! one of the source's, once.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use shardway_tests::{Shop, rows, until};

use super::{Trial, Which};

const AFTER_COPY: &str = "double_write = \"off\"\ncopy.indexes = \"after_copy\"";
/// The third of four tables: the indexes of two are built, those of another one are not begun.
const BUSY: &str = "orders_2";

/// A move that builds indexes, which takes as long as the connection keeps its transaction.
async fn builds() -> (Trial, Conn) {
    let shop = Shop::open_moving_alone().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy
        .query_drop(
            "ALTER TABLE orders ADD KEY by_time (placed_at, amount), ADD KEY by_note (note(10)), \
             ADD FULLTEXT KEY words (note)",
        )
        .await
        .unwrap();
    legacy.query_drop("ALTER TABLE users ADD KEY by_name (name), ADD KEY (email)").await.unwrap();
    for (shard, server) in shop.cluster.shards.iter().enumerate() {
        let mut target = server.connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            target.query_drop(format!("DROP TABLE users_{number}, orders_{number}")).await.unwrap();
        }
    }
    let trial = Trial::on(shop, AFTER_COPY).await;
    trial.shop.proxy.stop_at("Work(Index)");
    trial.run(&["move", "start", "shop"]);
    trial.shop.proxy.is_at("Work(Index)", 1).await;
    assert_eq!(indexes(&trial, 2).await.len(), 1, "they are left for later");
    let mut reader = trial.shop.cluster.shards[1].connect(&trial.shop.name).await;
    reader.query_drop("BEGIN").await.unwrap();
    let _: Vec<Row> = reader.query(format!("SELECT id FROM {BUSY} LIMIT 1")).await.unwrap();
    trial.shop.proxy.go_on();
    building(&trial, None).await;
    assert_eq!(indexes(&trial, 1).await, wanted(&trial).await, "they are built before");
    (trial, reader)
}

/// The connection that builds indexes of the busy table, and is not that one.
async fn building(trial: &Trial, other_than: Option<u64>) -> u64 {
    let mut direct = trial.shop.cluster.shards[1].connect("").await;
    until("indexes are being built", Duration::from_secs(60), async || {
        let processes: Vec<Row> = direct.query("SHOW FULL PROCESSLIST").await.unwrap();
        let of = |row: &Row| row.get::<Option<String>, _>("Info").flatten().unwrap_or_default();
        let alters = |row: &&Row| of(row).starts_with("ALTER TABLE") && of(row).contains(BUSY);
        let ids = processes.iter().filter(alters).map(|row| row.get::<u64, _>("Id").unwrap());
        ids.into_iter().find(|id| Some(*id) != other_than)
    })
    .await
}

/// The indexes of orders as their server describes them, a line for each; the rest of the line is the index's.
fn described(of_table: &str) -> String {
    format!(
        "SELECT CONCAT(INDEX_NAME, ': ', INDEX_TYPE, ' ', NON_UNIQUE, ' ', GROUP_CONCAT(COLUMN_NAME, \
         IFNULL(SUB_PART, '') ORDER BY SEQ_IN_INDEX)) FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{of_table}' \
         GROUP BY INDEX_NAME, INDEX_TYPE, NON_UNIQUE ORDER BY INDEX_NAME"
    )
}

async fn wanted(trial: &Trial) -> Vec<String> {
    let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    let wanted = rows(&mut legacy, &described("orders")).await.unwrap();
    assert_eq!(wanted.len(), 5, "{wanted:?}");
    wanted
}

async fn indexes(trial: &Trial, of_orders: usize) -> Vec<String> {
    trial.shop.on_shard(of_orders / 2, &described(&format!("orders_{of_orders}"))).await
}

/// The move ends with all indexes and equal sides.
async fn is_whole(trial: Trial) {
    trial.reaches("Synced").await;
    let wanted = wanted(&trial).await;
    for number in 0..4 {
        assert_eq!(indexes(&trial, number).await, wanted, "orders_{number}");
    }
    let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    let of_users = rows(&mut legacy, &described("users")).await.unwrap();
    for number in 0..4 {
        let there = trial.shop.on_shard(number / 2, &described(&format!("users_{number}"))).await;
        assert_eq!(there, of_users, "users_{number}");
    }
    trial.load.more(20).await;
    trial.in_step().await;
    let (_, journal) = trial.ends_equal().await;
    println!("{} acknowledged, {} failed", journal.acknowledged, journal.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_while_indexes_are_built_goes_on_with_those_that_lack() {
    let (mut trial, mut reader) = builds().await;
    until("the status tells how far it is", Duration::from_secs(20), async || {
        let work = trial.status()["work"].take();
        let is_told = work["what"] == "building indexes" && work["done"].as_u64() >= Some(6);
        (is_told && work["total"] == 8).then_some(())
    })
    .await;
    let first = building(&trial, None).await;
    // The server goes on with the statement, so the next process comes to it before it is done.
    trial.shop.proxy.kill9_and_restart().await;
    building(&trial, Some(first)).await;
    reader.query_drop("ROLLBACK").await.unwrap();
    is_whole(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_killed_while_it_builds_indexes_is_waited_for() {
    let (mut trial, reader) = builds().await;
    let before = trial.said("waiting to try again");
    trial.server(Which::Target).kill9();
    drop(reader);
    trial.says("waiting to try again", before).await;
    trial.server(Which::Target).restart().await;
    is_whole(trial).await;
}
