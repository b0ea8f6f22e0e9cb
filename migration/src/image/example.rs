//! Tables for tests.

use shardway_routing::schema::{Column, ColumnKind, Generation, Sign, TableSchema};

use super::ImageShape;

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

/// Columns `c0`, `c1`, … of these kinds, of which the first is the primary key.
pub(crate) fn of_kinds(kinds: &[ColumnKind]) -> ImageShape {
    let column = |(at, kind): (usize, &ColumnKind)| Column {
        name: format!("c{at}"),
        kind: kind.clone(),
        nullable: at > 0,
        generation: Generation::Stored,
        longest: None,
    };
    let columns = kinds.iter().enumerate().map(column).collect();
    ImageShape::of(&TableSchema { columns, primary: vec!["c0".into()], ..TableSchema::default() })
        .expect("a table that can be carried")
}
