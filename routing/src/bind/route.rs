//! Which side, which shards.

use super::keys::{self, literal};
use super::{Hint, Leg, Reads, Route, Sides, Values};
use crate::gray;
use crate::key::{Exactness, Literal};
use crate::plan::{
    self, Access, ByKey, DataPlan, Gather, Limit, MovingSides, Operand, RoutePlan, Row, SidePlan,
};
use crate::refusal::{self, Refusal};
use crate::topology::{DoubleWrite, Layout, Move, Node, ShardId, Side, Topology};

/// Picks the side and the legs.
///
/// # Errors
/// The side's own refusal, a key no shard takes, a NULL or inexact key on insert, a statement for one shard that
/// would need several.
pub fn route(
    plan: &DataPlan,
    topology: &Topology,
    values: Values<'_>,
    hint: Hint,
    sides: &impl Sides,
) -> Result<Route, Refusal> {
    if hint == Hint::Replica {
        return Err(refusal::NO_REPLICA.because(""));
    }
    let (side, side_plan) = match &plan.sides {
        plan::Sides::One(only) => (Side::Target, only),
        plan::Sides::Moving(moving) => moving_side(plan, moving, topology, values, sides)?,
    };
    let legs = legs(side_plan, values, hint)?;
    finish(side, side_plan, legs, values)
}

/// One shard that can describe the statement's answer, whatever its values will be.
///
/// # Errors
/// The side's own refusal.
pub fn any_route(plan: &DataPlan, topology: &Topology, reads: Reads) -> Result<Route, Refusal> {
    let (side, side_plan) = match &plan.sides {
        plan::Sides::One(only) => (Side::Target, only),
        plan::Sides::Moving(moving) => {
            let authority = topology.move_of(moving.by).writes;
            let side = if let Reads::Side(side) = reads { side } else { authority };
            (side, of_side(moving, side)?)
        }
    };
    let leg = match &side_plan.route {
        RoutePlan::Backend(backend) => whole(*backend),
        RoutePlan::AnyNode(nodes) | RoutePlan::EveryNode(nodes) => whole(nodes[0].backend),
        RoutePlan::ByKey(ByKey { layout, .. }) | RoutePlan::ByRow { layout, .. } => {
            of_shard(layout, ShardId(0))
        }
    };
    Ok(Route { side, legs: vec![leg], skip: 0, take: None, rebind: Vec::new() })
}

fn of_side(moving: &MovingSides, side: Side) -> Result<&SidePlan, Refusal> {
    let plan = match side {
        Side::Source => &moving.source,
        Side::Target => &moving.target,
    };
    plan.as_ref().map_err(Clone::clone)
}

/// The side of a statement on moving tables.
fn moving_side<'a>(
    plan: &DataPlan,
    moving: &'a MovingSides,
    topology: &Topology,
    values: Values<'_>,
    sides: &impl Sides,
) -> Result<(Side, &'a SidePlan), Refusal> {
    let of = topology.move_of(moving.by);
    if plan.access != Access::Read {
        return match sides.reads() {
            Reads::Side(side) if side != of.writes => Err(refusal::HINT_AGAINST_AUTHORITY.because("")),
            _ => Ok((of.writes, of_side(moving, of.writes)?)),
        };
    }
    let side = match sides.reads() {
        Reads::Side(side) => return Ok((side, of_side(moving, side)?)),
        Reads::Authority => of.writes,
        Reads::ByKey => gray_side(plan, moving, of, topology, values, sides),
    };
    if side != of.writes {
        // What only the authority can answer, the authority answers: it is right for every key.
        let able = of_side(moving, side).and_then(|chosen| {
            legs(chosen, values, Hint::None).and_then(|legs| single(chosen, &legs)).map(|()| chosen)
        });
        if let Ok(chosen) = able {
            return Ok((side, chosen));
        }
    }
    Ok((of.writes, of_side(moving, of.writes)?))
}

fn gray_side(
    plan: &DataPlan,
    moving: &MovingSides,
    of: &Move,
    topology: &Topology,
    values: Values<'_>,
    sides: &impl Sides,
) -> Side {
    let other = of.writes.other();
    let all_target = of.reads == gray::BUCKETS && of.never.is_empty();
    let all_source = of.reads == 0 && of.always.is_empty();
    // The way back is only as good as the double write that keeps the source current.
    if of.writes == Side::Target && of.double_write == DoubleWrite::Off {
        return of.writes;
    }
    if (other == Side::Target && all_source) || (other == Side::Source && all_target) {
        return of.writes;
    }
    let tables = plan.tables.iter().filter(|table| topology.table_of(**table).moving.is_some());
    let mut tables = tables.copied();
    let key_type = tables.clone().find_map(|table| topology.table_of(table).key_type());
    let exact = key_type.and_then(|key_type| keys::exact(&moving.keys, key_type, values));
    match exact {
        Some(keys) if !keys.is_empty() => {
            let fit = keys.iter().all(|key| gray::side(of, key) == other);
            let dirty = tables.any(|table| keys.iter().any(|key| sides.is_dirty(table, key)));
            if fit && !dirty { other } else { of.writes }
        }
        _ => {
            let all = if other == Side::Target { all_target } else { all_source };
            let dirty = tables.any(|table| sides.any_dirty(table));
            if all && !dirty { other } else { of.writes }
        }
    }
}

fn legs(side: &SidePlan, values: Values<'_>, hint: Hint) -> Result<Vec<Leg>, Refusal> {
    match &side.route {
        RoutePlan::Backend(backend) => Ok(vec![whole(*backend)]),
        RoutePlan::AnyNode(nodes) => Ok(vec![whole(nodes[0].backend)]),
        RoutePlan::EveryNode(nodes) => Ok(nodes.iter().map(every).collect()),
        RoutePlan::ByKey(by_key) => by_key_legs(by_key, values, hint),
        RoutePlan::ByRow { layout, rows } => by_row_legs(layout, rows, values, hint),
    }
}

fn whole(backend: crate::topology::BackendId) -> Leg {
    Leg { backend, shard: ShardId(0), rows: Vec::new() }
}

fn every(node: &Node) -> Leg {
    whole(node.backend)
}

fn of_shard(layout: &Layout, shard: ShardId) -> Leg {
    Leg { backend: layout.nodes[shard.0 as usize].backend, shard, rows: Vec::new() }
}

fn by_key_legs(by_key: &ByKey, values: Values<'_>, hint: Hint) -> Result<Vec<Leg>, Refusal> {
    let layout = &*by_key.layout;
    if let Hint::Shard(wanted) = hint {
        return hinted(layout, wanted).map(|leg| vec![leg]);
    }
    let Some(mut found) = keys::shards(&by_key.keys, layout, values) else {
        check_also(by_key, None, values)?;
        unchanged(by_key, values)?;
        let count = u32::try_from(layout.nodes.len()).unwrap_or(u32::MAX);
        return Ok((0..count).map(|shard| of_shard(layout, ShardId(shard))).collect());
    };
    if found.is_empty() {
        // No row can match: any shard says so.
        found.push(ShardId(0));
    }
    check_also(by_key, Some(&found), values)?;
    unchanged(by_key, values)?;
    Ok(found.into_iter().map(|shard| of_shard(layout, shard)).collect())
}

fn hinted(layout: &Layout, wanted: u32) -> Result<Leg, Refusal> {
    if (wanted as usize) < layout.nodes.len() {
        return Ok(of_shard(layout, ShardId(wanted)));
    }
    Err(refusal::UNKNOWN_HINT
        .because(format!("there is no shard {wanted}, the last one is {}", layout.nodes.len() - 1)))
}

/// Tables that nothing ties together can be asked together only where each of them is whole for the statement.
fn check_also(by_key: &ByKey, shards: Option<&[ShardId]>, values: Values<'_>) -> Result<(), Refusal> {
    for keys in &by_key.also {
        let same = match (shards, keys::shards(keys, &by_key.layout, values)) {
            (Some([one]), Some(other)) => other.is_empty() || other == [*one],
            _ => false,
        };
        if !same {
            return Err(refusal::CROSS_SHARD_JOIN.because(""));
        }
    }
    Ok(())
}

fn unchanged(by_key: &ByKey, values: Values<'_>) -> Result<(), Refusal> {
    let Some(written) = &by_key.unchanged else { return Ok(()) };
    let key_type = &by_key.layout.key_type;
    let same = match (keys::exact(&by_key.keys, key_type, values), keys::stored(written, key_type, values)) {
        (Some(keys), Exactness::Value(written)) => keys.iter().all(|key| *key == written),
        _ => false,
    };
    if same { Ok(()) } else { Err(refusal::SHARD_KEY_CHANGED.because(by_key.layout.key.clone())) }
}

fn by_row_legs(layout: &Layout, rows: &[Row], values: Values<'_>, hint: Hint) -> Result<Vec<Leg>, Refusal> {
    if let Hint::Shard(_) = hint {
        return Err(refusal::HINT_ON_INSERT.because(""));
    }
    let mut legs: Vec<Leg> = Vec::with_capacity(1);
    for (index, row) in rows.iter().enumerate() {
        if row.id.is_some_and(|id| counts_itself(&id, values)) {
            return Err(refusal::NO_ID.because(""));
        }
        let key = match keys::stored(&row.key, &layout.key_type, values) {
            Exactness::Value(key) => key,
            Exactness::Nothing => return Err(refusal::NULL_SHARD_KEY.because(layout.key.clone())),
            Exactness::Unknown => return Err(refusal::INEXACT_SHARD_KEY.because(layout.key.clone())),
        };
        let Some(shard) = layout.function.shard(&key) else {
            return Err(refusal::NO_SHARD_FOR_KEY.because(layout.key.clone()));
        };
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        match legs.iter_mut().find(|leg| leg.shard == shard) {
            Some(leg) => leg.rows.push(index),
            None => legs.push(Leg { rows: vec![index], ..of_shard(layout, shard) }),
        }
    }
    if let [only] = legs.as_mut_slice() {
        only.rows = Vec::new();
    }
    legs.sort_by_key(|leg| leg.shard);
    Ok(legs)
}

/// Would the server number the row itself?
fn counts_itself(id: &Operand, values: Values<'_>) -> bool {
    let mut scratch = Vec::new();
    matches!(literal(id, values, &mut scratch), Literal::Null | Literal::Integer(0))
}

fn single(side: &SidePlan, legs: &[Leg]) -> Result<(), Refusal> {
    match &side.gather {
        Gather::Single(refusal) if legs.len() > 1 => Err(refusal.clone()),
        _ => Ok(()),
    }
}

fn finish(side: Side, plan: &SidePlan, legs: Vec<Leg>, values: Values<'_>) -> Result<Route, Refusal> {
    single(plan, &legs)?;
    let mut route = Route { side, legs, skip: 0, take: None, rebind: Vec::new() };
    if route.legs.len() > 1
        && let Gather::Concat { limit: Some(limit) } | Gather::Merge { limit: Some(limit), .. } = &plan.gather
    {
        window(&mut route, limit, values)?;
    }
    Ok(route)
}

/// `LIMIT` over several shards: each returns `offset + count` rows, of which `offset` are skipped once merged.
fn window(route: &mut Route, limit: &Limit, values: Values<'_>) -> Result<(), Refusal> {
    let count = number(&limit.count, values)?;
    let offset = limit.offset.as_ref().map_or(Ok(0), |offset| number(offset, values))?;
    route.skip = offset;
    route.take = Some(count);
    let sum = offset.saturating_add(count);
    if let Operand::Parameter(parameter) = limit.count {
        route.rebind.push((parameter, sum));
    }
    if let Some(Operand::Parameter(parameter)) = limit.offset {
        route.rebind.push((parameter, 0));
    }
    Ok(())
}

pub(super) fn number(operand: &Operand, values: Values<'_>) -> Result<u64, Refusal> {
    let mut scratch = Vec::new();
    let number = match literal(operand, values, &mut scratch) {
        Literal::Integer(value) => u64::try_from(value).ok(),
        _ => None,
    };
    number.ok_or_else(|| refusal::LIMIT_NOT_A_NUMBER.because(""))
}
