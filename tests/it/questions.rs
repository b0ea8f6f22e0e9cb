//! Questions over several shards are answered as by one server: the source is one, and the checks compare.

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_tests::{On, Pair, Proxy, rows};

use super::kinds::Kind;

const TABLE: &str = "CREATE TABLE sums (id INT NOT NULL PRIMARY KEY, g INT, i BIGINT, d0 DECIMAL(12,0), d2 DECIMAL(12,2), \
    d5 DECIMAL(15,5), d8 DECIMAL(18,8), d9 DECIMAL(20,9), d13 DECIMAL(24,13), d20 DECIMAL(30,20), f DOUBLE)";

/// Rows whose averages have long fractions of every kind; a group has no values at all.
async fn open() -> (Pair, Kind) {
    let pair = Pair::start(&[]).await;
    let mut source = pair.source.connect("shop").await;
    source.query_drop(TABLE).await.unwrap();
    for id in 0..200_i64 {
        let number = (id * 7_919 + 13) % 100_003 - 50_000;
        let numbers = [0, 2, 5, 8, 9, 13, 20].map(|scale| format!("{number} / 7 * {id} + 1e-{scale}"));
        let values = match id % 17 {
            16 => "NULL".to_owned() + &", NULL".repeat(8),
            _ => format!("{number}, {}, 0.1", numbers.join(", ")),
        };
        let group = if id % 17 == 9 { "NULL".to_owned() } else { (id % 17).to_string() };
        source.query_drop(format!("INSERT INTO sums VALUES ({id}, {group}, {values})")).await.unwrap();
    }
    let lines = "[tables.sums]\nshard_key = \"id\"\nfunction = { kind = \"hash\", shards = 2 }\nnodes = \"s{0..1}\"\n\
                 [moves.shop]\ntables = [\"sums\"]\nfrom = \"legacy\"\n";
    let rules = pair.rules(lines);
    let kind = Kind { proxy: Proxy::start(&rules).await, rules, name: "shop".to_owned() };
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    (pair, kind)
}

/// What the checks say of each question.
async fn asked(kind: &Kind, questions: &[&str]) -> Vec<Value> {
    let lines: Vec<String> = questions
        .iter()
        .enumerate()
        .map(|(at, sql)| format!("[[moves.shop.assert]]\nname = \"{at}\"\nsql = \"{sql}\"\n"))
        .collect();
    kind.save(&lines.concat()).await;
    let output = kind.proxy.command(&["move", "check", "shop", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    report["assertions"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn averages_and_conditions_on_groups_are_those_of_one_server() {
    let (pair, kind) = open().await;
    let questions = [
        "SELECT g, AVG(i), AVG(d0), AVG(d2), AVG(d5) AS five, AVG(d8), AVG(d9), AVG(d13), avg(d20), COUNT(d2) FROM sums GROUP BY g",
        "SELECT AVG(d5), AVG(sums.d2), AVG(i), MAX(d13), COUNT(*) FROM sums",
        "SELECT AVG(d2) FROM sums WHERE g = 16",
        "SELECT g FROM sums GROUP BY g HAVING COUNT(*) > 11",
        "SELECT g, SUM(d2) AS total FROM sums GROUP BY g HAVING total BETWEEN -1000000 AND 0.5 OR MAX(i) IS NULL ORDER BY g",
        "SELECT g, AVG(d5) AS mean FROM sums WHERE i > -40000 GROUP BY g HAVING NOT (mean < 0) AND 8 <= count(d2) -- all",
        "SELECT COUNT(*) FROM sums HAVING COUNT(*) > 100000",
        "SELECT s.g, COUNT(*) AS n FROM sums s GROUP BY s.g HAVING n <> 12 AND s.g IS NOT NULL AND AVG(s.i) > 0",
        "SELECT SUM(d2 * 1.5), SUM(CASE WHEN i > 0 THEN d5 ELSE 0.5 END), SUM(i DIV 3) FROM sums",
    ];
    let told = asked(&kind, &questions).await;
    let mut source = pair.source.connect("shop").await;
    for (sql, told) in questions.iter().zip(&told) {
        assert_eq!(told["outcome"], "passed", "{sql}: {told}");
        let answered = rows(&mut source, sql).await.unwrap().len();
        assert_eq!(told["detail"], format!("{answered} rows"), "{sql}: {told}");
    }
    // The least difference of a group's average shows.
    for shard in ["shop0", "shop1"] {
        pair.run(On::Target, &format!("UPDATE {shard}.sums SET d5 = d5 + 0.1 WHERE id = 3")).await;
    }
    let told = asked(&kind, &questions[..2]).await;
    assert_eq!([&told[0]["outcome"], &told[1]["outcome"]], ["failed", "failed"], "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_exactly_says_what_can() {
    let (_pair, kind) = open().await;
    let cases = [
        ("SELECT SUM(i / 3) FROM sums", "divide after adding up"),
        ("SELECT AVG(d2 * 2) FROM sums", "select its SUM and COUNT"),
        ("SELECT AVG(DISTINCT d2) FROM sums", "only COUNT, SUM, AVG, MIN and MAX add up"),
        ("SELECT AVG(f) FROM sums", "floating numbers"),
        ("SELECT COUNT(*) + 1 FROM sums", "nothing around them"),
        ("SELECT g FROM sums GROUP BY g HAVING COUNT(*) > SUM(i)", "with numbers"),
        ("SELECT g FROM sums GROUP BY g HAVING COUNT(*) > '1'", "with numbers"),
        ("SELECT g FROM sums GROUP BY g HAVING COUNT(*) > 1e0", "with numbers"),
        ("SELECT g FROM sums GROUP BY g HAVING MAX(f) > 1", "no floating ones"),
        ("SELECT g, COUNT(*) FROM sums GROUP BY g WITH ROLLUP", "WITH ROLLUP"),
    ];
    let questions: Vec<&str> = cases.iter().map(|(sql, _)| *sql).collect();
    for ((sql, why), told) in cases.iter().zip(asked(&kind, &questions).await) {
        assert_eq!(told["outcome"], "failed", "{sql}: {told}");
        assert!(told.to_string().contains(why), "{sql}: {told}");
    }
}
