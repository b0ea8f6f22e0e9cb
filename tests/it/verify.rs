//! Comparing both sides and repairing what differs: every column type, every way a row can be wrong, and live tables.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::prelude::Queryable as _;
use shardway_migration::connection;
use shardway_migration::converge::Converge;
use shardway_migration::repair::report::{Done, RepairReport};
use shardway_migration::repair::{self, Policy, Run};
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_migration::tally::Tally;
use shardway_migration::verify::judge::Kind;
use shardway_migration::verify::report::{Difference, Report};
use shardway_migration::verify::{self, Mode};
use shardway_migration::{image, schema};
use shardway_routing::rules;
use shardway_routing::topology::{MoveId, Side};
use shardway_tests::load::Load;
use shardway_tests::{Cluster, Shop};

/// Both sides hold still, so the other side has everything.
pub(super) struct AtRest;

impl Converge for AtRest {
    fn converge(&self) -> Pin<Box<dyn Future<Output = Result<(), WorkError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

const COLUMNS: &str = "id BIGINT NOT NULL PRIMARY KEY, ti TINYINT, bi BIGINT UNSIGNED, de DECIMAL(65,30), fl FLOAT, \
    db DOUBLE, bt BIT(64), yr YEAR, da DATE, tm TIME(6), dt DATETIME(6), ts TIMESTAMP(6) NULL, \
    vc VARCHAR(40) CHARACTER SET utf8mb4, la VARCHAR(40) CHARACTER SET latin1, wi VARCHAR(40) CHARACTER SET utf16, \
    bn BINARY(4), bl LONGBLOB, en ENUM('a','b','') CHARACTER SET utf8mb4, st SET('x','y','z'), js JSON, ge GEOMETRY";

/// For each column a statement's assignment that changes as little as can be.
const CHANGES: [(&str, &str); 20] = [
    ("ti", "ti = ti ^ 1"),
    ("bi", "bi = bi ^ (1 << 63)"),
    ("de", "de = de + 0.000000000000000000000000000001"),
    ("fl", "fl = 0.100000009"),
    ("db", "db = 0.10000000000000002"),
    ("bt", "bt = bt ^ 1"),
    ("yr", "yr = yr + 1"),
    ("da", "da = da + INTERVAL 1 DAY"),
    ("tm", "tm = ADDTIME(tm, '0.000001')"),
    ("dt", "dt = dt + INTERVAL 1 MICROSECOND"),
    ("ts", "ts = ts + INTERVAL 1 MICROSECOND"),
    ("vc", "vc = UPPER(vc)"),
    ("la", "la = CONCAT(la, ' ')"),
    ("wi", "wi = NULL"),
    ("bn", "bn = x'00000001'"),
    ("bl", "bl = CONCAT(bl, x'00')"),
    ("en", "en = ''"),
    ("st", "st = 'x,z'"),
    ("js", "js = '{\"a\": [1, 3]}'"),
    ("ge", "ge = ST_GeomFromText('POINT(1 3)')"),
];

/// A table on the legacy server and its copy over four shards.
pub(super) struct Place {
    pub cluster: &'static Cluster,
    pub name: String,
    moving: Vec<MovingTable>,
}

pub(super) async fn place(function: &str, rows: i64) -> Place {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let cluster = Cluster::get().await;
    let name = format!("verify{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let servers = [&cluster.legacy, &cluster.shards[0], &cluster.shards[1]];
    let names: [&[&str]; 3] = [&["t"], &["t_0", "t_1"], &["t_2", "t_3"]];
    let mut backends = String::new();
    for ((server, tables), backend) in servers.iter().zip(names).zip(["legacy", "s0", "s1"]) {
        let mut connection = server.connect("").await;
        connection.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        for table in tables {
            connection.query_drop(format!("CREATE TABLE {name}.{table} ({COLUMNS})")).await.unwrap();
        }
        backends += &format!(
            "[backends.{backend}]\nprimary = \"mysql://shop:shop@127.0.0.1:{}/{name}\"\n",
            server.port()
        );
    }
    let rules = format!(
        "{backends}[databases.{name}]\ndefault = \"legacy\"\n[tables.t]\nshard_key = \"id\"\nfunction = {function}\n\
         nodes = \"s{{0..1}}.t_{{0..3}}\"\n[moves.m]\ntables = [\"t\"]\nfrom = \"legacy\"\n"
    );
    let mut topology = rules::load(&rules, &|_| None, 1).unwrap();
    let mut legacy = cluster.legacy.connect(&name).await;
    let known = schema::read(&mut legacy, &name, "t").await.unwrap().unwrap();
    let id = topology.moves[0].tables[0];
    rules::attach(&mut topology, id, Arc::new(known)).unwrap();
    let moving = tables::of_move(&topology, MoveId(0)).unwrap();
    let place = Place { cluster, name, moving };
    place.fill(rows).await;
    place
}

impl Place {
    /// Rows on the source, then the same where they belong on the target.
    async fn fill(&self, rows: i64) {
        let table = &self.moving[0];
        let mut source = connection::connect(&table.ends(Side::Source)[0].server).await.unwrap();
        for first in (-3..rows).step_by(500) {
            let row = |id: i64| match id % 7 {
                3 => format!("({id}{})", ", NULL".repeat(20)),
                _ => format!(
                    "({id}, -128, 18446744073709551615 - {}, -0.1, 0.1, 0.1, x'FFFFFFFFFFFFFFFF', 2024, '2024-02-29', '-838:59:58.5', \
                     '9999-12-31 23:59:59.999998', '2038-01-19 03:14:07.000001', _utf8mb4 x'61F09D849E', _latin1 x'61FC', \
                     _utf16 x'006120AC', x'00', x'00FF275C', 'b', 'x', '{{\"a\": [1, 2]}}', ST_GeomFromText('POINT(1 2)'))",
                    id.abs()
                ),
            };
            let values: Vec<String> = (first..rows.min(first + 500)).map(row).collect();
            source
                .query_drop(format!("INSERT INTO {}.t VALUES {}", self.name, values.join(", ")))
                .await
                .unwrap();
        }
        let source = &table.ends(Side::Source)[0];
        let mut connection = connection::connect(&source.server).await.unwrap();
        let images = connection::images(&mut connection, &table.shape, &source.table, "").await.unwrap();
        for (at, end) in table.ends(Side::Target).iter().enumerate() {
            let own: Vec<&image::Image> =
                images.iter().filter(|image| table.home(Side::Target, image).unwrap() == at).collect();
            let mut connection = connection::connect(&end.server).await.unwrap();
            for own in own.chunks(500) {
                connection
                    .query_drop(table.shape.insert_rows(&end.table, own.iter().copied()).sql())
                    .await
                    .unwrap();
            }
        }
    }

    pub async fn on_shard(&self, shard: usize, sql: &str) {
        let table = &self.moving[0].ends(Side::Target)[shard];
        let mut connection = connection::connect(&table.server).await.unwrap();
        connection.query_drop(format!("USE {}", self.name)).await.unwrap();
        // A changed value may have to be cut to fit.
        connection.query_drop("SET sql_mode = 'ALLOW_INVALID_DATES'").await.unwrap();
        connection.query_drop(sql).await.expect(sql);
    }

    pub async fn verify(&self, mode: &Mode) -> Report {
        verify::run(&self.moving, Side::Source, &AtRest, mode, 4, &Tally::default()).await.unwrap()
    }

    pub async fn repair(&self, report: &Report, policy: Policy) -> RepairReport {
        let differences: Vec<Difference> = report.differences().cloned().collect();
        repair::run("m", &self.moving, Side::Source, &AtRest, &differences, policy).await.unwrap()
    }
}

pub(super) const REAL: Policy = Policy { cap: 100, run: Run::Real };

#[tokio::test]
async fn every_column_type_agrees_and_the_least_change_of_each_is_found() {
    let place = place("{ kind = \"mod\", shards = 4 }", 1_500).await;
    let by =
        Mode::Count { by: BTreeMap::from([(format!("{}.t", place.name), vec!["en".into(), "st".into()])]) };
    for mode in [Mode::Hash, Mode::Exact, Mode::count(), by.clone(), Mode::sample()] {
        let report = place.verify(&mode).await;
        assert!(report.clean && report.different == 0, "{report}");
        assert!(report.checked >= 1_503 || mode == Mode::sample(), "{report}");
    }
    let groups = place.verify(&by).await.tables[0].groups.clone();
    assert_eq!(groups.iter().map(|group| group.values.join("|")).collect::<Vec<_>>(), ["NULL|NULL", "b|1"]);
    for (column, change) in CHANGES {
        // Of every column another row, none of which is NULL throughout.
        let id = 7 * CHANGES.iter().position(|(name, _)| *name == column).unwrap() + 1;
        let shard = id % 4;
        place.on_shard(shard, &format!("UPDATE t_{shard} SET {change} WHERE id = {id}")).await;
        let report = place.verify(&Mode::Hash).await;
        let found: Vec<(String, Vec<String>)> = report
            .differences()
            .map(|difference| (difference.key.to_string(), difference.columns.clone()))
            .collect();
        assert_eq!(found, [(id.to_string(), vec![column.to_owned()])], "{change}: {report}");
        let repaired = place.repair(&report, REAL).await;
        assert!(repaired.is_complete(), "{repaired}");
    }
    assert!(place.verify(&Mode::Hash).await.clean);
    assert!(place.verify(&Mode::Exact).await.clean);
}

#[tokio::test]
async fn rows_missing_too_many_misplaced_or_twice_are_found_and_repaired() {
    for function in ["{ kind = \"mod\", shards = 4 }", "{ kind = \"hash\", shards = 4 }"] {
        let place = place(function, 700).await;
        let table = &place.moving[0];
        let at = |id: i64| {
            let mut image = image::Image(vec![None; table.shape.columns().len()]);
            image.0[0] = Some(id.to_string().into_bytes());
            table.home(Side::Target, &image).unwrap()
        };
        let same_server = |shard: usize| shard ^ 1;
        let missing = at(8);
        place.on_shard(missing, &format!("DELETE FROM t_{missing} WHERE id = 8")).await;
        place.on_shard(at(9_000), &format!("INSERT INTO t_{} (id) VALUES (9000)", at(9_000))).await;
        let (from, to) = (at(16), same_server(at(16)));
        place.on_shard(from, &format!("INSERT INTO t_{to} SELECT * FROM t_{from} WHERE id = 16")).await;
        place.on_shard(from, &format!("DELETE FROM t_{from} WHERE id = 16")).await;
        let (from, to) = (at(25), same_server(at(25)));
        place.on_shard(from, &format!("INSERT INTO t_{to} SELECT * FROM t_{from} WHERE id = 25")).await;
        for mode in [Mode::Hash, Mode::Exact, Mode::Sample { keys: 100_000, tolerated: 0.0 }] {
            let report = place.verify(&mode).await;
            let found: Vec<(String, Kind)> = report
                .differences()
                .map(|difference| (difference.key.to_string(), difference.kind))
                .collect();
            let mut expected = vec![
                ("8".to_owned(), Kind::Missing),
                ("9000".to_owned(), Kind::Extra),
                ("16".to_owned(), Kind::Misplaced),
                ("25".to_owned(), Kind::Duplicate),
            ];
            expected.sort();
            let mut sorted = found;
            sorted.sort();
            assert_eq!(sorted, expected, "{mode:?} {report}");
            assert!(!report.clean);
        }
        let report = place.verify(&Mode::Hash).await;
        let refused = place.repair(&report, Policy { cap: 3, run: Run::Real }).await;
        assert!(refused.refused.is_some_and(|reason| reason.contains("a bug, not drift")));
        let dry = place.repair(&report, Policy { cap: 4, run: Run::Dry }).await;
        assert_eq!(dry.count(|done| *done == Done::WouldRepair), 4, "{dry}");
        assert_eq!(place.verify(&Mode::Hash).await.different, 4, "a dry run writes nothing");
        let repaired = place.repair(&report, REAL).await;
        assert!(repaired.is_complete() && repaired.outcomes.len() == 4, "{repaired}");
        assert!(place.verify(&Mode::Hash).await.clean);
        assert!(place.verify(&Mode::Exact).await.clean);
        let again = place.repair(&report, REAL).await;
        assert_eq!(again.count(|done| *done == Done::Equal), 4, "{again}");
    }
}

#[tokio::test]
async fn many_rows_too_many_with_few_on_each_node_are_all_told() {
    let place = place("{ kind = \"mod\", shards = 4 }", 540).await;
    let source = &place.moving[0].ends(Side::Source)[0];
    let mut connection = connection::connect(&source.server).await.unwrap();
    connection.query_drop(format!("DELETE FROM {} WHERE id % 3 <> 0", source.table)).await.unwrap();
    let report = place.verify(&Mode::Hash).await;
    let extra = report.differences().filter(|difference| difference.kind == Kind::Extra).count();
    assert_eq!((report.different, extra), (362, 362), "{report}");
    assert!(report.is_complete_there() && !report.clean);
    place.on_shard(0, "DELETE FROM t_0 WHERE id = 0").await;
    assert!(!place.verify(&Mode::Hash).await.is_complete_there());
}

#[tokio::test]
async fn a_live_table_that_is_equal_is_never_told_to_differ() {
    let shop = Shop::open_moving().await;
    let mut legacy = shop.cluster.legacy.connect(&shop.name).await;
    legacy.query_drop(Load::shared_rows()).await.unwrap();
    shop.proxy.save_rules(&shop.moving_rules("capture = \"none\"\ndouble_write = \"sync\""));
    assert_eq!(shop.proxy.settled(2).await, None);
    assert!(shop.proxy.command(&["move", "start", "shop"]).status.success());
    shardway_tests::until("the move is synced", std::time::Duration::from_secs(60), async || {
        (shop.of_move()["phase"] == "Synced").then_some(())
    })
    .await;
    let load = Load::start(&shop.proxy.options("app", "app", &shop.name), 4);
    for round in 0..12 {
        load.more(20).await;
        let mode = ["hash", "count", "sample", "exact"][round % 4];
        let output = shop.proxy.command(&["move", "verify", "shop", "--mode", mode]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{mode}: {}{}", text(&output.stdout), text(&output.stderr));
    }
    load.stop().await;
}

#[tokio::test]
async fn a_sample_has_rows_of_every_part_of_a_key_that_is_crowded_here_and_empty_there() {
    let place = place("{ kind = \"mod\", shards = 4 }", 1_500).await;
    // Ids that were counted up, and such as clocks make.
    let table = &place.moving[0];
    let mut source = connection::connect(&table.ends(Side::Source)[0].server).await.unwrap();
    let ids: Vec<u64> = (0..1_000).map(|number| (1 << 60) + number * 4_000_000_000).collect();
    let rows: Vec<String> = ids.iter().map(|id| format!("({id})")).collect();
    let insert = |table: &str| format!("INSERT INTO {table} (id) VALUES {}", rows.join(", "));
    source.query_drop(insert(&format!("{}.t", place.name))).await.unwrap();
    place.on_shard(0, &insert("t_0")).await;
    for end in [Side::Source, Side::Target].iter().flat_map(|side| table.ends(*side)) {
        let mut connection = connection::connect(&end.server).await.unwrap();
        connection.query_drop(format!("ANALYZE TABLE {}", end.table)).await.unwrap();
    }
    // Of the crowded part every row, so that each of them that is drawn is seen.
    for shard in 0..4 {
        place.on_shard(shard, &format!("UPDATE t_{shard} SET ti = 5 WHERE id < 2000")).await;
    }
    let report = place.verify(&Mode::Sample { keys: 400, tolerated: 0.001 }).await;
    let crowded = report.differences().count();
    assert!(report.checked >= 250, "{report}");
    assert!((100..report.checked as usize - 50).contains(&crowded), "{crowded} of {report}");
}
