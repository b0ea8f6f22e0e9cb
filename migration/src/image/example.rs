//! A table for tests.

use shardway_routing::schema::{Column, ColumnKind, Generation, Sign, TableSchema};

/// Columns of numbers, of which the first is the primary key.
pub(crate) fn integers<const N: usize>(names: [&str; N]) -> TableSchema {
    let column = |name: &str| Column {
        name: name.into(),
        kind: ColumnKind::Integer { bits: 64, sign: Sign::Signed },
        nullable: false,
        generation: Generation::Stored,
        longest: None,
    };
    TableSchema {
        columns: names.map(column).to_vec(),
        primary: vec![names[0].into()],
        ..TableSchema::default()
    }
}
