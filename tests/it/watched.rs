//! What a person sees of a move that goes on.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Shop, until};

use super::moving::shop;

/// Until the move tells of such work.
async fn works(shop: &Shop, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, Duration::from_secs(60), async || {
        let work = shop.of_move()["work"].take();
        (work["what"] == what && is_wanted(&work)).then_some(work)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_tells_how_far_it_is_and_a_terminal_shows_bars() {
    let shop = shop("double_write = \"off\"", 3_000).await;
    shop.proxy.stop_at("Work(Verify)");
    shop.run(&["move", "start", "shop"]);
    shop.proxy.is_at("Work(Verify)", 1).await;
    let watching = shop.proxy.begin_on_a_terminal(&["move", "status", "shop", "--watch"]);
    // Users are compared, orders wait.
    let mut target = shop.cluster.shards[0].connect(&shop.name).await;
    target.query_drop("LOCK TABLES orders_0 WRITE").await.unwrap();
    shop.proxy.go_on();
    let work = works(&shop, "comparing", |work| work["done"].as_u64() > Some(2_000)).await;
    assert_eq!((&work["unit"], &work["different"]), (&"rows".into(), &0.into()), "{work}");
    let percent = work["percent"].as_f64().unwrap();
    assert!(percent > 20.0 && percent < 100.0 && work["total"].as_u64() > work["done"].as_u64(), "{work}");
    let metrics = shop.proxy.get("/metrics").unwrap();
    let told = "shardway_move_work_done{move=\"shop\",work=\"comparing\"} ";
    assert!(metrics.contains(told), "{metrics}");
    target.query_drop("UNLOCK TABLES").await.unwrap();
    shop.reaches("Synced").await;
    until("nothing goes on any more", Duration::from_secs(20), async || {
        shop.of_move()["work"].is_null().then_some(())
    })
    .await;
    let shown = watching.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success(), "{text}");
    for part in
        ["users ", "orders ", "all tables ", "█", "comparing ", "shop Verify", "last verify hash: clean"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
