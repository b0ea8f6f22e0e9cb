//! Accounts of the proxy beside accounts of a server: what a server refuses one that may only read a database, or may
//! do everything in one, the proxy refuses its own, before a backend sees it.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use shardway_tests::{Flavour, Proxy, Server, rows, server_error};

/// A server says so when an account lacks a privilege.
const LACKS: [u16; 10] = [1044, 1045, 1095, 1141, 1142, 1143, 1227, 1345, 1370, 1410];

/// Syntax that only the other server knows is refused by both.
const STATEMENTS: &str = include_str!("accounts.sql");

async fn server() -> Server {
    let server =
        Server::start_with(&["--performance-schema=ON", "--log-bin-trust-function-creators=1"]).await;
    let mut connection = server.connect("").await;
    for database in ["shop", "crm"] {
        for sql in [
            "CREATE DATABASE @",
            "CREATE TABLE @.users (id INT PRIMARY KEY, name VARCHAR(20))",
            "CREATE TABLE @.secrets (id INT PRIMARY KEY)",
            "CREATE VIEW @.v AS SELECT * FROM @.users",
            "CREATE FUNCTION @.f() RETURNS INT DETERMINISTIC RETURN 1",
            "CREATE PROCEDURE @.p() SELECT 1",
            "CREATE EVENT @.e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
        ] {
            connection.query_drop(sql.replace('@', database)).await.unwrap();
        }
        if Flavour::chosen() == Flavour::MariaDb {
            connection.query_drop(format!("CREATE SEQUENCE {database}.s")).await.unwrap();
        }
    }
    connection.query_drop("DROP TABLE shop.secrets").await.unwrap();
    for (account, may) in [("reader", "SELECT"), ("owner", "ALL")] {
        connection.query_drop(format!("CREATE USER {account}@'%' IDENTIFIED BY '{account}'")).await.unwrap();
        connection.query_drop(format!("GRANT {may} ON shop.* TO {account}@'%'")).await.unwrap();
    }
    server
}

async fn proxy(server: &Server) -> Proxy {
    let rules = format!(
        "[backends.b]\nprimary = \"mysql://shop:shop@127.0.0.1:{}\"\n[databases.shop]\ndefault = \"b\"\n\
         [databases.\"*\"]\ndefault = \"b\"\n",
        server.port()
    );
    let accounts = "[[users]]\nname = \"reader\"\npassword = \"reader\"\nrole = \"read_only\"\ndatabases = [\"shop\"]\n\
                    [[users]]\nname = \"owner\"\npassword = \"owner\"\ndatabases = [\"shop\"]\n";
    Proxy::start_with(&rules, accounts).await
}

async fn as_account(server: &Server, account: &str) -> Conn {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(account))
        .pass(Some(account))
        .db_name(Some("shop"))
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

/// The refusal of a statement; `None`: it ran.
async fn refused(connection: &mut Conn, sql: &str) -> Option<(u16, String)> {
    connection.query_drop(sql).await.err().map(|error| server_error(&error))
}

fn is_ours(refused: Option<&(u16, String)>) -> bool {
    refused.is_some_and(|(_, message)| message.starts_with("SHD"))
}

#[tokio::test]
async fn nothing_passes_that_a_server_would_refuse_such_an_account() {
    let (plain, behind) = (server().await, server().await);
    let proxy = proxy(&behind).await;
    for account in ["reader", "owner"] {
        let mut real = as_account(&plain, account).await;
        let mut ours = Conn::new(proxy.options(account, account, "shop")).await.unwrap();
        let mut lacked = 0;
        for sql in STATEMENTS.lines() {
            let server = refused(&mut real, sql).await;
            let answer = refused(&mut ours, sql).await;
            let code = server.as_ref().map_or(0, |(code, _)| *code);
            if LACKS.contains(&code) {
                lacked += 1;
                let told = format!("{account}: {sql}\n  server: {server:?}\n  proxy: {answer:?}");
                assert!(is_ours(answer.as_ref()), "{told}");
                assert!(is_ours(refused(&mut ours, &format!("/*! {sql} */")).await.as_ref()), "{told}");
                let prepared = ours.exec_drop(sql, ()).await.err().map(|error| server_error(&error));
                let unprepared = prepared.as_ref().is_some_and(|(code, _)| *code == 1295);
                assert!(unprepared || is_ours(prepared.as_ref()), "{told}\n  prepared: {prepared:?}");
            }
        }
        assert!(lacked > 80, "{account}: {lacked}");
    }
}

#[tokio::test]
async fn variables_that_need_a_privilege_are_not_for_restricted_accounts() {
    let behind = server().await;
    let proxy = proxy(&behind).await;
    let mut real = as_account(&behind, "reader").await;
    let mut ours = Conn::new(proxy.options("reader", "reader", "shop")).await.unwrap();
    let mut lacked = 0;
    for line in rows(&mut real, "SHOW SESSION VARIABLES").await.unwrap() {
        let name = line.split('|').next().unwrap();
        let sql = format!("SET SESSION {name} = @@session.{name}");
        if refused(&mut real, &sql).await.is_some_and(|(code, _)| code == 1227) {
            lacked += 1;
            assert!(is_ours(refused(&mut ours, &sql).await.as_ref()), "{sql}");
        }
    }
    assert!(lacked > 10, "{lacked}");
}

#[tokio::test]
async fn restricted_accounts_work_with_what_they_have() {
    let behind = server().await;
    let proxy = proxy(&behind).await;
    let mut reader = Conn::new(proxy.options("reader", "reader", "shop")).await.unwrap();
    let mut owner = Conn::new(proxy.options("owner", "owner", "shop")).await.unwrap();
    for sql in [
        "SELECT u.id, CONCAT(u.name, 'x'), COUNT(*) FROM users u WHERE u.id > 1 GROUP BY u.id, u.name ORDER BY u.id LIMIT 3",
        "SELECT u.id MOD 2, EXTRACT(DAY_HOUR FROM NOW()) FROM users u WHERE u.id IN (1, 2)",
        "WITH x (a, b) AS (SELECT 1, 2) SELECT x.a FROM x",
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
        "SELECT c.column_name FROM information_schema.columns c WHERE c.table_schema = 'shop' AND c.table_name = 'users'",
        "SHOW TABLES",
        "SHOW CREATE TABLE users",
        "SHOW COLUMNS FROM users",
        "SHOW VARIABLES LIKE 'port'",
        "EXPLAIN SELECT u.id FROM users u WHERE u.id = 1",
        "SELECT GET_LOCK('a', 1), RELEASE_LOCK('a')",
        "SELECT 1 INTO @x",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        "SELECT * FROM users LOCK IN SHARE MODE",
        "CHECKSUM TABLE users",
    ] {
        for connection in [&mut reader, &mut owner] {
            connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    for sql in [
        "SELECT f()",
        "CALL p()",
        "INSERT INTO users VALUES (1, 'a'), (2, 'b') ON DUPLICATE KEY UPDATE users.name = 'c'",
        "UPDATE users u, users o SET u.name = o.name WHERE u.id = o.id",
        "CREATE TABLE made (a INT REFERENCES users (id))",
        "CREATE VIEW seen AS SELECT u.id FROM users u",
        "SHOW FUNCTION STATUS WHERE Db = 'shop'",
        "SHOW CREATE FUNCTION f",
        "TRUNCATE TABLE made",
        "DROP TABLE made",
    ] {
        owner.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(rows(&mut reader, "SHOW DATABASES").await.unwrap(), ["information_schema", "shop"]);
    for database in ["crm", "mysql", "sys"] {
        let error = Conn::new(proxy.options("owner", "owner", database)).await.unwrap_err();
        assert_eq!(server_error(&error).0, 1044);
    }
}

#[tokio::test]
async fn what_clients_send_when_they_start_is_for_every_account() {
    let behind = server().await;
    let proxy = proxy(&behind).await;
    for account in ["reader", "owner"] {
        let mut connection = Conn::new(proxy.options(account, account, "shop")).await.unwrap();
        for sql in include_str!("../differential/startup.sql").split(";\n") {
            let answer = refused(&mut connection, sql.trim()).await;
            let ours = answer.as_ref().is_some_and(|(_, message)| message.starts_with("SHD17"));
            let writes = ["insert", "update"].iter().any(|verb| sql.to_lowercase().contains(verb));
            assert!(!ours || (account == "reader" && writes), "{account}: {sql}: {answer:?}");
        }
    }
}

/// A server takes the byte for a blank where the client's character set does.
#[tokio::test]
async fn a_blank_of_a_character_set_hides_no_database() {
    let behind = server().await;
    let proxy = proxy(&behind).await;
    let mut owner = Conn::new(proxy.options("owner", "owner", "shop")).await.unwrap();
    let mut direct = behind.connect("shop").await;
    for connection in [&mut owner, &mut direct] {
        connection.query_drop("SET NAMES latin1").await.unwrap();
    }
    let sql = b"SELECT id FROM\xA0crm.secrets".as_slice();
    direct.query_drop(sql).await.unwrap();
    let error = owner.query_drop(sql).await.unwrap_err();
    assert!(server_error(&error).1.starts_with("SHD1003"), "{error}");
}

#[tokio::test]
async fn files_accounts_and_administration_of_a_server_are_for_nobody() {
    let behind = server().await;
    let proxy = proxy(&behind).await;
    for account in ["app", "admin"] {
        let mut connection = Conn::new(proxy.options(account, account, "shop")).await.unwrap();
        for (sql, code, id) in [
            ("SELECT * FROM users INTO OUTFILE '/tmp/never'", 1227, "SHD1705"),
            ("SELECT LOAD_FILE('/etc/passwd')", 1227, "SHD1705"),
            ("SELECT /*!LOAD_FILE*/('/etc/passwd')", 1227, "SHD1705"),
            ("SET @x = LOAD_FILE('/etc/passwd')", 1227, "SHD1705"),
            ("CREATE FUNCTION g RETURNS STRING SONAME 'x.so'", 1227, "SHD1705"),
            ("SELECT * FROM mysql.user", 1142, "SHD1706"),
            ("SELECT id MOD 2 FROM users, mysql.user", 1142, "SHD1706"),
            ("CREATE VIEW w AS SELECT * FROM mysql.user", 1142, "SHD1706"),
            ("USE mysql", 1044, "SHD1701"),
            ("CREATE USER x", 1227, "SHD1707"),
            ("GRANT ALL ON *.* TO shop", 1227, "SHD1707"),
            ("SHOW GRANTS", 1227, "SHD1707"),
            ("CREATE PROCEDURE q() PREPARE s FROM @x", 1227, "SHD1707"),
            ("CALL sys.execute_prepared_stmt('SELECT 1')", 1227, "SHD1707"),
            ("LOAD DATA INFILE '/etc/passwd' INTO TABLE users", 1235, "SHD1107"),
        ] {
            let (told, message) = refused(&mut connection, sql).await.expect(sql);
            assert!(told == code && message.starts_with(id), "{sql}: {told} {message}");
        }
        for sql in [
            "SELECT COUNT(*) FROM performance_schema.threads",
            "SELECT COUNT(*) FROM information_schema.tables",
            "INSERT INTO users (id) SELECT COUNT(*) + 10 FROM performance_schema.global_status",
            "SELECT sys.version_major()",
            "CREATE TABLE crm.made (a INT)",
            "DROP TABLE crm.made",
            "CREATE PROCEDURE q() SELECT * FROM crm.secrets",
            "CALL q()",
            "DROP PROCEDURE q",
            "SHOW ENGINE INNODB STATUS",
            "DELETE FROM users",
        ] {
            let ran = refused(&mut connection, sql).await;
            assert!(ran.is_none(), "{sql}: {ran:?}");
        }
    }
}
