//! Every kind of column with the values that bite, through a whole move: copied, followed, written twice, switched, and
//! followed back.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::{On, Pair, Proxy, rows};

use super::kinds::Kind;
use super::stream::kinds::{Column, groups};

/// Hostile values are stored as they are.
const SETTINGS: &str =
    "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00', NAMES utf8mb4";

struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

impl Table {
    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.columns.len()).map(|place| format!("c{place}"))
    }

    /// What is stored in each column of a row.
    fn values(&self, row: usize) -> impl Iterator<Item = &str> {
        self.columns.iter().map(move |column| column.value(row))
    }

    /// Rows that have every value of every column.
    fn rows(&self) -> usize {
        self.columns.iter().map(|column| column.values.len()).max().unwrap()
    }

    fn definition(&self) -> String {
        let columns: Vec<String> = self
            .names()
            .zip(&self.columns)
            .map(|(name, column)| format!("{name} {}", column.definition))
            .collect();
        format!(
            "CREATE TABLE {} (v INT GENERATED ALWAYS AS (id + 1) VIRTUAL, {}, id INT NOT NULL PRIMARY KEY, \
             s VARCHAR(20) GENERATED ALWAYS AS (CONCAT('s', v)) STORED) ENGINE = InnoDB",
            self.name,
            columns.join(", ")
        )
    }

    fn insert(&self, id: usize) -> String {
        let (names, values): (Vec<String>, Vec<&str>) = self.names().zip(self.values(id)).unzip();
        format!("INSERT INTO {} (id, {}) VALUES ({id}, {})", self.name, names.join(", "), values.join(", "))
    }

    /// Gives a row the values that another one was inserted with.
    fn update(&self, id: usize, like: usize) -> String {
        let set: Vec<String> =
            self.names().zip(self.values(like)).map(|(name, value)| format!("{name} = {value}")).collect();
        format!("UPDATE {} SET {} WHERE id = {id}", self.name, set.join(", "))
    }

    /// Every row as bytes, in the order of the key.
    async fn stored(&self, connection: &mut Conn, database: &str) -> Vec<String> {
        let stored = |(name, column): (String, &Column)| match column.definition.split('(').next() {
            // The error value looks like a member.
            Some("ENUM") => format!("{name}+0"),
            Some("VECTOR") => format!("HEX({name})"),
            _ => format!("HEX(CONCAT({name}))"),
        };
        let columns: Vec<String> = self.names().zip(&self.columns).map(stored).collect();
        let sql = format!("SELECT id, {}, s FROM {database}.{} ORDER BY id", columns.join(", "), self.name);
        rows(connection, &sql).await.unwrap()
    }
}

struct Whole {
    pair: Pair,
    kind: Kind,
    tables: Vec<Table>,
}

fn tables() -> Vec<Table> {
    groups().into_iter().map(|(name, columns)| Table { name, columns }).collect()
}

/// Whether the target lets rows be loaded, where statements could write them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loads {
    Off,
    On,
}

impl Whole {
    async fn open(tables: Vec<Table>, loads: Loads) -> Whole {
        let pair = Pair::start(&[]).await;
        pair.run(On::Target, &format!("SET GLOBAL local_infile = {}", u8::from(loads == Loads::On))).await;
        let mut source = pair.source.connect("shop").await;
        source.query_drop(SETTINGS).await.unwrap();
        for table in &tables {
            source.query_drop(table.definition()).await.unwrap();
            for id in 0..table.rows() {
                source
                    .query_drop(table.insert(id))
                    .await
                    .unwrap_or_else(|error| panic!("{}: {error}", table.name));
            }
            source.query_drop(format!("INSERT INTO {} (id) VALUES (-1)", table.name)).await.unwrap();
        }
        let named = tables.iter().map(|table| {
            format!(
                "[tables.{}]\nshard_key = \"id\"\nfunction = {{ kind = \"mod\", shards = 2 }}\nnodes = \"s{{0..1}}\"\n",
                table.name
            )
        });
        let names: Vec<String> = tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
        let lines = format!(
            "{}[moves.shop]\ntables = [{}]\nfrom = \"legacy\"\n",
            named.collect::<String>(),
            names.join(", ")
        );
        let rules = pair.rules(&lines);
        let kind = Kind { proxy: Proxy::start(&rules).await, rules, name: "shop".to_owned() };
        Whole { pair, kind, tables }
    }

    async fn reaches(&self, phase: &str) {
        self.kind.reaches(phase).await;
        self.kind.followed().await;
    }

    /// How often the target was told to load rows, and to take back what it had not taken in as it was.
    async fn loads(&self) -> [u64; 2] {
        let mut target = self.pair.server(On::Target).connect("").await;
        let mut told = [0; 2];
        for (count, name) in told.iter_mut().zip(["Com_load", "Com_rollback_to_savepoint"]) {
            let status: Option<(String, u64)> =
                target.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).await.unwrap();
            *count = status.expect("every server counts them").1;
        }
        told
    }

    /// Both sides have the same rows, as shardway sees it and as it is.
    async fn is_equal(&self) {
        self.kind.run(&["move", "verify", "shop"]);
        let mut source = self.pair.server(On::Source).connect("").await;
        let mut target = self.pair.server(On::Target).connect("").await;
        for connection in [&mut source, &mut target] {
            connection.query_drop(SETTINGS).await.unwrap();
        }
        // Documents are the same by value: MySQL writes a DECIMAL inside of one as it was made.
        for table in self.tables.iter().filter(|table| table.name != "documents") {
            let mut there = table.stored(&mut target, "shop0").await;
            there.extend(table.stored(&mut target, "shop1").await);
            let mut here = table.stored(&mut source, "shop").await;
            here.sort();
            there.sort();
            let differing: Vec<(&String, &String)> =
                here.iter().zip(&there).filter(|(here, there)| here != there).collect();
            assert!(differing.is_empty() && here.len() == there.len(), "{}: {differing:?}", table.name);
        }
    }

    /// Inserts, updates and deletes rows of every table, from this id on.
    async fn write(&self, connection: &mut Conn, from: usize) {
        connection.query_drop(SETTINGS).await.unwrap();
        for table in &self.tables {
            let mut statements = Vec::new();
            for row in 0..table.rows() {
                statements.push(table.insert(from + row));
                statements.push(table.update(row, from + row + 1));
            }
            statements.push(format!("UPDATE {} SET c0 = NULL WHERE id = {from}", table.name));
            statements.push(format!("DELETE FROM {} WHERE id = {}", table.name, from + 1));
            for sql in statements {
                connection.query_drop(&sql).await.unwrap_or_else(|error| {
                    panic!("{}: {error}", sql.chars().take(3_000).collect::<String>())
                });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_type_is_carried_exactly_in_every_way() {
    let whole = Whole::open(tables(), Loads::Off).await;
    whole.kind.run(&["move", "start", "shop"]);
    whole.reaches("Synced").await;
    assert_eq!(whole.loads().await, [0, 0]);
    whole.is_equal().await;
    let mut source = whole.pair.source.connect("shop").await;
    whole.write(&mut source, 1_000).await;
    whole.is_equal().await;
    let mut client = whole.kind.proxy.connect("shop").await;
    whole.kind.save("double_write = \"strict\"").await;
    whole.write(&mut client, 2_000).await;
    whole.is_equal().await;
    whole.kind.save("writes = \"target\"\nreads = 100").await;
    whole.reaches("ReverseSync").await;
    whole.write(&mut client, 3_000).await;
    whole.is_equal().await;
}

/// Kinds of columns that are not loaded keep their table from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_loaded_is_as_exact_as_what_statements_write() {
    const WRITTEN: [&str; 4] = ["ucs2", "utf16", "POINT", "GEOMETRY"];
    let mut tables = tables();
    tables.retain(|table| table.name != "own");
    for table in &mut tables {
        table.columns.retain(|column| !WRITTEN.iter().any(|word| column.definition.contains(word)));
    }
    let all = tables.len();
    let whole = Whole::open(tables, Loads::On).await;
    whole.kind.run(&["move", "start", "shop"]);
    whole.reaches("Synced").await;
    assert_eq!(whole.loads().await, [2 * all as u64, 0], "one for each shard of each table");
    whole.is_equal().await;
}

/// Members of `ENUM` and `SET` in a primary key, which no server finds in the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_name_rows_like_any_other_value() {
    let pair = Pair::start(&[]).await;
    let mut source = pair.source.connect("shop").await;
    source.query_drop(SETTINGS).await.unwrap();
    let table =
        "CREATE TABLE listed (e ENUM('a','b',''), s SET('x','y'), id INT, v INT, PRIMARY KEY (e, s, id))";
    source.query_drop(table).await.unwrap();
    for row in 0..160 {
        let insert = format!("INSERT INTO listed VALUES ({}, {}, {row}, 0)", row % 4, row / 4 % 4);
        source.query_drop(insert).await.unwrap();
    }
    let lines = "[tables.listed]\nshard_key = \"id\"\nfunction = { kind = \"mod\", shards = 2 }\nnodes = \"s{0..1}\"\n\
                 [moves.shop]\ntables = [\"listed\"]\nfrom = \"legacy\"\n";
    let rules = pair.rules(lines);
    let kind = Kind { proxy: Proxy::start(&rules).await, rules, name: "shop".to_owned() };
    let is_equal = async || {
        kind.run(&["move", "verify", "shop"]);
        let of = |database: &str| format!("SELECT e+0, s+0, id, v FROM {database}.listed");
        let mut here = pair.rows(On::Source, &of("shop")).await;
        let mut there = pair.rows(On::Target, &of("shop0")).await;
        there.extend(pair.rows(On::Target, &of("shop1")).await);
        here.sort();
        there.sort();
        assert_eq!(here, there);
    };
    let write = async |connection: &mut Conn, statements: &[&str]| {
        for sql in statements {
            connection.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    };
    kind.run(&["move", "start", "shop"]);
    kind.reaches("Synced").await;
    kind.followed().await;
    is_equal().await;
    let followed = [
        "INSERT INTO listed VALUES (0, 0, 1002, 1), (3, 3, 1002, 1), (2, 1, 1002, 1)",
        "UPDATE listed SET v = v + 1",
        "UPDATE listed SET e = 0 WHERE id % 5 = 1",
        "UPDATE listed SET s = s ^ 1 WHERE id % 7 = 1",
        "DELETE FROM listed WHERE id % 10 = 2",
    ];
    write(&mut source, &followed).await;
    is_equal().await;
    let mut client = kind.proxy.connect("shop").await;
    client.query_drop(SETTINGS).await.unwrap();
    kind.save("double_write = \"strict\"").await;
    let mirrored =
        ["UPDATE listed SET v = v + 1 WHERE id > 20", "DELETE FROM listed WHERE id % 10 = 3 OR e = 3"];
    write(&mut client, &mirrored).await;
    is_equal().await;
    for shard in ["shop0", "shop1"] {
        let spoil = format!("UPDATE {shard}.listed SET v = 77 WHERE e = 0 AND id < 100");
        pair.run(On::Target, &spoil).await;
    }
    kind.run(&["move", "repair", "shop"]);
    is_equal().await;
}
