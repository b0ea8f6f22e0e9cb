//! What a server says about a table's columns, put into the topology.

use std::sync::Arc;

use crate::function::ShardFunction;
use crate::key::{Exactness, KeyType, KeyValue, Literal};
use crate::schema::{Column, ColumnKind, Sign, TableSchema};
use crate::topology::{Generator, IdColumn, Layout, Placement, TableId, Topology};

/// Gives a table its columns. Keys written in the rules become keys of the column's type.
///
/// # Errors
/// A sentence when the shard key is no column, of a type that cannot be one, or of another type than that of a table
/// it is co-located with: equal keys would then lie on different shards.
pub fn attach(topology: &mut Topology, id: TableId, schema: Arc<TableSchema>) -> Result<(), String> {
    let known = key_types(topology, id);
    let table = &mut topology.tables[id.0 as usize];
    let mut key_type = None;
    let placements = [Some(&mut table.placement), table.moving.as_mut().map(|moving| &mut moving.source)];
    for placement in placements.into_iter().flatten() {
        let Placement::Sharded(layout) = placement else { continue };
        let column = schema
            .column(&layout.key)
            .ok_or_else(|| format!("the shard key `{}` is no column of `{}`", layout.key, table.name))?;
        let of = KeyType::of(column)?;
        if let Some((_, other, name)) =
            known.iter().find(|(group, other, _)| *group == layout.group && *other != of)
        {
            return Err(format!(
                "`{}` of `{}` compares as {of:?}, the shard key of `{name}` beside it as {other:?}",
                layout.key, table.name
            ));
        }
        *layout = Arc::new(Layout { range: range(column), longest: column.longest, ..folded(layout, &of)? });
        let is_untold = |shard| layout.at_home(&layout.key, &column.kind, shard).is_none();
        if layout.shared.iter().copied().any(is_untold) {
            return Err(format!(
                "no server can tell by `{}` which rows have left `{}`, which would be split in place; give the tables of \
                 the new layout names of their own",
                layout.key, table.name
            ));
        }
        key_type = Some(of);
    }
    if let Some(id) = &table.id {
        can_be_generated(id, &schema, &table.name)?;
    }
    table.schema = Some(schema);
    has_boundary(topology, id)?;
    let table = &topology.tables[id.0 as usize];
    if let (Some(moving), Some(key_type)) = (&table.moving, key_type) {
        let by = &mut topology.moves[usize::from(moving.by.0)];
        for key in by.always.iter_mut().chain(&mut by.never) {
            *key = as_key(key, &key_type)?;
        }
    }
    Ok(())
}

/// A generated id is a whole number that the column can hold.
fn can_be_generated(id: &IdColumn, schema: &TableSchema, table: &str) -> Result<(), String> {
    let column = schema.column(&id.column);
    let column = column.ok_or_else(|| format!("the id `{}` is no column of `{table}`", id.column))?;
    if let Some(counted) = schema.auto_increment()
        && counted.name != column.name
    {
        return Err(format!(
            "`{}` is the AUTO_INCREMENT of `{table}`, so its ids are to be generated",
            counted.name
        ));
    }
    match (&column.kind, id.generator) {
        (ColumnKind::Integer { bits: 64, .. }, _) | (ColumnKind::Integer { .. }, Generator::Sequence) => {
            Ok(())
        }
        (ColumnKind::Integer { .. }, Generator::Snowflake) => Err(format!(
            "`{}` of `{table}` is too narrow for snowflake ids, which need a BIGINT",
            column.name
        )),
        _ => Err(format!("the id `{}` of `{table}` is no whole number", column.name)),
    }
}

/// The history boundary of a table's move is a column of time that some table has.
fn has_boundary(topology: &Topology, id: TableId) -> Result<(), String> {
    let Some(moving) = &topology.table_of(id).moving else { return Ok(()) };
    let of = topology.move_of(moving.by);
    let Some(history) = &of.history else { return Ok(()) };
    let schemas = of.tables.iter().map(|table| topology.table_of(*table).schema.as_ref());
    let Some(schemas) = schemas.collect::<Option<Vec<_>>>() else { return Ok(()) };
    let mut columns = schemas.into_iter().filter_map(|schema| schema.column(&history.column)).peekable();
    if columns.peek().is_none() {
        return Err(format!(
            "no table of moves.{} has the column `{}` of its history",
            of.name, history.column
        ));
    }
    match columns.find(|column| !matches!(column.kind, ColumnKind::Date | ColumnKind::DateTime)) {
        Some(column) => Err(format!(
            "`{}`, the history of moves.{}, is {:?}; it must be a DATE or a DATETIME, which mean the same in every session",
            column.name, of.name, column.kind
        )),
        None => Ok(()),
    }
}

/// Group, key type and name of the other tables whose columns are known.
fn key_types(topology: &Topology, but: TableId) -> Vec<(u32, KeyType, String)> {
    let others = topology.tables.iter().enumerate().filter(|(index, _)| *index != but.0 as usize);
    let layouts = others.flat_map(|(_, table)| {
        let source = table.moving.as_ref().map(|moving| &moving.source);
        source.into_iter().chain([&table.placement]).map(move |placement| (placement, table))
    });
    layouts
        .filter_map(|(placement, table)| match placement {
            Placement::Sharded(layout) if !layout.key_type.is_assumed() => {
                Some((layout.group, layout.key_type.clone(), table.name.clone()))
            }
            _ => None,
        })
        .collect()
}

/// What an integer column can hold.
fn range(column: &Column) -> Option<(i128, i128)> {
    match column.kind {
        ColumnKind::Integer { bits, sign: Sign::Signed } => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        ColumnKind::Integer { bits, sign: Sign::Unsigned } => Some((0, (1 << bits) - 1)),
        _ => None,
    }
}

fn folded(layout: &Layout, key_type: &KeyType) -> Result<Layout, String> {
    let mut layout = layout.clone();
    layout.key_type = key_type.clone();
    let integer = *key_type == KeyType::Integer;
    if key_type.is_time() != matches!(layout.function, ShardFunction::Time { .. }) {
        return Err(match key_type.is_time() {
            true => {
                format!("`{}` is a column of time, which is sharded by kind = \"time\" alone", layout.key)
            }
            false => format!("`{}` is no DATE and no DATETIME, which kind = \"time\" needs", layout.key),
        });
    }
    match &mut layout.function {
        ShardFunction::Mod { .. } | ShardFunction::Range { .. } if !integer => {
            return Err(format!("`{}` is no integer column, which mod and range need", layout.key));
        }
        ShardFunction::Mod { .. }
        | ShardFunction::Range { .. }
        | ShardFunction::Slots { .. }
        | ShardFunction::Time { .. } => {}
        ShardFunction::List { values, .. } => {
            for (value, _) in values {
                *value = as_key(value, key_type)?;
            }
        }
    }
    Ok(layout)
}

/// A key that was written in the rules, in the column's own domain.
fn as_key(key: &KeyValue, key_type: &KeyType) -> Result<KeyValue, String> {
    let text;
    let literal = match (key, key_type) {
        (KeyValue::Integer(value), KeyType::Integer | KeyType::Assumed) => Literal::Integer(*value),
        (KeyValue::Integer(value), _) => {
            text = value.to_string();
            Literal::String(text.as_bytes())
        }
        (KeyValue::Text(bytes), _) => Literal::String(bytes),
        (KeyValue::Day(day), _) => {
            text = day.to_string();
            Literal::String(text.as_bytes())
        }
    };
    match key_type.compared(literal) {
        Exactness::Value(key) => Ok(key),
        Exactness::Nothing | Exactness::Unknown => {
            Err(format!("{key} is no exact value of the shard key's column"))
        }
    }
}
