//! Every refusal of the preflight that a real server can be brought to, and that its remedy clears it.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable as _;
use shardway_migration::preflight::{self, Report};
use shardway_migration::prepare::tune;
use shardway_routing::rules;
use shardway_routing::topology::MoveId;
use shardway_tests::{Flavour, On, Pair, Server};

pub(crate) const USERS: &str = "CREATE TABLE shop.users (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL, email VARCHAR(80), \
     kind ENUM('a','b') NOT NULL DEFAULT 'a', amount DECIMAL(10,2), changed DATETIME NOT NULL)";
pub(crate) const MOVE: &str = "[tables.users]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 4 }\n\
     nodes = \"s{0..1}.users_{0..3}\"\n[moves.go]\ntables = [\"users\"]\nfrom = \"legacy\"\n";

pub(crate) async fn report(rules_text: &str, waived: &[&str]) -> Report {
    let topology = rules::load(rules_text, &|_| None, 1).unwrap();
    let waived: Vec<String> = waived.iter().map(|waiver| (*waiver).to_owned()).collect();
    let rules = preflight::Rules { waived: &waived, tuned: &[] };
    preflight::run(&topology, MoveId(0), rules).await.unwrap()
}

/// Ids of what is found, without the free disk space, which nobody can read here, and without what other cases have left
/// beside the tables of the move.
pub(crate) fn ids(report: &Report) -> BTreeSet<&'static str> {
    let ids = report.findings.iter().map(|finding| finding.id);
    ids.filter(|id| !["PF116", "PF218"].contains(id)).collect()
}

pub(crate) fn set<const N: usize>(ids: [&'static str; N]) -> BTreeSet<&'static str> {
    BTreeSet::from(ids)
}

/// What is done wrong, what is found then, and the remedy.
pub(crate) struct Case {
    pub(crate) wrong: &'static [(On, &'static str)],
    pub(crate) found: &'static [&'static str],
    pub(crate) remedy: &'static [(On, &'static str)],
}

pub(crate) async fn provoke(pair: &Pair, rules: &str, cases: &[Case]) {
    assert_eq!(ids(&report(rules, &[]).await), set([]), "at first");
    for Case { wrong, found, remedy } in cases {
        for (on, sql) in *wrong {
            pair.run(*on, sql).await;
        }
        let report_then = report(rules, &[]).await;
        let expected: BTreeSet<&str> = found.iter().copied().collect();
        assert_eq!(ids(&report_then), expected, "{wrong:?}: {:#?}", report_then.findings);
        for (on, sql) in *remedy {
            pair.run(*on, sql).await;
        }
        let after = report(rules, &[]).await;
        assert_eq!(ids(&after), set([]), "after {remedy:?}: {:#?}", after.findings);
    }
}

const SETTINGS: [Case; 6] = [
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_format = 'MIXED'")],
        found: &["PF102"],
        remedy: &[(On::Source, "SET GLOBAL binlog_format = 'ROW'")],
    },
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_row_image = 'MINIMAL'")],
        found: &["PF103"],
        remedy: &[(On::Source, "SET GLOBAL binlog_row_image = 'FULL'")],
    },
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_expire_logs_seconds = 60")],
        found: &["PF109"],
        remedy: &[(On::Source, "SET GLOBAL binlog_expire_logs_seconds = 864000")],
    },
    Case {
        wrong: &[(On::Target, "SET GLOBAL read_only = ON")],
        found: &["PF113"],
        remedy: &[(On::Target, "SET GLOBAL read_only = OFF")],
    },
    Case {
        wrong: &[(On::Target, "SET GLOBAL max_allowed_packet = 1048576")],
        found: &["PF114"],
        remedy: &[(On::Target, "SET GLOBAL max_allowed_packet = 67108864")],
    },
    Case {
        wrong: &[(On::Target, "SET GLOBAL sql_mode = 'ANSI_QUOTES'")],
        found: &["PF118"],
        remedy: &[(On::Target, "SET GLOBAL sql_mode = DEFAULT")],
    },
];

const SETTINGS_MARIADB: [Case; 2] = [
    Case {
        wrong: &[(On::Source, "SET GLOBAL log_bin_compress = ON")],
        found: &["PF105"],
        remedy: &[(On::Source, "SET GLOBAL log_bin_compress = OFF")],
    },
    // What it replicates it does not log unless it is told to.
    Case {
        wrong: &[(On::Target, "CHANGE MASTER 'peer' TO MASTER_HOST = 'nobody'")],
        found: &["PF110"],
        remedy: &[(On::Target, "RESET REPLICA 'peer' ALL")],
    },
];

const SETTINGS_MYSQL: [Case; 4] = [
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'")],
        found: &["PF104"],
        remedy: &[(On::Source, "SET GLOBAL binlog_row_value_options = ''")],
    },
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_transaction_compression = ON")],
        found: &["PF106"],
        remedy: &[(On::Source, "SET GLOBAL binlog_transaction_compression = OFF")],
    },
    Case {
        wrong: &[(On::Source, "SET GLOBAL binlog_order_commits = OFF")],
        found: &["PF107"],
        remedy: &[(On::Source, "SET GLOBAL binlog_order_commits = ON")],
    },
    Case {
        wrong: &[(On::Source, "SET GLOBAL server_id = 0")],
        found: &["PF120"],
        remedy: &[(On::Source, "SET GLOBAL server_id = 1")],
    },
];

#[tokio::test]
async fn settings_that_would_lose_changes_are_refused() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    let rules = pair.rules(MOVE);
    provoke(&pair, &rules, &SETTINGS).await;
    match Flavour::chosen() {
        Flavour::MariaDb => provoke(&pair, &rules, &SETTINGS_MARIADB).await,
        Flavour::MySql => provoke(&pair, &rules, &SETTINGS_MYSQL).await,
    }
    prepared_transactions(&pair, &rules).await;
    privileges(&pair).await;
}

async fn prepared_transactions(pair: &Pair, rules: &str) {
    let mut connection = pair.source.connect("shop").await;
    for sql in [
        "XA START 'one'",
        "INSERT INTO users (id, name, changed) VALUES (1, 'n', NOW())",
        "XA END 'one'",
        "XA PREPARE 'one'",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    assert_eq!(ids(&report(rules, &[]).await), set(["PF112"]));
    connection.query_drop("XA ROLLBACK 'one'").await.unwrap();
    assert_eq!(ids(&report(rules, &[]).await), set([]));
}

/// The finding is the statement that clears it.
async fn privileges(pair: &Pair) {
    pair.run(On::Source, "CREATE USER 'mover'@'%' IDENTIFIED BY 'mover'").await;
    pair.run(On::Source, "GRANT SELECT ON shop.* TO 'mover'@'%'").await;
    let rules = pair.rules_as("mover:mover", MOVE);
    let lacking = report(&rules, &[]).await;
    assert_eq!(ids(&lacking), set(["PF111"]), "{:#?}", lacking.findings);
    for finding in lacking.refusals() {
        let grant = finding.found.split(" (").next().unwrap();
        pair.run(On::Source, grant).await;
    }
    assert_eq!(ids(&report(&rules, &[]).await), set([]));
}

#[tokio::test]
async fn what_setting_parameters_takes_is_asked_for_and_is_enough() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    for sql in [
        "CREATE DATABASE shop0",
        "CREATE USER 'mover'@'%' IDENTIFIED BY 'mover'",
        "GRANT ALL ON shop0.* TO 'mover'@'%'",
        "GRANT ALL ON shop1.* TO 'mover'@'%'",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'mover'@'%'",
    ] {
        pair.run(On::Target, sql).await;
    }
    if Flavour::chosen() == Flavour::MySql {
        pair.run(On::Target, "GRANT SESSION_VARIABLES_ADMIN ON *.* TO 'mover'@'%'").await;
    } else {
        pair.run(On::Target, "GRANT SLAVE MONITOR ON *.* TO 'mover'@'%'").await;
    }
    let rules = pair.rules(MOVE).replace(
        &format!("shop:shop@127.0.0.1:{}", pair.target.port()),
        &format!("mover:mover@127.0.0.1:{}", pair.target.port()),
    );
    let topology = rules::load(&rules, &|_| None, 1).unwrap();
    let wanted = [("innodb_io_capacity", "300"), ("sync_binlog", "7"), ("max_allowed_packet", "33554432")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let tuned = wanted.clone().map(|(name, _)| name);
    let found = async |tuned: &[String]| {
        preflight::run(&topology, MoveId(0), preflight::Rules { waived: &[], tuned }).await.unwrap()
    };
    assert_eq!(ids(&found(&[]).await), set([]));
    let lacking = found(&tuned).await;
    assert_eq!(ids(&lacking), set(["PF111"]), "{:#?}", lacking.findings);
    for finding in lacking.refusals().filter(|finding| finding.id == "PF111") {
        pair.run(On::Target, &finding.found).await;
    }
    assert_eq!(ids(&found(&tuned).await), set([]));
    tune::apply(&topology.backends[1], "shop0", "go", &wanted).await.unwrap();
    tune::restore(&topology.backends[1], "shop0", "go").await.unwrap();
}

#[tokio::test]
async fn a_source_without_a_whole_binary_log_is_refused() {
    let pair = Pair::start(&["--binlog-ignore-db=logs", "--loose-log-replica-updates=OFF"]).await;
    pair.run(On::Source, USERS).await;
    assert_eq!(ids(&report(&pair.rules(MOVE), &[]).await), set(["PF108"]));
    // A peer whose rows come in beside the log.
    let follow = match Flavour::chosen() {
        Flavour::MariaDb => "CHANGE MASTER TO MASTER_HOST = 'peer', MASTER_PORT = 3307",
        Flavour::MySql => "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'peer', SOURCE_PORT = 3307",
    };
    pair.run(On::Source, follow).await;
    let found = report(&pair.rules(MOVE), &[]).await;
    assert_eq!(ids(&found), set(["PF108", "PF121"]));
    let of_peer = found.findings.iter().find(|finding| finding.id == "PF121").unwrap();
    assert_eq!(of_peer.found, "log_slave_updates is OFF, and it replicates from peer:3307");
    pair.run(On::Source, "RESET REPLICA ALL").await;
    assert_eq!(ids(&report(&pair.rules(MOVE), &[]).await), set(["PF108"]));

    let pair = Pair { source: Server::start_with(&["--skip-log-bin"]).await, target: pair.target };
    pair.run(On::Source, "CREATE DATABASE shop").await;
    pair.run(On::Source, USERS).await;
    let of = |capture: &str| pair.rules(&format!("{MOVE}{capture}\n"));
    assert_eq!(ids(&report(&of(""), &[]).await), set(["PF101"]));
    assert_eq!(ids(&report(&of("capture = \"none\""), &[]).await), set([]));

    let by_time = of("capture = \"timestamp\"\ncolumn = \"changed\"");
    let found = set(["PF214", "PF215", "PF217"]);
    assert_eq!(ids(&report(&by_time, &[]).await), found);
    pair.run(On::Source, "ALTER TABLE shop.users ADD KEY (changed)").await;
    assert_eq!(ids(&report(&by_time, &[]).await), set(["PF215", "PF217"]));
    let kept = "DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)";
    pair.run(On::Source, &format!("ALTER TABLE shop.users MODIFY changed {kept}")).await;
    assert_eq!(ids(&report(&by_time, &[]).await), set(["PF217"]));
    let split = by_time.replace("shards = 4", "shards = 2");
    let split = split.replace("\"s{0..1}.users_{0..3}\"", "[\"legacy.users\", \"s0.users\"]");
    assert_eq!(ids(&report(&split, &[]).await), set(["PF216", "PF217"]));
    pair.run(On::Source, "ALTER TABLE shop.users MODIFY changed DATETIME NULL").await;
    assert_eq!(ids(&report(&by_time, &[]).await), set(["PF213", "PF217"]));

    let turned = Pair { source: pair.target, target: pair.source };
    turned.run(On::Source, "CREATE DATABASE shop").await;
    turned.run(On::Source, USERS).await;
    assert_eq!(ids(&report(&turned.rules(MOVE), &[]).await), set(["PF110"]));
}
