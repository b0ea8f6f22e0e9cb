mod cases;

use std::collections::BTreeMap;

use shardway_routing::schema::UniqueKey;
use shardway_routing::topology::Side;

use cases::{AROUND, SERVERS, TABLES, every_definition, set, stays};

use super::compare::differences;
use super::decide::decide;
use super::estimate::estimate;
use super::example::{definition, facts, physical, server};
use super::facts::{ColumnText, Definition, Facts, Flavour, Follows, Physical, Prepared};
use super::finding::{ALL, Finding, Severity};

fn found(facts: &Facts, waived: &[&str]) -> Vec<Finding> {
    let waived: Vec<String> = waived.iter().map(|waiver| (*waiver).to_owned()).collect();
    decide(facts, &estimate(facts), &waived)
}

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
    let of = estimate(&facts);
    assert_eq!((of.rows, of.bytes, of.copy_s), (1000, 100_000, 1));
    assert_eq!((of.targets.len(), of.targets[0].rows), (1, 1000));
    let mut doubling = facts.clone();
    doubling.tables[0].physical = vec![
        Physical { sides: vec![Side::Source, Side::Target], ..physical("legacy", Side::Source, "users") },
        physical("s0", Side::Target, "users_1"),
    ];
    assert_eq!(estimate(&doubling).rows, 500);
    let mut variables = BTreeMap::from([("innodb_buffer_pool_size".to_owned(), "1000".to_owned())]);
    variables.extend(facts.servers[0].variables.clone().into_iter().filter(|(name, _)| name == "log_bin"));
    let mut small = facts;
    small.servers[0].variables = variables;
    assert_eq!(estimate(&small).load.len(), of.load.len() + 1);
}

#[test]
fn backends_of_one_server_fill_one_disk() {
    let mut facts = facts();
    let mut beside = server("s1", Side::Target);
    beside.address.clone_from(&facts.servers[1].address);
    facts.servers.push(beside);
    facts.tables[0].physical[2].backend = "s1".to_owned();
    let found = |facts: &Facts, free: u64| {
        let mut facts = facts.clone();
        facts.servers[1..].iter_mut().for_each(|server| server.disk_free_bytes = Some(free));
        let found = found(&facts, &[]);
        found.into_iter().map(|finding| (finding.id, finding.subject, finding.found)).collect::<Vec<_>>()
    };
    // Each takes half of 100,000 bytes.
    assert_eq!(found(&facts, 100_000), []);
    let said = "97.66 KiB are free, about 97.66 KiB are needed by s0, s1 together";
    let small = |backend: &str| ("PF115", backend.to_owned(), said.to_owned());
    assert_eq!(found(&facts, 99_999), [small("s0"), small("s1")]);
    facts.servers[2].address = "s1:3306".to_owned();
    assert_eq!(found(&facts, 50_000), []);
}

#[test]
fn of_many_tables_that_stay_some_are_named() {
    let mut facts = facts();
    facts.unnamed = vec![stays(22)];
    let many = found(&facts, &[]).remove(0).found;
    assert!(many.starts_with("legacy: `t1`, `t2`, ") && many.ends_with("`t20` and 2 more"), "{many}");
    facts.unnamed = vec![stays(2)];
    assert_eq!(found(&facts, &[]).remove(0).found, "legacy: `t1`, `t2`");
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
    assert_eq!(found(|f| f.servers[1].follows = Follows::These(vec!["peer:3306".into()])), ["PF110"]);
    assert_eq!(found(|f| f.servers[1].follows = Follows::Unknown("denied".into())), ["PF111"]);
    assert_eq!(found(|f| set(f, 1, "read_only", "ON")), ["PF113"]);
    assert_eq!(found(|f| f.servers[1].prepared = Prepared::Unknown("denied".into())), ["PF111"]);
    assert!(found(|f| f.servers[0].prepared = Prepared::Unknown("denied".into())).is_empty());
    assert!(found(|f| f.servers[1].prepared = Prepared::Count(2)).is_empty());
}
