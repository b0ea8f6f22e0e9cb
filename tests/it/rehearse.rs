//! Rehearsals of a move against scratch servers.

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Shop, rows};

/// A shop about to move, with rows, and the address of a server for scratch databases.
async fn about_to_move() -> (Shop, String) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    let users: Vec<String> = (1..=500).map(|id| format!("({id}, 'u', 7)")).collect();
    connection
        .query_drop(format!("INSERT INTO users (id, name, balance) VALUES {}", users.join(", ")))
        .await
        .unwrap();
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1), (2, 7, 2)")
        .await
        .unwrap();
    let scratch = format!("mysql://shop:shop@127.0.0.1:{}", shop.cluster.shards[1].port());
    (shop, scratch)
}

fn rehearsed(shop: &Shop, arguments: &[&str]) -> (bool, Value) {
    let all: Vec<&str> =
        ["move", "rehearse", "shop", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let output = shop.proxy.command(&all);
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.success(),
        report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))),
    )
}

fn names(report: &Value) -> Vec<&str> {
    report["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

async fn scratch_databases(shop: &Shop) -> Vec<String> {
    shop.on_shard(1, &format!("SHOW DATABASES LIKE '{}\\_rehearsal%'", shop.name)).await
}

#[tokio::test]
async fn against_the_real_source_it_goes_as_far_as_both_sides_are_equal() {
    let (shop, scratch) = about_to_move().await;
    let (passed, report) = rehearsed(&shop, &["--scratch", &scratch]);
    assert!(passed, "{report:#}");
    assert_eq!(names(&report), ["preflight", "copy and catch up", "verify"]);
    assert!(report["steps"][1]["detail"].as_str().unwrap().starts_with("502 rows"), "{report:#}");
    assert!(report["steps"][2]["detail"].as_str().unwrap().contains("0 differ"), "{report:#}");
    assert_eq!(scratch_databases(&shop).await, [""; 0]);
    // The real source is only read.
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["changed_rows"] == 0), "{report:#}");
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let changed = "SELECT COUNT(*) FROM users WHERE NOT (name <=> 'u' AND balance <=> 7)";
    assert_eq!(rows(&mut legacy, changed).await.unwrap(), ["0"]);
    // The real move has not begun, and its target is as empty as before.
    assert_eq!(shop.of_move()["phase"], "Draft");
    assert_eq!(shop.on_shard(0, "SELECT COUNT(*) FROM users_1").await, ["0"]);
    assert_eq!(shop.proxy.state_file("rehearsal/shop/report.json").matches("\"passed\": true").count(), 1);
}

#[tokio::test]
async fn with_a_copy_of_the_source_it_switches_and_comes_back() {
    let (shop, scratch) = about_to_move().await;
    // The copy of the source: made as an operator would, by copying the tables.
    let copy = format!("{}_copy", shop.name);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy
        .query_drop(format!("CREATE DATABASE {copy} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"))
        .await
        .unwrap();
    for table in ["users", "orders"] {
        legacy.query_drop(format!("CREATE TABLE {copy}.{table} LIKE {table}")).await.unwrap();
        legacy.query_drop(format!("INSERT INTO {copy}.{table} SELECT * FROM {table}")).await.unwrap();
    }
    let source = format!("legacy=mysql://shop:shop@127.0.0.1:{}/{copy}", shop.cluster.legacy.port());
    let (passed, report) = rehearsed(&shop, &["--scratch", &scratch, "--source", &source, "--keep"]);
    assert!(passed, "{report:#}");
    let expected = [
        "preflight",
        "copy and catch up",
        "verify",
        "double write on",
        "reads 1 %",
        "reads 25 %",
        "reads 100 %",
        "checks",
        "switch",
        "verify after the switch",
        "rollback",
        "verify after the rollback",
        "switch again",
        "double write off",
        "verify at the end",
        "finish",
    ];
    assert_eq!(names(&report), expected);
    let detail = |name: &str| {
        let step = report["steps"].as_array().unwrap().iter().find(|step| step["name"] == name);
        step.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("checks").contains("hash passed"), "{}", detail("checks"));
    let rolled_back = detail("rollback");
    assert!(
        ["traffic", "data", "rules", "validate"].iter().all(|step| rolled_back.contains(step)),
        "{rolled_back}"
    );
    let switch = &report["steps"][8];
    assert!(
        switch["longest_read_ms"].as_f64().unwrap() > 0.0
            && switch["longest_write_ms"].as_f64().unwrap() > 0.0
    );
    assert_eq!(switch["failed_statements"], 0, "{report:#}");
    // There was something to carry at every step, and both sides were equal with it.
    let changed: u64 =
        report["steps"].as_array().unwrap().iter().map(|step| step["changed_rows"].as_u64().unwrap()).sum();
    assert!(changed > 0, "{report:#}");
    let there = format!(
        "SELECT COUNT(*) > 0 FROM {copy}.users WHERE NOT (name <=> 'u' AND email IS NULL AND balance <=> 7)"
    );
    assert_eq!(rows(&mut legacy, &there).await.unwrap(), ["1"]);
    let real = "SELECT COUNT(*) FROM users WHERE NOT (name <=> 'u' AND email IS NULL AND balance <=> 7)";
    assert_eq!(rows(&mut legacy, real).await.unwrap(), ["0"]);
    let kept = format!("{}_rehearsal_s1", shop.name);
    assert_eq!(scratch_databases(&shop).await, [format!("{}_rehearsal_s0", shop.name), kept.clone()]);
    assert_eq!(shop.on_shard(1, &format!("SELECT COUNT(*) > 0 FROM {kept}.users_2")).await, ["1"]);
    // A second one would find them, and says so before it touches anything.
    let output = shop.proxy.command(&["move", "rehearse", "shop", "--scratch", &scratch]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("has a database") && text.contains("_rehearsal_s0"),
        "{text}"
    );
    assert_eq!(rows(&mut legacy, "SELECT COUNT(*) FROM users").await.unwrap(), ["500"]);
}

#[tokio::test]
async fn what_would_stop_the_move_stops_the_rehearsal_with_the_finding() {
    let (shop, scratch) = about_to_move().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy
        .query_drop("CREATE TRIGGER stops AFTER INSERT ON users FOR EACH ROW UPDATE orders SET note = 'x' WHERE user_id = NEW.id")
        .await
        .unwrap();
    let (passed, report) = rehearsed(&shop, &["--scratch", &scratch]);
    assert!(!passed && report["passed"] == false, "{report:#}");
    assert_eq!(names(&report), ["preflight"]);
    assert!(report["steps"][0]["error"].as_str().unwrap().contains("stops"), "{report:#}");
    assert_eq!(scratch_databases(&shop).await, [""; 0]);
}
