//! What the admin interface tells, and what it keeps to itself.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Proxy, Shop, until};

#[tokio::test]
async fn no_password_leaves_the_process_and_a_version_is_reverted_to_with_its_own() {
    let shop = Shop::open().await;
    let file = shop.proxy.config().with_file_name("rules.toml");
    let first = shop.rules();
    let secret = first.replacen(":shop@", ":not-the-password@", 1);
    shop.proxy.save_rules(&format!("# was mysql://old:oldsecret@h:1/d\n{secret}"));
    assert_eq!(shop.proxy.settled(2).await, None);
    shop.proxy.save_rules(&format!("{first}# third\n"));
    assert_eq!(shop.proxy.settled(3).await, None);
    shop.proxy.save_rules(&secret.replace("@127.0.0.1:", "@127.0.0.1:x"));
    assert!(shop.proxy.settled(4).await.is_some_and(|why| why.contains("not a port")));
    let shown = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    let told = [
        shop.proxy.get("/api/rules").unwrap(),
        shop.proxy.get("/api/rules/2").unwrap(),
        shown(shop.proxy.command(&["rules", "show", "2"])),
        shown(shop.proxy.command(&["rules", "history"])),
        shop.proxy.status().to_string(),
        shop.proxy.log(),
    ];
    for (place, told) in told.iter().enumerate() {
        for secret in ["not-the-password", "oldsecret", ":shop@"] {
            assert!(!told.contains(secret), "{secret} is told in {place}: {told}");
        }
    }
    assert!(told[2].contains("mysql://shop:***@127.0.0.1"));
    assert!(told[3].contains("Z by file"), "{}", told[3]);
    let kept = file.with_file_name("state").join("rules/00000002.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o077, 0, "its owner's alone");
    assert!(shop.proxy.command(&["rules", "revert", "2"]).status.success());
    assert!(std::fs::read_to_string(&file).unwrap().contains("not-the-password"));
}

#[tokio::test]
async fn readiness_tells_which_backends_are_down_and_ends_with_the_last() {
    let mut shop = Shop::open_alone().await;
    let ready = |told: &str| serde_json::from_str::<Value>(told).unwrap();
    let (status, told) = shop.proxy.answer("/readyz");
    assert_eq!((status, &ready(&told)["backends_down"]), (200, &serde_json::json!([])), "{told}");
    shop.own().shards[1].kill9();
    until("one is told", Duration::from_secs(20), async || {
        let (status, told) = shop.proxy.answer("/readyz");
        assert_eq!(status, 200, "the others are served");
        (ready(&told)["backends_down"] == serde_json::json!(["s1"])).then_some(())
    })
    .await;
    shop.own().shards[0].kill9();
    shop.own().legacy.kill9();
    let told = until("nothing can be served", Duration::from_secs(20), async || {
        let (status, told) = shop.proxy.answer("/readyz");
        (status == 503).then_some(told)
    })
    .await;
    assert_eq!(ready(&told)["reason"], "no backend answers");
    assert_eq!(ready(&told)["ready"], false);
}

#[tokio::test]
async fn the_page_is_one_file_and_what_it_shows_needs_the_token() {
    let shop = Shop::open_with("[admin]\ntoken = \"secret\"").await;
    let (status, page) = shop.proxy.answer("/");
    assert_eq!(status, 200);
    assert!(page.starts_with("<!doctype html>") && page.contains("api/status"));
    for elsewhere in ["src=", "href=", "http://", "https://", "@import", "innerHTML"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert_eq!(shop.proxy.answer("/readyz").0, 200);
    for path in ["/api/status", "/api/rules", "/api/rules/1", "/metrics"] {
        assert_eq!(shop.proxy.answer(path).0, 401, "{path}");
    }
}

/// The status and the body of an answer to a request with these lines.
fn asked(proxy: &Proxy, request: &str, lines: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.admin())).unwrap();
    let head = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn no_web_page_of_others_gives_commands() {
    let shop = Shop::open().await;
    let own = format!("127.0.0.1:{}", shop.proxy.admin());
    for (request, lines, status, told) in [
        ("POST /api/reload", format!("Host: {own}\r\n"), 200, "in_force_version"),
        ("POST /api/reload", format!("Host: {own}\r\nOrigin: http://{own}\r\n"), 200, "in_force_version"),
        ("POST /api/reload", format!("Host: localhost:{}\r\n", shop.proxy.admin()), 200, "in_force_version"),
        ("GET /", format!("Host: {own}\r\n"), 200, "<!doctype html>"),
        ("POST /api/reload", format!("Host: {own}\r\nOrigin: http://evil.example\r\n"), 403, "Origin"),
        ("POST /api/reload", format!("Host: {own}\r\nOrigin: http://127.0.0.1:1\r\n"), 403, "Origin"),
        ("POST /api/moves/shop/finish", format!("Host: {own}\r\nOrigin: null\r\n"), 403, "Origin"),
        (
            "GET /api/status",
            "Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(),
            403,
            "listen.admin",
        ),
        ("GET /api/rules/1", "Host: evil.example\r\n".to_owned(), 403, "listen.admin"),
        ("GET /metrics", "Host: evil.example\r\n".to_owned(), 403, "listen.admin"),
        ("GET /readyz", "Host: probed.example\r\n".to_owned(), 200, "ready"),
    ] {
        let (answered, body) = asked(&shop.proxy, request, &lines);
        assert!(answered == status && body.contains(told), "{request} {lines}: {answered} {body}");
        assert!(status != 403 || serde_json::from_str::<Value>(&body).unwrap()["error"].is_string());
    }
}

#[tokio::test]
async fn a_token_lets_the_proxy_have_a_name_and_no_other_page_call_it() {
    let shop = Shop::open_with("[admin]\ntoken = \"secret\"").await;
    let lines = "Host: shardway.example\r\nAuthorization: Bearer secret\r\n";
    assert_eq!(asked(&shop.proxy, "POST /api/reload", lines).0, 200);
    let from_elsewhere = format!("{lines}Origin: http://evil.example\r\n");
    assert_eq!(asked(&shop.proxy, "POST /api/reload", &from_elsewhere).0, 403);
    assert_eq!(asked(&shop.proxy, "GET /", "Host: shardway.example\r\n").0, 200);
}

#[tokio::test]
async fn a_transaction_in_the_way_of_a_rule_change_is_counted_once() {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    for statement in [
        "BEGIN",
        "INSERT INTO users (id, name) VALUES (1, 'a')",
        "INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1)",
    ] {
        connection.query_drop(statement).await.unwrap();
    }
    shop.proxy.save_rules(&shop.moving_rules("double_write = \"sync\"\nhold_ms = 1500"));
    let why = shop.proxy.settled(2).await.expect("a transaction is in the way");
    assert!(why.contains("at least 1 transaction had not ended"), "{why}");
    connection.query_drop("ROLLBACK").await.unwrap();
}
