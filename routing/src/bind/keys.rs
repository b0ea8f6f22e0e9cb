//! What a condition on the shard key says about this statement's values.

use super::{Characters, Values};
use crate::key::{Exactness, Fractions, KeyType, KeyValue, Literal};
use crate::lex;
use crate::moment::Moment;
use crate::plan::{Keys, MomentForm, Operand, OperandSign};
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
    let bound = |operand: &Operand| {
        let mut scratch = Vec::new();
        layout.key_type.bound(readable(literal(operand, values, &mut scratch), values))
    };
    let (low, high) = (low.map(bound), high.map(bound));
    // By both ends of a BETWEEN, servers choose how they compare moments with either.
    if layout.key_type.is_time() && [&low, &high].contains(&&Some(None)) {
        return None;
    }
    // An end whose value is not known is open.
    let (low, high) = (low.flatten(), high.flatten());
    if low.is_none() && high.is_none() {
        return None;
    }
    Some(layout.function.shards_between(low.as_ref(), high.as_ref()))
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
    key_type.compared(readable(literal(operand, values, &mut scratch), values))
}

/// Do the conditions on a column of time leave only values from `since` on?
pub(super) fn all_since(times: &Keys, since: Moment, values: Values<'_>) -> bool {
    let is_since = |operand: &Operand| {
        let mut scratch = Vec::new();
        let moment = match literal(operand, values, &mut scratch) {
            Literal::String(text) => Moment::read(text),
            Literal::Moment(moment) => Some(moment),
            _ => None,
        };
        moment.is_some_and(|moment| moment >= since)
    };
    match times {
        Keys::All | Keys::Between(None, _) => false,
        Keys::Equal(operand) | Keys::Between(Some(operand), _) => is_since(operand),
        Keys::In(operands) => operands.iter().all(is_since),
        Keys::And(parts) => parts.iter().any(|part| all_since(part, since, values)),
        Keys::Or(parts) => parts.iter().all(|part| all_since(part, since, values)),
    }
}

/// What an operand becomes in the key column.
pub(super) fn stored(operand: &Operand, key_type: &KeyType, values: Values<'_>) -> Exactness {
    let mut scratch = Vec::new();
    if *operand == Operand::Computed {
        return Exactness::Unknown;
    }
    let literal = readable(literal(operand, values, &mut scratch), values);
    match key_type.stored(literal, Fractions::Unknown) {
        // A hint may say otherwise than the session.
        Exactness::Unknown if key_type.is_time() && !has_hint(values.sql) => {
            key_type.stored(literal, values.fractions)
        }
        told => told,
    }
}

/// Might there be `/*+ SET_VAR(sql_mode = …) */`?
fn has_hint(sql: &[u8]) -> bool {
    sql.windows(7).any(|word| word.eq_ignore_ascii_case(b"set_var"))
}

/// Text that the server translates before it compares or stores it is not known here.
fn readable<'a>(literal: Literal<'a>, values: Values<'_>) -> Literal<'a> {
    match literal {
        Literal::String(text) if values.characters == Characters::Foreign && !text.is_ascii() => {
            Literal::Opaque
        }
        other => other,
    }
}

/// The operand's value in this statement.
pub(super) fn literal<'a>(operand: &Operand, values: Values<'a>, scratch: &'a mut Vec<u8>) -> Literal<'a> {
    match *operand {
        Operand::Literal { region, sign } => {
            lex::literal(values.sql, values.regions[region as usize], sign, values.quoting, scratch)
        }
        Operand::Moment { region, form } => {
            let region = values.regions[region as usize];
            match lex::literal(values.sql, region, OperandSign::Plus, values.quoting, scratch) {
                Literal::String(text) if form == MomentForm::Timestamp || text.len() == 10 => {
                    Moment::read(text).map_or(Literal::Opaque, Literal::Moment)
                }
                _ => Literal::Opaque,
            }
        }
        Operand::Parameter(index) => {
            values.parameters.get(usize::from(index)).copied().unwrap_or(Literal::Opaque)
        }
        Operand::Null => Literal::Null,
        Operand::Computed => Literal::Opaque,
    }
}
