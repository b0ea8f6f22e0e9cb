//! Rows of several shards under one primary key, while their tables are merged: the target has room for one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::filter::Filter;
use shardway_migration::image::Key;
use shardway_migration::repair::report::Done;

use shardway_migration::tables::{self, MovingTable};
use shardway_migration::tally::Tally;
use shardway_migration::verify::judge::Kind;
use shardway_migration::verify::report::{Difference, Report};
use shardway_migration::verify::{self, Mode};
use shardway_migration::{connection, repair, schema};
use shardway_routing::rules;
use shardway_routing::topology::{MoveId, Side};
use shardway_tests::{Cluster, rows, until};

use super::kinds::{self, Kind as Merge};
use super::verify::{AtRest, REAL};

const ORDERS: &str =
    "id BIGINT NOT NULL PRIMARY KEY, user_id BIGINT NOT NULL, status VARCHAR(10) NOT NULL DEFAULT 'new'";

/// Two shards become one table. The servers are those of `conf/moves`.
const RULES: &str = "[backends.one]\nprimary = \"mysql://shop:shop@127.0.0.1:4001/shop\"\n\
    [backends.s0]\nprimary = \"mysql://shop:shop@127.0.0.1:4002/shop\"\n\
    [backends.s1]\nprimary = \"mysql://shop:shop@127.0.0.1:4003/shop\"\n\
    [databases.shop]\ndefault = \"s0\"\n\
    [tables.orders]\nshard_key = \"user_id\"\nfunction = { kind = \"mod\", shards = 1 }\nnodes = \"one\"\n\
    [moves.shop]\ntables = [\"orders\"]\nfrom = { function = { kind = \"mod\", shards = 2 }, nodes = \"s{0..1}\" }\n";

async fn open() -> Merge {
    kinds::on(RULES.to_owned(), &[1, 2], &[("orders", ORDERS)]).await
}

async fn on_target(kind: &Merge) -> Vec<String> {
    let mut target = Cluster::get().await.legacy.connect(&kind.name).await;
    rows(&mut target, "SELECT id, user_id FROM orders ORDER BY id").await.unwrap_or_default()
}

async fn fails(kind: &Merge, reason: &str) {
    until("the move fails", Duration::from_secs(90), async || {
        let of = kind.proxy.status()["moves"][0].clone();
        assert!(of["phase"] != "Synced", "nobody was told: {of}");
        let is_told = of["last_error"].as_str().is_some_and(|error| error.contains(reason));
        (of["phase"] == "Failed" && is_told).then_some(())
    })
    .await;
}

/// A row of shard 0 is not copied yet, and its key comes into being on shard 1: the stream brings that row first.
async fn a_rival_comes_first(lines: &str) {
    let kind = open().await;
    kind.save(lines).await;
    let mut client = kind.proxy.connect(&kind.name).await;
    client.query_drop("INSERT INTO orders (id, user_id) VALUES (1, 2), (2, 3), (7, 2)").await.unwrap();
    kind.proxy.stop_at("Work(Copy)");
    kind.run(&["move", "start", "shop"]);
    kind.proxy.is_at("Work(Copy)", 1).await;
    client.query_drop("INSERT INTO orders (id, user_id) VALUES (7, 3)").await.unwrap();
    until("the stream brings it", Duration::from_secs(60), async || {
        (on_target(&kind).await == ["7|3"]).then_some(())
    })
    .await;
    kind.proxy.go_on();
    fails(&kind, "orders: several shards have a row under the primary key 7; give all but one another key")
        .await;
    assert!(!on_target(&kind).await.contains(&"7|2".to_owned()), "the first one to come has stayed");
    client.query_drop("UPDATE orders SET id = 70 WHERE id = 7 AND user_id = 2").await.unwrap();
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    kind.run(&["move", "verify", "shop", "--mode", "exact"]);
    assert_eq!(on_target(&kind).await, ["1|2", "2|3", "7|3", "70|2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_key_another_shard_has_meanwhile_is_told_and_not_lost() {
    a_rival_comes_first("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_of_a_copy_that_locks() {
    a_rival_comes_first("copy.locking = true").await;
}

/// Both sides as they are, without a proxy.
struct Still {
    name: String,
    table: MovingTable,
}

impl Still {
    async fn open() -> Still {
        let cluster = Cluster::get().await;
        let name = cluster.new_name("rivals");
        let mut text = RULES.replace("[databases.shop]", &format!("[databases.{name}]"));
        let servers = [&cluster.legacy, &cluster.shards[0], &cluster.shards[1]];
        for (server, port) in servers.into_iter().zip(4001..) {
            let mut connection = server.connect("").await;
            connection.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
            connection.query_drop(format!("CREATE TABLE {name}.orders ({ORDERS})")).await.unwrap();
            let place = format!("127.0.0.1:{}/{name}", server.port());
            text = text.replace(&format!("127.0.0.1:{port}/shop"), &place);
        }
        let mut topology = rules::load(&text, &|_| None, 1).unwrap();
        let mut target = cluster.legacy.connect(&name).await;
        let known = schema::read(&mut target, &name, "orders").await.unwrap().unwrap();
        let id = topology.moves[0].tables[0];
        rules::attach(&mut topology, id, Arc::new(known)).unwrap();
        let table = tables::of_move(&topology, MoveId(0)).unwrap().remove(0);
        Still { name, table }
    }

    async fn run(&self, side: Side, place: usize, sql: &str) {
        let mut connection = connection::connect(&self.table.ends(side)[place].server).await.unwrap();
        connection.query_drop(format!("USE {}", self.name)).await.unwrap();
        connection.query_drop(sql).await.expect(sql);
    }

    async fn verify(&self, table: &MovingTable, mode: &Mode) -> Report {
        let tables = std::slice::from_ref(table);
        verify::run(tables, Side::Source, &AtRest, mode, 4, &Tally::default()).await.unwrap()
    }
}

fn found(report: &Report) -> Vec<(String, Kind)> {
    report.differences().map(|difference| (difference.key.to_string(), difference.kind)).collect()
}

#[tokio::test]
async fn every_comparison_tells_of_keys_that_several_shards_have_whichever_row_came() {
    let still = Still::open().await;
    still.run(Side::Source, 0, "INSERT INTO orders (id, user_id) VALUES (1, 2), (7, 2), (8, 2)").await;
    still.run(Side::Source, 1, "INSERT INTO orders (id, user_id) VALUES (2, 3), (7, 3), (8, 3)").await;
    still
        .run(Side::Target, 0, "INSERT INTO orders (id, user_id) VALUES (1, 2), (2, 3), (7, 2), (8, 3)")
        .await;
    let expected = [("7".to_owned(), Kind::OnSeveral), ("8".to_owned(), Kind::OnSeveral)];
    let mut reports = Vec::new();
    for mode in [Mode::Hash, Mode::Exact, Mode::count(), Mode::Sample { keys: 100_000, tolerated: 0.0 }] {
        reports.push(still.verify(&still.table, &mode).await);
    }
    let keys: BTreeSet<Key> = [1, 2, 7, 8].map(|id| Key(vec![format!("{id}").into_bytes()])).into();
    let touched = BTreeMap::from([(still.table.name.clone(), keys)]);
    let tables = std::slice::from_ref(&still.table);
    reports.push(verify::at_rest(tables, Side::Source, &touched).await.unwrap());
    for report in &reports {
        assert_eq!((found(report).as_slice(), report.undecided), (&expected[..], 0), "{report}");
        assert!(!report.clean && report.to_string().contains("; give all but one another key"), "{report}");
    }
    let differences: Vec<Difference> = reports[0].differences().cloned().collect();
    let repaired = repair::run("m", tables, Side::Source, &AtRest, &differences, REAL).await.unwrap();
    let is_told =
        |done: &Done| matches!(done, Done::Failed(why) if why.contains("several shards have a row"));
    assert_eq!(repaired.count(is_told), 2, "{repaired}");
}

#[tokio::test]
async fn of_two_shards_rows_the_one_that_is_carried_counts() {
    let still = Still::open().await;
    still.run(Side::Source, 0, "INSERT INTO orders VALUES (7, 2, 'sent'), (8, 2, 'new')").await;
    still.run(Side::Source, 1, "INSERT INTO orders VALUES (7, 3, 'new'), (8, 3, 'sent')").await;
    still.run(Side::Target, 0, "INSERT INTO orders VALUES (7, 3, 'new'), (8, 2, 'new')").await;
    // Its collation would leave open what is equal.
    let filter =
        Filter::of("user_id <> 2 AND id = 7 OR user_id <> 3 AND id = 8", &still.table.shape).unwrap();
    let table = still.table.clone().carrying(filter);
    for mode in [Mode::Hash, Mode::Exact] {
        assert!(still.verify(&table, &mode).await.clean);
    }
    still.run(Side::Target, 0, "DELETE FROM orders").await;
    let report = still.verify(&table, &Mode::Hash).await;
    assert_eq!(
        found(&report),
        [("7".to_owned(), Kind::Missing), ("8".to_owned(), Kind::Missing)],
        "{report}"
    );
    let differences: Vec<Difference> = report.differences().cloned().collect();
    let tables = std::slice::from_ref(&table);
    let repaired = repair::run("m", tables, Side::Source, &AtRest, &differences, REAL).await.unwrap();
    assert!(repaired.is_complete(), "{repaired}");
    assert!(still.verify(&table, &Mode::Exact).await.clean);
}
