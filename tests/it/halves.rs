//! Two shards become four in place: half of every shard stays, the other half is copied, and deleted at the end.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::load::{Load, Manners, Transfers};
use shardway_tests::{Cluster, tables, until};

use super::kinds::{self, Kind};
use super::twins::{Answer, as_text, same_rows};

const SWITCHED: &str = "writes = \"target\"\nreads = 100";

/// The proxy and one server with the same rows, asked the same.
struct Both {
    proxy: Conn,
    single: Conn,
}

impl Both {
    async fn open(kind: &Kind) -> Both {
        let mut single = Cluster::get().await.legacy.connect(&kind.name).await;
        for (table, columns) in tables() {
            single.query_drop(format!("CREATE TABLE {table} ({columns})")).await.unwrap();
        }
        Both { proxy: kind.proxy.connect(&kind.name).await, single }
    }

    /// Columns, rows and how many were written must be the same.
    async fn agree(&mut self, sql: &str) {
        let answer = same_rows(&mut self.single, &mut self.proxy, sql).await;
        assert!(matches!(answer, Answer::Done { .. }), "{sql}: {answer:?}");
    }

    async fn agree_on_everything(&mut self) {
        for sql in [
            "SELECT * FROM users ORDER BY id",
            "SELECT id, name FROM users WHERE name LIKE 'u1%' ORDER BY name, id LIMIT 7 OFFSET 3",
            "SELECT u.id, o.id FROM users u JOIN orders o ON o.user_id = u.id WHERE o.amount > 1",
            "SELECT u.id, o.amount FROM users AS u LEFT JOIN orders o ON o.user_id = u.id AND o.amount > 2",
            "SELECT users.* FROM users WHERE EXISTS (SELECT 1 FROM orders WHERE orders.user_id = users.id)",
            "SELECT id FROM orders WHERE id = 7",
            "SELECT name FROM users WHERE id IN (1, 2, 3, 4, 5, 6, 7, 8)",
            "SELECT name FROM users WHERE id = 6",
        ] {
            self.agree(sql).await;
        }
    }

    async fn refuses(&mut self, sql: &str) {
        assert_eq!(as_text(&mut self.proxy, sql).await, Answer::Refused("SHD1239".to_owned()), "{sql}");
    }
}

/// Ids of a physical table, which lies on one of the two servers of the shards.
async fn ids(server: usize, table: &str) -> Vec<u64> {
    let mut connection = Cluster::get().await.shards[server].connect("").await;
    connection.query(format!("SELECT id FROM {table} ORDER BY id")).await.unwrap()
}

async fn caught_up(kind: &Kind) {
    kind.followed().await;
    kind.run(&["move", "verify", "shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_leaves_is_copied_and_nobody_sees_it_twice() {
    let mut kind = kinds::open("4-doubling", &[1, 2], &tables()).await;
    let mut both = Both::open(&kind).await;
    for id in 1..=200_u64 {
        both.agree(&format!("INSERT INTO users (id, name, balance) VALUES ({id}, 'u{id}', {})", id % 9))
            .await;
        let order =
            format!("INSERT INTO orders (id, user_id, amount) VALUES ({id}, {}, {})", id / 2 + 1, id % 4);
        both.agree(&order).await;
    }
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    let (old, new) = (format!("{}.users", kind.name), format!("{}_b.users", kind.name));
    let of = |divisor: u64, rest: u64| (1..=200).filter(|id| id % divisor == rest).collect::<Vec<u64>>();
    assert_eq!(ids(0, &new).await, of(4, 2), "what leaves is copied");
    assert_eq!(ids(1, &new).await, of(4, 3));
    assert_eq!(ids(0, &old).await, of(2, 0), "and is there as long as the way back is open");
    kind.save("reads = 100").await;
    both.agree_on_everything().await;
    let write = async |both: &mut Both, word: &str| {
        both.agree(&format!(
            "UPDATE users SET name = '{word}', balance = balance + 1 WHERE name LIKE 'u1%' OR id = 6"
        ))
        .await;
        both.agree("UPDATE users SET balance = balance + 1").await;
        both.agree(&format!(
            "INSERT INTO users (id, name) VALUES (1002, '{word}'), (1003, 'b'), (1004, 'c')"
        ))
        .await;
        both.agree("DELETE FROM users WHERE id > 1002").await;
        both.agree("UPDATE orders SET amount = amount + 1 WHERE id = 7").await;
        both.agree("DELETE FROM orders WHERE amount = 3 ORDER BY id").await;
        both.agree("DELETE FROM users WHERE id = 1002").await;
        both.agree_on_everything().await;
    };
    write(&mut both, "before").await;
    kind.save(SWITCHED).await;
    kind.reaches("ReverseSync").await;
    write(&mut both, "u1 after").await;
    for sql in [
        "SELECT id FROM users WHERE balance > 3 FOR UPDATE",
        "/* shardway: shard=0 */ SELECT id FROM users",
        "SELECT id FROM users FORCE INDEX (PRIMARY) WHERE balance > 3",
        "DELETE users FROM users JOIN orders ON orders.user_id = users.id",
        "REPLACE INTO orders (id, user_id, amount) VALUES (7, 4, 1)",
        "INSERT INTO orders (id, user_id, amount) VALUES (7, 4, 1) ON DUPLICATE KEY UPDATE amount = 2",
    ] {
        both.refuses(sql).await;
    }
    both.proxy.query_drop("BEGIN").await.unwrap();
    both.agree("SELECT balance FROM users WHERE id = 6 FOR UPDATE").await;
    both.agree("UPDATE users SET balance = 5 WHERE id = 6").await;
    both.proxy.query_drop("COMMIT").await.unwrap();
    caught_up(&kind).await;
    kind.save("writes = \"source\"").await;
    kind.reaches("Synced").await;
    write(&mut both, "u1 back").await;
    caught_up(&kind).await;
    kind.save(SWITCHED).await;
    kind.reaches("ReverseSync").await;
    write(&mut both, "u1 again").await;
    ends(&mut kind, &mut both).await;
}

/// The rows that have left are deleted where they were; before that the move cannot leave the rules, and after it no
/// statement goes there.
async fn ends(kind: &mut Kind, both: &mut Both) {
    kind.run(&["move", "finish", "shop"]);
    kind.reaches("Done").await;
    let without = kind.rules.split("[moves.shop]").next().unwrap().to_owned();
    assert!(refused(kind, &without).await.contains("SHD1609"), "rows that have left are there");
    kind.proxy.kill9_and_restart().await;
    both.proxy = kind.proxy.connect(&kind.name).await;
    assert!(kind.run(&["move", "cleanup", "shop", "--dry-run"]).contains("rows that have left it would be"));
    assert!(kind.run(&["move", "cleanup", "shop"]).contains("rows that have left it stay until"));
    both.agree_on_everything().await;
    assert!(refused(kind, &without).await.contains("SHD1609"), "they are still there");
    let mut shard = Cluster::get().await.shards[0].connect(&kind.name).await;
    let trigger = "CREATE TRIGGER audit BEFORE DELETE ON users FOR EACH ROW SET @gone = 1";
    shard.query_drop(trigger).await.unwrap();
    let output = kind.proxy.command(&["move", "cleanup", "shop", "--now"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has triggers, which must not fire"));
    shard.query_drop("DELETE FROM users WHERE id % 4 = 2").await.unwrap();
    assert!(kind.run(&["move", "cleanup", "shop", "--now"]).contains("rows that have left it deleted"));
    shard.query_drop("DROP TRIGGER audit").await.unwrap();
    for server in 0..2 {
        for (table, key) in [("users", "id"), ("orders", "user_id")] {
            let left = format!("{}.{table} WHERE {key} % 4 <> {server}", kind.name);
            assert_eq!(ids(server, &left).await, Vec::<u64>::new(), "{table}");
        }
    }
    both.agree_on_everything().await;
    for lines in ["writes = \"target\"\nreads = 50", &format!("{SWITCHED}\ndouble_write = \"sync\"")] {
        let why = refused(kind, &format!("{}{lines}", kind.rules)).await;
        assert!(why.contains("SHD1465"), "{lines}: {why}");
    }
    let desired = kind.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    kind.proxy.save_rules(&without);
    assert_eq!(kind.proxy.settled(desired + 1).await, None);
    both.agree_on_everything().await;
    both.agree("UPDATE users SET balance = 0").await;
    both.agree("SELECT id FROM users WHERE balance = 0 ORDER BY id").await;
}

/// Why rules do not take effect.
async fn refused(kind: &Kind, rules: &str) -> String {
    let desired = kind.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    kind.proxy.save_rules(&format!("# {desired}\n{rules}\n"));
    kind.proxy.settled(desired + 1).await.expect("the rules are refused")
}

/// A row that the source has on the wrong shard can be on no right one of the target; nobody may take that for equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_on_the_wrong_shard_is_told_before_and_stays_after() {
    let kind = kinds::open("4-doubling", &[1, 2], &tables()).await;
    let mut connection = kind.proxy.connect(&kind.name).await;
    for id in 1..=20_u64 {
        connection.query_drop(format!("INSERT INTO users (id, name) VALUES ({id}, 'u{id}')")).await.unwrap();
    }
    let mut shard = Cluster::get().await.shards[0].connect(&kind.name).await;
    shard.query_drop("INSERT INTO users (id, name) VALUES (1001, 'lost'), (1003, 'lost')").await.unwrap();
    let output = kind.proxy.command(&["move", "start", "shop"]);
    assert!(output.status.success());
    until("the comparison tells of them", Duration::from_secs(60), async || {
        let of = &kind.proxy.status()["moves"][0];
        (of["last_verify"]["clean"] == false).then_some(())
    })
    .await;
    let left: Vec<u64> = shard.query("SELECT id FROM users WHERE name = 'lost' ORDER BY id").await.unwrap();
    assert_eq!(left, [1001, 1003]);
}

/// Clients under every mode of double write, there and back, at first undisturbed, then with a proxy that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_write_leaves_alone_what_stays() {
    let counted =
        |columns: &str| columns.replace("NOT NULL PRIMARY KEY", "NOT NULL AUTO_INCREMENT PRIMARY KEY");
    let tables = tables().into_iter().map(|(table, columns)| (table, counted(columns))).collect::<Vec<_>>();
    let tables: Vec<(&str, &str)> =
        tables.iter().map(|(table, columns)| (*table, columns.as_str())).collect();
    let mut kind = kinds::open("4-doubling", &[1, 2], &tables).await;
    let mut connection = kind.proxy.connect(&kind.name).await;
    connection.query_drop(Load::shared_rows()).await.unwrap();
    let options = kind.proxy.options("app", "app", &kind.name);
    let load = Load::start_with(&options, 3, Transfers::WithinShard);
    load.more(30).await;
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    for mode in ["strict", "sync", "async"] {
        // Other tests keep the machine busy.
        let lines = format!("hold_ms = 15000\ndouble_write = \"{mode}\"");
        kind.save(&format!("{lines}\nreads = 50")).await;
        load.more(60).await;
        kind.save(&format!("{lines}\n{SWITCHED}")).await;
        kind.reaches("ReverseSync").await;
        load.more(60).await;
        // Of tables of one name on two backends.
        for sql in [
            "BEGIN",
            "UPDATE users SET name = 'x' WHERE id = 10",
            "UPDATE users SET name = 'x' WHERE id = 11",
            "COMMIT",
        ] {
            connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{mode}: {sql}: {error}"));
        }
        kind.followed().await;
        kind.save(&lines).await;
        kind.reaches("Synced").await;
        kind.followed().await;
        for (server, id) in [(0, 10), (1, 11)] {
            let found = ids(server, &format!("{}.users WHERE id = {id} AND name = 'x'", kind.name)).await;
            assert_eq!(found, [id], "{mode}: the source has what was written on the target");
        }
        connection.query_drop("UPDATE users SET name = 'shared' WHERE id IN (10, 11)").await.unwrap();
    }
    let undisturbed = load.stop().await;
    assert_eq!(undisturbed.failed, 0, "{:?}", undisturbed.first_error);
    undisturbed.check(&mut connection).await;
    connection.query_drop("DELETE FROM users WHERE id >= 1000000").await.unwrap();
    let load = Load::start_as(&options, 3, Transfers::WithinShard, Manners::Rough);
    for mode in ["strict", "sync", "async"] {
        // Other tests keep the machine busy.
        let lines = format!("hold_ms = 15000\ndouble_write = \"{mode}\"");
        kind.save(&format!("{lines}\n{SWITCHED}")).await;
        kind.reaches("ReverseSync").await;
        load.more(60).await;
        kind.proxy.kill9_and_restart().await;
        load.more(60).await;
        kind.followed().await;
        kind.save(&lines).await;
        kind.reaches("Synced").await;
        kind.followed().await;
    }
    let journal = load.stop().await;
    until("no key is dirty", Duration::from_secs(30), async || {
        (kind.proxy.status()["moves"][0]["dirty_keys"] == 0).then_some(())
    })
    .await;
    kind.run(&["move", "verify", "shop"]);
    let mut connection = kind.proxy.connect(&kind.name).await;
    journal.check(&mut connection).await;
}
