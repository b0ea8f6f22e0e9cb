//! Reads that go over by a schedule, and come back when a gate closes.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, until};

const SCHEDULE: &str = "double_write = \"sync\"\nschedule = { steps = [60, 70, 80, 90, 100], dwell = \"1 s\", \
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
    let rules = shop.proxy.config().with_file_name("rules.toml");
    let file = || std::fs::read_to_string(&rules).unwrap();
    // A schedule puts rules in force before it writes the file.
    until("the file says so", Duration::from_secs(20), async || file().contains("reads = 100").then_some(()))
        .await;
    let steps: Vec<String> =
        reasons(&shop).into_iter().filter(|reason| reason.starts_with("schedule: ")).collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    let metrics = shop.proxy.get("/metrics").unwrap();
    let served = "shardway_move_statement_seconds_count{move=\"shop\",side=\"target\"}";
    assert!(metrics.lines().any(|line| line.starts_with(served)), "{metrics}");

    // Somebody is in the middle of an edit that is refused.
    let unfinished = "\n[tables.carts]\nshard_key = 'id'\n";
    std::fs::write(&rules, file() + unfinished).unwrap();
    until("the edit is refused", Duration::from_secs(20), async || {
        let of = shop.of_move();
        (of["desired_version"].as_u64() > of["in_force_version"].as_u64()).then_some(())
    })
    .await;
    shop.own().shards[1].kill9();
    until("all reads have gone back", Duration::from_secs(60), async || {
        for id in 1..=40 {
            // Those of the killed shard fail.
            let _ = rows(&mut connection, &format!("SELECT name FROM users WHERE id = {id}")).await;
        }
        (reads(&shop) == 0.0).then_some(())
    })
    .await;
    until("they have in the file", Duration::from_secs(20), async || {
        let has_counted = shop.of_move()["schedule"]["setbacks"] == 5;
        (has_counted && file().contains("reads = 0\n") && file().ends_with(unfinished)).then_some(())
    })
    .await;
    let back = reasons(&shop).into_iter().find(|reason| reason.contains("stepped back from 100 %"));
    assert!(back.expect("a reason").contains("error rate"));
}

/// Reads every user once; whatever goes wrong is for the gates.
async fn ask_all(connection: &mut mysql_async::Conn) {
    for id in 1..=40 {
        let _ = rows(connection, &format!("SELECT name FROM users WHERE id = {id}")).await;
    }
}

/// A shop whose rows are carried over, under a schedule with these gates.
async fn scheduled(gates: &str) -> Shop {
    let shop = Shop::open_moving().await;
    let users: Vec<String> = (1..=40).map(|id| format!("({id}, 'u')")).collect();
    let insert = format!("INSERT INTO users (id, name) VALUES {}", users.join(", "));
    shop.connect().await.query_drop(insert).await.unwrap();
    shop.proxy.save_rules(&shop.moving_rules(&format!(
        "schedule = {{ steps = [10, 50, 100], dwell = \"1 s\", gates = {{ {gates} }} }}\ndouble_write = \"sync\""
    )));
    assert_eq!(shop.proxy.settled(2).await, None);
    assert!(shop.proxy.command(&["move", "start", "shop"]).status.success());
    shop
}

async fn says(shop: &Shop, what: &str) {
    until(what, Duration::from_secs(60), async || {
        shop.of_move()["schedule"]["says"].as_str().is_some_and(|says| says.contains(what)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traffic_it_waits_and_a_slow_target_takes_reads_back_for_a_person_to_look() {
    // No target is ten times as fast as the source.
    let mut shop = scheduled("p99_ratio = 0.1").await;
    says(&shop, "p99 ratio: 0 of 100 statements on the target since the step began").await;
    assert!((reads(&shop) - 10.0).abs() < f64::EPSILON);
    let mut connection = shop.connect().await;
    until("a person is asked", Duration::from_secs(120), async || {
        ask_all(&mut connection).await;
        (shop.of_move()["schedule"]["setbacks"] == 3).then_some(())
    })
    .await;
    let back: Vec<String> = reasons(&shop)
        .into_iter()
        .filter(|reason| reason.contains("stepped back from 10 %: p99 ratio is"))
        .collect();
    assert_eq!(back.len(), 3, "{back:?}");
    shop.proxy.kill9_and_restart().await;
    says(&shop, "stopped after 3 steps back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_differ_take_reads_back_though_nobody_has_asked_for_a_comparison() {
    let shop = scheduled("mismatches = 0").await;
    says(&shop, "at its end").await;
    assert!(reasons(&shop).iter().filter(|reason| reason.contains("everything was fine")).count() == 3);
    shop.on_shard(0, "DELETE FROM users_1 WHERE id = 5").await;
    // An operator goes back a step; the next one compares anew.
    shop.run(&["traffic", "shop", "--reads", "50"]);
    says(&shop, "waits: mismatches is 1, gate 0").await;
    assert!(reads(&shop) < 10.0);
    let back = reasons(&shop).into_iter().find(|reason| reason.contains("stepped back from 50 %"));
    assert!(back.expect("a reason").contains("mismatches is 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_reads_that_differ_take_reads_back() {
    let shop = scheduled("mismatches = 0").await;
    says(&shop, "at its end").await;
    shop.run(&["move", "verify", "shop"]);
    let rules = std::fs::read_to_string(shop.proxy.config().with_file_name("rules.toml")).unwrap();
    shop.proxy
        .save_rules(&rules.replace("double_write = \"sync\"", "double_write = \"sync\"\nshadow_reads = 100"));
    shop.on_shard(0, "UPDATE users_1 SET name = 'other' WHERE id = 5").await;
    let mut connection = shop.connect().await;
    until("the reads have gone back", Duration::from_secs(60), async || {
        ask_all(&mut connection).await;
        (reads(&shop) < 100.0).then_some(())
    })
    .await;
    let back = reasons(&shop).into_iter().find(|reason| reason.contains("stepped back from 100 %"));
    assert!(back.expect("a reason").contains("mismatches is"));
}
