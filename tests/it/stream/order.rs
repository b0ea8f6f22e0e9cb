//! What comes, and in which order; and that every position is a place to go on from.

use std::collections::HashMap;

use mysql_async::prelude::Queryable as _;
use shardway_migration::position::Position;
use shardway_migration::stream::{Change, Item, Stream, current};
use shardway_tests::{Flavour, Server};

use super::{Seen, Source, check, next, play, up_to};

const TABLE: &str = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(40)) ENGINE = InnoDB";
const PROGRESS: &str = "CREATE TABLE shardway_progress (id INT NOT NULL PRIMARY KEY, v INT) ENGINE = InnoDB";

/// The changes in short: `+1` inserted, `-1` deleted, `1>2` the key changed, `~1` something else did.
pub(super) fn short(seen: &Seen) -> Vec<String> {
    let id =
        |image: &shardway_migration::image::Image| String::from_utf8(image.0[0].clone().unwrap()).unwrap();
    let short = |change: &Change| match change {
        Change::Insert(image) => format!("+{}", id(image)),
        Change::Delete(image) => format!("-{}", id(image)),
        Change::Update { before, after } if id(before) == id(after) => format!("~{}", id(after)),
        Change::Update { before, after } => format!("{}>{}", id(before), id(after)),
    };
    seen.changes.iter().map(|row| short(&row.change)).collect()
}

async fn source() -> (Source, Stream) {
    let mut source = Source::open().await;
    source.run(TABLE).await;
    let from = source.here().await;
    let stream = source.follow(&from, &["t"]).await;
    (source, stream)
}

#[tokio::test]
async fn only_what_was_committed_comes() {
    let (mut source, mut stream) = source().await;
    for sql in [
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        "BEGIN",
        "INSERT INTO t VALUES (3, 'c')",
        "ROLLBACK",
        "BEGIN",
        "UPDATE t SET v = 'x' WHERE id = 1",
        "SAVEPOINT s",
        "DELETE FROM t",
        "ROLLBACK TO s",
        "UPDATE t SET id = 5 WHERE id = 2",
        "RELEASE SAVEPOINT s",
        "COMMIT",
        "INSERT IGNORE INTO t VALUES (1, 'no'), (6, 'f')",
        "REPLACE INTO t VALUES (6, 'g')",
        "INSERT INTO t VALUES (6, 'h') ON DUPLICATE KEY UPDATE v = 'i'",
    ] {
        source.run(sql).await;
    }
    let seen = source.rest(&mut stream).await;
    assert_eq!(short(&seen), ["+1", "+2", "~1", "2>5", "+6", "~6", "~6"]);
}

#[tokio::test]
async fn other_tables_and_other_marks_stay_out() {
    let (mut source, _) = source().await;
    let mut other = Source::open().await;
    for table in [TABLE.replace(" t ", " T "), TABLE.replace(" t ", " `tä``x` ")] {
        source.run(&table).await;
    }
    other.run(TABLE).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t", "tä`x"]).await;
    source.run("INSERT INTO T VALUES (1, 'upper')").await;
    other.run("INSERT INTO t VALUES (2, 'elsewhere')").await;
    let foreign = other.mark().await;
    source.run("INSERT INTO `tä``x` VALUES (3, 'umlaut')").await;
    source.run("INSERT INTO t VALUES (4, 'lower')").await;
    let token = source.mark().await;
    let (mut ids, mut marks) = (Vec::new(), Vec::new());
    while marks.last() != Some(&token) {
        match next(&mut stream).await.unwrap() {
            Item::Changes(changes) => ids.extend(changes.into_iter().map(|row| row.table)),
            Item::Mark { token, .. } => marks.push(token),
            Item::Position(_) => {}
        }
    }
    assert_eq!(ids, [1, 0]);
    assert!(!marks.contains(&foreign));
}

#[tokio::test]
async fn a_mark_stands_between_what_was_committed_before_and_after_it() {
    let (mut source, mut stream) = source().await;
    let mut expected = Vec::new();
    for id in 0..20 {
        source.run(&format!("INSERT INTO t VALUES ({id}, 'x')")).await;
        expected.push((source.mark().await, format!("+{id}")));
    }
    for (token, change) in expected {
        assert_eq!(short(&up_to(&mut stream, token).await), [change]);
    }
}

#[tokio::test]
async fn a_large_transaction_comes_in_parts_and_whole() {
    let (mut source, mut stream) = source().await;
    source.run("BEGIN").await;
    for hundred in 0..50 {
        let rows: Vec<String> = (0..100).map(|one| format!("({}, 'x')", 100 * hundred + one)).collect();
        source.run(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    }
    source.run("COMMIT").await;
    source.run("UPDATE t SET v = REPEAT('y', 40)").await;
    let token = source.mark().await;
    let shape = source.shape("t").await;
    let (mut rows, mut parts) = (HashMap::new(), 0);
    loop {
        match next(&mut stream).await.unwrap() {
            Item::Changes(changes) => {
                assert!(changes.len() <= 1_000, "{} rows at once", changes.len());
                parts += 1;
                play(&mut rows, &shape, &changes);
            }
            Item::Mark { token: seen, .. } if seen == token => break,
            _ => {}
        }
    }
    assert!(parts >= 10, "{parts} parts");
    check(&shape, &rows, &source.images("t").await);
}

#[tokio::test]
async fn a_transaction_that_a_mover_wrote_comes_empty() {
    let (mut source, mut stream) = source().await;
    source.run(PROGRESS).await;
    for sql in [
        "BEGIN",
        "REPLACE INTO shardway_progress VALUES (1, 1)",
        "INSERT INTO t VALUES (1, 'moved')",
        "COMMIT",
        "BEGIN",
        "INSERT INTO t VALUES (2, 'written')",
        "COMMIT",
        "BEGIN",
        "REPLACE INTO shardway_progress VALUES (1, 2)",
        "INSERT INTO t VALUES (3, 'moved')",
        "COMMIT",
    ] {
        source.run(sql).await;
    }
    let end = source.here().await;
    let seen = source.rest(&mut stream).await;
    assert_eq!(short(&seen), ["+2"]);
    // The server is shared: MySQL reports its executed set apart from the place, so only the place is compared.
    let ends = |position: &Position| (&position.file, position.offset) == (&end.file, end.offset);
    assert!(seen.positions.iter().any(ends), "{end} is none of {:?}", seen.positions);
}

#[tokio::test]
async fn every_position_is_a_place_to_go_on_from() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    for id in 0..6 {
        source.run(&format!("INSERT INTO t VALUES ({id}, 'x'), ({}, 'y')", 100 + id)).await;
        if id % 2 == 0 {
            source.run("FLUSH BINARY LOGS").await;
        }
    }
    let token = source.mark().await;
    let end = current(&mut source.connection).await.unwrap();
    let mut stream = source.follow(&from, &["t"]).await;
    // How many changes had come at each position.
    let (mut seen, mut places) = (Seen::default(), vec![(0, from)]);
    loop {
        match next(&mut stream).await.unwrap() {
            Item::Changes(changes) => seen.changes.extend(changes),
            Item::Position(position) => places.push((seen.changes.len(), position)),
            Item::Mark { token: other, .. } if other == token => break,
            Item::Mark { .. } => {}
        }
    }
    let Item::Position(last) = next(&mut stream).await.unwrap() else { panic!("a transaction ends") };
    assert_eq!(last, end, "file, offset and numbers of transactions");
    assert_eq!(seen.changes.len(), 12);
    for (count, position) in places {
        let mut again = source.follow(&position, &["t"]).await;
        assert_eq!(up_to(&mut again, token).await.changes, seen.changes[count..], "from {position}");
    }
}

#[tokio::test]
async fn waiting_that_is_given_up_loses_nothing() {
    let (mut source, mut stream) = source().await;
    let ids: Vec<String> = (0..200).map(|id| format!("+{id}")).collect();
    let write = async {
        for id in 0..200 {
            source.run(&format!("INSERT INTO t VALUES ({id}, REPEAT('x', 40))")).await;
        }
    };
    let (mut seen, mut given_up) = (Seen::default(), 0);
    let read = async {
        while seen.changes.len() < 200 {
            tokio::select! {
                biased;
                item = stream.next() => if let Item::Changes(changes) = item.unwrap() {
                    seen.changes.extend(changes);
                },
                () = tokio::task::yield_now() => given_up += 1,
            }
        }
    };
    tokio::join!(write, read);
    assert!(given_up > 0);
    assert_eq!(short(&seen), ids);
}

#[tokio::test]
async fn an_idle_source_still_says_where_it_is() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut stream = source.follow(&from, &["t"]).await;
    for _ in 0..2 {
        assert_eq!(next(&mut stream).await.unwrap(), Item::Position(from.clone()));
    }
}

#[tokio::test]
async fn compressed_transactions_come_like_others() {
    if Flavour::chosen() == Flavour::MariaDb {
        // It compresses in another way, which is refused.
        return;
    }
    // Its own server: the places of other tests would come between.
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let idle = source.here().await;
    let mut stream = source.follow(&idle, &["t"]).await;
    source.run("SET SESSION binlog_transaction_compression = ON").await;
    source.run("INSERT INTO t VALUES (1, REPEAT('x', 40)), (2, 'y')").await;
    source.run("DELETE FROM t WHERE id = 1").await;
    source.run("SET SESSION binlog_transaction_compression = OFF").await;
    source.run("INSERT INTO t VALUES (3, 'z')").await;
    let seen = source.rest(&mut stream).await;
    assert_eq!(short(&seen), ["+1", "+2", "-1", "+3"]);
    // A stream also says where it is before anything has happened.
    let first = seen.positions.iter().find(|position| idle.is_before(position)).expect("three places");
    let mut again = source.follow(first, &["t"]).await;
    assert_eq!(short(&source.rest(&mut again).await), ["-1", "+3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_and_its_transactions_are_of_one_moment_while_others_write() {
    let server = Server::start().await;
    let mut source = Source::on(&server).await;
    source.run(TABLE).await;
    let from = source.here().await;
    let mut other = server.connect(&source.database).await;
    let writing = tokio::spawn(async move {
        for id in 0..2_000 {
            other.query_drop(format!("INSERT INTO t VALUES ({id}, 'x')")).await.unwrap();
        }
    });
    let mut taken = Vec::new();
    while !writing.is_finished() {
        taken.push(source.here().await);
    }
    writing.await.unwrap();
    let token = source.mark().await;
    let mut stream = source.follow(&from, &["t"]).await;
    let mut places = vec![from];
    loop {
        match next(&mut stream).await.unwrap() {
            Item::Changes(_) => {}
            Item::Position(position) => places.push(position),
            Item::Mark { token: other, .. } if other == token => break,
            Item::Mark { .. } => {}
        }
    }
    assert!(taken.len() > 10, "{taken:?}");
    let strange = taken.iter().find(|position| !places.contains(position));
    assert_eq!(strange, None, "file, offset and numbers of transactions");
}
