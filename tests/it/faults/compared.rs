//! The proxy, the source and a target are killed where both sides have been brought to one moment to be compared, and
//! while a move finishes.

use mysql_async::prelude::Queryable as _;

use super::{PATIENT, SWITCHED, Trial, Which, divisible};

/// A phase in which sides are compared, and the side that has a row which neither clients write nor it owns.
#[derive(Debug, Clone, Copy)]
struct Stage {
    phase: &'static str,
    others: Others,
}

#[derive(Debug, Clone, Copy)]
enum Others {
    OnSource,
    OnTarget,
}

const SYNCED: Stage = Stage { phase: "Synced", others: Others::OnTarget };
const DIVIDED: Stage = Stage { phase: "Divided", others: Others::OnTarget };
const REVERSE: Stage = Stage { phase: "ReverseSync", others: Others::OnSource };

/// Changes that row, so that a comparison waits for both sides, or puts it back.
async fn set_email(trial: &Trial, others: Others, email: &str) {
    let update = |table| format!("UPDATE {table} SET email = {email} WHERE id = 1001");
    match others {
        Others::OnTarget => drop(trial.shop.on_shard(0, &update("users_1")).await),
        Others::OnSource => {
            let mut legacy = trial.shop.cluster.legacy.connect(&trial.shop.name).await;
            legacy.query_drop(update("users")).await.unwrap();
        }
    }
}

/// Dies, and is back.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Proxy,
    Server(Which),
}

const VICTIMS: [Victim; 3] = [Victim::Proxy, Victim::Server(Which::Source), Victim::Server(Which::Target)];

/// Somebody dies during a comparison that a person asked for: the command fails, and the next one finds nothing.
async fn dies_during_a_comparison(
    trial: &mut Trial,
    Stage { phase, others }: Stage,
    victim: Victim,
    time: usize,
) {
    let step = format!("Converge({phase})");
    set_email(trial, others, "'wrong'").await;
    trial.shop.proxy.stop_at(&step);
    let mut command = trial.shop.proxy.begin(&["move", "verify", "shop"]);
    trial.shop.proxy.is_at(&step, time).await;
    set_email(trial, others, "NULL").await;
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
    assert_eq!(trial.status()["phase"], phase);
    super::verify(&trial.shop);
}

async fn all_die_during_comparisons(trial: &mut Trial, stage: Stage) {
    for (time, victim) in VICTIMS.into_iter().enumerate() {
        dies_during_a_comparison(trial, stage, victim, time + 1).await;
    }
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
    set_email(&trial, Others::OnTarget, "'wrong'").await;
    trial.shop.proxy.stop_at("Converge(Verify)");
    trial.shop.proxy.is_at("Converge(Verify)", 1).await;
    set_email(&trial, Others::OnTarget, "NULL").await;
    trial.crash().await;
    trial.reaches("Synced").await;
    trial.in_step().await;
    all_die_during_comparisons(&mut trial, SYNCED).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_when_the_target_owns_some_keys_and_when_it_owns_all() {
    let mut trial = Trial::open(&divisible("")).await;
    trial.synced().await;
    // Not the user whose row is changed by hand.
    assert_eq!(trial.save(&divisible(&format!("{PATIENT}\nwrites = 0\nalways = [1002, 1003]"))).await, None);
    trial.reaches("Divided").await;
    all_die_during_comparisons(&mut trial, DIVIDED).await;
    assert_eq!(trial.save(&divisible(&format!("{PATIENT}\n{SWITCHED}"))).await, None);
    trial.reaches("ReverseSync").await;
    all_die_during_comparisons(&mut trial, REVERSE).await;
    trial.ends_equal().await;
}
