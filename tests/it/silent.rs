//! A server that falls silent while its connections stay: nobody waits for it for ever, everybody is told, and when it is
//! back the work goes on.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::load::Load;
use shardway_tests::{Proxy, Server, Shop, until};

use super::alerts::mute::Mute;
use super::copies::ends_equal;
use super::moving::with_rows;

/// A shop with servers of its own, whose copy takes some time.
async fn shop() -> Shop {
    with_rows(Shop::open_moving_alone().await, "copy = { rows = 50, parallel = 2, pause_ms = 100 }", 1_000)
        .await
}

/// The status says that the move waits for a server.
async fn waits(shop: &Shop) {
    until("the move says that it waits", Duration::from_secs(60), async || {
        let of = shop.of_move();
        assert_eq!(of["phase"], "Copy", "{of}");
        of["waits_for"].as_str().is_some_and(|why| why.contains("does not answer")).then_some(())
    })
    .await;
}

async fn is_silent_during_a_copy(silent: impl Fn(&Shop) -> &shardway_tests::Server) {
    let shop = shop().await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    load.more(20).await;
    shop.run(&["move", "start", "shop"]);
    until("some rows are copied", Duration::from_secs(60), async || {
        (shop.of_move()["rows_copied"].as_u64().unwrap() >= 200).then_some(())
    })
    .await;
    silent(&shop).freeze();
    waits(&shop).await;
    silent(&shop).thaw();
    shop.reaches("Synced").await;
    assert!(shop.of_move()["waits_for"].is_null(), "{}", shop.of_move());
    ends_equal(&shop, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_after_its_source_was_silent() {
    is_silent_during_a_copy(|shop| &shop.cluster.legacy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_after_a_shard_was_silent() {
    is_silent_during_a_copy(|shop| &shop.cluster.shards[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_ends_when_a_server_is_silent() {
    let shop = shop().await;
    shop.carry_over().await;
    // While it reads: a connection that is begun has a limit of its own.
    let mut holder = shop.cluster.shards[0].connect(&shop.name).await;
    holder.query_drop("LOCK TABLES users_0 WRITE").await.unwrap();
    let mut comparing = shop.proxy.begin(&["move", "verify", "shop"]);
    until("the comparison reads", Duration::from_secs(60), async || {
        let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%' \
                       AND INFO LIKE 'SELECT%users_0%'";
        (shop.on_shard(0, waiting).await != ["0"]).then_some(())
    })
    .await;
    shop.cluster.shards[0].freeze();
    let ended = until("the comparison ends", Duration::from_secs(60), async || {
        comparing.try_wait().expect("its state is known")
    })
    .await;
    assert!(!ended.success(), "{ended}");
    shop.cluster.shards[0].thaw();
    holder.query_drop("UNLOCK TABLES").await.unwrap();
    shop.in_step().await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_answers_no_question_keeps_nobody_from_hearing_of_the_others() {
    let (quiet, mut other) = tokio::join!(Server::start(), Server::start());
    for server in [&quiet, &other] {
        server.run("CREATE DATABASE shop").await;
    }
    let mute = Mute::before(quiet.port(), "SELECT VERSION()");
    let backend = |name: &str, port: u16| {
        format!("[backends.{name}]\nprimary = \"mysql://shop:shop@127.0.0.1:{port}/shop\"\n")
    };
    let rules = format!(
        "{}{}[databases.shop]\ndefault = \"other\"\n",
        backend("a_quiet_one", mute.port()),
        backend("other", other.port())
    );
    let proxy = Proxy::start(&rules).await;
    let is = async |name: &str, state: &str| {
        until(&format!("{name} is {state}"), Duration::from_secs(60), async || {
            let status = proxy.status();
            let of = status["backends"].as_array()?.iter().find(|of| of["name"] == name)?;
            (of["state"] == state).then_some(())
        })
        .await;
    };
    is("a_quiet_one", "down").await;
    other.kill9();
    is("other", "down").await;
    other.restart().await;
    is("other", "up").await;
    assert!(mute.was_asked());
}
