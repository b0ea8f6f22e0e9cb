//! Which tables there are and what they look like: as one server with all of them would say it.

use mysql_async::Params;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{Shop, rows};

use crate::twins::{Answer, Twins, as_prepared, as_text};

/// Statements about the shop's database, `{db}`.
const SAME: [&str; 43] = [
    "SHOW TABLES",
    "show tables;",
    "SHOW FULL TABLES",
    "SHOW TABLES FROM {db}",
    "SHOW FULL TABLES IN `{db}` /* a comment */",
    "SHOW TABLES LIKE 'u%'",
    "SHOW TABLES LIKE 'U%'",
    "SHOW TABLES LIKE '%S'",
    "SHOW FULL TABLES LIKE '%e%'",
    "SHOW TABLES LIKE 'settings'",
    "SHOW TABLES LIKE 'a\\_b'",
    "SHOW TABLES LIKE 'a_b'",
    "SHOW TABLES LIKE 'it''s%'",
    "SHOW TABLES FROM {db} LIKE 'r%' -- a comment",
    "SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'",
    "SHOW FULL TABLES FROM {db} WHERE Table_type != 'VIEW' AND Tables_in_{db} LIKE '%s'",
    "SHOW FULL TABLES WHERE `Table_type` = 'VIEW';",
    "SHOW TABLES WHERE Tables_in_{db} IN ('users', 'settings')",
    "SHOW TABLES WHERE nonsense = 1",
    "DESCRIBE users",
    "DESC {db}.orders",
    "DESC users name",
    "DESCRIBE users 'n%'",
    "EXPLAIN regions",
    "SHOW COLUMNS FROM users",
    "SHOW FULL COLUMNS FROM orders LIKE 'a%'",
    "SHOW FIELDS IN users FROM {db}",
    "SHOW COLUMNS FROM users IN {db} WHERE Field = 'id'",
    "SHOW COLUMNS FROM `{db}`.`settings`",
    "SHOW COLUMNS FROM nowhere",
    "SHOW INDEX FROM orders",
    "SHOW KEYS FROM {db}.orders",
    "SHOW INDEXES IN orders FROM {db} WHERE Key_name = 'PRIMARY'",
    "SHOW INDEX FROM regions",
    "SHOW CREATE TABLE users",
    "SHOW CREATE TABLE {db}.orders",
    "SHOW CREATE TABLE `regions`",
    "SHOW CREATE TABLE settings",
    "SHOW CREATE TABLE nowhere",
    "SHOW TABLE STATUS LIKE 'nothing'",
    "SHOW TRIGGERS LIKE 'settings'",
    "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{db}' AND TABLE_NAME = 'settings'",
    "SELECT COUNT(*) FROM `information_schema`.columns c WHERE c.table_schema = '{db}' AND c.table_name IN ('settings', 'Zed')",
];

/// What no backend can say alone.
const REFUSED: [&str; 13] = [
    "SHOW TABLES LIKE ''",
    "SHOW TABLE STATUS",
    "SHOW TABLE STATUS LIKE 'u%'",
    "SHOW TRIGGERS FROM {db}",
    "SHOW OPEN TABLES",
    "SELECT * FROM information_schema.TABLES",
    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{db}'",
    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()",
    "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_NAME = 'users'",
    "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_NAME = 'settings' OR TABLE_NAME = 'USERS '",
    "SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = '{db}' AND TABLE_NAME LIKE 'set%'",
    "SELECT (SELECT COUNT(*) FROM information_schema.TABLES) FROM settings",
    "SELECT s.id FROM settings s JOIN information_schema.TABLES t ON t.TABLE_NAME = s.name WHERE t.TABLE_SCHEMA = '{db}'",
];

async fn open() -> (Twins, String) {
    let mut twins = Twins::open().await;
    let plain = format!("{}_plain", twins.shop.name);
    let mut legacy = twins.shop.cluster.legacy.connect(&twins.shop.name).await;
    for sql in [
        "CREATE TABLE Zed (id INT PRIMARY KEY)",
        "CREATE TABLE a_b (id INT PRIMARY KEY)",
        "CREATE TABLE axb (id INT PRIMARY KEY)",
        "CREATE TABLE `it's` (id INT PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT id FROM settings",
    ] {
        legacy.query_drop(sql).await.unwrap();
        twins.alone.query_drop(sql).await.unwrap();
    }
    // What only the engine and the rules know of.
    legacy.query_drop("CREATE TABLE shardway_journal_of_a_test (id INT PRIMARY KEY)").await.unwrap();
    (twins, plain)
}

/// The answer of the plain database in the words of the other, without what an expression cannot have: a column's own
/// length and flags.
fn worded(answer: Answer, plain: &str, name: &str, own: bool) -> Answer {
    match answer {
        Answer::Done { columns, rows, affected, insert_id, warnings } => {
            let columns = columns.iter().map(|column| {
                let column = column.replace(plain, name);
                if own { column.split(" MYSQL_TYPE").next().unwrap_or_default().to_owned() } else { column }
            });
            let columns = columns.collect();
            let rows = rows.iter().map(|row| row.replace(plain, name)).collect();
            Answer::Done { columns, rows, affected, insert_id, warnings }
        }
        other => other,
    }
}

#[tokio::test]
async fn every_logical_table_is_shown_once_and_looks_as_on_one_server() {
    let (mut twins, plain) = open().await;
    let name = twins.shop.name.clone();
    for sql in SAME {
        // The order of the rows counts too.
        let ordered = format!("{sql}{}", if sql.contains("--") { " order by" } else { " /* order by */" });
        for sql in [sql.to_owned(), ordered] {
            let own = sql.to_lowercase().contains("tables");
            let expected = as_text(&mut twins.alone, &sql.replace("{db}", &plain)).await;
            let found = as_text(&mut twins.proxied, &sql.replace("{db}", &name)).await;
            assert_eq!(worded(found, &plain, &name, own), worded(expected, &plain, &name, own), "{sql}");
        }
        let expected = as_prepared(&mut twins.alone, &sql.replace("{db}", &plain), Params::Empty).await;
        let found = as_prepared(&mut twins.proxied, &sql.replace("{db}", &name), Params::Empty).await;
        assert_eq!(
            worded(found, &plain, &name, true),
            worded(expected, &plain, &name, true),
            "{sql}, prepared"
        );
    }
}

#[tokio::test]
async fn what_no_backend_can_say_alone_is_refused() {
    let (mut twins, _) = open().await;
    let name = twins.shop.name.clone();
    for sql in REFUSED {
        twins.refused(&sql.replace("{db}", &name), "SHD1223").await;
    }
    let error = as_prepared(
        &mut twins.proxied,
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_NAME = ?",
        ("settings",).into(),
    );
    assert_eq!(error.await, Answer::Refused("SHD1223".to_owned()), "a value that the plan cannot see");
}

#[tokio::test]
async fn a_moving_table_is_shown_by_the_side_that_owns_it() {
    let shop = Shop::open_moving().await;
    let mut client = shop.connect().await;
    let tables = ["orders", "regions", "settings", "users"];
    assert_eq!(rows(&mut client, "SHOW TABLES").await.unwrap(), tables);
    let mut source = shop.cluster.legacy.connect(&shop.name).await;
    source.query_drop("ALTER TABLE users ADD COLUMN only_here INT").await.unwrap();
    let columns = rows(&mut client, "SHOW COLUMNS FROM users LIKE 'only%'").await.unwrap();
    assert_eq!(columns.len(), 1, "{columns:?}");
}
