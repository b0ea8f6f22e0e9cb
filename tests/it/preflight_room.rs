//! What a preflight says a move takes, and of servers that are not alike.

use mysql_async::prelude::Queryable as _;
use shardway_migration::preflight::Report;
use shardway_migration::preflight::finding::Finding;
use shardway_tests::{Flavour, On, Pair, Server, Shop};

use crate::preflight::{MOVE, USERS, ids, report};

#[tokio::test]
async fn the_estimate_is_the_servers_own_and_readable_disks_are_read() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    let values: Vec<String> = (0..2000).map(|id| format!("({id}, 'n', NOW())")).collect();
    let insert = format!("INSERT INTO shop.users (id, name, changed) VALUES {}", values.join(", "));
    pair.run(On::Source, &insert).await;
    pair.run(On::Source, "ANALYZE TABLE shop.users").await;
    let rules = pair.rules(MOVE);
    let first = report(&rules, &[]).await;
    let estimate = &first.estimate;
    assert!((1000..4000).contains(&estimate.rows) && estimate.bytes > 50_000, "{estimate:?}");
    let targets: Vec<(&str, u64)> =
        estimate.targets.iter().map(|target| (target.backend.as_str(), target.rows)).collect();
    let half = estimate.rows / 2;
    assert_eq!(targets, [("s0", half), ("s1", half)]);
    let unknown = |report: &Report| report.findings.iter().filter(|finding| finding.id == "PF116").count();
    assert_eq!(unknown(&first), 2);
    let json = serde_json::to_value(&first).unwrap();
    assert_eq!(json["findings"][0]["id"], "PF116");
    assert_eq!(json["estimate"]["assumed"]["rows_per_s"], 20_000);
    let text = first.findings.first().map(Finding::to_string).unwrap();
    assert!(text.starts_with("PF116 s0: "), "{text}");
    if Flavour::chosen() == Flavour::MariaDb {
        pair.run(On::Target, "INSTALL SONAME 'disks'").await;
        assert_eq!(unknown(&report(&rules, &[]).await), 0);
    }
}

#[tokio::test]
async fn servers_that_differ_and_disks_that_are_too_small_are_told() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    let options = ["--server-id=2", "--lower-case-table-names=1"];
    let mut pair = Pair { target: Server::start_as(Flavour::MariaDb, &options).await, ..pair };
    pair.run(On::Target, "INSTALL SONAME 'disks'").await;
    let rules = pair.rules(MOVE);
    let differ = match Flavour::chosen() {
        Flavour::MariaDb => vec!["PF119"],
        Flavour::MySql => vec!["PF117", "PF118", "PF119"],
    };
    let found = ids(&report(&rules, &[]).await);
    assert_eq!(found.iter().copied().collect::<Vec<_>>(), differ);
    // The statistics that the source reads when it starts say 4 TiB: two for each half, on one disk.
    let statistics = "UPDATE mysql.innodb_table_stats SET clustered_index_size = 1 << 28 \
                      WHERE database_name = 'shop' AND table_name = 'users'";
    pair.run(On::Source, "ANALYZE TABLE shop.users").await;
    pair.run(On::Source, statistics).await;
    pair.source.kill9();
    pair.source.restart().await;
    let large = report(&rules, &["name_case"]).await;
    let small: Vec<&Finding> = large.findings.iter().filter(|finding| finding.id == "PF115").collect();
    let subjects: Vec<&str> = small.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["s0", "s1"], "{:#?}", large.findings);
    assert!(small[0].found.ends_with("about 4 TiB are needed by s0, s1 together"), "{}", small[0].found);
    assert_eq!(large.refusals().count(), 2);
}

#[tokio::test]
async fn an_operator_reads_what_stays_behind_and_what_the_move_takes() {
    let shop = Shop::open_moving().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    for sql in [
        "CREATE TABLE notes (id INT NOT NULL PRIMARY KEY)",
        "CREATE TABLE shardway_marks (id INT NOT NULL PRIMARY KEY)",
        "CREATE TABLE _shardway_old_notes (id INT NOT NULL PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT id FROM notes",
    ] {
        legacy.query_drop(sql).await.unwrap();
    }
    let output = shop.proxy.command(&["move", "preflight", "shop"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stay = format!("warning PF218 {}: ", shop.name);
    let stay: Vec<&str> = text.lines().filter(|line| line.starts_with(&stay)).collect();
    assert!(stay.len() == 1 && stay[0].ends_with(": legacy: `notes`, `settings`"), "{text}");
    for line in ["at 20000 rows/s and 9.54 MiB/s, which is assumed, that takes ", "\n  s1: takes about "] {
        assert!(text.contains(line), "{text}");
    }
}
