//! The five checks before a switch: all of them pass on equal sides under load, and each of them fails when it should.

use std::time::Duration;

use serde_json::Value;
use shardway_tests::load::Load;
use shardway_tests::{Shop, Watchman, until};

use super::moving::shop;

const LINES: &str = r#"
double_write = "off"
verify = { group_by = { orders = ["status"] } }
[[moves.shop.assert]]
name = "orders by status"
sql = "SELECT status, COUNT(*), SUM(amount) AS total, MIN(placed_at), MAX(id) FROM orders GROUP BY status ORDER BY total"
[[moves.shop.assert]]
name = "a page of users"
sql = "SELECT id, name FROM users WHERE name = 'old' ORDER BY id DESC LIMIT 5, 10"
[[moves.shop.assert]]
name = "one user's orders"
sql = "SELECT COUNT(DISTINCT status), AVG(amount) FROM orders WHERE user_id = 1007"
[[moves.shop.baseline]]
sql = "SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id WHERE u.id = 1003"
ratio_max = 1000
runs = 5
"#;

/// What the command prints, and whether it succeeded.
fn checked(shop: &Shop, more: &[&str]) -> (String, i32) {
    let output = shop.proxy.command(&[&["move", "check", "shop"], more].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap())
}

/// The checks that did not pass, in their order, and the whole report as text.
fn failed(shop: &Shop) -> (Vec<String>, String) {
    let (text, code) = checked(shop, &[]);
    let line = |line: &str| {
        let (number, rest) = line.split_once(' ')?;
        number.parse::<u32>().ok()?;
        let (check, outcome) = rest.split_once(": ")?;
        ["failed", "undecided"].iter().any(|bad| outcome.starts_with(bad)).then(|| check.to_owned())
    };
    let failed: Vec<String> = text.lines().skip(1).filter_map(line).collect();
    assert_eq!(code, i32::from(!failed.is_empty()), "{text}");
    (failed, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_sides_pass_all_five_under_load_and_the_report_is_kept() {
    let mut shop = shop(LINES, 2_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 3);
    shop.carry_over().await;
    load.more(50).await;
    let (json, code) = checked(&shop, &["--json"]);
    assert_eq!(code, 0, "{json}");
    load.more(20).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["passed"], true, "{json}");
    assert!(report["sample"]["checked"].as_u64() > Some(4_000) && report["hash"]["clean"] == true, "{json}");
    assert_eq!(report["count"]["tables"][1]["groups"][0]["values"][0], "new");
    assert!(report["baseline"][0]["other"]["p99_us"].as_u64() > Some(0), "{json}");
    assert_eq!(report["assertions"][0]["detail"], "1 rows");
    assert_eq!(report["assertions"][1]["detail"], "10 rows");
    shop.proxy.kill9_and_restart().await;
    let (again, code) = checked(&shop, &["--last", "--json"]);
    assert_eq!((serde_json::from_str::<Value>(&again).unwrap(), code), (report, 0));
    let folder = shop.proxy.config().with_file_name("state").join("checks/shop");
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), shop.proxy.state_file("checks/shop.json"));
    let (text, _) = checked(&shop, &["--last"]);
    assert!(text.starts_with("finished ") && text.contains("5 of 5 checks passed"), "{text}");
    let journal = load.stop().await;
    journal.check(&mut shop.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_the_five_fails_when_it_should() {
    let shop = shop(LINES, 2_000).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.carry_over().await;
    let cases = [
        (
            "DELETE FROM orders_1 WHERE id = 5001",
            vec!["count", "assertions", "hash"],
            "shop.orders 5001: missing",
        ),
        (
            "UPDATE orders_1 SET status = 'paid' WHERE id = 5005",
            vec!["count", "assertions", "hash"],
            "paid: 0 and 1",
        ),
        ("UPDATE orders_1 SET note = 'x' WHERE id < 5200", vec!["sample", "hash"], "different in note"),
        (
            "UPDATE orders_1 SET amount = amount + 1 WHERE id = 5009",
            vec!["assertions", "hash"],
            "only the target: 1 rows\n      new | 2000 | ",
        ),
        ("UPDATE users_1 SET email = 'x' WHERE id = 1009", vec!["hash"], "users 1009: different in email"),
    ];
    for (change, expected, told) in cases {
        let told = told.replace("shop.", &format!("{}.", shop.name));
        shop.on_shard(0, change).await;
        load.more(10).await;
        let (failed, text) = failed(&shop);
        assert_eq!(failed, expected, "{change}: {text}");
        assert!(text.contains(&told), "{change}: {told}: {text}");
        shop.run(&["move", "repair", "shop"]);
    }
    // Only the target has a row to be slow about.
    shop.on_shard(1, "INSERT INTO orders_2 (id, user_id, amount) VALUES (7, 900002, 1)").await;
    let slow = "SELECT note FROM orders WHERE user_id = 900002 AND SLEEP(0.3) = 0";
    shop.save(&format!("{LINES}[[moves.shop.baseline]]\nsql = \"{slow}\"\nruns = 2\n")).await;
    let (bad, text) = failed(&shop);
    assert_eq!(bad, ["count", "assertions", "baseline", "hash"], "{text}");
    assert!(text.contains(&format!("  failed: {slow}, p50 3")), "{text}");
    shop.run(&["move", "repair", "shop"]);
    shop.save(LINES).await;
    let (bad, text) = failed(&shop);
    assert_eq!(bad, [""; 0], "{text}");
    assert!(text.starts_with("5 of 5 checks passed"), "{text}");
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_cannot_be_answered_is_refused_or_a_failed_check() {
    let shop = shop(LINES, 50).await;
    let question = |sql: &str| format!("{LINES}[[moves.shop.assert]]\nname = \"more\"\nsql = \"{sql}\"\n");
    let mut version = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    for (sql, why) in [
        ("SELECT id FRM users WHERE", "cannot be read: "),
        ("SELECT 1; SELECT 2", "must be one statement"),
        ("SELECT id FROM users FOR UPDATE", "must neither lock rows"),
        ("DELETE FROM users", "must be a SELECT"),
        ("SELECT id FROM users WHERE id = ?", "must not have placeholders"),
    ] {
        version += 1;
        shop.proxy.save_rules(&shop.moving_rules(&question(sql)));
        let error = shop.proxy.settled(version).await.unwrap_or_default();
        assert!(
            error.contains(why) && error.contains("assert[3].sql") && error.contains("line "),
            "{sql}: {error}"
        );
    }
    let lines = LINES.replace("ratio_max", "ratio_mx");
    shop.proxy.save_rules(&shop.moving_rules(&lines));
    let error = shop.proxy.settled(version + 1).await.unwrap_or_default();
    assert!(error.contains("did you mean `ratio_max`"), "{error}");
    shop.carry_over().await;
    for (sql, why) in [
        ("SELECT AVG(amount + id) FROM orders", "SHD1204"),
        ("SELECT name, COUNT(*) FROM users GROUP BY name", "SHD1221"),
        ("SELECT status FROM orders GROUP BY status HAVING COUNT(*) > MAX(id)", "SHD1221"),
        ("SELECT nothing FROM users WHERE id = 1", "nothing"),
    ] {
        shop.save(&question(sql)).await;
        let (failed, text) = failed(&shop);
        assert_eq!(failed, ["assertions"], "{sql}: {text}");
        assert!(text.contains("more: failed") && text.contains(why), "{sql}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparisons_wait_while_the_limits_of_the_move_say_so() {
    let watchman = Watchman::start().await;
    let shop = shop(&watchman.limit(), 2_000).await;
    shop.carry_over().await;
    for command in [&["move", "verify", "shop"][..], &["move", "check", "shop"]] {
        watchman.says_wait();
        watchman.is_heard().await;
        let mut comparing = shop.proxy.begin(command);
        until("the comparison is stopped", Duration::from_secs(30), async || {
            let of = shop.of_move();
            let pace = &of["pace"];
            let why = pace["reason"].as_str().is_some_and(|reason| reason.ends_with("says wait"));
            (pace["state"] == "stopped" && why).then_some(())
        })
        .await;
        watchman.says_go();
        let ended =
            until("the comparison ends", Duration::from_secs(60), async || comparing.try_wait().unwrap());
        assert!(ended.await.success(), "{command:?}");
    }
}
