//! Facts for tests: a move that nothing speaks against.

use shardway_routing::schema::{Column, ColumnKind, Generation, Sign, TableSchema};
use shardway_routing::topology::{Capture, DoubleWrite, Side};

use super::facts::{
    ColumnText, Definition, Facts, Flavour, Follows, Home, Occupied, Physical, Prepared, ServerFacts, Size,
    TableFacts,
};
use super::grants::Grants;

pub(super) fn server(backend: &str, side: Side) -> ServerFacts {
    let variables = [
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("server_id", "1"),
        ("max_allowed_packet", "67108864"),
        ("lower_case_table_names", "0"),
        ("sql_mode", "STRICT_TRANS_TABLES"),
        ("innodb_buffer_pool_size", "1073741824"),
    ];
    let grants = ["GRANT ALL PRIVILEGES ON *.* TO `mover`@`%`".to_owned()];
    ServerFacts {
        backend: backend.to_owned(),
        address: format!("{backend}:3306"),
        sides: vec![side],
        flavour: Flavour::MariaDb,
        version: "10.11.6-MariaDB".to_owned(),
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        user: "mover@%".to_owned(),
        grants: Grants::parse(&grants),
        databases: vec!["shop".to_owned()],
        prepared: Prepared::Count(0),
        filters: Some((String::new(), String::new())),
        follows: Follows::These(Vec::new()),
        disk_free_bytes: Some(1 << 40),
        streams: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        events: Vec::new(),
        views: Vec::new(),
    }
}

pub(super) fn definition() -> Definition {
    let integer = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
    let text = ColumnKind::Text { charset: "utf8mb4".into(), collation: "utf8mb4_general_ci".into() };
    let column = |name: &str, kind: &ColumnKind, nullable| Column {
        name: name.to_owned(),
        kind: kind.clone(),
        nullable,
        generation: Generation::Stored,
        longest: None,
    };
    let shown = |name: &str, full_type: &str, nullable: &str| ColumnText {
        name: name.to_owned(),
        full_type: full_type.to_owned(),
        nullable: nullable.to_owned(),
        ..ColumnText::default()
    };
    Definition {
        flavour: Flavour::MariaDb,
        table_type: "BASE TABLE".to_owned(),
        engine: "InnoDB".to_owned(),
        schema: TableSchema {
            columns: vec![
                column("id", &integer, false),
                column("email", &text, true),
                column("changed", &ColumnKind::DateTime, false),
            ],
            primary: vec!["id".to_owned()],
            ..TableSchema::default()
        },
        columns: vec![
            shown("id", "bigint(20)", "NO"),
            shown("email", "varchar(80)", "YES"),
            ColumnText {
                default: Some("current_timestamp()".to_owned()),
                extra: "on update current_timestamp()".to_owned(),
                ..shown("changed", "datetime", "NO")
            },
        ],
        older_uuids: None,
        primary_prefixes: Vec::new(),
        indexed: vec!["id".to_owned(), "changed".to_owned()],
        size: Size { rows: 1000, data_bytes: 90_000, index_bytes: 10_000, row_bytes_max: 500 },
        ids: None,
    }
}

pub(super) fn physical(backend: &str, side: Side, table: &str) -> Physical {
    Physical {
        backend: backend.to_owned(),
        sides: vec![side],
        database: "shop".to_owned(),
        table: table.to_owned(),
        shard: None,
        definition: Some(definition()),
        rows: Occupied::No,
    }
}

/// A move that nothing speaks against.
pub(super) fn facts() -> Facts {
    let table = TableFacts {
        name: "shop.users".to_owned(),
        home: Home::Sharded { key: "id".to_owned(), group: 0 },
        source_key: None,
        physical: vec![
            physical("legacy", Side::Source, "users"),
            Physical { shard: Some(0), ..physical("s0", Side::Target, "users_0") },
            Physical { shard: Some(1), ..physical("s0", Side::Target, "users_1") },
        ],
    };
    Facts {
        by: "move".to_owned(),
        capture: Capture::Binlog,
        double_write: DoubleWrite::Off,
        servers: vec![server("legacy", Side::Source), server("s0", Side::Target)],
        tables: vec![table],
        shared: Vec::new(),
        unnamed: Vec::new(),
        tuned: Vec::new(),
        moves: vec!["move".to_owned()],
    }
}
