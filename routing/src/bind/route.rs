//! Which side, which shards.

use super::keys::{self, literal};
use super::{Hint, Leg, Reads, Route, Sides, Values, Wait};
use crate::function::ShardFunction;
use crate::gray;
use crate::key::{Exactness, KeyType, KeyValue, Literal};
use crate::plan::{
    self, Access, ByKey, DataPlan, Gather, Limit, MovingSides, Operand, RoutePlan, Row, SidePlan,
};
use crate::refusal::{self, Refusal};
use crate::topology::{Layout, Move, Node, Owners, ReadKind, ShardId, Side, TableId, Topology};

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
    let (side, wait) = match &plan.sides {
        plan::Sides::One(_) => (Side::Target, Wait::Nothing),
        plan::Sides::Moving(moving) => moving_side(plan, moving, topology, values, sides)?,
    };
    let side_plan = match &plan.sides {
        plan::Sides::One(only) => only,
        plan::Sides::Moving(moving) => of_side(moving, side)?,
    };
    let legs = legs(side_plan, values, hint)?;
    let route = finish(side, side_plan, legs, values)?;
    Ok(Route { wait, ..route })
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
    Ok(Route { side, wait: Wait::Nothing, legs: vec![leg], skip: 0, take: None, rebind: Vec::new() })
}

fn of_side(moving: &MovingSides, side: Side) -> Result<&SidePlan, Refusal> {
    let plan = match side {
        Side::Source => &moving.source,
        Side::Target => &moving.target,
    };
    plan.as_ref().map_err(Clone::clone)
}

/// The side of a statement on moving tables, and what it waits for.
fn moving_side(
    plan: &DataPlan,
    moving: &MovingSides,
    topology: &Topology,
    values: Values<'_>,
    sides: &impl Sides,
) -> Result<(Side, Wait), Refusal> {
    let of = topology.move_of(moving.by);
    if let (Access::Read, Reads::Side(side)) = (plan.access, sides.reads()) {
        return Ok((side, Wait::Nothing));
    }
    let Some(owner) = owner(plan, moving, topology, values) else {
        return match plan.access {
            Access::Read => Ok((of.writes, Wait::Streams)),
            _ => Err(refusal::KEYS_DIVIDED.because(of.name.clone())),
        };
    };
    if plan.access != Access::Read {
        if sides.reads() == Reads::Side(owner.other()) {
            return Err(refusal::HINT_AGAINST_AUTHORITY.because(""));
        }
        divided_write(of, moving, values, sides)?;
        return Ok((owner, Wait::Nothing));
    }
    let side = match sides.reads() {
        Reads::ByKey if owner == of.writes => gray_side(plan, moving, of, topology, values, sides),
        _ => owner,
    };
    if side == owner.other() {
        // What only the authority can answer, the authority answers: it is right for every key.
        let able = of_side(moving, side)
            .and_then(|chosen| legs(chosen, values, Hint::None).and_then(|legs| single(chosen, &legs)));
        if able.is_err() {
            return Ok((owner, Wait::Nothing));
        }
    }
    Ok((side, Wait::Nothing))
}

/// The side that owns all rows that a statement may concern. `None`: each side may own some.
fn owner(plan: &DataPlan, moving: &MovingSides, topology: &Topology, values: Values<'_>) -> Option<Side> {
    let owners = topology.move_of(moving.by).owners();
    if let Owners::One(side) = owners {
        return Some(side);
    }
    let keys = shard_keys(plan, moving, topology, values)?;
    let mut sides = keys.iter().map(|key| gray::owner(owners, key));
    let first = sides.next()?;
    sides.all(|side| side == first).then_some(first)
}

/// Where keys are divided, a write must not reach rows of other keys than those it names: the other side may own them.
fn divided_write(
    of: &Move,
    moving: &MovingSides,
    values: Values<'_>,
    sides: &impl Sides,
) -> Result<(), Refusal> {
    if of.divided.is_none() {
        return Ok(());
    }
    if let Some(refusal) = &moving.reaches_others {
        return Err(refusal.clone());
    }
    if let Some((rows, refusal)) = &moving.numbered
        && sides.numbered() != *rows
    {
        return Err(refusal.clone());
    }
    // The target's plan knows whether the shard key changes.
    legs(of_side(moving, Side::Target)?, values, Hint::None).map(|_| ())
}

fn gray_side(
    plan: &DataPlan,
    moving: &MovingSides,
    of: &Move,
    topology: &Topology,
    values: Values<'_>,
    sides: &impl Sides,
) -> Side {
    if !gray::divides(of) {
        return of.writes;
    }
    let other = of.writes.other();
    let tables: Vec<TableId> =
        plan.tables.iter().filter(|table| topology.table_of(**table).moving.is_some()).copied().collect();
    let keys = shard_keys(plan, moving, topology, values);
    let kind = match (&keys, plan.tables.len()) {
        (Some(_), 1) => ReadKind::Point,
        (None, 1) => ReadKind::Scan,
        _ => ReadKind::Join,
    };
    if !of.functions.reads(&tables, kind, sides.account()) {
        return of.writes;
    }
    // Rows that may be old are the source's, whatever their keys.
    let is_new = of.history.as_ref().is_none_or(|history| {
        let times = moving.times.as_ref();
        times.is_some_and(|times| times.iter().all(|of| keys::all_since(of, history.since, values)))
    });
    let side = |key: &KeyValue| if is_new { gray::side(of, key) } else { Side::Source };
    let is_others = match &keys {
        Some(keys) => keys.iter().all(|key| side(key) == other),
        None => match other {
            Side::Target => is_new && of.reads == gray::BUCKETS && of.never.is_empty(),
            Side::Source => !is_new || (of.reads == 0 && of.always.is_empty()),
        },
    };
    // In this order: when streams are trusted again, what may be dirty has been noted before.
    if !is_others || sides.is_behind(of) {
        return of.writes;
    }
    let is_dirty = match &keys {
        Some(keys) => {
            let mut pairs = tables.iter().flat_map(|table| keys.iter().map(move |key| (*table, key)));
            pairs.any(|(table, key)| sides.is_dirty(table, key))
        }
        None => tables.iter().any(|table| sides.any_dirty(*table)),
    };
    if is_dirty { of.writes } else { other }
}

/// The shard keys of all rows that a statement on moving tables may concern, where it names them.
#[must_use]
pub fn shard_keys(
    plan: &DataPlan,
    moving: &MovingSides,
    topology: &Topology,
    values: Values<'_>,
) -> Option<Vec<KeyValue>> {
    let mut tables = plan.tables.iter().map(|table| topology.table_of(*table));
    let key_type = tables.find_map(|table| table.moving.as_ref().and_then(|_| table.key_type()))?;
    keys::exact(&moving.keys, key_type, values).filter(|keys| !keys.is_empty())
}

fn legs(side: &SidePlan, values: Values<'_>, hint: Hint) -> Result<Vec<Leg>, Refusal> {
    let is_sharded = matches!(side.route, RoutePlan::ByKey(_) | RoutePlan::ByRow { .. });
    if matches!(hint, Hint::Shard(_)) && !is_sharded {
        // Left out of account, it would let the statement loose on rows that it was to be kept from.
        return Err(
            refusal::UNKNOWN_HINT.because("a shard of tables that are whole where the statement runs")
        );
    }
    match &side.route {
        RoutePlan::Backend(backend) => Ok(vec![whole(*backend)]),
        RoutePlan::AnyNode(nodes) => Ok(vec![whole(nodes[0].backend)]),
        RoutePlan::EveryNode(nodes) => Ok(nodes.iter().map(every).collect()),
        RoutePlan::ByKey(by_key) => by_key_legs(by_key, values, hint),
        RoutePlan::ByRow { layout, rows, .. } => by_row_legs(layout, rows, values, hint),
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
        if !layout.shared.is_empty() {
            return Err(refusal::SPLIT_IN_PLACE.because("a shard hint"));
        }
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
        if !layout.holds(&key) {
            return Err(refusal::INEXACT_SHARD_KEY.because(layout.key.clone()));
        }
        let shard = layout.function.shard(&key).ok_or_else(|| no_shard(layout, &key))?;
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

fn no_shard(layout: &Layout, key: &KeyValue) -> Refusal {
    let ShardFunction::Time { from, shards, .. } = &layout.function else {
        return refusal::NO_SHARD_FOR_KEY.because(layout.key.clone());
    };
    let end = layout.function.days(ShardId(shards - 1)).and_then(|(_, end)| end);
    let until = end.map(|end| format!(" until before {end}")).unwrap_or_default();
    refusal::NO_SHARD_FOR_DAY.because(format!("{} is on {key}, the shards hold {from}{until}", layout.key))
}

/// Might the server number the row itself? It does so for NULL and for whatever it stores as 0.
fn counts_itself(id: &Operand, values: Values<'_>) -> bool {
    match keys::stored(id, &KeyType::Integer, values) {
        Exactness::Value(id) => id == KeyValue::Integer(0),
        Exactness::Nothing | Exactness::Unknown => true,
    }
}

fn single(side: &SidePlan, legs: &[Leg]) -> Result<(), Refusal> {
    match &side.gather {
        Gather::Single(refusal) if legs.len() > 1 => Err(refusal.clone()),
        _ => Ok(()),
    }
}

fn finish(side: Side, plan: &SidePlan, legs: Vec<Leg>, values: Values<'_>) -> Result<Route, Refusal> {
    single(plan, &legs)?;
    let mut route = Route { side, wait: Wait::Nothing, legs, skip: 0, take: None, rebind: Vec::new() };
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
