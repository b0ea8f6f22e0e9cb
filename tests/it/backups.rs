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

fn json(shop: &Shop, arguments: &[&str]) -> Value {
    let output = shop.proxy.command(&[&["move"], arguments, &["--json"]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
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
    let ended = json(&shop, &["rollback", "shop", "--to", "with-backup", "--restore"]);
    assert_eq!(ended["steps"][2]["state"], "done", "{ended}");
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
