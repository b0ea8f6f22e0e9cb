//! Each limit of the throttle, and the metrics that no other test sees firing, on a real move.

use mysql_async::prelude::Queryable as _;
use shardway_tests::load::Load;
use shardway_tests::{Shop, until};

use super::{LIMIT, SLOWLY, clears, fires, with_rows};

/// Until the copy goes no faster than it may, for such a reason.
async fn is_held_back(shop: &Shop, why: &str) {
    until(why, LIMIT, async || {
        let of = shop.of_move();
        assert!(of["phase"] != "Synced" && of["phase"] != "Failed", "{of}");
        let pace = &of["pace"];
        (pace["state"] != "running" && pace["reason"].as_str()?.contains(why)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_holds_a_copy_back() {
    let shop = with_rows(Shop::open_moving().await).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.save(SLOWLY).await;
    shop.run(&["move", "start", "shop"]);
    let mut reading = shop.cluster.legacy.connect(&shop.name).await;
    reading.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.unwrap();
    load.more(20).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut connection = shop.cluster.legacy.connect("").await;
        busy.push(connection.id());
        tokio::spawn(async move { connection.query_drop("SELECT SLEEP(600)").await });
    }
    for (limit, why) in [
        ("history_length = 5", "history list is"),
        ("threads_running = 1", "threads running is"),
        ("latency_ms = 0.1", "statement latency is"),
        ("min_rows_per_s = 1000000", "servers are busy"),
        ("disk_free_percent = 100", "of the disk is free"),
    ] {
        shop.save(&format!("{SLOWLY}\nthrottle.{limit}")).await;
        is_held_back(&shop, why).await;
    }
    assert_eq!(shop.of_move()["pace"]["state"], "stopped", "going slower does not empty a disk");
    reading.query_drop("COMMIT").await.unwrap();
    for connection in busy {
        reading.query_drop(format!("KILL {connection}")).await.unwrap();
    }
    let metrics = || shop.proxy.get("/metrics").unwrap();
    let value = |name: &str| {
        let start = format!("shardway_{name}{{move=\"shop\"}} ");
        let found = metrics().lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
        found.unwrap_or_else(|| panic!("{name}: {}", metrics())).parse::<f64>().unwrap()
    };
    let (copied, total, percent) =
        (value("move_rows_copied"), value("move_rows_total"), value("move_percent"));
    assert!(
        copied > 0.0 && copied < total && percent > 0.0 && percent < 100.0,
        "{copied}/{total}, {percent} %"
    );
    shop.save("").await;
    shop.reaches("Synced").await;
    assert_eq!((value("move_percent"), value("move_rows_copied") >= 2_000.0), (100.0, true));
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_still_differs_or_waits_is_told() {
    let whens = [
        "disk_free < 100 %",
        "cpu_usage > 0 %",
        "no_progress_for > 3 s",
        "inconsistency_rate > 0.1 %",
        "dirty_age > 1 s",
        "dirty_keys > 0",
        "apply_rate < 1000000 changes/s",
    ];
    let alerts: String = whens.map(|when| format!("[[alerts]]\nwhen = \"{when}\"\n")).concat();
    let shop = with_rows(Shop::open_moving().await).await;
    shop.save(&format!("copy.rows = 100\ncopy.parallel = 1\n{alerts}")).await;
    shop.proxy.stop_at("Work(Copy)");
    shop.run(&["move", "start", "shop"]);
    shop.proxy.is_at("Work(Copy)", 1).await;
    let mut target = shop.cluster.shards[0].connect(&shop.name).await;
    target.query_drop("LOCK TABLES users_0 WRITE, users_1 WRITE").await.unwrap();
    shop.proxy.go_on();
    fires(&shop, "no_progress_for > 3 s").await;
    for when in ["disk_free < 100 %", "cpu_usage > 0 %", "apply_rate < 1000000 changes/s"] {
        fires(&shop, when).await;
    }
    target.query_drop("UNLOCK TABLES").await.unwrap();
    clears(&shop, "no_progress_for > 3 s").await;
    shop.reaches("Synced").await;

    target.query_drop("DELETE FROM users_0 LIMIT 10").await.unwrap();
    assert_eq!(shop.proxy.command(&["move", "verify", "shop"]).status.code(), Some(1));
    fires(&shop, "inconsistency_rate > 0.1 %").await;
    shop.run(&["move", "repair", "shop"]);
    clears(&shop, "inconsistency_rate > 0.1 %").await;

    shop.save(&format!("double_write = \"async\"\n{alerts}")).await;
    target.query_drop("BEGIN").await.unwrap();
    target.query_drop("SELECT id FROM users_0 WHERE id = 8 FOR UPDATE").await.unwrap();
    shop.connect().await.query_drop("UPDATE users SET name = 'new' WHERE id = 8").await.unwrap();
    for when in ["dirty_age > 1 s", "dirty_keys > 0"] {
        fires(&shop, when).await;
    }
    target.query_drop("COMMIT").await.unwrap();
    for when in ["dirty_age > 1 s", "dirty_keys > 0"] {
        clears(&shop, when).await;
    }
}
