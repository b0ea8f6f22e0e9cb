//! Stored functions: what one reads on a shard, or on the source of a move, is not what it would read on one server.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error, until};

#[tokio::test]
async fn a_stored_function_is_not_asked_for_rows_that_are_elsewhere() {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a')").await.unwrap();
    connection.query_drop("INSERT INTO settings (name, value) VALUES ('s', 'v')").await.unwrap();
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("SET GLOBAL log_bin_trust_function_creators = 1").await.unwrap();
    for create in [
        "CREATE FUNCTION people() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM users)",
        "CREATE FUNCTION around() RETURNS INT READS SQL DATA RETURN people() + 1",
        "CREATE FUNCTION apart(n INT) RETURNS INT DETERMINISTIC RETURN n + 1",
        "CREATE FUNCTION chosen() RETURNS VARCHAR(40) READS SQL DATA RETURN (SELECT MAX(name) FROM settings)",
    ] {
        legacy.query_drop(create).await.expect(create);
    }
    // Nobody tells of a function that is made later.
    until("the functions are known", Duration::from_secs(30), async || {
        connection.query_drop("SELECT people()").await.is_err().then_some(())
    })
    .await;
    let name = shop.name.clone();
    for sql in [
        "SELECT people()".to_owned(),
        "SELECT Around ()".to_owned(),
        "SELECT apart(id) FROM users WHERE id = 1".to_owned(),
        "SELECT id FROM users WHERE id = `apart`(0)".to_owned(),
        format!("SELECT id FROM users WHERE id = {name}.apart(0)"),
        "UPDATE users SET name = chosen() WHERE id = 1".to_owned(),
        "INSERT INTO users (id, name) VALUES (2, chosen())".to_owned(),
        "UPDATE settings SET value = people()".to_owned(),
        "DO people()".to_owned(),
    ] {
        let error = server_error(&connection.query_drop(&sql).await.expect_err(&sql));
        assert!(error.1.starts_with("SHD1442"), "{sql}: {error:?}");
    }
    for (sql, expected) in [
        ("SELECT apart(1)", "2"),
        ("SELECT chosen()", "s"),
        ("SELECT apart(id) FROM settings", "2"),
        ("SELECT CONCAT(UPPER(name), COALESCE(email, 'x')) FROM users WHERE id = 1", "Ax"),
        ("SELECT COUNT(*) FROM users", "1"),
    ] {
        assert_eq!(rows(&mut connection, sql).await.expect(sql), [expected], "{sql}");
    }
}
