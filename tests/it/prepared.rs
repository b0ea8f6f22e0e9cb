//! Real prepared statements: binary in, binary out.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Value, params};
use shardway_tests::{Shop, server_error};

use crate::twins::Twins;

async fn filled() -> (Shop, mysql_async::Conn) {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    let insert =
        connection.prep("INSERT INTO users (id, name, balance, born) VALUES (?, ?, ?, ?)").await.unwrap();
    for id in 1..=10_i64 {
        let born = if id % 2 == 0 {
            Value::NULL
        } else {
            Value::Date(2000, 1, u8::try_from(id).unwrap(), 0, 0, 0, 0)
        };
        connection
            .exec_drop(&insert, (id, format!("user {id}"), f64::from(20 - i32::try_from(id).unwrap()), born))
            .await
            .unwrap();
    }
    (shop, connection)
}

#[tokio::test]
async fn one_statement_runs_on_the_shard_of_each_executions_values() {
    let (shop, mut connection) = filled().await;
    assert_eq!(shop.on_shard(0, "SELECT id FROM users_1 ORDER BY id").await, ["1", "5", "9"]);
    let select = connection.prep("SELECT name, born FROM users WHERE id = ?").await.unwrap();
    assert_eq!((select.num_params(), select.num_columns()), (1, 2));
    for id in 1..=10_i64 {
        let row: (String, Value) = connection.exec_first(&select, (id,)).await.unwrap().unwrap();
        assert_eq!(row.0, format!("user {id}"));
        assert_eq!(row.1 == Value::NULL, id % 2 == 0);
        let text: (String,) = connection
            .exec_first("SELECT name FROM users WHERE id = :id", params! { "id" => id.to_string() })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(text.0, format!("user {id}"));
    }
}

#[tokio::test]
async fn rows_of_several_shards_are_merged_in_the_binary_protocol() {
    let (_shop, mut connection) = filled().await;
    let sql = "SELECT id, born FROM users WHERE id > ? ORDER BY balance, name LIMIT ? OFFSET ?";
    let found: Vec<(i64, Value)> = connection.exec(sql, (2, 3, 1)).await.unwrap();
    assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [9, 8, 7]);
    assert_eq!(found[1].1, Value::NULL);
    let found: Vec<i64> = connection.exec("SELECT id FROM users ORDER BY born DESC, id", ()).await.unwrap();
    assert_eq!(found, [9, 7, 5, 3, 1, 2, 4, 6, 8, 10]);
}

#[tokio::test]
async fn rows_of_one_insert_go_to_several_shards() {
    let (shop, mut connection) = filled().await;
    let sql = "INSERT INTO users (id, name) VALUES (?, ?), (?, UPPER(?)), (?, ?)";
    connection.exec_drop(sql, (20, "t", 21, "u", 24, "v")).await.unwrap();
    assert_eq!(connection.affected_rows(), 3);
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_0 WHERE id >= 20 ORDER BY id").await, ["t", "v"]);
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id >= 20").await, ["U"]);
    let error = connection.exec_drop(sql, (30, "x", Value::NULL, "y", 31, "z")).await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1230"), "{error}");
}

#[tokio::test]
async fn a_statement_is_planned_anew_when_the_rules_change() {
    let (shop, mut connection) = filled().await;
    let select = connection.prep("SELECT name FROM users WHERE id = ?").await.unwrap();
    shop.proxy
        .save_rules(&format!("{}# changed\n[transactions]\nacross_shards = \"refuse\"\n", shop.rules()));
    assert_eq!(shop.proxy.settled(2).await, None);
    let name: Option<String> = connection.exec_first(&select, (3,)).await.unwrap();
    assert_eq!(name.as_deref(), Some("user 3"));
    connection.close(select).await.unwrap();
}

/// As drivers bind numbers whose language has no integers.
#[tokio::test]
async fn keys_bound_as_doubles_find_their_shard() {
    let mut twins = Twins::open().await;
    let insert = "INSERT INTO users (id, name, balance) VALUES (?, ?, ?), (?, ?, ?)";
    twins.same_prepared(insert, (7.0, "a", 1.5, 8.0, "b", 2.0)).await;
    assert_eq!(twins.shop.on_shard(1, "SELECT id FROM users_3").await, ["7"]);
    for key in [7.0, 8.0, 7.5, -0.0, 1e15, 9e17] {
        twins.same_prepared("SELECT id, name FROM users WHERE id = ? ORDER BY id", (key,)).await;
        twins.same_prepared("SELECT ?, id + ? FROM users WHERE id > ? ORDER BY id", (key, key, key)).await;
        twins.same_prepared("UPDATE users SET name = CONCAT(name, ?) WHERE id = ?", (key, key)).await;
    }
    twins.same("SELECT id, name FROM users ORDER BY id").await;
    twins.refused_prepared("INSERT INTO users (id, name) VALUES (?, 'c')", (8.5,), "SHD1231").await;
}

#[tokio::test]
async fn statements_about_the_session_are_prepared_as_on_one_server() {
    let mut twins = Twins::open().await;
    twins.same("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await;
    for sql in [
        "SET @a = 5, autocommit = 0, sql_mode = ''",
        "SELECT @a, @@autocommit, @@sql_mode",
        "UPDATE users SET name = 'c'",
        "SET sql_mode = DEFAULT, autocommit = 1",
        "SELECT @a, @@autocommit",
        "SELECT id, name FROM users ORDER BY id",
        "SET TRANSACTION READ ONLY",
        "UPDATE users SET name = 'd' WHERE id = 1",
        "UPDATE users SET name = 'd'",
        "SELECT 1",
        "SELECT id, name FROM users ORDER BY id",
        "UPDATE users SET name = 'd'",
        "SET TRANSACTION NONSENSE",
        "SET autocommit = 2",
        "SET TRANSACTION READ ONLY",
        "COMMIT",
        "UPDATE users SET name = 'e' WHERE id = 2",
        "SELECT id, name FROM users ORDER BY id",
    ] {
        twins.same_prepared(sql, ()).await;
    }
    twins.refused_prepared("SET @a = ?", (5,), "SHD1107").await;
}

#[tokio::test]
async fn a_statement_keeps_the_reading_it_was_prepared_with_or_is_refused() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    let text = connection.prep("SELECT 'a' || 'b' FROM settings WHERE name <> ?").await.unwrap();
    connection.query_drop("INSERT INTO settings (name) VALUES ('s')").await.unwrap();
    let read: Option<u8> = connection.exec_first(&text, ("x",)).await.unwrap();
    assert_eq!(read, Some(0));
    connection.query_drop("SET sql_mode = 'STRICT_ALL_TABLES'").await.unwrap();
    let read: Option<u8> = connection.exec_first(&text, ("x",)).await.unwrap();
    assert_eq!(read, Some(0), "this mode reads it as the first one does");
    connection.query_drop("SET sql_mode = 'PIPES_AS_CONCAT'").await.unwrap();
    let error = connection.exec_drop(&text, ("x",)).await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1107"), "{error}");
    // The same text on the same backend connections.
    let mut other = shop.connect().await;
    other.query_drop("SET sql_mode = 'PIPES_AS_CONCAT'").await.unwrap();
    let read: Option<String> =
        other.exec_first("SELECT 'a' || 'b' FROM settings WHERE name <> ?", ("x",)).await.unwrap();
    assert_eq!(read.as_deref(), Some("ab"));
}
