//! Differences that comparisons find are kept in a table on the target, with what has become of them.

use shardway_tests::Shop;
use shardway_tests::load::Load;

use super::moving::shop;

/// What the table says, in the order of its rows.
async fn noted(shop: &Shop) -> Vec<String> {
    let sql = "SELECT CONCAT_WS(' ', SUBSTRING_INDEX(table_name, '.', -1), row_key, kind, columns, state, detail, \
               seen_at >= found_at, closed_at IS NOT NULL) FROM shardway_mismatches WHERE move_name = 'shop' ORDER BY id";
    shop.on_shard(0, sql).await
}

fn open(shop: &Shop) -> u64 {
    shop.of_move()["mismatches"].as_u64().unwrap()
}

fn fails(shop: &Shop, arguments: &[&str]) {
    assert_eq!(shop.proxy.command(arguments).status.code(), Some(1), "{arguments:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_open_until_it_is_repaired_or_found_equal() {
    let mut shop = shop("double_write = \"off\"\nrepair = { cap = 2 }", 200).await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 2);
    shop.carry_over().await;
    assert_eq!(open(&shop), 0);
    let (verify, repair) = (["move", "verify", "shop"], ["move", "repair", "shop"]);
    shop.on_shard(0, "DELETE FROM orders_1 WHERE id = 5001").await;
    fails(&shop, &verify);
    // Found again, it is the same one.
    fails(&shop, &verify);
    fails(&shop, &["move", "verify", "shop", "--mode", "count"]);
    load.more(20).await;
    assert_eq!(noted(&shop).await, ["orders 5001 missing  open  1 0"]);
    assert_eq!(open(&shop), 1);
    fails(&shop, &["move", "repair", "shop", "--dry-run"]);
    assert_eq!(open(&shop), 1);
    shop.run(&repair);
    assert_eq!(shop.of_move()["last_verify"]["clean"], true, "it has compared again");
    assert_eq!(noted(&shop).await, ["orders 5001 missing  repaired  1 1"]);
    assert_eq!(open(&shop), 0);

    shop.on_shard(0, "UPDATE orders_1 SET note = 'x', amount = 7 WHERE id = 5005").await;
    fails(&shop, &verify);
    shop.proxy.kill9_and_restart().await;
    assert_eq!(open(&shop), 1, "what is open outlives the process");
    shop.on_shard(0, "UPDATE orders_1 SET note = NULL, amount = 5.5 WHERE id = 5005").await;
    shop.run(&verify);
    assert_eq!(noted(&shop).await[1], "orders 5005 different amount,note equal  1 1");

    // More than a repair may write, and a row that it cannot write, wait for a person.
    shop.on_shard(0, "UPDATE orders_1 SET note = 'x' WHERE id IN (5009, 5013, 5017)").await;
    fails(&shop, &repair);
    let waiting = noted(&shop).await.split_off(2);
    assert_eq!(waiting.len(), 3);
    assert!(
        waiting.iter().all(|row| row.contains(" different note open 3 rows differ and at most 2")),
        "{waiting:?}"
    );
    shop.on_shard(0, "UPDATE orders_1 SET note = NULL WHERE id IN (5013, 5017)").await;
    shop.on_shard(
        0,
        "CREATE TRIGGER stubborn BEFORE INSERT ON orders_1 FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not now'",
    )
    .await;
    fails(&shop, &repair);
    assert_eq!(open(&shop), 1);
    let noted_now = noted(&shop).await;
    assert!(
        noted_now[2].starts_with("orders 5009 different note open ") && noted_now[2].contains("not now"),
        "{noted_now:?}"
    );
    shop.on_shard(0, "DROP TRIGGER stubborn").await;
    shop.run(&repair);
    let states: Vec<String> =
        noted(&shop).await.iter().skip(2).map(|row| row.split(' ').nth(4).unwrap().to_owned()).collect();
    assert_eq!(states, ["repaired", "equal", "equal"]);
    assert_eq!(open(&shop), 0);
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_during_which_writes_go_over_ends_without_a_verdict() {
    let shop = shop("double_write = \"sync\"", 200).await;
    shop.carry_over().await;
    shop.in_step().await;
    shop.on_shard(0, "UPDATE orders_1 SET note = 'x' WHERE id = 5005").await;
    shop.proxy.stop_at("Converge(Synced)");
    let compares = shop.proxy.begin_on_a_terminal(&["move", "verify", "shop"]);
    shop.proxy.is_at("Converge(Synced)", 1).await;
    shop.save("double_write = \"sync\"\nwrites = \"target\"\nreads = 100").await;
    shop.proxy.go_on();
    let ended = compares.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(!ended.status.success() && text.contains("compare again"), "{text}");
    assert_eq!(shop.on_shard(0, "SELECT note FROM orders_1 WHERE id = 5005").await, ["x"]);
}
