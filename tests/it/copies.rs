//! How rows are copied, as the rules say: downwards, under locks, over compressed connections. Each under load.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::connection::connect_over;
use shardway_migration::settings::Wire;
use shardway_routing::topology::Server;
use shardway_tests::load::{Journal, Load};
use shardway_tests::{Cluster, Shop, rows, until};

use super::moving::shop;

fn copied(shop: &Shop) -> u64 {
    shop.of_move()["rows_copied"].as_u64().unwrap()
}

/// Both sides agree, and nothing that was acknowledged is lost.
pub(super) async fn ends_equal(shop: &Shop, load: Load) -> Journal {
    load.more(50).await;
    let journal = load.stop().await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    journal.check(&mut shop.connect().await).await;
    journal
}

/// The same, and no client has noticed anything.
async fn ends_unnoticed(shop: &Shop, load: Load) {
    let journal = ends_equal(shop, load).await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descending_copy_begins_with_the_greatest_keys_and_goes_on_where_it_was() {
    let shop = shop("copy = { order = \"desc\", rows = 100, parallel = 1, pause_ms = 50 }", 3_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.run(&["move", "start", "shop"]);
    until("some rows are copied", Duration::from_secs(60), async || (copied(&shop) >= 300).then_some(()))
        .await;
    shop.run(&["move", "pause", "shop"]);
    // What clients write comes by the stream, whatever its key.
    let least = shop.on_shard(0, "SELECT MIN(id) FROM users_1 WHERE name = 'old'").await;
    let least: u64 = least[0].parse().unwrap();
    assert!(least > 1_100, "the first to come is {least}");
    shop.run(&["move", "resume", "shop"]);
    shop.reaches("Synced").await;
    assert_eq!(shop.on_shard(0, "SELECT MIN(id) FROM users_1 WHERE name = 'old'").await, ["1001"]);
    ends_unnoticed(&shop, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_bytes_are_read_at_once_than_the_rules_say() {
    for order in ["asc", "desc"] {
        let lines = format!(
            "copy = {{ order = \"{order}\", rows = 1000, max_bytes = 4096, parallel = 1, pause_ms = 20 }}"
        );
        let mut shop = shop(&lines, 3_000).await;
        let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
        shop.run(&["move", "start", "shop"]);
        // A chunk of a thousand rows would be many times as large.
        until("a part of a chunk is copied", Duration::from_secs(60), async || {
            (1..500).contains(&copied(&shop)).then_some(())
        })
        .await;
        shop.proxy.kill9_and_restart().await;
        shop.reaches("Synced").await;
        ends_equal(&shop, load).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locking_copy_comes_back_to_a_row_that_somebody_holds() {
    let shop = shop("copy = { locking = true }", 1_000).await;
    let mut holder = shop.cluster.legacy.connect(&shop.name).await;
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop("UPDATE users SET email = 'held' WHERE id = 1700").await.unwrap();
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.run(&["move", "start", "shop"]);
    until("every row before it is there", Duration::from_secs(60), async || {
        let last = "SELECT COUNT(*) FROM users_3 WHERE id = 1699";
        (shop.on_shard(1, last).await == ["1"]).then_some(())
    })
    .await;
    // While the copy comes back to it again and again, it keeps nobody from the rows around it.
    load.more(50).await;
    let mut watcher = shop.cluster.legacy.connect(&shop.name).await;
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND TIME > 0 \
                   AND INFO LIKE '%users%LOCK IN SHARE MODE%'";
    assert_eq!(rows(&mut watcher, waiting).await.unwrap(), ["0"]);
    assert_eq!(shop.on_shard(0, "SELECT COUNT(*) FROM users_0 WHERE id = 1700").await, ["0"]);
    holder.query_drop("COMMIT").await.unwrap();
    shop.reaches("Synced").await;
    assert_eq!(shop.on_shard(0, "SELECT email FROM users_0 WHERE id = 1700").await, ["held"]);
    ends_unnoticed(&shop, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locking_copy_holds_no_more_rows_and_bytes_at_once_than_the_rules_say() {
    // The bytes are those of some twenty rows, so the first page is too large.
    for limits in ["rows = 7", "rows = 1000, max_bytes = 4096"] {
        let shop = shop(&format!("copy = {{ locking = true, {limits}, pause_ms = 20 }}"), 1_000).await;
        let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
        let long = "UPDATE orders SET note = REPEAT('n', 100)";
        legacy.query_drop(long).await.unwrap();
        let long = "UPDATE users SET name = REPEAT('n', 60), email = REPEAT('e', 80) WHERE id >= 1000";
        legacy.query_drop(long).await.unwrap();
        let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
        shop.run(&["move", "start", "shop"]);
        let mut seen = BTreeSet::new();
        until("every row is there", Duration::from_secs(120), async || {
            seen.insert(copied(&shop));
            (shop.of_move()["phase"] == "Synced").then_some(())
        })
        .await;
        // It went on in small steps.
        let steps: Vec<u64> = seen.into_iter().filter(|copied| *copied > 0).collect();
        assert!(steps.windows(2).any(|two| two[1] - two[0] < 100), "{steps:?}");
        ends_unnoticed(&shop, load).await;
    }
}

#[tokio::test]
async fn a_copy_that_double_write_did_not_keep_begins_anew() {
    let lines = |way: &str| {
        let copy = "copy = { locking = true, rows = 100, pause_ms = 50 }";
        format!("capture = \"none\"\ndouble_write = \"{way}\"\n{copy}")
    };
    let shop = shop(&lines("sync"), 2_000).await;
    shop.run(&["move", "start", "shop"]);
    until("some rows are copied", Duration::from_secs(60), async || (copied(&shop) >= 300).then_some(()))
        .await;
    shop.save(&lines("off")).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("UPDATE users SET email = 'late' WHERE id < 1200").await.unwrap();
    until("somebody is told", Duration::from_secs(90), async || {
        let of = shop.of_move();
        let told = of["last_error"].as_str().unwrap_or_default();
        told.contains("double write was off while the rows were carried over").then_some(())
    })
    .await;
    shop.save(&lines("sync")).await;
    shop.carry_over().await;
    assert_eq!(shop.on_shard(0, "SELECT email FROM users_1 WHERE id = 1001").await, ["late"]);
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    assert!(!shop.proxy.log().contains("both sides differ"), "only a repair made both sides equal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go_as_somebody_sets_the_pace_and_nothing_stays_half_done() {
    let shop = shop("copy = { rows = 20, parallel = 2, pause_ms = 100 }", 3_000).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let workers = "SELECT DISTINCT SUBSTRING_INDEX(slot, '/', -1) FROM shardway_mark WHERE slot LIKE '%/copy/%' ORDER BY 1";
    shop.run(&["move", "start", "shop"]);
    until("some rows are copied", Duration::from_secs(60), async || (copied(&shop) >= 40).then_some(()))
        .await;
    assert_eq!(rows(&mut legacy, workers).await.unwrap(), ["0", "1"]);
    shop.run(&["move", "throttle", "shop", "--parallel", "6"]);
    until("more of them work", Duration::from_secs(60), async || {
        (rows(&mut legacy, workers).await.unwrap() == ["0", "1", "2", "3", "4", "5"]).then_some(())
    })
    .await;
    assert_eq!(shop.of_move()["pace"]["concurrency"], 6);
    shop.run(&["move", "throttle", "shop", "--parallel", "1"]);
    shop.reaches("Synced").await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
}

#[tokio::test]
async fn rows_of_many_megabytes_are_copied_and_compared() {
    let shop = Shop::open_moving_inside(&["--max-allowed-packet=256M"], "").await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for server in [&shop.cluster.legacy, &shop.cluster.shards[0], &shop.cluster.shards[1]] {
        let mut connection = server.connect(&shop.name).await;
        for table in rows(&mut connection, "SHOW TABLES LIKE 'users%'").await.unwrap() {
            let wide = format!("ALTER TABLE {table} MODIFY email LONGTEXT");
            connection.query_drop(wide).await.unwrap();
        }
    }
    // Told by the columns as they are now.
    shop.save("hold_ms = 2000").await;
    let insert = "INSERT INTO users (id, name, email) VALUES (4, 'x', REPEAT('x', 70 << 20))";
    legacy.query_drop(insert).await.unwrap();
    for id in [5, 8, 9, 12] {
        let insert = format!("INSERT INTO users (id, name, email) VALUES ({id}, 'y', REPEAT('y', 5 << 20))");
        legacy.query_drop(insert).await.unwrap();
    }
    shop.carry_over().await;
    let there = "SELECT LENGTH(email) FROM users_0 WHERE id = 4";
    assert_eq!(shop.on_shard(0, there).await, [(70_u64 << 20).to_string()]);
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    // What comes before rows that do not fit beside each other is compared as well as they are.
    shop.on_shard(0, "UPDATE users_1 SET name = 'z' WHERE id = 5").await;
    shop.on_shard(0, "UPDATE users_0 SET email = CONCAT(email, 'z') WHERE id = 8").await;
    let compared = shop.proxy.command(&["move", "verify", "shop", "--mode", "exact", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(report["different"], 2, "{}", report["tables"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_travels_compressed() {
    let cluster = Cluster::get().await;
    let server = Server {
        host: "127.0.0.1".into(),
        port: cluster.legacy.port(),
        user: "shop".into(),
        password: "shop".into(),
        database: None,
        tls: shardway_routing::topology::Tls::Off,
    };
    for (wire, state) in [(Wire::Plain, "OFF"), (Wire::Compressed, "ON")] {
        let mut connection = connect_over(&server, wire).await.unwrap();
        let told: Option<(String, String)> =
            connection.query_first("SHOW SESSION STATUS LIKE 'Compression'").await.unwrap();
        assert_eq!(told.unwrap().1, state);
        let long = "x".repeat(100_000);
        let back: Option<String> = connection.query_first(format!("SELECT '{long}'")).await.unwrap();
        assert_eq!(back, Some(long));
    }
    // A server that does not compress ends such a copy, so one that ends well has been compressed.
    let shop = shop("copy = { compress = true, rows = 200 }", 2_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.carry_over().await;
    ends_unnoticed(&shop, load).await;
}

fn of_table<'a>(of: &'a serde_json::Value, table: &str) -> &'a serde_json::Value {
    let all = of["per_table"].as_array().unwrap();
    let is_it = |one: &&serde_json::Value| one["table"].as_str().unwrap().ends_with(&format!(".{table}"));
    all.iter().find(is_it).unwrap_or_else(|| panic!("{table}: {of}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_copied_says_so_and_numbers_stay_after_the_copy() {
    // Some seconds for each of them.
    let mut shop = shop("copy = { rows = 25, parallel = 1, pause_ms = 200 }", 1_000).await;
    shop.run(&["move", "start", "shop"]);
    let of = until("one of two tables is copied", Duration::from_secs(60), async || {
        let of = shop.of_move();
        assert!(of["phase"] != "Failed" && of["phase"] != "Synced", "{of}");
        // By table, a look a second is shown.
        let is_shown = of["per_table"].as_array().is_some_and(|all| all.len() == 2);
        let begun = of["phase"] == "Copy" && is_shown && of_table(&of, "orders")["rows_copied"] != 0;
        (begun && of_table(&of, "users")["percent"] == 100.0).then_some(of)
    })
    .await;
    assert_eq!(of_table(&of, "users")["rows_copied"], 1_020);
    assert!(of_table(&of, "orders")["percent"].as_f64().unwrap() < 100.0, "{of}");
    shop.run(&["move", "pause", "shop"]);
    let are_kept = |of: &serde_json::Value| {
        of_table(of, "users")["percent"] == 100.0 && of_table(of, "orders")["rows_copied"] != 0
    };
    let paused = shop.of_move();
    assert!(paused["phase"] == "Paused" && are_kept(&paused), "{paused}");
    shop.run(&["move", "resume", "shop"]);
    shop.reaches("Synced").await;
    for _ in 0..2 {
        let of = shop.of_move();
        assert_eq!(of_table(&of, "users")["percent"], 100.0, "{of}");
        assert_eq!(of_table(&of, "users")["rows_copied"], 1_020, "{of}");
        assert_eq!(of_table(&of, "orders")["percent"], 100.0, "{of}");
        assert_eq!(of_table(&of, "orders")["rows_copied"], 1_000, "{of}");
        shop.proxy.kill9_and_restart().await;
    }
}

/// Rows of a kind go in and out of what is carried while they are copied and followed.
async fn some_rows(lines: &str, table: &str, condition: &str, changes: fn(u64) -> [String; 4]) {
    let shop = shop(lines, 1_200).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for sql in [
        "UPDATE users SET region_id = 2 WHERE id % 10 = 0",
        "UPDATE users SET born = '2001-02-03' WHERE id % 4 = 0",
        "UPDATE orders SET placed_at = '2023-12-31 23:59:59.999' WHERE id % 3 = 0",
        "UPDATE orders SET placed_at = '2024-06-01' WHERE id % 3 = 1",
    ] {
        legacy.query_drop(sql).await.unwrap();
    }
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    let mut client = shop.connect().await;
    shop.run(&["move", "start", "shop"]);
    for step in 0..150 {
        for sql in changes(step) {
            client.query_drop(sql).await.unwrap();
        }
    }
    shop.reaches("Synced").await;
    for step in 150..220 {
        for sql in changes(step) {
            client.query_drop(sql).await.unwrap();
        }
    }
    for mode in ["hash", "count", "sample", "exact"] {
        shop.run(&["move", "verify", "shop", "--mode", mode]);
    }
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    journal.check(&mut legacy).await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    // The target has what the plain condition says, and nothing else.
    let sums = "COUNT(*), CAST(SUM(CRC32(id)) AS SIGNED)";
    let carried = rows(&mut legacy, &format!("SELECT {sums} FROM {table} WHERE {condition}")).await.unwrap();
    let all = rows(&mut legacy, &format!("SELECT {sums} FROM {table}")).await.unwrap();
    assert_ne!(carried, all);
    let (mut count, mut sum) = (0, 0);
    for (shard, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
        for row in shop.on_shard(shard, &format!("SELECT {sums} FROM {table}_{number}")).await {
            let (rows, ids) = row.split_once('|').unwrap();
            count += rows.parse::<u64>().unwrap();
            sum += ids.parse::<u64>().unwrap();
        }
    }
    assert_eq!(vec![format!("{count}|{sum}")], carried);
    // A carried row that is missing is found and brought back.
    let first = shop.on_shard(0, &format!("SELECT MIN(id) FROM {table}_1")).await.remove(0);
    shop.on_shard(0, &format!("DELETE FROM {table}_1 WHERE id = {first}")).await;
    assert_eq!(shop.proxy.command(&["move", "verify", "shop"]).status.code(), Some(1));
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    // Nobody may look for the other rows where they are not.
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules(&format!("{lines}\nwrites = \"target\"")));
    let refused = shop.proxy.settled(desired + 1).await.unwrap_or_default();
    assert!(refused.contains("SHD1605"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_under_a_condition_are_carried_alone() {
    let condition = "(region_id IN (1, 3) AND NOT id BETWEEN 1100 AND 1150) OR born >= '2001-02-03'";
    let lines = format!("copy = {{ rows = 50, parallel = 2, where = {{ users = \"{condition}\" }} }}");
    some_rows(&lines, "users", condition, |step| {
        let id = 1_000 + step * 5;
        [
            format!("UPDATE users SET region_id = 3 - region_id WHERE id = {id} AND region_id < 3"),
            format!("UPDATE users SET born = IF(born IS NULL, '2010-01-01', NULL) WHERE id = {}", id + 1),
            format!(
                "INSERT INTO users (id, name, region_id) VALUES ({}, 'new', {})",
                500_000 + step,
                step % 4
            ),
            format!("UPDATE users SET region_id = 1 WHERE id = {}", 500_000 + step / 2),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_time_are_carried_alone() {
    let lines = "copy = { rows = 50, order = \"desc\", column = \"placed_at\", since = \"2024-01-01\", until = \"2024-06-01 00:00:00\" }";
    let condition = "placed_at >= '2024-01-01' AND placed_at < '2024-06-01'";
    some_rows(lines, "orders", condition, |step| {
        let id = 5_000 + step * 5;
        let user = 1_000 + step * 5;
        [
            format!("UPDATE orders SET placed_at = '2024-05-31 23:59:59.999' WHERE id = {id}"),
            format!("UPDATE orders SET placed_at = '2024-06-01 00:00:00.001' WHERE id = {}", id + 2),
            format!("DELETE FROM orders WHERE id = {}", id + 3),
            format!("INSERT INTO orders (id, user_id, amount) VALUES ({}, {user}, 1)", 900_000 + step),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_cannot_be_kept_is_refused() {
    let shop = shop("copy.rows = 500", 10).await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules("copy.where = { users = \"id >\" }"));
    let error = shop.proxy.settled(desired + 1).await.unwrap_or_default();
    assert!(
        error.contains("line ") && error.contains("copy.where.users: the condition ends too early"),
        "{error}"
    );
    for (lines, why) in [
        ("copy.where = { users = \"name = 'x'\" }", "SHD1424"),
        ("copy.where = \"region_id = 1\"", "`region_id` is no column"),
        ("copy = { column = \"nothing\", since = \"2024-01-01\" }", "no table of the move has the column"),
        ("double_write = \"sync\"\ncopy.where = { users = \"id > 5\" }", "goes by the log alone"),
    ] {
        shop.save(lines).await;
        shop.run(&["move", "start", "shop"]);
        shop.reaches("Failed").await;
        let told = shop.of_move()["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(why), "{lines}: {told}");
    }
}
