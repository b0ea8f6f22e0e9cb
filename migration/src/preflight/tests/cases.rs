//! Changes of the facts, and what is found then.

use shardway_routing::schema::{ColumnKind, Generation, UniqueKey};
use shardway_routing::topology::{Capture, Side};

use super::super::facts::{
    Body, Definition, Facts, Flavour, Follows, ForeignKey, Home, Occupied, Prepared, Trigger, Unnamed,
};
use super::super::grants::Grants;

/// A change of the facts, and the ids of what is found then.
pub(super) type Case = (fn(&mut Facts), &'static [&'static str]);

pub(super) fn set(facts: &mut Facts, server: usize, name: &str, value: &str) {
    facts.servers[server].variables.insert(name.to_owned(), value.to_owned());
}

/// The source's definition and, where the tables shall stay alike, the targets'.
pub(super) fn every_definition(facts: &mut Facts, change: impl Fn(&mut Definition)) {
    for physical in &mut facts.tables[0].physical {
        change(physical.definition.as_mut().expect("it is there"));
    }
}

pub(super) fn foreign_key(child: &str, parent: &str, rule: &str) -> ForeignKey {
    ForeignKey {
        name: "fk".to_owned(),
        child: ("shop".to_owned(), child.to_owned()),
        parent: ("shop".to_owned(), parent.to_owned()),
        columns: vec![("id".to_owned(), "id".to_owned())],
        rules: ["RESTRICT".to_owned(), rule.to_owned()],
    }
}

/// Everything that a move needs, but for parameters of the server.
pub(super) fn without_super() -> Grants {
    let grants = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, LOCK TABLES, TRIGGER, EVENT, SHOW VIEW, \
                  REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `mover`@`%`";
    Grants::parse(&[grants.to_owned()])
}

pub(super) fn body(text: &str) -> Body {
    Body { database: "shop".to_owned(), name: "it".to_owned(), text: text.to_owned() }
}

pub(super) fn trigger(table: &str, text: &str) -> Trigger {
    Trigger { on: ("shop".to_owned(), table.to_owned()), body: body(text) }
}

pub(super) fn second_source(facts: &mut Facts, ranges: [(i128, i128); 2]) {
    every_definition(facts, |of| of.schema.columns[0].generation = Generation::AutoIncrement);
    let mut other = facts.tables[0].physical[0].clone();
    other.table = "users_b".to_owned();
    facts.tables[0].physical.push(other);
    for (place, range) in [0, 3].into_iter().zip(ranges) {
        facts.tables[0].physical[place].definition.as_mut().expect("it is there").ids = Some(range);
    }
}

pub(super) fn stays(tables: usize) -> Unnamed {
    let tables = (1..=tables).map(|number| format!("t{number}")).collect();
    Unnamed { database: "shop".to_owned(), place: "legacy".to_owned(), tables }
}

fn peer() -> Follows {
    Follows::These(vec!["10.0.0.2:3306".to_owned()])
}

pub(super) const SERVERS: &[Case] = &[
    (|_| {}, &[]),
    (|f| set(f, 0, "log_bin", "OFF"), &["PF101"]),
    (|f| set(f, 0, "binlog_format", "MIXED"), &["PF102"]),
    (|f| set(f, 0, "binlog_row_image", "MINIMAL"), &["PF103"]),
    (|f| set(f, 0, "binlog_row_value_options", "PARTIAL_JSON"), &["PF104"]),
    (|f| set(f, 0, "log_bin_compress", "ON"), &["PF105"]),
    (|f| set(f, 0, "binlog_transaction_compression", "ON"), &["PF106"]),
    (|f| set(f, 0, "binlog_order_commits", "OFF"), &["PF107"]),
    (|f| f.servers[0].filters = Some((String::new(), "logs".into())), &["PF108"]),
    (|f| set(f, 0, "binlog_expire_logs_seconds", "3599"), &["PF109"]),
    (|f| set(f, 0, "binlog_expire_logs_seconds", "3600"), &[]),
    (
        |f| {
            set(f, 0, "binlog_expire_logs_seconds", "60");
            set(f, 0, "binlog_expire_logs_auto_purge", "OFF");
        },
        &[],
    ),
    (|f| set(f, 0, "expire_logs_days", "0.01"), &["PF109"]),
    (|f| set(f, 1, "log_bin", "OFF"), &["PF110"]),
    (|f| set(f, 1, "binlog_format", "STATEMENT"), &["PF110"]),
    (|f| f.servers[0].grants = Grants::default(), &["PF111", "PF111"]),
    (
        |f| {
            f.capture = Capture::None;
            f.servers[1].grants = Grants::default();
        },
        &["PF111"],
    ),
    (
        |f| {
            f.tuned = vec!["innodb_io_capacity".into()];
            set(f, 1, "innodb_io_capacity", "200");
        },
        &[],
    ),
    (|f| f.tuned = vec!["inodb_io_capacity".into()], &["PF122"]),
    (
        |f| {
            set(f, 1, "innodb_io_capacity", "200");
            set(f, 1, "sync_binlog", "1");
            f.tuned = vec!["innodb_io_capacity".into(), "sync_binlog".into()];
            f.servers[1].grants = without_super();
        },
        &["PF111"],
    ),
    (|f| f.servers[1].grants = without_super(), &[]),
    (|f| f.servers[0].prepared = Prepared::Unknown("denied".into()), &["PF111"]),
    (|f| f.servers[0].prepared = Prepared::Count(2), &["PF112"]),
    (|f| set(f, 1, "read_only", "ON"), &["PF113"]),
    (|f| set(f, 1, "max_allowed_packet", "1048576"), &["PF114"]),
    (|f| set(f, 1, "max_allowed_packet", "16777216"), &[]),
    (
        |f| {
            set(f, 1, "max_allowed_packet", "16777216");
            every_definition(f, |of| of.size.row_bytes_max = 1 << 24);
        },
        &["PF114"],
    ),
    (|f| f.servers[1].disk_free_bytes = Some(99_999), &["PF115"]),
    (|f| f.servers[1].disk_free_bytes = None, &["PF116"]),
    (|f| f.servers[1].flavour = Flavour::MySql, &["PF117"]),
    (|f| set(f, 1, "sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES"), &["PF118"]),
    (|f| set(f, 1, "lower_case_table_names", "1"), &["PF119"]),
    (|f| set(f, 0, "server_id", "0"), &["PF120"]),
    (|f| f.servers[0].follows = peer(), &["PF121"]),
    (|f| f.servers[1].follows = peer(), &["PF110"]),
    (|f| set(f, 0, "wsrep_on", "ON"), &["PF121"]),
    (
        |f| {
            f.servers[0].follows = peer();
            set(f, 0, "wsrep_on", "ON");
            set(f, 0, "log_slave_updates", "ON");
        },
        &[],
    ),
    (|f| f.servers[0].follows = Follows::Unknown("denied".into()), &["PF111"]),
    (|f| f.servers[1].follows = Follows::Unknown("denied".into()), &["PF111"]),
    (
        |f| {
            f.servers[0].follows = Follows::Unknown("denied".into());
            set(f, 0, "log_replica_updates", "ON");
        },
        &[],
    ),
    (
        |f| {
            f.capture = Capture::None;
            f.servers[0].follows = peer();
            f.servers[1].follows = Follows::Unknown("denied".into());
        },
        &[],
    ),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            set(f, 0, "log_bin", "OFF");
            set(f, 1, "log_bin", "OFF");
        },
        &["PF110", "PF217"],
    ),
];

pub(super) const TABLES: &[Case] = &[
    (|f| f.tables[0].physical[0].definition = None, &["PF201"]),
    (|f| f.tables[0].physical[1].definition = None, &[]),
    (|f| every_definition(f, |of| of.engine = "Aria".into()), &["PF202", "PF202", "PF202"]),
    (|f| every_definition(f, |of| of.schema.primary.clear()), &["PF203"]),
    (|f| every_definition(f, |of| of.primary_prefixes.push("email".into())), &["PF204"]),
    (|f| every_definition(f, |of| of.schema.columns[0].kind = ColumnKind::Double), &["PF204", "PF206"]),
    (|f| every_definition(f, |of| of.schema.columns[0].generation = Generation::Computed), &["PF204"]),
    (|f| every_definition(f, |of| of.schema.columns[1].kind = ColumnKind::Other("xml".into())), &["PF205"]),
    (|f| every_definition(f, |of| of.schema.columns[1].kind = ColumnKind::Vector), &["PF205"]),
    (|f| every_definition(f, |of| of.older_uuids = Some("upgrade".into())), &["PF219", "PF219", "PF219"]),
    (
        |f| every_definition(f, |of| of.columns[1].full_type = "varchar(9) /*!100301 COMPRESSED*/".into()),
        &["PF205"],
    ),
    (|f| f.tables[0].home = Home::Sharded { key: "nobody".into(), group: 0 }, &["PF206"]),
    (|f| every_definition(f, |of| of.schema.columns[0].nullable = true), &["PF207"]),
    (|f| every_definition(f, |of| of.schema.primary = vec!["changed".into()]), &["PF208"]),
    (
        |f| {
            every_definition(f, |of| {
                of.schema.unique.push(UniqueKey { name: "email".into(), columns: vec!["email".into()] });
            });
        },
        &["PF209"],
    ),
    (
        |f| {
            f.tables[0].physical[2].definition.as_mut().expect("it is there").columns[1].full_type =
                "varchar(79)".into()
        },
        &["PF210"],
    ),
    (
        |f| {
            f.tables[0].home = Home::Whole("s0".into());
            let source = f.tables[0].physical[0].definition.as_mut().expect("it is there");
            source.schema.columns[0].generation = Generation::AutoIncrement;
            f.tables[0].physical.truncate(2);
        },
        &["PF210"],
    ),
    (|f| f.tables[0].physical[1].rows = Occupied::Yes, &["PF211"]),
    (
        |f| {
            f.tables[0].physical[1].rows = Occupied::Yes;
            f.servers[1].streams.push(("shop".into(), "move/1/legacy".into()));
        },
        &[],
    ),
    (|f| second_source(f, [(1, 10), (10, 20)]), &["PF212"]),
    (|f| second_source(f, [(1, 10), (11, 20)]), &[]),
    (
        |f| {
            second_source(f, [(1, 10), (2, 20)]);
            f.tables[0].source_key = Some("id".into());
        },
        &[],
    ),
    (|f| f.unnamed.push(stays(1)), &["PF218"]),
    (|f| f.capture = Capture::Timestamp { column: "email".into() }, &["PF213", "PF217"]),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            every_definition(f, |of| of.indexed.truncate(1));
        },
        &["PF214", "PF217"],
    ),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            every_definition(f, |of| of.columns[2].extra.clear());
        },
        &["PF215", "PF217"],
    ),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            every_definition(f, |of| of.columns[2].default = Some("2000-01-01".into()));
        },
        &["PF215", "PF217"],
    ),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            f.tables[0].physical[0].sides.push(Side::Target);
        },
        &["PF216", "PF217"],
    ),
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            second_source(f, [(1, 10), (11, 20)]);
            f.tables[0].source_key = Some("email".into());
        },
        &["PF216", "PF217"],
    ),
];

pub(super) const AROUND: &[Case] = &[
    (|f| f.servers[0].foreign_keys.push(foreign_key("users", "regions", "RESTRICT")), &["PF301"]),
    (|f| f.servers[0].foreign_keys.push(foreign_key("orders", "users", "RESTRICT")), &["PF301"]),
    (|f| f.servers[0].foreign_keys.push(foreign_key("orders", "regions", "CASCADE")), &[]),
    (|f| f.servers[0].foreign_keys.push(foreign_key("users", "users", "SET NULL")), &["PF302"]),
    (|f| f.servers[0].foreign_keys.push(foreign_key("users", "users", "RESTRICT")), &["PF303"]),
    (
        |f| {
            f.servers[0].foreign_keys.push(foreign_key("users", "users", "RESTRICT"));
            f.servers[0].foreign_keys[0].columns = vec![("boss".into(), "id".into())];
        },
        &["PF301"],
    ),
    (|f| f.servers[1].foreign_keys.push(foreign_key("users_0", "users_0", "RESTRICT")), &[]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("users_0", "users_0", "CASCADE")), &["PF302"]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("users_0", "users_1", "RESTRICT")), &["PF301"]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("users_0", "users_1", "CASCADE")), &["PF301", "PF302"]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("users_0", "regions", "RESTRICT")), &["PF301"]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("notes", "users_1", "CASCADE")), &["PF301"]),
    (|f| f.servers[1].foreign_keys.push(foreign_key("notes", "regions", "CASCADE")), &[]),
    (
        |f| {
            f.servers[0].sides.push(Side::Target);
            f.tables[0].physical[0].sides.push(Side::Target);
            f.servers[0].foreign_keys.push(foreign_key("users", "users", "CASCADE"));
        },
        &["PF302"],
    ),
    (|f| f.servers[0].triggers.push(trigger("users", "SET NEW.email = ''")), &["PF304"]),
    (|f| f.servers[1].triggers.push(trigger("users_1", "SET NEW.email = ''")), &["PF305"]),
    (|f| f.servers[0].triggers.push(trigger("logs", "UPDATE users SET a = 1")), &["PF306"]),
    (|f| f.servers[0].triggers.push(trigger("logs", "UPDATE users_old SET a = 1")), &[]),
    (|f| f.servers[0].events.push(body("DELETE FROM `Users`")), &["PF306"]),
    (
        |f| {
            f.servers[0].events.push(body("DELETE FROM users"));
            f.servers[0].events[0].database = "elsewhere".into();
        },
        &[],
    ),
    (|f| f.servers[0].views.push(body("select 1 from `shop`.`users` `u`")), &["PF307"]),
    (|f| f.servers[0].views.push(body("select 1 from `shop`.`users_old`")), &[]),
    (|f| f.shared.push(("shop.users".into(), "other".into())), &["PF401"]),
    (|f| f.servers[1].streams.push(("shop".into(), "gone/1/legacy".into())), &["PF402"]),
];
