//! A session does not go back in time, and no statement fails for a replica that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

/// Runs for the test, and ends with it.
async fn for_a_while(seconds: u64, mut step: impl AsyncFnMut()) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) {
        step().await;
    }
}

#[tokio::test]
async fn a_session_reads_what_it_has_written_while_the_replica_stands_still() {
    let copied = Copied::open(1, "weight = 1, max_lag_ms = 600000").await;
    copied.reads_from("replica").await;
    copied.replicas[0].replica("STOP SQL_THREAD").await;
    let mut connection = copied.shop.connect().await;
    assert_eq!(ask(&mut connection, &[WHO]).await.unwrap(), ["replica"]);
    let mine = "SELECT COUNT(*) FROM settings WHERE name LIKE 'mine%'";
    let mut written = 0;
    for_a_while(2, async || {
        written += 1;
        let insert = format!("INSERT INTO settings (name) VALUES ('mine{written}')");
        assert_eq!(ask(&mut connection, &[&insert, mine]).await.unwrap(), [written.to_string()]);
        assert_eq!(ask(&mut connection, &["SELECT SLEEP(0.15)", mine]).await.unwrap(), [written.to_string()]);
    })
    .await;
    assert_eq!(ask(&mut connection, &[WHO]).await.unwrap(), ["primary"]);
    let transaction = ["BEGIN", "INSERT INTO settings (name) VALUES ('mineX')", "COMMIT", mine];
    assert_eq!(ask(&mut connection, &transaction).await.unwrap(), [(written + 1).to_string()]);
    assert_eq!(copied.ask(&[mine]).await.unwrap(), ["0"], "others read what was there when it stopped");
    let hinted = format!("/* shardway: replica */ {mine}");
    let (_, refused) = ask(&mut connection, &[&hinted]).await.unwrap_err();
    assert!(refused.contains("SHD1233"), "{refused}");
    copied.replicas[0].replica("START SQL_THREAD").await;
    until("the session reads from the replica again", LIMIT, async || {
        assert_eq!(ask(&mut connection, &[mine]).await.unwrap(), [(written + 1).to_string()]);
        // A session that reads without a pause stays where it is.
        (ask(&mut connection, &["SELECT SLEEP(0.3)", WHO]).await.unwrap() == ["replica"]).then_some(())
    })
    .await;
    assert_eq!(ask(&mut connection, &[&hinted]).await.unwrap(), [(written + 1).to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_has_seen_does_not_vanish_though_replicas_stop_and_start() {
    let copied = Copied::open(2, "weight = 1, max_lag_ms = 600000").await;
    copied.reads_from("replica").await;
    let count = "SELECT COUNT(*) FROM settings WHERE name LIKE 'seen%'";
    let ends = Arc::new(AtomicBool::new(false));
    let mut writer = copied.shop.cluster.legacy.connect(&copied.shop.name).await;
    let writing = tokio::spawn({
        let ends = Arc::clone(&ends);
        async move {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                number += 1;
                writer
                    .query_drop(format!("INSERT INTO settings (name) VALUES ('seen{number}')"))
                    .await
                    .unwrap();
            }
        }
    });
    let mut readers = Vec::new();
    for pause in ["SELECT 1", "SELECT SLEEP(0.003)", "SELECT SLEEP(0.04)", "SELECT SLEEP(0.13)"] {
        let (mut connection, ends) = (copied.shop.connect().await, Arc::clone(&ends));
        readers.push(tokio::spawn(async move {
            let (mut last, mut reads) = (0_u64, 0_u64);
            while !ends.load(Ordering::Relaxed) {
                let now: u64 = ask(&mut connection, &[count]).await.unwrap()[0].parse().unwrap();
                assert!(now >= last, "{now} after {last} and {pause}");
                (last, reads) = (now, reads + 1);
                if reads % 10 == 0 {
                    let hint = format!("/* shardway: primary */ {count}");
                    let fresh: u64 = ask(&mut connection, &[&hint]).await.unwrap()[0].parse().unwrap();
                    assert!(fresh >= last);
                    last = fresh;
                }
                ask(&mut connection, &[pause]).await.unwrap();
            }
        }));
    }
    let mut nth = 0;
    for_a_while(8, async || {
        nth += 1;
        let replica = &copied.replicas[nth % 2];
        replica.replica("STOP SQL_THREAD").await;
        copied.shop.cluster.legacy.run("DO SLEEP(0.4)").await;
        replica.replica("START SQL_THREAD").await;
    })
    .await;
    // On a machine that does much else they may hardly have been in time yet.
    until("both replicas have answered", Duration::from_secs(120), async || {
        let served = |nth: usize| copied.status(nth)["statements"].as_u64().unwrap();
        (served(0) > 10 && served(1) > 10).then_some(())
    })
    .await;
    ends.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_late_is_left_alone_until_it_has_caught_up() {
    let copied = Copied::open(1, "weight = 1, max_lag_ms = 800").await;
    copied.reads_from("replica").await;
    copied.replicas[0].replica("STOP SQL_THREAD").await;
    copied
        .shop
        .cluster
        .legacy
        .run(&format!("INSERT INTO {}.settings (name) VALUES ('new')", copied.shop.name))
        .await;
    copied.is_unusable("ms behind, and 800 are allowed").await;
    let new = "SELECT COUNT(*) FROM settings WHERE name = 'new'";
    assert_eq!(copied.ask(&[new]).await.unwrap(), ["1"]);
    assert_eq!(copied.ask(&[WHO]).await.unwrap(), ["primary"]);
    let (_, refused) = copied.ask(&[&format!("/* shardway: replica */ {new}")]).await.unwrap_err();
    assert!(refused.contains("SHD1233") && refused.contains("backend legacy"), "{refused}");
    assert_eq!(copied.status(0)["share"].as_f64(), Some(0.0));
    copied.replicas[0].replica("START SQL_THREAD").await;
    copied.reads_from("replica").await;
    assert_eq!(copied.ask(&[new]).await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_fails_when_a_replica_dies() {
    let mut copied = Copied::open(1, "weight = 1").await;
    copied.reads_from("replica").await;
    let ends = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    let options = copied.shop.proxy.options("app", "app", &copied.shop.name);
    for nth in 0..6 {
        let (options, ends) = (options.clone(), Arc::clone(&ends));
        readers.push(tokio::spawn(async move {
            let mut reads = 0_u64;
            while !ends.load(Ordering::Relaxed) {
                // Sessions that read without a pause stay where they are, so new ones come to the replica again.
                let mut connection = mysql_async::Conn::new(options.clone()).await.unwrap();
                for _ in 0..5 {
                    // Some of them are on the replica while it dies.
                    let slow =
                        format!("SELECT value FROM settings WHERE name = 'who' AND SLEEP(0.0{nth}) = 0");
                    let who = ask(&mut connection, &[&slow]).await.unwrap();
                    assert!(who == ["primary"] || who == ["replica"], "{who:?}");
                    reads += 1;
                }
                connection.disconnect().await.unwrap();
            }
            reads
        }));
    }
    for _ in 0..2 {
        let before = copied.status(0)["statements"].as_u64().unwrap();
        until("it answers", LIMIT, async || {
            (copied.status(0)["statements"].as_u64()? > before + 50).then_some(())
        })
        .await;
        copied.replicas[0].kill9();
        copied.reads_from("primary").await;
        until("it is seen to be down", LIMIT, async || (copied.status(0)["state"] == "down").then_some(()))
            .await;
        copied.replicas[0].restart().await;
        copied.reads_from("replica").await;
    }
    ends.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 20);
    }
    assert!(copied.status(0)["fallbacks"].as_u64() >= Some(1));
}
