//! Which shard a statement runs on, and what becomes of the answers of several.

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error};

async fn filled() -> (Shop, mysql_async::Conn) {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    let users: Vec<String> =
        (1..=12).map(|id| format!("({id}, 'user {id}', {}, {})", id % 3 + 1, 100 - id)).collect();
    let insert = format!("INSERT INTO users (id, name, region_id, balance) VALUES {}", users.join(", "));
    connection.query_drop(insert).await.unwrap();
    assert_eq!(connection.affected_rows(), 12);
    let orders: Vec<String> = (1..=24).map(|id| format!("({id}, {}, {id}.50)", (id - 1) % 12 + 1)).collect();
    connection
        .query_drop(format!("INSERT INTO orders (id, user_id, amount) VALUES {}", orders.join(", ")))
        .await
        .unwrap();
    connection
        .query_drop("INSERT INTO regions VALUES (1, 'north'), (2, 'south'), (3, 'west')")
        .await
        .unwrap();
    (shop, connection)
}

#[tokio::test]
async fn every_row_lies_on_the_shard_of_its_key() {
    let (shop, _connection) = filled().await;
    for number in 0..4 {
        let sql = format!("SELECT id FROM users_{number} ORDER BY id");
        let expected: Vec<String> =
            (1..=12).filter(|id| id % 4 == number).map(|id: i32| id.to_string()).collect();
        assert_eq!(shop.on_shard(usize::try_from(number).unwrap() / 2, &sql).await, expected);
        let sql = format!("SELECT COUNT(*) FROM orders_{number} WHERE user_id % 4 <> {number}");
        assert_eq!(shop.on_shard(usize::try_from(number).unwrap() / 2, &sql).await, ["0"]);
    }
    for shard in 0..2 {
        assert_eq!(shop.on_shard(shard, "SELECT COUNT(*) FROM regions").await, ["3"]);
    }
}

#[tokio::test]
async fn one_key_is_read_and_written_on_one_shard() {
    let (_shop, mut connection) = filled().await;
    let read = "SELECT name, balance FROM users WHERE id = 7";
    assert_eq!(rows(&mut connection, read).await.unwrap(), ["user 7|93.00"]);
    connection.query_drop("UPDATE users SET balance = balance + 1, id = 7 WHERE id = '7'").await.unwrap();
    assert_eq!(connection.affected_rows(), 1);
    assert_eq!(rows(&mut connection, read).await.unwrap(), ["user 7|94.00"]);
    connection.query_drop("DELETE FROM users WHERE users.id = 7").await.unwrap();
    assert_eq!(rows(&mut connection, read).await.unwrap(), Vec::<String>::new());
    connection.query_drop("REPLACE INTO users SET id = 7, name = 'again'").await.unwrap();
    assert_eq!(
        rows(&mut connection, "SELECT u.name FROM users AS u WHERE u.id IN (7)").await.unwrap(),
        ["again"]
    );
}

#[tokio::test]
async fn several_shards_answers_are_concatenated_or_merged() {
    let (shop, mut connection) = filled().await;
    let mut all = rows(&mut connection, "SELECT id FROM users WHERE id IN (1, 2, 5, 99)").await.unwrap();
    all.sort();
    assert_eq!(all, ["1", "2", "5"]);
    let sorted = rows(&mut connection, "SELECT id FROM users ORDER BY balance LIMIT 2, 3").await.unwrap();
    assert_eq!(sorted, ["10", "9", "8"]);
    let sorted = rows(&mut connection, "SELECT * FROM users WHERE id BETWEEN 3 AND 6 ORDER BY name DESC")
        .await
        .unwrap();
    let ids: Vec<&str> = sorted.iter().map(|row| row.split('|').next().unwrap()).collect();
    assert_eq!(ids, ["6", "5", "4", "3"]);
    let none = rows(&mut connection, "SELECT id FROM users WHERE id > 100 ORDER BY id").await.unwrap();
    assert_eq!(none, Vec::<String>::new());
    connection.query_drop("UPDATE users SET region_id = 9 WHERE balance > 95").await.unwrap();
    assert_eq!(connection.affected_rows(), 4);
    connection.query_drop("DELETE FROM orders").await.unwrap();
    assert_eq!(connection.affected_rows(), 24);
    drop(connection);
    assert_eq!(shop.on_shard(0, "SELECT COUNT(*) FROM orders_0").await, ["0"]);
}

#[tokio::test]
async fn tables_are_joined_on_their_shard_key_and_with_copies() {
    let (_shop, mut connection) = filled().await;
    let sql = "SELECT u.name, o.id, r.name FROM users u JOIN orders o ON o.user_id = u.id JOIN regions r ON r.id = u.region_id \
               WHERE u.id = 5 ORDER BY o.id";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["user 5|5|west", "user 5|17|west"]);
    let sql = "SELECT o.id FROM users JOIN orders o ON o.user_id = users.id ORDER BY o.amount DESC LIMIT 3";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["24", "23", "22"]);
    let sql = "SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM orders WHERE orders.user_id = u.id AND amount > 23) ORDER BY id";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["11", "12"]);
    let sql = "SELECT COUNT(*), SUM(amount) FROM orders WHERE user_id = 3";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["2|19.00"]);
}

#[tokio::test]
async fn what_would_be_wrong_is_refused_with_its_own_code() {
    let (_shop, mut connection) = filled().await;
    let refused = [
        ("SELECT COUNT(*) FROM users", "SHD1204"),
        ("SELECT DISTINCT region_id FROM users", "SHD1205"),
        ("SELECT ROW_NUMBER() OVER (ORDER BY id) FROM users", "SHD1206"),
        ("SELECT id FROM users UNION SELECT id FROM orders", "SHD1202"),
        ("SELECT * FROM (SELECT id FROM users) d", "SHD1207"),
        ("SELECT id FROM users ORDER BY id + 1", "SHD1209"),
        ("SELECT region_id FROM users GROUP BY region_id", "SHD1221"),
        ("SELECT u.id FROM users u JOIN orders o ON o.id = u.id", "SHD1202"),
        ("SELECT u.id FROM users u JOIN settings s ON s.id = u.id", "SHD1201"),
        ("UPDATE users SET id = 8 WHERE id = 7", "SHD1215"),
        ("UPDATE users SET name = 'x' LIMIT 1", "SHD1210"),
        ("INSERT INTO users (name) VALUES ('x')", "SHD1214"),
        ("INSERT INTO users (id, name) VALUES (NULL, 'x')", "SHD1230"),
        ("INSERT INTO users (id, name) VALUES (1 + 1, 'x')", "SHD1231"),
        ("INSERT INTO users (id, name) SELECT id, name FROM settings", "SHD1213"),
        ("ALTER TABLE users ADD COLUMN x INT", "SHD1212"),
        ("DROP TABLE orders", "SHD1212"),
        ("SET GLOBAL max_connections = 7", "SHD1109"),
        ("SET @transaction = 1, GLOBAL max_connections = 7", "SHD1109"),
        ("SET @transaction = 1, sql_log_bin = 0", "SHD1112"),
        ("SET @@`transaction_isolation` = 'SERIALIZABLE'", "SHD1107"),
        ("LOCK TABLES users READ", "SHD1107"),
        ("SELECT @a := id FROM users", "SHD1303"),
    ];
    for (sql, id) in refused {
        let error = connection.query_drop(sql).await.expect_err(sql);
        let (_, message) = server_error(&error);
        assert!(message.starts_with(id), "{sql}: {message}");
    }
    // A condition beside an operator that the parser reads otherwise proves nothing: every shard is asked.
    let sql = "SELECT id FROM users WHERE id = 3 AND name = 'nobody' || id = 4";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["4"]);
}

#[tokio::test]
async fn tables_that_no_rule_names_pass_through_untouched() {
    let (shop, mut connection) = filled().await;
    connection.query_drop("INSERT INTO settings (name, value) VALUES ('a', '1'), ('b', NULL)").await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(1));
    assert_eq!(rows(&mut connection, "SELECT LAST_INSERT_ID()").await.unwrap(), ["1"]);
    let sql = "SELECT name, LAST_INSERT_ID() FROM settings GROUP BY name HAVING COUNT(*) > 0 ORDER BY 1 LOCK IN SHARE MODE";
    assert_eq!(rows(&mut connection, sql).await.unwrap(), ["a|1", "b|1"]);
    connection
        .query_drop("CREATE TABLE extra (id INT PRIMARY KEY) /*!50100 PARTITION BY HASH (id) PARTITIONS 2 */")
        .await
        .unwrap();
    connection.query_drop("INSERT IGNORE INTO extra VALUES (1), (1)").await.unwrap();
    assert_eq!(rows(&mut connection, "SHOW WARNINGS").await.unwrap().len(), 1);
    let error = connection.query_drop("SELECT * FROM missing").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1146);
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    assert_eq!(rows(&mut legacy, "SELECT COUNT(*) FROM extra").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn explain_route_and_hints_show_and_choose_the_shard() {
    let (_shop, mut connection) = filled().await;
    let plan =
        rows(&mut connection, "EXPLAIN ROUTE SELECT * FROM users WHERE id = 7").await.unwrap().join("\n");
    assert!(plan.contains("Route one of 4 shards by id"), "{plan}");
    let count = rows(&mut connection, "SELECT COUNT(*) FROM users /* shardway: shard=2 */").await.unwrap();
    assert_eq!(count, ["3"]);
    let error = connection.query_drop("SELECT 1 /* shardway: nonsense */").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1111"));
}

#[tokio::test]
async fn user_variables_and_temporary_tables_stay_on_their_connection() {
    let (_shop, mut connection) = filled().await;
    connection.query_drop("SET @a = 5").await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT @a + 1").await.unwrap(), ["6"]);
    connection.query_drop("CREATE TEMPORARY TABLE mine (id INT)").await.unwrap();
    connection.query_drop("INSERT INTO mine VALUES (1), (2)").await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT SUM(id) FROM mine").await.unwrap(), ["3"]);
    let error = connection.query_drop("SELECT * FROM users WHERE id = @a AND id = 1").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1304"), "{error}");
}

#[tokio::test]
async fn answers_larger_than_a_packet_pass() {
    let (_shop, mut connection) = filled().await;
    let sql = "SELECT REPEAT('x', 20000000), id FROM users WHERE id = 7";
    let row: (String, i64) = connection.query_first(sql).await.unwrap().unwrap();
    assert_eq!((row.0.len(), row.1), (20_000_000, 7));
    connection
        .query_drop(format!("INSERT INTO settings (name, value) VALUES ('big', '{}')", "y".repeat(60_000)))
        .await
        .unwrap();
    assert_eq!(rows(&mut connection, "SELECT LENGTH(value) FROM settings").await.unwrap(), ["60000"]);
}
