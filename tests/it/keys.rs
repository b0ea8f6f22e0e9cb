//! A shard key in every spelling: what one server finds equal lies on the shard that is asked.

use mysql_async::Value;

use crate::twins::{Answer, Twins, as_prepared, as_text};

/// Keys as SQL writes them.
const NUMBERS: [&str; 34] = [
    "1",
    "'1'",
    "' 1'",
    "'1 '",
    "'+1'",
    "'01'",
    "1.0",
    "1.",
    "'1.0'",
    "1e0",
    "'1e0'",
    "10e-1",
    "'1x'",
    "''",
    "'x'",
    "-1",
    "'-1'",
    "- 1",
    "+1",
    "1.5",
    "'1.5'",
    "0",
    "-0",
    "'-0'",
    "0x1",
    "b'1'",
    "TRUE",
    "127",
    "128",
    "300",
    "9007199254740993",
    "'9007199254740993'",
    "9223372036854775807",
    "'9223372036854775808'",
];

const WORDS: [&str; 22] = [
    "'a'",
    "'A'",
    "'a '",
    "'A  '",
    "' a'",
    "'ab'",
    "'aB'",
    "'AB'",
    "'a''b'",
    "'a\\\\b'",
    "\"a\"",
    "'ä'",
    "'Ä'",
    "'ae'",
    "'ß'",
    "'ss'",
    "''",
    "' '",
    "0",
    "'0'",
    "N'a'",
    "_utf8mb4'a'",
];

/// Inserts every spelling that the proxy takes, and asks for every spelling after each.
async fn every_spelling(table: &str, key: &str, spellings: &[&str]) {
    let mut twins = Twins::open_wide().await;
    let mut taken = 0;
    for (nth, spelling) in spellings.iter().enumerate() {
        let insert = format!("INSERT INTO {table} ({key}, n) VALUES ({spelling}, {nth})");
        match as_text(&mut twins.proxied, &insert).await {
            Answer::Refused(id) => assert_eq!(id, "SHD1231", "{insert}"),
            found => {
                assert_eq!(found, as_text(&mut twins.alone, &insert).await, "{insert}");
                taken += 1;
            }
        }
    }
    assert!(taken >= spellings.len() / 2, "only {taken} spellings are taken");
    twins.same_rows(&format!("SELECT {key}, n FROM {table} ORDER BY n")).await;
    for spelling in spellings {
        twins.same_rows(&format!("SELECT {key}, n FROM {table} WHERE {key} = {spelling}")).await;
        twins.same_rows(&format!("SELECT n FROM {table} WHERE {spelling} = {key}")).await;
        twins
            .same_rows(&format!("SELECT n FROM {table} WHERE {key} IN ({spelling}, {})", spellings[0]))
            .await;
        twins.same_rows(&format!("UPDATE {table} SET n = n + 100 WHERE {key} = {spelling}")).await;
    }
    for pair in spellings.windows(2) {
        twins
            .same_rows(&format!("SELECT n FROM {table} WHERE {key} BETWEEN {} AND {}", pair[0], pair[1]))
            .await;
        twins
            .same_rows(&format!("SELECT n FROM {table} WHERE {key} > {} OR {key} = {}", pair[0], pair[1]))
            .await;
    }
    for spelling in spellings {
        twins.same_rows(&format!("DELETE FROM {table} WHERE {key} = {spelling}")).await;
    }
    twins.same_rows(&format!("SELECT {key}, n FROM {table} ORDER BY n")).await;
}

#[tokio::test]
async fn of_a_signed_key() {
    every_spelling("signed", "k", &NUMBERS).await;
}

#[tokio::test]
async fn of_an_unsigned_key() {
    every_spelling("positive", "k", &NUMBERS).await;
}

#[tokio::test]
async fn of_a_narrow_key() {
    every_spelling("tiny", "k", &NUMBERS).await;
}

#[tokio::test]
async fn of_a_key_without_case() {
    every_spelling("words", "word", &WORDS).await;
}

#[tokio::test]
async fn of_a_key_with_case() {
    every_spelling("codes", "code", &WORDS).await;
}

#[tokio::test]
async fn of_a_key_of_bytes() {
    every_spelling("bytes", "b", &["'a'", "'a\\0'", "'a\\0\\0\\0'", "'b '", "'b'", "'\\0a'", "'ä'", "x'61'"])
        .await;
}

#[tokio::test]
async fn of_bound_values() {
    let mut twins = Twins::open_wide().await;
    for sql in [
        "INSERT INTO signed (k, n) VALUES (-1, 1), (1, 2), (5, 3), (9007199254740993, 4)",
        "INSERT INTO positive (k, n) VALUES (1, 1), (5, 2), (18446744073709551615, 3)",
        "INSERT INTO words (word, n) VALUES ('a', 1), ('Bc', 2), ('1', 3)",
    ] {
        twins.same(sql).await;
    }
    let values = [
        Value::Int(1),
        Value::UInt(1),
        Value::UInt(u64::MAX),
        Value::Int(-1),
        Value::Double(5.0),
        Value::Double(5.5),
        Value::Float(1.0),
        Value::from("1"),
        Value::from(" 5 "),
        Value::from("5.0"),
        Value::from("1x"),
        Value::from("9007199254740993"),
        Value::from("A"),
        Value::from("bC "),
        Value::from("ä"),
        Value::NULL,
        Value::Date(2024, 1, 1, 0, 0, 0, 0),
    ];
    for (nth, value) in values.into_iter().enumerate() {
        for (table, key) in [("signed", "k"), ("positive", "k"), ("words", "word")] {
            // A statement is prepared anew for each type, as MySQL goes on comparing as the first one's.
            let select = format!("SELECT n FROM {table} WHERE {key} = ? /* {nth} */");
            twins.same_prepared(&select, (value.clone(),)).await;
            let both = (value.clone(), value.clone());
            twins
                .same_prepared(
                    &format!("SELECT n FROM {table} WHERE {key} IN (?, ?) ORDER BY n /* {nth} */"),
                    both,
                )
                .await;
            let update = format!("UPDATE {table} SET n = n + 10 WHERE {key} = ? /* {nth} */");
            twins.same_prepared(&update, (value.clone(),)).await;
        }
    }
}

#[tokio::test]
async fn that_is_not_ascii_is_exact_where_the_client_speaks_utf8_and_refused_elsewhere() {
    let mut twins = Twins::open_wide().await;
    twins.same("INSERT INTO codes (code, n) VALUES ('Ä', 1), ('ä', 2), ('日本', 3)").await;
    twins.same("SELECT n FROM codes WHERE code = 'ä'").await;
    twins.same("SET NAMES latin1").await;
    twins.same("SELECT n FROM codes WHERE code = 'ä'").await;
    let insert = "INSERT INTO codes (code, n) VALUES ('ö', 4)";
    twins.refused(insert, "SHD1231").await;
    let bound = as_prepared(&mut twins.proxied, "INSERT INTO codes (code) VALUES (?)", ("ö",).into()).await;
    assert_eq!(bound, Answer::Refused("SHD1231".into()));
    twins.same("SET NAMES utf8mb4").await;
    twins.same(insert).await;
    twins.same("SELECT code, n FROM codes ORDER BY n").await;
}

#[tokio::test]
async fn that_its_column_cannot_hold_is_refused_where_the_server_would_change_it() {
    let mut twins = Twins::open_wide().await;
    twins.same("SET sql_mode = ''").await;
    for sql in [
        "INSERT INTO tiny (k) VALUES (300)",
        "INSERT IGNORE INTO tiny (k) VALUES ('-129')",
        "INSERT IGNORE INTO signed (k) VALUES (9223372036854775808)",
        "REPLACE INTO positive (k) VALUES (-1)",
        "INSERT INTO words (word) VALUES ('abcdefghijklmnopqrstu')",
        "INSERT IGNORE INTO words (word) VALUES (100000000000000000000)",
        "INSERT IGNORE INTO words (word) VALUES ('a'), ('abcdefghijklmnopqrst u')",
        "REPLACE INTO codes (code) VALUES ('äbcdefghijklmnopqrstu')",
        "INSERT INTO bytes (b) VALUES ('abcde')",
    ] {
        twins.refused(sql, "SHD1231").await;
    }
    for sql in [
        "INSERT INTO words (word) VALUES ('abcdefghijklmnopqrst')",
        "INSERT INTO codes (code) VALUES ('ääääääääääääääääääää')",
        "INSERT INTO codes (code) VALUES ('spaces at the end    ')",
        "INSERT INTO bytes (b) VALUES ('abcd')",
    ] {
        twins.same(sql).await;
    }
    twins.same("SELECT word FROM words ORDER BY word").await;
    twins.same("SELECT code FROM codes WHERE code = 'spaces at the end'").await;
}
