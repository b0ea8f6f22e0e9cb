//! Settings of a move in the rule file, and its pace set by hand, through the real binary.

use shardway_tests::Shop;

fn printed(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn problems_of_rules_and_settings_are_one_list_and_change_nothing() {
    let shop = Shop::open_moving().await;
    let lines = "double_rite = \"off\"\ncopy = { rows = 0 }\nthrottle.windows = [\"22-06\"]\n\
                 [[alerts]]\nwhen = \"heat > 1\"";
    shop.proxy.save_rules(&shop.moving_rules(lines));
    let error = shop.proxy.settled(2).await.unwrap();
    for part in
        ["did you mean `double_write`", "copy.rows: 0 is not", "throttle.windows", "`heat` is no metric"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let checked = shop.proxy.command(&["check"]);
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(told.trim_end().lines().count(), 4, "{told}");
    shop.proxy.save_rules(&shop.moving_rules("copy.rows = 100\n[[alerts]]\nwhen = \"dirty_keys > 5\""));
    assert_eq!(shop.proxy.settled(3).await, None);
    assert!(printed(&shop.proxy.command(&["check"])).contains("1 moves, 1 alerts"));
}

#[tokio::test]
async fn a_pace_set_by_hand_is_shown_and_survives_a_restart_until_it_is_taken_back() {
    let mut shop = Shop::open_moving().await;
    let set =
        printed(&shop.proxy.command(&["move", "throttle", "shop", "--parallel", "2", "--pause-ms", "50"]));
    assert_eq!(set, "shop: set by hand: at most 2 workers, at least 50 ms pause\n");
    shop.proxy.kill9_and_restart().await;
    let status = shop.proxy.get("/api/moves/shop").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (status["by_hand"]["parallel"].as_u64(), status["by_hand"]["pause_ms"].as_u64()),
        (Some(2), Some(50))
    );
    let off = printed(&shop.proxy.command(&["move", "throttle", "shop", "--off"]));
    assert_eq!(off, "shop: set by hand: limits are ignored\n");
    let back = printed(&shop.proxy.command(&["move", "throttle", "shop"]));
    assert_eq!(back, "shop: the pace is as the rules say\n");
    for arguments in [["move", "throttle", "other", "--off"], ["move", "throttle", "shop", "--parallel=0"]] {
        assert_eq!(shop.proxy.command(&arguments).status.code(), Some(1), "{arguments:?}");
    }
}

#[tokio::test]
async fn watching_without_a_terminal_prints_lines_or_documents() {
    let shop = Shop::open_moving().await;
    let text = printed(&shop.proxy.command(&["move", "status", "shop", "--watch"]));
    assert_eq!(text, "shop: Draft 0.0% 0/0 rows; lag unknown, dirty keys 0, mismatches 0\n");
    let json = printed(&shop.proxy.command(&["move", "status", "shop", "--watch", "--json"]));
    let [document] = json.lines().collect::<Vec<_>>()[..] else { panic!("{json}") };
    let status: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!((status["name"].as_str(), status["percent"].as_f64()), (Some("shop"), Some(0.0)));
    assert_eq!(shop.proxy.command(&["move", "status", "other", "--watch"]).status.code(), Some(1));
}
