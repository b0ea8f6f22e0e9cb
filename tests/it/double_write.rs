//! Rows on both sides: double write, carrying over, gray reads, the switch and the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Value};
use shardway_tests::{Shop, rows, server_error, until};

/// A shop with a few rows on the legacy server, under these lines of its move.
async fn moving(lines: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name, email) VALUES (1, 'a', NULL), (2, 'b\\0\\'', ''), (3, 'ü', 'x'), (4, 'd', 'y')";
    connection.query_drop(users).await.unwrap();
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1.5), (2, 1, 2.5), (3, 4, 3)")
        .await
        .unwrap();
    shop.save(lines).await;
    (shop, connection)
}

async fn nothing_dirty(shop: &Shop) {
    until("dirty keys are healed", Duration::from_secs(30), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_write_reaches_the_other_side() {
    for mode in ["async", "sync", "strict"] {
        let (shop, mut connection) = moving(&format!("double_write = \"{mode}\"")).await;
        shop.carry_over().await;
        let writes = [
            "INSERT INTO users (id, name) VALUES (10, 'x'), (11, 'y'), (12, 'z')",
            "INSERT INTO users SET id = -7, name = 'negative'",
            "UPDATE users SET name = CONCAT(name, '!') WHERE id = 1",
            "UPDATE users u SET balance = balance + id WHERE u.region_id = 1 ORDER BY id LIMIT 3",
            "UPDATE users SET name = 'twice' WHERE id IN (10, 11)",
            "DELETE FROM users WHERE users.id = 12",
            "INSERT INTO users (id, name) VALUES (10, 'o') ON DUPLICATE KEY UPDATE name = 'odku'",
            "REPLACE INTO users (id, name) VALUES (3, 'replaced'), (30, 'new')",
            "INSERT IGNORE INTO users (id, name) VALUES (10, 'ignored'), (31, 'kept')",
            // What two servers would answer differently.
            "INSERT INTO users (id, name, born) VALUES (32, UUID(), NOW()), (33, RAND(), CURRENT_DATE)",
            "UPDATE users SET email = UUID(), balance = RAND() * 1000 WHERE id IN (1, 2, 32)",
            "INSERT INTO orders (id, user_id, amount, placed_at) VALUES (51, 2, RAND(), NOW(3)), (52, 3, 1, SYSDATE(3))",
            "UPDATE orders SET placed_at = NOW(3), note = CONCAT(UUID(), CONNECTION_ID()) WHERE user_id = 2",
            // The shard key changes: the row goes to another shard.
            "UPDATE orders SET user_id = 2 WHERE id = 1",
            "REPLACE INTO orders (id, user_id, amount) VALUES (2, 3, 9)",
            "BEGIN",
            "INSERT INTO orders (id, user_id, amount, placed_at) VALUES (50, 1, 5, '2024-02-29 12:00:00.123')",
            "UPDATE users SET born = '1999-12-31' WHERE id = 1",
            "SAVEPOINT s",
            "DELETE FROM users WHERE id = 4",
            "ROLLBACK TO s",
            "COMMIT",
            "BEGIN",
            "DELETE FROM users",
            "ROLLBACK",
        ];
        for sql in writes {
            connection.query_drop(sql).await.expect(sql);
        }
        let prepared = "UPDATE users SET name = ? WHERE id = ? AND name <> ?";
        connection.exec_drop(prepared, ("prepared", 2, "p")).await.unwrap();
        connection.exec_drop("INSERT INTO users (id, name) VALUES (?, ?)", (40, "p")).await.unwrap();
        let (since, born) =
            (Value::Date(2024, 2, 29, 11, 59, 59, 999_999), Value::Date(1999, 12, 31, 0, 0, 0, 0));
        let by_date = "UPDATE orders SET note = 'by date' WHERE placed_at > ?";
        connection.exec_drop(by_date, (since,)).await.unwrap();
        connection.exec_drop("UPDATE users SET email = 'by day' WHERE born = ?", (born,)).await.unwrap();
        assert_eq!(connection.affected_rows(), 1);
        let error = connection
            .query_drop("INSERT INTO users (id, name) VALUES (41, 'a'), (1, 'dup')")
            .await
            .unwrap_err();
        assert_eq!(server_error(&error).0, 1062);
        nothing_dirty(&shop).await;
        shop.run(&["move", "verify", "shop"]);
        assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["a!"]);
        assert_eq!(shop.on_shard(0, "SELECT name FROM users_0 WHERE id = 40").await, ["p"]);
        assert_eq!(shop.on_shard(0, "SELECT note FROM orders_1 WHERE id = 50").await, ["by date"]);
        assert_eq!(shop.on_shard(0, "SELECT email FROM users_1 WHERE id = 1").await, ["by day"]);
    }
}

/// The row is read back after its trigger; what the trigger writes elsewhere is for the stream.
#[tokio::test]
async fn what_triggers_of_the_source_do_reaches_the_other_side() {
    for mode in ["async", "sync", "strict"] {
        let lines = format!("waive = [\"trigger\", \"written_by\"]\ndouble_write = \"{mode}\"");
        let (shop, mut connection) = moving(&lines).await;
        let legacy = &shop.cluster.legacy;
        for trigger in [
            "raised BEFORE INSERT ON users FOR EACH ROW SET NEW.name = UPPER(NEW.name)",
            "counted BEFORE UPDATE ON users FOR EACH ROW SET NEW.balance = OLD.balance + 1",
            "ordered AFTER INSERT ON users FOR EACH ROW INSERT INTO orders (id, user_id, amount) VALUES (NEW.id + 1000, NEW.id, 7)",
        ] {
            let (name, rest) = trigger.split_once(' ').unwrap();
            let rest = rest.replace(" ON users", &format!(" ON {}.users", shop.name));
            legacy.run(&format!("CREATE TRIGGER {}.{name} {rest}", shop.name)).await;
        }
        shop.carry_over().await;
        for sql in [
            "INSERT INTO users (id, name) VALUES (60, 'x'), (61, 'y')",
            "UPDATE users SET name = 'again' WHERE id = 60",
            "BEGIN",
            "INSERT INTO users (id, name) VALUES (62, 'z')",
            "UPDATE users SET email = 'e' WHERE id = 62",
            "COMMIT",
        ] {
            connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{mode}: {sql}: {error}"));
        }
        shop.in_step().await;
        shop.run(&["move", "verify", "shop"]);
        let users = "SELECT name, balance FROM users_0 WHERE id = 60";
        assert_eq!(shop.on_shard(0, users).await, ["again|1.00"]);
        let orders = "SELECT user_id, amount FROM orders_2 WHERE id = 1062";
        assert_eq!(shop.on_shard(1, orders).await, ["62|7.00"]);
    }
}

#[tokio::test]
async fn what_nobody_can_name_is_left_to_the_stream() {
    let (shop, mut connection) = moving("double_write = \"sync\"").await;
    shop.carry_over().await;
    shop.save("double_write = \"sync\"\nreads = 100").await;
    let mut other = shop.connect().await;
    for (write, of, expected) in [
        ("UPDATE users SET name = 'rand' WHERE RAND() < 2", "name FROM users WHERE id = 1", "rand"),
        ("UPDATE users SET id = id + 100 WHERE id = 2", "name FROM users WHERE id = 102", "rand"),
        (
            "INSERT INTO orders (id, user_id, amount) SELECT id + 100, user_id, amount + 1 FROM orders",
            "amount FROM orders WHERE user_id = 4 AND id = 103",
            "4.00",
        ),
        (
            "UPDATE users u JOIN orders o ON o.user_id = u.id SET u.name = 'joined', o.note = 'both' WHERE u.id = 4",
            "note FROM orders WHERE user_id = 4 AND id = 3",
            "both",
        ),
    ] {
        connection.query_drop(write).await.expect(write);
        // Whoever asks next is told what was written.
        assert_eq!(rows(&mut other, &format!("SELECT {of}")).await.unwrap(), [expected], "{write}");
    }
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'named' WHERE id = 1").await.unwrap();
    connection.query_drop("UPDATE users SET balance = 5 WHERE RAND() < 2").await.unwrap();
    connection.query_drop("COMMIT").await.unwrap();
    nothing_dirty(&shop).await;
    shop.run(&["move", "verify", "shop"]);
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1 AND balance = 5").await, ["named"]);
}

#[tokio::test]
async fn what_nobody_can_name_is_refused_where_it_would_not_arrive() {
    for lines in ["double_write = \"strict\"", "capture = \"none\"\ndouble_write = \"sync\""] {
        let (shop, mut connection) = moving(lines).await;
        shop.carry_over().await;
        connection.query_drop("BEGIN").await.unwrap();
        connection.query_drop("UPDATE users SET name = 'kept' WHERE id = 1").await.unwrap();
        for write in [
            "UPDATE users SET name = 'x' WHERE RAND() < 2",
            "INSERT INTO users (id, name) SELECT id + 100, name FROM users",
        ] {
            let error = connection.query_drop(write).await.unwrap_err();
            assert!(server_error(&error).1.starts_with("SHD1410"), "{error}");
        }
        // More rows than a transaction may touch: known only once they are written.
        let rows_from = |first: u64| {
            let rows: Vec<String> = (first..first + 6_000).map(|id| format!("({id}, 'n')")).collect();
            format!("INSERT INTO users (id, name) VALUES {}", rows.join(", "))
        };
        connection.query_drop(rows_from(10_000)).await.unwrap();
        let error = connection.query_drop(rows_from(20_000)).await.unwrap_err();
        assert!(server_error(&error).1.starts_with("SHD1410"), "{error}");
        connection.query_drop("COMMIT").await.unwrap();
        nothing_dirty(&shop).await;
        assert_eq!(rows(&mut connection, "SELECT COUNT(*) FROM users WHERE id > 4").await.unwrap(), ["6000"]);
        assert_eq!(
            rows(&mut connection, "SELECT name FROM users ORDER BY id").await.unwrap()[..2],
            ["kept", "b\0'"]
        );
        shop.run(&["move", "verify", "shop"]);
    }
}

#[tokio::test]
async fn strict_writes_both_or_neither_and_sync_catches_up() {
    let (shop, mut connection) = moving("double_write = \"strict\"").await;
    shop.carry_over().await;
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    let error = connection.query_drop("UPDATE users SET name = 'no' WHERE id = 1").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1422"), "{error}");
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(), ["a"]);
    shop.save("double_write = \"sync\"\nreads = 100").await;
    connection.query_drop("UPDATE users SET name = 'yes' WHERE id = 1").await.unwrap();
    assert_eq!(shop.of_move()["dirty_keys"], 1);
    // The key is behind on the target, so its reads go to the source.
    assert_eq!(rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap(), ["yes"]);
    blocker.query_drop("ROLLBACK").await.unwrap();
    nothing_dirty(&shop).await;
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["yes"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn reads_go_over_by_percent_writes_by_switch_and_both_come_back() {
    let (shop, mut connection) = moving("double_write = \"off\"").await;
    let error = shop.refused("double_write = \"sync\"\nreads = 50").await;
    assert!(error.contains("SHD1605"), "{error}");
    shop.save("double_write = \"sync\"").await;
    shop.carry_over().await;
    // What only the target says shows who answered.
    for shard in 0..2 {
        let mut direct = shop.cluster.shards[shard].connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            direct.query_drop(format!("UPDATE users_{number} SET email = 'target'")).await.unwrap();
        }
    }
    shop.save("double_write = \"sync\"\nreads = 100\nnever = [2]").await;
    nothing_dirty(&shop).await;
    let email = "SELECT email FROM users WHERE id = ";
    assert_eq!(rows(&mut connection, &format!("{email}1")).await.unwrap(), ["target"]);
    assert_eq!(rows(&mut connection, &format!("{email}2")).await.unwrap(), [""]);
    assert_eq!(
        rows(&mut connection, "SELECT COUNT(*) FROM users WHERE email = 'target'").await.unwrap(),
        ["0"]
    );
    connection.query_drop("BEGIN").await.unwrap();
    assert_eq!(rows(&mut connection, &format!("{email}1")).await.unwrap(), ["NULL"]);
    connection.query_drop("COMMIT").await.unwrap();
    let output = shop.proxy.command(&["move", "verify", "shop"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    connection.query_drop("UPDATE users SET balance = balance + 1").await.unwrap();
    shop.run(&["move", "verify", "shop"]);
    shop.save("double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (77, 'on the target')").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'moved' WHERE id = 4").await.unwrap();
    connection.query_drop("DELETE FROM orders WHERE user_id = 4").await.unwrap();
    shop.run(&["move", "verify", "shop"]);
    shop.save("double_write = \"sync\"\nreads = 0").await;
    assert_eq!(
        rows(&mut connection, "SELECT name FROM users WHERE id = 77").await.unwrap(),
        ["on the target"]
    );
    connection.query_drop("UPDATE users SET name = 'back' WHERE id = 77").await.unwrap();
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    assert_eq!(rows(&mut legacy, "SELECT name FROM users WHERE id = 77").await.unwrap(), ["back"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn a_killed_proxy_loses_nothing_and_both_sides_are_equal_once_healed() {
    let (mut shop, connection) = moving("double_write = \"sync\"").await;
    drop(connection);
    shop.carry_over().await;
    for round in 0..3_u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for writer in 0..4_u64 {
            let (mut connection, stop) = (shop.connect().await, Arc::clone(&stop));
            writers.push(tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for step in 0.. {
                    let id = 1_000_000 * (round + 1) + writer + 4 * step;
                    let insert =
                        format!("INSERT INTO users (id, name) VALUES ({id}, 'n'), ({}, 'm')", id + 500_000);
                    if stop.load(Ordering::Relaxed) || connection.query_drop(insert).await.is_err() {
                        break;
                    }
                    acknowledged.push(id);
                    let update = format!("UPDATE users SET name = 'u' WHERE id = {id}");
                    if connection.query_drop(update).await.is_err() {
                        break;
                    }
                }
                acknowledged
            }));
        }
        until("rows are written", Duration::from_secs(20), async || {
            let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
            let sql = format!("SELECT COUNT(*) > 100 FROM users WHERE id >= {}", 1_000_000 * (round + 1));
            (rows(&mut legacy, &sql).await.unwrap() == ["1"]).then_some(())
        })
        .await;
        shop.proxy.kill9_and_restart().await;
        stop.store(true, Ordering::Relaxed);
        let mut connection = shop.connect().await;
        for writer in writers {
            for id in writer.await.unwrap() {
                let found = rows(&mut connection, &format!("SELECT COUNT(*) FROM users WHERE id = {id}"))
                    .await
                    .unwrap();
                assert_eq!(found, ["1"], "an acknowledged row is lost");
            }
        }
        nothing_dirty(&shop).await;
        shop.run(&["move", "verify", "shop"]);
    }
}

#[tokio::test]
async fn writes_do_not_go_back_over_a_restart_to_a_source_that_missed_some() {
    let (mut shop, mut connection) = moving("double_write = \"sync\"").await;
    shop.carry_over().await;
    shop.save("double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    shop.save("double_write = \"off\"\nreads = 100\nwrites = \"target\"").await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (77, 'on the target alone')").await.unwrap();
    drop(connection);
    shop.proxy.kill9();
    shop.proxy.save_rules(&shop.moving_rules("double_write = \"off\""));
    shop.proxy.restart().await;
    let status = shop.proxy.status();
    assert_eq!(status["rules"]["in_force_version"], 4);
    let why = status["rules"]["last_error"].as_str().unwrap();
    assert!(why.contains("SHD1606") && why.contains("version 4"), "{why}");
    let mut connection = shop.connect().await;
    let name = rows(&mut connection, "SELECT name FROM users WHERE id = 77").await.unwrap();
    assert_eq!(name, ["on the target alone"]);
}

#[tokio::test]
async fn in_the_background_a_target_that_is_away_is_not_noticed_and_gets_every_key_later() {
    let mut shop = Shop::open_moving_alone().await;
    let lines = "capture = \"none\"\ndouble_write = \"async\"";
    shop.save(lines).await;
    shop.carry_over().await;
    shop.save(&format!("{lines}\nreads = 100")).await;
    shop.own().shards[1].kill9();
    let mut connection = shop.connect().await;
    for hundred in 0..10 {
        let rows: Vec<String> =
            (0..100).map(|one| format!("({}, 'first')", 4 * (100 * hundred + one) + 2)).collect();
        let insert = format!("INSERT INTO users (id, name) VALUES {}", rows.join(", "));
        connection.query_drop(insert).await.unwrap();
    }
    connection.query_drop("UPDATE users SET name = 'second' WHERE id < 42").await.unwrap();
    assert_eq!(shop.of_move()["dirty_keys"], 1_000);
    drop(connection);
    // What the process knew is in the journal too.
    shop.proxy.kill9_and_restart().await;
    assert_eq!(shop.of_move()["dirty_keys"], 1_000);
    let mut connection = shop.connect().await;
    let name = "SELECT name FROM users WHERE id = 2";
    assert_eq!(rows(&mut connection, name).await.unwrap(), ["second"], "the authority answers");
    shop.own().shards[1].restart().await;
    nothing_dirty(&shop).await;
    assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["second"]);
    assert_eq!(rows(&mut connection, name).await.unwrap(), ["second"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn it_does_not_begin_over_rows_of_a_stranger() {
    let shop = Shop::open_moving().await;
    shop.on_shard(0, "INSERT INTO users_0 (id, name) VALUES (4, 'stranger')").await;
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules("double_write = \"sync\""));
    let why = shop.proxy.settled(desired + 1).await.expect("rows would be taken for the move's own");
    assert!(why.contains("PF211") && why.contains("users_0"), "{why}");
    shop.on_shard(0, "DELETE FROM users_0").await;
    // What has been refused is tried again when the file changes.
    shop.save("# again\ndouble_write = \"sync\"").await;
}
