//! Double write to a server that says nothing while its connections stay: writers hold rows of the source meanwhile, so
//! they do not wait for it, and what it lacks is noted.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, server_error, until};

/// Carried over, with users 1 to 8; those with even numbers are on the second shard server, and written there already, so
/// that there are connections to it.
async fn doubled(mode: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    let users: Vec<String> = (1..=8).map(|id| format!("({id}, 'old')")).collect();
    let insert = format!("INSERT INTO users (id, name) VALUES {}", users.join(", "));
    connection.query_drop(insert).await.unwrap();
    shop.carry_over().await;
    shop.save(&format!("double_write = \"{mode}\"")).await;
    connection.query_drop("UPDATE users SET name = 'warm' WHERE id IN (2, 6)").await.unwrap();
    (shop, connection)
}

/// Whatever comes of it, the client hears of it.
async fn answered(connection: &mut Conn, sql: &str) -> Result<(), mysql_async::Error> {
    let told = tokio::time::timeout(Duration::from_secs(60), connection.query_drop(sql)).await;
    told.unwrap_or_else(|_| panic!("no answer to {sql}"))
}

/// A row of the source that nobody holds.
async fn free(shop: &Shop, id: u64) -> Vec<String> {
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    rows(&mut source, &format!("SELECT name FROM users WHERE id = {id} FOR UPDATE NOWAIT")).await.unwrap()
}

async fn ends_equal(shop: &Shop) {
    until("dirty keys are healed", Duration::from_secs(90), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
}

#[tokio::test]
async fn the_source_answers_writers_while_a_target_says_nothing() {
    let (shop, mut connection) = doubled("sync").await;
    shop.cluster.shards[1].freeze();
    answered(&mut connection, "UPDATE users SET name = 'one' WHERE id = 2").await.unwrap();
    assert_eq!(free(&shop, 2).await, ["one"]);
    assert_eq!(shop.of_move()["dirty_keys"], 1);
    // On both shard servers, in a client's transaction and over a connection of another client.
    let mut other = shop.connect().await;
    for sql in ["BEGIN", "UPDATE users SET name = 'two' WHERE id IN (1, 2, 3, 6)", "COMMIT"] {
        answered(&mut other, sql).await.unwrap();
    }
    answered(&mut other, "DELETE FROM users WHERE id = 7").await.unwrap();
    assert_eq!(free(&shop, 6).await, ["two"]);
    shop.cluster.shards[1].thaw();
    ends_equal(&shop).await;
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id IN (2, 6)").await, ["two", "two"]);
    until("both sides are written again", Duration::from_secs(60), async || {
        connection.query_drop("UPDATE users SET balance = balance + 1 WHERE id = 2").await.unwrap();
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    ends_equal(&shop).await;
}

#[tokio::test]
async fn in_strict_a_target_that_says_nothing_refuses_writes() {
    let (shop, mut connection) = doubled("strict").await;
    shop.cluster.shards[1].freeze();
    let mut other = shop.connect().await;
    for _ in 0..2 {
        let refused =
            answered(&mut connection, "UPDATE users SET name = 'one' WHERE id = 2").await.unwrap_err();
        assert!(server_error(&refused).1.starts_with("SHD1422"), "{refused}");
        answered(&mut other, "BEGIN").await.unwrap();
        answered(&mut other, "UPDATE users SET name = 'one' WHERE id IN (1, 6)").await.unwrap();
        let refused = answered(&mut other, "COMMIT").await.unwrap_err();
        assert!(server_error(&refused).1.starts_with("SHD1422"), "{refused}");
    }
    for id in [2, 6] {
        assert_eq!(free(&shop, id).await, ["warm"]);
    }
    assert_eq!(free(&shop, 1).await, ["old"]);
    answered(&mut connection, "UPDATE users SET name = 'elsewhere' WHERE id = 1").await.unwrap();
    shop.cluster.shards[1].thaw();
    until("writes are accepted again", Duration::from_secs(60), async || {
        connection.query_drop("UPDATE users SET name = 'two' WHERE id = 2").await.ok()
    })
    .await;
    ends_equal(&shop).await;
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["two"]);
}

/// Streams and healing hold rows of the source while they write them to the target.
#[tokio::test]
async fn who_brings_rows_in_line_lets_go_of_them_when_the_target_says_nothing() {
    for mode in ["async", "sync"] {
        let (shop, mut connection) = doubled(mode).await;
        let mut direct = shop.cluster.legacy.connect(&shop.name).await;
        direct.query_drop("SET innodb_lock_wait_timeout = 20").await.unwrap();
        for round in 0..6 {
            // The target's row is not as the stream expects it, so that it looks at the source's.
            let spoil = "UPDATE users_2 SET name = 'spoiled' WHERE id IN (2, 6)";
            shop.cluster.shards[1].connect(&shop.name).await.query_drop(spoil).await.unwrap();
            direct.query_drop(format!("UPDATE users SET name = 'a{round}' WHERE id = 2")).await.unwrap();
            let update = format!("UPDATE users SET name = 'b{round}' WHERE id = 6");
            answered(&mut connection, &update).await.unwrap();
            // At another moment in every round.
            for _ in 0..10 * round {
                direct.query_drop("SELECT 1").await.unwrap();
            }
            shop.cluster.shards[1].freeze();
            for id in [2, 6] {
                let update = format!("UPDATE users SET name = 'c{round}' WHERE id = {id}");
                direct.query_drop(update).await.unwrap_or_else(|error| panic!("{mode} {round}: {error}"));
            }
            shop.cluster.shards[1].thaw();
        }
        shop.in_step().await;
        ends_equal(&shop).await;
    }
}

#[tokio::test]
async fn a_copy_under_locks_lets_go_of_its_rows_when_the_target_says_nothing() {
    let shop = Shop::open_moving_alone().await;
    let mut direct = shop.cluster.legacy.connect(&shop.name).await;
    let users: Vec<String> = (1..=80).map(|id| format!("({id}, 'old')")).collect();
    direct.query_drop(format!("INSERT INTO users (id, name) VALUES {}", users.join(", "))).await.unwrap();
    shop.save("copy = { locking = true, rows = 4, pause_ms = 50 }").await;
    shop.run(&["move", "start", "shop"]);
    until("some rows are copied", Duration::from_secs(30), async || {
        (shop.of_move()["rows_copied"].as_u64()? > 8).then_some(())
    })
    .await;
    shop.cluster.shards[1].freeze();
    direct.query_drop("SET innodb_lock_wait_timeout = 20").await.unwrap();
    direct.query_drop("UPDATE users SET name = 'new'").await.unwrap();
    shop.cluster.shards[1].thaw();
    shop.reaches("Synced").await;
    ends_equal(&shop).await;
}

/// Clients write, keys are being healed, and the operator's lever works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_write_is_switched_off_while_a_target_says_nothing() {
    let (shop, mut connection) = doubled("sync").await;
    let options = shop.proxy.options("app", "app", &shop.name);
    let writers: Vec<_> = (1..=8)
        .map(|id| {
            let options = options.clone();
            tokio::spawn(async move {
                let mut connection = Conn::new(options).await.unwrap();
                for round in 0..200 {
                    let update = format!("UPDATE users SET name = 'round {round}' WHERE id = {id}");
                    answered(&mut connection, &update).await.unwrap();
                }
            })
        })
        .collect();
    shop.cluster.shards[1].freeze();
    until("keys are dirty", Duration::from_secs(60), async || {
        (shop.of_move()["dirty_keys"].as_u64()? >= 4).then_some(())
    })
    .await;
    shop.save("double_write = \"off\"").await;
    answered(&mut connection, "UPDATE users SET name = 'alone' WHERE id = 4").await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    answered(&mut connection, "UPDATE users SET name = 'last' WHERE id = 2").await.unwrap();
    shop.cluster.shards[1].thaw();
    shop.in_step().await;
    ends_equal(&shop).await;
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["last"]);
}
