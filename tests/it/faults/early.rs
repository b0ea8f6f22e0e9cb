//! The source and a target are killed before rows travel: the move fails and says why, and `move start` goes on once the
//! server is back. From the first row on it is waited for.

use super::{Trial, Which};

/// The work that is killed, who dies, and what the move becomes.
const KILLS: [(&str, Which, &str); 6] = [
    ("Work(Preflight)", Which::Source, "Failed"),
    ("Work(Preflight)", Which::Target, "Failed"),
    ("Work(Prepare)", Which::Source, "Failed"),
    ("Work(Prepare)", Which::Target, "Failed"),
    ("Work(Capture)", Which::Source, "Failed"),
    // Nothing is asked of it there.
    ("Work(Capture)", Which::Target, "Copy"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_before_rows_travel_fails_the_move_and_start_goes_on() {
    let mut trial = Trial::open("double_write = \"off\"").await;
    let mut times = std::collections::BTreeMap::new();
    for (step, which, becomes) in KILLS {
        trial.shop.proxy.stop_at(step);
        trial.run(&["move", "start", "shop"]);
        let time = times.entry(step).or_insert(0);
        *time += 1;
        trial.shop.proxy.is_at(step, *time).await;
        trial.load.more(20).await;
        let before = trial.said("waiting to try again");
        trial.server(which).kill9();
        trial.shop.proxy.go_on();
        trial.reaches(becomes).await;
        if becomes == "Failed" {
            assert_eq!(trial.said("waiting to try again"), before, "somebody waits to be told");
            let why = trial.status()["last_error"].as_str().unwrap_or_default().to_owned();
            let backend = if matches!(which, Which::Source) { "legacy" } else { "s1" };
            assert!(why.contains(backend), "{step}, {backend} is away: {why}");
        } else {
            trial.says("waiting to try again", before).await;
        }
        trial.server(which).restart().await;
    }
    trial.reaches("Synced").await;
    trial.in_step().await;
    trial.ends_equal().await;
}
