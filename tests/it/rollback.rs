//! Going back: points, a planned rollback under clients, an emergency with a dead target, a crash in between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::load::{Load, SHARED, Transfers};
use shardway_tests::{Shop, rows, until};

use super::moving::shop;

/// What a command prints as JSON, and whether it succeeded.
pub(super) fn json(shop: &Shop, arguments: &[&str]) -> (Value, bool) {
    let output = shop.proxy.command(&[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = serde_json::from_str(&text);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (read.unwrap_or_else(|_| panic!("{arguments:?}: {text}{error}")), output.status.success())
}

/// What a command that is refused says.
fn refused(shop: &Shop, arguments: &[&str]) -> String {
    let output = shop.proxy.command(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn points(shop: &Shop) -> Vec<Value> {
    json(shop, &["move", "points", "shop"]).0.as_array().unwrap().clone()
}

/// Until a switch's own point is there: it is made beside clients that go on.
async fn has_point(shop: &Shop, name: &str) -> Value {
    until(name, Duration::from_secs(20), async || {
        points(shop).into_iter().find(|point| point["name"].as_str().is_some_and(|is| is.starts_with(name)))
    })
    .await
}

/// Step and state, in their order.
fn steps(rollback: &Value) -> Vec<String> {
    let step =
        |step: &Value| format!("{} {}", step["step"].as_str().unwrap(), step["state"].as_str().unwrap());
    rollback["steps"].as_array().unwrap().iter().map(step).collect()
}

async fn ended(shop: &Shop) -> Value {
    until("the rollback has ended", Duration::from_secs(90), async || {
        let (last, _) = json(shop, &["move", "rollback", "shop", "--last"]);
        (last["outcome"] != "running").then_some(last)
    })
    .await
}

fn rule_file(shop: &Shop) -> String {
    std::fs::read_to_string(shop.proxy.config().with_file_name("rules.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_rollback_takes_traffic_back_under_load_and_loses_nothing() {
    let shop = shop("double_write = \"off\" # by the log alone", 2_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    load.more(50).await;
    shop.carry_over().await;
    let (made, _) = json(&shop, &["move", "point", "shop", "--name", "by-hand"]);
    assert_eq!((&made["authority"], &made["phase"]), (&"source".into(), &"Synced".into()), "{made}");
    assert_eq!(made["positions"].as_object().unwrap().len(), 3, "{made}");
    assert_eq!(made["definitions"].as_object().unwrap().len(), 10, "{made}");
    assert!(refused(&shop, &["move", "point", "shop", "--name", "by-hand"]).contains("already"));
    shop.save("writes = \"target\"\nreads = 100\nalways = [7] # the boss").await;
    shop.reaches("ReverseSync").await;
    load.more(200).await;
    let before = has_point(&shop, "before-switch-to-target").await;
    let after = has_point(&shop, "after-switch-to-target").await;
    assert_eq!(after["schema"], made["schema"], "nothing has changed a definition");
    assert_eq!((&before["authority"], &after["authority"]), (&"source".into(), &"target".into()));
    assert!(after["streams_begin"].as_object().unwrap().contains_key("s1"), "{after}");
    let why = refused(&shop, &["move", "rollback", "shop", "--to", after["name"].as_str().unwrap()]);
    assert!(why.contains("SHD1467") && why.contains("rules revert"), "{why}");
    assert!(refused(&shop, &["move", "rollback", "shop", "--to", "nowhere"]).contains("SHD1467"));

    let (ended, is_done) = json(&shop, &["move", "rollback", "shop"]);
    assert!(is_done, "{ended}");
    let expected = ["stop skipped", "traffic done", "data skipped", "rules skipped", "validate done"];
    assert_eq!(steps(&ended), expected, "{ended}");
    shop.reaches("Synced").await;
    let file = rule_file(&shop);
    assert!(file.contains("writes = \"source\"") && file.contains("always = [] # the boss"), "{file}");
    load.more(100).await;

    // There and back once more, with the rules of the point.
    shop.save("writes = \"target\"\nreads = 100").await;
    shop.reaches("ReverseSync").await;
    load.more(100).await;
    let output = shop.proxy.command(&["move", "rollback", "shop", "--to", "by-hand", "--verify", "count"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("rules            done"), "{text}");
    assert!(text.contains("both sides are equal") && !text.contains("since by-hand"), "{text}");
    assert!(rule_file(&shop).contains("double_write = \"off\" # by the log alone"), "{}", rule_file(&shop));
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    shop.run(&["move", "verify", "shop"]);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    journal.check(&mut legacy).await;
    journal.check(&mut shop.connect().await).await;

    shop.save("writes = \"target\"\nreads = 100").await;
    shop.reaches("ReverseSync").await;
    shop.run(&["move", "finish", "shop"]);
    shop.reaches("Done").await;
    for arguments in [&["move", "rollback", "shop"][..], &["move", "rollback", "shop", "--emergency"]] {
        assert!(refused(&shop, arguments).contains("SHD1465"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_has_the_ids_that_tables_give_next() {
    let shop = shop("double_write = \"off\"", 10).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let counted = "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, AUTO_INCREMENT = 7000";
    legacy.query_drop(counted).await.unwrap();
    let (first, _) = json(&shop, &["move", "point", "shop", "--name", "first"]);
    legacy.query_drop("INSERT INTO orders (user_id, amount) VALUES (1, 1), (1, 2)").await.unwrap();
    legacy.query_drop("INSERT INTO orders (id, user_id, amount) VALUES (8000, 1, 3)").await.unwrap();
    let (second, _) = json(&shop, &["move", "point", "shop", "--name", "second"]);
    for (point, next) in [(first, 7_000), (second, 8_001)] {
        let [counter] = point["counters"].as_array().unwrap().as_slice() else { panic!("{point}") };
        assert_eq!(
            (&counter["next"], &counter["table"]),
            (&next.into(), &format!("{}.orders", shop.name).into())
        );
        assert_eq!(counter["node"], format!("legacy: {}.orders", shop.name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_a_crash_interrupts_runs_again() {
    let mut shop = Shop::open_moving_alone().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(Load::shared_rows()).await.unwrap();
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 3, Transfers::WithinShard);
    load.more(20).await;
    shop.carry_over().await;
    for (round, step) in ["Hold", "Journal"].into_iter().enumerate() {
        shop.save(&format!("hold_ms = 10000 # {round}\nwrites = \"target\"\nreads = 100")).await;
        shop.reaches("ReverseSync").await;
        load.more(30).await;
        shop.proxy.stop_at(step);
        let config = shop.proxy.config();
        let waiting = tokio::task::spawn_blocking(move || {
            shardway_tests::command(&config, &["move", "rollback", "shop"]).status.success()
        });
        shop.proxy.is_at(step, 1).await;
        shop.proxy.kill9();
        shop.proxy.go_on();
        assert!(!waiting.await.unwrap(), "nobody could tell it that it was done");
        shop.proxy.restart().await;
        let ended = ended(&shop).await;
        assert_eq!(ended["outcome"], "done", "{ended}");
        assert!(steps(&ended).contains(&"traffic interrupted".to_owned()), "{ended}");
        assert!(rule_file(&shop).contains("writes = \"source\""), "{}", rule_file(&shop));
        shop.reaches("Synced").await;
        load.more(30).await;
    }
    let journal = load.stop().await;
    shop.run(&["move", "verify", "shop"]);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    journal.check(&mut legacy).await;
}

/// A shop on servers of its own whose target owns writes.
pub(super) async fn switched_alone() -> Shop {
    let shop = Shop::open_moving_alone().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(Load::shared_rows()).await.unwrap();
    legacy.query_drop("INSERT INTO users (id, name) VALUES (501, 'old')").await.unwrap();
    shop.carry_over().await;
    legacy.query_drop("INSERT INTO users (id, name) VALUES (505, 'old')").await.unwrap();
    until("the stream has brought a row", Duration::from_secs(30), async || {
        (shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 505").await == ["old"]).then_some(())
    })
    .await;
    shop.save("writes = \"target\"\nreads = 100\napply.parallel = 1").await;
    shop.reaches("ReverseSync").await;
    shop
}

/// What a person does with the list: rows of clients that only the target has, or has newer, go to the source.
async fn carry_over(shop: &Shop, gaps: &Value) {
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    let streams = gaps["parted"]["not_synchronised"]["streams"].as_array().unwrap();
    for key in streams.iter().flat_map(|gap| gap["keys"].as_array().unwrap()) {
        let id: u64 = key["key"][0].as_str().unwrap().parse().unwrap();
        if id <= SHARED {
            // Both ends of a transfer came over together, or not at all.
            continue;
        }
        let (shard, table) = (usize::from(id % 4 > 1), format!("users_{}", id % 4));
        let version = |rows: Vec<String>| rows.first().cloned();
        let there = version(shop.on_shard(shard, &format!("SELECT name FROM {table} WHERE id = {id}")).await);
        let ask = format!("SELECT name FROM users WHERE id = {id}");
        let here = version(rows(&mut source, &ask).await.unwrap());
        let sql = match (there, here) {
            (None, Some(_)) => format!("DELETE FROM users WHERE id = {id}"),
            // The source had it, and a client has deleted it there since.
            (Some(_), None) if key["change"] != "inserted" => continue,
            (Some(there), None) => format!("INSERT INTO users (id, name) VALUES ({id}, '{there}')"),
            (Some(there), Some(here)) if here.starts_with('v') && there < here => continue,
            (Some(there), Some(_)) => format!("UPDATE users SET name = '{there}' WHERE id = {id}"),
            (None, None) => continue,
        };
        source.query_drop(sql).await.unwrap();
    }
}

/// Closes the gaps and copies everything anew, which needs a person to empty the target.
async fn begins_anew(shop: &Shop) {
    shop.run(&["move", "gaps", "shop", "--close"]);
    shop.run(&["move", "start", "shop"]);
    let why = until("rows of the target stand in the way", Duration::from_secs(90), async || {
        let of = shop.of_move();
        (of["phase"] == "Failed").then(|| of["last_error"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(why.contains("PF211"), "nothing but a person empties the target: {why}");
    for (shard, server) in shop.cluster.shards.iter().enumerate() {
        let mut target = server.connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            target.query_drop(format!("TRUNCATE TABLE users_{number}")).await.unwrap();
        }
    }
    shop.carry_over().await;
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_with_a_dead_target_serves_at_once_and_destroys_nothing() {
    let mut shop = switched_alone().await;
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 3, Transfers::WithinShard);
    load.more(50).await;
    // What the target acknowledges now cannot come over: the stream waits for the source's row.
    let mut blocker = shop.cluster.legacy.connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    let _: Vec<u64> = blocker.query("SELECT id FROM users WHERE id = 501 FOR UPDATE").await.unwrap();
    let mut client = shop.connect().await;
    client.query_drop("UPDATE users SET name = 'acknowledged' WHERE id = 501").await.unwrap();
    client.query_drop("INSERT INTO users (id, name) VALUES (509, 'acknowledged')").await.unwrap();
    load.more(30).await;
    shop.own().shards[0].kill9();

    let (ended, is_done) = json(&shop, &["move", "rollback", "shop", "--emergency"]);
    blocker.query_drop("ROLLBACK").await.unwrap();
    assert!(is_done, "{ended}");
    assert_eq!(steps(&ended), ["traffic done", "alert done", "not synchronised done"], "{ended}");
    // What was to be had at once of the moment before.
    let before = has_point(&shop, "before-emergency").await;
    assert_eq!((&before["authority"], &before["phase"]), (&"target".into(), &"ReverseSync".into()));
    // A server that is merely busy may have been asked in vain, too.
    let told = |what: &str| before[what].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert!(told("unknown").contains("s0") && told("positions").is_disjoint(&told("unknown")), "{before}");
    let asked: BTreeSet<_> = &told("positions") | &told("unknown");
    assert!(asked.iter().eq(["legacy", "s0", "s1"]) && before["schema"].is_null(), "{before}");
    let after = has_point(&shop, "after-switch-to-source").await;
    assert!(before["rules_version"].as_u64() < after["rules_version"].as_u64(), "{before} {after}");
    let streams = ended["not_synchronised"]["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 2, "{ended}");
    assert!(streams[0]["backend"] == "s0" && streams[0]["end"].is_null(), "{ended}");
    assert!(streams[0]["unknown"].is_string() && streams[1]["end"].is_object(), "{ended}");
    load.more(100).await;
    let status = shop.of_move();
    assert_eq!((&status["writes"], &status["phase"]), (&"source".into(), &"Failed".into()));
    assert!(status["last_switch"]["to"] == "source" && status["last_switch"]["held_ms"].is_u64(), "{status}");
    assert!(status["alerts"].to_string().contains("emergency_rollback"), "{status}");
    for command in ["start", "resume", "repair"] {
        assert!(refused(&shop, &["move", command, "shop"]).contains("SHD1466"), "{command}");
    }
    shop.proxy.kill9_and_restart().await;
    load.more(30).await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.own().shards[0].restart().await;
    shop.proxy.save_rules(&shop.moving_rules("double_write = \"sync\""));
    let why = shop.proxy.settled(desired + 1).await.expect("double write would overwrite the target");
    assert!(why.contains("SHD1466"), "{why}");
    shop.save("double_write = \"off\"").await;
    let mut journal = load.stop().await;
    // Whoever read between the two sides found the source without what the target had acknowledged.
    journal.stale.clear();

    let (gaps, is_closed) = json(&shop, &["move", "gaps", "shop"]);
    let gap = &gaps["parted"]["not_synchronised"]["streams"][0];
    assert!(!is_closed && gap["end"].is_object() && gap["unknown"].is_null(), "{gaps}");
    let keys = gap["keys"].as_array().unwrap();
    assert_eq!(gap["rows"], keys.len(), "every row is told by key");
    let list = std::fs::read_to_string(gap["list"].as_str().unwrap()).unwrap();
    let listed: Vec<serde_json::Value> =
        list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed, *keys);
    for (id, change) in [("501", "updated"), ("509", "inserted")] {
        assert!(keys.iter().any(|row| row["key"][0] == id && row["change"] == change), "{id}: {gaps}");
    }
    let (report, is_clean) = json(&shop, &["move", "verify", "shop"]);
    let told = report.to_string();
    assert!(!is_clean && told.contains("[\"501\"]") && told.contains("[\"509\"]"), "{told}");
    assert_eq!(
        shop.on_shard(0, "SELECT name FROM users_1 WHERE id IN (501, 509)").await,
        ["acknowledged"; 2]
    );

    carry_over(&shop, &gaps).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    journal.check(&mut legacy).await;
    begins_anew(&shop).await;
    let names = shop.on_shard(0, "SELECT name FROM users_1 WHERE id IN (501, 505, 509) ORDER BY id").await;
    assert_eq!(names, ["acknowledged", "old", "acknowledged"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_with_a_silent_target_does_not_wait_for_it() {
    let shop = switched_alone().await;
    shop.save("writes = \"target\"\nreads = 100\ndouble_write = \"strict\"").await;
    let mut client = shop.connect().await;
    client.query_drop("UPDATE users SET name = 'both' WHERE id = 505").await.unwrap();
    // A transaction that nobody can end while the target is silent.
    let mut open = shop.connect().await;
    open.query_drop("BEGIN").await.unwrap();
    open.query_drop("UPDATE users SET name = 'open' WHERE id = 501").await.unwrap();
    shop.cluster.shards[0].freeze();
    let began = Instant::now();
    let (ended, is_done) = json(&shop, &["move", "rollback", "shop", "--emergency"]);
    assert!(is_done, "{ended}");
    let traffic = ended["steps"][0]["seconds"].as_f64().unwrap();
    assert!(traffic < 4.0, "{traffic} s: {ended}");
    let before = has_point(&shop, "before-emergency").await;
    assert!(before["unknown"]["s0"].is_string() && before["positions"]["s1"].is_object(), "{before}");
    let told = ended["not_synchronised"]["transactions"].as_str().unwrap();
    assert!(told.contains("1 transaction had not ended"), "{ended}");
    let mut fresh = shop.connect().await;
    assert_eq!(rows(&mut fresh, "SELECT name FROM users WHERE id = 505").await.unwrap(), ["both"]);
    fresh.query_drop("UPDATE users SET name = 'source' WHERE id = 505").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    shop.cluster.shards[0].thaw();
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 505").await, ["both"]);
    assert!(rule_file(&shop).contains("double_write = \"off\""), "{}", rule_file(&shop));
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_that_a_crash_interrupts_is_carried_out() {
    for step in ["Intent", "Journal"] {
        let mut shop = switched_alone().await;
        shop.proxy.stop_at(step);
        let config = shop.proxy.config();
        let waiting = tokio::task::spawn_blocking(move || {
            shardway_tests::command(&config, &["move", "rollback", "shop", "--emergency"]).status.success()
        });
        shop.proxy.is_at(step, 1).await;
        shop.proxy.kill9();
        shop.proxy.go_on();
        assert!(!waiting.await.unwrap(), "nobody could tell it that it was done");
        shop.proxy.restart().await;
        let ended = ended(&shop).await;
        assert_eq!(ended["outcome"], "done", "{ended}");
        let mut client = shop.connect().await;
        client.query_drop("UPDATE users SET name = 'source' WHERE id = 501").await.unwrap();
        let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
        assert_eq!(rows(&mut legacy, "SELECT name FROM users WHERE id = 501").await.unwrap(), ["source"]);
        assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 501").await, ["old"]);
        assert!(refused(&shop, &["move", "start", "shop"]).contains("SHD1466"), "{step}");
        assert!(rule_file(&shop).contains("writes = \"source\""), "{}", rule_file(&shop));
    }
}
