use std::collections::BTreeMap;

use shardway_routing::schema::{ColumnKind, Generation, UniqueKey};
use shardway_routing::topology::{Capture, Side};

use super::compare::differences;
use super::decide::decide;
use super::estimate::{Rate, estimate};
use super::example::{definition, facts, physical};
use super::facts::{
    Body, ColumnText, Definition, Facts, Flavour, ForeignKey, Home, Occupied, Physical, Prepared, Trigger,
};
use super::finding::{ALL, Finding, Severity};
use super::grants::Grants;

/// A change of the facts, and the ids of what is found then.
type Case = (fn(&mut Facts), &'static [&'static str]);

fn found(facts: &Facts, waived: &[&str]) -> Vec<Finding> {
    let waived: Vec<String> = waived.iter().map(|waiver| (*waiver).to_owned()).collect();
    decide(facts, &estimate(facts, Rate::ASSUMED), &waived)
}

fn set(facts: &mut Facts, server: usize, name: &str, value: &str) {
    facts.servers[server].variables.insert(name.to_owned(), value.to_owned());
}

/// The source's definition and, where the tables shall stay alike, the targets'.
fn every_definition(facts: &mut Facts, change: impl Fn(&mut Definition)) {
    for physical in &mut facts.tables[0].physical {
        change(physical.definition.as_mut().unwrap());
    }
}

fn foreign_key(child: &str, parent: &str, rule: &str) -> ForeignKey {
    ForeignKey {
        name: "fk".to_owned(),
        child: ("shop".to_owned(), child.to_owned()),
        parent: ("shop".to_owned(), parent.to_owned()),
        columns: vec![("id".to_owned(), "id".to_owned())],
        rules: ["RESTRICT".to_owned(), rule.to_owned()],
    }
}

/// Everything that a move needs, but for parameters of the server.
fn without_super() -> Grants {
    let grants = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, LOCK TABLES, TRIGGER, EVENT, SHOW VIEW, \
                  REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `mover`@`%`";
    Grants::parse(&[grants.to_owned()])
}

fn body(text: &str) -> Body {
    Body { database: "shop".to_owned(), name: "it".to_owned(), text: text.to_owned() }
}

fn trigger(table: &str, text: &str) -> Trigger {
    Trigger { on: ("shop".to_owned(), table.to_owned()), body: body(text) }
}

fn second_source(facts: &mut Facts, ranges: [(i128, i128); 2]) {
    every_definition(facts, |of| of.schema.columns[0].generation = Generation::AutoIncrement);
    let mut other = facts.tables[0].physical[0].clone();
    other.table = "users_b".to_owned();
    facts.tables[0].physical.push(other);
    for (place, range) in [0, 3].into_iter().zip(ranges) {
        facts.tables[0].physical[place].definition.as_mut().unwrap().ids = Some(range);
    }
}

const SERVERS: &[Case] = &[
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
    (|f| f.tuned = vec!["innodb_io_capacity".into()], &[]),
    (
        |f| {
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
    (
        |f| {
            f.capture = Capture::Timestamp { column: "changed".into() };
            set(f, 0, "log_bin", "OFF");
            set(f, 1, "log_bin", "OFF");
        },
        &["PF110", "PF217"],
    ),
];

const TABLES: &[Case] = &[
    (|f| f.tables[0].physical[0].definition = None, &["PF201"]),
    (|f| f.tables[0].physical[1].definition = None, &[]),
    (|f| every_definition(f, |of| of.engine = "Aria".into()), &["PF202", "PF202", "PF202"]),
    (|f| every_definition(f, |of| of.schema.primary.clear()), &["PF203"]),
    (|f| every_definition(f, |of| of.primary_prefixes.push("email".into())), &["PF204"]),
    (|f| every_definition(f, |of| of.schema.columns[0].kind = ColumnKind::Double), &["PF204", "PF206"]),
    (|f| every_definition(f, |of| of.schema.columns[1].kind = ColumnKind::Other("inet6".into())), &["PF205"]),
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
        |f| f.tables[0].physical[2].definition.as_mut().unwrap().columns[1].full_type = "varchar(79)".into(),
        &["PF210"],
    ),
    (
        |f| {
            f.tables[0].home = Home::Whole("s0".into());
            let source = f.tables[0].physical[0].definition.as_mut().unwrap();
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

const AROUND: &[Case] = &[
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

#[test]
fn every_kind_is_found_where_it_is_and_only_there() {
    let mut reached = vec!["PF403"];
    for (number, (change, expected)) in [SERVERS, TABLES, AROUND].concat().into_iter().enumerate() {
        let mut facts = facts();
        change(&mut facts);
        let mut ids: Vec<&str> = found(&facts, &[]).into_iter().map(|finding| finding.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "case {number}");
        reached.extend(ids);
    }
    for kind in ALL {
        assert!(reached.contains(&kind.id), "no case finds {}", kind.id);
    }
}

#[test]
fn kinds_have_ids_in_order_and_names_of_their_own() {
    assert!(ALL.is_sorted_by(|one, other| one.id < other.id));
    let mut names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}

#[test]
fn a_waiver_waives_what_it_names_and_nothing_that_would_lose_rows() {
    let mut facts = facts();
    every_definition(&mut facts, |of| {
        of.schema.unique.push(UniqueKey { name: "email".into(), columns: vec!["email".into()] });
    });
    set(&mut facts, 0, "log_bin", "OFF");
    let judged = |waived: &[&str]| -> Vec<(&str, Severity)> {
        found(&facts, waived).into_iter().map(|finding| (finding.id, finding.severity)).collect()
    };
    let refused = [("PF101", Severity::Refused), ("PF209", Severity::Refused)];
    assert_eq!(judged(&[]), refused);
    let waived = [("PF101", Severity::Refused), ("PF209", Severity::Waived)];
    for waiver in ["unique_across_shards", "PF209", "PF209:shop.users"] {
        assert_eq!(judged(&[waiver]), waived, "{waiver}");
    }
    for waiver in ["binlog_off", "PF209:shop.orders", "nonsense"] {
        assert_eq!(judged(&[waiver])[..2], refused, "{waiver}");
        assert_eq!(judged(&[waiver])[2], ("PF403", Severity::Warning), "{waiver}");
    }
}

#[test]
fn definitions_are_compared_by_meaning() {
    let same = |change: fn(&mut ColumnText)| {
        let mut other = definition();
        change(&mut other.columns[0]);
        differences(&definition(), &other)
    };
    assert_eq!(same(|of| of.full_type = "bigint".into()), [""; 0]);
    assert_eq!(same(|of| of.name = "ID".into()), [""; 0]);
    assert_eq!(
        same(|of| of.full_type = "bigint(20) unsigned".into()),
        ["`id`: type bigint on the source and bigint unsigned here"]
    );
    for change in [
        (|of| of.nullable = "YES".into()) as fn(&mut ColumnText),
        |of| of.collation = Some("latin1_bin".into()),
        |of| of.extra = "VIRTUAL GENERATED".into(),
        |of| of.default = Some("1".into()),
        |of| of.name = "other".into(),
    ] {
        assert_eq!(same(change).len(), 1);
    }
    let mut other = definition();
    other.columns.swap(1, 2);
    assert_eq!(differences(&definition(), &other).len(), 2);
    other.columns.truncate(1);
    other.schema.primary.push("email".into());
    assert_eq!(differences(&definition(), &other).len(), 3);
}

#[test]
fn servers_write_the_same_column_in_two_ways() {
    let mut one = definition();
    let mut other = definition();
    other.flavour = Flavour::MySql;
    let columns = |of: &mut Definition, extra: &str, charset: &str, default: &str| {
        of.columns[2].extra = extra.to_owned();
        of.columns[1].charset = Some(charset.to_owned());
        of.columns[1].default = Some(default.to_owned());
    };
    columns(&mut one, "on update current_timestamp()", "utf8mb3", "'x'");
    columns(&mut other, "DEFAULT_GENERATED on update CURRENT_TIMESTAMP", "utf8", "x");
    assert_eq!(differences(&one, &other), [""; 0]);
}

#[test]
fn shares_of_what_travels_add_up_and_what_stays_is_not_counted() {
    let facts = facts();
    let of = estimate(&facts, Rate::ASSUMED);
    assert_eq!((of.rows, of.bytes, of.copy_s), (1000, 100_000, 1));
    assert_eq!((of.targets.len(), of.targets[0].rows), (1, 1000));
    let mut doubling = facts.clone();
    doubling.tables[0].physical = vec![
        Physical { sides: vec![Side::Source, Side::Target], ..physical("legacy", Side::Source, "users") },
        physical("s0", Side::Target, "users_1"),
    ];
    assert_eq!(estimate(&doubling, Rate::ASSUMED).rows, 500);
    let mut variables = BTreeMap::from([("innodb_buffer_pool_size".to_owned(), "1000".to_owned())]);
    variables.extend(facts.servers[0].variables.clone().into_iter().filter(|(name, _)| name == "log_bin"));
    let mut small = facts;
    small.servers[0].variables = variables;
    assert_eq!(estimate(&small, Rate::ASSUMED).load.len(), of.load.len() + 1);
}

#[test]
fn a_side_that_takes_over_can_be_written_and_give_back() {
    let found = |change: fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        let found = super::servers::of_authority(&facts, Side::Target);
        found.into_iter().map(|finding| finding.id).collect::<Vec<_>>()
    };
    assert!(found(|_| {}).is_empty());
    assert_eq!(found(|f| set(f, 1, "binlog_row_image", "MINIMAL")), ["PF110"]);
    assert_eq!(found(|f| set(f, 1, "read_only", "ON")), ["PF113"]);
    assert_eq!(found(|f| f.servers[1].prepared = Prepared::Unknown("denied".into())), ["PF111"]);
    assert!(found(|f| f.servers[0].prepared = Prepared::Unknown("denied".into())).is_empty());
    assert!(found(|f| f.servers[1].prepared = Prepared::Count(2)).is_empty());
}
