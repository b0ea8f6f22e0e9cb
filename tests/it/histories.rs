//! Changes drawn by chance, written to the source past the proxy while its rows are copied and followed: primary keys, shard
//! keys and unique values change hands, and some transactions are taken back. Both sides have the same rows in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Chance, Flavour, Shop, rows, server_error, until};

/// Names the course of a run, to see it again.
const SEED: &str = "SHARDWAY_HISTORY_SEED";
const WRITERS: u64 = 3;
const IDS: usize = 60;
const OWNERS: usize = 8;
/// A unique value has no more rows than its owner has codes, so they meet often.
const CODES: usize = 6;

const ITEMS: &str =
    "id BIGINT NOT NULL PRIMARY KEY, owner BIGINT NOT NULL, code INT NOT NULL, v INT NOT NULL DEFAULT 0";

/// The unique key, which no column tells where the server has keys on expressions.
fn unique() -> &'static str {
    match Flavour::chosen() {
        Flavour::MariaDb => "UNIQUE (owner, code)",
        Flavour::MySql => "UNIQUE ((CONCAT(owner, '-', code)))",
    }
}

async fn shop() -> Shop {
    let shop = Shop::open_moving().await;
    let items = "[tables.items]\nshard_key = \"owner\"\nfunction = { kind = \"mod\", shards = 4 }\n\
                 nodes = \"s{0..1}.items_{0..3}\"\n[moves.shop]";
    let lines =
        "copy = { rows = 3, parallel = 2 }\napply = { parallel = 4, batch_rows = 20 }\nwaive = [\"PF209\"]";
    let rules = shop.moving_rules(lines).replace("[moves.shop]", items);
    let rules = rules.replace("tables = [\"users\"", "tables = [\"items\", \"users\"");
    shop.cluster.legacy.run(&format!("CREATE TABLE {}.items ({ITEMS}, {})", shop.name, unique())).await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&rules);
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    shop
}

/// A statement, or several that belong together.
fn drawn(chance: &mut Chance) -> Vec<String> {
    let (id, other, owner, code) =
        (chance.below(IDS), chance.below(IDS), chance.below(OWNERS), chance.below(CODES));
    let v = chance.below(1_000);
    let one = |sql: String| vec![sql];
    match chance.below(12) {
        0 | 1 => one(format!("INSERT INTO items VALUES ({id}, {owner}, {code}, {v})")),
        2 => one(format!("REPLACE INTO items VALUES ({id}, {owner}, {code}, {v})")),
        3 => one(format!(
            "INSERT INTO items VALUES ({id}, {owner}, {code}, {v}) ON DUPLICATE KEY UPDATE v = v + 1, code = {code}"
        )),
        4 => one(format!("UPDATE items SET v = {v} WHERE id = {id}")),
        5 => one(format!("UPDATE items SET owner = {owner} WHERE id = {id}")),
        6 => one(format!("UPDATE items SET code = {code} WHERE id = {id}")),
        7 => one(format!("UPDATE items SET id = {other} WHERE id = {id}")),
        8 => one(format!("UPDATE items SET v = v + 1 WHERE owner = {owner}")),
        9 => one(format!("DELETE FROM items WHERE id IN ({id}, {other})")),
        // A unique value goes from one row to another.
        10 => vec![
            format!("UPDATE items SET code = 100 + {id} WHERE id = {id}"),
            format!("UPDATE items SET owner = {owner}, code = {code} WHERE id = {other}"),
            format!("UPDATE items SET owner = {owner}, code = (code + 1) % {CODES} WHERE id = {id}"),
        ],
        _ => vec![
            format!("DELETE FROM items WHERE owner = {owner} AND code = {code}"),
            format!("INSERT INTO items VALUES ({id}, {owner}, {code}, {v})"),
        ],
    }
}

async fn write(mut connection: Conn, mut chance: Chance, goes_on: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    while goes_on.load(Ordering::Relaxed) {
        connection.query_drop("BEGIN").await.unwrap();
        let mut end = if chance.below(6) == 0 { "ROLLBACK" } else { "COMMIT" };
        'transaction: for _ in 0..=chance.below(3) {
            for sql in drawn(&mut chance) {
                if let Err(error) = connection.query_drop(&sql).await {
                    let code = server_error(&error).0;
                    assert!([1062, 1205, 1213].contains(&code), "{sql}: {error}");
                    end = "ROLLBACK";
                    break 'transaction;
                }
            }
        }
        connection.query_drop(end).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_drawn_by_chance_ends_with_the_same_rows() {
    let seed = Chance::drawn(SEED);
    println!("{SEED}={seed}");
    let shop = shop().await;
    let (goes_on, written) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let connection = shop.cluster.legacy.connect(&shop.name).await;
        let chance = Chance::new(seed.wrapping_add(writer));
        writers.push(tokio::spawn(write(connection, chance, Arc::clone(&goes_on), Arc::clone(&written))));
    }
    let more = async |transactions: u64| {
        let until_there = written.load(Ordering::Relaxed) + transactions;
        until("the writers go on", Duration::from_secs(60), async || {
            (written.load(Ordering::Relaxed) >= until_there).then_some(())
        })
        .await;
    };
    more(100).await;
    shop.carry_over().await;
    more(300).await;
    shop.run(&["move", "verify", "shop"]);
    more(300).await;
    goes_on.store(false, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    shop.in_step().await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    let columns = "SELECT id, owner, code, v FROM";
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let mut expected = rows(&mut legacy, &format!("{columns} items")).await.unwrap();
    let mut there = Vec::new();
    for table in 0..4 {
        let home = format!("{columns} items_{table} WHERE MOD(owner, 4) = {table}");
        there.extend(shop.on_shard(table / 2, &home).await);
    }
    expected.sort();
    there.sort();
    assert!(!expected.is_empty());
    assert_eq!(there, expected, "{SEED}={seed}");
}
