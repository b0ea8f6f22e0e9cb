//! Somebody is told before a server removes what a stream has not read.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Server, Shop, until};

/// Short enough to be used up while a test waits; a quarter of it is the alert's bound.
const RETENTION: &str = "SET GLOBAL binlog_expire_logs_seconds = 12";

async fn keeps_little(server: &Server) {
    server.connect("").await.query_drop(RETENTION).await.unwrap();
}

fn headroom(shop: &Shop) -> Option<f64> {
    shop.of_move()["binlog_headroom_s"].as_f64()
}

/// Whether the alert that nobody has written fires.
async fn alarms(shop: &Shop, fires: Fires) {
    until(&format!("the alert: {fires:?}"), Duration::from_secs(60), async || {
        let alerts = shop.of_move()["alerts"].clone();
        let found = alerts
            .as_array()?
            .iter()
            .any(|alert| alert["alert"] == "binlog_headroom < 3 s" && alert["level"] == "critical");
        (found == (fires == Fires::Yes)).then_some(())
    })
    .await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fires {
    Yes,
    No,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_a_way_back_that_fall_behind_the_retention_are_told_before_they_are_lost() {
    let mut shop = Shop::open_moving_alone().await;
    let mut connection = shop.connect().await;
    connection.query_drop("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b')").await.unwrap();
    keeps_little(&shop.cluster.legacy).await;
    let rules = |lines: &str| shop.moving_rules(&format!("waive = [\"binlog_retention\"]\n{lines}"));
    let (there, back) = (rules(""), rules("writes = \"target\"\nreads = 100"));
    shop.proxy.save_rules(&there);
    assert_eq!(shop.proxy.settled(2).await, None);
    assert!(shop.proxy.command(&["move", "start", "shop"]).status.success());
    shop.reaches("Synced").await;
    until("there is room", Duration::from_secs(30), async || {
        headroom(&shop).filter(|room| (5.0..=12.0).contains(room))
    })
    .await;
    alarms(&shop, Fires::No).await;
    shop.own().shards[1].kill9();
    alarms(&shop, Fires::Yes).await;
    assert_ne!(shop.of_move()["phase"], "Failed", "nothing is lost yet");
    assert!(shop.proxy.log().contains("a server is about to remove"));
    shop.own().shards[1].restart().await;
    alarms(&shop, Fires::No).await;
    // The way back is a stream of the other servers.
    for shard in &shop.cluster.shards {
        keeps_little(shard).await;
    }
    shop.reaches("Synced").await;
    until("both sides are in step", Duration::from_secs(60), async || {
        (shop.of_move()["waits_for"].is_null() && shop.of_move()["lag_s"].as_f64()? < 1.5).then_some(())
    })
    .await;
    shop.proxy.save_rules(&back);
    assert_eq!(shop.proxy.settled(3).await, None);
    shop.reaches("ReverseSync").await;
    until("there is room", Duration::from_secs(30), async || headroom(&shop).filter(|room| *room > 5.0))
        .await;
    alarms(&shop, Fires::No).await;
    shop.own().legacy.kill9();
    alarms(&shop, Fires::Yes).await;
    assert_eq!(shop.of_move()["phase"], "ReverseSync", "the way back is open");
    shop.own().legacy.restart().await;
    alarms(&shop, Fires::No).await;
    let metrics = shop.proxy.get("/metrics").unwrap();
    assert!(metrics.contains("move_binlog_headroom_seconds"), "{metrics}");
}
