//! The proxy, the source and a target are killed where both sides have been brought to one moment to be compared, and
//! while a move finishes.

use super::{PATIENT, SWITCHED, Trial, Which};

/// A row of the target that clients leave alone, so that a comparison waits for both sides, or is as it was.
async fn set_email(trial: &Trial, email: &str) {
    trial.shop.on_shard(0, &format!("UPDATE users_1 SET email = {email} WHERE id = 1001")).await;
}

/// Dies, and is back.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Proxy,
    Server(Which),
}

const VICTIMS: [Victim; 3] = [Victim::Proxy, Victim::Server(Which::Source), Victim::Server(Which::Target)];

/// Somebody dies during a comparison that a person asked for: the command fails, and the next one finds nothing.
async fn dies_during_a_comparison(trial: &mut Trial, victim: Victim, time: usize) {
    set_email(trial, "'wrong'").await;
    trial.shop.proxy.stop_at("Converge(Synced)");
    let mut command = trial.shop.proxy.begin(&["move", "verify", "shop"]);
    trial.shop.proxy.is_at("Converge(Synced)", time).await;
    set_email(trial, "NULL").await;
    trial.load.more(20).await;
    match victim {
        Victim::Proxy => trial.crash().await,
        Victim::Server(which) => {
            trial.server(which).kill9();
            trial.shop.proxy.go_on();
        }
    }
    assert!(!command.wait().unwrap().success(), "{victim:?}: nothing is known without it");
    if let Victim::Server(which) = victim {
        trial.server(which).restart().await;
    }
    trial.load.more(20).await;
    trial.in_step().await;
    assert_eq!(trial.status()["phase"], "Synced");
    super::verify(&trial.shop);
}

/// The proxy dies, then a target, then the source, each before the move has finished. Only the target is waited for.
async fn all_die_while_it_finishes(trial: &mut Trial) {
    const STEP: &str = "Work(Finishing)";
    trial.shop.proxy.stop_at(STEP);
    trial.run(&["move", "finish", "shop"]);
    trial.shop.proxy.is_at(STEP, 1).await;
    trial.shop.proxy.kill9_and_restart().await;
    trial.shop.proxy.is_at(STEP, 2).await;
    let before = trial.said("waiting to try again");
    trial.server(Which::Target).kill9();
    trial.shop.proxy.go_on();
    trial.says("waiting to try again", before).await;
    trial.shop.proxy.stop_at(STEP);
    trial.shop.proxy.is_at(STEP, 3).await;
    trial.server(Which::Target).restart().await;
    trial.server(Which::Source).kill9();
    trial.shop.proxy.go_on();
    trial.reaches("Done").await;
    trial.server(Which::Source).restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_while_sides_are_compared_or_a_move_finishes_is_waited_for_and_nothing_is_lost() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    trial.shop.proxy.stop_at("Converge(CatchUp)");
    trial.run(&["move", "start", "shop"]);
    trial.shop.proxy.is_at("Converge(CatchUp)", 1).await;
    trial.shop.proxy.kill9();
    trial.shop.proxy.stop_at("Work(Verify)");
    trial.shop.proxy.restart().await;
    trial.shop.proxy.is_at("Work(Verify)", 1).await;
    set_email(&trial, "'wrong'").await;
    trial.shop.proxy.stop_at("Converge(Verify)");
    trial.shop.proxy.is_at("Converge(Verify)", 1).await;
    set_email(&trial, "NULL").await;
    trial.crash().await;
    trial.reaches("Synced").await;
    trial.in_step().await;
    for (time, victim) in VICTIMS.into_iter().enumerate() {
        dies_during_a_comparison(&mut trial, victim, time + 1).await;
    }
    assert_eq!(trial.save(&format!("{PATIENT}\n{SWITCHED}")).await, None);
    trial.reaches("ReverseSync").await;
    trial.load.more(20).await;
    trial.in_step().await;
    super::verify(&trial.shop);
    all_die_while_it_finishes(&mut trial).await;
    trial.load.more(20).await;
    let Trial { shop, load } = trial;
    load.stop().await.check(&mut shop.connect().await).await;
    assert!(!shop.proxy.log().contains("both sides differ"), "only a repair made both sides equal");
}
