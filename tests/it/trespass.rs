//! Rows that somebody writes past the proxy, on the side that does not own them, while each side owns some keys.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::until;

use super::divided::{IDS, LISTED, divided, one};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_found_and_carried_nowhere_and_no_key_goes_over_before_they_are_compared() {
    let (mut shop, mut connection) = divided(LISTED).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for sql in ["UPDATE users SET name = 'past' WHERE id = 1", "DELETE FROM users WHERE id = 4"] {
        legacy.query_drop(sql).await.unwrap();
    }
    shop.on_shard(1, "UPDATE users_2 SET name = 'past' WHERE id = 2").await;
    shop.on_shard(0, "INSERT INTO users_0 (id, name) VALUES (8, 'past')").await;
    // What comes later has been carried, and these have been passed.
    for id in [1, 3] {
        connection.query_drop(format!("UPDATE users SET name = 'later' WHERE id = {id}")).await.unwrap();
    }
    shop.in_step().await;
    for (id, name) in [(1, "later"), (2, "b"), (4, "d"), (8, "")] {
        let sql = format!("SELECT name FROM users WHERE id = {id}");
        assert_eq!(one(&mut connection, &sql).await, name, "{id}");
    }
    let noted = async || shop.proxy.log().contains("the sides of a move differ").then_some(());
    until("it is noted", Duration::from_secs(20), noted).await;
    // Whatever the process remembers.
    shop.proxy.kill9_and_restart().await;
    shop.in_step().await;
    let goes_over = async |lines: &str| {
        let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
        let rules = shop.moving_rules(&format!("{lines}{IDS}"));
        shop.proxy.save_rules(&format!("# {desired}\n{rules}"));
        shop.proxy.settled(desired + 1).await
    };
    const FURTHER: &str = "writes = 60\nalways = [1, 4]";
    for (lines, code) in [(FURTHER, "SHD1605"), ("writes = \"source\"", "SHD1610")] {
        let why = goes_over(lines).await.expect("rows differ");
        assert!(why.contains(code), "{lines}: {why}");
    }
    let told = shop.of_move()["last_error"].to_string();
    assert!(told.contains("past the proxy"), "{told}");
    let compared = shop.proxy.command(&["move", "verify", "shop", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    // The first is as its owner has written it since.
    assert_eq!(report["different"], 3, "{}", report["tables"]);
    shop.run(&["move", "repair", "shop"]);
    let names = "SELECT GROUP_CONCAT(name ORDER BY id) FROM users";
    assert_eq!(one(&mut legacy, names).await, "later,b,later,d,e");
    // Whole seconds are all that is known of when a comparison ended.
    until("keys go over", Duration::from_secs(20), async || {
        shop.run(&["move", "verify", "shop"]);
        goes_over(FURTHER).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_is_under_way_looks_at_them_once_more() {
    let (shop, _) = divided(LISTED).await;
    shop.in_step().await;
    shop.proxy.stop_at("Hold");
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules(&format!("writes = 60\nalways = [1, 4]{IDS}")));
    shop.proxy.is_at("Hold", 1).await;
    shop.on_shard(1, "UPDATE users_2 SET name = 'past' WHERE id = 2").await;
    shop.proxy.go_on();
    let why = shop.proxy.settled(desired + 1).await.expect("a row differs");
    assert!(why.contains("SHD1610") && why.contains("past the proxy"), "{why}");
    assert_eq!(shop.of_move()["writes"], "0%");
}
