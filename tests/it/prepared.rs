//! Real prepared statements: binary in, binary out.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Value, params};
use shardway_tests::{Shop, server_error};

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
