//! Statements and transactions that no living process of ours answers for, at the side that a switch takes writes from.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use shardway_tests::{rows, until};

use super::{PATIENT, SWITCHED, Trial};

/// Does the server run such a statement?
async fn runs(direct: &mut Conn, start: &str) -> bool {
    let processes: Vec<Row> = direct.query("SHOW FULL PROCESSLIST").await.unwrap();
    let of = |row: &Row| row.get::<Option<String>, _>("Info").flatten().unwrap_or_default();
    processes.iter().any(|row| of(row).starts_with(start))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_process_sent_is_waited_for_before_a_switch() {
    let mut trial = Trial::open("").await;
    trial.synced().await;
    let mut blocker = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    let mut direct = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT id FROM users WHERE id = 1500 FOR UPDATE").await.unwrap();
    let update = "UPDATE users SET name = 'late' WHERE id = 1500";
    let mut client = trial.shop.connect().await;
    let sent = tokio::spawn(async move { client.query_drop(update).await });
    until("the update waits for its row", Duration::from_secs(20), async || {
        runs(&mut direct, update).await.then_some(())
    })
    .await;
    trial.shop.proxy.kill9_and_restart().await;
    assert!(sent.await.unwrap().is_err(), "nobody has acknowledged it");
    assert!(runs(&mut direct, update).await, "the server goes on with it");
    trial.in_step().await;
    let version = trial.begin_to_save(&format!("{PATIENT}\n{SWITCHED}"));
    until("the switch waits, or is over", Duration::from_secs(30), async || {
        let is_over = trial.status()["writes"] == "target";
        (is_over || runs(&mut direct, "LOCK TABLES").await).then_some(())
    })
    .await;
    blocker.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(trial.shop.proxy.settled(version).await, None);
    trial.reaches("ReverseSync").await;
    let mut client = trial.shop.connect().await;
    let name = rows(&mut client, "SELECT name FROM users WHERE id = 1500").await.unwrap();
    assert_eq!(name, ["late"], "the target has what the source has");
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_undoes_a_switch_there_and_back() {
    let trial = Trial::open("").await;
    trial.synced().await;
    let (there, back) = (SWITCHED, "writes = \"source\"\nreads = 0");
    for (lines, phases, side) in [(there, ("Synced", "ReverseSync"), 0), (back, ("ReverseSync", "Synced"), 1)]
    {
        trial.in_step().await;
        // Past the proxy, on the side that owns writes.
        let (server, table) = match side {
            0 => (&trial.shop.cluster.legacy, "users"),
            _ => (&trial.shop.cluster.shards[0], "users_1"),
        };
        let mut other = server.connect(&trial.shop.name).await;
        other.query_drop("BEGIN").await.unwrap();
        other.query_drop(format!("UPDATE {table} SET name = 'past' WHERE id = 1501")).await.unwrap();
        let why = trial.save(&format!("hold_ms = 1500\n{lines}")).await.expect("a transaction is open");
        assert!(why.contains("has not ended"), "{why}");
        assert_eq!(trial.status()["phase"], phases.0);
        trial.load.more(20).await;
        other.query_drop("COMMIT").await.unwrap();
        trial.in_step().await;
        assert_eq!(trial.save(&format!("{PATIENT}\n{lines}")).await, None);
        trial.reaches(phases.1).await;
        let mut client = trial.shop.connect().await;
        let name = rows(&mut client, "SELECT name FROM users WHERE id = 1501").await.unwrap();
        assert_eq!(name, ["past"]);
    }
    trial.in_step().await;
    trial.ends_equal().await;
}
