//! Reads that go over by a schedule, and come back when a gate closes.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, until};

const SCHEDULE: &str = "double_write = \"sync\"\nschedule = { steps = [10, 50, 100], dwell = \"2 s\", \
     gates = { error_rate = \"5 %\", mismatches = 0, lag_s = 30 } }";

fn reads(shop: &Shop) -> f64 {
    shop.of_move()["reads"].as_f64().unwrap()
}

/// Why each version came into force.
fn reasons(shop: &Shop) -> Vec<String> {
    let history: serde_json::Value =
        serde_json::from_str(&shop.proxy.get("/api/rules").expect("a history")).unwrap();
    history.as_array().unwrap().iter().map(|version| version["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_over_by_steps_and_back_when_the_target_fails() {
    let mut shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    let users: Vec<String> = (1..=40).map(|id| format!("({id}, 'u')")).collect();
    connection.query_drop(format!("INSERT INTO users (id, name) VALUES {}", users.join(", "))).await.unwrap();
    shop.proxy.save_rules(&shop.moving_rules(SCHEDULE));
    assert_eq!(shop.proxy.settled(2).await, None);
    assert!(shop.proxy.command(&["move", "start", "shop"]).status.success());
    until("every read has gone over", Duration::from_secs(60), async || {
        // Nothing but what clients see opens or closes a gate.
        for id in 1..=40 {
            rows(&mut connection, &format!("SELECT name FROM users WHERE id = {id}")).await.unwrap();
        }
        (reads(&shop) >= 100.0).then_some(())
    })
    .await;
    let file = std::fs::read_to_string(shop.proxy.config().with_file_name("rules.toml")).unwrap();
    assert!(file.contains("reads = 100"), "{file}");
    let steps: Vec<String> =
        reasons(&shop).into_iter().filter(|reason| reason.starts_with("schedule: ")).collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    let metrics = shop.proxy.get("/metrics").unwrap();
    let served = "shardway_move_statement_seconds_count{move=\"shop\",side=\"target\"}";
    assert!(metrics.lines().any(|line| line.starts_with(served)), "{metrics}");

    shop.own().shards[1].kill9();
    until("the reads have gone back", Duration::from_secs(60), async || {
        for id in 1..=40 {
            // Those of the killed shard fail.
            let _ = rows(&mut connection, &format!("SELECT name FROM users WHERE id = {id}")).await;
        }
        (reads(&shop) < 100.0).then_some(())
    })
    .await;
    let back = reasons(&shop).into_iter().find(|reason| reason.contains("stepped back from 100 %"));
    assert!(back.expect("a reason").contains("error rate"));
    let says = shop.of_move()["schedule"]["setbacks"].as_u64().unwrap();
    assert!(says >= 1);
}
