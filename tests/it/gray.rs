//! Reads of the side that is not the authority: never older than what was written through the proxy, never further
//! behind than the rules allow, and only for the part of the application that goes over.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Value};
use shardway_tests::{Flavour, Shop, rows, until};

/// A shop that has been carried over, whose shards' users have an email that only the target says.
async fn carried_over(lines: &str) -> (Shop, Conn) {
    let shop = Shop::open_moving().await;
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')";
    connection.query_drop(users).await.unwrap();
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1.5), (2, 4, 3)")
        .await
        .unwrap();
    shop.carry_over().await;
    for shard in 0..2 {
        let mut direct = shop.cluster.shards[shard].connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            direct.query_drop(format!("UPDATE users_{number} SET email = 'target'")).await.unwrap();
        }
    }
    shop.save(lines).await;
    shop.in_step().await;
    (shop, connection)
}

async fn one(connection: &mut Conn, sql: &str) -> String {
    rows(connection, sql).await.unwrap().concat()
}

fn fallbacks(shop: &Shop, reason: &str) -> u64 {
    let metrics = shop.proxy.get("/metrics").unwrap();
    let name = format!("shardway_move_gray_fallbacks_total{{move=\"shop\",reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a counter").parse().unwrap()
}

#[tokio::test]
async fn what_was_written_is_read_though_only_the_stream_brings_it_over() {
    let (shop, mut writer) = carried_over("reads = 100").await;
    let mut reader = shop.connect().await;
    let email = "SELECT email FROM users WHERE id = 1";
    assert_eq!(one(&mut reader, email).await, "target");
    // The stream cannot write this row.
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    let name = "SELECT name FROM users WHERE id = 1";

    writer.query_drop("UPDATE users SET name = 'text' WHERE id = 1").await.unwrap();
    assert_eq!((one(&mut writer, name).await, one(&mut reader, name).await), ("text".into(), "text".into()));
    let set = "UPDATE users SET name = ? WHERE id = ?";
    writer.exec_drop(set, Params::from(("prepared", 1))).await.unwrap();
    assert_eq!(one(&mut reader, name).await, "prepared");
    for sql in ["BEGIN", "UPDATE users SET name = 'transaction' WHERE id = 1", "COMMIT"] {
        writer.query_drop(sql).await.unwrap();
    }
    assert_eq!(
        (one(&mut writer, name).await, one(&mut reader, name).await),
        ("transaction".into(), "transaction".into())
    );
    // A key that the stream does not wait for is still the target's; what every key is asked for is not.
    assert_eq!(one(&mut reader, "SELECT email FROM users WHERE id = 3").await, "target");
    assert_eq!(rows(&mut reader, "SELECT id FROM users WHERE email = 'target'").await.unwrap().len(), 0);
    // Without its key, a write may have meant any row.
    writer.query_drop("UPDATE users SET balance = 7 WHERE name = 'e'").await.unwrap();
    assert_eq!(one(&mut reader, "SELECT balance FROM users WHERE id = 5").await, "7.00");
    writer.query_drop("DELETE FROM users WHERE id = 2").await.unwrap();
    assert_eq!(one(&mut reader, "SELECT name FROM users WHERE id = 2").await, "");
    assert!(fallbacks(&shop, "dirty") > 0);

    blocker.query_drop("ROLLBACK").await.unwrap();
    shop.in_step().await;
    assert_eq!(one(&mut reader, name).await, "transaction");
    assert_eq!(one(&mut reader, "SELECT COUNT(*) FROM users WHERE id = 3 AND email = 'target'").await, "1");
}

#[tokio::test]
async fn readers_that_begin_to_use_the_target_find_what_was_written_before() {
    let (shop, mut connection) = carried_over("reads = 0").await;
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'before' WHERE id = 1").await.unwrap();
    shop.save("reads = 100").await;
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 1").await, "before");
    blocker.query_drop("ROLLBACK").await.unwrap();
    shop.in_step().await;
    assert_eq!(one(&mut connection, "SELECT email FROM users WHERE id = 3").await, "target");
}

#[tokio::test]
async fn a_target_that_is_too_far_behind_answers_no_reads() {
    let (shop, mut connection) = carried_over("reads = 100\nlag_max_ms = 2000").await;
    let email = "SELECT email FROM users WHERE id = 3";
    assert_eq!(one(&mut connection, email).await, "target");
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    // Past the proxy, so nobody has marked the key.
    let mut direct = shop.cluster.legacy.connect(&shop.name).await;
    direct.query_drop("UPDATE users SET name = 'past' WHERE id = 1").await.unwrap();
    until("the authority answers", Duration::from_secs(30), async || {
        (one(&mut connection, email).await == "NULL").then_some(())
    })
    .await;
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 1").await, "past");
    assert!(fallbacks(&shop, "lag") > 0);
    blocker.query_drop("ROLLBACK").await.unwrap();
    until("the target answers again", Duration::from_secs(30), async || {
        (one(&mut connection, email).await == "target").then_some(())
    })
    .await;
}

#[tokio::test]
async fn too_many_keys_left_to_a_stream_send_all_reads_to_the_authority_until_it_has_brought_them_over() {
    let (shop, mut connection) = carried_over("reads = 100\nlag_max_ms = 600000").await;
    let email = "SELECT email FROM users WHERE id = 3";
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM users_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    connection.query_drop("UPDATE users SET name = 'first' WHERE id = 1").await.unwrap();
    assert_eq!(one(&mut connection, email).await, "target");
    let many: Vec<String> = (10..100_010).map(|id| id.to_string()).collect();
    let many = format!("UPDATE users SET name = 'many' WHERE id IN ({})", many.join(", "));
    connection.query_drop(many).await.unwrap();
    assert_eq!(one(&mut connection, email).await, "NULL");
    let noted = shop.of_move()["dirty_keys"].as_u64().unwrap();
    for name in ["second", "third"] {
        connection.query_drop(format!("UPDATE users SET name = '{name}' WHERE id = 5")).await.unwrap();
        assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 5").await, name);
    }
    assert_eq!(shop.of_move()["dirty_keys"].as_u64(), Some(noted), "no more are noted");
    blocker.query_drop("ROLLBACK").await.unwrap();
    until("the target answers again", Duration::from_secs(30), async || {
        (one(&mut connection, email).await == "target").then_some(())
    })
    .await;
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 5").await, "third");
    shop.in_step().await;
    connection.query_drop("UPDATE users SET name = 'fourth' WHERE id = 5").await.unwrap();
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 5").await, "fourth");
}

/// Without a stream there is none to leave anything to.
#[tokio::test]
async fn nothing_is_noted_for_streams_that_do_not_follow() {
    let (shop, mut connection) = carried_over("reads = 100").await;
    let mut direct = shop.cluster.legacy.connect(&shop.name).await;
    direct.query_drop("CREATE INDEX made ON users (name)").await.unwrap();
    until("the stream has stopped", Duration::from_secs(30), async || {
        (shop.of_move()["phase"] == "Failed").then_some(())
    })
    .await;
    for name in ["away", "still"] {
        connection.query_drop(format!("UPDATE users SET name = '{name}' WHERE id = 3")).await.unwrap();
        assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 3").await, name);
    }
    assert_eq!(shop.of_move()["dirty_keys"], 0);
}

#[tokio::test]
async fn only_the_named_functions_read_from_the_target() {
    let (shop, mut app) =
        carried_over("reads = 100\nfunctions = { reads_of = [\"users\"], statements = [\"point\"] }").await;
    assert_eq!(one(&mut app, "SELECT email FROM users WHERE id = 3").await, "target");
    assert_eq!(one(&mut app, "SELECT COUNT(*) FROM users WHERE email = 'target' AND id > 0").await, "0");
    let join = "SELECT u.email FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = 1";
    assert_eq!(one(&mut app, join).await, "NULL");
    shop.save("reads = 100\nfunctions = { statements = [\"join\"] }").await;
    assert_eq!(one(&mut app, join).await, "target");
    assert_eq!(one(&mut app, "SELECT email FROM users WHERE id = 3").await, "NULL");
    shop.save("reads = 100\nfunctions = { accounts = [\"report\"] }").await;
    assert_eq!(one(&mut app, "SELECT email FROM users WHERE id = 3").await, "NULL");
    let mut report = Conn::new(shop.proxy.options("report", "report", &shop.name)).await.unwrap();
    assert_eq!(one(&mut report, "SELECT email FROM users WHERE id = 3").await, "target");
    let history = String::from_utf8(shop.proxy.command(&["rules", "history"]).stdout).unwrap();
    assert!(history.contains('4'), "{history}");
    for (lines, problem) in [
        ("functions = { reads_of = [\"regions\"] }", "is no table of this move"),
        ("functions = { statements = [\"write\"] }", "is none of point, join, scan"),
        ("capture = \"none\"\nfunctions = { writes_of = [\"users\"] }", "needs capture"),
        ("functions = { reads = [\"users\"] }", "reads_of"),
    ] {
        shop.proxy.save_rules(&shop.moving_rules(lines));
        let output = shop.proxy.command(&["check"]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(problem), "{lines}: {text}");
    }
    // Rules that name an account which has gone must still be rules that one can go back to.
    shop.save("reads = 100\nfunctions = { accounts = [\"reprot\"] }").await;
    let output = shop.proxy.command(&["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let note = "moves.shop.functions.accounts: no [[users]] is called `reprot`, so this moves nobody's reads";
    assert!(output.status.success() && text.contains(&format!("note: {note}")), "{text}");
    assert!(shop.proxy.log().contains(note));
}

#[tokio::test]
async fn only_writes_of_the_named_tables_are_doubled_and_the_stream_brings_the_others() {
    let lines = "double_write = \"sync\"\nreads = 100\nfunctions = { writes_of = [\"users\"] }";
    let (shop, mut connection) = carried_over(lines).await;
    let mut blocker = shop.cluster.shards[0].connect(&shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM orders_1 WHERE id = 1 FOR UPDATE").await.unwrap();
    // Doubled, so the target has it at once, though the stream is held up.
    connection.query_drop("UPDATE orders SET amount = 9 WHERE user_id = 1 AND id = 1").await.unwrap();
    connection.query_drop("INSERT INTO users (id, name) VALUES (9, 'doubled')").await.unwrap();
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 9").await, ["doubled"]);
    assert_eq!(shop.on_shard(0, "SELECT amount FROM orders_1 WHERE id = 1").await, ["1.50"]);
    assert_eq!(one(&mut connection, "SELECT amount FROM orders WHERE user_id = 1").await, "9.00");
    // One transaction may do both.
    for sql in [
        "BEGIN",
        "UPDATE users SET name = 'both' WHERE id = 9",
        "INSERT INTO orders (id, user_id, amount) VALUES (7, 9, 7)",
        "COMMIT",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 9").await, ["both"]);
    assert_eq!(one(&mut connection, "SELECT amount FROM orders WHERE user_id = 9").await, "7.00");
    blocker.query_drop("ROLLBACK").await.unwrap();
    shop.in_step().await;
    assert_eq!(
        shop.on_shard(0, "SELECT amount FROM orders_1 WHERE id IN (1, 7) ORDER BY id").await,
        ["9.00", "7.00"]
    );
}

#[tokio::test]
async fn rows_from_a_boundary_on_are_read_from_the_target_and_older_ones_from_the_source() {
    let history = "history = { column = \"placed_at\", since = \"2024-06-01\" }";
    let (shop, mut connection) = carried_over(&format!("reads = 100\n{history}")).await;
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount, placed_at) VALUES (11, 1, 1, '2024-05-31'), (12, 1, 2, '2024-06-01')")
        .await
        .unwrap();
    // The last rows that a stream has written are compared before a switch; those that are told apart here are older.
    let later: Vec<String> = (100..200).map(|id| format!("({id}, 5, 1)")).collect();
    let later = format!("INSERT INTO orders (id, user_id, amount) VALUES {}", later.join(", "));
    connection.query_drop(later).await.unwrap();
    shop.in_step().await;
    let mut direct = shop.cluster.shards[0].connect(&shop.name).await;
    direct.query_drop("UPDATE orders_1 SET note = 'target' WHERE user_id = 1").await.unwrap();
    let cases = [
        ("user_id = 1 AND placed_at >= '2024-06-01'", "target"),
        (
            "user_id = 1 AND placed_at > '2024-06-01 00:00:00.001' OR user_id = 1 AND placed_at = '2024-06-01'",
            "target",
        ),
        ("user_id = 1 AND placed_at BETWEEN '2024-06-01' AND '2024-07-01'", "target"),
        ("user_id = 1 AND '2024-06-01 00:00:00' <= placed_at", "target"),
        ("placed_at IN ('2024-06-01', '2024-06-02')", "target"),
        ("user_id = 1 AND placed_at >= '2024-05-31 23:59:59.999' AND id = 12", "NULL"),
        ("user_id = 1 AND (placed_at >= '2024-06-01' OR id = 12)", "NULL"),
        ("user_id = 1 AND placed_at IN ('2024-06-01', '2023-06-02')", "NULL"),
        ("user_id = 1 AND NOT placed_at < '2024-06-01'", "NULL"),
        ("user_id = 1 AND placed_at >= DATE '2024-06-01'", "target"),
        ("user_id = 1 AND placed_at >= 20240601", "NULL"),
        ("id = 12", "NULL"),
    ];
    // The rules say who owns writes; new rows are the target's all the same.
    let by_source = format!("reads = 100\n{history}");
    let by_target = format!("double_write = \"sync\"\nreads = 100\nwrites = \"target\"\n{history}");
    let reversed = format!("reads = 100\nwrites = \"target\"\n{history}");
    for lines in [&by_target, &reversed, &by_source] {
        shop.save(lines).await;
        shop.in_step().await;
        for (condition, side) in cases {
            let sql = format!("SELECT note FROM orders WHERE {condition} ORDER BY id DESC LIMIT 1");
            assert_eq!(one(&mut connection, &sql).await, side, "{lines}: {condition}");
        }
        let bound = "SELECT note FROM orders WHERE user_id = ? AND placed_at >= ?";
        for (date, side) in [((2024, 6, 1), Some("target")), ((2024, 5, 31), None)] {
            let (year, month, day) = date;
            let packed = Value::Date(year, month, day, 0, 0, 0, 0);
            for value in [packed, Value::from(format!("{year}-{month:02}-{day:02}"))] {
                let found: Vec<Option<String>> = connection.exec(bound, (1, value)).await.unwrap();
                assert_eq!(found.last().unwrap().as_deref(), side, "{lines}: {date:?}");
            }
        }
        let join = "SELECT o.note FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = 1 AND o.placed_at >= '2024-06-01'";
        assert_eq!(one(&mut connection, join).await, "NULL", "{lines}: users have no such column");
    }
    for (history, problem) in [
        ("{ column = \"placed_at\" }", "`column` and `since` are needed"),
        ("{ column = \"placed_at\", since = \"June\" }", "must be a time like"),
        ("{ column = \"note\", since = \"2024-01-01\" }", "must be a DATE or a DATETIME"),
    ] {
        let error = shop.refused(&format!("history = {history}")).await;
        assert!(error.contains(problem), "{history}: {error}");
    }
}

/// A log shows a transaction while its server still waits for a replica, and hides the rows until then.
async fn let_commits_wait(legacy: &mut Conn) {
    let names = match Flavour::chosen() {
        Flavour::MariaDb => "rpl_semi_sync_master",
        Flavour::MySql => {
            let install = "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'";
            legacy.query_drop(install).await.unwrap();
            "rpl_semi_sync_source"
        }
    };
    let no_replica = if names.ends_with("source") { "no_replica" } else { "no_slave" };
    for set in [
        format!("{names}_wait_point = AFTER_SYNC"),
        format!("{names}_timeout = 3000"),
        format!("{names}_wait_{no_replica} = ON"),
        format!("{names}_enabled = ON"),
    ] {
        legacy.query_drop(format!("SET GLOBAL {set}")).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_the_log_shows_before_its_server_does_is_not_missed() {
    let shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1.5), (2, 1, 1.5)")
        .await
        .unwrap();
    shop.carry_over().await;
    shop.save("double_write = \"sync\"\nfunctions = { writes_of = [\"users\"] }").await;
    shop.in_step().await;
    let_commits_wait(&mut shop.cluster.legacy.connect("").await).await;
    for sql in [
        "BEGIN",
        "UPDATE orders SET amount = 9 WHERE user_id = 1 AND id = 1",
        "DELETE FROM orders WHERE user_id = 1 AND id = 2",
        "COMMIT",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    shop.in_step().await;
    assert_eq!(shop.on_shard(0, "SELECT id, amount FROM orders_1 ORDER BY id").await, ["1|9.00"]);
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test]
async fn a_hint_chooses_the_side_or_is_refused() {
    let (shop, mut connection) = carried_over("reads = 0").await;
    let email = |hint: &str| {
        format!("/* shardway: {hint} */ SELECT COALESCE(email, 'source') FROM users WHERE id = 1")
    };
    assert_eq!(one(&mut connection, &email("source")).await, "source");
    assert_eq!(one(&mut connection, &email("target")).await, "target");
    for (sql, id) in [
        ("/* shardway: target */ UPDATE users SET name = 'x' WHERE id = 1", "SHD1235"),
        // The source is whole: the hint would not have kept the statement from any row.
        ("/* shardway: shard=2 */ DELETE FROM users", "SHD1111"),
        ("/* shardway: shard=2 */ SELECT name FROM settings", "SHD1111"),
        ("/* shardway: nearest */ SELECT name FROM users", "SHD1111"),
        ("EXPLAIN ROUTE /* shardway: nearest */ SELECT name FROM users", "SHD1111"),
    ] {
        let error = connection.query_drop(sql).await.expect_err(sql);
        assert!(shardway_tests::server_error(&error).1.starts_with(id), "{sql}: {error}");
    }
    assert_eq!(one(&mut connection, "SELECT name FROM users WHERE id = 5").await, "e", "nothing was deleted");
    let explained =
        rows(&mut connection, "EXPLAIN ROUTE /* shardway: source */ SELECT name FROM users").await;
    assert!(explained.unwrap()[0].starts_with("Hint /* shardway: source */"));
    shop.save("writes = \"target\"\nreads = 100").await;
    shop.reaches("ReverseSync").await;
    let name = |shard: u32| format!("/* shardway: shard={shard} */ SELECT name FROM users WHERE id = 1");
    assert_eq!(one(&mut connection, &name(1)).await, "a");
    assert_eq!(one(&mut connection, &name(2)).await, "");
    for (sql, id) in [
        ("/* shardway: shard=4 */ SELECT name FROM users", "SHD1111"),
        ("/* shardway: shard=1 */ INSERT INTO users (id, name) VALUES (9, 'x')", "SHD1234"),
        ("/* shardway: source */ UPDATE users SET name = 'x' WHERE id = 1", "SHD1235"),
    ] {
        let error = connection.query_drop(sql).await.expect_err(sql);
        assert!(shardway_tests::server_error(&error).1.starts_with(id), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_transaction_reads_from_the_authority_even_if_it_only_reads() {
    let (_shop, mut connection) = carried_over("reads = 100").await;
    let email = "SELECT COALESCE(email, 'source') FROM users WHERE id = 1";
    assert_eq!(one(&mut connection, email).await, "target");
    for begin in ["BEGIN", "START TRANSACTION READ ONLY", "SET autocommit = 0"] {
        connection.query_drop(begin).await.unwrap();
        assert_eq!(one(&mut connection, email).await, "source", "{begin}");
        connection.query_drop("COMMIT").await.unwrap();
    }
}
