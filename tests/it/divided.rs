//! Some keys live on the target for good while the rest stay: each side owns the writes of its own, and follows the other.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::load::Load;
use shardway_tests::{Shop, rows, server_error, until};

/// A divided table has ids of the proxy where its primary key does not hold the shard key.
pub(super) const IDS: &str = "\n[tables.orders.id]\ncolumn = \"id\"\ngenerator = \"snowflake\"\n";
/// The target owns the users 1 and 4, whoever else there is.
pub(super) const LISTED: &str = "writes = 0\nalways = [1, 4]";

pub(super) async fn divided(lines: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')";
    connection.query_drop(users).await.unwrap();
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1.5), (2, 2, 3)")
        .await
        .unwrap();
    shop.save(IDS).await;
    shop.carry_over().await;
    shop.in_step().await;
    shop.save(&format!("{lines}{IDS}")).await;
    shop.reaches("Divided").await;
    (shop, connection)
}

pub(super) async fn one(connection: &mut Conn, sql: &str) -> String {
    rows(connection, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).concat()
}

async fn why(connection: &mut Conn, sql: &str) -> String {
    let error = connection.query_drop(sql).await.expect_err(sql);
    server_error(&error).1
}

/// What both sides have under a key, once they are equal.
async fn same(shop: &Shop, shard: usize, table: &str, sql: &str) -> String {
    let legacy = sql.replace("users", table.split('_').next().unwrap_or_default());
    until(sql, Duration::from_secs(30), async || {
        let mut direct = shop.cluster.legacy.connect(&shop.name).await;
        let here = rows(&mut direct, &legacy).await.unwrap();
        let there = shop.on_shard(shard, &sql.replace("users", table)).await;
        (here == there).then(|| here.concat())
    })
    .await
}

#[tokio::test]
async fn each_side_owns_its_keys_and_has_the_others() {
    let (shop, mut connection) = divided(LISTED).await;
    assert_eq!(shop.of_move()["writes"], "0%");
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    // Nothing of user 1 comes back to the source for now.
    legacy.query_drop("BEGIN").await.unwrap();
    legacy.query_drop("SELECT * FROM users WHERE id = 1 FOR UPDATE").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'there' WHERE id = 1").await.unwrap();
    connection.exec_drop("UPDATE users SET name = ? WHERE id = ?", ("here", 2)).await.unwrap();
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 1").await, "there");
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 2").await, "here");
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["there"]);
    assert_eq!(one(&mut legacy, "SELECT name FROM users WHERE id = 1").await, "a");
    legacy.query_drop("ROLLBACK").await.unwrap();
    // What is asked of both waits for both.
    connection.query_drop("UPDATE users SET name = 'there too' WHERE id = 4").await.unwrap();
    let all = "SELECT name FROM users WHERE id IN (1, 2, 4) ORDER BY id";
    assert_eq!(rows(&mut connection, all).await.unwrap(), ["there", "here", "there too"]);
    assert_eq!(one(&mut connection, "SELECT COUNT(*) FROM users WHERE name LIKE 'there%'").await, "2");
    assert_eq!(one(&mut connection, "SELECT SUM(amount) FROM orders").await, "4.50");
    for sql in [
        "INSERT INTO users (id, name) VALUES (6, 'f')",
        "INSERT INTO users (id, name) VALUES (2, 'x') ON DUPLICATE KEY UPDATE name = 'again'",
        "REPLACE INTO users (id, name) VALUES (4, 'replaced')",
        "INSERT INTO orders (user_id, amount) VALUES (1, 7), (4, 8)",
        "INSERT INTO orders (user_id, amount) VALUES (2, 9)",
        "DELETE FROM orders WHERE user_id = 2 AND amount = 3",
    ] {
        connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    connection.exec_drop("INSERT INTO orders (user_id, amount) VALUES (?, ?)", (4, 10)).await.unwrap();
    connection
        .exec_drop("INSERT INTO orders (id, user_id, amount) VALUES (?, ?, ?)", (None::<u64>, 2, 11))
        .await
        .unwrap();
    assert!(connection.last_insert_id().is_some_and(|id| id > 1_000_000), "the clock's");
    let given =
        connection.exec_drop("INSERT INTO orders (id, user_id, amount) VALUES (?, ?, ?)", (900, 2, 12)).await;
    assert!(server_error(&given.unwrap_err()).1.contains("SHD1443"));
    assert_eq!(
        rows(&mut connection, "SELECT amount FROM orders ORDER BY amount").await.unwrap(),
        ["1.50", "7.00", "8.00", "9.00", "10.00", "11.00"]
    );
    assert_eq!(same(&shop, 0, "users_1", "SELECT name FROM users WHERE id = 1").await, "there");
    assert_eq!(same(&shop, 1, "users_2", "SELECT name FROM users WHERE id = 2").await, "again");
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn a_transaction_over_keys_of_both_sides_is_one() {
    let (shop, mut connection) = divided(LISTED).await;
    for (end, expected) in [("ROLLBACK", ["0.00", "0.00"]), ("COMMIT", ["-5.00", "5.00"])] {
        for sql in [
            "BEGIN",
            "UPDATE users SET balance = balance - 5 WHERE id = 1",
            "UPDATE users SET balance = balance + 5 WHERE id = 2",
        ] {
            connection.query_drop(sql).await.unwrap();
        }
        assert_eq!(one(&mut connection, "SELECT balance FROM users WHERE id = 1 FOR UPDATE").await, "-5.00");
        connection.query_drop(end).await.unwrap();
        let all = "SELECT balance FROM users WHERE id IN (1, 2) ORDER BY id";
        assert_eq!(rows(&mut connection, all).await.unwrap(), expected);
    }
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET balance = 0 WHERE id = 1").await.unwrap();
    let sum = "SELECT SUM(balance) FROM users";
    assert!(why(&mut connection, sum).await.contains("SHD1443"), "its own writes are not there yet");
    connection.query_drop("COMMIT").await.unwrap();
    assert_eq!(one(&mut connection, sum).await, "5.00");
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn what_might_reach_rows_of_the_other_side_is_refused() {
    let (shop, mut connection) = divided(LISTED).await;
    for (sql, code) in [
        ("UPDATE users SET name = 'x'", "SHD1443"),
        ("UPDATE users SET name = 'x' WHERE name = 'a'", "SHD1443"),
        ("DELETE FROM users WHERE id IN (1, 2)", "SHD1443"),
        ("INSERT INTO users (id, name) VALUES (7, 'g'), (1, 'x')", "SHD1443"),
        ("SELECT * FROM users WHERE id > 1 FOR UPDATE", "SHD1443"),
        ("UPDATE users SET id = 1 WHERE id = 2", "SHD1215"),
        ("UPDATE orders SET user_id = 1 WHERE user_id = 2", "SHD1215"),
        ("REPLACE INTO orders (id, user_id, amount) VALUES (1, 2, 3)", "SHD1443"),
        (
            "INSERT INTO orders (id, user_id, amount) VALUES (1, 2, 3) ON DUPLICATE KEY UPDATE amount = 3",
            "SHD1443",
        ),
        ("INSERT INTO orders (id, user_id, amount) VALUES (900, 2, 3)", "SHD1443"),
        ("INSERT INTO orders (id, user_id, amount) VALUES (NULL, 2, 3), (900, 3, 3)", "SHD1443"),
        ("UPDATE orders SET id = 900 WHERE user_id = 2", "SHD1443"),
        ("INSERT IGNORE INTO orders (id, user_id, amount) VALUES (1, 2, 3)", "SHD1443"),
        ("/* shardway: source */ UPDATE users SET name = 'x' WHERE id = 1", "SHD1235"),
        ("/* shardway: target */ UPDATE users SET name = 'x' WHERE id = 2", "SHD1235"),
    ] {
        let why = why(&mut connection, sql).await;
        assert!(why.contains(code), "{sql}: {why}");
    }
    let names = "SELECT name FROM users ORDER BY id";
    assert_eq!(rows(&mut connection, names).await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!(one(&mut connection, "/* shardway: target */ SELECT name FROM users WHERE id = 2").await, "b");
    for (lines, code) in [
        ("writes = 5\ndouble_write = \"sync\"", "double_write = \"off\""),
        ("writes = 5\nshadow_reads = 1", "shadow_reads"),
        ("writes = 5\ncapture = \"none\"\ndouble_write = \"sync\"", "capture = \"binlog\""),
        ("writes = 101", "0 to 100"),
        ("writes = 5\nfunctions = { writes_of = [\"users\"] }", "writes_of"),
        ("writes = \"both\"", "none of source, target"),
    ] {
        let why = shop.refused(&format!("{lines}{IDS}")).await;
        assert!(why.contains(code), "{lines}: {why}");
    }
}

#[tokio::test]
async fn sides_that_could_both_give_a_key_away_are_not_divided() {
    let shop = Shop::open_moving().await;
    assert!(shop.refused(&format!("writes = 5{IDS}")).await.contains("SHD1605"), "nothing is carried over");
    shop.carry_over().await;
    shop.in_step().await;
    let why = shop.refused("writes = 5").await;
    assert!(why.contains("SHD1612") && why.contains("orders"), "{why}");
}

#[tokio::test]
async fn no_table_joins_a_move_that_carries_over_no_more() {
    let (shop, _connection) = divided(LISTED).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("CREATE TABLE payments (user_id BIGINT NOT NULL PRIMARY KEY)").await.unwrap();
    for (shard, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
        let mut direct = shop.cluster.shards[shard].connect(&shop.name).await;
        let table = format!("CREATE TABLE payments_{number} (user_id BIGINT NOT NULL PRIMARY KEY)");
        direct.query_drop(table).await.unwrap();
    }
    let rules = shop.moving_rules(&format!("{LISTED}{IDS}"));
    let joined =
        rules.replace("tables = [\"users\", \"orders\"]", "tables = [\"users\", \"orders\", \"payments\"]");
    let payments =
        "[tables.payments]\nshard_key = \"user_id\"\nwith = \"users\"\nnodes = \"s{0..1}.payments_{0..3}\"\n";
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&format!("{joined}\n{payments}"));
    let why = shop.proxy.settled(desired + 1).await.expect("its rows are nowhere but on the source");
    assert!(why.contains("SHD1605") && why.contains("payments"), "{why}");
}

#[tokio::test]
async fn a_restart_knows_the_keys_of_lists_as_their_column_does() {
    let mut shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    shop.save(IDS).await;
    shop.carry_over().await;
    shop.in_step().await;
    shop.save(&format!("writes = 0\nalways = [\"1\"]{IDS}")).await;
    shop.reaches("Divided").await;
    connection.query_drop("UPDATE users SET name = 'there' WHERE id = 1").await.unwrap();
    shop.proxy.kill9_and_restart().await;
    let rules = shop.proxy.status()["rules"].clone();
    assert!(rules["last_error"].is_null(), "{rules}");
    let mut connection = shop.connect().await;
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 1").await, "there");
    connection.query_drop("UPDATE users SET name = 'again' WHERE id = 1").await.unwrap();
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["again"]);
}

#[tokio::test]
async fn triggers_that_may_end_with_a_switch_stand_in_the_way_of_a_division() {
    for (trigger, said) in [
        ("CREATE TRIGGER t AFTER INSERT ON settings FOR EACH ROW UPDATE users SET email = NEW.name", "PF306"),
        ("CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW SET @a = 1", "PF304"),
    ] {
        let shop = Shop::open_moving().await;
        shop.cluster.legacy.connect(&shop.name).await.query_drop(trigger).await.unwrap();
        let waived = "waive = [\"trigger\", \"written_by\"]";
        shop.save(&format!("{waived}{IDS}")).await;
        shop.carry_over().await;
        shop.in_step().await;
        let why = shop.refused(&format!("{waived}\n{LISTED}{IDS}")).await;
        assert!(why.contains("SHD1441") && why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn a_read_of_both_sides_does_not_wait_for_ever() {
    let (shop, mut connection) = divided(&format!("{LISTED}\nlag_max_ms = 500")).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("BEGIN").await.unwrap();
    legacy.query_drop("SELECT * FROM users WHERE id = 1 FOR UPDATE").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'late' WHERE id = 1").await.unwrap();
    let names = "SELECT name FROM users ORDER BY id";
    assert!(why(&mut connection, names).await.contains("SHD1606"));
    assert_eq!(
        one(&mut connection, "SELECT name FROM users WHERE id = 1").await,
        "late",
        "its owner answers"
    );
    legacy.query_drop("ROLLBACK").await.unwrap();
    until("the source has it", Duration::from_secs(30), async || {
        let found = rows(&mut connection, names).await;
        found.is_ok_and(|found| found == ["late", "b", "c", "d", "e"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_comparison_knows_who_is_right_about_which_row() {
    let (shop, mut connection) = divided(LISTED).await;
    connection.query_drop("INSERT INTO orders (user_id, amount) VALUES (4, 4), (4, 5)").await.unwrap();
    same(&shop, 0, "orders_0", "SELECT COUNT(*) FROM users WHERE user_id = 4").await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    // By no log, so that no stream carries it.
    let unseen = async |direct: &mut Conn, sql: &str| {
        direct.query_drop("SET sql_log_bin = 0").await.unwrap();
        direct.query_drop(sql).await.unwrap();
    };
    unseen(&mut legacy, "UPDATE users SET name = 'wrong' WHERE id IN (1, 4)").await;
    unseen(&mut legacy, "DELETE FROM orders WHERE id = 1").await;
    unseen(&mut legacy, "INSERT INTO orders (id, user_id, amount) VALUES (9, 1, 9)").await;
    let mut shards = Vec::new();
    for shard in 0..2 {
        shards.push(shop.cluster.shards[shard].connect(&shop.name).await);
    }
    unseen(&mut shards[1], "UPDATE users_2 SET name = 'wrong' WHERE id = 2").await;
    unseen(&mut shards[0], "DELETE FROM users_1 WHERE id = 5").await;
    let found = shop.proxy.command(&["move", "verify", "shop", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&report["different"], &report["undecided"]), (&6.into(), &0.into()), "{report}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    assert_eq!(one(&mut legacy, "SELECT GROUP_CONCAT(name ORDER BY id) FROM users").await, "a,b,c,d,e");
    assert_eq!(
        one(&mut legacy, "SELECT GROUP_CONCAT(amount ORDER BY amount) FROM orders").await,
        "1.50,3.00,4.00,5.00"
    );
    // No stream has brought a repair back to the side that it took the row from.
    assert_eq!(
        one(&mut legacy, "SELECT COUNT(*) FROM shardway_progress WHERE stream = 'shop/0/'").await,
        "1"
    );
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["b"]);
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id IN (1, 5) ORDER BY id").await, ["a", "e"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_over_share_by_share_under_load_and_come_back() {
    let (shop, mut connection) = divided("writes = 1").await;
    connection.query_drop("DELETE FROM users WHERE id < 10").await.unwrap_err();
    for id in 1..=5 {
        connection.query_drop(format!("DELETE FROM users WHERE id = {id}")).await.unwrap();
    }
    for row in 1..=shardway_tests::load::SHARED {
        let each = shardway_tests::load::EACH;
        let insert = format!("INSERT INTO users (id, name, balance) VALUES ({row}, 'shared', {each})");
        connection.query_drop(insert).await.unwrap();
    }
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    for (writes, phase) in [
        ("25.5", "Divided"),
        ("75", "Divided"),
        ("5", "Divided"),
        ("\"target\"", "ReverseSync"),
        ("50", "Divided"),
        ("\"source\"", "Synced"),
        ("99.99", "Divided"),
        ("\"target\"", "ReverseSync"),
        ("\"source\"", "Synced"),
    ] {
        load.more(200).await;
        shop.in_step().await;
        shop.save(&format!("hold_ms = 10000\nwrites = {writes}{IDS}")).await;
        shop.reaches(phase).await;
    }
    load.more(100).await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    shop.run(&["move", "verify", "shop"]);
    journal.check(&mut shop.connect().await).await;
    assert!(!shop.proxy.log().contains("both sides differ"), "only a repair made both sides equal");
}

/// What a command prints as JSON.
fn json(shop: &Shop, arguments: &[&str]) -> serde_json::Value {
    let output = shop.proxy.command(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_takes_the_targets_keys_to_the_source() {
    let (shop, mut connection) = divided(LISTED).await;
    connection.query_drop("UPDATE users SET name = 'there' WHERE id = 1").await.unwrap();
    let ended = json(&shop, &["move", "rollback", "shop"]);
    assert_eq!(ended["outcome"], "done", "{ended}");
    shop.reaches("Synced").await;
    assert_eq!(shop.of_move()["writes"], "source");
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    assert_eq!(one(&mut legacy, "SELECT name FROM users WHERE id = 1").await, "there");
    connection.query_drop("UPDATE users SET name = 'back' WHERE name = 'there'").await.unwrap();
    assert_eq!(one(&mut legacy, "SELECT name FROM users WHERE id = 1").await, "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_tells_which_of_the_targets_keys_the_source_lacks() {
    let (shop, mut connection) = divided(LISTED).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("BEGIN").await.unwrap();
    legacy.query_drop("SELECT * FROM users WHERE id = 1 FOR UPDATE").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'there' WHERE id = 1").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'here' WHERE id = 2").await.unwrap();
    let ended = json(&shop, &["move", "rollback", "shop", "--emergency"]);
    legacy.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(ended["outcome"], "done", "{ended}");
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 1").await, "a", "the source as it is");
    let gaps = json(&shop, &["move", "gaps", "shop"]);
    let streams = gaps["parted"]["not_synchronised"]["streams"].as_array().unwrap();
    let keys: Vec<&str> = streams
        .iter()
        .flat_map(|gap| gap["keys"].as_array().unwrap())
        .filter_map(|row| row["key"][0].as_str())
        .collect();
    assert_eq!(keys, ["1"], "{gaps}");
    assert!(
        shop.refused(&format!("{LISTED}{IDS}")).await.contains("SHD1605"),
        "until a person has looked at it"
    );
}
