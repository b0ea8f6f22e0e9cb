//! Conditions on what is carried: the engine and the servers must take the same rows.

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use shardway_migration::filter::Filter;
use shardway_migration::{connection, schema, tables};
use shardway_routing::rules;
use shardway_routing::topology::{MoveId, Side};
use shardway_tests::Cluster;

const COLUMNS: &str = "id BIGINT NOT NULL PRIMARY KEY, small TINYINT UNSIGNED, day DATE, at DATETIME(3), ts TIMESTAMP(2) NULL, \
    code VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin, word CHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, \
    raw VARBINARY(10), fixed BINARY(3)";

/// Values of each column, NULL among them, near what the conditions compare with.
const VALUES: [&[&str]; 8] = [
    &["0", "1", "2", "255", "NULL"],
    &["'2024-02-29'", "'2024-03-01'", "'1000-01-01'", "'0000-00-00'", "NULL"],
    &["'2024-03-01'", "'2024-02-29 23:59:59.999'", "'2024-03-01 00:00:00.001'", "'9999-12-31'", "NULL"],
    &["'2024-03-01'", "'2024-02-29 23:59:59.99'", "'2024-03-01 00:00:00.01'", "'1971-01-02'", "NULL"],
    &["''", "'a'", "'a '", "'A'", "'a!'", "x'6101'", "NULL"],
    &["''", "'a'", "'ü'", "'A'", "'a!'", "_utf8mb4 x'6101'", "NULL"],
    &["''", "'a'", "'a '", "x'6100'", "'b'", "NULL"],
    &["'a'", "x'612020'", "x'616161'", "NULL"],
];

const CONDITIONS: [&str; 34] = [
    "small = 1",
    "small <> 1",
    "small < 2",
    "small >= 255",
    "id <= -1",
    "id > 100",
    "small IN (0, 255)",
    "small NOT IN (0, 255)",
    "small BETWEEN 1 AND 2",
    "NOT small BETWEEN 1 AND 2",
    "small IS NULL",
    "NOT (small IS NOT NULL)",
    "day = '2024-02-29'",
    "day < '2024-03-01'",
    "day >= '2024-02-29' AND day <> '2024-03-01'",
    "at = '2024-03-01'",
    "at < '2024-03-01'",
    "at <= '2024-03-01 00:00:00'",
    "at BETWEEN '2024-03-01' AND '2024-12-31 23:59:59'",
    "ts = '2024-03-01'",
    "ts < '2024-03-01'",
    "ts > '2024-02-29 23:59:59'",
    "code = 'a'",
    "code <> 'a '",
    "code > 'a'",
    "code < 'a'",
    "code IN ('A', '')",
    "word = 'a'",
    "word > 'a'",
    "raw = 'a'",
    "raw > 'a' OR fixed = 'a'",
    "fixed < 'aaa' AND NOT raw = 'b'",
    "small = 1 OR day = '2024-03-01' AND code = 'a'",
    "NOT (small = 1 OR day = '2024-03-01') OR (code IS NULL AND word < 'b')",
];

#[tokio::test]
async fn engine_and_servers_take_the_same_rows() {
    let cluster = Cluster::get().await;
    let name = cluster.new_name("filters");
    let mut backends = String::new();
    for (server, backend) in [(&cluster.legacy, "legacy"), (&cluster.shards[0], "s0")] {
        let mut connection = server.connect("").await;
        connection.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        connection.query_drop(format!("CREATE TABLE {name}.t ({COLUMNS})")).await.unwrap();
        backends += &format!(
            "[backends.{backend}]\nprimary = \"mysql://shop:shop@127.0.0.1:{}/{name}\"\n",
            server.port()
        );
    }
    let rules = format!(
        "{backends}[databases.{name}]\ndefault = \"legacy\"\n[tables.t]\nkind = \"single\"\nnodes = \"s0\"\n\
         [moves.m]\ntables = [\"t\"]\nfrom = \"legacy\"\n"
    );
    let mut topology = rules::load(&rules, &|_| None, 1).unwrap();
    let mut legacy = cluster.legacy.connect(&name).await;
    let known = schema::read(&mut legacy, &name, "t").await.unwrap().unwrap();
    let id = topology.moves[0].tables[0];
    rules::attach(&mut topology, id, Arc::new(known)).unwrap();
    let table = tables::of_move(&topology, MoveId(0)).unwrap().remove(0);
    let source = &table.ends(Side::Source)[0];
    let mut connection = connection::connect(&source.server).await.unwrap();
    let row = |id: i64| {
        // Every pair of neighbouring columns' values comes by.
        let value = |(at, values): (usize, &&[&str])| {
            values[(id as usize / [1, 5, 1, 5, 1, 7, 1, 6][at]) % values.len()].to_owned()
        };
        let values: Vec<String> = VALUES.iter().enumerate().map(value).collect();
        format!("({}, {})", id - 3, values.join(", "))
    };
    let values: Vec<String> = (0..210).map(row).collect();
    // What the statement says is UTF-8.
    let insert = format!("INSERT INTO {} VALUES {}", source.table, values.join(", "))
        .replace("'ü'", "_utf8mb4 x'C3BC'");
    connection.query_drop(insert).await.unwrap();
    let images = connection::images(&mut connection, &table.shape, &source.table, "").await.unwrap();
    for condition in CONDITIONS {
        let filter =
            Filter::of(condition, &table.shape).unwrap_or_else(|refusal| panic!("{condition}: {refusal}"));
        let mut engine: Vec<i64> = images
            .iter()
            .filter(|image| filter.takes(image))
            .map(|image| String::from_utf8(image.0[0].clone().unwrap()).unwrap().parse().unwrap())
            .collect();
        engine.sort_unstable();
        for asked in [condition, filter.sql()] {
            let sql = format!("SELECT id FROM {} WHERE {asked} ORDER BY id", source.table);
            let server: Vec<i64> = connection.query(sql).await.unwrap();
            assert_eq!(engine, server, "{asked}");
        }
        assert!(engine.len() < images.len(), "{condition} takes every row");
    }
}
