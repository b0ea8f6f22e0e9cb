//! Transactions on one shard, on several, and after errors.

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error};

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

#[tokio::test]
async fn a_rule_can_keep_transactions_on_one_backend() {
    let (shop, mut connection) = opened().await;
    shop.proxy.save_rules(&format!("{}[transactions]\nacross_shards = \"refuse\"\n", shop.rules()));
    assert_eq!(shop.proxy.settled(2).await, None);
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'r' WHERE id IN (1, 4)").await.unwrap();
    let error = connection.query_drop("UPDATE users SET name = 'r' WHERE id IN (2, 1)").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1301"), "{error}");
    connection.query_drop("COMMIT").await.unwrap();
    assert_eq!(rows(&mut connection, NAMES).await.unwrap(), ["r", "b", "c", "r"]);
}
