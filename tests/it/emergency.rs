//! An emergency rollback waits for nobody: not for a switch that is under way, nor for a planned rollback.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, until};

use super::rollback::{json, switched_alone};

/// Writes go to the source, and the move waits for a person.
async fn serves_from_the_source(shop: &Shop) {
    let mut client = shop.connect().await;
    client.query_drop("UPDATE users SET name = 'source' WHERE id = 501").await.unwrap();
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    assert_eq!(rows(&mut legacy, "SELECT name FROM users WHERE id = 501").await.unwrap(), ["source"]);
    let of = shop.of_move();
    assert_eq!((&of["writes"], &of["phase"]), (&"source".into(), &"Failed".into()), "{of}");
    let file = std::fs::read_to_string(shop.proxy.config().with_file_name("rules.toml")).unwrap();
    assert!(file.contains("writes = \"source\""), "{file}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_goes_before_a_switch_that_is_under_way() {
    for step in ["Drain", "Unfollow"] {
        let shop = switched_alone().await;
        shop.followed().await;
        let planned = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap() + 1;
        shop.proxy.stop_at(step);
        shop.proxy.save_rules(&shop.moving_rules("hold_ms = 60000"));
        shop.proxy.is_at(step, 1).await;
        // The step is held until this has ended.
        let (ended, is_done) = json(&shop, &["move", "rollback", "shop", "--emergency"]);
        shop.proxy.go_on();
        assert!(is_done, "{step}: {ended}");
        serves_from_the_source(&shop).await;
        let status = shop.proxy.status();
        assert!(status["rules"]["in_force_version"].as_u64() > Some(planned), "it was undone: {status}");
        assert!(shop.proxy.log().contains("an emergency rollback goes first"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_ends_a_planned_rollback_that_waits() {
    let shop = switched_alone().await;
    shop.cluster.shards[0].freeze();
    let mut planned = shop.proxy.begin(&["move", "rollback", "shop"]);
    until("it waits for the streams", Duration::from_secs(30), async || {
        (shop.of_move()["rolling_back"] == "traffic").then_some(())
    })
    .await;
    let (ended, is_done) = json(&shop, &["move", "rollback", "shop", "--emergency"]);
    assert!(is_done, "{ended}");
    assert_eq!(planned.wait().unwrap().code(), Some(1), "it was not done");
    serves_from_the_source(&shop).await;
    shop.cluster.shards[0].thaw();
}
