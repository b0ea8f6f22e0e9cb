//! Alerts and the throttle on a real move: what fires, who is told and when, and what becomes of the copy.

mod limits;
mod listener;
pub(crate) mod mute;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{Proxy, Shop, until};

use listener::Listener;
use mute::Mute;

const LIMIT: Duration = Duration::from_secs(60);
/// A copy of many chunks that takes its time.
const SLOWLY: &str = "copy.rows = 10\ncopy.parallel = 2\ncopy.pause_ms = 1000";
const USERS: u64 = 2_000;

async fn with_rows(shop: Shop) -> Shop {
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    let values: Vec<String> = (1..=USERS).map(|id| format!("({id}, 'old')")).collect();
    legacy.query_drop(format!("INSERT INTO users (id, name) VALUES {}", values.join(", "))).await.unwrap();
    shop
}

/// The alert of that condition, once it fires.
async fn fires(shop: &Shop, when: &str) -> Value {
    until(when, LIMIT, async || alert(shop, when)).await
}

async fn clears(shop: &Shop, when: &str) {
    until(&format!("no more {when}"), LIMIT, async || alert(shop, when).is_none().then_some(())).await;
}

fn alert(shop: &Shop, when: &str) -> Option<Value> {
    shop.of_move()["alerts"].as_array()?.iter().find(|alert| alert["alert"] == when).cloned()
}

/// How many alerts fire, as the metrics tell.
fn firing(shop: &Shop, level: &str) -> u64 {
    let metrics = shop.proxy.get("/metrics").unwrap();
    let mut described: Vec<&str> = metrics.lines().filter(|told| told.starts_with("# TYPE ")).collect();
    let families = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!(described.len(), families, "a family is described twice: {metrics}");
    for alert in shop.of_move()["alerts"].as_array().into_iter().flatten() {
        let named = format!("level={},alert={}}} 1", alert["level"], alert["alert"]);
        assert!(metrics.contains(&named), "{named}: {metrics}");
    }
    let line = format!("shardway_alerts_firing{{level=\"{level}\"}} ");
    let found = metrics.lines().find_map(|told| told.strip_prefix(&line));
    found.unwrap_or_else(|| panic!("{line}: {metrics}")).parse().unwrap()
}

/// A time that people are told is one of the last minutes.
fn is_recent(at: &Value) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(at.as_u64().is_some_and(|at| (now - 600..=now).contains(&at)), "{at}, and now is {now}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_of_the_copy_pauses_it_and_tells_whoever_listens() {
    let listener = Listener::open();
    let shop = with_rows(Shop::open_moving().await).await;
    let slow = "[[alerts]]\nwhen = \"progress_speed < 1000000 rows/s\"";
    shop.save(&format!("{SLOWLY}\n{slow}\nlevel = \"critical\"")).await;
    shop.run(&["move", "start", "shop"]);
    let alert = fires(&shop, "progress_speed < 1000000 rows/s").await;
    assert_eq!(alert["level"], "critical", "{alert}");
    is_recent(&alert["since"]);
    assert_eq!((firing(&shop, "critical"), firing(&shop, "warning")), (1, 0));
    let url = listener.url();
    shop.save(&format!(
        "{SLOWLY}\n{slow}\nmessage = \"slow\"\nactions = [\"pause\", {{ webhook = \"{url}\" }}]"
    ))
    .await;
    shop.reaches("Paused").await;
    let told = listener.told(|told| told["state"] == "firing").await;
    assert_eq!(
        (&told["move"], &told["message"], &told["level"]),
        (&"shop".into(), &"slow".into(), &"warning".into())
    );
    is_recent(&told["at"]);
    until("the status says why", LIMIT, async || {
        (shop.of_move()["waits_for"] == "resume: alert: slow").then_some(())
    })
    .await;
    // A copy that is stopped is not slow.
    clears(&shop, "progress_speed < 1000000 rows/s").await;
    listener.told(|told| told["state"] == "cleared").await;
    assert_eq!((firing(&shop, "critical"), firing(&shop, "warning")), (0, 0));
    shop.save("").await;
    shop.run(&["move", "resume", "shop"]);
    shop.reaches("Synced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stops_is_too_late_and_its_move_an_alert_until_it_goes_on() {
    let listener = Listener::open();
    let shop = with_rows(Shop::open_moving_alone().await).await;
    let late = format!(
        "double_write = \"off\"\n[[alerts]]\nwhen = \"sync_delay > 60 s\"\nfor = \"1 s\"\n\
         actions = [{{ webhook = \"{}\" }}]",
        listener.url()
    );
    shop.save(&late).await;
    shop.carry_over().await;
    shop.in_step().await;
    clears(&shop, "sync_delay > 60 s").await;
    assert_eq!((firing(&shop, "critical"), firing(&shop, "warning")), (0, 0));
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop("ALTER TABLE users ADD COLUMN extra INT").await.unwrap();
    legacy.query_drop("UPDATE users SET extra = 7 WHERE id = 1").await.unwrap();
    shop.reaches("Failed").await;
    assert_eq!(fires(&shop, "sync_delay > 60 s").await["value"], "unknown");
    let failed = fires(&shop, "failed > 0").await;
    assert!(
        failed["level"] == "critical" && failed["message"].to_string().contains("definition"),
        "{failed}"
    );
    is_recent(&failed["since"]);
    assert_eq!((firing(&shop, "critical"), firing(&shop, "warning")), (1, 1));
    assert!(shop.proxy.log().contains("alert: the move has stopped and needs a person"));
    let told = listener.told(|told| told["alert"] == "failed > 0" && told["state"] == "firing").await;
    is_recent(&told["at"]);
    listener.told(|told| told["alert"] == "sync_delay > 60 s" && told["value"] == "unknown").await;
    legacy.query_drop("ALTER TABLE users DROP COLUMN extra").await.unwrap();
    for (shard, server) in shop.cluster.shards.iter().enumerate() {
        let mut target = server.connect(&shop.name).await;
        for number in [2 * shard, 2 * shard + 1] {
            target.query_drop(format!("TRUNCATE TABLE users_{number}")).await.unwrap();
        }
    }
    shop.carry_over().await;
    clears(&shop, "failed > 0").await;
    clears(&shop, "sync_delay > 60 s").await;
    listener.told(|told| told["alert"] == "failed > 0" && told["state"] == "cleared").await;
    shop.save(&format!("{late}\n[[alerts]]\nwhen = \"missing_rows > 0\"")).await;
    let mut target = shop.cluster.shards[0].connect(&shop.name).await;
    target.query_drop("DELETE FROM users_1 WHERE id IN (1, 5)").await.unwrap();
    assert!(!shop.proxy.command(&["move", "verify", "shop"]).status.success());
    assert_eq!(shop.of_move()["last_verify"]["missing"], 2);
    assert_eq!(fires(&shop, "missing_rows > 0").await["value"], "2 rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_a_limit_slows_goes_on_at_full_pace_when_a_person_says_so() {
    let shop = with_rows(Shop::open_moving().await).await;
    // Nobody listens there, so nobody knows whether the copy may go on.
    let limit = "throttle.check_url = \"http://127.0.0.1:1/go\"";
    shop.save(&format!("copy.rows = 20\ncopy.parallel = 4\ncopy.pause_ms = 1000\n{limit}")).await;
    shop.run(&["move", "start", "shop"]);
    let pace = until("the copy is slowed down", LIMIT, async || {
        let pace = shop.of_move()["pace"].clone();
        (pace["concurrency"] == 1 && pace["pause_ms"].as_u64() >= Some(4_000)).then_some(pace)
    })
    .await;
    assert_eq!(pace["state"], "slowed", "{pace}");
    assert!(pace["reason"].to_string().contains("http://127.0.0.1:1/go"), "{pace}");
    assert_eq!(shop.of_move()["phase"], "Copy");
    shop.run(&["move", "throttle", "shop", "--off"]);
    until("the copy is as fast as it may be", LIMIT, async || {
        let of = shop.of_move();
        let pace = &of["pace"];
        let is_full = pace["state"] == "running" && pace["concurrency"] == 4 && pace["pause_ms"] == 1_000;
        (is_full || of["phase"] != "Copy").then_some(())
    })
    .await;
    shop.reaches("Synced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_rests_outside_of_its_windows_without_an_alert_until_a_person_opens_them() {
    let shop = with_rows(Shop::open_moving().await).await;
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3_600;
    let window = format!("{:02}:00-{:02}:00", (hour + 11) % 24, (hour + 12) % 24);
    let alerts = "[[alerts]]\nwhen = \"progress_speed < 1000000 rows/s\"\nactions = [\"pause\"]\n\
                  [[alerts]]\nwhen = \"no_progress_for > 1 s\"\nactions = [\"pause\"]";
    shop.save(&format!("{SLOWLY}\nthrottle.windows = [\"{window}\"]\n{alerts}")).await;
    shop.run(&["move", "start", "shop"]);
    let elapsed = async |least: u64| {
        until("time passes", LIMIT, async || {
            let of = shop.of_move();
            assert!(of["phase"] != "Paused" && of["alerts"] == Value::Array(Vec::new()), "{of}");
            let rests = of["phase"] == "Copy" && of["pace"]["state"] == "stopped";
            (rests && of["elapsed_s"].as_u64() >= Some(least)).then_some(of)
        })
        .await
    };
    let began = elapsed(0).await["elapsed_s"].as_u64().unwrap();
    let of = elapsed(began + 4).await;
    assert!(of["waits_for"].to_string().contains(&format!("waits for {window} UTC")), "{of}");
    assert!(of["rows_copied"].as_u64() < Some(USERS), "{of}");
    shop.run(&["move", "throttle", "shop", "--off"]);
    // Now it is slow, and that is told.
    shop.reaches("Paused").await;
    shop.save("").await;
    shop.run(&["move", "resume", "shop"]);
    shop.reaches("Synced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_unknown_and_no_other_move_waits_for_it() {
    let shop = with_rows(Shop::open_moving_alone().await).await;
    let mut s0 = shop.cluster.shards[0].connect(&shop.name).await;
    s0.query_drop("CREATE TABLE extra (id INT PRIMARY KEY, name VARCHAR(9))").await.unwrap();
    let values: Vec<String> = (1..=USERS).map(|id| format!("({id}, 'old')")).collect();
    s0.query_drop(format!("INSERT INTO extra VALUES {}", values.join(", "))).await.unwrap();
    let mute = Mute::before(shop.cluster.legacy.port(), "SHOW REPLICA STATUS");
    let url = |port: u16| format!("\"mysql://shop:shop@127.0.0.1:{port}/{}\"", shop.name);
    let primary = format!("primary = {}\n", url(shop.cluster.legacy.port()));
    let replica = format!("replicas = [{{ url = {} }}]\n", url(mute.port()));
    let extra = "[tables.extra]\nkind = \"single\"\nnodes = \"s1\"\n[moves.extra]\ntables = [\"extra\"]\nfrom = \"s0\"\n";
    let rules =
        |limit: &str| format!("{}{extra}{SLOWLY}\n", shop.moving_rules(&format!("{SLOWLY}\n{limit}")));
    let first = rules("throttle.replica_lag_s = 5").replace(&primary, &format!("{primary}{replica}"));
    // One that has never known a table anywhere else.
    let proxy = Proxy::start(&first).await;
    for name in ["shop", "extra"] {
        assert!(proxy.command(&["move", "start", name]).status.success(), "{name}");
    }
    slowed(&proxy, "replica lag is unknown").await;
    assert!(mute.was_asked());
    is_looked_at(&proxy, "extra").await;
    slowed(&proxy, "replica lag is unknown").await;
    proxy.save_rules(&rules("throttle.threads_running = 1000000"));
    assert_eq!(proxy.settled(2).await, None);
    shop.cluster.legacy.freeze();
    slowed(&proxy, "threads running is unknown").await;
    is_looked_at(&proxy, "extra").await;
    shop.cluster.legacy.thaw();
}

/// Until the copy of users is slowed down for that reason.
async fn slowed(proxy: &Proxy, why: &str) {
    until(why, LIMIT, async || {
        let pace = of_move(proxy, "shop")["pace"].clone();
        (pace["state"] == "slowed" && pace["reason"] == why).then_some(())
    })
    .await;
}

/// Until some looks at a move have shown how long it has been on its way.
async fn is_looked_at(proxy: &Proxy, name: &str) {
    let elapsed = || of_move(proxy, name)["elapsed_s"].as_u64();
    let began = until("the copy runs", LIMIT, async || elapsed().filter(|elapsed| *elapsed > 0)).await;
    until("it is looked at", LIMIT, async || elapsed().filter(|elapsed| *elapsed >= began + 3)).await;
}

fn of_move(proxy: &Proxy, name: &str) -> Value {
    let status = proxy.status();
    let found = status["moves"].as_array().unwrap().iter().find(|of| of["name"] == name);
    found.cloned().unwrap_or_default()
}
