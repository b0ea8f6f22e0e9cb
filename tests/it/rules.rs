//! Saving the rule file is the deployment; a bad one never takes effect.

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Proxy, Shop, rows, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_bad_file_never_takes_effect_and_drops_no_connection() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a')").await.unwrap();
    let good = shop.rules();
    let bad = [
        (String::new(), "no [backends.*]"),
        (good[..good.find("s{0").unwrap() + 2].to_owned(), "rules.toml: line"),
        (good.replace("shard_key = \"id\"", "shard_kye = \"id\""), "did you mean `shard_key`"),
        (good.replace("default = \"legacy\"", "default = \"legasy\""), "did you mean `legacy`"),
        (good.replace("shards = 4", "shards = 5"), "5 shards"),
        (good.replace("shard_key = \"id\"", "shard_key = \"nothing\""), "no column"),
        (good.replace("shard_key = \"id\"", "shard_key = \"region_id\""), "SHD1601"),
        (good.replace("kind = \"mod\", shards = 4", "kind = \"hash\", shards = 4"), "SHD1601"),
        (good.replace("default = \"legacy\"", "default = \"s0\""), "SHD1604"),
    ];
    for (version, (text, reason)) in (2..).zip(&bad) {
        shop.proxy.save_rules(text);
        let error = shop.proxy.settled(version).await.unwrap_or_else(|| panic!("{reason} took effect"));
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(), ["a"]);
        assert_eq!(shop.proxy.status()["rules"]["in_force_version"], 1);
    }
    shop.proxy.save_rules(&good);
    until("the error is gone", Duration::from_secs(10), async || {
        shop.proxy.status()["rules"]["last_error"].is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn restoring_the_text_after_a_refusal_leaves_nothing_of_it() {
    let shop = Shop::open().await;
    let good = shop.rules();
    let refused = good.replace("kind = \"mod\", shards = 4", "kind = \"hash\", shards = 4");
    shop.proxy.save_rules(&refused);
    assert!(shop.proxy.settled(2).await.is_some_and(|why| why.contains("SHD1601")));
    shop.proxy.save_rules(&good);
    until("what is in force is desired", Duration::from_secs(10), async || {
        let rules = shop.proxy.status()["rules"].clone();
        (rules["desired_version"] == 1 && rules["last_error"].is_null()).then_some(())
    })
    .await;
    assert_eq!(shop.proxy.status()["rules"]["in_force_version"], 1);
    shop.proxy.save_rules(&format!("{good}# another\n"));
    assert_eq!(shop.proxy.settled(3).await, None);
    assert_eq!(shop.proxy.status()["rules"]["desired_version"], 3, "no number is given twice");
}

#[tokio::test]
async fn a_plan_tells_of_everything_that_differs() {
    let shop = Shop::open().await;
    let text = shop.rules().replace("kind = \"mod\", shards = 4", "kind = \"hash\", shards = 4");
    shop.proxy.save_rules(&format!("{text}[[alerts]]\nwhen = \"sync_delay > 60 s\"\n"));
    assert!(shop.proxy.settled(2).await.is_some(), "what is refused stays to be planned");
    let planned = shop.proxy.command(&["plan"]);
    let told = String::from_utf8_lossy(&planned.stdout);
    assert_eq!(planned.status.code(), Some(1), "{told}");
    assert!(told.contains("refused  tables.") && told.contains("SHD1601"), "{told}");
    assert!(told.contains("instant  alerts: as before -> as written now"), "{told}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_changes_nothing() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a')").await.unwrap();
    let file = shop.proxy.config().with_file_name("rules.toml");
    let good = shop.rules();
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 3] = [
        ("not UTF-8", |file| std::fs::write(file, b"[backends.\xff\xfe]").unwrap()),
        ("gone", |file| assert!(!file.exists())),
        ("a folder", |file| std::fs::create_dir(file).unwrap()),
    ];
    for (what, damage) in damages {
        let _ = std::fs::remove_file(&file);
        damage(&file);
        until("the status tells of it", Duration::from_secs(10), async || {
            let error = shop.proxy.status()["rules"]["last_error"].as_str().map(str::to_owned);
            error.filter(|error| error.contains("rules.toml"))
        })
        .await;
        assert_eq!(shop.proxy.status()["rules"]["in_force_version"], 1, "{what}");
        assert_eq!(
            rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(),
            ["a"],
            "{what}"
        );
        let _ = std::fs::remove_dir(&file);
        shop.proxy.save_rules(&good);
        until("the error is gone", Duration::from_secs(10), async || {
            shop.proxy.status()["rules"]["last_error"].is_null().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_reload_under_load_fails_no_statement() {
    let shop = Shop::open().await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for client in 0..4_u64 {
        let mut connection = shop.connect().await;
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut id = client;
            while !stop.load(Ordering::Relaxed) {
                id += 4;
                connection.query_drop("BEGIN").await?;
                connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'n')")).await?;
                connection.query_drop("COMMIT").await?;
                let found: Option<u64> =
                    connection.exec_first("SELECT id FROM users WHERE id = ?", (id,)).await?;
                assert_eq!(found, Some(id));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, mysql_async::Error>(())
        }));
    }
    for version in 2..12 {
        let before = done.load(Ordering::Relaxed);
        let table = format!("[tables.extra{version}]\nkind = \"single\"\nnodes = \"legacy\"\n");
        shop.proxy.save_rules(&format!("{}{table}", shop.rules()));
        assert_eq!(shop.proxy.settled(version).await, None);
        until("statements go on", Duration::from_secs(10), async || {
            (done.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn sighup_the_command_line_and_history_bring_rules_into_force() {
    let mut shop = Shop::open().await;
    let first = shop.rules();
    let second = format!("{first}[transactions]\nacross_shards = \"refuse\"\n");
    shop.proxy.save_rules(&second);
    assert_eq!(shop.proxy.settled(2).await, None);
    let status =
        std::process::Command::new("kill").args(["-HUP", &shop.proxy.pid().to_string()]).status().unwrap();
    assert!(status.success());
    until("the signal is heard", Duration::from_secs(20), async || {
        shop.proxy.log().contains("SIGHUP: the files are read again").then_some(())
    })
    .await;
    let out = |output: std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(out(shop.proxy.command(&["status"])).contains("desired 2 in force 2"));
    assert!(out(shop.proxy.command(&["plan"])).contains("nothing changes"));
    assert!(out(shop.proxy.command(&["check"])).contains("are valid"));
    assert_eq!(out(shop.proxy.command(&["rules", "history"])).lines().count(), 2);
    let masked = first.replace(":shop@", ":***@");
    assert_eq!(out(shop.proxy.command(&["rules", "show", "1"])), masked);
    assert!(out(shop.proxy.command(&["rules", "revert", "1"])).contains("version 3"));
    assert_eq!(out(shop.proxy.command(&["rules", "show", "3"])), masked);
    assert_eq!(std::fs::read_to_string(shop.proxy.config().with_file_name("rules.toml")).unwrap(), first);
    let explained = out(shop.proxy.command(&["explain", "SELECT * FROM users WHERE id = 7"]));
    assert!(explained.contains("Route one of 4 shards"), "{explained}");
    let refused = shop.proxy.command(&["explain", "SELECT COUNT(*) FROM users JOIN settings"]);
    assert_eq!(refused.status.code(), Some(1));
    shop.proxy.kill9_and_restart().await;
    assert!(out(shop.proxy.command(&["status"])).contains("in force 3"));
    assert!(shop.proxy.get("/metrics").unwrap().contains("shardway_rules_version 3"));
    assert_eq!(shop.proxy.get("/healthz").unwrap(), "ok\n");
}

#[tokio::test]
async fn rules_edited_while_the_proxy_is_down_are_compared_with_those_that_were_in_force() {
    let mut shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (6, 'f')").await.unwrap();
    drop(connection);
    let good = shop.rules();
    let hidden = good.replace("kind = \"mod\", shards = 4", "kind = \"hash\", shards = 4");
    let why = shop.proxy.refuses_to_start_on(&hidden).await;
    assert!(why.contains("SHD1601") && why.contains("version 1"), "{why}");
    for (text, reason) in [("", "no [backends.*]"), (&good[..good.find("s{0").unwrap() + 2], "line")] {
        let why = shop.proxy.refuses_to_start_on(text).await;
        assert!(why.contains("rules.toml") && why.contains(reason), "{reason}: {why}");
    }
    let harmless = format!("{good}[transactions]\nacross_shards = \"refuse\"\n");
    shop.proxy.save_rules(&harmless);
    shop.proxy.kill9_and_restart().await;
    assert_eq!(shop.proxy.status()["rules"]["last_error"], serde_json::Value::Null);
    let mut connection = shop.connect().await;
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 6").await.unwrap(), ["f"]);
}

#[tokio::test]
async fn the_greeting_tells_a_backends_version_even_when_no_table_is_named() {
    let shop = Shop::open().await;
    let plain = shop.cluster.legacy.connect("").await.server_version();
    let good = shop.rules();
    let passing = Proxy::start(&good[..good.find("[tables").unwrap()]).await;
    let through = passing.connect(&shop.name).await.server_version();
    assert_eq!(through, plain);
}
