//! The same statements to the proxy and to one plain server: rows, columns, affected rows, insert ids, warnings and
//! error codes must agree.
//!
//! Scripts are `tests/differential/*.sql`: statements end with a semicolon at a line's end. Where the order of rows is
//! not fixed by the statement, they are compared as a multiset. A statement after `-- refused SHD…` must be refused by
//! the proxy under that id, and is not given to the plain server.

use crate::twins::Twins;

async fn script(name: &str, twins: &mut Twins) -> u32 {
    let path = format!("{}/differential/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut compared = 0;
    for sql in text.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        compared += 1;
        if let Some((id, sql)) = sql.strip_prefix("-- refused ").and_then(|rest| rest.split_once('\n')) {
            twins.refused(sql, id).await;
            continue;
        }
        twins.same(sql).await;
        if sql.to_lowercase().starts_with("select") {
            twins.same_prepared(sql, ()).await;
        }
    }
    compared
}

#[tokio::test]
async fn a_shop_answers_as_one_server_would() {
    assert!(script("shop", &mut Twins::open().await).await >= 90);
}

#[tokio::test]
async fn orders_and_limits_over_shards_are_those_of_one_server() {
    assert!(script("order", &mut Twins::open_wide().await).await >= 60);
}

#[tokio::test]
async fn joins_and_subqueries_are_those_of_one_server() {
    assert!(script("joins", &mut Twins::open().await).await >= 40);
}

#[tokio::test]
async fn writes_and_their_errors_are_those_of_one_server() {
    assert!(script("writes", &mut Twins::open().await).await >= 60);
}

#[tokio::test]
async fn sessions_and_transactions_are_those_of_one_server() {
    assert!(script("session", &mut Twins::open().await).await >= 50);
}

#[tokio::test]
async fn what_clients_send_when_they_start_is_answered_as_by_one_server() {
    assert!(script("startup", &mut Twins::open().await).await >= 50);
}

#[tokio::test]
async fn autocommit_is_set_beside_other_variables_as_by_one_server() {
    assert!(script("autocommit", &mut Twins::open().await).await >= 80);
}

#[tokio::test]
async fn a_dump_is_restored_as_by_one_server() {
    assert!(script("restore", &mut Twins::open().await).await >= 40);
}

#[tokio::test]
async fn what_is_said_of_the_next_transaction_holds_for_it_as_on_one_server() {
    assert!(script("characteristics", &mut Twins::open().await).await >= 110);
}

#[tokio::test]
async fn shards_by_time_answer_as_one_server_would() {
    assert!(script("time", &mut Twins::open_wide().await).await >= 50);
}

#[test]
fn every_script_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/differential");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "autocommit",
            "characteristics",
            "joins",
            "order",
            "restore",
            "session",
            "shop",
            "startup",
            "time",
            "writes"
        ]
    );
}
