//! Rows under every kind of primary key are copied in tiny chunks, upwards and downwards, while they are written and the
//! proxy is killed: both sides have the same rows then, byte by byte.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Flavour, Shop, rows, until};

/// Rows of each table at first.
const ROWS: u64 = 300;

/// The tables, and what tells a row.
const TABLES: [(&str, &str); 7] = [
    ("words", "HEX(k), n"),
    ("spaces", "HEX(k), n"),
    ("bytes", "HEX(k), n"),
    ("numbers", "k, n"),
    ("mixed", "HEX(a), b, CAST(c AS CHAR), n"),
    // Without a primary key.
    ("unkeyed", "HEX(a), b, n"),
    ("own", "CAST(k AS CHAR), CAST(ip AS CHAR), n"),
];
const SHARDED: [&str; 3] = ["numbers", "mixed", "unkeyed"];

/// The same number in words that differ in case, accents, script and spaces at the end.
fn word(number: u64) -> String {
    let begins = ["Key", "kEY", "éc", "Éc", "ß", "日本", "Å", "zz", "ZZ", " "];
    let ends = ["", " ", "  "];
    format!("{}{number:04}{}", begins[number as usize % begins.len()], ends[number as usize % ends.len()])
}

/// Words of which every second is the one before with a space more.
fn spaced(number: u64) -> String {
    format!("Wört{:04}{}", number / 2, if number.is_multiple_of(2) { "" } else { " " })
}

fn bytes(number: u64) -> String {
    let ends = ["", "00", "20", "FF", "0000"];
    format!("x'{:02X}{:04X}{}'", number % 256, number, ends[number as usize % ends.len()])
}

fn number(number: u64) -> u64 {
    match number % 3 {
        0 => number,
        1 => (1 << 63) - 100 + number,
        _ => u64::MAX - number,
    }
}

fn mixed(at: u64) -> String {
    let (word, number) = (word(at / 5), number(at % 7));
    format!("'{word}', {number}, '2024-02-29 23:59:59.{:03}'", at % 5)
}

/// What only MariaDB has, and the like where it is not.
fn own(at: u64) -> String {
    let uuid = match at % 4 {
        0 => format!("{at:08x}-0000-1000-8000-{:012x}", at * 7919),
        1 => format!("0190{at:04x}-7f00-7abc-8def-0123456789ab"),
        2 => format!("{:08x}-1234-4abc-bdef-0123456789ab", u64::from(u32::MAX) - at * 104_729),
        _ => format!("00000000-0000-0000-0000-{at:012x}"),
    };
    format!("'{uuid}', '10.{}.0.1'", at % 3)
}

fn key(table: &str, at: u64) -> String {
    match table {
        "words" => format!("'{}'", word(at)),
        "spaces" => format!("'{}'", spaced(at)),
        "bytes" => bytes(at),
        "numbers" => number(at).to_string(),
        "unkeyed" => format!("'{}', {}", word(at / 3), at % 3),
        "own" => own(at),
        _ => mixed(at),
    }
}

fn insert(table: &str, from: u64, to: u64) -> String {
    let values: Vec<String> = (from..to).map(|at| format!("({}, {at})", key(table, at))).collect();
    format!("INSERT INTO {table} VALUES {}", values.join(", "))
}

/// Writes of all kinds, without a change of a shard key.
fn writes(step: u64) -> Vec<String> {
    let at = step * 37 % ROWS;
    let mut writes: Vec<String> =
        TABLES.iter().map(|(table, _)| insert(table, ROWS + step, ROWS + step + 1)).collect();
    writes.extend([
        // Found by a key in another spelling, and left in another one.
        format!("UPDATE words SET n = n + 1000 WHERE k = UPPER('{}')", word(at)),
        format!("UPDATE words SET k = LOWER(k) WHERE k = '{}'", word(at + 1)),
        format!("UPDATE spaces SET n = n + 1000 WHERE k = '{}'", spaced(at)),
        format!("DELETE FROM spaces WHERE k = '{}'", spaced(at + 1)),
        format!("UPDATE bytes SET k = CONCAT(k, x'00') WHERE k = {}", bytes(at)),
        format!("DELETE FROM bytes WHERE k = {}", bytes(at + 1)),
        format!("UPDATE numbers SET n = n + 1000 WHERE k = {}", number(at)),
        format!("DELETE FROM numbers WHERE k = {}", number(at + 1)),
        format!("UPDATE mixed SET a = UPPER(a), n = n + 1000 WHERE (a, b, c) = ({})", mixed(at)),
        format!("UPDATE mixed SET c = c + INTERVAL 1 DAY WHERE (a, b, c) = ({})", mixed(at + 1)),
        format!("DELETE FROM mixed WHERE (a, b, c) = ({})", mixed(at + 2)),
        format!("UPDATE unkeyed SET a = UPPER(a), n = n + 1000 WHERE (a, b) = ({})", key("unkeyed", at)),
        format!("DELETE FROM unkeyed WHERE (a, b) = ({})", key("unkeyed", at + 1)),
        format!("UPDATE own SET n = n + 1000 WHERE (k, ip) = ({})", own(at)),
        format!("DELETE FROM own WHERE (k, ip) = ({})", own(at + 1)),
    ]);
    writes
}

async fn shop(order: &str) -> Shop {
    let shop = Shop::open_moving().await;
    let (no_pad, uuid, inet) = match Flavour::chosen() {
        Flavour::MariaDb => ("utf8mb4_general_nopad_ci", "UUID", "INET4"),
        Flavour::MySql => ("utf8mb4_0900_ai_ci", "CHAR(36)", "VARCHAR(15)"),
    };
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for sql in [
        "CREATE TABLE words (k VARCHAR(40) NOT NULL PRIMARY KEY, n INT NOT NULL)".to_owned(),
        format!("CREATE TABLE spaces (k VARCHAR(40) COLLATE {no_pad} NOT NULL PRIMARY KEY, n INT NOT NULL)"),
        "CREATE TABLE bytes (k VARBINARY(20) NOT NULL PRIMARY KEY, n INT NOT NULL)".to_owned(),
        "CREATE TABLE numbers (k BIGINT UNSIGNED NOT NULL PRIMARY KEY, n INT NOT NULL)".to_owned(),
        "CREATE TABLE mixed (a VARCHAR(40) NOT NULL, b BIGINT UNSIGNED NOT NULL, c DATETIME(3) NOT NULL, \
         n INT NOT NULL, PRIMARY KEY (a, b, c))"
            .to_owned(),
        "CREATE TABLE unkeyed (a VARCHAR(40) NOT NULL, b BIGINT NOT NULL, n INT NOT NULL, \
         UNIQUE KEY `it's.a` (a, b), UNIQUE KEY n (n, b))"
            .to_owned(),
        format!(
            "CREATE TABLE own (k {uuid} NOT NULL, ip {inet} NOT NULL, n INT NOT NULL, PRIMARY KEY (ip, k))"
        ),
    ] {
        legacy.query_drop(sql).await.unwrap();
    }
    for (table, _) in TABLES {
        legacy.query_drop(insert(table, 0, ROWS)).await.unwrap();
    }
    let rules = shop.rules();
    let (servers, tables) = rules.split_at(rules.find("[tables.users]").unwrap());
    let regions = &tables[tables.find("[tables.regions]").unwrap()..];
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&format!(
        "{servers}{regions}\
         [tables.words]\nkind = \"single\"\nnodes = \"s0\"\n\
         [tables.spaces]\nkind = \"single\"\nnodes = \"s1\"\n\
         [tables.bytes]\nkind = \"single\"\nnodes = \"s0\"\n\
         [tables.numbers]\nshard_key = \"k\"\nfunction = {{ kind = \"mod\", shards = 4 }}\nnodes = \"s{{0..1}}.numbers_{{0..3}}\"\n\
         [tables.mixed]\nshard_key = \"b\"\nfunction = {{ kind = \"hash\", shards = 4 }}\nnodes = \"s{{0..1}}.mixed_{{0..3}}\"\n\
         [tables.unkeyed]\nshard_key = \"b\"\nfunction = {{ kind = \"mod\", shards = 4 }}\nnodes = \"s{{0..1}}.unkeyed_{{0..3}}\"\n\
         [tables.own]\nkind = \"single\"\nnodes = \"s1\"\n\
         [moves.shop]\ntables = [\"words\", \"spaces\", \"bytes\", \"numbers\", \"mixed\", \"unkeyed\", \"own\"]\nfrom = \"legacy\"\n\
         copy = {{ order = \"{order}\", rows = 7, parallel = 3, pause_ms = 30 }}\n"
    ));
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    shop
}

/// All rows of a table on the target, in the order of their text.
async fn carried(shop: &Shop, table: &str, what: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (shard, number) in [(0, 0), (0, 1), (1, 2), (1, 3)] {
        let name = if SHARDED.contains(&table) { format!("{table}_{number}") } else { table.to_owned() };
        let is_home = match table {
            "words" | "bytes" => number == 0,
            "spaces" | "own" => number == 2,
            _ => true,
        };
        if is_home {
            all.extend(shop.on_shard(shard, &format!("SELECT {what} FROM {name}")).await);
        }
    }
    all.sort();
    all
}

async fn ends_equal(shop: &Shop) {
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for (table, what) in TABLES {
        let mut here = rows(&mut legacy, &format!("SELECT {what} FROM {table}")).await.unwrap();
        here.sort();
        assert!(here.len() > 200, "{table}: {} rows", here.len());
        let there = carried(shop, table, what).await;
        assert!(
            here == there,
            "{table}: {} rows here, {} there: {here:?} {there:?}",
            here.len(),
            there.len()
        );
    }
}

async fn is_copied(order: &str) {
    let mut shop = shop(order).await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    shop.run(&["move", "start", "shop"]);
    let mut step = 0;
    // Killed twice: while a table is begun, and while it is about to end.
    for copied in [100, 900] {
        until("some rows are copied", Duration::from_secs(60), async || {
            for sql in writes(step) {
                legacy.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            step += 1;
            let of = shop.of_move();
            assert_ne!(of["phase"], "Failed", "{}", of["last_error"]);
            (of["rows_copied"].as_u64().unwrap() >= copied || of["phase"] == "Synced").then_some(())
        })
        .await;
        assert_eq!(shop.of_move()["phase"], "Copy");
        shop.proxy.kill9_and_restart().await;
    }
    shop.reaches("Synced").await;
    for _ in 0..20 {
        for sql in writes(step) {
            legacy.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        step += 1;
    }
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    ends_equal(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_under_any_primary_key_are_copied_upwards() {
    is_copied("asc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_under_any_primary_key_are_copied_downwards() {
    is_copied("desc").await;
}
