//! Repairs say what they did: each row before and after, in the report and in records beside the rows.

use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use shardway_migration::record::{RECORDS_KEPT, ROWS_KEPT};
use shardway_migration::repair::report::{Action, Done, Outcome, RepairReport, RowThen};
use shardway_migration::repair::{Policy, Run};
use shardway_migration::verify::Mode;
use shardway_tests::rows;

use super::verify::{Place, REAL, place};

/// What the records say: number, key, physical table, action, row before and after.
async fn records(place: &Place) -> Vec<Vec<String>> {
    let sql = "SELECT id, row_key, node, action, IFNULL(row_before, 'not kept'), IFNULL(row_after, 'not kept') \
               FROM shardway_repairs WHERE move_name = 'm' ORDER BY id";
    let mut records = Vec::new();
    for shard in &place.cluster.shards {
        let mut connection = shard.connect(&place.name).await;
        let lines = rows(&mut connection, sql).await.unwrap();
        records.extend(lines.iter().map(|line| line.splitn(6, '|').map(str::to_owned).collect::<Vec<_>>()));
    }
    records
}

fn of<'a>(report: &'a RepairReport, key: &str) -> &'a Outcome {
    report.outcomes.iter().find(|outcome| outcome.key.to_string() == key).unwrap()
}

/// A column's value in a row that was kept.
fn value(row: &RowThen, column: &str) -> Value {
    let row = serde_json::to_value(row).unwrap();
    let fields = row["row"]["fields"].as_array().unwrap_or_else(|| panic!("{row}"));
    fields.iter().find(|field| field["column"] == column).unwrap().clone()
}

#[tokio::test]
async fn every_repaired_row_is_told_before_and_after() {
    let place = place("{ kind = \"mod\", shards = 4 }", 40).await;
    place.on_shard(0, "DELETE FROM t_0 WHERE id = 8").await;
    place.on_shard(1, "INSERT INTO t_1 (id, vc) VALUES (9001, 'nobody''s')").await;
    // From one shard of a server to the other one.
    place.on_shard(0, "INSERT INTO t_1 SELECT * FROM t_0 WHERE id = 16").await;
    place.on_shard(0, "DELETE FROM t_0 WHERE id = 16").await;
    place
        .on_shard(2, "UPDATE t_2 SET vc = 'it''s\\\\ü', bl = REPEAT(x'FE', 70000), dt = NULL WHERE id = 22")
        .await;
    let found = place.verify(&Mode::Hash).await;
    let dry = place.repair(&found, Policy { cap: 9, run: Run::Dry }).await;
    let repaired = place.repair(&found, REAL).await;
    assert!(repaired.is_complete(), "{repaired}");
    for (dry, real) in dry.outcomes.iter().zip(&repaired.outcomes) {
        assert_eq!((&dry.result, &real.result), (&Done::WouldRepair, &Done::Repaired));
        assert_eq!(dry.changes, real.changes, "a dry run tells what a real one does");
    }

    let [missing] = of(&repaired, "8").changes.as_slice() else { panic!("{repaired:?}") };
    assert_eq!((missing.action, &missing.before), (Action::Written, &RowThen::Absent));
    assert_eq!(value(&missing.after, "vc"), json!({ "column": "vc", "value": "a\u{1D11E}" }));
    let [extra] = of(&repaired, "9001").changes.as_slice() else { panic!("{repaired:?}") };
    assert_eq!((extra.action, &extra.after), (Action::Deleted, &RowThen::Absent));
    assert_eq!(value(&extra.before, "vc")["value"], "nobody's");
    let moved: Vec<(bool, Action)> = of(&repaired, "16")
        .changes
        .iter()
        .map(|change| (change.node.contains("t_0"), change.action))
        .collect();
    assert_eq!(moved, [(true, Action::Written), (false, Action::Deleted)]);
    let [changed] = of(&repaired, "22").changes.as_slice() else { panic!("{repaired:?}") };
    assert_eq!(value(&changed.before, "vc")["value"], "it's\\ü");
    let long =
        json!({ "column": "bl", "value": format!("0x{}", "FE".repeat(128)), "shortened_from_bytes": 70_000 });
    assert_eq!(value(&changed.before, "bl"), long);
    assert_eq!(value(&changed.before, "dt")["value"], Value::Null);
    assert_eq!(value(&changed.after, "bl")["value"], "0x00FF275C");
    assert_eq!(value(&changed.after, "dt")["value"], "9999-12-31 23:59:59.999998");
    assert!(!repaired.to_string().contains("nobody's"), "the text may end in a log: {repaired}");

    let records = records(&place).await;
    assert_eq!(records.len(), 5, "one for each node that was written: {records:?}");
    for outcome in &repaired.outcomes {
        for change in &outcome.changes {
            let row = |then: &RowThen| match then {
                RowThen::Absent => "null".to_owned(),
                RowThen::Row(row) => serde_json::to_string(row).unwrap(),
                RowThen::NotKept => panic!("{outcome:?}"),
            };
            let [key, node, action] =
                [outcome.key.to_string(), change.node.clone(), change.action.text().into()];
            let expected = [key, node, action, row(&change.before), row(&change.after)];
            assert!(records.iter().any(|record| record[1..] == expected), "{expected:?} in {records:?}");
        }
    }
}

#[tokio::test]
async fn records_of_repairs_do_not_grow_without_end() {
    let place = place("{ kind = \"mod\", shards = 4 }", 12).await;
    let repair = async |value: &str| {
        place.on_shard(1, &format!("UPDATE t_1 SET vc = '{value}' WHERE id = 1")).await;
        let found = place.verify(&Mode::Hash).await;
        let repaired = place.repair(&found, REAL).await;
        assert!(repaired.is_complete() && repaired.outcomes.len() == 1, "{repaired}");
    };
    repair("first").await;
    let copied = "move_name, table_name, row_key, node, action, columns, row_before, row_after";
    let older = RECORDS_KEPT - ROWS_KEPT + 5;
    let copy =
        format!("INSERT INTO shardway_repairs (id, {copied}) SELECT {older}, {copied} FROM shardway_repairs");
    place.on_shard(1, &copy).await;
    place.on_shard(1, &format!("ALTER TABLE shardway_repairs AUTO_INCREMENT = {}", RECORDS_KEPT + 5)).await;
    repair("second").await;
    let kept: Vec<(String, bool)> = records(&place)
        .await
        .iter()
        .map(|record| (record[0].clone(), record[4].contains("second") && record[5].contains("fields")))
        .collect();
    assert_eq!(kept, [(older.to_string(), false), ((RECORDS_KEPT + 5).to_string(), true)]);
    assert_eq!(records(&place).await[0][4], "not kept");
}

#[tokio::test]
async fn an_error_value_is_not_the_member_that_looks_like_it() {
    let place = place("{ kind = \"mod\", shards = 4 }", 12).await;
    let mut source = place.cluster.legacy.connect(&place.name).await;
    source.query_drop("SET sql_mode = ''").await.unwrap();
    source.query_drop("UPDATE t SET en = 0 WHERE id IN (1, 2, 5)").await.unwrap();
    // Row 5 has the member '' there.
    place.on_shard(1, "UPDATE t_1 SET en = 3 WHERE id = 5").await;
    place.on_shard(2, "UPDATE t_2 SET en = 0 WHERE id = 6").await;
    let found = place.verify(&Mode::Hash).await;
    let rows_found: Vec<String> = found.differences().map(ToString::to_string).collect();
    assert_eq!(rows_found.len(), 4, "{rows_found:?}");
    let repaired = place.repair(&found, REAL).await;
    assert!(repaired.is_complete(), "{repaired}");
    let [change] = of(&repaired, "5").changes.as_slice() else { panic!("{repaired:?}") };
    let told = [&change.before, &change.after].map(|row| value(row, "en")["value"].clone());
    assert_eq!(told, ["3", "0"]);
    assert!(place.verify(&Mode::Exact).await.clean && place.verify(&Mode::Hash).await.clean);
    let mut target = place.cluster.shards[0].connect(&place.name).await;
    assert_eq!(
        rows(&mut target, "SELECT id, en+0 FROM t_1 WHERE id IN (1, 5)").await.unwrap(),
        ["1|0", "5|0"]
    );
}
