//! The protocol's commands and flags, as a client sees them byte by byte.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use shardway_tests::raw::{PIECE, RawClient, frames};
use shardway_tests::{Shop, rows, server_error, until};

const DEPRECATE_EOF: u32 = 1 << 24;
const SESSION_TRACK: u32 = 1 << 23;

fn code(packet: &[u8]) -> u16 {
    assert_eq!(packet[0], 0xFF, "no error: {packet:?}");
    u16::from_le_bytes([packet[1], packet[2]])
}

fn text(packets: &[Vec<u8>]) -> String {
    packets.iter().map(|packet| String::from_utf8_lossy(packet).into_owned()).collect()
}

async fn filled() -> Shop {
    let shop = Shop::open().await;
    let mut connection = shop.connect().await;
    let users = "INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')";
    connection.query_drop(users).await.unwrap();
    shop
}

fn entered(shop: &Shop, flags: u32) -> RawClient {
    let mut client = RawClient::log_in_as(shop.proxy.port(), flags, 45);
    client.command(2, shop.name.as_bytes());
    assert_eq!(client.packet().unwrap()[0], 0);
    client
}

/// Statements that take each way through the proxy: one shard, concatenation, merge, its own answer, a plain backend.
const WAYS: [&str; 5] = [
    "SELECT id, name FROM users WHERE id = 1",
    "SELECT id, name FROM users",
    "SELECT id, name FROM users ORDER BY name",
    "SELECT DATABASE()",
    "SELECT 1, 2",
];

#[tokio::test]
async fn answers_end_as_the_client_asked() {
    let shop = filled().await;
    for sql in WAYS {
        let old = entered(&shop, 0).query(sql.as_bytes());
        let new = entered(&shop, DEPRECATE_EOF).query(sql.as_bytes());
        let columns = usize::from(old[0][0]);
        assert_eq!(old[columns + 1][0], 0xFE, "{sql}: no EOF between columns and rows");
        assert_eq!((old[old.len() - 1][0], old[old.len() - 1].len()), (0xFE, 5), "{sql}: {old:?}");
        assert_ne!(new[columns + 1][0], 0xFE, "{sql}: an EOF that nobody asked for");
        assert!(new[new.len() - 1].len() >= 7, "{sql}: {new:?}");
        assert_eq!(old.len(), new.len() + 1, "{sql}");
    }
}

#[tokio::test]
async fn session_tracking_is_neither_offered_nor_given() {
    let shop = filled().await;
    let (_client, greeting) = RawClient::connect(shop.proxy.port());
    let version = greeting[1..].iter().position(|&byte| byte == 0).unwrap() + 2;
    let upper = u16::from_le_bytes([greeting[version + 18], greeting[version + 19]]);
    assert_eq!(u32::from(upper) << 16 & SESSION_TRACK, 0);
    let mut client = entered(&shop, SESSION_TRACK);
    let ok = client.query(b"SET SESSION time_zone = '+01:00'");
    assert_eq!(ok[0].len(), 7, "{ok:?}");
}

#[tokio::test]
async fn pipelined_packets_are_answered_in_order() {
    let shop = filled().await;
    let mut client = entered(&shop, 0);
    let mut all = Vec::new();
    for sql in WAYS {
        all.extend(frames(3, sql.as_bytes()));
        all.extend(frames(0x19, &7_u32.to_le_bytes()));
    }
    all.extend(frames(0x0E, b""));
    client.bytes(&all);
    for sql in WAYS {
        let answer = client.answer();
        assert_eq!(answer[0][0], if sql.contains(", ") { 2 } else { 1 }, "{sql}: {answer:?}");
    }
    assert_eq!(client.packet().unwrap()[0], 0);
}

#[tokio::test]
async fn packets_around_sixteen_mebibytes_pass_both_ways() {
    let shop = filled().await;
    let mut client = entered(&shop, 0);
    let (before, after) = ("SELECT LENGTH('", "') FROM users WHERE id = 3");
    for length in [PIECE - 2, PIECE - 1, PIECE, PIECE + 1] {
        let filler = length - before.len() - after.len();
        let answer = client.query(format!("{before}{}{after}", "x".repeat(filler)).as_bytes());
        assert!(text(&answer).contains(&filler.to_string()), "{length}: {:?}", answer[0]);
    }
    for sql in [
        "SELECT REPEAT('x', {}) FROM users WHERE id = 3",
        "SELECT REPEAT('x', {}) FROM users WHERE id IN (3, 4) ORDER BY id LIMIT 1",
    ] {
        // A field of 16 MiB and more has its length in nine bytes, a shorter one in four.
        for (row, prefix) in [(PIECE - 1, 4), (PIECE, 4), (PIECE + 1, 4), (2 * PIECE, 9)] {
            let sql = sql.replace("{}", &(row - prefix).to_string());
            let answer = client.query(sql.as_bytes());
            let longest = answer.iter().map(Vec::len).max().unwrap();
            assert_eq!(longest, row, "{sql}: {:?}", &answer[0]);
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_passed_as_they_are() {
    let shop = filled().await;
    let mut client = RawClient::log_in_as(shop.proxy.port(), 0, 8);
    client.command(2, shop.name.as_bytes());
    client.packet().unwrap();
    assert_eq!(client.query(b"UPDATE users SET name = 'M\xfcller' WHERE id = 2")[0][0], 0);
    assert!(text(&client.query(b"SELECT HEX('\xff\xfe') FROM users WHERE id = 1")).contains("FFFE"));
    assert_eq!(
        client.query(b"SELECT id FROM users WHERE name = 'M\xfcller' /* \xff */ ORDER BY id").len(),
        5
    );
    let mut witness = shop.connect().await;
    assert_eq!(rows(&mut witness, "SELECT name FROM users WHERE id = 2").await.unwrap(), ["Müller"]);
}

#[tokio::test]
async fn character_sets_that_hide_quotes_are_refused() {
    let shop = filled().await;
    // gbk, sjis, big5: the second byte of a character may be a backslash.
    for collation in [28, 13, 1] {
        let (_client, answer) = RawClient::try_log_in(shop.proxy.port(), 0, collation);
        assert_eq!(code(&answer), 1115);
    }
    let mut client = entered(&shop, 0);
    for sql in
        ["SET NAMES gbk", "SET character_set_client = 'SJIS'", "SET collation_connection = 'utf16_bin'"]
    {
        assert_eq!(code(&client.query(sql.as_bytes())[0]), 1115, "{sql}");
    }
    // An escaped quote whose escape would be half of a character.
    let answer = client.query(b"SELECT id FROM users WHERE id = 1 AND name <> '\xbf\\' OR 1=1'");
    assert_eq!(answer.len(), 5, "{answer:?}");
}

/// The columns that `COM_FIELD_LIST` answers with, or its error.
fn fields(client: &mut RawClient, argument: &[u8]) -> Result<Vec<String>, u16> {
    client.command(0x04, argument);
    let mut columns = Vec::new();
    loop {
        let packet = client.packet().unwrap();
        match packet[0] {
            0xFF => return Err(code(&packet)),
            0xFE => return Ok(columns),
            _ => {}
        }
        let mut rest = &packet[..];
        let mut texts = Vec::new();
        for _ in 0..6 {
            let (text, after) = rest[1..].split_at(usize::from(rest[0]));
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = after;
        }
        columns.push(texts[1..].join("."));
    }
}

#[tokio::test]
async fn the_columns_of_a_table_are_listed_under_its_logical_name() {
    let shop = filled().await;
    let name = &shop.name;
    for flags in [0, DEPRECATE_EOF] {
        let mut client = entered(&shop, flags);
        let columns = fields(&mut client, b"users\0").unwrap();
        assert_eq!(columns.len(), 6, "{columns:?}");
        assert_eq!(columns[1], format!("{name}.users.users.name.name"));
        assert_eq!(
            fields(&mut client, b"orders\0pl%").unwrap(),
            [format!("{name}.orders.orders.placed_at.placed_at")]
        );
        assert_eq!(fields(&mut client, b"regions\0").unwrap().len(), 2);
        assert_eq!(fields(&mut client, b"settings\0").unwrap().len(), 3);
        assert_eq!(fields(&mut client, b"nowhere\0"), Err(1146));
        assert_eq!(client.query(b"SELECT 1").len(), if flags == 0 { 5 } else { 4 });
    }
}

#[tokio::test]
async fn several_statements_are_numbered_as_one_answer() {
    const SEVERAL: u32 = 1 << 16;
    let shop = filled().await;
    for flags in [SEVERAL, SEVERAL | DEPRECATE_EOF] {
        let mut client = entered(&shop, flags);
        client.command(3, [WAYS.join("; "), "SELECT nonsense; SELECT 1".to_owned()].join(";").as_bytes());
        let mut number = 0;
        for sql in WAYS {
            let answer = client.answer();
            number += answer.len();
            assert_eq!(usize::from(client.seq), number, "{sql}");
            let end = &answer[answer.len() - 1];
            assert_eq!(u16::from_le_bytes([end[3], end[4]]) & 8, 8, "{sql}: more follows");
        }
        assert_eq!(code(&client.packet().unwrap()), 1054);
        assert_eq!(usize::from(client.seq), number + 1);
        assert_eq!(text(&client.query(b"SELECT 'still', 'there'; ")).matches("there").count(), 2);
    }
}

#[tokio::test]
async fn the_user_is_the_clients_own() {
    let shop = filled().await;
    let mut client = shop.connect().await;
    for sql in ["SELECT USER(), session_user( )", "SELECT USER(), SYSTEM_USER() FROM users WHERE id = 3"] {
        let expected = ["app@127.0.0.1|app@127.0.0.1"];
        assert_eq!(rows(&mut client, sql).await.unwrap(), expected, "{sql}");
        let row: mysql_async::Row = client.exec_first(sql, ()).await.unwrap().unwrap();
        assert_eq!(row.columns_ref()[0].name_str(), "USER()");
        assert_eq!(shardway_tests::text(row), expected[0], "{sql}");
    }
}

/// Prepares a statement and returns its id.
fn prepare(client: &mut RawClient, sql: &[u8]) -> [u8; 4] {
    client.command(0x16, sql);
    let head = client.packet().unwrap();
    assert_eq!(head[0], 0, "{}", String::from_utf8_lossy(&head));
    let counts = [u16::from_le_bytes([head[5], head[6]]), u16::from_le_bytes([head[7], head[8]])];
    for count in counts.into_iter().filter(|count| *count > 0) {
        for _ in 0..=count {
            client.packet().unwrap();
        }
    }
    [head[1], head[2], head[3], head[4]]
}

#[tokio::test]
async fn long_data_is_collected_and_reset() {
    let shop = filled().await;
    let mut client = entered(&shop, 0);
    let id = prepare(&mut client, b"UPDATE users SET name = ? WHERE id = ?");
    let send = |client: &mut RawClient, data: &[u8]| client.command(0x18, &[&id[..], &[0, 0], data].concat());
    let execute = |client: &mut RawClient, key: u64| {
        // The name's type is a string, sent beforehand; the key is a number.
        let types = [1, 0xFD, 0, 8, 0];
        client.command(0x17, &[&id[..], &[0, 1, 0, 0, 0, 0], &types, &key.to_le_bytes()].concat());
        client.packet().unwrap()
    };
    send(&mut client, b"lost");
    client.command(0x1A, &id);
    assert_eq!(client.packet().unwrap()[0], 0);
    send(&mut client, b"to");
    send(&mut client, b"gether");
    assert_eq!(execute(&mut client, 3)[..2], [0, 1]);
    send(&mut client, b"again");
    assert_eq!(execute(&mut client, 4)[..2], [0, 1]);
    let mut witness = shop.connect().await;
    let names = rows(&mut witness, "SELECT name FROM users ORDER BY id").await.unwrap();
    assert_eq!(names, ["a", "b", "together", "again"]);
}

#[tokio::test]
async fn cursors_and_other_commands_are_answered_without_harm() {
    let shop = filled().await;
    let mut client = entered(&shop, 0);
    let id = prepare(&mut client, b"SELECT id FROM users WHERE id > 0 ORDER BY id");
    // A read-only cursor may be answered with all rows at once: the status says that there is no cursor.
    client.command(0x17, &[&id[..], &[1, 1, 0, 0, 0]].concat());
    let answer = client.answer();
    assert_eq!(answer.len(), 8, "{answer:?}");
    let end = &answer[7];
    assert_eq!(u16::from_le_bytes([end[3], end[4]]) & 0x40, 0, "no cursor was opened");
    client.command(0x17, &[&id[..], &[4, 1, 0, 0, 0]].concat());
    assert_eq!(client.answer().len(), 8, "a scrollable cursor");
    client.command(0x1C, &[&id[..], &[1, 0, 0, 0]].concat());
    assert_eq!(code(&client.packet().unwrap()), 1421, "COM_STMT_FETCH");
    client.command(0x09, b"");
    assert!(String::from_utf8(client.packet().unwrap()).unwrap().starts_with("Uptime: "));
    client.command(0x1B, &[1, 0]);
    assert_eq!(client.packet().unwrap()[0], 0xFE, "COM_SET_OPTION: no several statements");
    assert_eq!(code(&client.query(b"SELECT 1; SELECT 2")[0]), 1064);
    client.command(0x1B, &[0, 0]);
    assert_eq!(client.packet().unwrap()[0], 0xFE, "COM_SET_OPTION: several statements");
    assert_eq!(client.query(b"SELECT 1; SELECT 2").len(), 5);
    assert_eq!(client.answer().len(), 5, "the second answer");
    client.command(0x1B, &[1, 0]);
    assert_eq!(client.packet().unwrap()[0], 0xFE);
    assert_eq!(code(&client.query(b"SELECT 1; SELECT 2")[0]), 1064, "switched off again");
    client.command(0x1B, &[2, 0]);
    assert_eq!(code(&client.packet().unwrap()), 1047, "no such option");
    client.command(0x19, &id);
    client.command(0x17, &[&id[..], &[0, 1, 0, 0, 0]].concat());
    assert_eq!(code(&client.packet().unwrap()), 1243, "a closed statement");
    client.command(0x0E, b"");
    assert_eq!(client.packet().unwrap()[0], 0);
}

#[tokio::test]
async fn a_reset_brings_back_the_session_as_it_logged_in() {
    let shop = filled().await;
    let mut client = RawClient::log_in_as(shop.proxy.port(), 0, 8);
    client.command(2, shop.name.as_bytes());
    client.packet().unwrap();
    for sql in
        ["SET NAMES utf8mb4", "SET @a = 7", "SET autocommit = 0", "CREATE TEMPORARY TABLE mine (id INT)"]
    {
        assert_eq!(client.query(sql.as_bytes())[0][0], 0, "{sql}");
    }
    assert_eq!(client.query(b"UPDATE users SET name = 'gone' WHERE id = 1")[0][0], 0);
    let id = prepare(&mut client, b"SELECT 1");
    client.command(0x1F, b"");
    assert_eq!(client.packet().unwrap()[0], 0);
    let state = "SELECT @@character_set_client, @a IS NULL, @@autocommit";
    let state = text(&client.query(state.as_bytes()));
    assert!(state.contains("\u{6}latin1\u{1}1\u{1}1"), "{state}");
    assert_eq!(code(&client.query(b"SELECT * FROM mine")[0]), 1146);
    client.command(0x17, &[&id[..], &[0, 1, 0, 0, 0]].concat());
    assert_eq!(code(&client.packet().unwrap()), 1243);
    assert!(text(&client.query(b"SELECT name FROM users WHERE id = 1")).contains("\u{1}a"));
}

#[tokio::test]
async fn found_rows_are_counted_where_the_client_asks_for_them() {
    let shop = filled().await;
    let options =
        OptsBuilder::from_opts(shop.proxy.options("app", "app", &shop.name)).client_found_rows(true);
    let mut found = Conn::new(options).await.unwrap();
    let mut changed = shop.connect().await;
    for (sql, matching) in [
        ("UPDATE users SET region_id = 1 WHERE id = 2", 1),
        ("UPDATE users SET region_id = 1", 4),
        ("UPDATE users SET region_id = 1 WHERE id IN (1, 2, 99)", 2),
    ] {
        found.query_drop(sql).await.unwrap();
        assert_eq!(found.affected_rows(), matching, "{sql}");
        changed.query_drop(sql).await.unwrap();
        assert_eq!(changed.affected_rows(), 0, "{sql}");
    }
}

#[tokio::test]
async fn a_killed_statement_ends_on_every_shard_and_its_session_lives() {
    let shop = filled().await;
    let mut killer = shop.connect().await;
    for sql in ["SELECT SLEEP(100) FROM users WHERE id = 1", "SELECT SLEEP(100) FROM users ORDER BY id"] {
        let mut victim = shop.connect().await;
        let id = rows(&mut victim, "SELECT CONNECTION_ID()").await.unwrap().remove(0);
        let running = tokio::spawn(async move {
            let result = victim.query_drop(sql).await;
            (result, victim)
        });
        until("the statement is listed", Duration::from_secs(10), async || {
            let listed = rows(&mut killer, "SHOW PROCESSLIST").await.unwrap();
            let line = listed.into_iter().find(|line| line.starts_with(&format!("{id}|")))?;
            line.contains("SLEEP(100)").then_some(())
        })
        .await;
        until("the statement has ended", Duration::from_secs(20), async || {
            // It may not have reached its shard when it is first listed.
            killer.query_drop(format!("KILL QUERY {id}")).await.unwrap();
            running.is_finished().then_some(())
        })
        .await;
        let (_, mut victim) = running.await.unwrap();
        assert_eq!(rows(&mut victim, "SELECT 1").await.unwrap(), ["1"], "the session lives on");
    }
    let error = killer.query_drop("KILL 4000000000").await.unwrap_err();
    assert_eq!(server_error(&error).0, 1094);
}
