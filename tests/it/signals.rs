//! What a copy is throttled by, measured on real servers.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::reading::Reading;
use shardway_migration::signals;
use shardway_tests::{Cluster, Flavour, Server, until};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_statement_that_runs_is_seen_and_the_one_that_asks_is_not() {
    let server = &Cluster::get().await.shards[0];
    let mut asking = server.connect("").await;
    let running = async |asking: &mut mysql_async::Conn| {
        let signals = signals::of_server(asking).await.unwrap();
        signals.threads_running.value().unwrap()
    };
    // A server's own threads may count; a statement of another test must not.
    let mut idle = f64::INFINITY;
    for _ in 0..20 {
        idle = idle.min(running(&mut asking).await);
    }
    let mut busy = server.connect("").await;
    let id = busy.id();
    let long = tokio::spawn(async move { busy.query_drop("SELECT SLEEP(60)").await });
    until("the statement counts", LIMIT, async || (running(&mut asking).await > idle).then_some(())).await;
    asking.query_drop(format!("KILL {id}")).await.unwrap();
    long.await.unwrap().unwrap_err();
    until("it has ended", LIMIT, async || (running(&mut asking).await <= idle).then_some(())).await;
}

#[tokio::test]
async fn old_versions_that_a_reader_needs_make_the_history_longer() {
    // Its own: what readers of other tests needed may be purged meanwhile, and the history is shorter than before.
    let server = Server::start().await;
    let mut writing = server.connect("").await;
    writing.query_drop("CREATE DATABASE IF NOT EXISTS history").await.unwrap();
    writing.query_drop("CREATE TABLE history.t (id INT PRIMARY KEY, n INT)").await.unwrap();
    writing.query_drop("INSERT INTO history.t VALUES (1, 0)").await.unwrap();
    let mut asking = server.connect("").await;
    let length = async |asking: &mut mysql_async::Conn| {
        signals::of_server(asking).await.unwrap().history_length.value().unwrap()
    };
    let before = length(&mut asking).await;
    let mut reading = server.connect("").await;
    reading.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.unwrap();
    for _ in 0..50 {
        writing.query_drop("UPDATE history.t SET n = n + 1").await.unwrap();
    }
    let grown = async || (length(&mut asking).await >= before + 25.0).then_some(());
    until("the history is longer", LIMIT, grown).await;
    reading.query_drop("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_disk_is_told_by_a_server_that_can_to_whom_it_trusts() {
    let server = Server::start().await;
    let mut admin = server.connect("").await;
    let disk = async |asking: &mut mysql_async::Conn| signals::of_server(asking).await.unwrap().disk_free;
    assert_eq!(disk(&mut admin).await, Reading::NotNow);
    if Flavour::chosen() == Flavour::MySql {
        return;
    }
    admin.query_drop("INSTALL SONAME 'disks'").await.unwrap();
    let free = disk(&mut admin).await.value().expect("the plugin tells");
    assert!((0.0..=100.0).contains(&free), "{free}");
    assert_eq!(disk(&mut blind(&server).await).await, Reading::NotNow, "not without FILE");
}

/// A user without any right.
async fn blind(server: &Server) -> mysql_async::Conn {
    let create = "CREATE USER IF NOT EXISTS blind@'%' IDENTIFIED BY 'blind'";
    server.connect("").await.query_drop(create).await.unwrap();
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some("blind"))
        .pass(Some("blind"))
        .prefer_socket(false);
    mysql_async::Conn::new(options).await.unwrap()
}

#[tokio::test]
async fn what_a_user_may_not_see_is_unknown_and_not_zero() {
    let mut blind = blind(&Cluster::get().await.shards[1]).await;
    let seen = signals::of_server(&mut blind).await.unwrap();
    // MariaDB tells everybody.
    assert_eq!(seen.history_length == Reading::Unknown, Flavour::chosen() == Flavour::MySql);
    assert!(seen.threads_running.value().is_some());
    signals::replica_lag_s(&mut blind).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_does_not_replicate_at_present_has_an_unknown_delay() {
    let server = &Cluster::get().await.shards[0];
    let mut connection = server.connect("").await;
    assert_eq!(signals::replica_lag_s(&mut connection).await.unwrap(), Reading::Unknown);
    let (follow, forget) = match Flavour::chosen() {
        Flavour::MariaDb => (
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'shop', MASTER_PASSWORD = 'shop'",
            "RESET SLAVE ALL",
        ),
        Flavour::MySql => (
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'shop', \
             SOURCE_PASSWORD = 'shop'",
            "RESET REPLICA ALL",
        ),
    };
    connection.query_drop(follow).await.unwrap();
    let stopped = signals::replica_lag_s(&mut connection).await.unwrap();
    connection.query_drop(forget).await.unwrap();
    assert_eq!(stopped, Reading::Unknown);
}
