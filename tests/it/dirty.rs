//! Dirty keys: many of them, some of which somebody holds, and some with two spellings.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, until};

const WORDS: &str = "word VARCHAR(20) NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0, UNIQUE (word, n)";

/// A shop whose words move as well, all of them to the second server, which is down.
async fn with_words(lines: &str) -> Shop {
    let mut shop = Shop::open_moving_alone().await;
    let words = "[tables.words]\nshard_key = \"word\"\nfunction = { kind = \"hash\", shards = 2 }\n\
                 nodes = \"s1.words_{0..1}\"\n[moves.shop]";
    let rules = shop.moving_rules(lines).replace("[moves.shop]", words);
    let rules = rules.replace("tables = [\"users\"", "tables = [\"words\", \"users\"");
    shop.cluster.legacy.run(&format!("CREATE TABLE {}.words ({WORDS})", shop.name)).await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&rules);
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    shop.carry_over().await;
    shop.own().shards[1].kill9();
    shop
}

async fn dirty_keys(shop: &Shop, number: usize) {
    until(&format!("{number} keys are dirty"), Duration::from_secs(30), async || {
        (shop.of_move()["dirty_keys"] == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_that_somebody_holds_do_not_keep_the_others_back() {
    let mut shop = with_words("capture = \"none\"\ndouble_write = \"async\"").await;
    let mut connection = shop.connect().await;
    let ids = |ids: std::ops::Range<u32>| ids.map(|id| format!("({}, 'n')", 4 * id + 2)).collect::<Vec<_>>();
    for ids in [ids(0..200), ids(200..400)] {
        let insert = format!("INSERT INTO users (id, name) VALUES {}", ids.join(", "));
        connection.query_drop(insert).await.unwrap();
    }
    connection.query_drop("DELETE FROM users WHERE id BETWEEN 402 AND 802").await.unwrap();
    dirty_keys(&shop, 400).await;
    let age = |of: &Shop| of.of_move()["dirty_age_s"].as_f64();
    until("the oldest is old", Duration::from_secs(30), async || {
        age(&shop).is_some_and(|age| age > 2.0).then_some(())
    })
    .await;
    shop.proxy.kill9_and_restart().await;
    dirty_keys(&shop, 400).await;
    assert!(age(&shop) > Some(2.0), "a restart makes nothing younger");
    let mut holder = shop.cluster.legacy.connect(&shop.name).await;
    holder.query_drop("BEGIN").await.unwrap();
    // One that is there, and one that was deleted and may come back.
    holder.query_drop("UPDATE users SET name = 'held' WHERE id = 42").await.unwrap();
    holder.query_drop("INSERT INTO users (id, name) VALUES (602, 'back')").await.unwrap();
    shop.own().shards[1].restart().await;
    until("the others are healed", Duration::from_secs(30), async || {
        let there = "SELECT COUNT(*), SUM(id BETWEEN 402 AND 802) FROM users_2";
        (shop.on_shard(1, there).await == ["298|0"]).then_some(())
    })
    .await;
    assert_ne!(shop.of_move()["dirty_keys"], 0);
    holder.query_drop("COMMIT").await.unwrap();
    dirty_keys(&shop, 0).await;
    let there = "SELECT id, name FROM users_2 WHERE id IN (42, 602)";
    assert_eq!(shop.on_shard(1, there).await, ["42|held", "602|back"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn a_shard_that_is_away_keeps_back_the_keys_of_no_other() {
    let mut shop = with_words("capture = \"none\"\ndouble_write = \"async\"").await;
    let mut connection = shop.connect().await;
    // More than one pass looks at, all of them of the shard that is away.
    let away: Vec<String> = (0..12_000).map(|id| format!("({}, 'away')", 4 * id + 2)).collect();
    for some in away.chunks(3_000) {
        let insert = format!("INSERT INTO users (id, name) VALUES {}", some.join(", "));
        connection.query_drop(insert).await.unwrap();
    }
    dirty_keys(&shop, 12_000).await;
    let here = "SELECT COUNT(*), SUM(name = 'new') FROM users_1";
    let there = async |rows: &str| {
        until("the shard that is there has its rows", Duration::from_secs(30), async || {
            (shop.on_shard(0, here).await == [rows]).then_some(())
        })
        .await;
    };
    for id in 0..20 {
        let insert = format!("INSERT INTO users (id, name) VALUES ({}, 'n')", 4 * id + 1);
        connection.query_drop(insert).await.unwrap();
    }
    there("20|0").await;
    for id in 0..20 {
        let sql = match id % 2 {
            0 => format!("UPDATE users SET name = 'new' WHERE id = {}", 4 * id + 1),
            _ => format!("DELETE FROM users WHERE id = {}", 4 * id + 1),
        };
        connection.query_drop(sql).await.unwrap();
    }
    there("10|10").await;
    dirty_keys(&shop, 12_000).await;
    shop.own().shards[1].restart().await;
    dirty_keys(&shop, 0).await;
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn a_key_that_is_spelled_otherwise_is_one_row() {
    let mut shop = with_words("capture = \"none\"\ndouble_write = \"async\"").await;
    let mut connection = shop.connect().await;
    for sql in [
        "INSERT INTO words (word, n) VALUES ('one', 1), ('two', 2), ('three', 3), ('four', 4), ('five', 5)",
        "DELETE FROM words WHERE word = 'one'",
        "INSERT INTO words (word, n) VALUES ('ONE', 1)",
        "DELETE FROM words WHERE word = 'two'",
        "INSERT INTO words (word, n) VALUES ('Two', 22)",
        "DELETE FROM words WHERE word = 'four'",
    ] {
        connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    shop.own().shards[1].restart().await;
    dirty_keys(&shop, 0).await;
    let words = "SELECT word, n FROM words ORDER BY word";
    let expected = ["five|5", "ONE|1", "three|3", "Two|22"];
    assert_eq!(rows(&mut connection, words).await.unwrap(), expected);
    let mut there = shop.on_shard(1, "SELECT word, n FROM words_0").await;
    there.extend(shop.on_shard(1, "SELECT word, n FROM words_1").await);
    there.sort_by_key(|row| row.to_lowercase());
    assert_eq!(there, expected);
    shop.run(&["move", "verify", "shop"]);
}
