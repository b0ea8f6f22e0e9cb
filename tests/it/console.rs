//! The operators' console, as a command-line client and a driver see it.

use std::process::{Command, Output};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use shardway_tests::{Proxy, Shop, server_error};

/// Runs statements with the client that operators have.
fn client(proxy: &Proxy, user: &str, password: &str, sql: &str) -> Output {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--batch"]);
    command.args([
        format!("--port={}", proxy.console()),
        format!("--user={user}"),
        format!("--password={password}"),
    ]);
    command.args(["--execute", sql]).output().expect("the client is installed with the server")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn the_command_line_client_prints_every_table() {
    let shop = Shop::open().await;
    let _session = shop.connect().await;
    let show = |sql: &str| printed(&client(&shop.proxy, "admin", "admin", sql));
    assert!(show("SHOW STATUS").contains("rules_in_force_version\t1\n"));
    assert!(show("SHOW RULES").lines().nth(1).unwrap().ends_with("rules.toml\t1\t1\tNULL"));
    let history = show("SHOW RULES HISTORY");
    let since = history.lines().nth(1).unwrap().split('\t').nth(1).unwrap().to_owned();
    assert!(since.starts_with("20") && since.contains('T') && since.ends_with('Z'), "{since}");
    assert!(history.contains("Z\tstart\n"));
    assert_eq!(show("SHOW BACKENDS").matches("\tup\t").count(), 3);
    assert!(show("SHOW SESSIONS").contains("\tapp\t"));
    assert!(show("SHOW HELP").contains("SHOW STATEMENTS"));
    assert_eq!(show("SHOW MOVES"), "");
    assert_eq!(show("SHOW STATEMENTS"), "");
    assert_eq!(show("SELECT @@version_comment LIMIT 1").lines().count(), 2);
}

#[tokio::test]
async fn moves_are_told_as_their_status_tells_them() {
    let shop = Shop::open_moving().await;
    let told = printed(&client(&shop.proxy, "admin", "admin", "SHOW MOVES"));
    let (heads, row) = told.split_once('\n').unwrap();
    let status = shop.of_move();
    for (head, cell) in heads.split('\t').zip(row.trim_end().split('\t')) {
        match &status[head] {
            serde_json::Value::Null => assert_eq!(cell, "NULL", "{head}"),
            serde_json::Value::String(text) => assert_eq!(cell, text, "{head}"),
            serde_json::Value::Array(_) => assert_eq!(cell, "users, orders", "{head}"),
            number => assert_eq!(cell.parse::<f64>().ok(), number.as_f64(), "{head}"),
        }
    }
    for head in ["phase", "percent", "rows_per_s", "lag_s", "waits_for", "last_error"] {
        assert!(heads.split('\t').any(|known| known == head), "{heads}");
    }
}

#[tokio::test]
async fn only_administrators_with_their_password_log_in() {
    let shop = Shop::open().await;
    for (user, password) in
        [("app", "app"), ("report", "report"), ("admin", "wrong"), ("admin", ""), ("empty", "")]
    {
        let refused = client(&shop.proxy, user, password, "SHOW STATUS");
        assert!(!refused.status.success(), "{user} with `{password}` got in");
        assert!(refused.stdout.is_empty());
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        let using = if password.is_empty() { "NO" } else { "YES" };
        let expected = format!("Access denied for user '{user}'@'127.0.0.1' (using password: {using})");
        assert!(told.starts_with("ERROR 1045 (28000)") && told.contains(&expected), "{told}");
    }
    printed(&client(&shop.proxy, "admin", "admin", "SHOW STATUS"));
}

#[tokio::test]
async fn a_reload_says_why_not_and_a_driver_reads_it() {
    let shop = Shop::open().await;
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(shop.proxy.console())
        .user(Some("admin"))
        .pass(Some("admin"))
        .prefer_socket(false);
    let mut console = Conn::new(options).await.unwrap();
    let version: Option<String> = console.query_first("RELOAD").await.unwrap();
    assert_eq!(version.as_deref(), Some("1"));
    shop.proxy.save_rules("nonsense");
    let (code, why) = server_error(&console.query_drop("RELOAD").await.unwrap_err());
    assert_eq!(code, 1105);
    assert!(why.contains("rules.toml: line 1"), "{why}");
    let (_, why) = server_error(&console.query_drop("DROP TABLE users").await.unwrap_err());
    assert!(why.contains("SHOW BACKENDS"), "{why}");
    let prepared = console.prep("SHOW STATUS").await.unwrap_err();
    assert_eq!(server_error(&prepared).0, 1295);
    let rows: Vec<(String, Option<String>)> = console.query("SHOW STATUS").await.unwrap();
    let error = rows.iter().find(|(name, _)| name == "rules_last_error").unwrap();
    assert!(error.1.is_some(), "the refused file is told");
}
