//! Logging in and the commands of a session.

use mysql_async::prelude::Queryable as _;
use mysql_async::{ChangeUserOpts, Conn};
use shardway_tests::{Shop, rows, server_error, until};
use std::time::Duration;

#[tokio::test]
async fn the_right_password_opens_a_session_and_a_wrong_one_does_not() {
    let shop = Shop::open().await;
    let proxy = &shop.proxy;
    let mut connection = Conn::new(proxy.options("app", "app", &shop.name)).await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT DATABASE()").await.unwrap(), [shop.name.as_str()]);
    Conn::new(proxy.options("empty", "", &shop.name)).await.unwrap();
    for (user, password) in [("app", "wrong"), ("app", ""), ("nobody", "app"), ("empty", "x")] {
        let error = Conn::new(proxy.options(user, password, &shop.name)).await.unwrap_err();
        assert_eq!(server_error(&error).0, 1045, "{user} {password}");
    }
    let error = Conn::new(proxy.options("app", "app", "nowhere")).await.unwrap_err();
    assert_eq!(server_error(&error).0, 1049);
}

#[tokio::test]
async fn a_session_can_be_pinged_reset_and_given_to_another_user() {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    connection.ping().await.unwrap();
    connection.query_drop("SET SESSION sql_mode = 'ANSI_QUOTES'").await.unwrap();
    assert!(rows(&mut connection, "SELECT @@sql_mode").await.unwrap()[0].contains("ANSI_QUOTES"));
    assert!(connection.reset().await.unwrap());
    assert!(!rows(&mut connection, "SELECT @@sql_mode").await.unwrap()[0].contains("ANSI_QUOTES"));
    let other = ChangeUserOpts::default()
        .with_user(Some("report".into()))
        .with_pass(Some("report".into()))
        .with_db_name(Some(shop.name.clone()));
    connection.change_user(other).await.unwrap();
    let error = connection.query_drop("INSERT INTO settings (name) VALUES ('x')").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1290);
    connection.disconnect().await.unwrap();
}

#[tokio::test]
async fn settings_of_a_session_hold_on_every_backend_and_for_nobody_else() {
    let shop = Shop::open().await;
    let mut one = shop.connect().await;
    let mut other = shop.connect().await;
    one.query_drop("SET SESSION group_concat_max_len = 4, NAMES utf8mb4 COLLATE utf8mb4_bin").await.unwrap();
    let ask = "SELECT @@group_concat_max_len, @@collation_connection FROM users WHERE id = ";
    one.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    for id in [1, 2] {
        assert_eq!(rows(&mut one, &format!("{ask}{id}")).await.unwrap(), ["4|utf8mb4_bin"]);
        assert_ne!(rows(&mut other, &format!("{ask}{id}")).await.unwrap(), ["4|utf8mb4_bin"]);
    }
}

#[tokio::test]
async fn use_changes_the_database_and_an_unknown_one_is_refused() {
    let shop = Shop::open().await;
    let mut connection = shop.proxy.connect("").await;
    let error = connection.query_drop("SELECT * FROM users").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1046);
    connection.query_drop(format!("USE {}", shop.name)).await.unwrap();
    connection.query_drop("SELECT * FROM users").await.unwrap();
    let error = connection.query_drop("USE nowhere").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1049);
    assert_eq!(rows(&mut connection, "SELECT DATABASE()").await.unwrap(), [shop.name.as_str()]);
}

#[tokio::test]
async fn sessions_see_and_end_each_other() {
    let shop = Shop::open().await;
    let mut one = shop.connect().await;
    let mut other = shop.connect().await;
    let id = rows(&mut other, "SELECT CONNECTION_ID()").await.unwrap().remove(0);
    let listed = rows(&mut one, "SHOW PROCESSLIST").await.unwrap();
    assert!(listed.iter().any(|line| line.starts_with(&format!("{id}|app|"))), "{listed:?}");
    one.query_drop(format!("KILL {id}")).await.unwrap();
    assert!(other.query_drop("SELECT 1").await.is_err());
    until("the killed session is gone", Duration::from_secs(10), async || {
        let error = one.query_drop(format!("KILL {id}")).await.err()?;
        (server_error(&error).0 == 1094).then_some(())
    })
    .await;
}
