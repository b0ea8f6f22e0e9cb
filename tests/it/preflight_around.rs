//! What surrounds the tables of a move on real servers, on both sides, and that its remedy clears it.

use shardway_tests::{On, Pair};

use crate::preflight::{Case, MOVE, USERS, provoke};

const AROUND: [Case; 12] = [
    Case {
        wrong: &[
            (On::Source, "CREATE TABLE shop.regions (id BIGINT NOT NULL PRIMARY KEY)"),
            (
                On::Source,
                "ALTER TABLE shop.users ADD CONSTRAINT there FOREIGN KEY (id) REFERENCES shop.regions (id)",
            ),
        ],
        found: &["PF301"],
        remedy: &[(On::Source, "ALTER TABLE shop.users DROP FOREIGN KEY there")],
    },
    Case {
        wrong: &[(
            On::Source,
            "CREATE TABLE shop.notes (id BIGINT NOT NULL PRIMARY KEY, CONSTRAINT ours FOREIGN KEY (id) REFERENCES shop.users (id))",
        )],
        found: &["PF301"],
        remedy: &[(On::Source, "ALTER TABLE shop.notes DROP FOREIGN KEY ours")],
    },
    Case {
        wrong: &[(
            On::Source,
            "ALTER TABLE shop.orders ADD CONSTRAINT who FOREIGN KEY (user_id) REFERENCES shop.users (id) ON DELETE CASCADE",
        )],
        found: &["PF302"],
        remedy: &[(On::Source, "ALTER TABLE shop.orders DROP FOREIGN KEY who")],
    },
    Case {
        wrong: &[(
            On::Source,
            "ALTER TABLE shop.orders ADD CONSTRAINT who FOREIGN KEY (user_id) REFERENCES shop.users (id)",
        )],
        found: &["PF303"],
        remedy: &[(On::Source, "ALTER TABLE shop.orders DROP FOREIGN KEY who")],
    },
    // Tables that were made before the move, with keys of their own.
    Case {
        wrong: &[
            (On::Target, "CREATE TABLE shop0.users_0 LIKE shop0.model"),
            (
                On::Target,
                "CREATE TABLE shop0.orders_0 (id BIGINT NOT NULL, user_id BIGINT NOT NULL, PRIMARY KEY (user_id, id), \
                 CONSTRAINT who FOREIGN KEY (user_id) REFERENCES shop0.users_0 (id) ON DELETE CASCADE)",
            ),
        ],
        found: &["PF302"],
        remedy: &[(On::Target, "ALTER TABLE shop0.orders_0 DROP FOREIGN KEY who")],
    },
    Case {
        wrong: &[
            (On::Target, "CREATE TABLE shop0.users_1 LIKE shop0.model"),
            (
                On::Target,
                "ALTER TABLE shop0.orders_0 ADD CONSTRAINT who FOREIGN KEY (user_id) REFERENCES shop0.users_1 (id)",
            ),
        ],
        found: &["PF301"],
        remedy: &[(On::Target, "ALTER TABLE shop0.orders_0 DROP FOREIGN KEY who")],
    },
    // Such a key does no harm; one to a table beside the move does.
    Case {
        wrong: &[
            (
                On::Target,
                "ALTER TABLE shop0.orders_0 ADD CONSTRAINT who FOREIGN KEY (user_id) REFERENCES shop0.users_0 (id)",
            ),
            (
                On::Target,
                "CREATE TABLE shop0.notes (id BIGINT NOT NULL PRIMARY KEY, CONSTRAINT ours FOREIGN KEY (id) \
                 REFERENCES shop0.users_0 (id) ON DELETE CASCADE)",
            ),
        ],
        found: &["PF301"],
        remedy: &[(On::Target, "ALTER TABLE shop0.notes DROP FOREIGN KEY ours")],
    },
    Case {
        wrong: &[(
            On::Source,
            "CREATE TRIGGER shop.t BEFORE INSERT ON shop.users FOR EACH ROW SET NEW.email = 'x'",
        )],
        found: &["PF304"],
        remedy: &[(On::Source, "DROP TRIGGER shop.t")],
    },
    Case {
        wrong: &[(
            On::Target,
            "CREATE TRIGGER shop0.t BEFORE INSERT ON shop0.users_0 FOR EACH ROW SET NEW.email = 'x'",
        )],
        found: &["PF305"],
        remedy: &[(On::Target, "DROP TRIGGER shop0.t")],
    },
    Case {
        wrong: &[(
            On::Source,
            "CREATE TRIGGER shop.t AFTER INSERT ON shop.notes FOR EACH ROW UPDATE users SET email = 'x'",
        )],
        found: &["PF306"],
        remedy: &[(On::Source, "DROP TRIGGER shop.t")],
    },
    Case {
        wrong: &[(
            On::Source,
            "CREATE EVENT shop.e ON SCHEDULE EVERY 1 YEAR DO DELETE FROM users WHERE id < 0",
        )],
        found: &["PF306"],
        remedy: &[(On::Source, "DROP EVENT shop.e")],
    },
    Case {
        wrong: &[(On::Source, "CREATE VIEW shop.v AS SELECT id FROM shop.users")],
        found: &["PF307"],
        remedy: &[(On::Source, "DROP VIEW shop.v")],
    },
];

#[tokio::test]
async fn what_surrounds_the_tables_and_would_be_torn_is_refused() {
    let pair = Pair::start(&[]).await;
    pair.run(On::Source, USERS).await;
    pair.run(
        On::Source,
        "CREATE TABLE shop.orders (id BIGINT NOT NULL, user_id BIGINT NOT NULL, PRIMARY KEY (user_id, id))",
    )
    .await;
    pair.run(On::Target, "CREATE DATABASE shop0 CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").await;
    pair.run(On::Target, &USERS.replace("shop.users", "shop0.model")).await;
    let rules = pair.rules(
        &MOVE
            .replace("[moves.go]", "[tables.orders]\nshard_key = \"user_id\"\nwith = \"users\"\nnodes = \"s{0..1}.orders_{0..3}\"\n[moves.go]")
            .replace("[\"users\"]", "[\"users\", \"orders\"]"),
    );
    provoke(&pair, &rules, &AROUND).await;
}
