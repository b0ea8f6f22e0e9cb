//! A shard key of time in every spelling: what one server finds equal, or stores, lies on the shard that is asked.

use mysql_async::Value;
use mysql_async::prelude::Queryable as _;

use crate::twins::{Answer, Twins, as_prepared, as_text};

/// Moments as SQL writes them, around the ends of a day, of a month and of what servers read.
const MOMENTS: [&str; 56] = [
    "'2024-01-05'",
    "'2024-1-5'",
    "'2024-01-05 00:00:00'",
    "'2024-01-05 10:00:00'",
    "'2024-01-05T10:00:01'",
    "'2024-1-5 1:2:3'",
    "'2024-01-05 10:30'",
    "'2024-01-05 10'",
    "'2024-01-05 10:00:00.5'",
    "'2024-01-05 10:00:00.4999999'",
    "'2024-01-05 10:00:00.123456789'",
    "'2024-01-05 23:59:59'",
    "'2024-01-05 23:59:59.4'",
    "'2024-01-05 23:59:59.5'",
    "'2024-01-05 23:59:59.999'",
    "'2024-01-05 23:59:59.9994'",
    "'2024-01-05 23:59:59.9995'",
    "'2024-01-05 23:59:59.9999999'",
    "'2024-01-05 23:59:59.999000'",
    "'20240106'",
    "'20240106103000'",
    "20240106",
    "20240106103001",
    "20240106.0",
    "20240105235959.7",
    "240106",
    "'240106'",
    "'24-01-06'",
    "DATE '2024-01-06'",
    "DATE'2024-1-6'",
    "DATE '2024-01-06 10:00:00'",
    "TIMESTAMP '2024-01-06 11:00:00'",
    "TIMESTAMP '2024-01-06 23:59:59.6'",
    "TIMESTAMP '2024-01-06'",
    "{d '2024-01-06'}",
    "'2024/01/06'",
    "'2024.01.06'",
    "'2024-01-06 '",
    "' 2024-01-06'",
    "'2024-01-06 10:00:00+02:00'",
    "'2024-01-06 10:00:00Z'",
    "'2024-01-06 24:00:00'",
    "'2024-01-06 10:60:00'",
    "'2024-02-30'",
    "'2023-02-29'",
    "'2024-00-05'",
    "'2024-01-00'",
    "'0000-00-00'",
    "0",
    "''",
    "'today'",
    "'10:00:00'",
    "TIME '10:00:00'",
    "x'323032342D30312D3035'",
    "-20240106",
    "1.5e7",
];

/// Inserts every spelling that the proxy takes under a `sql_mode`, and asks for every spelling after each.
async fn every_spelling(table: &str, key: &str, modes: &[&str]) {
    let mut twins = Twins::open_wide().await;
    for mode in modes {
        twins.same(&format!("SET sql_mode = '{mode}'")).await;
        twins.same(&format!("DELETE FROM {table}")).await;
        let mut taken = 0;
        for (nth, spelling) in MOMENTS.iter().enumerate() {
            let insert = format!("INSERT INTO {table} ({key}, n) VALUES ({spelling}, {nth})");
            let insert = match table {
                "visits" => format!("INSERT INTO {table} (id, {key}, n) VALUES ({nth}, {spelling}, {nth})"),
                _ => insert,
            };
            match as_text(&mut twins.proxied, &insert).await {
                Answer::Refused(id) => assert!(id == "SHD1231" || id == "SHD1201", "{id}: {insert}"),
                found => {
                    assert_eq!(found, as_text(&mut twins.alone, &insert).await, "{insert}");
                    taken += 1;
                }
            }
        }
        assert!(taken >= 20, "only {taken} spellings are taken");
        twins.same_rows(&format!("SELECT {key}, n FROM {table} ORDER BY n")).await;
        for spelling in MOMENTS.iter().filter(|spelling| !spelling.starts_with('{')) {
            twins.same_rows(&format!("SELECT {key}, n FROM {table} WHERE {key} = {spelling}")).await;
            twins.same_rows(&format!("SELECT n FROM {table} WHERE {spelling} = {key}")).await;
            twins
                .same_rows(&format!("SELECT n FROM {table} WHERE {key} IN ({spelling}, '2024-01-05')"))
                .await;
            twins.same_rows(&format!("SELECT n FROM {table} WHERE {key} < {spelling}")).await;
            twins.same_rows(&format!("SELECT n FROM {table} WHERE {key} >= {spelling}")).await;
            twins
                .same_rows(&format!("SELECT n FROM {table} WHERE {key} BETWEEN '2024-01-05' AND {spelling}"))
                .await;
            twins
                .same_rows(&format!("SELECT n FROM {table} WHERE {key} BETWEEN {spelling} AND '2024-01-06'"))
                .await;
        }
    }
}

/// Of the last two, each server knows one.
const MODES: [&str; 5] = [
    "STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE",
    "ALLOW_INVALID_DATES",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL",
    "STRICT_TRANS_TABLES,TIME_ROUND_FRACTIONAL",
];

#[tokio::test]
async fn of_a_date() {
    every_spelling("dates", "day", &MODES).await;
}

#[tokio::test]
async fn of_a_datetime_in_whole_seconds() {
    every_spelling("ticks", "at", &MODES).await;
}

#[tokio::test]
async fn of_a_datetime_in_milliseconds() {
    every_spelling("visits", "at", &MODES).await;
}

/// Bound as clients bind times: in the binary protocol, as texts, as numbers.
#[tokio::test]
async fn of_bound_values() {
    let mut twins = Twins::open_wide().await;
    twins.same("SET sql_mode = 'STRICT_TRANS_TABLES'").await;
    let values = [
        Value::Date(2024, 1, 5, 0, 0, 0, 0),
        Value::Date(2024, 1, 5, 10, 0, 0, 500_000),
        Value::Date(2024, 1, 5, 23, 59, 58, 999_999),
        Value::Date(2024, 1, 5, 23, 59, 59, 0),
        Value::Date(2024, 1, 5, 23, 59, 59, 400_000),
        Value::Date(2024, 1, 5, 23, 59, 59, 999_000),
        Value::Date(2024, 1, 5, 23, 59, 59, 999_600),
        Value::Date(2024, 1, 6, 0, 0, 0, 0),
        Value::from("2024-01-06 10:00:01"),
        Value::from("2024-01-05T10:00:01.123456789"),
        Value::from("2024-1-5"),
        Value::from("20240105"),
        Value::Int(20_240_105),
        Value::UInt(20_240_105_103_000),
        Value::Double(20_240_106.0),
        Value::Time(false, 0, 10, 0, 0, 0),
        Value::NULL,
    ];
    for table in ["dates", "ticks", "visits"] {
        let (key, id) = if table == "dates" { ("day", "n") } else { ("at", "n") };
        let id = if table == "visits" { "id" } else { id };
        let mut taken = 0;
        for (nth, value) in values.iter().enumerate() {
            let insert = format!("INSERT INTO {table} ({id}, {key}) VALUES ({nth}, ?) /* {nth} */");
            let found = as_prepared(&mut twins.proxied, &insert, (value.clone(),).into()).await;
            match found {
                Answer::Refused(id) if *value == Value::NULL => assert_eq!(id, "SHD1230"),
                Answer::Refused(id) => assert_eq!(id, "SHD1231", "{insert} {value:?}"),
                found => {
                    let expected = as_prepared(&mut twins.alone, &insert, (value.clone(),).into()).await;
                    assert_eq!(found, expected, "{insert} {value:?}");
                    taken += 1;
                }
            }
        }
        assert!(taken >= 12, "only {taken} values are taken by {table}");
        twins.same_rows(&format!("SELECT {key}, {id} FROM {table} ORDER BY {id}")).await;
        for (nth, value) in values.iter().enumerate() {
            for condition in [
                format!("{key} = ?"),
                format!("{key} IN (?, '2024-01-05')"),
                format!("{key} < ?"),
                format!("{key} >= ?"),
                format!("{key} BETWEEN ? AND '2024-01-06'"),
            ] {
                let select = format!("SELECT {key}, {id} FROM {table} WHERE {condition} /* {nth} */");
                twins.same_prepared(&select, (value.clone(),)).await;
            }
        }
    }
}

/// Half a second a day decides between two days.
#[tokio::test]
async fn the_last_second_of_a_day_is_stored_as_the_session_says() {
    let mut twins = Twins::open_wide().await;
    let insert = "INSERT INTO ticks (at) VALUES ('2024-01-05 23:59:59.7')";
    twins.refused(insert, "SHD1231").await;
    for mode in MODES {
        twins.same(&format!("SET sql_mode = '{mode}'")).await;
        twins.same(insert).await;
        twins.same("INSERT INTO visits (id, at) VALUES (1, '2024-01-05 23:59:59.9996'), (2, '2024-01-05 23:59:59.9')").await;
        twins.same("SELECT at FROM ticks WHERE at = '2024-01-05 23:59:59'").await;
        twins.same("SELECT at FROM ticks WHERE at = '2024-01-06'").await;
        twins
            .same("SELECT at, id FROM visits WHERE at = '2024-01-06' OR at = '2024-01-05 23:59:59.999'")
            .await;
        twins.same("DELETE FROM ticks WHERE at >= '2024-01-05'").await;
        twins.same("DELETE FROM visits").await;
    }
    twins
        .refused(
            "INSERT /*+ SET_VAR(sql_mode = '') */ INTO ticks (at) VALUES ('2024-01-05 23:59:59.7')",
            "SHD1231",
        )
        .await;
}

#[tokio::test]
async fn of_a_day_without_shard_is_refused_by_its_name() {
    let mut twins = Twins::open_wide().await;
    for day in ["2023-11-30", "2024-04-01", "9999-12-31", "1000-01-01"] {
        let error = twins.proxied.query_drop(format!("INSERT INTO dates (day) VALUES ('{day}')")).await;
        let (code, message) = shardway_tests::server_error(&error.unwrap_err());
        assert_eq!(code, 1526);
        let expected = format!(
            "SHD1238: no shard holds this day: day is on {day}, the shards hold 2023-12-01 until before 2024-04-01 (append a node"
        );
        assert!(message.starts_with(&expected), "{message}");
        twins.same(&format!("SELECT day FROM dates WHERE day = '{day}'")).await;
        twins.same(&format!("UPDATE dates SET n = 1 WHERE day = '{day}'")).await;
        twins.same(&format!("DELETE FROM dates WHERE day IN ('{day}')")).await;
    }
    twins.refused("INSERT INTO dates (day) VALUES ('2024-01-01'), ('2025-01-01')", "SHD1238").await;
    twins.same("SELECT day FROM dates").await;
}

/// A month later: its table is made, then its node is appended.
#[tokio::test]
async fn a_node_for_the_next_month_is_appended_while_clients_write() {
    let mut twins = Twins::open_wide().await;
    let insert = "INSERT INTO dates (day) VALUES ('2024-04-01')";
    twins.same("INSERT INTO dates (day) VALUES ('2024-03-31')").await;
    twins.refused(insert, "SHD1238").await;
    let mut shard = twins.shop.cluster.shards[0].connect(&twins.shop.name).await;
    shard.query_drop("CREATE TABLE dates_4 LIKE dates_0").await.unwrap();
    let rules = twins.rules();
    let nodes = "nodes = \"s{0..1}.dates_{0..3}\"";
    assert!(rules.contains(nodes));
    let appended = "nodes = [\"s{0..1}.dates_{0..3}\", \"s0.dates_4\"]";
    let desired = twins.shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    twins.shop.proxy.save_rules(&rules.replace(nodes, appended));
    assert_eq!(twins.shop.proxy.settled(desired + 1).await, None);
    twins.same(insert).await;
    twins.same("SELECT day FROM dates WHERE day >= '2024-03-01' ORDER BY day").await;
    twins.same("SELECT day FROM dates ORDER BY day DESC").await;
    assert_eq!(shardway_tests::rows(&mut shard, "SELECT day FROM dates_4").await.unwrap(), ["2024-04-01"]);
    // A node less would hide rows.
    twins.shop.proxy.save_rules(&rules);
    let refused = twins.shop.proxy.settled(desired + 2).await.expect("a refusal");
    assert!(refused.contains("SHD1601"), "{refused}");
}
