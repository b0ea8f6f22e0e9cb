//! What a condition on the shard key says about this statement's values.

use super::Values;
use crate::key::{Exactness, KeyType, KeyValue, Literal};
use crate::lex;
use crate::plan::{Keys, Operand};
use crate::topology::{Layout, ShardId};

/// Shards that can hold matching rows, in order. `None`: all.
pub(super) fn shards(keys: &Keys, layout: &Layout, values: Values<'_>) -> Option<Vec<ShardId>> {
    match keys {
        Keys::All => None,
        Keys::Equal(operand) => shards_of(std::slice::from_ref(operand), layout, values),
        Keys::In(operands) => shards_of(operands, layout, values),
        Keys::Between(low, high) => between(low.as_ref(), high.as_ref(), layout, values),
        Keys::And(parts) => {
            let mut narrowed: Option<Vec<ShardId>> = None;
            for part in parts {
                let Some(found) = shards(part, layout, values) else { continue };
                narrowed = Some(match narrowed {
                    None => found,
                    Some(before) => before.into_iter().filter(|shard| found.contains(shard)).collect(),
                });
            }
            narrowed
        }
        Keys::Or(parts) => {
            let mut widened = Vec::new();
            for part in parts {
                widened.extend(shards(part, layout, values)?);
            }
            Some(in_order(widened))
        }
    }
}

fn shards_of(operands: &[Operand], layout: &Layout, values: Values<'_>) -> Option<Vec<ShardId>> {
    let mut found = Vec::with_capacity(1);
    for operand in operands {
        match compared(operand, &layout.key_type, values) {
            Exactness::Value(key) => found.extend(layout.function.shard(&key)),
            Exactness::Nothing => {}
            Exactness::Unknown => return None,
        }
    }
    Some(if found.len() > 1 { in_order(found) } else { found })
}

fn between(
    low: Option<&Operand>,
    high: Option<&Operand>,
    layout: &Layout,
    values: Values<'_>,
) -> Option<Vec<ShardId>> {
    // Only integers: the order of strings is the collation's.
    if !matches!(layout.key_type, KeyType::Integer | KeyType::Assumed) {
        return None;
    }
    let bound = |operand: Option<&Operand>| match operand.map(|operand| literal_bound(operand, values)) {
        None => Some(None),
        Some(Some(bound)) => Some(Some(KeyValue::Integer(bound))),
        Some(None) => None,
    };
    // An end whose value is not known is open.
    let (low, high) = (bound(low).flatten(), bound(high).flatten());
    if low.is_none() && high.is_none() {
        return None;
    }
    Some(layout.function.shards_between(low.as_ref(), high.as_ref()))
}

fn literal_bound(operand: &Operand, values: Values<'_>) -> Option<i128> {
    let mut scratch = Vec::new();
    match literal(operand, values, &mut scratch) {
        Literal::Integer(value) => Some(value),
        _ => None,
    }
}

fn in_order(mut shards: Vec<ShardId>) -> Vec<ShardId> {
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// The keys themselves, when the condition names all of them. `None`: it does not.
pub(super) fn exact(keys: &Keys, key_type: &KeyType, values: Values<'_>) -> Option<Vec<KeyValue>> {
    match keys {
        Keys::All | Keys::Between(..) => None,
        Keys::Equal(operand) => exact_of(std::slice::from_ref(operand), key_type, values),
        Keys::In(operands) => exact_of(operands, key_type, values),
        Keys::And(parts) => parts.iter().find_map(|part| exact(part, key_type, values)),
        Keys::Or(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(exact(part, key_type, values)?);
            }
            Some(all)
        }
    }
}

fn exact_of(operands: &[Operand], key_type: &KeyType, values: Values<'_>) -> Option<Vec<KeyValue>> {
    let mut keys = Vec::with_capacity(operands.len());
    for operand in operands {
        match compared(operand, key_type, values) {
            Exactness::Value(key) => keys.push(key),
            Exactness::Nothing => {}
            Exactness::Unknown => return None,
        }
    }
    Some(keys)
}

fn compared(operand: &Operand, key_type: &KeyType, values: Values<'_>) -> Exactness {
    let mut scratch = Vec::new();
    if *operand == Operand::Computed {
        return Exactness::Unknown;
    }
    key_type.compared(literal(operand, values, &mut scratch))
}

/// What an operand becomes in the key column.
pub(super) fn stored(operand: &Operand, key_type: &KeyType, values: Values<'_>) -> Exactness {
    let mut scratch = Vec::new();
    if *operand == Operand::Computed {
        return Exactness::Unknown;
    }
    key_type.stored(literal(operand, values, &mut scratch))
}

/// The operand's value in this statement.
pub(super) fn literal<'a>(operand: &Operand, values: Values<'a>, scratch: &'a mut Vec<u8>) -> Literal<'a> {
    match *operand {
        Operand::Literal { region, sign } => {
            lex::literal(values.sql, values.regions[region as usize], sign, values.quoting, scratch)
        }
        Operand::Parameter(index) => {
            values.parameters.get(usize::from(index)).copied().unwrap_or(Literal::Opaque)
        }
        Operand::Null => Literal::Null,
        Operand::Computed => Literal::Opaque,
    }
}
