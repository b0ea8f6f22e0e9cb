//! Servers and the proxy are killed while a table moves and clients write: no acknowledged write is lost or doubled, and
//! the log says what happened. Where a step of a move has a name, the proxy waits there until the kill is done.

mod compared;
mod disk;
mod early;
mod indexes;
mod lax;
mod lost;
mod orphans;
mod phases;
mod servers;
mod steps;
mod torture;
mod undone;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_tests::load::{Journal, Load, Manners, SHARED, Transfers};
use shardway_tests::{Server, Shop, until};

/// Slow enough to be killed on its way.
const SLOWLY: &str = "copy.rows = 100\ncopy.parallel = 2\ncopy.pause_ms = 100";
const USERS: u64 = 3_000;
/// Enough for a switch on a busy machine.
const PATIENT: &str = "hold_ms = 10000";
const SWITCHED: &str = "writes = \"target\"\nreads = 100";

/// Lines under which keys may be divided. The source has the rows between which money goes: a transaction over both sides is
/// whole only while nobody is killed in its commit.
fn divisible(lines: &str) -> String {
    let shared: Vec<String> = (1..=SHARED).map(|id| id.to_string()).collect();
    let ids = "[tables.orders.id]\ncolumn = \"id\"\ngenerator = \"snowflake\"";
    format!("{lines}\nnever = [{}]\n{ids}\n", shared.join(", "))
}

/// A server to be killed.
#[derive(Debug, Clone, Copy)]
enum Which {
    Source,
    Target,
    OtherTarget,
}

fn verify(shop: &Shop) {
    shop.run(&["move", "verify", "shop"]);
}

/// A shop on servers of its own, with clients.
struct Trial {
    shop: Shop,
    load: Load,
}

impl Trial {
    async fn open(lines: &str) -> Trial {
        Trial::on(Shop::open_moving_alone().await, lines).await
    }

    /// On a shop that has no rows yet.
    async fn on(shop: Shop, lines: &str) -> Trial {
        Trial::with(shop, lines, 3, Manners::Plain).await
    }

    async fn with(shop: Shop, lines: &str, clients: u64, manners: Manners) -> Trial {
        let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
        legacy.query_drop(Load::shared_rows()).await.unwrap();
        for table in ["users (id, name)", "orders (id, user_id, amount)"] {
            let row = |id| match table {
                "users (id, name)" => format!("({}, 'old')", 1_000 + id),
                _ => format!("({id}, {}, 1.5)", 1_000 + id),
            };
            let values: Vec<String> = (1..=USERS).map(row).collect();
            let insert = format!("INSERT INTO {table} VALUES {}", values.join(", "));
            legacy.query_drop(insert).await.unwrap();
        }
        let options = shop.proxy.options("app", "app", &shop.name);
        let load = Load::start_as(&options, clients, Transfers::WithinShard, manners);
        let trial = Trial { shop, load };
        assert_eq!(trial.save(lines).await, None);
        trial.load.more(20).await;
        trial
    }

    /// Saves the move's rules; why they do not take effect.
    async fn save(&self, lines: &str) -> Option<String> {
        let version = self.begin_to_save(lines);
        self.shop.proxy.settled(version).await
    }

    /// Saves the move's rules as the version that is returned, and waits for nothing.
    fn begin_to_save(&self, lines: &str) -> u64 {
        let desired = self.shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
        // Never the text that is there already, which would be no new version.
        static SAVED: AtomicU64 = AtomicU64::new(0);
        let saved = SAVED.fetch_add(1, Ordering::Relaxed);
        self.shop.proxy.save_rules(&format!("# {saved}\n{}", self.shop.moving_rules(lines)));
        desired + 1
    }

    /// Ends the proxy where it waits at a step, and starts it again.
    async fn crash(&mut self) {
        self.shop.proxy.kill9();
        self.shop.proxy.go_on();
        self.shop.proxy.restart().await;
    }

    fn server(&mut self, which: Which) -> &mut Server {
        match which {
            Which::Source => &mut self.shop.own().legacy,
            Which::Target => &mut self.shop.own().shards[1],
            Which::OtherTarget => &mut self.shop.own().shards[0],
        }
    }

    fn run(&self, arguments: &[&str]) {
        self.shop.run(arguments);
    }

    fn status(&self) -> serde_json::Value {
        self.shop.of_move()
    }

    async fn reaches(&self, phase: &str) {
        self.shop.reaches(phase).await;
    }

    async fn synced(&self) {
        self.shop.carry_over().await;
    }

    async fn copied(&self, some: u64) {
        until("rows are copied", Duration::from_secs(30), async || {
            let of = self.status();
            (of["phase"] == "Copy" && of["rows_copied"].as_u64() >= Some(some)).then_some(())
        })
        .await;
    }

    /// Until the other side is as good as equal.
    async fn in_step(&self) {
        until("the streams have caught up", Duration::from_secs(120), async || {
            let of = self.status();
            let is_near = of["lag_s"].as_f64().is_none_or(|lag| lag < 1.5);
            (is_near && of["waits_for"].is_null() && of["dirty_keys"] == 0).then_some(())
        })
        .await;
    }

    /// Waits until the log says something once more than before.
    async fn says(&self, what: &str, before: usize) {
        until(what, Duration::from_secs(30), async || (self.said(what) > before).then_some(())).await;
    }

    fn said(&self, what: &str) -> usize {
        self.shop.proxy.log().matches(what).count()
    }

    /// Ends the clients and compares everything with what they know.
    async fn ends_equal(self) -> (Shop, Journal) {
        let Trial { shop, load } = self;
        let journal = load.stop().await;
        verify(&shop);
        journal.check(&mut shop.connect().await).await;
        assert!(!shop.proxy.log().contains("both sides differ"), "only a repair made both sides equal");
        (shop, journal)
    }
}
