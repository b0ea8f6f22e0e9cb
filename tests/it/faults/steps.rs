//! The proxy or a server is killed at every step of a switch and of the way back. Before the new rules are noted nothing
//! has happened, after that all of it.

use super::{PATIENT, SWITCHED, Trial, Which};

const BACK: &str = "writes = \"source\"";
/// In their order. The version of the rules is noted at the sixth.
pub(super) const STEPS: [&str; 8] =
    ["Hold", "Drain", "Position", "Intent", "Unfollow", "Journal", "Publish", "Reverse"];

/// Where a switch goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    There,
    Back,
}

impl Way {
    fn rules(self, more: &str) -> String {
        let lines = match self {
            Way::There => SWITCHED,
            Way::Back => BACK,
        };
        format!("{PATIENT}\n{more}\n{lines}")
    }

    /// The phase before and after it.
    fn phases(self) -> (&'static str, &'static str) {
        match self {
            Way::There => ("Synced", "ReverseSync"),
            Way::Back => ("ReverseSync", "Synced"),
        }
    }
}

fn is_noted(step: &str) -> bool {
    let place = |of: &str| STEPS.iter().position(|step| *step == of);
    place(step) >= place("Journal")
}

/// Every step there and back.
fn all() -> impl Iterator<Item = (&'static str, Way)> {
    STEPS.into_iter().flat_map(|step| [(step, Way::There), (step, Way::Back)])
}

/// What a restart makes of a switch that was not noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    /// Streams must be followed first, so somebody saves the file again.
    Forgets,
    /// Double write has kept both sides: it happens at once.
    Repeats,
}

async fn the_proxy_is_killed(more: &str, restart: Restart) {
    let mut trial = Trial::open(more).await;
    trial.synced().await;
    let mut times = std::collections::BTreeMap::new();
    for (step, way) in all() {
        let (before, after) = way.phases();
        trial.in_step().await;
        assert_eq!(trial.status()["phase"], before);
        trial.shop.proxy.stop_at(step);
        trial.begin_to_save(&way.rules(more));
        let time = times.entry(step).or_insert(0);
        *time += 1;
        trial.shop.proxy.is_at(step, *time).await;
        trial.crash().await;
        let (is, told) = (trial.status()["phase"].clone(), trial.shop.proxy.status()["rules"].clone());
        if is_noted(step) || restart == Restart::Repeats {
            assert_eq!(
                (is.as_str(), &told["last_error"]),
                (Some(after), &serde_json::Value::Null),
                "{step} {way:?}"
            );
        } else {
            assert_eq!(is, before, "{step} {way:?}");
            assert!(told["last_error"].as_str().unwrap().contains("save the file again"), "{told}");
            trial.load.more(20).await;
            trial.in_step().await;
            assert_eq!(trial.save(&way.rules(more)).await, None, "{step} {way:?}");
            trial.reaches(after).await;
        }
        trial.load.more(20).await;
        trial.in_step().await;
        super::verify(&trial.shop);
    }
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_at_any_step_is_before_the_switch_or_after_it() {
    the_proxy_is_killed("double_write = \"off\"", Restart::Forgets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_double_write_beside_the_stream() {
    the_proxy_is_killed("double_write = \"sync\"", Restart::Forgets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_double_write_alone() {
    the_proxy_is_killed("capture = \"none\"\ndouble_write = \"sync\"", Restart::Repeats).await;
}

/// A server dies and is back when the switch has been settled, one way or the other.
async fn a_server_is_killed(on_the_way_there: Which, on_the_way_back: Which) {
    let mut trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    let mut times = std::collections::BTreeMap::new();
    for (step, way) in all() {
        let (before, after) = way.phases();
        let which = match way {
            Way::There => on_the_way_there,
            Way::Back => on_the_way_back,
        };
        trial.in_step().await;
        trial.shop.proxy.stop_at(step);
        let version = trial.begin_to_save(&way.rules(""));
        let time = times.entry(step).or_insert(0);
        *time += 1;
        trial.shop.proxy.is_at(step, *time).await;
        trial.server(which).kill9();
        trial.shop.proxy.go_on();
        let why = trial.shop.proxy.settled(version).await;
        trial.server(which).restart().await;
        match why {
            None => trial.reaches(after).await,
            Some(why) => {
                println!("{step} {way:?}: {why}");
                assert!(!is_noted(step), "{step} {way:?}: {why}");
                assert_eq!(trial.status()["phase"], before);
                trial.load.more(20).await;
                trial.in_step().await;
                assert_eq!(trial.save(&way.rules("")).await, None, "{step} {way:?}");
                trial.reaches(after).await;
            }
        }
        trial.load.more(20).await;
        trial.in_step().await;
        super::verify(&trial.shop);
    }
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_killed_at_any_step_loses_nothing() {
    a_server_is_killed(Which::Source, Which::Target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_side_killed_at_any_step_loses_nothing() {
    a_server_is_killed(Which::Target, Which::Source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_touches_nothing_while_the_first_is_slow() {
    let trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    trial.in_step().await;
    // Who begins a life looks at intents first, and undoes those that were not noted.
    trial.shop.proxy.stop_at("Intent");
    let version = trial.begin_to_save(&Way::There.rules(""));
    trial.shop.proxy.is_at("Intent", 1).await;
    let second = trial.shop.proxy.command(&["serve"]);
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("another shardway uses"), "{told}");
    trial.shop.proxy.go_on();
    assert_eq!(trial.shop.proxy.settled(version).await, None);
    trial.reaches("ReverseSync").await;
    trial.load.more(20).await;
    trial.in_step().await;
    trial.ends_equal().await;
}
