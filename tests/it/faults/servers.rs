//! Servers are killed while rows travel.

use std::time::Duration;

use shardway_tests::until;

use super::{SLOWLY, Trial};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_source_is_waited_for() {
    let mut trial = Trial::open(SLOWLY).await;
    trial.run(&["move", "start", "shop"]);
    trial.copied(500).await;
    trial.shop.own().legacy.kill9();
    trial.says("waiting to try again", 0).await;
    trial.shop.own().legacy.restart().await;
    trial.load.more(20).await;
    trial.reaches("Synced").await;
    let before = trial.said("the stream begins anew");
    trial.shop.own().legacy.kill9();
    trial.says("the stream begins anew", before).await;
    trial.shop.own().legacy.restart().await;
    trial.load.more(50).await;
    trial.in_step().await;
    trial.reaches("Synced").await;
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_target_is_waited_for_and_no_client_notices() {
    let mut trial = Trial::open(SLOWLY).await;
    trial.run(&["move", "start", "shop"]);
    // The second target first: the first one has the progress of the copy.
    for (shard, some) in [(1, 300), (0, 1_000)] {
        trial.copied(some).await;
        let before = trial.said("waiting to try again");
        trial.shop.own().shards[shard].kill9();
        trial.says("waiting to try again", before).await;
        trial.load.more(20).await;
        trial.shop.own().shards[shard].restart().await;
    }
    trial.reaches("Synced").await;
    let before = trial.said("the stream begins anew");
    trial.shop.own().shards[1].kill9();
    trial.says("the stream begins anew", before).await;
    trial.load.more(50).await;
    trial.shop.own().shards[1].restart().await;
    trial.in_step().await;
    let (_, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_pauses_the_move_until_a_person_lets_it_go_on() {
    let alert = "[[alerts]]\nwhen = \"stream_away_for > 1 s\"\nlevel = \"warning\"";
    let mut trial = Trial::open(&format!("{SLOWLY}\nwait_for_servers = \"2 s\"\n{alert}")).await;
    trial.run(&["move", "start", "shop"]);
    trial.copied(500).await;
    trial.shop.own().shards[1].kill9();
    trial.reaches("Paused").await;
    let watched = trial.shop.proxy.command(&["move", "status", "shop", "--watch"]);
    assert_eq!(watched.status.code(), Some(1), "nobody has paused it");
    let of = until("everybody is told", Duration::from_secs(20), async || {
        let of = trial.status();
        let firing = |when: &str| of["alerts"].as_array()?.iter().find(|alert| alert["alert"] == when);
        (firing("failed > 0").is_some() && firing("stream_away_for > 1 s").is_some()).then_some(of)
    })
    .await;
    for told in [&of["last_error"], &of["waits_for"]] {
        let told = told.as_str().unwrap();
        assert!(told.contains("wait_for_servers") && told.contains("move resume"), "{told}");
    }
    let copied = of["rows_copied"].as_u64();
    trial.shop.own().shards[1].restart().await;
    trial.run(&["move", "resume", "shop"]);
    trial.copied(copied.unwrap()).await;
    trial.reaches("Synced").await;
    until("nothing is the matter any more", Duration::from_secs(60), async || {
        let of = trial.status();
        (of["last_error"].is_null() && of["alerts"] == serde_json::json!([])).then_some(())
    })
    .await;
    trial.in_step().await;
    let (_, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_double_write_could_not_bring_to_a_killed_target_is_healed() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    assert_eq!(trial.save("double_write = \"sync\"").await, None);
    trial.load.more(50).await;
    trial.shop.own().shards[0].kill9();
    until("keys are dirty", Duration::from_secs(20), async || {
        (trial.status()["dirty_keys"].as_u64() > Some(5)).then_some(())
    })
    .await;
    trial.load.more(50).await;
    trial.shop.own().shards[0].restart().await;
    trial.in_step().await;
    let (_, journal) = trial.ends_equal().await;
    assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
}
