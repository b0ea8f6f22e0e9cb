//! Parameters that a move changes on its target: they are what the rules say while it works, and as before as soon as it
//! does not, however that came.

use std::time::Duration;

use shardway_tests::load::Load;
use shardway_tests::{Shop, rows, until};

use super::copies::ends_equal;
use super::moving::with_rows;

const LINES: &str = "copy = { rows = 50, parallel = 1, pause_ms = 100 }\n\
                     tune = { innodb_flush_log_at_trx_commit = 0, sync_binlog = 7, local_infile = \"OFF\" }";
const VALUES: &str =
    "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.sync_binlog, @@GLOBAL.local_infile";
const TUNED: [&str; 2] = ["0|7|0", "0|7|0"];

/// A shop with servers of its own, whose copy takes some time.
async fn shop() -> Shop {
    with_rows(Shop::open_moving_alone().await, LINES, 1_000).await
}

async fn values(shop: &Shop) -> Vec<String> {
    let mut values = Vec::new();
    for server in &shop.cluster.shards {
        values.extend(rows(&mut server.connect("").await, VALUES).await.unwrap());
    }
    values
}

async fn are_in_the_end(shop: &Shop, expected: &[String]) {
    until(&format!("the parameters are {expected:?}"), Duration::from_secs(30), async || {
        (values(shop).await == expected).then_some(())
    })
    .await;
}

async fn copies(shop: &Shop) {
    let before = shop.of_move()["rows_copied"].as_u64().unwrap();
    until("rows are copied", Duration::from_secs(60), async || {
        let of = shop.of_move();
        assert_ne!(of["phase"], "Failed", "{}", of["last_error"]);
        (of["phase"] == "Copy" && of["rows_copied"].as_u64().unwrap() > before).then_some(())
    })
    .await;
    assert_eq!(values(shop).await, TUNED);
}

/// The rules without the move and its tables: everything is on the legacy server, as it was.
pub(super) fn without(shop: &Shop) -> String {
    let rules = shop.rules();
    let (servers, tables) = rules.split_at(rules.find("[tables.users]").unwrap());
    format!("{servers}{}", &tables[tables.find("[tables.regions]").unwrap()..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_killed_goes_on_with_its_parameters_and_ends_with_those_of_the_servers() {
    let mut shop = shop().await;
    let before = values(&shop).await;
    assert_ne!(before, TUNED);
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.run(&["move", "start", "shop"]);
    copies(&shop).await;
    shop.proxy.kill9_and_restart().await;
    copies(&shop).await;
    shop.reaches("Synced").await;
    assert_eq!(values(&shop).await, before);
    ends_equal(&shop, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_rests_or_fails_gives_the_servers_their_own_parameters_back() {
    let shop = shop().await;
    let before = values(&shop).await;
    shop.run(&["move", "start", "shop"]);
    copies(&shop).await;
    shop.run(&["move", "pause", "shop"]);
    are_in_the_end(&shop, &before).await;
    shop.run(&["move", "resume", "shop"]);
    copies(&shop).await;
    shop.on_shard(1, "RENAME TABLE users_3 TO users_gone").await;
    shop.reaches("Failed").await;
    are_in_the_end(&shop, &before).await;
    shop.on_shard(1, "RENAME TABLE users_gone TO users_3").await;
    shop.run(&["move", "start", "shop"]);
    copies(&shop).await;
    shop.reaches("Synced").await;
    assert_eq!(values(&shop).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_the_rules_forget_leaves_no_parameter_behind() {
    let mut shop = shop().await;
    let before = values(&shop).await;
    shop.run(&["move", "start", "shop"]);
    copies(&shop).await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&without(&shop));
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    are_in_the_end(&shop, &before).await;

    // Again, and forgotten while nobody looks.
    for (shard, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
        shop.on_shard(shard, &format!("DELETE FROM users_{number}")).await;
    }
    shop.save(LINES).await;
    shop.run(&["move", "start", "shop"]);
    copies(&shop).await;
    shop.proxy.kill9();
    assert_eq!(values(&shop).await, TUNED);
    shop.proxy.save_rules(&without(&shop));
    shop.proxy.restart().await;
    are_in_the_end(&shop, &before).await;
}

#[tokio::test]
async fn a_parameter_that_no_move_sets_is_refused_with_the_rules() {
    let shop = Shop::open_moving().await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules("tune = { inodb_io_capacity = 200 }"));
    let refused = shop.proxy.settled(desired + 1).await.expect("a reason");
    assert!(refused.contains("`inodb_io_capacity`") && refused.contains("innodb_io_capacity,"), "{refused}");
}
