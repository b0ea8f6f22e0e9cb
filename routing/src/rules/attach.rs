//! What a server says about a table's columns, put into the topology.

use std::sync::Arc;

use crate::function::ShardFunction;
use crate::key::{Exactness, KeyType, KeyValue, Literal};
use crate::schema::TableSchema;
use crate::topology::{Layout, Placement, TableId, Topology};

/// Gives a table its columns. Keys written in the rules become keys of the column's type.
///
/// # Errors
/// A sentence when the shard key is no column, or of a type that cannot be one.
pub fn attach(topology: &mut Topology, id: TableId, schema: Arc<TableSchema>) -> Result<(), String> {
    let table = &mut topology.tables[id.0 as usize];
    let mut key_type = None;
    let placements = [Some(&mut table.placement), table.moving.as_mut().map(|moving| &mut moving.source)];
    for placement in placements.into_iter().flatten() {
        let Placement::Sharded(layout) = placement else { continue };
        let column = schema
            .column(&layout.key)
            .ok_or_else(|| format!("the shard key `{}` is no column of `{}`", layout.key, table.name))?;
        let of = KeyType::of(column)?;
        *layout = Arc::new(folded(layout, &of)?);
        key_type = Some(of);
    }
    table.schema = Some(schema);
    if let (Some(moving), Some(key_type)) = (&table.moving, key_type) {
        let by = &mut topology.moves[usize::from(moving.by.0)];
        for key in by.always.iter_mut().chain(&mut by.never) {
            *key = as_key(key, &key_type)?;
        }
    }
    Ok(())
}

fn folded(layout: &Layout, key_type: &KeyType) -> Result<Layout, String> {
    let mut layout = layout.clone();
    layout.key_type = key_type.clone();
    let integer = *key_type == KeyType::Integer;
    match &mut layout.function {
        ShardFunction::Mod { .. } | ShardFunction::Range { .. } if !integer => {
            return Err(format!("`{}` is no integer column, which mod and range need", layout.key));
        }
        ShardFunction::Mod { .. } | ShardFunction::Range { .. } | ShardFunction::Slots { .. } => {}
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
    };
    match key_type.compared(literal) {
        Exactness::Value(key) => Ok(key),
        Exactness::Nothing | Exactness::Unknown => {
            Err(format!("{key} is no exact value of the shard key's column"))
        }
    }
}
