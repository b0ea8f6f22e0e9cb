//! Transactions on one shard, on several, and after errors.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Proxy, Shop, rows, server_error, until};

use crate::twins::as_text;

async fn opened() -> (Shop, mysql_async::Conn) {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection
        .query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        .await
        .unwrap();
    (shop, connection)
}

const NAMES: &str = "SELECT name FROM users ORDER BY id";

#[tokio::test]
async fn a_transaction_over_several_shards_is_committed_or_rolled_back_as_one() {
    let (shop, mut connection) = opened().await;
    let mut other = shop.connect().await;
    for (end, expected) in [("ROLLBACK", ["a", "b", "c", "d"]), ("COMMIT", ["x", "b", "x", "d"])] {
        connection.query_drop("START TRANSACTION").await.unwrap();
        connection.query_drop("UPDATE users SET name = 'x' WHERE id = 1").await.unwrap();
        connection.query_drop("UPDATE users SET name = 'x' WHERE id = 3").await.unwrap();
        assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["x", "b", "x", "d"]);
        assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["a", "b", "c", "d"]);
        connection.query_drop(end).await.unwrap();
        assert_eq!(rows(&mut other, NAMES).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn without_autocommit_a_transaction_begins_by_itself() {
    let (shop, mut connection) = opened().await;
    let mut other = shop.connect().await;
    connection.query_drop("SET autocommit = 0").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'y' WHERE id IN (1, 2)").await.unwrap();
    assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["a", "b", "c", "d"]);
    connection.query_drop("COMMIT").await.unwrap();
    assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["y", "y", "c", "d"]);
    connection.query_drop("DELETE FROM users").await.unwrap();
    drop(connection);
    assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["y", "y", "c", "d"]);
}

#[tokio::test]
async fn a_savepoint_holds_on_branches_that_join_later() {
    let (_shop, mut connection) = opened().await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'p' WHERE id = 1").await.unwrap();
    connection.query_drop("SAVEPOINT `s-1`").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'p' WHERE id = 2").await.unwrap();
    connection.query_drop("ROLLBACK TO SAVEPOINT `s-1`").await.unwrap();
    connection.query_drop("COMMIT").await.unwrap();
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["p", "b", "c", "d"]);
}

#[tokio::test]
async fn a_failed_statement_leaves_nothing_and_its_transaction_goes_on() {
    let (_shop, mut connection) = opened().await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'q' WHERE id = 4").await.unwrap();
    // 5 goes to one shard, 2 is there already on another.
    let error = connection
        .query_drop("INSERT INTO users (id, name) VALUES (5, 'e'), (2, 'twice')")
        .await
        .unwrap_err();
    assert_eq!(server_error(&error).0, 1062);
    connection.query_drop("COMMIT").await.unwrap();
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["a", "b", "c", "q"]);
    let error = connection
        .query_drop("INSERT INTO users (id, name) VALUES (5, 'e'), (2, 'twice')")
        .await
        .unwrap_err();
    assert_eq!(server_error(&error).0, 1062);
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["a", "b", "c", "q"]);
}

/// A shop with 8,000 users, 2,000 on each shard.
async fn crowded() -> (Shop, mysql_async::Conn) {
    let (shop, mut connection) = opened().await;
    let users: Vec<String> = (5..=8000).map(|id| format!("({id}, 'n')")).collect();
    connection.query_drop(format!("INSERT INTO users (id, name) VALUES {}", users.join(", "))).await.unwrap();
    (shop, connection)
}

#[tokio::test]
async fn rows_that_a_limit_leaves_unread_cost_no_transaction() {
    let (shop, mut connection) = crowded().await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'kept' WHERE id IN (1, 2, 3, 4)").await.unwrap();
    for _ in 0..2 {
        let read = rows(&mut connection, "SELECT id FROM users ORDER BY id LIMIT 2000").await.unwrap();
        assert_eq!((read.len(), read[1999].as_str()), (2000, "2000"));
    }
    connection.query_drop("COMMIT").await.unwrap();
    let mut other = shop.connect().await;
    let kept = rows(&mut other, "SELECT id FROM users WHERE name = 'kept' ORDER BY id").await.unwrap();
    assert_eq!(kept, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_long_statement_with_a_long_answer_does_not_block_itself() {
    let (_shop, mut connection) = crowded().await;
    let padding = "x".repeat(12 << 20);
    connection.query_drop("BEGIN").await.unwrap();
    for order in ["", "ORDER BY id LIMIT 8000"] {
        let sql = format!("SELECT REPEAT('y', 6000), id FROM users {order} /* {padding} */");
        let read = tokio::time::timeout(Duration::from_secs(150), connection.query::<(String, u64), _>(sql));
        assert_eq!(read.await.expect("an answer in time").unwrap().len(), 8000);
    }
    connection.query_drop("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_set_that_fails_or_mixes_loses_no_write() {
    let (shop, mut connection) = opened().await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'kept' WHERE id = 1").await.unwrap();
    for (sql, code) in
        [("SET sql_mode = 'nonsense'", 1231), ("SET NAMES gbk", 1115), ("SET nothing = 1", 1193)]
    {
        let error = connection.query_drop(sql).await.unwrap_err();
        assert_eq!(server_error(&error).0, code, "{sql}");
        connection.query_drop("UPDATE users SET name = 'kept' WHERE id = 2").await.unwrap();
    }
    connection.query_drop("COMMIT").await.unwrap();
    let mut other = shop.connect().await;
    assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["kept", "kept", "c", "d"]);
}

#[tokio::test]
async fn a_rule_can_keep_transactions_on_one_backend() {
    let (shop, mut connection) = opened().await;
    shop.proxy.save_rules(&format!("{}[transactions]\nacross_shards = \"refuse\"\n", shop.rules()));
    assert_eq!(shop.proxy.settled(2).await, None);
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'r' WHERE id IN (1, 4)").await.unwrap();
    let error = connection.query_drop("UPDATE users SET name = 'r' WHERE id IN (2, 1)").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1301"), "{error}");
    let error = connection.query_drop("UPDATE users SET name = 'r' WHERE id = 2").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1301"), "one after the other: {error}");
    rows(&mut connection, "SELECT name FROM users WHERE id = 2").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'r' WHERE id = 1").await.unwrap();
    connection.query_drop("COMMIT").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'b' WHERE id = 2").await.unwrap();
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["r", "b", "c", "r"]);
}

#[tokio::test]
async fn a_commit_that_fails_on_the_second_backend_says_where_it_has_taken_place() {
    let (shop, mut connection) = opened().await;
    for sql in
        ["BEGIN", "UPDATE users SET name = 'k' WHERE id = 1", "UPDATE users SET name = 'k' WHERE id = 2"]
    {
        connection.query_drop(sql).await.unwrap();
    }
    let mut second = shop.cluster.shards[1].connect("").await;
    let sql = format!(
        "SELECT t.trx_mysql_thread_id FROM information_schema.INNODB_TRX t \
         JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id WHERE p.DB = '{}'",
        shop.name
    );
    let threads: Vec<u64> = second.query(sql).await.unwrap();
    assert_eq!(threads.len(), 1, "the second branch of the transaction");
    second.query_drop(format!("KILL {}", threads[0])).await.unwrap();
    let error = server_error(&connection.query_drop("COMMIT").await.unwrap_err());
    assert!(
        error.1.starts_with("SHD1307") && error.1.contains("committed on s0, unknown on s1"),
        "{error:?}"
    );
    let mut other = shop.connect().await;
    assert_eq!(rows(&mut other, NAMES).await.unwrap(), ["k", "b", "c", "d"]);
}

#[tokio::test]
async fn a_statement_of_too_many_terms_is_refused_and_nobody_falls_with_it() {
    let (_shop, mut connection) = opened().await;
    let nested = format!("SELECT name FROM users WHERE id = {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let long = format!("SELECT name FROM users WHERE id = 1{}", " OR id = 1".repeat(60_000));
    for (sql, id) in [(nested, "SHD1102"), (long, "SHD1103")] {
        let error = server_error(&connection.query_drop(sql).await.unwrap_err());
        assert!(error.1.starts_with(id), "{}", error.1.chars().take(200).collect::<String>());
    }
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn what_a_procedure_leaves_behind_is_its_sessions_own() {
    let shop = Shop::open().await;
    let proxy = Proxy::start(&format!("{}[databases.\"*\"]\ndefault = \"legacy\"\n", shop.rules())).await;
    let [alone, proxied] = ["one", "other"].map(|of| format!("{}_{of}", shop.name));
    for database in [&alone, &proxied] {
        let mut direct = shop.cluster.legacy.connect("").await;
        direct.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
        direct.query_drop(format!("USE {database}")).await.unwrap();
        for sql in [
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE PROCEDURE opens (n INT) BEGIN START TRANSACTION; INSERT INTO t VALUES (n); END",
            "CREATE PROCEDURE fails () BEGIN START TRANSACTION; INSERT INTO t VALUES (9); SIGNAL SQLSTATE '45000'; END",
            "CREATE PROCEDURE sets () BEGIN SET SESSION group_concat_max_len = 77; SET @inside = 5; SET autocommit = 0; END",
        ] {
            direct.query_drop(sql).await.unwrap();
        }
    }
    let mut alone = shop.cluster.legacy.connect(&alone).await;
    let mut session = proxy.connect(&proxied).await;
    for sql in [
        "CALL opens(1)",
        "SELECT id FROM t ORDER BY id",
        "ROLLBACK",
        "SELECT id FROM t ORDER BY id",
        "CALL opens(2)",
        "COMMIT",
        "CALL fails()",
        "SELECT id FROM t ORDER BY id",
        "ROLLBACK",
        "SELECT id FROM t ORDER BY id",
        "CALL sets()",
        "SELECT @@group_concat_max_len, @inside, @@autocommit",
        "SET sql_mode = ''",
        "INSERT INTO t VALUES (3)",
        "ROLLBACK",
        "SELECT id FROM t ORDER BY id",
        "SELECT @@group_concat_max_len, @inside, @@autocommit",
    ] {
        assert_eq!(as_text(&mut session, sql).await, as_text(&mut alone, sql).await, "{sql}");
    }
    session.disconnect().await.unwrap();
    let mut another = proxy.connect(&proxied).await;
    let state =
        rows(&mut another, "SELECT @@group_concat_max_len <> 77, @inside, @@autocommit").await.unwrap();
    assert_eq!(state, ["1|NULL|1"]);
}

/// The victim of a deadlock on one shard, whose transaction was begun in this way and whose last statement is this one.
async fn deadlock(shop: &Shop, begin: &str, last: &str) {
    let mut victim = shop.connect().await;
    victim.query_drop("DELETE FROM users").await.unwrap();
    let users: Vec<String> = (1..=40).map(|id| format!("({id}, 'n')")).collect();
    victim.query_drop(format!("INSERT INTO users (id, name) VALUES {}", users.join(", "))).await.unwrap();
    let mut other = shop.connect().await;
    victim.query_drop(begin).await.unwrap();
    victim.query_drop("UPDATE users SET name = 'lost' WHERE id = 2").await.unwrap();
    victim.query_drop("UPDATE users SET name = 'lost' WHERE id = 1").await.unwrap();
    // The one that has written more wins.
    other.query_drop("BEGIN").await.unwrap();
    for key in (5..40).step_by(4) {
        other.query_drop(format!("UPDATE users SET name = 'won' WHERE id = {key}")).await.unwrap();
    }
    let waiting = tokio::spawn(async move {
        other.query_drop("UPDATE users SET name = 'won' WHERE id = 1").await?;
        other.query_drop("COMMIT").await
    });
    let mut shard = shop.cluster.shards[0].connect(&shop.name).await;
    let runs = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                WHERE INFO LIKE 'UPDATE%SET name = ''won'' WHERE id = 1'";
    until("the other one runs", Duration::from_secs(20), async || {
        (rows(&mut shard, runs).await.unwrap() == ["1"]).then_some(())
    })
    .await;
    let error = victim.query_drop(last).await.unwrap_err();
    assert_eq!(server_error(&error).0, 1213, "{begin}, {last}: {error}");
    waiting.await.unwrap().unwrap_or_else(|error| panic!("{begin}, {last}: {error}"));
    victim.query_drop("UPDATE users SET name = 'again' WHERE id = 3").await.unwrap();
    victim.query_drop("COMMIT").await.unwrap();
    let names =
        rows(&mut victim, "SELECT name FROM users WHERE id IN (1, 2, 3, 5) ORDER BY id").await.unwrap();
    assert_eq!(names, ["won", "n", "again", "won"], "{begin}, {last}");
}

#[tokio::test]
async fn a_deadlock_on_one_shard_undoes_the_transaction_on_all() {
    let shop = Shop::open().await;
    let last = [
        "UPDATE users SET name = 'lost' WHERE id = 5",
        "UPDATE users SET name = 'lost' WHERE id IN (4, 5)",
        "SELECT name FROM users WHERE id = 5 FOR UPDATE",
        "SELECT name FROM users WHERE id IN (4, 5) ORDER BY id FOR UPDATE",
    ];
    for begin in ["BEGIN", "SET autocommit = 0"] {
        for last in last {
            deadlock(&shop, begin, last).await;
        }
    }
}

#[tokio::test]
async fn what_names_no_table_runs_at_home_and_joins_no_transaction() {
    let shop = Shop::open_alone().await;
    let rules = shop.rules().replace("default = \"legacy\"", "default = \"s0\"");
    let proxy = Proxy::start(&format!("{rules}[databases.\"*\"]\ndefault = \"legacy\"\n")).await;
    let mut direct = shop.cluster.legacy.connect("").await;
    direct.query_drop("CREATE DATABASE elsewhere").await.unwrap();
    let mut connection = proxy.connect("elsewhere").await;
    connection.query_drop("SET @kept = 7").await.unwrap();
    let kept = rows(&mut connection, "SELECT @kept FROM DUAL").await.unwrap();
    assert_eq!(kept, ["7"], "both are of the database's own backend");
    let mut connection = proxy.connect(&shop.name).await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("INSERT INTO users (id, name) VALUES (2, 'on the second shard')").await.unwrap();
    let in_use = || -> Vec<Option<u64>> {
        let backends = proxy.status()["backends"].as_array().unwrap().clone();
        backends.iter().map(|backend| backend["connections_in_use"].as_u64()).collect()
    };
    let before = in_use();
    // An error to MySQL, a statement to MariaDB.
    let _ = connection.query_drop("/* a comment */").await;
    assert_eq!(in_use(), before, "no backend more takes part");
    connection.query_drop("COMMIT").await.unwrap();
}
