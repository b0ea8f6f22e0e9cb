//! Clients inside TLS, and those that are not.

use std::io::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{ChangeUserOpts, Conn, OptsBuilder, SslOpts};
use shardway_tests::raw::{RawClient, frames};
use shardway_tests::{Certificates, Flavour, Proxy, Shop, rows, server_error, until};

const SSL: u32 = 1 << 11;

async fn shop(certificates: &Certificates, lines: &str) -> Shop {
    certificates.issue("proxy", &["127.0.0.1", "localhost"]);
    Shop::open_with(&certificates.section("proxy", lines)).await
}

async fn connect(shop: &Shop, user: &str, password: &str, tls: SslOpts) -> Result<Conn, mysql_async::Error> {
    let options = OptsBuilder::from_opts(shop.proxy.options(user, password, &shop.name)).ssl_opts(tls);
    Conn::new(options).await
}

/// The servers' own command-line client.
fn client(proxy: &Proxy, database: &str, options: &[&str], sql: &str) -> Output {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--host=127.0.0.1", "--user=app", "--password=app", "--batch"]);
    command.arg(format!("--port={}", proxy.port())).args(options).args(["-e", sql, database]);
    command.output().expect("the client runs")
}

/// How often a counter has counted.
fn counted(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.get("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_total "));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_session_inside_tls_is_like_any_other() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "").await;
    let mut connection = connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
    connection
        .query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        .await
        .unwrap();
    assert_eq!(
        rows(&mut connection, "SELECT name FROM users ORDER BY id DESC").await.unwrap(),
        ["d", "c", "b", "a"]
    );
    for id in 1..=4 {
        let name: Option<String> =
            connection.exec_first("SELECT name FROM users WHERE id = ?", (id,)).await.unwrap();
        assert_eq!(name.unwrap(), ["a", "b", "c", "d"][id - 1]);
    }
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'z' WHERE id = 1").await.unwrap();
    connection.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(), ["a"]);
    assert_eq!(server_error(&connection.query_drop("SELECT nothing FROM users").await.unwrap_err()).0, 1054);
    let other = ChangeUserOpts::default().with_user(Some("report".into())).with_pass(Some("report".into()));
    connection.change_user(other.with_db_name(Some(shop.name.clone()))).await.unwrap();
    let error = connection.query_drop("DELETE FROM users WHERE id = 1").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1290);
    let wrong = ChangeUserOpts::default().with_user(Some("app".into())).with_pass(Some("wrong".into()));
    assert_eq!(server_error(&connection.change_user(wrong).await.unwrap_err()).0, 1045);

    for (user, password) in [("app", "wrong"), ("app", ""), ("nobody", "app"), ("empty", "x")] {
        let error = connect(&shop, user, password, certificates.trusted()).await.unwrap_err();
        assert_eq!(server_error(&error).0, 1045, "{user} {password}");
    }
    connect(&shop, "empty", "", certificates.trusted()).await.unwrap();
    // Who does without goes on without.
    assert_eq!(
        rows(&mut shop.connect().await, "SELECT COUNT(*) FROM users WHERE id = 1").await.unwrap(),
        ["1"]
    );
}

#[tokio::test]
async fn statements_and_answers_of_any_size_go_through_tls() {
    const LARGE: usize = 20 << 20;
    let certificates = Certificates::new();
    let shop = shop(&certificates, "").await;
    let mut connection = connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
    connection.query_drop("CREATE TABLE large (id INT PRIMARY KEY, body LONGTEXT)").await.unwrap();
    let body: String = ('a'..='z').cycle().take(LARGE).collect();
    connection.exec_drop("INSERT INTO large VALUES (1, ?)", (&body,)).await.unwrap();
    let prepared: Option<String> =
        connection.exec_first("SELECT body FROM large WHERE id = ?", (1,)).await.unwrap();
    assert!(prepared.unwrap() == body);
    let text: Option<String> = connection.query_first("SELECT body FROM large").await.unwrap();
    assert!(text.unwrap() == body);
    // Many rows in many packets, merged from all shards.
    let values: Vec<String> = (0..2000).map(|id| format!("({id}, '{}')", "n".repeat(50))).collect();
    connection.query_drop(format!("INSERT INTO users (id, name) VALUES {}", values.join(","))).await.unwrap();
    let ids: Vec<u64> = connection.query("SELECT id FROM users ORDER BY id").await.unwrap();
    assert!(ids.into_iter().eq(0..2000));
}

#[tokio::test]
async fn the_command_line_client_checks_the_certificate() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "").await;
    let ask = |ca: &Certificates, options: &[&str]| {
        let ca = format!("--ssl-ca={}", ca.path("ca.pem").display());
        let all: Vec<&str> = [&["--ssl", "--ssl-verify-server-cert", ca.as_str()], options].concat();
        client(&shop.proxy, &shop.name, &all, "SELECT 7; \\s")
    };
    for plugin in ["mysql_native_password", "caching_sha2_password"] {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let (auth, tls) = (format!("--default-auth={plugin}"), format!("--tls-version={version}"));
            let output = ask(&certificates, &[&auth, &tls]);
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{plugin} {version}: {output:?}");
            assert!(told.contains("\n7\n") && told.contains("Cipher in use is"), "{told}");
        }
    }
    let before = counted(&shop.proxy, "shardway_tls_handshakes_failed");
    let refused = ask(&Certificates::new(), &[]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    until("the failed handshake is counted", Duration::from_secs(10), async || {
        (counted(&shop.proxy, "shardway_tls_handshakes_failed") > before).then_some(())
    })
    .await;
    let error = connect(&shop, "app", "app", Certificates::new().trusted()).await.unwrap_err();
    assert!(!matches!(error, mysql_async::Error::Server(_)), "{error}");
    assert!(shop.proxy.log().contains("a client's TLS handshake failed"));
}

#[tokio::test]
async fn who_must_use_tls_is_refused_without_as_servers_refuse() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "require = true").await;
    let without = |password: &'static str| Conn::new(shop.proxy.options("app", password, &shop.name));
    let expected = if Flavour::chosen() == Flavour::MySql { 3159 } else { 1045 };
    assert_eq!(server_error(&without("app").await.unwrap_err()).0, expected);
    assert_eq!(server_error(&without("wrong").await.unwrap_err()).0, 1045);
    assert!(shop.proxy.log().contains("refused a login without TLS"));
    let mut connection = connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT DATABASE()").await.unwrap(), [shop.name.as_str()]);
}

/// The head of a response: a request for TLS.
fn request() -> Vec<u8> {
    let mut head = (0x000F_A201_u32 | SSL | 1 << 15).to_le_bytes().to_vec();
    head.extend_from_slice(&[0, 0, 0, 1, 45]);
    head.resize(32, 0);
    [&[32, 0, 0, 1], head.as_slice()].concat()
}

#[tokio::test]
async fn what_comes_behind_a_request_for_tls_is_never_a_packet() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "").await;
    let failed = counted(&shop.proxy, "shardway_tls_handshakes_failed");
    let (mut client, greeting) = RawClient::connect(shop.proxy.port());
    let flags = greeting.iter().position(|&byte| byte == 0).unwrap() + 1 + 4 + 8 + 1;
    assert_eq!(u32::from(greeting[flags + 1]) << 8 & SSL, SSL, "TLS is offered");
    // In one segment with a login as `empty`, who has no password, and a statement.
    let mut login = (0x0008_8201_u32 | SSL).to_le_bytes().to_vec();
    login.extend_from_slice(&[0, 0, 0, 1, 45]);
    login.resize(32, 0);
    login.extend_from_slice(b"empty\0\0mysql_native_password\0");
    let length = u8::try_from(login.len()).unwrap();
    let statement = format!("CREATE TABLE {}.injected (id INT)", shop.name);
    let injected = [request(), vec![length, 0, 0, 2], login, frames(3, statement.as_bytes())].concat();
    client.bytes(&injected);
    until("the handshake has failed", Duration::from_secs(10), async || {
        (counted(&shop.proxy, "shardway_tls_handshakes_failed") > failed).then_some(())
    })
    .await;
    let mut connection = shop.connect().await;
    assert!(rows(&mut connection, "SHOW TABLES LIKE 'injected'").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_vanishes_in_its_handshake_leaves_nothing() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "[limits]\nhandshake_timeout_s = 2").await;
    let sessions = async |count: u64| {
        until("the sessions have gone", Duration::from_secs(10), async || {
            (shop.proxy.status()["sessions"]["count"].as_u64()? == count).then_some(())
        })
        .await;
    };
    for begun in [&[][..], &[0x16, 3, 1][..], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC][..]] {
        let (mut client, _) = RawClient::connect(shop.proxy.port());
        client.bytes(&[&request(), begun].concat());
        drop(client);
        sessions(0).await;
        // Who stays and says no more is sent away when the time for a login is over.
        let (mut client, _) = RawClient::connect(shop.proxy.port());
        client.bytes(&[&request(), begun].concat());
        assert_eq!(client.packet(), None);
        sessions(0).await;
    }
    connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
}

#[tokio::test]
async fn without_the_section_tls_is_not_offered() {
    let shop = Shop::open().await;
    let (mut client, greeting) = RawClient::connect(shop.proxy.port());
    let flags = greeting.iter().position(|&byte| byte == 0).unwrap() + 1 + 4 + 8 + 1;
    assert_eq!(u32::from(greeting[flags + 1]) << 8 & SSL, 0);
    client.bytes(&request());
    let refused = client.packet().unwrap();
    assert_eq!(u16::from_le_bytes([refused[1], refused[2]]), 1043);
    assert_eq!(client.packet(), None);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let certificates = Certificates::new();
    let shop = shop(&certificates, "").await;
    let mut before = connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
    // Another authority, whose certificate takes the place of the one shown.
    let others = Certificates::new();
    others.issue("proxy", &["127.0.0.1"]);
    for end in ["pem", "key"] {
        let name = format!("proxy.{end}");
        std::fs::copy(others.path(&name), certificates.path(&name)).unwrap();
    }
    assert_eq!(rows(&mut shop.connect().await, "SELECT 1").await.unwrap(), ["1"]);
    connect(&shop, "app", "app", certificates.trusted()).await.unwrap();
    let hung_up = Command::new("kill").args(["-HUP", &shop.proxy.pid().to_string()]).status().unwrap();
    assert!(hung_up.success());
    until("the renewed certificate is shown", Duration::from_secs(10), async || {
        connect(&shop, "app", "app", others.trusted()).await.ok()
    })
    .await;
    connect(&shop, "app", "app", certificates.trusted()).await.unwrap_err();
    assert_eq!(rows(&mut before, "SELECT 1").await.unwrap(), ["1"]);

    let mut file = std::fs::File::create(certificates.path("proxy.pem")).unwrap();
    file.write_all(b"half of it").unwrap();
    let mut console = Command::new("mariadb");
    console.args(["--no-defaults", "--host=127.0.0.1", "--user=admin", "--password=admin", "-e", "RELOAD"]);
    assert!(!console.arg(format!("--port={}", shop.proxy.console())).output().unwrap().status.success());
    assert_eq!(counted(&shop.proxy, "shardway_config_refused"), 1);
    assert!(shop.proxy.log().contains("has no certificate"));
    connect(&shop, "app", "app", others.trusted()).await.unwrap();
    let checked = shop.proxy.command(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        !checked.status.success() && told.contains("tls.cert") && told.contains("has no certificate"),
        "{told}"
    );
}
