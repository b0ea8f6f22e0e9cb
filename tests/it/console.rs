//! The operators' console, as a command-line client and a driver see it.

use std::process::{Command, Output};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use shardway_tests::{Proxy, Shop, rows, server_error, until};

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

/// With a row of its own, written and not committed.
async fn in_a_transaction(shop: &Shop, id: u64) -> (mysql_async::Conn, String) {
    let mut client = shop.connect().await;
    client.query_drop("BEGIN").await.unwrap();
    client.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'open')")).await.unwrap();
    let number = rows(&mut client, "SELECT CONNECTION_ID()").await.unwrap().remove(0);
    (client, number)
}

#[tokio::test]
async fn sessions_whose_server_says_nothing_can_be_killed() {
    let shop = Shop::open_moving_alone().await;
    let waiting =
        ["UPDATE users SET name = 'late' WHERE id = 1", "SELECT * FROM users", "COMMIT", "ROLLBACK"];
    let mut clients = Vec::new();
    for id in 1..=4 {
        clients.push(in_a_transaction(&shop, id).await);
    }
    shop.cluster.legacy.freeze();
    let mut asking = tokio::task::JoinSet::new();
    let mut numbers = Vec::new();
    for ((mut client, number), sql) in clients.into_iter().zip(waiting) {
        numbers.push(number);
        asking.spawn(async move { (sql, client.query_drop(sql).await) });
    }
    let show = |sql: &str| printed(&client(&shop.proxy, "admin", "admin", sql));
    until("they wait for the server", Duration::from_secs(30), async || {
        let running = show("SHOW STATEMENTS");
        // A rollback closes the connection, and waits for nobody.
        waiting[..3].iter().all(|sql| running.contains(sql)).then_some(())
    })
    .await;
    for number in &numbers {
        show(&format!("KILL {number}"));
    }
    let ended = tokio::time::timeout(Duration::from_secs(30), asking.join_all()).await;
    for (sql, told) in ended.expect("every client hears of it") {
        // A lost connection is rolled back by its server, whoever hears of it.
        let rolled_back = sql == "ROLLBACK" && told.is_ok();
        assert!(rolled_back || matches!(told, Err(mysql_async::Error::Io(_))), "{sql}: {told:?}");
    }
    let left = show("SHOW SESSIONS");
    for number in &numbers {
        assert!(!left.lines().any(|line| line.starts_with(&format!("{number}\t"))), "{number} of\n{left}");
    }
    shop.cluster.legacy.thaw();
    // Nobody holds a gate or a row of theirs any more; the commit may have arrived, or not.
    shop.save("double_write = \"sync\"").await;
    let mut other = shop.connect().await;
    for id in [1, 2, 4] {
        until("the row was never there", Duration::from_secs(30), async || {
            let sql = format!("INSERT INTO users (id, name) VALUES ({id}, 'new')");
            other.query_drop(sql).await.ok()
        })
        .await;
    }
    assert!(printed(&client(&shop.proxy, "admin", "admin", "SHOW HELP")).contains("KILL"));
    let unknown = client(&shop.proxy, "admin", "admin", "KILL 4000000000");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("SHOW SESSIONS"), "{unknown:?}");
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
