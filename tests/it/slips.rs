//! Small things that a client of one server is told otherwise.

use crate::twins::{Answer, Twins};

#[tokio::test]
async fn savepoints_are_known_by_their_names() {
    let mut twins = Twins::open().await;
    for sql in [
        "ROLLBACK TO nosuch",
        "RELEASE SAVEPOINT nosuch",
        "SAVEPOINT outside",
        "ROLLBACK TO outside",
        "BEGIN",
        "ROLLBACK TO nosuch",
        "SAVEPOINT a",
        "INSERT INTO users (id, name) VALUES (1, 'a')",
        "SAVEPOINT `b`",
        "INSERT INTO users (id, name) VALUES (2, 'b')",
        "ROLLBACK TO SAVEPOINT B",
        "SELECT id FROM users",
        "SAVEPOINT c",
        "ROLLBACK WORK TO a",
        "ROLLBACK TO c",
        "RELEASE SAVEPOINT b",
        // A branch that joins now has no more savepoints than the others.
        "INSERT INTO users (id, name) VALUES (3, 'c')",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO a",
        "COMMIT",
        "ROLLBACK TO a",
        "SELECT id FROM users",
    ] {
        twins.same(sql).await;
    }
}

#[tokio::test]
async fn errors_and_counts_are_a_single_servers() {
    let mut twins = Twins::open().await;
    for sql in [
        "INSERT INTO users (id, name, email) VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z'), (4, 'd', NULL)",
        "INSERT INTO orders (id, user_id, amount) VALUES (1, 1, 1), (2, 1, 2), (3, 4, 3)",
        "INSERT INTO regions (id, name) VALUES (1, 'r'), (2, 's')",
        "SELECT ALL id FROM users ORDER BY id",
        "SELECT ALL id FROM users WHERE id = 3",
        "SELECT u.id, o.id FROM users u JOIN orders o ON o.user_id = u.id ORDER BY id",
        "SELECT u.name FROM users u JOIN orders o ON o.user_id = u.id ORDER BY id",
        "INSERT INTO users (orders.id, name) VALUES (9, 'n')",
        "INSERT INTO users (users.id, users.name) VALUES (9, 'n')",
        "INSERT INTO users SET orders.id = 10, name = 'n'",
        "DELETE users FROM users AS u WHERE u.id = 9",
        "DELETE u FROM users AS u WHERE u.id = 9",
        // The copies of a broadcast table are one table.
        "UPDATE IGNORE regions SET name = REPEAT('x', 50)",
        "UPDATE regions SET name = 'y'",
        "INSERT IGNORE INTO regions (id, name) VALUES (1, 'twice'), (3, 't')",
        "DELETE FROM regions WHERE id > 1",
    ] {
        twins.same(sql).await;
    }
    let plain = format!("DELETE {}_plain.users FROM users AS u WHERE u.id = 1", twins.shop.name);
    let expected = crate::twins::as_text(&mut twins.alone, &plain).await;
    let found = crate::twins::as_text(&mut twins.proxied, &plain.replace("_plain", "")).await;
    assert!(matches!(expected, Answer::Error(1109, _)), "{expected:?}");
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_insert_over_shards_tells_the_id_that_one_server_tells() {
    let mut twins = Twins::open_wide().await;
    for sql in [
        "INSERT INTO numbered (id, n) VALUES (7, 1)",
        "INSERT INTO numbered (id, n) VALUES (10, 1), (11, 1), (13, 1), (12, 1)",
        "INSERT INTO numbered (id, n) VALUES (23, 1), (22, 1), (21, 1), (20, 1)",
        "SELECT LAST_INSERT_ID()",
        "UPDATE numbered SET n = 2",
    ] {
        twins.same(sql).await;
    }
}
