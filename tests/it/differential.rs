//! The same statements to the proxy and to one plain server: rows, columns, affected rows, insert ids, warnings and
//! error codes must agree.
//!
//! Scripts are `tests/differential/*.sql`: statements end with a semicolon at a line's end. Where the order of rows is
//! not fixed by the statement, they are compared as a multiset.

use mysql_async::prelude::{Query as _, Queryable as _};
use mysql_async::{BinaryProtocol, Conn, QueryResult, Row, TextProtocol};
use shardway_tests::{Shop, tables, text};

/// What a client can see of an answer.
#[derive(Debug, PartialEq)]
enum Answer {
    Done { columns: Vec<String>, rows: Vec<String>, affected: u64, insert_id: Option<u64>, warnings: u16 },
    Error(u16),
}

async fn seen<P: mysql_async::prelude::Protocol>(
    result: Result<QueryResult<'_, 'static, P>, mysql_async::Error>,
    sql: &str,
) -> Result<Answer, mysql_async::Error> {
    let mut result = match result {
        Ok(result) => result,
        Err(mysql_async::Error::Server(error)) => return Ok(Answer::Error(error.code)),
        Err(other) => return Err(other),
    };
    let columns = result
        .columns_ref()
        .iter()
        .map(|column| format!("{} {:?}", column.name_str(), column.column_type()))
        .collect();
    let rows: Vec<Row> = match result.collect().await {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(error)) => return Ok(Answer::Error(error.code)),
        Err(other) => return Err(other),
    };
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    if !sql.to_lowercase().contains("order by") {
        rows.sort();
    }
    Ok(Answer::Done {
        columns,
        rows,
        affected: result.affected_rows(),
        insert_id: result.last_insert_id(),
        warnings: result.warnings(),
    })
}

async fn as_text(connection: &mut Conn, sql: &str) -> Answer {
    let result: Result<QueryResult<'_, 'static, TextProtocol>, _> = connection.query_iter(sql).await;
    seen(result, sql).await.expect(sql)
}

async fn as_prepared(connection: &mut Conn, sql: &str) -> Answer {
    let result: Result<QueryResult<'_, 'static, BinaryProtocol>, _> = connection.exec_iter(sql, ()).await;
    seen(result, sql).await.expect(sql)
}

#[tokio::test]
async fn the_proxy_answers_as_one_server_would() {
    let shop = Shop::open().await;
    let plain = format!("{}_plain", shop.name);
    let mut alone = shop.cluster.legacy.connect("").await;
    format!("CREATE DATABASE {plain} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        .ignore(&mut alone)
        .await
        .unwrap();
    alone.query_drop(format!("USE {plain}")).await.unwrap();
    for (name, columns) in tables() {
        alone.query_drop(format!("CREATE TABLE {name} ({columns})")).await.unwrap();
    }
    let mut proxied = shop.connect().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/differential");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        for sql in script.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
            let (expected, found) = (as_text(&mut alone, sql).await, as_text(&mut proxied, sql).await);
            assert_eq!(found, expected, "{}: {sql}", path.display());
            if sql.to_lowercase().starts_with("select") {
                let (expected, found) =
                    (as_prepared(&mut alone, sql).await, as_prepared(&mut proxied, sql).await);
                assert_eq!(found, expected, "{} prepared: {sql}", path.display());
            }
            compared += 1;
        }
    }
    assert!(compared >= 90, "only {compared} statements were compared");
}
