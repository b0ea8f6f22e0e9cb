//! Streams that cannot be followed any further: the move stops, and says what to do.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Flavour, Server, server_error, until};

use super::{SWITCHED, Trial};

/// More drift than this needs a person.
const STRICT: &str = "repair.cap = 10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_definition_stops_a_move_and_the_next_start_says_what_to_do() {
    let trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    legacy.query_drop("ALTER TABLE users ADD COLUMN extra INT").await.unwrap();
    trial.reaches("Failed").await;
    let why = trial.status()["last_error"].as_str().unwrap().to_owned();
    assert!(why.contains("definition") && why.contains("begin the move anew"), "{why}");
    for lines in [SWITCHED, "double_write = \"sync\"\nreads = 50"] {
        let why = trial.save(lines).await.expect("a switch of a move that has stopped");
        assert!(why.contains("SHD1605"), "{why}");
    }
    legacy.query_drop("UPDATE users SET extra = 7 WHERE id <= 1100").await.unwrap();
    trial.load.more(30).await;
    // A column that nobody has read would be left behind: that is told before anything is copied.
    trial.fails_at_start("have changed since").await;
    assert_eq!(trial.save("double_write = \"off\"").await, None);
    trial.fails_at_start("PF210").await;
    for (shard, server) in trial.shop.cluster.shards.iter().enumerate() {
        let mut target = server.connect(&trial.shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            target.query_drop(format!("TRUNCATE TABLE users_{number}")).await.unwrap();
            target.query_drop(format!("ALTER TABLE users_{number} ADD COLUMN extra INT")).await.unwrap();
        }
    }
    trial.synced().await;
    trial.load.more(30).await;
    trial.in_step().await;
    let (shop, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    assert_eq!(shop.on_shard(0, "SELECT extra FROM users_0 WHERE id = 1100").await, ["7"]);
}

impl Trial {
    /// Starts the move, which fails.
    async fn fails_at_start(&self, why: &str) {
        self.run(&["move", "start", "shop"]);
        until(why, Duration::from_secs(180), async || {
            let of = self.status();
            (of["phase"] == "Failed" && of["last_error"].as_str()?.contains(why)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_purged_fails_the_move_until_it_begins_anew() {
    let mut trial = Trial::open(STRICT).await;
    trial.synced().await;
    let reset = match Flavour::chosen() {
        Flavour::MariaDb => "RESET MASTER",
        Flavour::MySql => "RESET BINARY LOGS AND GTIDS",
    };
    trial.load.more(20).await;
    for (round, purge) in ["PURGE", reset].into_iter().enumerate() {
        trial.shop.proxy.kill9();
        let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
        let change = format!("UPDATE users SET email = 'missed {round}' WHERE id BETWEEN 1001 AND 1020");
        legacy.query_drop(change).await.unwrap();
        legacy.query_drop("DELETE FROM orders WHERE id BETWEEN 1 AND 5").await.unwrap();
        if purge == "PURGE" {
            legacy.query_drop("FLUSH BINARY LOGS").await.unwrap();
            purge_logs(&trial.shop.cluster.legacy).await;
        } else {
            legacy.query_drop(purge).await.unwrap();
        }
        trial.shop.proxy.restart().await;
        trial.reaches("Failed").await;
        let why = trial.status()["last_error"].as_str().unwrap().to_owned();
        assert!(why.contains("is lost") && why.contains("begin the move anew"), "{why}");
        let why = trial.save(SWITCHED).await.expect("a switch of a move that has lost its stream");
        assert!(why.contains("SHD1605"), "{why}");
        assert_eq!(trial.save(STRICT).await, None);
        trial.load.more(20).await;
        // What was missed is found by the comparison at the end, not by the copy; and it is more than drift.
        trial.fails_at_start("repair.cap").await;
        assert_eq!(trial.save("repair.cap = 5000").await, None);
        trial.synced().await;
        trial.run(&["move", "verify", "shop"]);
        let of_shard = format!("SELECT COUNT(*) FROM users_1 WHERE email = 'missed {round}'");
        assert_eq!(trial.shop.on_shard(0, &of_shard).await, ["5"]);
        assert_eq!(trial.save(STRICT).await, None);
    }
    let Trial { shop, load } = trial;
    let journal = load.stop().await;
    let output = shop.proxy.command(&["move", "verify", "shop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_way_back_can_be_given_up() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    trial.in_step().await;
    assert_eq!(trial.save(SWITCHED).await, None);
    trial.reaches("ReverseSync").await;
    trial.load.more(20).await;
    trial.shop.proxy.kill9();
    let mut target = trial.shop.cluster.shards[0].connect(&trial.shop.name).await;
    target.query_drop("UPDATE users_1 SET email = 'missed' WHERE id = 1001").await.unwrap();
    target.query_drop("FLUSH BINARY LOGS").await.unwrap();
    purge_logs(&trial.shop.cluster.shards[0]).await;
    trial.shop.proxy.restart().await;
    trial.reaches("Failed").await;
    let why = trial.status()["last_error"].as_str().unwrap().to_owned();
    assert!(why.contains("the way back is lost") && why.contains("move finish"), "{why}");
    trial.load.more(20).await;
    let why = trial.save("writes = \"source\"").await.expect("a way back that is lost");
    assert!(why.contains("SHD1606"), "{why}");
    assert_eq!(trial.save(SWITCHED).await, None);
    trial.run(&["move", "finish", "shop"]);
    trial.reaches("Done").await;
    trial.load.more(20).await;
    let Trial { shop, load } = trial;
    load.stop().await.check(&mut shop.connect().await).await;
}

/// Removes every log but the newest.
async fn purge_logs(server: &Server) {
    let mut connection = server.connect("").await;
    let logs: Vec<mysql_async::Row> = connection.query("SHOW BINARY LOGS").await.unwrap();
    let newest: String = logs.last().unwrap().get(0).unwrap();
    // Until the dead proxy's connection has gone, its log is in use.
    until("old logs are gone", Duration::from_secs(20), async || {
        if let Err(error) = connection.query_drop(format!("PURGE BINARY LOGS TO '{newest}'")).await {
            println!("{:?}", server_error(&error));
        }
        let logs: Vec<mysql_async::Row> = connection.query("SHOW BINARY LOGS").await.unwrap();
        (logs.len() == 1).then_some(())
    })
    .await;
}
