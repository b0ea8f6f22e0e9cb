//! Backends that let nobody in without TLS.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Certificates, Flavour, Server, Shop, rows, until};

/// The cipher of the connection that a statement on the legacy server runs over, once that answers.
async fn cipher(shop: &Shop) -> String {
    until("the legacy server answers", Duration::from_secs(20), async || {
        let mut connection = Conn::new(shop.proxy.options("app", "app", &shop.name)).await.ok()?;
        let told = rows(&mut connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'").await.ok()?;
        Some(told.first()?.split_once('|')?.1.to_owned())
    })
    .await
}

fn certificates(names: &[&str]) -> (Certificates, Vec<String>) {
    let certificates = Certificates::new();
    certificates.issue("server", names);
    let options = certificates.options("server").to_vec();
    (certificates, options)
}

/// The same for a server that lets nobody in without TLS.
fn required(options: &[String]) -> Vec<&str> {
    std::iter::once(Server::REQUIRES_TLS).chain(options.iter().map(String::as_str)).collect()
}

fn verified(certificates: &Certificates) -> String {
    let ca = certificates.path("ca.pem").display().to_string();
    format!("tls = {{ mode = \"verify_identity\", ca = \"{ca}\" }}")
}

/// Lines of the rules that name the dump tool of the servers under test.
fn dump() -> String {
    let words: Vec<String> = Server::tool("dump").iter().map(|word| format!("\"{word}\"")).collect();
    format!("double_write = \"off\"\nbackup = {{ dump = [{}] }}", words.join(", "))
}

async fn moves(shop: Shop) {
    let mut connection = shop.connect().await;
    let values: Vec<String> = (1..=500).map(|id| format!("({id}, 'n')")).collect();
    connection.query_drop(format!("INSERT INTO users (id, name) VALUES {}", values.join(","))).await.unwrap();
    let values: Vec<String> = (1..=500).map(|id| format!("({id}, {id}, 1)")).collect();
    let insert = format!("INSERT INTO orders (id, user_id, amount) VALUES {}", values.join(","));
    connection.query_drop(insert).await.unwrap();
    assert!(!cipher(&shop).await.is_empty());
    shop.save(&dump()).await;
    shop.carry_over().await;
    let output = shop.proxy.command(&["move", "backup", "shop", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(made["verified"]["rows"].as_u64() >= Some(1_000), "{made}");
    shop.save("double_write = \"sync\"").await;
    connection.exec_drop("UPDATE users SET name = ? WHERE id = ?", ("both", 7)).await.unwrap();
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_3 WHERE id = 7").await, ["both"]);
    shop.save("double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (501, 'after')").await.unwrap();
    let ask = "SELECT name FROM users WHERE id IN (7, 501) ORDER BY id";
    assert_eq!(rows(&mut connection, ask).await.unwrap(), ["both", "after"]);
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 501").await, ["after"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_over_connections_that_must_be_encrypted() {
    let (_certificates, options) = certificates(&["elsewhere"]);
    let mut options = required(&options);
    // MySQL makes a certificate of its own.
    if Flavour::chosen() == Flavour::MySql {
        options.truncate(1);
    }
    moves(Shop::open_moving_inside(&options, "tls = { mode = \"required\" }").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_over_connections_to_servers_that_prove_who_they_are() {
    let (certificates, options) = certificates(&["127.0.0.1"]);
    let options = required(&options);
    moves(Shop::open_moving_inside(&options, &verified(&certificates)).await).await;
}

/// Waits until a client's statement has failed for this reason, which the log and the status tell and the client is not.
async fn fails(shop: &Shop, because: &str) {
    let ask = format!("SELECT * FROM {}.settings", shop.name);
    until(because, Duration::from_secs(20), async || {
        let error = match Conn::new(shop.proxy.options("app", "app", "")).await {
            Ok(mut connection) => connection.query_drop(&ask).await.err()?.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains(because) && error.contains("legacy"), "{error}");
        let told = shop.proxy.log();
        let line = told.lines().any(|line| line.contains("no TLS with 127.0.0.1") && line.contains(because));
        let status = shop.proxy.status()["backends"].to_string();
        (line && status.contains(because)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_tls_reconnects_and_another_server_is_not_taken_for_the_right_one() {
    let (certificates, options) = certificates(&["127.0.0.1"]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let shop = Shop::open_moving_inside(&options, "").await;
    assert_eq!(cipher(&shop).await, "");
    let plain = shop.moving_rules("");
    let end = format!("/{}\"\n", shop.name);
    let with = |line: &str| plain.replace(&end, &format!("{end}{line}\n"));
    shop.proxy.save_rules(&with(&verified(&certificates)));
    assert_eq!(shop.proxy.settled(2).await, None);
    assert!(!cipher(&shop).await.is_empty());

    let others = Certificates::new();
    shop.proxy.save_rules(&with(&verified(&others)));
    assert_eq!(shop.proxy.settled(3).await, None);
    fails(&shop, "invalid peer certificate: BadSignature").await;

    shop.proxy.save_rules(&with(&verified(&certificates)).replace("@127.0.0.1:", "@127.0.0.2:"));
    let refused = shop.proxy.settled(4).await.unwrap();
    assert!(refused.contains("SHD1603"), "{refused}");

    let gone = with("tls = { mode = \"verify_identity\", ca = \"gone.pem\" }");
    shop.proxy.save_rules(&gone);
    let refused = shop.proxy.settled(5).await.unwrap();
    assert!(
        refused.contains("backends.legacy.tls.ca") && refused.contains("gone.pem cannot be read"),
        "{refused}"
    );
    shop.proxy.save_rules(&with(&verified(&certificates)));
    assert_eq!(shop.proxy.settled(6).await, None);
    assert!(!cipher(&shop).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_not_the_server_s() {
    let (certificates, options) = certificates(&["elsewhere"]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let required = "tls = { mode = \"required\" }";
    let shop = Shop::open_moving_inside(&options, required).await;
    shop.proxy.save_rules(&shop.moving_rules("").replace(required, &verified(&certificates)));
    assert_eq!(shop.proxy.settled(2).await, None);
    fails(&shop, "not valid for name").await;
}
