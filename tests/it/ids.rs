//! Ids that the proxy generates for rows of sharded tables, as one server would count them.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Value};
use shardway_tests::{Shop, rows, server_error, until};

/// The rules, with generated ids for users and orders.
fn with_ids(rules: &str, generator: &str) -> String {
    let id = format!("id = {{ column = \"id\", generator = \"{generator}\" }}\n");
    rules
        .replace("[tables.users]\n", &format!("[tables.users]\n{id}"))
        .replace("[tables.orders]\n", &format!("[tables.orders]\n{id}"))
}

async fn shop(generator: &str) -> (Shop, Conn) {
    let shop = Shop::open().await;
    shop.proxy.save_rules(&with_ids(&shop.rules(), generator));
    assert_eq!(shop.proxy.settled(2).await, None);
    let connection = shop.connect().await;
    (shop, connection)
}

async fn ids(connection: &mut Conn, condition: &str) -> Vec<u64> {
    let found = rows(connection, &format!("SELECT id FROM orders WHERE {condition}")).await.unwrap();
    found.into_iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn every_way_to_leave_an_id_out_gets_one() {
    for generator in ["snowflake", "sequence"] {
        let (_shop, mut connection) = shop(generator).await;
        let mut all = BTreeSet::new();
        let inserts = [
            ("INSERT INTO orders (user_id, amount) VALUES (1, 1)", 1),
            ("INSERT INTO orders (user_id, amount) VALUES (2, 1), (3, 2), (4, 3), (5, 4)", 4),
            ("INSERT INTO orders (id, user_id, amount) VALUES (NULL, 6, 1), (0, 7, 2), (DEFAULT, 8, 3)", 3),
            ("INSERT INTO orders VALUES (NULL, 9, 1.5, 'new', '2024-01-01', 'a (b), c')", 1),
            ("INSERT INTO orders SET user_id = 10, amount = 2", 1),
            ("INSERT INTO orders SET amount = 2, id = NULL, user_id = 11", 1),
            ("REPLACE INTO orders (amount, user_id) VALUES (3, 12)", 1),
            ("INSERT IGNORE INTO orders (user_id, amount) VALUES (13, (1 + 2) * 3), (14, 2)", 2),
            ("INSERT INTO orders (user_id, amount) VALUES ROW(15, 1)", 1),
            ("INSERT INTO orders (user_id, amount) VALUES (16, 1) ON DUPLICATE KEY UPDATE amount = 9", 1),
        ];
        let mut user = 0;
        for (sql, count) in inserts {
            if sql.contains("ROW(")
                && rows(&mut connection, "SELECT VERSION() LIKE '%MariaDB%'").await.unwrap() == ["1"]
            {
                user += count;
                continue;
            }
            connection.query_drop(sql).await.expect(sql);
            let last = connection.last_insert_id().unwrap();
            assert_eq!(connection.affected_rows(), count, "{generator}: {sql}");
            assert_eq!(
                rows(&mut connection, "SELECT LAST_INSERT_ID()").await.unwrap(),
                [last.to_string()],
                "{sql}"
            );
            let mut of_statement = Vec::new();
            for _ in 0..count {
                user += 1;
                of_statement.extend(ids(&mut connection, &format!("user_id = {user}")).await);
            }
            assert_eq!(of_statement.len() as u64, count, "{sql}");
            assert_eq!(of_statement[0], last, "the first row's: {sql}");
            assert!(of_statement.is_sorted(), "{sql}: {of_statement:?}");
            all.extend(of_statement);
        }
        prepared(&mut connection, all).await;

        shard_keys_and_refusals(&mut connection).await;
    }
}

/// The same, prepared; `all` are the ids so far.
async fn prepared(connection: &mut Conn, mut all: BTreeSet<u64>) {
    let counted = all.len();
    let prepared = "INSERT INTO orders (user_id, amount, note) VALUES (?, ?, 'x'), (?, 7, ?)";
    connection.exec_drop(prepared, (20, 1.5, 21, "y")).await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(ids(connection, "user_id = 20 AND note = 'x'").await[0]));
    let given = "INSERT INTO orders (user_id, id, amount) VALUES (?, ?, ?), (?, ?, ?), (?, NULL, 1)";
    let values: Vec<Value> =
        vec![22.into(), Value::NULL, 1.into(), 23.into(), 7_000_000.into(), 2.into(), 24.into()];
    connection.exec_drop(given, values).await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(ids(connection, "user_id = 22 AND amount = 1").await[0]));
    assert_eq!(ids(connection, "user_id = 23 AND amount = 2").await, [7_000_000]);
    for user in [20, 21, 22, 24] {
        all.extend(ids(connection, &format!("user_id = {user}")).await);
    }
    assert_eq!(all.len(), counted + 4, "no id twice");
}

async fn shard_keys_and_refusals(connection: &mut Conn) {
    // A generated id may be the shard key.
    connection.query_drop("INSERT INTO users (name) VALUES ('a'), ('b'), ('c')").await.unwrap();
    let first = connection.last_insert_id().unwrap();
    let name = format!("SELECT name FROM users WHERE id = {first}");
    assert_eq!(rows(connection, &name).await.unwrap(), ["a"]);
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("INSERT INTO users (name) VALUES ('undone')").await.unwrap();
    connection.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(rows(connection, "SELECT id FROM users WHERE name = 'undone'").await.unwrap().len(), 0);

    let error = connection
        .query_drop("INSERT INTO orders (id, user_id, amount) VALUES (1 + 1, 1, 1)")
        .await
        .unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1216"), "{error}");
    connection.query_drop("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'").await.unwrap();
    let error =
        connection.query_drop("INSERT INTO orders (id, user_id, amount) VALUES (0, 1, 1)").await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1216"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_goes_on_above_what_is_there_after_what_is_given_and_over_restarts() {
    let (mut shop, mut connection) = shop("sequence").await;
    connection.query_drop("INSERT INTO orders (id, user_id, amount) VALUES (500, 1, 1)").await.unwrap();
    let insert = "INSERT INTO orders (user_id, amount) VALUES (2, 1)";
    connection.query_drop(insert).await.unwrap();
    let first = connection.last_insert_id().unwrap();
    assert!(first > 500, "{first}");
    connection.query_drop(insert).await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(first + 1));
    // As AUTO_INCREMENT does, it goes on after what clients give.
    connection.query_drop("INSERT INTO orders (id, user_id, amount) VALUES (9000, 3, 1)").await.unwrap();
    connection.query_drop(insert).await.unwrap();
    let above = connection.last_insert_id().unwrap();
    assert!(above > 9000, "{above}");
    shop.proxy.kill9_and_restart().await;
    let mut connection = shop.connect().await;
    connection.query_drop(insert).await.unwrap();
    assert!(connection.last_insert_id().unwrap() > above);
    // Many at once never get the same.
    let clients: Vec<_> = (0..4)
        .map(|client| tokio::spawn(inserted(shop.proxy.options("app", "app", &shop.name), client)))
        .collect();
    let mut ids = Vec::new();
    for client in clients {
        ids.extend(client.await.unwrap());
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

/// The ids of one client's rows.
async fn inserted(options: Opts, client: u64) -> Vec<u64> {
    let mut connection = Conn::new(options).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..400 {
        let insert = format!("INSERT INTO orders (user_id, amount) VALUES ({client}, 1)");
        connection.query_drop(insert).await.unwrap();
        ids.push(connection.last_insert_id().unwrap());
    }
    ids
}

#[tokio::test]
async fn rules_about_ids_are_checked() {
    let shop = Shop::open().await;
    for (from, to, problem) in [
        (
            "[tables.regions]\n",
            "[tables.regions]\nid = { column = \"id\", generator = \"snowflake\" }\n",
            "sharded",
        ),
        (
            "[tables.users]\n",
            "[tables.users]\nid = { column = \"id\", generator = \"uuid\" }\n",
            "none of snowflake",
        ),
        ("[tables.users]\n", "[tables.users]\nid = { column = \"id\" }\n", "are needed"),
    ] {
        shop.proxy.save_rules(&shop.rules().replace(from, to));
        let output = shop.proxy.command(&["check"]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(problem), "{text}");
    }
    let rules = shop.rules();
    for (column, problem) in
        [("nosuch", "no column"), ("region_id", "too narrow"), ("name", "no whole number")]
    {
        let id = format!("[tables.users]\nid = {{ column = \"{column}\", generator = \"snowflake\" }}\n");
        shop.proxy.save_rules(&rules.replace("[tables.users]\n", &id));
        until(problem, Duration::from_secs(20), async || {
            let error = shop.proxy.status()["rules"]["last_error"].as_str()?.to_owned();
            error.contains(problem).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn ids_go_on_across_a_switch_and_back() {
    let shop = Shop::open_moving().await;
    let counted = "MODIFY id BIGINT NOT NULL AUTO_INCREMENT";
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(format!("ALTER TABLE orders {counted}, AUTO_INCREMENT = 100")).await.unwrap();
    for shard in 0..2 {
        let mut direct = shop.cluster.shards[shard].connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            direct.query_drop(format!("ALTER TABLE orders_{number} {counted}")).await.unwrap();
        }
    }
    let save = async |version: u64, lines: &str| {
        shop.proxy.save_rules(&with_ids(&shop.moving_rules(lines), "sequence"));
        assert_eq!(shop.proxy.settled(version).await, None, "{lines}");
    };
    save(2, "double_write = \"sync\"").await;
    let mut connection = shop.connect().await;
    let insert = "INSERT INTO orders (user_id, amount) VALUES (1, 1)";
    connection.query_drop(insert).await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(100), "the source counts");
    let output = shop.proxy.command(&["move", "start", "shop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("the rows are carried over", Duration::from_secs(30), async || {
        (shop.of_move()["phase"] == "Synced").then_some(())
    })
    .await;
    connection.query_drop(insert).await.unwrap();
    assert_eq!(connection.last_insert_id(), Some(101));
    assert_eq!(shop.on_shard(0, "SELECT id FROM orders_1 ORDER BY id").await, ["100", "101"]);
    save(3, "double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    connection.query_drop("INSERT INTO orders (user_id, amount) VALUES (1, 1), (2, 2)").await.unwrap();
    let by_proxy = connection.last_insert_id().unwrap();
    assert!(by_proxy > 101, "{by_proxy}");
    assert_eq!(
        rows(&mut legacy, "SELECT COUNT(*) FROM orders WHERE id > 101 AND user_id IN (1, 2)").await.unwrap(),
        ["2"]
    );
    save(4, "double_write = \"sync\"\nreads = 0\nwrites = \"source\"").await;
    connection.query_drop(insert).await.unwrap();
    let by_source = connection.last_insert_id().unwrap();
    assert!(by_source > by_proxy + 1, "{by_source} after {by_proxy}");
    save(5, "double_write = \"sync\"\nreads = 100\nwrites = \"target\"").await;
    connection.query_drop(insert).await.unwrap();
    assert!(connection.last_insert_id().unwrap() > by_source);
    let output = shop.proxy.command(&["move", "verify", "shop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
