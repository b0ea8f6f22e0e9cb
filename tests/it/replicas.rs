//! Reads that replicas answer. A replica's own row says that it has answered.

mod in_time;
mod measured;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Server, Shop, rows, server_error, until};

const LIMIT: Duration = Duration::from_secs(60);
const WHO: &str = "SELECT value FROM settings WHERE name = 'who'";

/// A shop whose legacy server has replicas, and whose users are about to leave it.
struct Copied {
    shop: Shop,
    replicas: Vec<Server>,
}

impl Copied {
    /// With that many replicas, under these lines for each of them.
    async fn open(count: usize, lines: &str) -> Copied {
        let shop = Shop::open_moving_with(&[]).await;
        let mut source = shop.cluster.legacy.connect(&shop.name).await;
        source.query_drop("INSERT INTO settings (name, value) VALUES ('who', 'primary')").await.unwrap();
        source.query_drop("INSERT INTO users (id, name) VALUES (1, 'primary')").await.unwrap();
        let mut replicas = Vec::new();
        for id in &["--server-id=21", "--server-id=22"][..count] {
            let replica = copy_of(&shop.cluster.legacy, id).await;
            has(&replica, &shop.name, "SELECT name FROM users", "primary").await;
            mark(&replica, &shop.name, "UPDATE settings SET value = 'replica' WHERE name = 'who'").await;
            mark(&replica, &shop.name, "UPDATE users SET name = 'replica'").await;
            replicas.push(replica);
        }
        let copied = Copied { shop, replicas };
        copied.deal(lines);
        copied
    }

    /// Brings these lines of every replica into force.
    fn deal(&self, lines: &str) {
        let rules = self.shop.moving_rules("");
        let servers: Vec<&Server> = self.replicas.iter().collect();
        self.shop.proxy.save_rules(&with_replicas(
            &rules,
            &self.shop,
            &self.shop.cluster.legacy,
            &servers,
            lines,
        ));
    }

    /// The answer to the last of these statements, which a new session is sent.
    async fn ask(&self, statements: &[&str]) -> Result<Vec<String>, (u16, String)> {
        ask(&mut self.shop.connect().await, statements).await
    }

    /// Until new sessions read from there.
    async fn reads_from(&self, who: &str) {
        until(who, LIMIT, async || (self.ask(&[WHO]).await.unwrap() == [who]).then_some(())).await;
    }

    fn status(&self, replica: usize) -> serde_json::Value {
        self.shop.proxy.status()["backends"][0]["replicas"][replica].clone()
    }

    async fn is_unusable(&self, why: &str) {
        until(why, LIMIT, async || self.status(0)["unusable"].as_str()?.contains(why).then_some(())).await;
    }
}

fn with_replicas(rules: &str, shop: &Shop, of: &Server, replicas: &[&Server], lines: &str) -> String {
    let url = |server: &Server| format!("\"mysql://shop:shop@127.0.0.1:{}/{}\"", server.port(), shop.name);
    let list: Vec<String> =
        replicas.iter().map(|replica| format!("{{ url = {}, {lines} }}", url(replica))).collect();
    let primary = format!("primary = {}\n", url(of));
    rules.replace(&primary, &format!("{primary}replicas = [{}]\n", list.join(", ")))
}

async fn copy_of(primary: &Server, id: &str) -> Server {
    let replica = Server::start_with(&[id, "--read-only=ON"]).await;
    replica.follow(primary).await;
    replica
}

async fn has(server: &Server, database: &str, sql: &str, expected: &str) {
    until("the replica has the row", LIMIT, async || {
        let mut connection = server.connect("").await;
        connection.query_drop(format!("USE {database}")).await.ok()?;
        (rows(&mut connection, sql).await.ok()? == [expected]).then_some(())
    })
    .await;
}

/// Changes rows of a replica, and of nobody else.
async fn mark(replica: &Server, database: &str, sql: &str) {
    let mut connection = replica.connect(database).await;
    connection.query_drop("SET SESSION sql_log_bin = 0").await.unwrap();
    connection.query_drop(sql).await.unwrap();
}

async fn ask(connection: &mut Conn, statements: &[&str]) -> Result<Vec<String>, (u16, String)> {
    let mut answer = Vec::new();
    for sql in statements {
        answer = rows(connection, sql).await.map_err(|error| server_error(&error))?;
    }
    Ok(answer)
}

#[tokio::test]
async fn a_replica_answers_plain_reads_and_the_primary_everything_else() {
    let copied = Copied::open(1, "weight = 1, max_lag_ms = 5000").await;
    copied.reads_from("replica").await;
    let reads: [&[&str]; 6] = [
        &[WHO],
        &["SET NAMES utf8mb4", "SELECT 1", "SHOW TABLES", WHO],
        &["SELECT MAX(value) FROM settings s WHERE name IN (SELECT name FROM settings WHERE name = 'who')"],
        &["/* shardway: replica */ SELECT value FROM settings WHERE name = 'who'"],
        &["SET SESSION group_concat_max_len = 100", WHO],
        &["BEGIN", "COMMIT", WHO],
    ];
    for statements in reads {
        assert_eq!(copied.ask(statements).await.unwrap(), ["replica"], "{statements:?}");
    }
    let other: [&[&str]; 11] = [
        &["/* shardway: primary */ SELECT value FROM settings WHERE name = 'who'"],
        &["SELECT value FROM settings WHERE name = 'who' FOR UPDATE"],
        &["SELECT value FROM settings WHERE name = 'who' LOCK IN SHARE MODE"],
        &["SELECT MAX(value) FROM settings WHERE name = 'who' AND VERSION() <> ''"],
        &["SELECT value FROM settings WHERE name = 'who' AND @@port > 0"],
        &["BEGIN", WHO],
        &["SET autocommit = 0", WHO],
        &["SET TRANSACTION READ ONLY", WHO],
        &["SET @x = 1", WHO],
        &["SELECT GET_LOCK('replicas', 1)", WHO],
        &["SELECT name FROM users WHERE id = 1"],
    ];
    for statements in other {
        assert_eq!(copied.ask(statements).await.unwrap(), ["primary"], "{statements:?}");
    }
    let refused: [(&[&str], &str); 5] = [
        (&["/* shardway: replica */ DELETE FROM settings"], "SHD1237"),
        (&["/* shardway: replica */ SELECT name FROM users"], "SHD1237"),
        (&["/* shardway: replica */ SELECT value, @@port FROM settings"], "SHD1237"),
        (&["BEGIN", "/* shardway: replica */ SELECT value FROM settings"], "a transaction is open"),
        (&["/* shardway: replica */ SELECT name FROM regions"], "SHD1233"),
    ];
    for (statements, why) in refused {
        let (_, message) = copied.ask(statements).await.unwrap_err();
        assert!(message.contains(why), "{statements:?}: {message}");
    }
    let mut connection = copied.shop.connect().await;
    for _ in 0..3 {
        let prepared: Option<String> =
            connection.exec_first("SELECT value FROM settings WHERE name = ?", ("who",)).await.unwrap();
        assert_eq!(prepared.as_deref(), Some("replica"));
    }
    let (code, _) = copied.ask(&["SELECT nothing FROM settings"]).await.unwrap_err();
    assert_eq!(code, 1054, "the primary's own error");
}

#[tokio::test]
async fn replicas_are_seen_wherever_backends_are() {
    let copied = Copied::open(1, "weight = 3").await;
    copied.reads_from("replica").await;
    // A statement is counted once its answer has left.
    let status = until("its statements are counted", LIMIT, async || {
        Some(copied.status(0)).filter(|status| status["statements"].as_u64() >= Some(1))
    })
    .await;
    assert_eq!((status["state"].as_str(), status["weight"].as_u64()), (Some("up"), Some(3)), "{status}");
    assert_eq!(status["share"].as_f64(), Some(100.0), "{status}");
    assert!(status["unusable"].is_null(), "{status}");
    assert!(status["lag_ms"].as_u64().is_some_and(|lag| lag < 1000), "{status}");
    let address = format!("127.0.0.1:{}", copied.replicas[0].port());
    let metrics = copied.shop.proxy.get("/metrics").unwrap();
    for name in ["up", "usable", "share_percent", "lag_seconds", "statements_total", "fallbacks_total"] {
        let line = format!("shardway_replica_{name}{{backend=\"legacy\",replica=\"{address}\"}}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let explained = copied.ask(&[&format!("EXPLAIN ROUTE {WHO}")]).await.unwrap().join("\n");
    assert!(explained.contains("Replicas of legacy weights=[3]"), "{explained}");
    let shown = String::from_utf8(copied.shop.proxy.command(&["status"]).stdout).unwrap();
    assert!(shown.contains(&address) && shown.contains("100.0% of the reads"), "{shown}");
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(copied.shop.proxy.console())
        .user(Some("admin"))
        .pass(Some("admin"))
        .prefer_socket(false);
    let mut console = Conn::new(options).await.unwrap();
    let backends = rows(&mut console, "SHOW BACKENDS").await.unwrap();
    assert!(
        backends.iter().any(|row| row.contains(&address) && row.contains("|replica|100|")),
        "{backends:?}"
    );
}

#[tokio::test]
async fn weights_take_effect_with_the_file() {
    let copied = Copied::open(2, "weight = 0").await;
    let hinted = "/* shardway: replica */ SELECT value FROM settings WHERE name = 'who'";
    until("the hint finds a replica", LIMIT, async || copied.ask(&[hinted]).await.ok()).await;
    assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["primary"]);
    assert_eq!(copied.ask(&[hinted]).await.unwrap(), ["replica"]);
    assert_eq!(copied.ask(&["DELETE FROM settings WHERE id = 0", hinted]).await.unwrap(), ["replica"]);
    copied.deal("weight = 5");
    copied.reads_from("replica").await;
    until("both answer", LIMIT, async || {
        assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["replica"]);
        (0..2).all(|nth| copied.status(nth)["statements"].as_u64() > Some(2)).then_some(())
    })
    .await;
    assert_eq!(copied.status(0)["share"].as_f64(), Some(50.0));
    copied.deal("weight = 0");
    copied.reads_from("primary").await;
}

#[tokio::test]
async fn a_server_that_is_no_copy_gets_no_reads() {
    let copied = Copied::open(1, "weight = 1").await;
    copied.reads_from("replica").await;
    let replica = &copied.replicas[0];
    let spoiled = [
        ("SET GLOBAL read_only = 0", "it is not read-only", "SET GLOBAL read_only = 1"),
        ("SET GLOBAL time_zone = '+02:00'", "its time_zone is", "SET GLOBAL time_zone = DEFAULT"),
    ];
    for (spoil, why, mend) in spoiled {
        replica.run(spoil).await;
        copied.is_unusable(why).await;
        assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["primary"]);
        replica.run(mend).await;
        copied.reads_from("replica").await;
    }
    let (stranger, lines) = (Server::start_with(&["--server-id=23", "--read-only=ON"]).await, "weight = 1");
    let rules = copied.shop.moving_rules("");
    let rules = with_replicas(&rules, &copied.shop, &copied.shop.cluster.legacy, &[&stranger], lines);
    copied.shop.proxy.save_rules(&rules);
    copied.reads_from("primary").await;
    until("it is not measured", LIMIT, async || copied.status(0)["unusable"].as_str().map(drop)).await;
    assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["primary"]);
    // A copy of another server, which may have the same server_id.
    let other = &copied.shop.cluster.shards[0];
    for _ in 0..50 {
        other.run("CREATE DATABASE many").await;
        other.run("DROP DATABASE many").await;
    }
    stranger.follow(other).await;
    let follows = "SHOW TABLES LIKE 'users_0'";
    has(&stranger, &copied.shop.name, follows, "users_0").await;
    until("it is looked at", LIMIT, async || {
        assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["primary"]);
        let why = copied.status(0)["unusable"].as_str().unwrap_or_default().to_owned();
        (why.contains("from its primary") || why.contains("to have everything")).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(copied.ask(&["SELECT SLEEP(0.1)", WHO]).await.unwrap(), ["primary"]);
    }
}

#[tokio::test]
async fn parts_of_a_scattered_read_come_from_replicas() {
    let shop = Shop::open_alone().await;
    let mut connection = shop.connect().await;
    for id in 0..8 {
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'p')")).await.unwrap();
    }
    let mut replica = copy_of(&shop.cluster.shards[0], "--server-id=21").await;
    has(&replica, &shop.name, "SELECT COUNT(*) FROM users_1", "2").await;
    mark(&replica, &shop.name, "UPDATE users_0 SET name = 'r'").await;
    mark(&replica, &shop.name, "UPDATE users_1 SET name = 'r'").await;
    let rules = with_replicas(&shop.rules(), &shop, &shop.cluster.shards[0], &[&replica], "weight = 1");
    shop.proxy.save_rules(&rules);
    let merged = "SELECT name FROM users ORDER BY id";
    let read = async |sql: &str| ask(&mut shop.connect().await, &[sql]).await.unwrap().join("");
    until("the replica answers", LIMIT, async || (read(merged).await == "rrpprrpp").then_some(())).await;
    assert_eq!(read("SELECT name FROM users WHERE id = 5").await, "r");
    assert_eq!(read("SELECT name FROM users WHERE id IN (2, 5)").await.len(), 2);
    let inside = ask(&mut shop.connect().await, &["BEGIN", merged]).await.unwrap();
    assert_eq!(inside.join(""), "pppppppp");
    replica.kill9();
    for _ in 0..20 {
        assert_eq!(read(merged).await, "pppppppp");
    }
    replica.restart().await;
    until("it answers again", LIMIT, async || (read(merged).await == "rrpprrpp").then_some(())).await;
}
