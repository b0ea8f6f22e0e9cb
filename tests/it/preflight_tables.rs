//! Every refusal of the preflight about a table itself, on real servers, and that its remedy clears it.

use shardway_migration::preflight::finding::Severity;
use shardway_tests::{Flavour, On, Pair};

use crate::preflight::{Case, MOVE, USERS, ids, provoke, report, set};

const TABLES: [Case; 8] = [
    Case {
        wrong: &[(On::Source, "RENAME TABLE shop.users TO shop.gone")],
        found: &["PF201"],
        remedy: &[(On::Source, "RENAME TABLE shop.gone TO shop.users")],
    },
    Case {
        wrong: &[(On::Source, "ALTER TABLE shop.users ENGINE = MyISAM")],
        found: &["PF202"],
        remedy: &[(On::Source, "ALTER TABLE shop.users ENGINE = InnoDB")],
    },
    Case {
        wrong: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY")],
        found: &["PF203"],
        remedy: &[(On::Source, "ALTER TABLE shop.users ADD PRIMARY KEY (id)")],
    },
    Case {
        wrong: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY, ADD PRIMARY KEY (id, name(5))")],
        found: &["PF204"],
        remedy: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY, ADD PRIMARY KEY (id)")],
    },
    Case {
        wrong: &[(
            On::Source,
            "ALTER TABLE shop.users DROP PRIMARY KEY, ADD f DOUBLE NOT NULL, ADD PRIMARY KEY (id, f)",
        )],
        found: &["PF204"],
        remedy: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY, DROP f, ADD PRIMARY KEY (id)")],
    },
    Case {
        wrong: &[(On::Source, "ALTER TABLE shop.users CHANGE id number BIGINT NOT NULL")],
        found: &["PF206"],
        remedy: &[(On::Source, "ALTER TABLE shop.users CHANGE number id BIGINT NOT NULL")],
    },
    Case {
        wrong: &[(
            On::Source,
            "ALTER TABLE shop.users DROP PRIMARY KEY, MODIFY id BIGINT NULL, ADD n INT NOT NULL PRIMARY KEY",
        )],
        found: &["PF207"],
        remedy: &[(
            On::Source,
            "ALTER TABLE shop.users DROP PRIMARY KEY, DROP n, MODIFY id BIGINT NOT NULL, ADD PRIMARY KEY (id)",
        )],
    },
    Case {
        wrong: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY, ADD n INT NOT NULL PRIMARY KEY")],
        found: &["PF208"],
        remedy: &[(On::Source, "ALTER TABLE shop.users DROP PRIMARY KEY, DROP n, ADD PRIMARY KEY (id)")],
    },
];

#[tokio::test]
async fn tables_that_cannot_be_moved_exactly_are_refused() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    let rules = pair.rules(MOVE);
    provoke(&pair, &rules, &TABLES).await;
    if Flavour::chosen() == Flavour::MariaDb {
        pair.run(On::Source, "ALTER TABLE shop.users ADD u VARCHAR(900) COMPRESSED").await;
        assert_eq!(ids(&report(&rules, &[]).await), set(["PF205"]));
        pair.run(On::Source, "ALTER TABLE shop.users DROP u").await;
        older_uuids(&pair, &rules).await;
    }
    stand_ins(&pair, &rules).await;
    unique_key(&pair, &rules).await;
    different_targets(&pair, &rules).await;
    rows_on_the_target(&pair, &rules).await;
    merged_ids(&pair).await;
}

/// A table says by which release it was made, and is as that release made it.
async fn older_uuids(pair: &Pair, rules: &str) {
    const RELEASE: std::ops::Range<usize> = 51..55;
    pair.run(On::Source, "ALTER TABLE shop.users ADD u UUID, ALGORITHM = COPY").await;
    assert_eq!(ids(&report(rules, &[]).await), set([]));
    pair.run(On::Source, "FLUSH TABLES").await;
    let file = pair.source.data().join("shop/users.frm");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[RELEASE].copy_from_slice(&101_104_u32.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let found = report(rules, &[]).await;
    assert_eq!(ids(&found), set(["PF219"]), "{found:?}");
    pair.run(On::Source, "ALTER TABLE shop.users FORCE, ALGORITHM = COPY").await;
    assert_eq!(ids(&report(rules, &[]).await), set([]));
    pair.run(On::Source, "ALTER TABLE shop.users DROP u").await;
}

/// Which unique keys do for a primary key.
async fn stand_ins(pair: &Pair, rules: &str) {
    for (key, found) in [
        ("ADD UNIQUE KEY k (id)", None),
        ("ADD UNIQUE KEY k (id, name)", None),
        ("ADD UNIQUE KEY k (name, id, email)", Some("PF203")),
        ("ADD UNIQUE KEY k (name(5), id)", Some("PF203")),
        ("MODIFY amount DOUBLE NOT NULL, ADD UNIQUE KEY k (id, amount)", Some("PF204")),
    ] {
        pair.run(On::Source, &format!("ALTER TABLE shop.users DROP PRIMARY KEY, {key}")).await;
        assert_eq!(ids(&report(rules, &[]).await), found.into_iter().collect(), "{key}");
        pair.run(
            On::Source,
            "ALTER TABLE shop.users DROP KEY k, ADD PRIMARY KEY (id), MODIFY amount DECIMAL(10,2)",
        )
        .await;
    }
}

async fn unique_key(pair: &Pair, rules: &str) {
    pair.run(On::Source, "ALTER TABLE shop.users ADD UNIQUE KEY mail (email)").await;
    assert_eq!(ids(&report(rules, &[]).await), set(["PF209"]));
    let waived = report(rules, &["unique_across_shards"]).await;
    assert_eq!((ids(&waived), waived.refusals().count()), (set(["PF209"]), 0));
    assert!(waived.findings.iter().any(|finding| finding.severity == Severity::Waived));
    pair.run(On::Source, "ALTER TABLE shop.users DROP KEY mail").await;
    assert_eq!(ids(&report(rules, &["unique_across_shards"]).await), set(["PF403"]));
    // What is unique may be less than a column, or none.
    pair.run(On::Source, "ALTER TABLE shop.users ADD UNIQUE KEY mail (name(5))").await;
    let by_name = rules.replace("shard_key = \"id\"", "shard_key = \"name\"");
    assert_eq!(ids(&report(&by_name, &[]).await), set(["PF208", "PF209"]));
    pair.run(On::Source, "ALTER TABLE shop.users DROP KEY mail").await;
    if Flavour::chosen() == Flavour::MySql {
        pair.run(On::Source, "ALTER TABLE shop.users ADD UNIQUE KEY mail ((lower(email)))").await;
        let found = report(rules, &[]).await;
        assert_eq!(ids(&found), set(["PF209"]));
        let of_key = found.findings.iter().find(|finding| finding.id == "PF209").unwrap();
        assert_eq!(of_key.found, "`mail` on ((lower(`email`)))");
        pair.run(On::Target, "CREATE DATABASE shop0 CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").await;
        let other = USERS.replace("shop.users", "shop0.users_0").replace(
            "changed DATETIME NOT NULL",
            "changed DATETIME NOT NULL, UNIQUE KEY mail ((upper(email)))",
        );
        pair.run(On::Target, &other).await;
        assert_eq!(ids(&report(rules, &[]).await), set(["PF209", "PF210"]));
        pair.run(On::Target, "DROP DATABASE shop0").await;
        pair.run(On::Source, "ALTER TABLE shop.users DROP KEY mail").await;
    }
}

async fn different_targets(pair: &Pair, rules: &str) {
    pair.run(On::Target, "CREATE DATABASE shop0 CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").await;
    let same = USERS.replace("shop.users", "shop0.users_0");
    for (column, other) in [
        ("BIGINT", "BIGINT UNSIGNED"),
        ("VARCHAR(40)", "VARCHAR(41)"),
        ("VARCHAR(40)", "VARCHAR(40) CHARACTER SET latin1"),
        ("VARCHAR(40)", "VARCHAR(40) COLLATE utf8mb4_bin"),
        ("VARCHAR(80)", "VARCHAR(80) NOT NULL"),
        ("VARCHAR(80)", "VARCHAR(80) UNIQUE"),
        ("ENUM('a','b')", "ENUM('a','b','c')"),
        ("DECIMAL(10,2)", "DECIMAL(10,3)"),
        ("amount DECIMAL(10,2)", "amount DECIMAL(10,2) AS (1) STORED"),
        ("DEFAULT 'a'", "DEFAULT 'b'"),
        ("changed DATETIME NOT NULL", "changed DATETIME NOT NULL, more INT"),
        (
            "amount DECIMAL(10,2), changed DATETIME NOT NULL",
            "changed DATETIME NOT NULL, amount DECIMAL(10,2)",
        ),
    ] {
        let different = same.replacen(column, other, 1);
        assert_ne!(different, same);
        pair.run(On::Target, &different).await;
        assert_eq!(ids(&report(rules, &[]).await), set(["PF210"]), "{other}");
        pair.run(On::Target, "DROP TABLE shop0.users_0").await;
    }
    pair.run(On::Target, &same).await;
    assert_eq!(ids(&report(rules, &[]).await), set([]));
}

async fn rows_on_the_target(pair: &Pair, rules: &str) {
    pair.run(On::Target, "INSERT INTO shop0.users_0 (id, name, changed) VALUES (4, 'n', NOW())").await;
    assert_eq!(ids(&report(rules, &[]).await), set(["PF211"]));
    pair.run(
        On::Target,
        "CREATE TABLE shop0.shardway_progress (stream VARBINARY(300) NOT NULL, lane INT NOT NULL)",
    )
    .await;
    pair.run(On::Target, "INSERT INTO shop0.shardway_progress VALUES ('go/1/legacy', 0)").await;
    assert_eq!(ids(&report(rules, &[]).await), set([]), "the move's own rows");
    pair.run(On::Target, "UPDATE shop0.shardway_progress SET stream = 'other/1/legacy'").await;
    assert_eq!(ids(&report(rules, &[]).await), set(["PF211", "PF402"]));
    pair.run(On::Target, "DROP DATABASE shop0").await;
    assert_eq!(ids(&report(rules, &[]).await), set([]));
}

async fn merged_ids(pair: &Pair) {
    for table in ["orders_0", "orders_1"] {
        pair.run(
            On::Source,
            &format!(
                "CREATE TABLE shop.{table} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL)"
            ),
        )
        .await;
        pair.run(On::Source, &format!("INSERT INTO shop.{table} (user_id) VALUES (1)")).await;
    }
    let rules = pair.rules(
        "[tables.orders]\nshard_key = \"user_id\"\nfunction = { kind = \"mod\", shards = 1 }\nnodes = \"s0.orders\"\n\
         [moves.go]\ntables = [\"orders\"]\n\
         from = { function = { kind = \"mod\", shards = 2 }, nodes = \"legacy.orders_{0..1}\" }\n",
    );
    assert_eq!(ids(&report(&rules, &[]).await), set(["PF208", "PF212"]));
    pair.run(On::Source, "UPDATE shop.orders_1 SET id = 100").await;
    assert_eq!(ids(&report(&rules, &[]).await), set(["PF208"]));
}
