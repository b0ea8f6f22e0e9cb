//! Moves whose source has no log and is followed by a column with stamps: what they carry, what they cannot see, and that no
//! switch believes in more than that.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::load::{Load, Transfers};
use shardway_tests::{Shop, until};

const LINES: &str = "capture = \"timestamp\"\ncolumn = \"changed\"\nhold_ms = 20000\nrepair.cap = 100000";
const SWITCHED: &str = "writes = \"target\"\nreads = 100";
/// A debug build takes its time over rows that it has read before.
const NARROW: &str = "apply.overlap = \"5s\"";
const STAMP: &str = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)";

fn lines(more: &str) -> String {
    format!("{LINES}\n{more}")
}

/// A shop whose tables have stamps of that type, with some rows.
async fn stamped(stamp: &str, lines: &str, users: u64) -> Shop {
    let shop = Shop::open_moving_with(&["--skip-log-bin"]).await;
    let mut tables =
        vec![(&shop.cluster.legacy, "users".to_owned()), (&shop.cluster.legacy, "orders".into())];
    for number in 0..4 {
        let shard = &shop.cluster.shards[number / 2];
        tables.extend([(shard, format!("users_{number}")), (shard, format!("orders_{number}"))]);
    }
    for (server, table) in tables {
        let mut connection = server.connect(&shop.name).await;
        let alter = format!("ALTER TABLE {table} ADD changed {stamp}, ADD KEY (changed)");
        connection.query_drop(alter).await.unwrap();
    }
    let mut legacy = legacy(&shop).await;
    legacy.query_drop(Load::shared_rows()).await.unwrap();
    let rows = |row: fn(u64) -> String| (1..=users).map(row).collect::<Vec<_>>().join(", ");
    let users = rows(|id| format!("({}, 'old')", 1_000 + id));
    legacy.query_drop(format!("INSERT INTO users (id, name) VALUES {users}")).await.unwrap();
    let orders = rows(|id| format!("({id}, {}, 1.5)", 1_000 + id));
    legacy.query_drop(format!("INSERT INTO orders (id, user_id, amount) VALUES {orders}")).await.unwrap();
    shop.save(lines).await;
    shop
}

async fn legacy(shop: &Shop) -> Conn {
    shop.cluster.legacy.connect(&shop.name).await
}

/// Until a shard's answer is so.
async fn shows(shop: &Shop, shard: usize, sql: &str, expected: &[&str]) {
    until(&format!("{sql} is {expected:?}"), Duration::from_secs(30), async || {
        (shop.on_shard(shard, sql).await == expected).then_some(())
    })
    .await;
}

/// Until everything that was committed before has been applied.
async fn passed(shop: &Shop) {
    // A row that is written now, seen on the target.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(900_000);
    let id = 4 * NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut legacy = legacy(shop).await;
    legacy.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'mark')")).await.unwrap();
    shows(shop, 0, &format!("SELECT name FROM users_0 WHERE id = {id}"), &["mark"]).await;
}

fn refused(shop: &Shop, arguments: &[&str]) -> String {
    let output = shop.proxy.command(arguments);
    assert!(!output.status.success(), "{arguments:?} is done");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Why rules with these lines do not take effect.
async fn not_in_force(shop: &Shop, lines: &str) -> String {
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules(lines));
    shop.proxy.settled(desired + 1).await.unwrap_or_else(|| panic!("{lines} is in force"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_table_goes_over_by_its_stamps_and_comes_back_by_the_targets_logs() {
    let shop = stamped(STAMP, &lines(NARROW), 2_000).await;
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 2, Transfers::WithinShard);
    shop.carry_over().await;
    let status = shop.of_move();
    assert!(status["degraded"].as_str().unwrap().contains("`changed`"), "{status}");
    assert!(status["lag_s"].as_f64().is_some(), "{status}");
    let told = String::from_utf8(shop.proxy.command(&["move", "status", "shop"]).stdout).unwrap();
    assert!(told.contains("degraded: followed by `changed`"), "{told}");
    load.more(100).await;
    assert!(not_in_force(&shop, &lines("reads = 10")).await.contains("SHD1607"));
    let (here, there) = (lines(NARROW), lines(&format!("{NARROW}\n{SWITCHED}")));
    shop.save(&there).await;
    assert!(shop.of_move()["degraded"].is_null());
    load.more(100).await;
    shop.run(&["move", "verify", "shop"]);
    shop.followed().await;
    shop.save(&here).await;
    load.more(100).await;
    shop.followed().await;
    shop.save(&there).await;
    load.more(50).await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_by_stamps_goes_on_where_it_was_after_each_crash() {
    let slowly = "copy.rows = 100\ncopy.parallel = 2\ncopy.pause_ms = 100";
    let mut shop = stamped(STAMP, &lines(&format!("{NARROW}\n{slowly}")), 3_000).await;
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 1, Transfers::WithinShard);
    shop.run(&["move", "start", "shop"]);
    let copied = |shop: &Shop| shop.of_move()["rows_copied"].as_u64().unwrap();
    until("rows are copied", Duration::from_secs(60), async || (copied(&shop) >= 600).then_some(())).await;
    shop.proxy.kill9_and_restart().await;
    let after = copied(&shop);
    assert!(after == 0 || after >= 400, "the copy begins anew at {after}");
    shop.reaches("Synced").await;
    shop.proxy.kill9();
    let mut source = legacy(&shop).await;
    source.query_drop("UPDATE users SET name = 'while it was away' WHERE id = 1004").await.unwrap();
    shop.proxy.restart().await;
    shows(&shop, 0, "SELECT name FROM users_0 WHERE id = 1004", &["while it was away"]).await;
    for step in ["Drain", "Unfollow", "Journal"] {
        shop.save(&format!("{}\n# before {step}", lines(NARROW))).await;
        shop.proxy.stop_at(step);
        shop.proxy.save_rules(&shop.moving_rules(&lines(&format!("{NARROW}\n{SWITCHED}"))));
        shop.proxy.is_at(step, 1).await;
        shop.proxy.kill9();
        shop.proxy.go_on();
        shop.proxy.restart().await;
        until("the move goes on", Duration::from_secs(60), async || {
            let of = shop.of_move();
            let is_followed = of["lag_s"].as_f64().is_some();
            (is_followed && (of["phase"] == "Synced" || of["phase"] == "ReverseSync")).then_some(())
        })
        .await;
    }
    shop.save(&lines(&format!("{NARROW}\n{SWITCHED}\n# again"))).await;
    load.more(50).await;
    let journal = load.stop().await;
    shop.run(&["move", "verify", "shop"]);
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_committed_late_comes_within_the_overlap_and_by_comparison_beyond() {
    for stamp in [STAMP, "DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"] {
        let shop = stamped(stamp, &lines(""), 20).await;
        shop.carry_over().await;
        let mut late = legacy(&shop).await;
        late.query_drop("BEGIN").await.unwrap();
        let insert = |id: u64, ago: u64| {
            format!(
                "INSERT INTO users (id, name, changed) VALUES ({id}, 'late', NOW() - INTERVAL {ago} SECOND)"
            )
        };
        late.query_drop(insert(2_000, 30)).await.unwrap();
        late.query_drop(insert(2_004, 3_600)).await.unwrap();
        // Later stamps have been read.
        passed(&shop).await;
        assert_eq!(
            shop.on_shard(0, "SELECT id FROM users_0 WHERE name = 'late'").await,
            Vec::<String>::new()
        );
        late.query_drop("COMMIT").await.unwrap();
        shows(&shop, 0, "SELECT id FROM users_0 WHERE id = 2000", &["2000"]).await;
        passed(&shop).await;
        assert_eq!(shop.on_shard(0, "SELECT id FROM users_0 WHERE name = 'late'").await, ["2000"]);
        let found = refused(&shop, &["move", "verify", "shop"]);
        assert!(found.contains("2004") && found.contains("missing"), "{found}");
        shop.run(&["move", "repair", "shop"]);
        assert_eq!(shop.on_shard(0, "SELECT id FROM users_0 WHERE id = 2004").await, ["2004"]);
        shop.run(&["move", "verify", "shop"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_leaves_its_old_shard_and_unique_values_change_hands() {
    let shop = stamped(STAMP, &lines(""), 20).await;
    let mut source = legacy(&shop).await;
    source.query_drop("ALTER TABLE users ADD UNIQUE (email)").await.unwrap();
    for number in 0..4 {
        let mut shard = shop.cluster.shards[number / 2].connect(&shop.name).await;
        shard.query_drop(format!("ALTER TABLE users_{number} ADD UNIQUE (email)")).await.unwrap();
    }
    source.query_drop("UPDATE users SET email = CONCAT(id, '@x')").await.unwrap();
    let waived = lines("waive = [\"unique_across_shards\"]");
    shop.save(&waived).await;
    shop.carry_over().await;
    // From 1004 (users_0) to 1005 (users_1), and on to another server.
    source.query_drop("UPDATE orders SET user_id = 1005 WHERE id = 4").await.unwrap();
    shows(&shop, 0, "SELECT user_id FROM orders_1 WHERE id = 4", &["1005"]).await;
    assert_eq!(shop.on_shard(0, "SELECT id FROM orders_0 WHERE id = 4").await, Vec::<String>::new());
    source.query_drop("UPDATE orders SET user_id = 1006 WHERE id = 4").await.unwrap();
    shows(&shop, 1, "SELECT user_id FROM orders_2 WHERE id = 4", &["1006"]).await;
    shows(&shop, 0, "SELECT id FROM orders_1 WHERE id = 4", &[]).await;
    // A value that was freed by a deletion nobody saw, and two that are exchanged.
    for sql in [
        "DELETE FROM users WHERE id = 1004",
        "INSERT INTO users (id, name, email) VALUES (1024, 'new', '1004@x')",
        "BEGIN",
        "UPDATE users SET email = 'none' WHERE id = 1008",
        "UPDATE users SET email = '1008@x' WHERE id = 1012",
        "UPDATE users SET email = '1012@x' WHERE id = 1008",
        "COMMIT",
    ] {
        source.query_drop(sql).await.unwrap();
    }
    let asked = "SELECT id FROM users_0 WHERE email IN ('1004@x', '1008@x', '1012@x') ORDER BY email";
    shows(&shop, 0, asked, &["1024", "1012", "1008"]).await;
    shop.run(&["move", "verify", "shop"]);
    // A deletion is there until the switch has looked.
    source.query_drop("DELETE FROM users WHERE id IN (1016, 1017)").await.unwrap();
    passed(&shop).await;
    assert_eq!(shop.on_shard(0, "SELECT id FROM users_0 WHERE id = 1016").await, ["1016"]);
    let capped = waived.replace("repair.cap = 100000", "repair.cap = 1");
    shop.save(&capped).await;
    let why = not_in_force(&shop, &format!("{capped}\n{SWITCHED}")).await;
    assert!(why.contains("SHD1608") && why.contains("2 rows differ"), "{why}");
    assert_eq!(shop.of_move()["phase"], "Synced");
    shop.save(&waived).await;
    shop.save(&format!("{waived}\n{SWITCHED}")).await;
    assert_eq!(shop.on_shard(0, "SELECT id FROM users_0 WHERE id = 1016").await, Vec::<String>::new());
    shop.run(&["move", "verify", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gray_reads_wait_for_double_write_and_a_comparison_after_it() {
    let shop = stamped(STAMP, &lines(NARROW), 200).await;
    shop.carry_over().await;
    let mut source = legacy(&shop).await;
    source.query_drop("DELETE FROM users WHERE id = 1100").await.unwrap();
    let doubled = lines(&format!("{NARROW}\ndouble_write = \"sync\""));
    shop.save(&doubled).await;
    let load = Load::start_with(&shop.proxy.options("app", "app", &shop.name), 2, Transfers::WithinShard);
    let gray = format!("{doubled}\nreads = 100");
    assert!(not_in_force(&shop, &gray).await.contains("SHD1605"));
    shop.save(&format!("{doubled}\n# as before")).await;
    shop.run(&["move", "repair", "shop"]);
    shop.run(&["move", "verify", "shop"]);
    shop.save(&gray).await;
    let gone: Option<u64> =
        shop.connect().await.query_first("SELECT id FROM users WHERE id = 1100").await.unwrap();
    assert_eq!(gone, None);
    // Deletions that nobody can name cannot be left to the stamps.
    let unnamed = "DELETE users FROM users JOIN orders ON orders.user_id = users.id WHERE orders.user_id = 1101 AND users.id = 1101";
    let error = shop.connect().await.query_drop(unnamed).await.unwrap_err();
    assert!(error.to_string().contains("SHD1410"), "{error}");
    load.more(100).await;
    // What others write comes by its stamp, over newer rows of nobody.
    source.query_drop("UPDATE users SET name = 'by others' WHERE id = 1104").await.unwrap();
    shows(&shop, 0, "SELECT name FROM users_0 WHERE id = 1104", &["by others"]).await;
    shop.save(&format!("{doubled}\n{SWITCHED}")).await;
    load.more(50).await;
    let journal = load.stop().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    shop.run(&["move", "verify", "shop"]);
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_does_not_tell_when_a_row_was_written_is_refused() {
    for (stamp, finding) in [
        ("DATE NOT NULL DEFAULT '2024-01-01'", "PF213"),
        ("TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", "PF213"),
        ("TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP", "PF215"),
    ] {
        let shop = stamped(stamp, &lines(""), 20).await;
        assert!(refused(&shop, &["move", "preflight", "shop"]).contains(finding), "{stamp}");
        shop.run(&["move", "start", "shop"]);
        shop.reaches("Failed").await;
        let error = shop.of_move()["last_error"].clone();
        assert!(error.as_str().unwrap().contains(finding), "{error}");
    }
}
