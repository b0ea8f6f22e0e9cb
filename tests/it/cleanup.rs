//! What a finished move leaves behind goes in two stages, and nothing goes that is still in use.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Server, Shop, Watchman, rows, until};

const SWITCHED: &str = "writes = \"target\"\nreads = 100";

/// What a command printed, on whichever side, and whether it succeeded.
fn cleanup(shop: &Shop, more: &[&str]) -> (String, Option<i32>) {
    let output = shop.proxy.command(&[&["move", "cleanup", "shop"], more].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

fn cleaned(shop: &Shop, more: &[&str]) -> String {
    let (told, code) = cleanup(shop, more);
    assert_eq!(code, Some(0), "{told}");
    told
}

fn refused(shop: &Shop, more: &[&str]) -> String {
    let (told, code) = cleanup(shop, more);
    assert_eq!(code, Some(1), "{told}");
    told
}

/// Tables of a server with one of these words in their names.
async fn tables(server: &Server, database: &str, word: &str) -> Vec<String> {
    let mut connection = server.connect(database).await;
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{database}' \
         AND TABLE_NAME LIKE '%{word}%' ORDER BY TABLE_NAME"
    );
    rows(&mut connection, &sql).await.unwrap()
}

async fn save(shop: &Shop, rules: &str) {
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    // A text that is in force already would be no new version.
    shop.proxy.save_rules(&format!("# {}\n{rules}", desired + 1));
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
}

async fn reaches(shop: &Shop, phase: &str) {
    until(&format!("the move is {phase}"), Duration::from_secs(60), async || {
        let of = shop.of_move();
        assert!(of["phase"] != "Failed", "{}", of["last_error"]);
        (of["phase"] == phase).then_some(())
    })
    .await;
}

fn run(shop: &Shop, word: &str) {
    let output = shop.proxy.command(&["move", word, "shop"]);
    assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A shop whose 40 users and orders have moved to the shards, with the way back open.
async fn switched(shop: Shop, lines: &str) -> Shop {
    let mut connection = shop.connect().await;
    for id in 1..=40 {
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')")).await.unwrap();
        connection
            .query_drop(format!("INSERT INTO orders (id, user_id, amount) VALUES ({id}, {id}, 1)"))
            .await
            .unwrap();
    }
    save(&shop, &shop.moving_rules(lines)).await;
    run(&shop, "start");
    reaches(&shop, "Synced").await;
    assert!(refused(&shop, &[]).contains("move finish"), "it has not even been switched");
    save(&shop, &shop.moving_rules(&format!("{lines}\n{SWITCHED}"))).await;
    reaches(&shop, "ReverseSync").await;
    shop
}

async fn finished(lines: &str) -> Shop {
    finished_on(Shop::open_moving().await, lines).await
}

async fn finished_on(shop: Shop, lines: &str) -> Shop {
    let shop = switched(shop, lines).await;
    run(&shop, "finish");
    reaches(&shop, "Done").await;
    shop
}

async fn is_whole(shop: &Shop) {
    let mut connection = shop.connect().await;
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 40").await.unwrap(), ["u40"]);
    let ids = rows(&mut connection, "SELECT id FROM orders ORDER BY id").await.unwrap();
    assert_eq!(ids.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_put_aside_first_and_dropped_after_the_grace_or_when_a_person_says_so() {
    let shop = switched(Shop::open_moving().await, "").await;
    assert!(refused(&shop, &["--now"]).contains("move finish shop"), "the way back is open");
    run(&shop, "finish");
    reaches(&shop, "Done").await;
    let legacy = &shop.cluster.legacy;
    assert!(cleaned(&shop, &["--dry-run"]).contains("would be put aside as _shardway_old_users_20"));
    assert_eq!(tables(legacy, &shop.name, "users").await, ["users"]);
    assert!(!tables(legacy, &shop.name, "shardway_").await.is_empty(), "the move has tables of its own");
    assert!(cleaned(&shop, &[]).contains("(40 rows) until 20"));
    let old = tables(legacy, &shop.name, "shardway_").await;
    let [orders, users] = old.as_slice() else { panic!("{old:?}") };
    assert!(orders.starts_with("_shardway_old_orders_20") && users.starts_with("_shardway_old_users_20"));
    assert!(tables(legacy, &shop.name, "users").await.iter().all(|table| table == users));
    for shard in &shop.cluster.shards {
        let own = tables(shard, &shop.name, "shardway_").await;
        assert!(own.iter().all(|table| table == "shardway_mismatches"), "{own:?}");
    }
    is_whole(&shop).await;
    assert!(cleaned(&shop, &[]).contains("is aside as _shardway_old_users_20"), "the grace is not over");
    // The record outlives what the rules say.
    let rules = shop.rules();
    save(&shop, &rules).await;
    assert!(cleaned(&shop, &["--dry-run", "--now"]).contains("would be dropped as _shardway_old_orders"));
    let mut connection = legacy.connect(&shop.name).await;
    connection.query_drop(format!("INSERT INTO {users} (id, name) VALUES (41, 'late')")).await.unwrap();
    assert!(refused(&shop, &["--now"]).contains("somebody uses it; it stays"));
    assert_eq!(tables(legacy, &shop.name, users).await.len(), 1);
    connection.query_drop(format!("DELETE FROM {users} WHERE id = 41")).await.unwrap();
    assert!(cleaned(&shop, &["--now"]).contains("its grace time skipped by a person"));
    assert_eq!(tables(legacy, &shop.name, "shardway").await, Vec::<String>::new());
    for shard in &shop.cluster.shards {
        assert_eq!(tables(shard, &shop.name, "shardway").await, Vec::<String>::new());
    }
    assert!(shop.proxy.state_file("cleanup/shop.json").contains("\"skipped\""), "it is recorded");
    assert!(cleaned(&shop, &[]).contains("nothing is left of shop"));
    is_whole(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_use_stays() {
    let shop = finished("").await;
    let legacy = &shop.cluster.legacy;
    for lines in ["never = [7]", "functions = { reads_of = [\"orders\"] }"] {
        save(&shop, &shop.moving_rules(&format!("{SWITCHED}\n{lines}"))).await;
        assert!(refused(&shop, &[]).contains("[moves.shop] may still send statements there"), "{lines}");
    }
    save(&shop, &shop.moving_rules(SWITCHED)).await;
    let mut connection = legacy.connect(&shop.name).await;
    connection.query_drop("INSERT INTO orders (id, user_id, amount) VALUES (41, 1, 1)").await.unwrap();
    assert!(refused(&shop, &[]).contains("orders has 41 rows and had 40"));
    assert_eq!(tables(legacy, &shop.name, "_shardway_old_orders").await, Vec::<String>::new());
    connection.query_drop("DELETE FROM orders WHERE id = 41").await.unwrap();
    cleaned(&shop, &[]);
    is_whole(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_of_the_move_holds_for_the_deletion() {
    let watchman = Watchman::start().await;
    let lines = format!("cleanup = {{ grace = \"0 s\", rows = 5, pause_ms = 0 }}\n{}", watchman.limit());
    let shop = finished(&lines).await;
    cleaned(&shop, &[]);
    let aside = tables(&shop.cluster.legacy, &shop.name, "_shardway_old_users").await.remove(0);
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    let mut there = async || rows(&mut source, &format!("SELECT COUNT(*) FROM {aside}")).await.unwrap();
    let before = there().await;
    watchman.says_wait();
    let mut cleaning = shop.proxy.begin(&["move", "cleanup", "shop"]);
    watchman.is_heard().await;
    assert_eq!(there().await, before);
    watchman.says_go();
    let ended = until("the deletion ends", Duration::from_secs(60), async || cleaning.try_wait().unwrap());
    assert!(ended.await.success());
    assert_eq!(tables(&shop.cluster.legacy, &shop.name, "_shardway_old_").await, Vec::<String>::new());
    is_whole(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_is_gone_on_with() {
    let mut shop = finished("cleanup = { grace = \"0 s\", rows = 5, pause_ms = 0 }").await;
    for (steps, left) in [(["PutAside", "Aside"], 2), (["Emptying", "Gone"], 0)] {
        shop.proxy.stop_at(steps[0]);
        let mut caller = shop.proxy.begin(&["move", "cleanup", "shop"]);
        shop.proxy.is_at(steps[0], 1).await;
        shop.proxy.kill9();
        caller.wait().unwrap();
        shop.proxy.stop_at(steps[1]);
        shop.proxy.restart().await;
        shop.proxy.is_at(steps[1], 1).await;
        shop.proxy.kill9();
        shop.proxy.go_on();
        shop.proxy.restart().await;
        let legacy = &shop.cluster.legacy;
        until("the cleanup has gone on", Duration::from_secs(30), async || {
            let aside = tables(legacy, &shop.name, "_shardway_old_").await.len() == left;
            let named = tables(legacy, &shop.name, "users").await.len()
                + tables(legacy, &shop.name, "orders").await.len();
            (aside && named == left).then_some(())
        })
        .await;
    }
    is_whole(&shop).await;
    cleaned(&shop, &[]);
    assert_eq!(tables(&shop.cluster.legacy, &shop.name, "shardway").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_at_any_step_is_cleaned_when_it_is_back() {
    let lines = "cleanup = { grace = \"0 s\", rows = 5, pause_ms = 0 }";
    let mut shop = finished_on(Shop::open_moving_alone().await, lines).await;
    // One call puts tables aside, or drops them.
    for steps in [["PutAside", "Aside"], ["Emptying", "Gone"]] {
        for step in steps {
            shop.proxy.stop_at(step);
            let mut caller = shop.proxy.begin(&["move", "cleanup", "shop"]);
            shop.proxy.is_at(step, 1).await;
            shop.own().legacy.kill9();
            shop.proxy.go_on();
            caller.wait().unwrap();
            shop.own().legacy.restart().await;
            until("the source is seen to be back", Duration::from_secs(20), async || {
                let status = shop.proxy.status();
                let is_up = |of: &serde_json::Value| of["state"] == "up";
                status["backends"].as_array()?.iter().all(is_up).then_some(())
            })
            .await;
            is_whole(&shop).await;
        }
        cleaned(&shop, &[]);
    }
    until("nothing is left", Duration::from_secs(60), async || {
        let (told, _) = cleanup(&shop, &[]);
        told.contains("nothing is left of shop").then_some(())
    })
    .await;
    assert_eq!(tables(&shop.cluster.legacy, &shop.name, "shardway").await, Vec::<String>::new());
    is_whole(&shop).await;
}
