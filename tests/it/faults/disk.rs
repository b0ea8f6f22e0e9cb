//! The disk of a target is full: rows wait for room, clients do not, and nothing is lost.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::{Server, Shop, until};

use super::{SWITCHED, Trial};

const FULL: &str = "has no room left";

async fn fillable() -> Trial {
    let shop = Shop::open_moving_inside(&Server::FILLABLE, "").await;
    Trial::on(shop, "double_write = \"off\"").await
}

impl Trial {
    /// Until the status tells which server has no room, and what to do.
    async fn waits_for_room(&self) {
        let server = format!("127.0.0.1:{} {FULL}", self.shop.cluster.shards[1].port());
        until("the move waits for room", Duration::from_secs(60), async || {
            let of = self.status();
            let why = of["waits_for"].as_str()?;
            (why.contains(&server) && why.contains("make room")).then_some(())
        })
        .await;
    }

    /// Starts the move, and fills the disk when rows are about to travel.
    async fn begins_to_copy_without_room(&self) {
        self.shop.proxy.stop_at("Work(Copy)");
        self.run(&["move", "start", "shop"]);
        self.shop.proxy.is_at("Work(Copy)", 1).await;
        self.shop.cluster.shards[1].fill_disk().await;
        self.shop.proxy.go_on();
        self.waits_for_room().await;
    }

    async fn ends_as_if_there_had_been_room(self) {
        self.in_step().await;
        let (_, journal) = self.ends_equal().await;
        assert_eq!(journal.failed, 0, "{:?}", journal.first_error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_waits_for_room_and_can_be_paused_meanwhile() {
    let trial = fillable().await;
    trial.begins_to_copy_without_room().await;
    assert_eq!(trial.status()["phase"], "Copy");
    trial.load.more(20).await;
    trial.run(&["move", "pause", "shop"]);
    trial.shop.cluster.shards[1].make_room();
    trial.run(&["move", "resume", "shop"]);
    trial.reaches("Synced").await;
    trial.load.more(20).await;
    trial.ends_as_if_there_had_been_room().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_for_room_and_no_switch_passes_it() {
    let trial = fillable().await;
    trial.synced().await;
    trial.in_step().await;
    trial.shop.cluster.shards[1].fill_disk().await;
    let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
    let orders: Vec<String> =
        (100_001..=102_000).map(|id| format!("({id}, {}, 1, REPEAT('n', 100))", id % 3_000)).collect();
    let orders = format!("INSERT INTO orders (id, user_id, amount, note) VALUES {}", orders.join(", "));
    legacy.query_drop(orders).await.unwrap();
    trial.waits_for_room().await;
    assert_eq!(trial.status()["phase"], "Synced");
    trial.load.more(20).await;
    let why = trial.save(SWITCHED).await.expect("a switch to a side that has not everything");
    assert!(why.contains("SHD1605"), "{why}");
    assert_eq!(trial.save("double_write = \"off\"").await, None);
    trial.shop.cluster.shards[1].make_room();
    trial.ends_as_if_there_had_been_room().await;
}
