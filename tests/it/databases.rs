//! `SHOW DATABASES` beside a server that holds everything.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use shardway_tests::{Proxy, Server, rows};

const ACCOUNTS: &str =
    "[[users]]\nname = \"reader\"\npassword = \"reader\"\ndatabases = [\"shop\", \"crm\", \"gone\"]\n";
/// In no order, and of every kind of letter.
const OTHERS: [&str; 7] = ["zz", "Zeta", "crm", "a1", "a-b", "_x", "\u{c4}b"];

async fn make(server: &Server, databases: &[&str]) {
    let mut connection = server.connect("").await;
    for database in databases {
        connection.query_drop(format!("CREATE DATABASE `{database}`")).await.unwrap();
    }
}

/// A server with everything, and its accounts: `whole` has what the proxy gives to all, `reader` two databases.
async fn plain() -> Server {
    let server = Server::start().await;
    make(&server, &OTHERS).await;
    make(&server, &["shop"]).await;
    let mut connection = server.connect("").await;
    for account in ["whole", "reader"] {
        connection.query_drop(format!("CREATE USER {account}@'%' IDENTIFIED BY '{account}'")).await.unwrap();
    }
    for database in OTHERS.iter().chain(&["shop"]) {
        connection.query_drop(format!("GRANT ALL ON `{database}`.* TO whole@'%'")).await.unwrap();
    }
    for sql in [
        "GRANT SELECT ON performance_schema.* TO whole@'%'",
        "GRANT SELECT ON sys.* TO whole@'%'",
        "GRANT ALL ON shop.* TO reader@'%'",
        "GRANT ALL ON crm.* TO reader@'%'",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    server
}

async fn lists(server: &Server, account: &str) -> Vec<String> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(account))
        .pass(Some(account))
        .prefer_socket(false);
    let mut connection = Conn::new(options).await.unwrap();
    rows(&mut connection, "SHOW DATABASES").await.unwrap()
}

async fn behind() -> (Server, String) {
    let server = Server::start().await;
    make(&server, &OTHERS).await;
    make(&server, &["shop_0", "shop_1"]).await;
    let create = "CREATE TABLE users (id INT PRIMARY KEY)";
    server.connect("shop_1").await.query_drop(create).await.unwrap();
    let at = format!("mysql://shop:shop@127.0.0.1:{}", server.port());
    let rules = format!(
        "[backends.rest]\nprimary = \"{at}\"\n[backends.s]\nprimary = \"{at}/shop_0\"\n\
         [backends.t]\nprimary = \"{at}/shop_1\"\n[databases.shop]\ndefault = \"s\"\n\
         [tables.users]\nkind = \"single\"\nnodes = \"t.users\"\n"
    );
    (server, rules)
}

#[tokio::test]
async fn the_databases_of_the_default_backend_are_listed_as_by_one_server() {
    let plain = plain().await;
    let (_server, rules) = behind().await;
    let rules = format!("{rules}[databases.\"*\"]\ndefault = \"rest\"\n");
    let proxy = Proxy::start_with(&rules, ACCOUNTS).await;
    let mut all = proxy.connect("").await;
    let expected = lists(&plain, "whole").await;
    assert!(OTHERS.iter().all(|name| expected.iter().any(|listed| listed == name)), "{expected:?}");
    assert_eq!(rows(&mut all, "SHOW DATABASES").await.unwrap(), expected);
    // Where the session is changes nothing in the list.
    for set in ["BEGIN", "USE crm"] {
        all.query_drop(set).await.unwrap();
    }
    assert_eq!(rows(&mut all, "SHOW SCHEMAS").await.unwrap(), expected);
    // MySQL shows everybody performance_schema, which is not for an account of some databases here.
    let mut expected = lists(&plain, "reader").await;
    expected.retain(|name| name != "performance_schema");
    let mut reader = Conn::new(proxy.options("reader", "reader", "")).await.unwrap();
    assert_eq!(rows(&mut reader, "SHOW DATABASES").await.unwrap(), expected);
}

#[tokio::test]
async fn where_the_rules_name_every_database_no_other_is_listed() {
    let (_server, rules) = behind().await;
    let proxy = Proxy::start_with(&rules, ACCOUNTS).await;
    let listed = rows(&mut proxy.connect("").await, "SHOW DATABASES").await.unwrap();
    assert_eq!(listed, ["information_schema", "performance_schema", "shop", "sys"]);
    let mut reader = Conn::new(proxy.options("reader", "reader", "shop")).await.unwrap();
    assert_eq!(rows(&mut reader, "SHOW DATABASES").await.unwrap(), ["information_schema", "shop"]);
}
