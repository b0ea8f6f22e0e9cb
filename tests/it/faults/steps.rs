//! The proxy or a server is killed at every step of a switch and of the way back. Before the new rules are noted nothing
//! has happened, after that all of it.

use shardway_tests::Flavour;

use super::{PATIENT, SWITCHED, Trial, Which, divisible};

/// In their order. The version of the rules is noted at the sixth.
pub(super) const STEPS: [&str; 8] =
    ["Hold", "Drain", "Position", "Intent", "Unfollow", "Journal", "Publish", "Reverse"];

/// Where a switch goes.
#[derive(Debug, Clone, Copy)]
struct Way {
    lines: &'static str,
    /// The phase before and after it, and who owns writes then.
    before: (&'static str, &'static str),
    after: (&'static str, &'static str),
}

const AT_SOURCE: (&str, &str) = ("Synced", "source");
const AT_TARGET: (&str, &str) = ("ReverseSync", "target");
const THERE: Way = Way { lines: SWITCHED, before: AT_SOURCE, after: AT_TARGET };
const BACK: Way = Way { lines: "writes = \"source\"", before: AT_TARGET, after: AT_SOURCE };

/// Some keys go over, more of them, all of them; and all come back.
const DIVISIONS: [Way; 4] = [
    Way { lines: "writes = 30", before: AT_SOURCE, after: ("Divided", "30%") },
    Way { lines: "writes = 60.5", before: ("Divided", "30%"), after: ("Divided", "60.5%") },
    Way { lines: SWITCHED, before: ("Divided", "60.5%"), after: AT_TARGET },
    BACK,
];

impl Way {
    fn rules(self, more: &str) -> String {
        format!("{PATIENT}\n{}\n{more}", self.lines)
    }
}

fn is(trial: &Trial) -> (String, String) {
    let of = trial.status();
    let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
    (text(&of["phase"]), text(&of["writes"]))
}

fn told((phase, writes): (&str, &str)) -> (String, String) {
    (phase.to_owned(), writes.to_owned())
}

fn is_noted(step: &str) -> bool {
    let place = |of: &str| STEPS.iter().position(|step| *step == of);
    place(step) >= place("Journal")
}

/// Every step of some way; of another one on the other kind of server.
fn dealt(ways: &[Way]) -> Vec<(&'static str, Way)> {
    let first = match Flavour::chosen() {
        Flavour::MariaDb => 0,
        Flavour::MySql => 1,
    };
    let steps = STEPS.iter().cycle().skip(first).take(STEPS.len());
    steps.zip(ways.iter().cycle()).map(|(step, way)| (*step, *way)).collect()
}

/// What a restart makes of a switch that was not noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    /// Streams must be followed first, so somebody saves the file again.
    Forgets,
    /// Double write has kept both sides: it happens at once.
    Repeats,
}

async fn the_proxy_is_killed(more: &str, restart: Restart, rounds: Vec<(&'static str, Way)>) {
    let mut trial = Trial::open(more).await;
    trial.synced().await;
    let mut times = std::collections::BTreeMap::new();
    for (step, way) in rounds {
        trial.in_step().await;
        assert_eq!(is(&trial), told(way.before));
        trial.shop.proxy.stop_at(step);
        trial.begin_to_save(&way.rules(more));
        let time = times.entry(step).or_insert(0);
        *time += 1;
        trial.shop.proxy.is_at(step, *time).await;
        trial.crash().await;
        let rules = trial.shop.proxy.status()["rules"].clone();
        if is_noted(step) || restart == Restart::Repeats {
            assert_eq!(
                (is(&trial), &rules["last_error"]),
                (told(way.after), &serde_json::Value::Null),
                "{step} {way:?}"
            );
        } else {
            assert_eq!(is(&trial), told(way.before), "{step} {way:?}");
            assert!(rules["last_error"].as_str().unwrap().contains("save the file again"), "{rules}");
            trial.load.more(20).await;
            trial.in_step().await;
            assert_eq!(trial.save(&way.rules(more)).await, None, "{step} {way:?}");
            trial.reaches(way.after.0).await;
        }
        trial.load.more(20).await;
        trial.in_step().await;
        super::verify(&trial.shop);
    }
    trial.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_at_any_step_is_before_the_switch_or_after_it() {
    the_proxy_is_killed("double_write = \"off\"", Restart::Forgets, dealt(&[THERE, BACK])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_shares_of_the_keys_go_over() {
    the_proxy_is_killed(&divisible(""), Restart::Forgets, dealt(&DIVISIONS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_double_write_beside_the_stream() {
    the_proxy_is_killed("double_write = \"sync\"", Restart::Forgets, dealt(&[THERE, BACK])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_double_write_alone() {
    the_proxy_is_killed(
        "capture = \"none\"\ndouble_write = \"sync\"",
        Restart::Repeats,
        dealt(&[THERE, BACK]),
    )
    .await;
}

/// A server dies and is back when the switch has been settled, one way or the other.
async fn a_server_is_killed(on_the_way_there: Which, on_the_way_back: Which) {
    let mut trial = Trial::open("double_write = \"off\"").await;
    trial.synced().await;
    let mut times = std::collections::BTreeMap::new();
    for (step, way) in dealt(&[THERE, BACK]) {
        let which = if way.before == AT_SOURCE { on_the_way_there } else { on_the_way_back };
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
            None => trial.reaches(way.after.0).await,
            Some(why) => {
                println!("{step} {way:?}: {why}");
                assert!(!is_noted(step), "{step} {way:?}: {why}");
                assert_eq!(is(&trial), told(way.before));
                trial.load.more(20).await;
                trial.in_step().await;
                assert_eq!(trial.save(&way.rules("")).await, None, "{step} {way:?}");
                trial.reaches(way.after.0).await;
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
    let version = trial.begin_to_save(&THERE.rules(""));
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
