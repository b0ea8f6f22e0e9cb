//! Every kind of move under load, by the rule files of `conf/moves` themselves: there, back and there again, and then what it
//! leaves behind goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::load::{Load, Manners, Transfers};
use shardway_tests::{Cluster, Proxy, rows, tables, until};

/// A proxy on a file of `conf/moves`, whose servers are ours: ports 4001 to 4003 are the three servers, 4004 and 4005
/// are two of them again under another database.
pub(super) struct Kind {
    pub proxy: Proxy,
    pub rules: String,
    pub name: String,
}

pub(super) async fn open(file: &str, sources: &[usize], tables: &[(&str, &str)]) -> Kind {
    on(read(file), sources, tables).await
}

fn read(file: &str) -> String {
    let path = format!("{}/../conf/moves/{file}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

pub(super) async fn on(mut rules: String, sources: &[usize], tables: &[(&str, &str)]) -> Kind {
    let cluster = Cluster::get().await;
    let name = cluster.new_name("kind");
    let servers = [&cluster.legacy, &cluster.shards[0], &cluster.shards[1]];
    for (port, server, database) in [
        (4001, 0, name.clone()),
        (4002, 1, name.clone()),
        (4003, 2, name.clone()),
        (4004, 1, format!("{name}_b")),
        (4005, 2, format!("{name}_b")),
    ] {
        let place = format!("127.0.0.1:{}/{database}", servers[server].port());
        rules = rules.replace(&format!("127.0.0.1:{port}/shop"), &place);
    }
    rules = rules.replace("[databases.shop]", &format!("[databases.{name}]"));
    for (number, server) in servers.iter().enumerate() {
        let mut connection = server.connect("").await;
        connection.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
        if sources.contains(&number) {
            for (table, columns) in tables {
                connection.query_drop(format!("CREATE TABLE {name}.{table} ({columns})")).await.unwrap();
            }
        }
    }
    let proxy = Proxy::start(&rules).await;
    Kind { proxy, rules, name }
}

impl Kind {
    /// What a command printed, which must have succeeded.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.proxy.command(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub async fn reaches(&self, phase: &str) {
        until(&format!("the move is {phase}"), Duration::from_secs(90), async || {
            let status = self.proxy.status();
            let of = &status["moves"][0];
            assert!(of["phase"] != "Failed", "{}", of["last_error"]);
            (of["phase"] == phase).then_some(())
        })
        .await;
    }

    pub async fn followed(&self) {
        until("the streams are followed", Duration::from_secs(20), async || {
            self.proxy.status()["moves"][0]["lag_s"].as_f64().map(|_| ())
        })
        .await;
    }

    pub async fn save(&self, lines: &str) {
        let desired = self.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
        self.proxy.save_rules(&format!("{}{lines}\n", self.rules));
        assert_eq!(self.proxy.settled(desired + 1).await, None, "{lines}");
    }
}

/// Moves there, back, and there again while clients write; finishes and cleans up.
async fn moves(file: &str, sources: &[usize]) {
    moves_on(read(file), sources).await;
}

async fn moves_on(rules: String, sources: &[usize]) {
    let kind = on(rules, sources, &tables()).await;
    let mut connection = kind.proxy.connect(&kind.name).await;
    connection.query_drop(Load::shared_rows()).await.unwrap();
    for id in 1..=300_u64 {
        let insert = format!("INSERT INTO users (id, name) VALUES ({}, 'old')", 1_000 + id * 2_999);
        connection.query_drop(insert).await.unwrap();
        let insert =
            format!("INSERT INTO orders (id, user_id, amount) VALUES ({id}, {}, 1.5)", 1_000 + id * 2_999);
        connection.query_drop(insert).await.unwrap();
    }
    let small = [
        (
            "regions",
            "INSERT INTO regions (id, name) VALUES (1, 'north'), (2, 'south')",
            "SELECT id, name FROM regions ORDER BY id",
        ),
        (
            "settings",
            "INSERT INTO settings (name, value) VALUES ('colour', 'blue')",
            "SELECT name, value FROM settings",
        ),
    ];
    let small = small.into_iter().filter(|(table, ..)| kind.rules.contains(&format!("[tables.{table}]")));
    let small: Vec<_> = small.collect();
    let mut before = Vec::new();
    for (_, insert, select) in &small {
        connection.query_drop(*insert).await.unwrap();
        before.push(rows(&mut connection, select).await.unwrap());
    }
    let options = kind.proxy.options("app", "app", &kind.name);
    let load = Load::start_as(&options, 3, Transfers::Anywhere, Manners::Rough);
    // The clients' own keys are those that leave a hot shard.
    load.more(300).await;
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    kind.run(&["move", "verify", "shop"]);
    for (lines, phase) in [
        ("writes = \"target\"\nreads = 100", "ReverseSync"),
        ("writes = \"source\"", "Synced"),
        ("writes = \"target\"\nreads = 100", "ReverseSync"),
    ] {
        load.more(50).await;
        kind.save(lines).await;
        kind.reaches(phase).await;
        kind.followed().await;
        load.more(50).await;
    }
    kind.run(&["move", "verify", "shop"]);
    kind.run(&["move", "finish", "shop"]);
    kind.reaches("Done").await;
    kind.run(&["move", "cleanup", "shop"]);
    kind.run(&["move", "cleanup", "shop", "--now"]);
    assert!(kind.run(&["move", "cleanup", "shop"]).contains("nothing is left"));
    load.more(50).await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    journal.check(&mut connection).await;
    let old = rows(&mut connection, "SELECT id FROM users WHERE name = 'old'").await.unwrap();
    assert_eq!(old.len(), 300);
    for ((_, _, select), before) in small.iter().zip(before) {
        assert_eq!(rows(&mut connection, select).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_over_many() {
    moves("1-one-table-over-many", &[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_becomes_the_first_of_many() {
    let mut rules = read("1-one-table-over-many");
    for table in ["users", "orders"] {
        let nodes = format!("[\"legacy\", \"s0.{table}_1\", \"s1.{table}_2\", \"s1.{table}_3\"]");
        rules = rules.replace(&format!("\"s{{0..1}}.{table}_{{0..3}}\""), &nodes);
    }
    moves_on(rules, &[0]).await;
}

/// Who writes to both sides holds a connection for each: one pool has room for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_share_the_smallest_pool() {
    let rules = read("1-one-table-over-many").replace("s{0..1}.", "legacy.");
    let legacy = "[backends.legacy]\n";
    let rules = rules.replace(legacy, &format!("{legacy}pool = {{ max = 1 }}\n"));
    let kind = on(rules, &[0], &tables()).await;
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    kind.save("double_write = \"strict\"").await;
    let writers = (0..8_u64).map(|writer| {
        let options = kind.proxy.options("app", "app", &kind.name);
        tokio::spawn(async move {
            let mut connection = mysql_async::Conn::new(options).await.unwrap();
            for id in (0..10).map(|round| 8 * round + writer) {
                let insert = format!("INSERT INTO users (id, name) VALUES ({id}, 'both')");
                connection.query_drop(insert).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    kind.run(&["move", "verify", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_to_another_server() {
    moves("2-tables-to-another-server", &[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_database() {
    moves("3-whole-database", &[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shards_become_four() {
    moves("4-doubling", &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shards_become_three_by_slots() {
    moves("5-smooth-by-slots", &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_shard_is_split() {
    moves("6-hot-shard", &[1, 2]).await;
}

/// Inserts rows of four months until it is told to stop; returns the ids of those that were acknowledged.
async fn visit(options: mysql_async::Opts, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<u64> {
    let mut connection = mysql_async::Conn::new(options).await.unwrap();
    let mut ids = Vec::new();
    for id in 10_000_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let at = format!("2024-{:02}-{:02} 23:59:59.{:03}", id % 4 + 1, id % 28 + 1, id % 1000);
        connection.exec_drop("INSERT INTO visits (id, at) VALUES (?, ?)", (id, at.as_str())).await.unwrap();
        connection.exec_drop("UPDATE visits SET n = n + 1 WHERE at = ?", (at,)).await.unwrap();
        ids.push(id);
        done.fetch_add(1, Ordering::Relaxed);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_get_tables_of_their_own() {
    let columns = "id BIGINT NOT NULL, at DATETIME(3) NOT NULL, n INT NOT NULL DEFAULT 0, PRIMARY KEY (id, at), KEY (at)";
    let kind = open("7-by-time", &[0], &[("visits", columns), ("guests", columns)]).await;
    let mut legacy = Cluster::get().await.legacy.connect(&kind.name).await;
    let mut connection = kind.proxy.connect(&kind.name).await;
    for id in 1..=200_u64 {
        let at = format!("2024-{:02}-{:02} 00:00:00", id % 4 + 1, id % 28 + 1);
        for table in ["visits", "guests"] {
            let insert = format!("INSERT INTO {table} (id, at) VALUES ({id}, '{at}')");
            legacy.query_drop(insert).await.unwrap();
        }
    }
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let visitor = tokio::spawn(visit(
        kind.proxy.options("app", "app", &kind.name),
        Arc::clone(&stop),
        Arc::clone(&done),
    ));
    let more = async |rows: u64| {
        let wanted = done.load(Ordering::Relaxed) + rows;
        until("visitors come", Duration::from_secs(60), async || {
            (done.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    };
    more(20).await;
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    // The stream takes rows from one month's table to another's.
    connection.query_drop("UPDATE visits SET at = '2024-04-30 23:59:59.999' WHERE id = 7").await.unwrap();
    connection
        .query_drop("DELETE FROM visits WHERE at >= '2024-02-10' AND at < '2024-02-11' AND id <= 200")
        .await
        .unwrap();
    more(20).await;
    kind.run(&["move", "verify", "shop"]);
    for (lines, phase) in [
        ("writes = \"target\"\nreads = 100", "ReverseSync"),
        ("writes = \"source\"", "Synced"),
        ("writes = \"target\"\nreads = 100", "ReverseSync"),
    ] {
        kind.save(lines).await;
        kind.reaches(phase).await;
        kind.followed().await;
        more(20).await;
    }
    stop.store(true, Ordering::Relaxed);
    let ids = visitor.await.unwrap();
    kind.run(&["move", "verify", "shop"]);
    let found: Vec<u64> =
        connection.query("SELECT id FROM visits WHERE id >= 10000 ORDER BY id").await.unwrap();
    assert_eq!(found, ids);
    let april = "SELECT COUNT(*) FROM visits_3 WHERE id = 7 AND at = '2024-04-30 23:59:59.999'";
    let mut shard = Cluster::get().await.shards[1].connect(&kind.name).await;
    assert_eq!(shard.query_first::<u64, _>(april).await.unwrap(), Some(1));
    for (number, month) in [(2, 3), (3, 4)] {
        let strays = format!("SELECT COUNT(*) FROM visits_{number} WHERE MONTH(at) <> {month}");
        assert_eq!(shard.query_first::<u64, _>(strays).await.unwrap(), Some(0));
    }
    let error = connection.query_drop("INSERT INTO visits (id, at) VALUES (1, '2024-05-01')").await;
    assert!(shardway_tests::server_error(&error.unwrap_err()).1.starts_with("SHD1238"));
}
