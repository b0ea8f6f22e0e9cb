//! `shardway.toml` is read again while clients are connected.

use std::process::Command;
use std::time::Duration;

use mysql_async::Conn;
use shardway_tests::{Proxy, Shop, rows, server_error, until};

const WAIT: Duration = Duration::from_secs(20);

fn change(proxy: &Proxy, from: &str, to: &str) {
    let text = std::fs::read_to_string(proxy.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(proxy.config(), text.replacen(from, to, 1)).unwrap();
}

async fn log_in(shop: &Shop, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
    Conn::new(shop.proxy.options(user, password, &shop.name)).await
}

fn reload_on_console(proxy: &Proxy) -> std::process::Output {
    let mut console = Command::new("mariadb");
    console.args(["--no-defaults", "--host=127.0.0.1", "--user=admin", "--password=admin", "-e", "RELOAD"]);
    console.arg(format!("--port={}", proxy.console())).output().unwrap()
}

#[tokio::test]
async fn users_and_limits_change_without_a_restart() {
    let shop = Shop::open().await;
    let mut before = log_in(&shop, "app", "app").await.unwrap();
    change(&shop.proxy, "password = \"app\"", "password = \"changed\"");
    until("the new password holds", WAIT, async || log_in(&shop, "app", "changed").await.ok()).await;
    let error = log_in(&shop, "app", "app").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1045, "{error}");
    assert_eq!(rows(&mut before, "SELECT 1").await.unwrap(), ["1"], "who is in stays");
    change(&shop.proxy, "[[users]]", "[limits]\nmax_connections = 1\n[[users]]");
    until("nobody more is let in", WAIT, async || {
        let error = log_in(&shop, "app", "changed").await.err()?;
        (server_error(&error).0 == 1040).then_some(())
    })
    .await;
    assert_eq!(rows(&mut before, "SELECT 1").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_configuration_with_a_problem_changes_nothing_and_is_told() {
    let shop = Shop::open().await;
    change(&shop.proxy, "password = \"app\"", "pasword = \"changed\"");
    let told = reload_on_console(&shop.proxy);
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success() && error.contains("did you mean `password`"), "{error}");
    assert!(error.contains("The rules, version 1, are in force."), "{error}");
    log_in(&shop, "app", "app").await.unwrap();
    shop.proxy.save_rules(&format!("# saved\n{}", shop.rules()));
    assert_eq!(shop.proxy.settled(2).await, None, "rules take effect whatever the other file says");
    let refused = shop.proxy.get("/metrics").unwrap();
    assert!(!refused.contains("shardway_config_refused_total 0\n"), "{refused}");
    change(&shop.proxy, "pasword = \"changed\"", "password = \"changed\"");
    until("the mended file holds", WAIT, async || log_in(&shop, "app", "changed").await.ok()).await;
}

#[tokio::test]
async fn what_waits_for_the_next_start_is_told() {
    let shop = Shop::open().await;
    change(&shop.proxy, "workers = 2", "workers = 1");
    until("the log tells", WAIT, async || {
        let log = shop.proxy.log();
        (log.contains("when the process is started again") && log.contains("workers")).then_some(())
    })
    .await;
    change(&shop.proxy, "[listen]", "[log]\nlevel = \"error\"\n[listen]");
    until("the log is quiet", WAIT, async || {
        let before = shop.proxy.log();
        reload_on_console(&shop.proxy);
        (shop.proxy.log() == before).then_some(())
    })
    .await;
}
