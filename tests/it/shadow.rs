//! Reads that are run on both sides and compared, beside the clients.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Shop, rows, until};

/// A shop that has been carried over, under these lines of its move.
async fn carried_over(lines: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    let users: Vec<String> = (1..=20).map(|id| format!("({id}, 'u{id}', 1)")).collect();
    connection
        .query_drop(format!("INSERT INTO users (id, name, balance) VALUES {}", users.join(", ")))
        .await
        .unwrap();
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1.5), (2, 4, 3)")
        .await
        .unwrap();
    shop.carry_over().await;
    shop.proxy.save_rules(&shop.moving_rules(lines));
    assert_eq!(shop.proxy.settled(2).await, None, "{lines}");
    (shop, connection)
}

fn seen(shop: &Shop) -> Value {
    shop.of_move()["shadow_reads"].clone()
}

fn of_kind(report: &Value, statement: &str) -> Value {
    let kinds = report["statements"].as_array().expect("a list");
    kinds.iter().find(|kind| kind["statement"] == statement).unwrap_or_else(|| panic!("{report:#}")).clone()
}

/// So many reads have been compared or left out.
async fn done(shop: &Shop, count: u64) -> Value {
    until("the reads are run", Duration::from_secs(60), async || {
        let report = seen(shop);
        let skipped: u64 = report["skipped"].as_object()?.values().filter_map(Value::as_u64).sum();
        let compared: u64 =
            ["equal", "different", "broken"].iter().filter_map(|name| report[*name].as_u64()).sum();
        (compared + skipped >= count).then_some(report)
    })
    .await
}

#[tokio::test]
async fn equal_sides_are_equal_while_clients_write_text_and_prepared() {
    let (shop, mut reader) = carried_over("shadow_reads = 100").await;
    let mut writer = shop.connect().await;
    let writing = tokio::spawn(async move {
        for round in 0..200 {
            writer
                .query_drop(format!("UPDATE users SET balance = {round} WHERE id = {}", round % 5 + 1))
                .await
                .unwrap();
        }
    });
    for round in 0..40 {
        let id = round % 5 + 1;
        rows(&mut reader, &format!("SELECT id, name, balance FROM users WHERE id = {id}")).await.unwrap();
        let _: Vec<String> =
            reader.exec("SELECT name FROM users WHERE id = ? AND name <> ?", (id, "o'x")).await.unwrap();
    }
    writing.await.unwrap();
    rows(&mut reader, "SELECT id FROM users ORDER BY id DESC LIMIT 3").await.unwrap();
    let report = done(&shop, 81).await;
    assert_eq!((&report["different"], &report["broken"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["equal"].as_u64().unwrap() > 60, "{report:#}");
    let kind = of_kind(&report, "SELECT name FROM users WHERE id = ? AND name < > ?");
    assert!(kind["other"]["p50_ms"].as_f64().unwrap() > 0.0);
    for side in ["authority", "other"] {
        let counts = report[side]["histogram"].as_array().unwrap().iter();
        let counted: u64 = counts.map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert_eq!(report["equal"], counted, "{report:#}");
    }
    let metrics = shop.proxy.get("/metrics").unwrap();
    assert!(metrics.contains("shardway_shadow_reads_total{move=\"shop\",outcome=\"equal\"}"), "{metrics}");
    assert!(
        metrics.contains("shardway_shadow_read_seconds_count{move=\"shop\",side=\"other\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_differs_or_would_break_is_told_by_kind_of_statement_with_a_sample() {
    let alert = "[[alerts]]\nwhen = \"shadow_mismatches > 0\"";
    let (shop, mut connection) = carried_over(&format!("shadow_reads = 100\n{alert}")).await;
    let mut direct = shop.cluster.shards[0].connect(&shop.name).await;
    direct.query_drop("UPDATE users_1 SET name = 'other' WHERE id = 1").await.unwrap();
    let reads = [
        "SELECT name FROM users WHERE id = 1",
        "SELECT name FROM users WHERE id = 5",
        "SELECT COUNT(*) FROM orders",
        "SELECT NOW() FROM users WHERE id = 1",
        "SELECT name FROM users LIMIT 1",
    ];
    for read in reads {
        // The answer is the source's, whatever becomes of the comparison.
        rows(&mut connection, read).await.unwrap();
    }
    assert_eq!(rows(&mut connection, reads[0]).await.unwrap(), ["u1"]);
    let report = done(&shop, 6).await;
    let names = of_kind(&report, "SELECT name FROM users WHERE id = ?");
    assert_eq!((&names["equal"], &names["different"]), (&1.into(), &2.into()), "{report:#}");
    until("the alert fires", Duration::from_secs(20), async || {
        let alerts = shop.of_move()["alerts"].to_string();
        alerts.contains("shadow_mismatches > 0").then_some(())
    })
    .await;
    let sample = &names["sample"];
    assert!(sample["authority"].as_str().unwrap().contains("u1"), "{report:#}");
    assert!(sample["other"].as_str().unwrap().contains("other"), "{report:#}");
    let count = of_kind(&report, "SELECT COUNT(*) FROM orders");
    assert_eq!(count["broken"], 1, "{report:#}");
    assert!(count["sample"]["other"].as_str().unwrap().contains("SHD1204"), "{report:#}");
    let skipped = report["skipped"].as_object().unwrap();
    assert_eq!(skipped.len(), 2, "{report:#}");
    assert!(skipped.keys().all(|why| why.starts_with("not comparable: ")), "{report:#}");
    // A column that the shards have otherwise.
    direct.query_drop("ALTER TABLE users_1 MODIFY name TEXT NOT NULL").await.unwrap();
    rows(&mut connection, "SELECT name, id FROM users WHERE id = 9").await.unwrap();
    let report = done(&shop, 7).await;
    assert_eq!(of_kind(&report, "SELECT name, id FROM users WHERE id = ?")["different"], 1, "{report:#}");
    // The same text, of a type that clients take for another.
    direct
        .query_drop("ALTER TABLE users_1 MODIFY balance DECIMAL(12,2) UNSIGNED NOT NULL DEFAULT 0")
        .await
        .unwrap();
    rows(&mut connection, "SELECT balance FROM users WHERE id = 9").await.unwrap();
    let report = done(&shop, 8).await;
    assert_eq!(of_kind(&report, "SELECT balance FROM users WHERE id = ?")["different"], 1, "{report:#}");
    let output = shop.proxy.command(&["move", "status", "shop"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("shadow reads 100%") && text.contains("SHD1204"), "{text}");
    assert!(text.contains("99 % within ") && text.contains(" ms on the other side"), "{text}");
    // With no share nothing is run any more, and what was seen stays.
    let output = shop.proxy.command(&["traffic", "shop", "--shadow-reads", "0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    rows(&mut connection, reads[1]).await.unwrap();
    assert_eq!(seen(&shop)["equal"], report["equal"]);
    assert_eq!(seen(&shop)["share"], 0.0);
}

#[tokio::test]
async fn a_target_that_is_down_is_no_clients_trouble() {
    let mut shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    shop.carry_over().await;
    shop.proxy.save_rules(&shop.moving_rules("shadow_reads = 100"));
    assert_eq!(shop.proxy.settled(2).await, None);
    shop.own().shards[0].kill9();
    for _ in 0..10 {
        assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(), ["a"]);
    }
    let report = done(&shop, 10).await;
    assert_eq!(report["broken"], 0, "{report:#}");
    assert_eq!(report["skipped"]["a server is away"], 10, "{report:#}");
}

#[tokio::test]
async fn nothing_is_compared_before_the_rows_are_there() {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a')").await.unwrap();
    shop.proxy.save_rules(&shop.moving_rules("shadow_reads = 100"));
    assert_eq!(shop.proxy.settled(2).await, None);
    rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap();
    let report = done(&shop, 1).await;
    assert_eq!(report["skipped"], serde_json::json!({ "the sides are not in step": 1 }), "{report:#}");
    assert_eq!(report["statements"], serde_json::json!([]), "{report:#}");
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_given_up_on_the_server_too() {
    let (shop, mut connection) = carried_over("shadow_reads = 100").await;
    rows(&mut connection, "SELECT REPEAT('x', 5000000) FROM users WHERE id = 1").await.unwrap();
    let report = done(&shop, 1).await;
    assert_eq!(report["skipped"], serde_json::json!({ "too large": 1 }), "{report:#}");

    let shard = &shop.cluster.shards[0];
    let (mut direct, mut watcher) = (shard.connect(&shop.name).await, shard.connect(&shop.name).await);
    direct.query_drop("LOCK TABLES users_1 WRITE").await.unwrap();
    rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap();
    let waiting = format!(
        "SELECT id FROM information_schema.processlist \
         WHERE db = '{}' AND info LIKE 'SELECT name FROM%users_1%'",
        shop.name
    );
    let mut watch = async |count: usize, what: &str| {
        let waiting = waiting.as_str();
        until(what, Duration::from_secs(30), async || {
            (rows(&mut watcher, waiting).await.ok()?.len() == count).then_some(())
        })
        .await;
    };
    watch(1, "the read waits for the lock").await;
    // Nobody gives the lock back: only the limit can end the statement.
    watch(0, "the server has ended the read").await;
    let report = done(&shop, 2).await;
    assert_eq!(report["skipped"]["too slow on the other side alone"], 1, "{report:#}");
    direct.query_drop("UNLOCK TABLES").await.unwrap();
}
