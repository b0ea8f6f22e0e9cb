//! Where an answer's columns come from, as the client is told: the logical names, whichever node answers.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Column, Conn};
use shardway_tests::Shop;

fn told(columns: &[Column]) -> Vec<String> {
    let of = |column: &Column| {
        format!(
            "{} {} {} {}",
            column.schema_str(),
            column.table_str(),
            column.org_table_str(),
            column.name_str()
        )
    };
    columns.iter().map(of).collect()
}

async fn both(connection: &mut Conn, sql: &str) -> Vec<String> {
    let text = connection.query_iter(sql).await.expect(sql);
    let told_in_text = told(text.columns_ref());
    text.drop_result().await.unwrap();
    let statement = connection.prep(sql).await.expect(sql);
    let told_when_prepared = told(&statement.columns());
    let binary = connection.exec_iter(&statement, ()).await.expect(sql);
    let told_in_binary = told(binary.columns_ref());
    binary.drop_result().await.unwrap();
    assert_eq!(told_in_text, told_when_prepared, "{sql}");
    assert_eq!(told_in_text, told_in_binary, "{sql}");
    told_in_text
}

#[tokio::test]
async fn columns_come_from_logical_tables() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (3, 'b')").await.unwrap();
    let name = &shop.name;
    for (sql, expected) in [
        ("SELECT id FROM users WHERE id = 3", format!("{name} users users id")),
        ("SELECT id FROM users", format!("{name} users users id")),
        ("SELECT id FROM users ORDER BY id", format!("{name} users users id")),
        ("SELECT u.id FROM users AS u WHERE u.id = 1", format!("{name} u users id")),
        ("SELECT u.id FROM users u ORDER BY u.id", format!("{name} u users id")),
        ("SELECT name FROM regions", format!("{name} regions regions name")),
        ("SELECT name FROM settings", format!("{name} settings settings name")),
    ] {
        assert_eq!(both(&mut connection, sql).await, [expected], "{sql}");
    }
    // Rows follow the head as ever, also where several answers go to one packet of the client.
    let mut rows =
        connection.query_iter("SELECT id FROM users WHERE id = 3; SELECT id FROM users").await.unwrap();
    assert_eq!(told(rows.columns_ref()), [format!("{name} users users id")]);
    assert_eq!(rows.collect::<u64>().await.unwrap(), [3]);
    assert_eq!(told(rows.columns_ref()), [format!("{name} users users id")]);
    let mut found = rows.collect::<u64>().await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [1, 3]);
    rows.drop_result().await.unwrap();
    let error = connection.query_drop("SELECT nosuch FROM users WHERE id = 3").await.unwrap_err();
    assert_eq!(shardway_tests::server_error(&error).0, 1054);
}
