//! Everything at once: clients of both protocols, some of which leave in the middle of a commit; double write on and off,
//! reads there and back, the switch, back, the switch again, the end; the proxy and servers killed at steps of the switch and
//! between, rule files that make no sense in between. The order is drawn by chance, and told, so that it can be drawn again.

use std::time::Duration;

use shardway_tests::load::Manners;
use shardway_tests::{Chance, Shop, until};

use super::steps::STEPS;
use super::{PATIENT, Trial, Which, divisible};

/// Names the course of a run, to see it again.
const SEED: &str = "SHARDWAY_TORTURE_SEED";

/// For what comes in seconds on an idle machine.
const WAIT: Duration = Duration::from_secs(240);

/// What is done to a rule file that nobody should ever save.
const NONSENSE: [&str; 6] = [
    "reads = 300",
    "writes = \"both\"",
    "double_write = \"maybe\"",
    "tables = [\"users\", \"nosuch\"]",
    "reads = [",
    "history = { column = \"name\", since = \"yesterday\" }",
];

/// What ends in the middle of a switch.
#[derive(Debug, Clone, Copy)]
enum Killed {
    Proxy,
    Server,
}

const SERVERS: [Which; 3] = [Which::Source, Which::Target, Which::OtherTarget];

const MODES: [&str; 4] = ["off", "async", "sync", "strict"];

fn rules(mode: &str, reads: usize, writes: &str) -> String {
    let writes =
        if writes.starts_with(char::is_numeric) { writes.to_owned() } else { format!("\"{writes}\"") };
    divisible(&format!("{PATIENT}\ndouble_write = \"{mode}\"\nreads = {reads}\nwrites = {writes}"))
}

impl Trial {
    /// Something that goes wrong every day.
    async fn mishap(&mut self, chance: &mut Chance) {
        match chance.below(4) {
            0 => {
                let lines = chance.of(&NONSENSE);
                println!("nonsense: {lines}");
                let version = self.begin_to_save(lines);
                assert!(self.shop.proxy.settled(version).await.is_some(), "{lines} is in force");
            }
            1 => {
                println!("the proxy is killed");
                self.shop.proxy.kill9_and_restart().await;
            }
            2 => {
                let which = chance.of(&SERVERS);
                println!("{which:?} is killed");
                self.server(which).kill9();
                self.server(which).restart().await;
            }
            _ => println!("nothing happens"),
        }
        self.load.more(20).await;
    }

    /// Saves rules until they are in force: what was away comes back.
    async fn insist(&self, lines: &str) {
        let mut told = None;
        until(&format!("in force: {lines}"), WAIT, async || {
            let why = self.save(lines).await;
            if why.is_some() {
                if why != told {
                    println!("not yet: {}", why.as_deref().unwrap_or_default());
                    told.clone_from(&why);
                }
                self.load.more(5).await;
            }
            why.is_none().then_some(())
        })
        .await;
    }

    /// Saves rules until the proxy waits at a step on the way to them.
    async fn gets_to(&self, step: &str, lines: &str) {
        let at_step = format!("holds this process at {step}\n");
        let before = self.said(&at_step);
        let mut version = self.begin_to_save(lines);
        until(step, WAIT, async || {
            let is_there = self.said(&at_step) > before;
            let of = &self.shop.proxy.status()["rules"];
            let is_refused = of["desired_version"].as_u64() >= Some(version) && !of["last_error"].is_null();
            if is_refused && !is_there {
                println!("not yet: {}", of["last_error"]);
                self.load.more(5).await;
                version = self.begin_to_save(lines);
            }
            is_there.then_some(())
        })
        .await;
    }

    /// Until the streams are; under `async` some key is always on its way.
    async fn near(&self) {
        until("the streams are near", WAIT, async || {
            let of = self.status();
            let is_near = of["lag_s"].as_f64().is_some_and(|lag| lag < 1.5);
            (is_near && of["waits_for"].is_null()).then_some(())
        })
        .await;
    }

    /// A switch during which the proxy or a server is killed, perhaps.
    async fn switches(&mut self, chance: &mut Chance, mode: &str, writes: &str) {
        let (reads, phase) = match writes {
            "target" => (100, "ReverseSync"),
            "source" => (0, "Synced"),
            _ => (0, "Divided"),
        };
        self.near().await;
        let killed = chance.of(&[None, Some(Killed::Proxy), Some(Killed::Server)]);
        if let Some(killed) = killed {
            let step = chance.of(&STEPS);
            println!("{killed:?} is killed at {step} on the way to the {writes}");
            self.shop.proxy.stop_at(step);
            self.gets_to(step, &rules(mode, reads, writes)).await;
            match killed {
                Killed::Proxy => self.crash().await,
                Killed::Server => {
                    let which = chance.of(&SERVERS);
                    println!("{which:?}");
                    self.server(which).kill9();
                    self.shop.proxy.go_on();
                    self.server(which).restart().await;
                }
            }
            self.load.more(20).await;
        }
        self.insist(&rules(mode, reads, writes)).await;
        self.reaches(phase).await;
        self.load.more(50).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whatever_happens() {
    let seed = Chance::drawn(SEED);
    println!("{SEED}={seed}");
    let local = tokio::task::LocalSet::new();
    let run = local.run_until(async move { tokio::task::spawn_local(course(Chance::new(seed))).await });
    let Err(error) = run.await else { return };
    let panic = error.into_panic();
    let why = panic.downcast_ref::<String>().map(String::as_str);
    let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    // Once more behind the logs, where output that was cut off still has it.
    eprintln!("{SEED}={seed}: {why}");
    std::panic::resume_unwind(panic);
}

async fn course(mut chance: Chance) {
    let mut trial = Trial::with(Shop::open_moving_alone().await, "", 4, Manners::Rough).await;
    trial.synced().await;
    for _ in 0..3 {
        let mode = chance.of(&MODES);
        // Reads come back before double write may go.
        for reads in [0, chance.below(101), 100, 0] {
            println!("double write {mode}, reads {reads} %");
            trial.insist(&rules(mode, reads, "source")).await;
            trial.mishap(&mut chance).await;
        }
    }
    for writes in ["target", "source", "20", chance.of(&["source", "70"]), "target"] {
        let is_divided = writes.starts_with(char::is_numeric);
        let mode = if is_divided { "off" } else { chance.of(&MODES) };
        println!("writes to the {writes}, double write {mode}");
        trial.switches(&mut chance, mode, writes).await;
        trial.mishap(&mut chance).await;
    }
    trial.insist(&rules("sync", 100, "target")).await;
    trial.in_step().await;
    let (shop, journal) = trial.ends_equal().await;
    println!(
        "{} acknowledged, {} failed, longest stall {:?}",
        journal.acknowledged, journal.failed, journal.longest_stall
    );
    shop.run(&["move", "finish", "shop"]);
    journal.check(&mut shop.connect().await).await;
}
