//! Backups by the servers' own tools, under clients: tried, listed, restored beside, and refused when they are damaged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::load::Load;
use shardway_tests::{Server, Shop, rows, until};

use super::moving::shop;

/// Lines of the rules that name the tools of the servers under test.
fn tools(more: &str) -> String {
    let list = |tool: &str| {
        let words: Vec<String> = Server::tool(tool).iter().map(|word| format!("\"{word}\"")).collect();
        format!("[{}]", words.join(", "))
    };
    format!("{more}\nbackup = {{ dump = {}, log = {} }}", list("dump"), list("binlog"))
}

/// What a command prints as JSON that ends with an exit code.
fn ends_with(code: i32, shop: &Shop, arguments: &[&str]) -> Value {
    let output = shop.proxy.command(&[&["move"], arguments, &["--json"]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_it = output.status.code() == Some(code);
    assert!(is_it, "{arguments:?}: {}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn json(shop: &Shop, arguments: &[&str]) -> Value {
    ends_with(0, shop, arguments)
}

fn refused(shop: &Shop, arguments: &[&str]) -> String {
    let output = shop.proxy.command(&[&["move"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn file(manifest: &Value) -> PathBuf {
    Path::new(manifest["folder"].as_str().unwrap())
        .join(manifest["parts"][0]["files"][0]["name"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backup_under_load_is_verified_and_restored_beside() {
    let mut shop = shop(&tools("double_write = \"off\""), 3_000).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy
        .query_drop(
            "UPDATE users SET email = 'a;\\n-- b''\\\\ \u{e9}\u{1f600}' WHERE id BETWEEN 1001 AND 1100",
        )
        .await
        .unwrap();
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    load.more(50).await;
    shop.carry_over().await;
    let made = json(&shop, &["backup", "shop"]);
    load.more(50).await;
    assert!(made["verified"]["rows"].as_u64() > Some(6_000) && made["not_verified"].is_null(), "{made}");
    let part = &made["parts"][0];
    assert!(
        part["position"]["offset"].as_u64() > Some(4) && part["tables"].as_array().unwrap().len() == 2,
        "{made}"
    );
    let databases = rows(&mut legacy, &format!("SHOW DATABASES LIKE '{}%try%'", shop.name)).await.unwrap();
    assert!(databases.is_empty(), "the trial is gone: {databases:?}");
    let (point, later) = (
        json(&shop, &["point", "shop", "--name", "with-backup"]),
        json(&shop, &["backup", "shop", "--list"]),
    );
    assert_eq!((&point["backup"], later.as_array().unwrap().len()), (&1.into(), 1));

    // The log since then, with what clients wrote in it.
    let marked = "INSERT INTO users (id, name) VALUES (900009, 'in the log since then')";
    shop.connect().await.query_drop(marked).await.unwrap();
    load.more(20).await;
    let log = json(&shop, &["backup", "shop", "--incremental"]);
    assert_eq!((&log["base"], &log["kind"]), (&1.into(), &"incremental".into()));
    let raw = std::process::Command::new("gzip").arg("-dc").arg(file(&log)).output().unwrap();
    let is_there = |what: &[u8]| raw.stdout.windows(what.len()).any(|window| window == what);
    assert!(raw.status.success() && raw.stdout.starts_with(b"\xfebin") && is_there(b"in the log since then"));
    shop.proxy.kill9_and_restart().await;
    assert_eq!(json(&shop, &["backup", "shop", "--list"]).as_array().unwrap().len(), 2);

    until("the streams are followed again", Duration::from_secs(30), async || {
        let of = &shop.of_move();
        (of["waits_for"].is_null() && of["lag_s"].as_f64().is_some_and(|lag| lag < 1.0)).then_some(())
    })
    .await;
    shop.save(&tools("writes = \"target\"\nreads = 100")).await;
    shop.reaches("ReverseSync").await;
    load.more(50).await;
    let ended = ends_with(3, &shop, &["rollback", "shop", "--to", "with-backup", "--restore"]);
    assert_eq!(ended["steps"][2]["state"], "awaits_a_person", "{ended}");
    let told = ended["steps"][2]["detail"].as_str().unwrap();
    let beside = format!("{}_restored_{}", shop.name, point["id"]);
    assert!(told.contains(&beside) && told.contains("RENAME TABLE"), "{told}");
    let restored = rows(&mut legacy, &format!("SELECT COUNT(*) FROM {beside}.users")).await.unwrap();
    assert_eq!(restored[0], part["tables"][0]["rows"].to_string(), "{made}");
    let odd = format!(
        "SELECT COUNT(*) FROM {beside}.users r JOIN users u USING (id) WHERE r.email = u.email AND id BETWEEN 1001 AND 1100"
    );
    assert_eq!(rows(&mut legacy, &odd).await.unwrap(), ["100"]);
    let journal = load.stop().await;
    journal.check(&mut shop.connect().await).await;
    shop.run(&["move", "verify", "shop"]);
    legacy.query_drop(format!("DROP DATABASE {beside}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_cannot_be_used_is_not_restored() {
    let shop = shop("backup = { dump = \"no-such-dump\" }", 200).await;
    shop.carry_over().await;
    let why = refused(&shop, &["backup", "shop"]);
    assert!(why.contains("SHD1468") && why.contains("no-such-dump"), "{why}");
    shop.save(&tools("")).await;
    assert!(refused(&shop, &["backup", "shop", "--incremental"]).contains("SHD1469"));
    json(&shop, &["point", "shop", "--name", "without"]);
    let why = refused(&shop, &["rollback", "shop", "--to", "without", "--restore"]);
    assert!(why.contains("SHD1469"), "{why}");
    let made = json(&shop, &["backup", "shop"]);
    json(&shop, &["point", "shop", "--name", "with"]);
    let path = file(&made);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let why = refused(&shop, &["rollback", "shop", "--to", "with", "--restore"]);
    assert!(why.contains("SHD1469") && why.contains("checksum"), "{why}");
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let databases =
        rows(&mut legacy, &format!("SHOW DATABASES LIKE '{}%restored%'", shop.name)).await.unwrap();
    assert!(databases.is_empty(), "{databases:?}");
}

/// A row of the source that stands for a moment.
async fn note(shop: &Shop, id: u64, name: &str) {
    let sql = format!("INSERT INTO users (id, name) VALUES ({id}, '{name}')");
    shop.connect().await.query_drop(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_an_incremental_backup_are_restored_and_a_person_puts_them_in_place() {
    let shop = shop(&tools("double_write = \"off\""), 300).await;
    shop.carry_over().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    note(&shop, 900_001, "before").await;
    json(&shop, &["backup", "shop"]);
    note(&shop, 900_002, "first").await;
    for sql in [
        "UPDATE users SET name = 'changed' WHERE id BETWEEN 1001 AND 1100",
        "UPDATE users SET name = 'again', email = NULL WHERE id = 1001",
        "DELETE FROM users WHERE id = 1002",
        "UPDATE users SET id = 900003 WHERE id = 1003",
        "FLUSH BINARY LOGS",
        "INSERT INTO users (id, name) SELECT id + 910000, name FROM users WHERE id BETWEEN 1100 AND 1299",
    ] {
        legacy.query_drop(sql).await.unwrap();
    }
    let log = json(&shop, &["backup", "shop", "--incremental"]);
    assert!(log["verified"]["rows"].as_u64() > Some(600) && log["not_verified"].is_null(), "{log}");
    note(&shop, 900_004, "second").await;
    let log = json(&shop, &["backup", "shop", "--incremental"]);
    assert!(log["base"] == 2 && log["verified"]["rows"].is_u64(), "{log}");
    let rows_then = "SELECT id, name, email, HEX(name) FROM users ORDER BY id";
    let then = rows(&mut legacy, rows_then).await.unwrap();
    let point = json(&shop, &["point", "shop", "--name", "later"]);
    assert_eq!(point["backup"], 3, "{point}");
    note(&shop, 900_005, "too late").await;

    let ended = ends_with(3, &shop, &["rollback", "shop", "--to", "later", "--restore"]);
    assert_eq!(ended["outcome"], "awaits_a_person", "{ended}");
    let states: Vec<&str> =
        ended["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states[2..], ["awaits_a_person", "done", "skipped"], "{ended}");
    let beside = ended["restored"][0]["database"].as_str().unwrap().to_owned();
    assert_eq!((&ended["restored"][0]["backup"], beside), (&3.into(), format!("{}_restored_1", shop.name)));
    let restored = rows_then.replace("FROM users", &format!("FROM {}_restored_1.users", shop.name));
    assert_eq!(rows(&mut legacy, &restored).await.unwrap(), then);
    let last = shop.proxy.command(&["move", "rollback", "shop", "--last"]);
    let text = String::from_utf8_lossy(&last.stdout).into_owned();
    assert!(last.status.code() == Some(3) && text.contains("awaits a person"), "{text}");
    // Exactly as it is printed.
    let printed = text.lines().find(|line| line.starts_with("RENAME TABLE")).unwrap();
    legacy.query_drop(printed).await.unwrap();
    assert_eq!(rows(&mut legacy, rows_then).await.unwrap(), then);
    legacy.query_drop(format!("DROP DATABASE {}_restored_1", shop.name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_way_back_brought_is_in_an_incremental_backup() {
    let shop = shop(&tools("double_write = \"off\""), 100).await;
    shop.carry_over().await;
    json(&shop, &["backup", "shop"]);
    shop.save(&tools("writes = \"target\"\nreads = 100")).await;
    shop.reaches("ReverseSync").await;
    note(&shop, 900_001, "on the target").await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    until("the row has come back", Duration::from_secs(30), async || {
        let found = rows(&mut legacy, "SELECT name FROM users WHERE id = 900001").await.unwrap();
        (found == ["on the target"]).then_some(())
    })
    .await;
    let log = json(&shop, &["backup", "shop", "--incremental"]);
    let rows = rows(&mut legacy, "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM orders)").await;
    assert_eq!(log["verified"]["rows"].to_string(), rows.unwrap()[0], "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_replayed_exactly_is_refused() {
    let shop = shop(&tools("double_write = \"off\""), 100).await;
    shop.carry_over().await;
    json(&shop, &["backup", "shop"]);
    note(&shop, 900_001, "first").await;
    let first = json(&shop, &["backup", "shop", "--incremental"]);
    note(&shop, 900_002, "second").await;
    json(&shop, &["backup", "shop", "--incremental"]);
    json(&shop, &["point", "shop", "--name", "later"]);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    // Rows are gone and the log does not say which.
    legacy.query_drop("TRUNCATE TABLE orders").await.unwrap();
    let undone = ends_with(1, &shop, &["backup", "shop", "--incremental"]);
    let why = undone["not_verified"].as_str().unwrap();
    assert!(why.contains("SHD1469") && why.contains("TRUNCATE"), "{why}");
    let restore = ["rollback", "shop", "--to", "later", "--restore"];
    let bytes = std::fs::read(file(&first)).unwrap();
    std::fs::write(file(&first), &bytes[..bytes.len() / 2]).unwrap();
    let why = refused(&shop, &restore);
    assert!(why.contains("SHD1469") && why.contains("checksum"), "{why}");
    std::fs::remove_file(file(&first)).unwrap();
    assert!(refused(&shop, &restore).contains("SHD1469"));
    let databases = format!("SHOW DATABASES LIKE '{}\\_%'", shop.name);
    let left = rows(&mut legacy, &databases).await.unwrap();
    assert!(left.iter().all(|name| !name.contains("restored") && !name.contains("try")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_trial_of_a_backup_has_left_goes_when_the_process_starts_again() {
    let mut shop = shop(&tools(""), 100).await;
    let made = json(&shop, &["backup", "shop"]);
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    let [trial, other] = [1, 2].map(|id| format!("{}_try_backup_{id}", shop.name));
    for database in [&trial, &other] {
        source.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    }
    // As a crash in the middle of the trial leaves it.
    shop.proxy.kill9();
    let mut untried = made.clone();
    (untried["verified"], untried["not_verified"]) = (Value::Null, "it has not been tried".into());
    shop.proxy.write_state_file("backups/shop/000001.json", &untried.to_string());
    shop.proxy.restart().await;
    let left = format!(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('{trial}', '{other}')"
    );
    until("the trial is gone", Duration::from_secs(20), async || {
        (rows(&mut source, &left).await.unwrap() == [other.as_str()]).then_some(())
    })
    .await;
    source.query_drop(format!("DROP DATABASE {other}")).await.unwrap();
}
