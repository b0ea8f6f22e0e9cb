//! Switches that cannot be, and are undone in time.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use shardway_tests::{rows, until};

use super::{PATIENT, SWITCHED, Trial};

/// The columns of a refusal that are the same whichever guard saw it first.
fn is_about_the_target(error: &str) -> bool {
    error.contains("SHD1605") || error.contains("had not caught up")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_to_a_target_that_is_away_is_undone_in_time() {
    let mut trial = Trial::open("hold_ms = 1500").await;
    trial.synced().await;
    let to = format!("hold_ms = 1500\n{SWITCHED}");
    // One that is gone, and one that keeps its connections and says nothing.
    for gone in [true, false] {
        trial.in_step().await;
        if gone {
            trial.shop.own().shards[1].kill9();
        } else {
            trial.shop.cluster.shards[1].freeze();
        }
        let started = Instant::now();
        let why = trial.save(&to).await;
        if !gone {
            trial.shop.cluster.shards[1].thaw();
        }
        let why = why.expect("a switch to a target that is away");
        assert!(is_about_the_target(&why), "{why}");
        // Before anything is held, a silent server is waited for as well: for a look at its tables.
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        assert_eq!(trial.status()["phase"], "Synced");
        trial.load.more(30).await;
        if gone {
            trial.shop.own().shards[1].restart().await;
        }
    }
    trial.can_switch_now().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_open_undoes_a_switch_and_is_not_killed() {
    let trial = Trial::open("hold_ms = 1000").await;
    trial.synced().await;
    let to = format!("hold_ms = 1000\n{SWITCHED}");
    let mut client = trial.shop.connect().await;
    client.query_drop("BEGIN").await.unwrap();
    client.query_drop("UPDATE users SET name = 'open' WHERE id = 1001").await.unwrap();
    let why = trial.save(&to).await.expect("a switch over an open transaction");
    assert!(why.contains("transaction"), "{why}");
    assert_eq!(trial.status()["phase"], "Synced");
    trial.load.more(30).await;
    client.query_drop("UPDATE users SET name = 'done' WHERE id = 1001").await.unwrap();
    client.query_drop("COMMIT").await.unwrap();
    assert_eq!(trial.save(&format!("{PATIENT}\n{SWITCHED}")).await, None);
    trial.reaches("ReverseSync").await;
    assert_eq!(rows(&mut client, "SELECT name FROM users WHERE id = 1001").await.unwrap(), ["done"]);
    trial.in_step().await;
    let (_, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_stop_undoes_a_switch_in_time() {
    let trial = Trial::open("hold_ms = 6000").await;
    trial.synced().await;
    let to = format!("hold_ms = 6000\n{SWITCHED}");
    trial.in_step().await;
    trial.shop.proxy.stop_at("Intent");
    let version = trial.begin_to_save(&to);
    trial.shop.proxy.is_at("Intent", 1).await;
    trial.shop.cluster.shards[1].freeze();
    // A heartbeat is stuck on its way to the silent server.
    until("the stream is stuck", Duration::from_secs(5), async || {
        (trial.status()["lag_s"].as_f64()? > 2.5).then_some(())
    })
    .await;
    trial.shop.proxy.go_on();
    let why = trial.shop.proxy.settled(version).await;
    trial.shop.cluster.shards[1].thaw();
    let why = why.expect("a switch whose old streams go on");
    assert!(why.contains("streams had not stopped after 6000 ms"), "{why}");
    trial.can_switch_now().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_a_switch_share_one_limit() {
    let trial = Trial::open("hold_ms = 1500").await;
    trial.synced().await;
    let to = format!("hold_ms = 1500\n{SWITCHED}");
    trial.in_step().await;
    trial.shop.proxy.stop_at("Drain");
    let version = trial.begin_to_save(&to);
    trial.shop.proxy.is_at("Drain", 1).await;
    let held = Instant::now();
    until("the time is over", Duration::from_secs(3), async || {
        (held.elapsed().as_millis() > 1_500).then_some(())
    })
    .await;
    trial.shop.proxy.go_on();
    let why =
        trial.shop.proxy.settled(version).await.expect("a switch that held its statements for too long");
    assert!(why.contains("the comparison had not ended after 1500 ms"), "{why}");
    trial.can_switch_now().await;
}

impl Trial {
    /// The switch was undone, and nothing stands in its way the next time.
    async fn can_switch_now(self) {
        assert_eq!(self.status()["phase"], "Synced");
        self.load.more(30).await;
        self.in_step().await;
        assert_eq!(self.save(&format!("{PATIENT}\n{SWITCHED}")).await, None);
        self.reaches("ReverseSync").await;
        self.load.more(30).await;
        self.in_step().await;
        let (_, journal) = self.ends_equal().await;
        assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_goes_on_though_whoever_asked_for_it_hangs_up() {
    let trial = Trial::open("").await;
    trial.synced().await;
    trial.in_step().await;
    trial.shop.proxy.stop_at("Reverse");
    trial.begin_to_save(SWITCHED);
    // Before the file is seen to have changed.
    let mut asks = TcpStream::connect(("127.0.0.1", trial.shop.proxy.admin())).unwrap();
    asks.write_all(b"POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    trial.shop.proxy.is_at("Reverse", 1).await;
    drop(asks);
    until("the connection is seen to be closed", Duration::from_secs(20), async || {
        trial.shop.proxy.get("/healthz").ok()
    })
    .await;
    trial.shop.proxy.go_on();
    trial.reaches("ReverseSync").await;
    trial.shop.followed().await;
    trial.load.more(20).await;
    let (_, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}
