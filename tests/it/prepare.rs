//! Making the targets ready, on real servers.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::prepare::{
    Indexes, Room, What, indexes_after, raise_auto_increment, structures, tune,
};
use shardway_migration::tables::WorkError;
use shardway_migration::tally::Tally;
use shardway_routing::rules;
use shardway_routing::topology::{Backend, MoveId, Side, Topology};
use shardway_tests::{On, Pair, until};

const TABLE: &str = "CREATE TABLE shop.users (id INT UNSIGNED NOT NULL AUTO_INCREMENT, \
     `a``,(` VARCHAR(10) CHARACTER SET latin1 DEFAULT '),\\'' COMMENT 'it''s\\n) AUTO_INCREMENT=7, KEY', \
     b ENUM('a,b','(','ü') DEFAULT NULL, n INT GENERATED ALWAYS AS (LENGTH(`a``,(`)) STORED, j JSON, \
     s BINARY(3), at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
     boss INT UNSIGNED, words TEXT, d DECIMAL(20,6) UNSIGNED NOT NULL DEFAULT 1.5, \
     PRIMARY KEY (id), UNIQUE KEY mail (id, s), KEY one (`a``,(`(3), n), KEY boss (boss), FULLTEXT KEY words (words), \
     CONSTRAINT few CHECK (n <> 7), CONSTRAINT boss FOREIGN KEY (boss) REFERENCES users (id)) \
     ENGINE = InnoDB ROW_FORMAT = DYNAMIC COLLATE utf8mb4_bin COMMENT = 'x AUTO_INCREMENT=5 ''y'";
const MOVE: &str = "[tables.users]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 4 }\n\
     nodes = \"s{0..1}.users_{0..3}\"\n[moves.go]\ntables = [\"users\"]\nfrom = \"legacy\"\n";
const GO: MoveId = MoveId(0);
/// How long a definition may wait for a table.
const WAIT: Duration = Duration::from_secs(60);

fn topology(pair: &Pair, lines: &str) -> Topology {
    rules::load(&pair.rules(lines), &|_| None, 1).unwrap()
}

/// The lines of a definition in any order, without what a target's own is meant to lack.
async fn definition(pair: &Pair, on: On, table: &str) -> Vec<String> {
    let shown = pair.rows(on, &format!("SHOW CREATE TABLE {table}")).await.remove(0);
    let (_, shown) = shown.split_once("|CREATE TABLE ").unwrap();
    let (_, body) = shown.split_once(" (\n").unwrap();
    let mut lines: Vec<String> = body
        .lines()
        .filter(|line| !line.contains("FOREIGN KEY"))
        .map(|line| line.trim_end_matches(',').replace(" AUTO_INCREMENT=2 ", " "))
        // MySQL shows a column's character set only where somebody has once written it out.
        .map(|line| line.replace(" CHARACTER SET utf8mb4 COLLATE", " COLLATE"))
        .map(|line| match line.split_once(" CHECK (") {
            Some((named, check)) if named.trim_start().starts_with("CONSTRAINT") => {
                format!("  CHECK ({check}")
            }
            _ => line,
        })
        .collect();
    lines.sort_unstable();
    lines
}

async fn is_like_the_source(pair: &Pair) {
    let source = definition(pair, On::Source, "shop.users").await;
    for table in ["shop0.users_0", "shop0.users_1", "shop1.users_2", "shop1.users_3"] {
        assert_eq!(definition(pair, On::Target, table).await, source, "{table}");
    }
}

fn count(done: &[shardway_migration::prepare::Done], what: &What) -> usize {
    done.iter().filter(|done| done.what == *what).count()
}

fn stopped<T: std::fmt::Debug>(result: Result<T, WorkError>) -> String {
    match result {
        Err(WorkError::Stopped(reason)) => reason,
        other => panic!("not stopped: {other:?}"),
    }
}

#[tokio::test]
async fn tables_of_the_target_are_like_the_source_and_half_a_preparation_is_continued() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, TABLE).await;
    pair.run(On::Source, "INSERT INTO shop.users (words) VALUES ('x')").await;
    let topology = topology(&pair, MOVE);
    let done = structures(&topology, GO, Indexes::Now).await.unwrap();
    assert_eq!(count(&done, &What::Created), 6, "two databases, four tables: {done:?}");
    assert_eq!(done.iter().filter(|done| matches!(done.what, What::LeftOut(_))).count(), 4, "{done:?}");
    is_like_the_source(&pair).await;
    let database = "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
                    WHERE SCHEMA_NAME = ";
    assert_eq!(pair.rows(On::Target, &format!("{database}'shop1'")).await, ["utf8mb4|utf8mb4_general_ci"]);
    for (on, own) in [
        (On::Source, "shop.shardway_mark"),
        (On::Source, "shop.shardway_dirty"),
        (On::Target, "shop0.shardway_dirty"),
        (On::Target, "shop1.shardway_dirty"),
    ] {
        assert_eq!(pair.rows(on, &format!("SELECT COUNT(*) FROM {own}")).await, ["0"]);
    }

    let again = structures(&topology, GO, Indexes::Now).await.unwrap();
    assert_eq!((count(&again, &What::AlreadyThere), again.len()), (4, 4), "{again:?}");

    pair.run(On::Target, "DROP TABLE shop1.users_3").await;
    pair.run(On::Target, "ALTER TABLE shop0.users_1 DROP KEY one, DROP KEY words").await;
    let continued = structures(&topology, GO, Indexes::Now).await.unwrap();
    assert_eq!(count(&continued, &What::Created), 1, "{continued:?}");
    assert_eq!(count(&continued, &What::Indexed(vec!["one".into(), "words".into()])), 1, "{continued:?}");
    is_like_the_source(&pair).await;

    pair.run(On::Target, "ALTER TABLE shop0.users_1 MODIFY boss INT").await;
    let reason = stopped(structures(&topology, GO, Indexes::Now).await);
    assert!(reason.contains("shop0.users_1") && reason.contains("`boss`"), "{reason}");
}

#[tokio::test]
async fn indexes_are_built_after_the_copy_and_building_them_is_continued() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, TABLE).await;
    pair.run(On::Source, "INSERT INTO shop.users (words) VALUES ('x')").await;
    let topology = topology(&pair, MOVE);
    structures(&topology, GO, Indexes::AfterCopy).await.unwrap();
    let keys = "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'shop0' \
                AND TABLE_NAME = 'users_0'";
    assert_eq!(pair.rows(On::Target, keys).await, ["2"], "the primary and the unique one");
    pair.run(On::Target, "ALTER TABLE shop0.users_0 ADD KEY boss (boss)").await;
    let tally = Tally::default();
    let done = indexes_after(&topology, GO, &tally).await.unwrap();
    let all = What::Indexed(vec!["one".into(), "boss".into(), "words".into()]);
    let rest = What::Indexed(vec!["one".into(), "words".into()]);
    assert_eq!((count(&done, &all), count(&done, &rest)), (3, 1), "{done:?}");
    is_like_the_source(&pair).await;
    let again = indexes_after(&topology, GO, &tally).await.unwrap();
    assert_eq!(count(&again, &What::AlreadyThere), 4, "{again:?}");
    assert_eq!(tally.now(), (8, 8), "both times four tables");
}

#[tokio::test]
async fn a_definition_that_the_target_does_not_take_stops_with_its_words() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Target, "SET GLOBAL innodb_file_per_table = OFF").await;
    pair.run(
        On::Source,
        "CREATE TABLE shop.users (id BIGINT NOT NULL PRIMARY KEY, t TEXT) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8",
    )
    .await;
    pair.run(On::Target, "SET GLOBAL innodb_strict_mode = ON").await;
    let reason = stopped(structures(&topology(&pair, MOVE), GO, Indexes::Now).await);
    assert!(reason.starts_with("s0: ") && reason.contains("CREATE TABLE `shop0`.`users_0`"), "{reason}");
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn global(pair: &Pair, name: &str) -> String {
    pair.rows(On::Target, &format!("SELECT @@GLOBAL.{name}")).await.remove(0)
}

#[tokio::test]
async fn parameters_are_put_back_by_whoever_comes_after_a_crash() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Target, "CREATE DATABASE shop0").await;
    let backend = topology(&pair, MOVE).backends[1].clone();
    let names =
        ["innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_io_capacity_max", "innodb_io_capacity"];
    let mut old = Vec::new();
    for name in names {
        old.push(global(&pair, name).await);
    }
    let list = pairs(&[(names[0], "0"), (names[1], "1000"), (names[2], "50000"), (names[3], "40000")]);
    let tuned = tune::apply(&backend, "shop0", "go", &list).await.unwrap();
    assert_eq!(tuned.iter().map(|tuned| tuned.old.clone()).collect::<Vec<_>>(), old);
    assert_eq!(
        tuned.iter().map(|tuned| tuned.now.as_str()).collect::<Vec<_>>(),
        ["0", "1000", "50000", "40000"]
    );

    // A run that was cut off is run again: what it finds now is not the old value.
    tune::apply(&backend, "shop0", "go", &list).await.unwrap();
    let other = stopped(tune::apply(&backend, "shop0", "other", &pairs(&[("sync_binlog", "5")])).await);
    assert!(other.contains("move `go`") && other.contains("sync_binlog"), "{other}");

    // Nothing of the above is known any more but what the server holds.
    assert_eq!(tune::restore(&backend, "shop0", "go").await.unwrap().len(), 4);
    for (name, old) in names.into_iter().zip(&old) {
        assert_eq!(global(&pair, name).await, *old, "{name}");
    }
    assert_eq!(tune::restore(&backend, "shop0", "go").await.unwrap(), []);
    assert_eq!(tune::restore(&backend, "elsewhere", "go").await.unwrap(), []);
    refused_parameters(&pair, &backend).await;
}

async fn refused_parameters(pair: &Pair, backend: &Backend) {
    for (name, value, reason) in [
        ("innodb_autoinc_lock_mode", "2", "a running server cannot change it"),
        ("general_log", "1", "not among the parameters"),
        ("sync_binlog", "many", "sync_binlog"),
    ] {
        let refused = stopped(tune::apply(backend, "shop0", "go", &pairs(&[(name, value)])).await);
        assert!(refused.contains(name) && refused.contains(reason), "{refused}");
    }
    assert_eq!(pair.rows(On::Target, "SELECT COUNT(*) FROM shop0.shardway_tuned").await, ["0"]);
    pair.run(On::Target, "CREATE USER 'mover'@'%' IDENTIFIED BY 'mover'").await;
    pair.run(On::Target, "GRANT ALL ON shop0.* TO 'mover'@'%'").await;
    let mut weak = backend.clone();
    weak.primary.user = "mover".to_owned();
    weak.primary.password = "mover".to_owned();
    let refused = stopped(tune::apply(&weak, "shop0", "go", &pairs(&[("sync_binlog", "0")])).await);
    assert!(refused.contains("SYSTEM_VARIABLES_ADMIN") && refused.contains("sync_binlog"), "{refused}");
    assert_eq!(pair.rows(On::Target, "SELECT COUNT(*) FROM shop0.shardway_tuned").await, ["0"]);
}

#[tokio::test]
async fn a_counter_that_nobody_waits_for_any_more_is_not_raised_behind_a_reader() {
    let pair = Pair::start(&[]).await;
    let create =
        "CREATE TABLE shop.settings (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT = 700";
    pair.run(On::Source, create).await;
    let single = "[tables.settings]\nkind = \"single\"\nnodes = \"s0\"\n[moves.go]\ntables = [\"settings\"]\nfrom = \"legacy\"\n";
    let topology = topology(&pair, single);
    structures(&topology, GO, Indexes::Now).await.unwrap();
    let mut reader = pair.server(On::Target).connect("shop0").await;
    reader.query_drop("BEGIN").await.unwrap();
    reader.query_drop("SELECT COUNT(*) FROM settings").await.unwrap();
    let waiting = async || {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%'";
        pair.rows(On::Target, sql).await.remove(0)
    };
    let raising = tokio::spawn(async move {
        raise_auto_increment(&topology, GO, Side::Target, Room::Exact, WAIT).await.map(drop)
    });
    until("a definition waits", Duration::from_secs(30), async || (waiting().await == "1").then_some(()))
        .await;
    raising.abort();
    until("it waits no more", Duration::from_secs(30), async || (waiting().await == "0").then_some(())).await;
    assert_eq!(pair.rows(On::Target, "SELECT COUNT(*) FROM shop0.settings").await, ["0"]);
}

#[tokio::test]
async fn counters_are_raised_above_every_id_and_never_lowered() {
    let pair = Pair::start(&[]).await;
    pair.run(
        On::Source,
        "CREATE TABLE shop.settings (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT = 700",
    )
    .await;
    pair.run(On::Source, "INSERT INTO shop.settings (v) VALUES (1)").await;
    let single = "[tables.settings]\nkind = \"single\"\nnodes = \"s0\"\n[moves.go]\ntables = [\"settings\"]\nfrom = \"legacy\"\n";
    let topology = topology(&pair, single);
    structures(&topology, GO, Indexes::Now).await.unwrap();
    let raised = raise_auto_increment(&topology, GO, Side::Target, Room::Exact, WAIT).await.unwrap();
    assert_eq!(raised.iter().map(|raised| (raised.from, raised.to)).collect::<Vec<_>>(), [(1, 701)]);
    assert_eq!(raise_auto_increment(&topology, GO, Side::Target, Room::Exact, WAIT).await.unwrap(), []);
    pair.run(On::Target, "INSERT INTO shop0.settings (v) VALUES (1)").await;
    assert_eq!(pair.rows(On::Target, "SELECT id FROM shop0.settings").await, ["701"]);
    let back = raise_auto_increment(&topology, GO, Side::Source, Room::Exact, WAIT).await.unwrap();
    assert_eq!(back.iter().map(|raised| (raised.from, raised.to)).collect::<Vec<_>>(), [(701, 702)]);
}
