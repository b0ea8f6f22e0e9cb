use shardway_routing::topology::{BackendId, Server, Tls};

use super::Indexes;
use super::definition::Definition;
use super::indexes::lacking;
use super::tune;
use crate::place::Place;
use crate::preflight::facts::Flavour;

fn target() -> Place {
    let server = Server {
        host: "h".into(),
        port: 1,
        user: "u".into(),
        password: String::new(),
        database: None,
        tls: Tls::Off,
    };
    Place {
        backend: BackendId(0),
        backend_name: "s0".into(),
        server,
        database: "shop".into(),
        table: "users_0".into(),
    }
}

fn shown(parts: &[&str], options: &str) -> Definition {
    Definition::parse(&format!("CREATE TABLE `users` (\n  {}\n){options}", parts.join(",\n  "))).unwrap()
}

const HOSTILE: [&str; 4] = [
    "`id` int unsigned NOT NULL AUTO_INCREMENT",
    "`a``,(` varchar(10) DEFAULT '),\\',' COMMENT 'it''s\\n) AUTO_INCREMENT=7, KEY'",
    "`b` enum('a,b','(') DEFAULT NULL",
    "PRIMARY KEY (`id`)",
];

#[test]
fn only_the_name_and_the_counter_change() {
    let options = " ENGINE=InnoDB AUTO_INCREMENT=12 DEFAULT CHARSET=utf8mb4 COMMENT='x AUTO_INCREMENT=5 ''y'\n\
                   /*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 4 */";
    let made = shown(&HOSTILE, options).create(&target(), Flavour::MariaDb, Indexes::Now);
    let expected = format!(
        "CREATE TABLE `shop`.`users_0` (\n  {}\n){}",
        HOSTILE.join(",\n  "),
        options.replacen(" AUTO_INCREMENT=12", "", 1)
    );
    assert_eq!(made, expected);
}

#[test]
fn what_is_no_definition_is_not_taken_apart() {
    for text in ["", "CREATE VIEW `v` AS select 1", "CREATE TABLE `t` (`a` int", "CREATE TABLE `t`"] {
        assert_eq!(Definition::parse(text), None, "{text}");
    }
}

#[test]
fn foreign_keys_are_left_out_and_told() {
    let key = "CONSTRAINT `of user, (x)` FOREIGN KEY (`a`) REFERENCES `users` (`id`) ON DELETE CASCADE";
    let of = shown(&["`a` int NOT NULL", key, "PRIMARY KEY (`a`)"], " ENGINE=InnoDB");
    assert_eq!(of.foreign_keys().collect::<Vec<_>>(), [key]);
    assert!(!of.create(&target(), Flavour::MySql, Indexes::Now).contains("FOREIGN"));
}

#[test]
fn check_constraints_lose_the_name_that_mysql_would_find_twice() {
    let check = "CONSTRAINT `users_chk_1` CHECK ((`a` <> _utf8mb4'CONSTRAINT'))";
    let of = shown(&["`a` int NOT NULL", check, "PRIMARY KEY (`a`)"], "");
    assert!(of.create(&target(), Flavour::MariaDb, Indexes::Now).contains(check));
    let made = of.create(&target(), Flavour::MySql, Indexes::Now);
    assert!(
        made.contains(",\n  CHECK ((`a` <> _utf8mb4'CONSTRAINT'))") && !made.contains("users_chk_1"),
        "{made}"
    );
}

const INDEXED: [&str; 7] = [
    "`a` int NOT NULL",
    "`b` text",
    "PRIMARY KEY (`a`)",
    "UNIQUE KEY `u` (`b`(10))",
    "KEY `one` (`a`,`b`(3))",
    "FULLTEXT KEY `words` (`b`) /*!50100 WITH PARSER `ngram` */",
    "KEY `two` ((`a` + 1))",
];

#[test]
fn indexes_that_are_not_unique_can_wait() {
    let of = shown(&INDEXED, "");
    let made = of.create(&target(), Flavour::MySql, Indexes::AfterCopy);
    assert!(
        made.contains("UNIQUE KEY `u`") && !made.contains("`one`") && !made.contains("FULLTEXT"),
        "{made}"
    );
    let has = Definition::parse(&made).unwrap();
    let table = "ALTER TABLE `shop`.`users_0`";
    let statements: Vec<String> = lacking(&target(), &of, &has).into_iter().map(|(_, sql)| sql).collect();
    assert_eq!(
        statements,
        [
            format!("{table} ADD KEY `one` (`a`,`b`(3)), ADD KEY `two` ((`a` + 1))"),
            format!("{table} ADD FULLTEXT KEY `words` (`b`) /*!50100 WITH PARSER `ngram` */"),
        ]
    );
    assert!(lacking(&target(), &of, &of).is_empty());
    let half = shown(&INDEXED[..5], "");
    assert_eq!(lacking(&target(), &of, &half)[0].0, ["two"]);
}

#[test]
fn the_index_of_a_counted_column_cannot_wait() {
    let parts = [
        "`n` int NOT NULL AUTO_INCREMENT",
        "`k` int NOT NULL",
        "PRIMARY KEY (`k`)",
        "KEY `n` (`n`)",
        "KEY `k` (`k`)",
    ];
    let made = shown(&parts, "").create(&target(), Flavour::MySql, Indexes::AfterCopy);
    assert!(made.contains("KEY `n`") && !made.contains("KEY `k` (`k`)"), "{made}");
}

#[test]
fn only_harmless_parameters_and_plain_values_are_set() {
    assert_eq!(tune::check("sync_binlog", "0"), Ok(()));
    for (name, value) in [
        ("innodb_autoinc_lock_mode", "2"),
        ("foreign_key_checks", "0"),
        ("innodb_doublewrite", "OFF"),
        ("general_log_file", "x"),
        ("sync_binlog", ""),
        ("sync_binlog", "0; DROP TABLE t"),
    ] {
        let refused = tune::check(name, value).unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}
