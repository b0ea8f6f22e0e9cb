//! The proxy, the source and a target are killed in every phase that carries rows.

use std::time::Duration;

use shardway_tests::{rows, until};

use super::{Trial, Which};

/// Kills a server where the proxy waits, lets it go on, and starts the server again once the proxy has noticed.
async fn killed_and_back(trial: &mut Trial, which: Which, noticed: &str) {
    let before = trial.said(noticed);
    trial.server(which).kill9();
    trial.shop.proxy.go_on();
    trial.says(noticed, before).await;
    trial.server(which).restart().await;
}

async fn in_every_phase(which: Which, more: &str) {
    let mut trial = Trial::open(more).await;
    for step in ["Work(Copy)", "Work(CatchUp)", "Converge(CatchUp)", "Work(Index)", "Work(Verify)"] {
        trial.shop.proxy.stop_at(step);
        if step == "Work(Copy)" {
            trial.run(&["move", "start", "shop"]);
        }
        trial.shop.proxy.is_at(step, 1).await;
        trial.load.more(20).await;
        let before = trial.said("the stream begins anew");
        trial.server(which).kill9();
        trial.says("the stream begins anew", before).await;
        // The next step is waited for before the proxy can pass it.
        let after = match step {
            "Work(Copy)" => "Work(CatchUp)",
            "Work(CatchUp)" => "Converge(CatchUp)",
            "Converge(CatchUp)" => "Work(Index)",
            "Work(Index)" => "Work(Verify)",
            _ => "",
        };
        trial.shop.proxy.stop_at(after);
        trial.server(which).restart().await;
    }
    trial.reaches("Synced").await;
    trial.in_step().await;
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_killed_in_every_phase_is_waited_for() {
    in_every_phase(Which::Source, "double_write = \"off\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_killed_in_every_phase_is_waited_for() {
    in_every_phase(Which::Target, "double_write = \"off\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_in_every_phase_goes_on() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    let phases = ["Preflight", "Prepare", "Capture", "Copy", "CatchUp", "Index", "Verify"];
    for (place, phase) in phases.iter().enumerate() {
        let step = format!("Work({phase})");
        trial.shop.proxy.stop_at(&step);
        if place == 0 {
            trial.run(&["move", "start", "shop"]);
        }
        trial.shop.proxy.is_at(&step, 1).await;
        trial.load.more(20).await;
        trial.shop.proxy.kill9();
        // It stops at the next one at once.
        trial
            .shop
            .proxy
            .stop_at(&phases.get(place + 1).map(|next| format!("Work({next})")).unwrap_or_default());
        trial.shop.proxy.restart().await;
    }
    trial.reaches("Synced").await;
    trial.in_step().await;
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_rows_are_compared_fails_nothing() {
    for which in [Which::Source, Which::Target] {
        let mut trial = Trial::open("double_write = \"off\"").await;
        trial.shop.proxy.stop_at("Work(Verify)");
        trial.run(&["move", "start", "shop"]);
        trial.shop.proxy.is_at("Work(Verify)", 1).await;
        // A row that differs for good is what a comparison must wait for both sides about.
        trial.shop.on_shard(0, "UPDATE users_1 SET email = 'wrong' WHERE id = 1001").await;
        trial.shop.proxy.stop_at("Converge(Verify)");
        trial.shop.proxy.is_at("Converge(Verify)", 1).await;
        killed_and_back(&mut trial, which, "waiting to try again").await;
        trial.reaches("Synced").await;
        trial.in_step().await;
        let of_shard = trial.shop.on_shard(0, "SELECT email FROM users_1 WHERE id = 1001").await;
        assert_eq!(of_shard, ["NULL"]);
        let journal = trial.load.stop().await;
        let mut client = trial.shop.connect().await;
        assert_eq!(rows(&mut client, "SELECT email FROM users WHERE id = 1001").await.unwrap(), ["NULL"]);
        journal.check(&mut client).await;
        super::verify(&trial.shop);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_starts_while_the_source_is_away_goes_on_when_it_is_back() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    for phase in ["Copy", "CatchUp", "Verify"] {
        let step = format!("Work({phase})");
        trial.shop.proxy.stop_at(&step);
        if phase == "Copy" {
            trial.run(&["move", "start", "shop"]);
        }
        trial.shop.proxy.is_at(&step, 1).await;
        trial.server(Which::Source).kill9();
        trial.shop.proxy.kill9();
        trial.shop.proxy.go_on();
        let before = trial.said("waiting to try again");
        trial.shop.proxy.restart().await;
        trial.says("waiting to try again", before).await;
        // It is at the next step before it can pass it.
        let next = if phase == "Copy" { "Work(CatchUp)" } else { "Work(Verify)" };
        trial.shop.proxy.stop_at(if phase == "Verify" { "" } else { next });
        trial.server(Which::Source).restart().await;
        trial.load.more(20).await;
    }
    trial.reaches("Synced").await;
    trial.in_step().await;
    trial.ends_equal().await;
}

/// Pages enough to be killed between two of them.
const LOCKING: &str = "copy.locking = true\ncopy.rows = 100\ncopy.pause_ms = 100";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locking_copy_that_is_killed_goes_on_where_it_was() {
    for way in ["double_write = \"off\"", "double_write = \"sync\"\ncapture = \"none\""] {
        let mut trial = Trial::open(&format!("{way}\n{LOCKING}")).await;
        trial.run(&["move", "start", "shop"]);
        trial.copied(500).await;
        trial.shop.proxy.kill9();
        trial.shop.proxy.stop_at("Work(Copy)");
        trial.shop.proxy.restart().await;
        trial.shop.proxy.is_at("Work(Copy)", 1).await;
        // One of the first rows, which only a copy that begins anew would bring once more.
        trial.shop.on_shard(0, "DELETE FROM users_1 WHERE id = 1001").await;
        trial.shop.proxy.go_on();
        until("the copy goes on", Duration::from_secs(30), async || {
            let of = trial.status();
            (of["phase"] == "Copy" && of["rows_per_s"].as_f64() > Some(0.0)).then_some(())
        })
        .await;
        let of = trial.status();
        assert!(of["rows_per_s"].as_f64() < Some(1_500.0), "what was there is told as speed: {of}");
        trial.copied(1_500).await;
        let there = "SELECT COUNT(*) FROM users_1 WHERE id = 1001";
        assert_eq!(trial.shop.on_shard(0, there).await, ["0"], "it has begun anew");
        trial.shop.on_shard(0, "INSERT INTO users_1 (id, name) VALUES (1001, 'old')").await;
        killed_and_back_while_it_goes_on(&mut trial).await;
        trial.reaches("Synced").await;
        trial.in_step().await;
        trial.ends_equal().await;
    }
}

async fn killed_and_back_while_it_goes_on(trial: &mut Trial) {
    let noticed = "waiting to try again";
    let before = trial.said(noticed);
    trial.server(Which::Target).kill9();
    trial.says(noticed, before).await;
    trial.server(Which::Target).restart().await;
}
