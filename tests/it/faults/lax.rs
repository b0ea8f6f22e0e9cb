//! The proxy and targets are killed while parameters of a move are in force under which a server loses what it has
//! committed last: it is copied, and brought by the stream, once more.

use std::time::Duration;

use shardway_tests::{Flavour, Shop, until};

use super::{Trial, USERS};

const LINES: &str = "double_write = \"off\"\ncopy = { rows = 50, parallel = 2, pause_ms = 100 }\n\
                     tune = { innodb_flush_log_at_trx_commit = 0 }";

/// Targets that keep their log to themselves: killed, they have nothing that was committed since it was written last.
async fn forgetful() -> Trial {
    let mut options = vec!["--innodb-flush-log-at-timeout=2700"];
    if Flavour::chosen() == Flavour::MySql {
        options.push("--innodb-log-writer-threads=OFF");
    }
    Trial::on(Shop::open_moving_inside(&options, "").await, LINES).await
}

async fn value(trial: &Trial, shard: usize) -> Vec<String> {
    trial.shop.on_shard(shard, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit").await
}

/// Rows on one target that only the copy brings.
async fn copied_to(trial: &Trial, shard: usize) -> u64 {
    let rows = |number: usize| {
        format!(
            "(SELECT COUNT(*) FROM users_{number} WHERE id BETWEEN 1001 AND 9999) + \
             (SELECT COUNT(*) FROM orders_{number})"
        )
    };
    let sql = format!("SELECT {} + {}", rows(2 * shard), rows(2 * shard + 1));
    trial.shop.on_shard(shard, &sql).await[0].parse().unwrap()
}

/// The copy is on its way, under its parameter. Tells how many rows the target keeps whatever comes: it has more.
async fn copies_to(trial: &Trial, shard: usize) -> u64 {
    let has = async |least: u64| {
        until("rows are copied", Duration::from_secs(60), async || {
            assert_ne!(trial.status()["phase"], "Failed", "{}", trial.status());
            let is_tuned = value(trial, 0).await == ["0"] && value(trial, 1).await == ["0"];
            (is_tuned && copied_to(trial, shard).await >= least).then_some(())
        })
        .await;
    };
    has(200).await;
    let kept = copied_to(trial, shard).await;
    // A server writes its log before a definition changes.
    for statement in ["CREATE TABLE kept (id INT NOT NULL PRIMARY KEY)", "DROP TABLE kept"] {
        trial.shop.on_shard(shard, statement).await;
    }
    has(kept + 100).await;
    assert_eq!(trial.status()["phase"], "Copy");
    kept
}

/// It has forgotten some of it: certainly on MariaDB, while MySQL may have written its log for reasons of its own.
fn has_forgotten(kept: u64, had: u64, has: u64) {
    println!("a target had {had} rows, was to keep {kept}, and has {has}");
    assert!(has >= kept, "{has} of {kept}");
    match Flavour::chosen() {
        Flavour::MariaDb => assert!(has < had, "{has} of {had}"),
        Flavour::MySql => assert!(has <= had, "{has} of {had}"),
    }
}

async fn dies(trial: &mut Trial, shard: usize) {
    let server = &mut trial.shop.own().shards[shard];
    server.kill9();
    server.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_target_has_forgotten_comes_once_more() {
    let mut trial = forgetful().await;
    let before = value(&trial, 0).await;
    assert_ne!(before, ["0"]);
    trial.run(&["move", "start", "shop"]);
    // The second target first, while the first one knows how far the copy is.
    for (time, shard) in [(1, 1), (2, 0)] {
        let kept = copies_to(&trial, shard).await;
        trial.load.more(20).await;
        trial.shop.proxy.stop_at("Work(Copy)");
        let had = copied_to(&trial, shard).await;
        dies(&mut trial, shard).await;
        trial.shop.proxy.is_at("Work(Copy)", time).await;
        has_forgotten(kept, had, copied_to(&trial, shard).await);
        trial.shop.proxy.go_on();
    }
    // Nor does a process know that begins anew.
    let kept = copies_to(&trial, 1).await;
    let had = copied_to(&trial, 1).await;
    trial.shop.proxy.kill9();
    dies(&mut trial, 1).await;
    has_forgotten(kept, had, copied_to(&trial, 1).await);
    trial.shop.proxy.stop_at("Work(CatchUp)");
    trial.shop.proxy.restart().await;
    trial.shop.proxy.is_at("Work(CatchUp)", 1).await;

    // What is copied as a whole is never looked at again.
    assert_eq!(value(&trial, 1).await, ["0"]);
    dies(&mut trial, 1).await;
    assert_eq!(copied_to(&trial, 1).await, USERS, "half of the users and of the orders");
    trial.shop.proxy.stop_at("Work(Index)");
    trial.shop.proxy.is_at("Work(Index)", 1).await;
    assert_eq!(value(&trial, 1).await, ["0"]);
    trial.load.more(20).await;
    trial.shop.proxy.kill9();
    dies(&mut trial, 0).await;
    trial.shop.proxy.go_on();
    trial.shop.proxy.restart().await;
    trial.reaches("Synced").await;
    for shard in [0, 1] {
        assert_eq!(value(&trial, shard).await, before);
        assert_eq!(trial.shop.on_shard(shard, "SELECT COUNT(*) FROM shardway_tuned").await, ["0"]);
    }
    trial.in_step().await;
    trial.ends_equal().await;
}
