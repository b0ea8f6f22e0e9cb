//! What must hold before writes go to the other side.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows, until};

const THERE: &str = "writes = \"target\"";
const BACK: &str = "writes = \"source\"";

/// With its rows carried over, under these lines of its move.
async fn carried(shop: Shop, lines: &str) -> Shop {
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')";
    connection.query_drop(users).await.unwrap();
    if !lines.is_empty() {
        shop.save(lines).await;
    }
    shop.carry_over().await;
    shop.followed().await;
    shop
}

#[tokio::test]
async fn a_comparison_that_found_differences_keeps_writes_where_they_are() {
    let shop = carried(Shop::open_moving().await, "").await;
    let verify = ["move", "verify", "shop"];
    shop.on_shard(0, "UPDATE users_1 SET name = 'drifted' WHERE id = 1").await;
    assert!(!shop.proxy.command(&verify).status.success());
    let why = shop.refused(THERE).await;
    assert!(why.contains("SHD1610") && why.contains("1 rows that differ"), "{why}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&verify);
    shop.save(&format!("# repaired\n{THERE}")).await;
    shop.reaches("ReverseSync").await;
    shop.followed().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("DELETE FROM users WHERE id = 2").await.unwrap();
    assert!(!shop.proxy.command(&verify).status.success());
    let why = shop.refused(BACK).await;
    assert!(why.contains("SHD1610"), "{why}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&verify);
    shop.save(&format!("# repaired\n{BACK}")).await;
    shop.reaches("Synced").await;
    assert_eq!(rows(&mut legacy, "SELECT name FROM users WHERE id < 3").await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_comparison_grows_too_old_for_the_way_there_alone() {
    let shop = carried(Shop::open_moving().await, "").await;
    let verified = shop.of_move()["last_verify"]["finished_at"].as_u64().unwrap();
    until("the comparison is two seconds old", Duration::from_secs(10), async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now.as_secs() > verified + 1).then_some(())
    })
    .await;
    let why = shop.refused(&format!("verify = {{ max_age = \"1 s\" }}\n{THERE}")).await;
    assert!(why.contains("SHD1610") && why.contains("verify.max_age is 1 s"), "{why}");
    shop.save(THERE).await;
    shop.reaches("ReverseSync").await;
    let of = shop.of_move();
    let evidence = &of["last_switch"]["evidence"];
    assert_eq!(evidence["version"], of["in_force_version"]);
    assert_eq!(evidence["verified_at"], verified);
    assert_eq!((&evidence["dirty_keys"], &evidence["mismatches"]), (&0.into(), &0.into()));
    assert!(evidence["lag_ms"].is_u64() && evidence["verify"].is_string(), "{evidence}");
    shop.followed().await;
    shop.save(&format!("verify = {{ max_age = \"1 s\" }}\n{BACK}")).await;
}

#[tokio::test]
async fn writes_do_not_go_where_they_could_not_come_back_from() {
    let shop = carried(Shop::open_moving_alone().await, "").await;
    let target = &shop.cluster.shards[1];
    for (set, unset, found) in [
        ("binlog_row_image = MINIMAL", "binlog_row_image = FULL", "binlog_row_image is MINIMAL"),
        ("binlog_format = STATEMENT", "binlog_format = ROW", "binlog_format is STATEMENT"),
        ("read_only = ON", "read_only = OFF", "read_only is ON"),
    ] {
        target.run(&format!("SET GLOBAL {set}")).await;
        let why = shop.refused(&format!("# {set}\n{THERE}")).await;
        assert!(why.contains("SHD1611") && why.contains(found), "{set}: {why}");
        target.run(&format!("SET GLOBAL {unset}")).await;
    }
    shop.save(THERE).await;
    shop.reaches("ReverseSync").await;
}

/// A write through the proxy, once the shard has it, and then changed there behind everybody's back.
async fn changed_behind(shop: &Shop, id: u64, connection: &mut Conn) {
    let (place, name) = (id % 4, format!("lately {id}"));
    let shard = usize::try_from(place / 2).unwrap();
    let update = format!("UPDATE users SET name = '{name}' WHERE id = {id}");
    connection.query_drop(update).await.unwrap();
    until("the shard has it", Duration::from_secs(30), async || {
        let found = shop.on_shard(shard, &format!("SELECT name FROM users_{place} WHERE id = {id}")).await;
        (found == [name.clone()]).then_some(())
    })
    .await;
    shop.on_shard(shard, &format!("UPDATE users_{place} SET email = 'other' WHERE id = {id}")).await;
}

#[tokio::test]
async fn a_row_that_was_written_last_and_differs_undoes_the_switch() {
    let shop = carried(Shop::open_moving().await, "").await;
    let mut connection = shop.connect().await;
    changed_behind(&shop, 1, &mut connection).await;
    let differs = format!("{}.users 1: different in email", shop.name);
    let why = shop.refused(THERE).await;
    assert!(why.contains("SHD1613") && why.contains(&differs), "{why}");
    let of = shop.of_move();
    assert_eq!(
        (&of["writes"], &of["phase"], &of["mismatches"]),
        (&"source".into(), &"Synced".into(), &1.into())
    );
    assert_eq!(of["last_verify"]["mode"], "touched");
    // It stays known when other rows are the last ones.
    for id in 100..200 {
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'more')")).await.unwrap();
    }
    let why = shop.refused(&format!("# again\n{THERE}")).await;
    assert!(why.contains("SHD1610"), "{why}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    shop.save(&format!("# repaired\n{THERE}")).await;
    shop.reaches("ReverseSync").await;
    let touched = shop.of_move()["last_switch"]["evidence"]["touched"].clone();
    assert!(touched["rows"].as_u64() >= Some(64) && touched["ms"].is_u64(), "{touched}");
    let ids = rows(&mut connection, "SELECT id FROM users").await.unwrap();
    assert_eq!(ids.len(), 104, "everything that was acknowledged is there");
    // On the way back it is the source that must have it.
    shop.followed().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    connection.query_drop("UPDATE users SET name = 'back' WHERE id = 2").await.unwrap();
    until("the source has it", Duration::from_secs(30), async || {
        let name = rows(&mut legacy, "SELECT name FROM users WHERE id = 2").await.unwrap();
        (name == ["back"]).then_some(())
    })
    .await;
    legacy.query_drop("DELETE FROM users WHERE id = 2").await.unwrap();
    let why = shop.refused(BACK).await;
    assert!(why.contains("SHD1613") && why.contains("users 2: missing"), "{why}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    shop.save(&format!("# repaired\n{BACK}")).await;
    shop.reaches("Synced").await;
}

#[tokio::test]
async fn what_double_write_wrote_last_is_compared_where_no_stream_follows() {
    let lines = "capture = \"none\"\ndouble_write = \"strict\"";
    let shop = Shop::open_moving().await;
    shop.save(lines).await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    shop.carry_over().await;
    changed_behind(&shop, 2, &mut connection).await;
    let why = shop.refused(&format!("{lines}\n{THERE}")).await;
    assert!(why.contains("SHD1613") && why.contains("users 2: different in email"), "{why}");
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    shop.save(&format!("{lines}\n{THERE}\n# repaired")).await;
    shop.reaches("ReverseSync").await;
    assert_eq!(shop.of_move()["last_switch"]["evidence"]["touched"]["rows"], 2);
}

#[tokio::test]
async fn a_switch_whose_last_rows_cannot_be_compared_in_time_is_undone() {
    let shop = carried(Shop::open_moving_alone().await, "hold_ms = 5000").await;
    let mut connection = shop.connect().await;
    connection.query_drop("UPDATE users SET name = 'lately' WHERE id = 1").await.unwrap();
    until("the shard has it", Duration::from_secs(30), async || {
        (shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await == ["lately"]).then_some(())
    })
    .await;
    let there = format!("hold_ms = 5000\n{THERE}");
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    shop.proxy.stop_at("Drain");
    let lock = async {
        shop.proxy.is_at("Drain", 1).await;
        blocker.query_drop("LOCK TABLES users_1 WRITE").await.unwrap();
        shop.proxy.go_on();
    };
    let (why, ()) = tokio::join!(shop.refused(&there), lock);
    assert!(why.contains("SHD1613") && why.contains("had not ended after 5000 ms"), "{why}");
    assert_eq!(shop.of_move()["writes"], "source");
    blocker.query_drop("UNLOCK TABLES").await.unwrap();
    shop.save(&format!("{there}\n# unlocked")).await;
    shop.reaches("ReverseSync").await;
    let name = rows(&mut connection, "SELECT name FROM users WHERE id = 1").await.unwrap();
    assert_eq!(name, ["lately"]);
}

/// Of a transaction that was prepared before its server ended, no lock of a table knows.
#[tokio::test]
async fn a_prepared_transaction_is_waited_for_even_over_a_restart() {
    let mut shop = carried(Shop::open_moving_alone().await, "hold_ms = 1000").await;
    let there = format!("hold_ms = 1000\n{THERE}");
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for sql in [
        "XA START 'transfer'",
        "UPDATE users SET name = 'prepared' WHERE id = 3",
        "INSERT INTO users (id, name) VALUES (30, 'prepared')",
        "XA END 'transfer'",
        "XA PREPARE 'transfer'",
    ] {
        legacy.query_drop(sql).await.unwrap();
    }
    drop(legacy);
    let why = shop.refused(&there).await;
    assert!(why.contains("not ended"), "{why}");
    shop.own().legacy.kill9();
    shop.own().legacy.restart().await;
    until("the source is followed again", Duration::from_secs(60), async || {
        let of = shop.of_move();
        (of["phase"] == "Synced" && of["lag_s"].is_f64() && of["waits_for"].is_null()).then_some(())
    })
    .await;
    let why = shop.refused(&format!("{there}\nreads = 1")).await;
    assert!(why.contains("not ended"), "{why}");
    shop.cluster.legacy.run("XA COMMIT 'transfer'").await;
    shop.save(&format!("hold_ms = 10000\n{THERE}")).await;
    shop.reaches("ReverseSync").await;
    let mut connection = shop.connect().await;
    let names = rows(&mut connection, "SELECT name FROM users WHERE id IN (3, 30)").await.unwrap();
    assert_eq!(names, ["prepared", "prepared"]);
    shop.followed().await;
    shop.run(&["move", "verify", "shop"]);
}
