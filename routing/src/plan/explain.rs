//! A plan as people read it: one line per operator.

use std::fmt::Write as _;

use super::{
    ByKey, DataPlan, Gather, Keys, Limit, MovingSides, Operand, Plan, Replacement, RoutePlan, ServedBy,
    SessionCommand, SidePlan, Sides, When, Written,
};
use crate::refusal::Refusal;
use crate::topology::{BackendId, Topology};

/// A plan as people read it, under the hint of its statement, which has the last word on where that goes.
#[must_use]
pub fn under_hint(hint: Option<&[u8]>, explained: &str) -> String {
    let hint = hint.map(|hint| format!("Hint {}\n", String::from_utf8_lossy(hint)));
    format!("{}{explained}", hint.unwrap_or_default())
}

/// The plan's operators, indented by what they take from.
#[must_use]
pub fn explain(plan: &Plan, topology: &Topology) -> String {
    let mut out = String::new();
    match plan {
        Plan::Session(SessionCommand::Set(set)) => {
            let autocommit = set.autocommit.as_ref().map_or_else(String::new, |to| format!(", {to:?}"));
            line(&mut out, 0, &format!("Session Set({:?}{autocommit})", set.others));
        }
        Plan::Session(command) => line(&mut out, 0, &format!("Session {command:?}")),
        Plan::Refused(refusal) => line(&mut out, 0, &format!("Refused {refusal}")),
        Plan::Data(data) => explain_data(data, topology, &mut out),
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    writeln!(out, "{:width$}{text}", "", width = depth * 2).expect("a String takes every write");
}

fn explain_data(plan: &DataPlan, topology: &Topology, out: &mut String) {
    let names: Vec<String> = plan.tables.iter().map(|table| topology.full_name(*table)).collect();
    let pin = if plan.pin == super::Pin::None { String::new() } else { format!(" pin={:?}", plan.pin) };
    line(out, 0, &format!("{} tables=[{}]{pin}", plan.verb, names.join(", ")));
    match &plan.sides {
        Sides::One(side) => {
            if plan.served_by == ServedBy::ReplicaToo {
                explain_replicas(side, topology, out);
            }
            explain_side(side, topology, 1, out);
        }
        Sides::Moving(moving) => explain_moving(moving, topology, out),
    }
}

/// Backends whose replicas may answer in place of their primary, by how many reads each replica gets.
fn explain_replicas(side: &SidePlan, topology: &Topology, out: &mut String) {
    let mut backends: Vec<BackendId> = match &side.route {
        RoutePlan::Backend(backend) => vec![*backend],
        RoutePlan::AnyNode(nodes) => vec![nodes[0].backend],
        RoutePlan::EveryNode(nodes) => nodes.iter().map(|node| node.backend).collect(),
        RoutePlan::ByKey(ByKey { layout, .. }) | RoutePlan::ByRow { layout, .. } => {
            layout.nodes.iter().map(|node| node.backend).collect()
        }
    };
    backends.sort_unstable();
    backends.dedup();
    for backend in backends.into_iter().map(|id| topology.backend(id)).filter(|of| !of.replicas.is_empty()) {
        let weights: Vec<String> = backend.replicas.iter().map(|of| of.weight.to_string()).collect();
        line(out, 1, &format!("Replicas of {} weights=[{}]", backend.name, weights.join(", ")));
    }
}

fn explain_moving(moving: &MovingSides, topology: &Topology, out: &mut String) {
    let of = topology.move_of(moving.by);
    let reads = f64::from(of.reads) / 100.0;
    let double = of.double_write.name();
    let writes = of.writes_name();
    line(
        out,
        1,
        &format!(
            "Move {} reads={reads}% writes={writes} double_write={double} by={}",
            of.name,
            keys(&moving.keys)
        ),
    );
    if let Some(history) = &of.history {
        let times = moving.times.as_ref();
        let by =
            times.map_or("ALL".to_owned(), |times| times.iter().map(keys).collect::<Vec<_>>().join(", "));
        line(out, 2, &format!("History {}>={} by={by}", history.column, history.since));
    }
    for (name, side) in [("Source", &moving.source), ("Target", &moving.target)] {
        line(out, 2, name);
        match side {
            Ok(side) => explain_side(side, topology, 3, out),
            Err(refusal) => explain_refusal(refusal, 3, out),
        }
    }
    match &moving.touch {
        Some(Ok(touch)) => line(out, 2, &format!("Touch {}", touch_text(touch))),
        Some(Err(refusal)) => line(out, 2, &format!("Touch refused: {refusal}")),
        None => {}
    }
}

fn touch_text(touch: &super::Touch) -> String {
    match &touch.how {
        super::TouchHow::Keys(keys) => format!("{} keys of the statement", keys.len()),
        super::TouchHow::Select { .. } => "the keys that the condition finds".to_owned(),
    }
}

fn explain_refusal(refusal: &Refusal, depth: usize, out: &mut String) {
    line(out, depth, &format!("Refused {refusal}"));
}

fn explain_side(side: &SidePlan, topology: &Topology, depth: usize, out: &mut String) {
    let mut depth = depth;
    match &side.gather {
        Gather::Single(refusal) => line(out, depth, &format!("OneShard else=\"{refusal}\"")),
        Gather::Concat { limit: None } => depth -= 1,
        Gather::Concat { limit: Some(limit) } => line(out, depth, &format!("Limit {}", limit_text(limit))),
        Gather::Merge { order, hidden, limit } => {
            let limit = limit.as_ref().map(|limit| format!(" {}", limit_text(limit))).unwrap_or_default();
            line(out, depth, &format!("MergeSorted keys={} hide={hidden}{limit}", order.len()));
        }
        Gather::Sum => line(out, depth, "SumAffected"),
        Gather::First => line(out, depth, "EveryCopy"),
        Gather::Renamed(shown) => {
            let logical = &topology.table_of(shown.table).name;
            line(out, depth, &format!("Rename {} to {logical}", shown.node));
        }
    }
    line(out, depth + 1, &route_text(side, topology));
    for splice in &side.splices {
        let scattered = if splice.when == When::Scattered { " when scattered" } else { "" };
        line(out, depth + 2, &format!("write {}{scattered}", replacement(&splice.with, topology)));
    }
}

fn replacement(with: &Replacement, topology: &Topology) -> String {
    match with {
        Replacement::Table { table, written, alias, own } => {
            let database = if *written == Written::Qualified { "the database and " } else { "" };
            let alias = alias.as_ref().map(|alias| format!(" AS {alias}")).unwrap_or_default();
            let own = own.as_ref().map(|_| ", when scattered its own rows of it").unwrap_or_default();
            format!("{database}the shard's name of {}{alias}{own}", topology.table_of(*table).name)
        }
        Replacement::AlsoOwn(_) => ") AND the row is the shard's own".to_owned(),
        Replacement::OnlyOwn(_) => "WHERE the row is the shard's own".to_owned(),
        Replacement::Database { logical } => {
            format!("the backend's name of {}", topology.database_of(*logical).name)
        }
        Replacement::Text(text) => format!("\"{}\"", text.trim()),
        Replacement::Name(_) => "AS what the client wrote".to_owned(),
        Replacement::Fact(fact) => format!("the session's {fact:?}"),
        Replacement::LimitSum => "offset + count".to_owned(),
    }
}

fn route_text(side: &SidePlan, topology: &Topology) -> String {
    let name = |backend| &topology.backend(backend).name;
    let because =
        if side.because.is_empty() { String::new() } else { format!(" because=\"{}\"", side.because) };
    match &side.route {
        RoutePlan::Backend(backend) => format!("Route backend={}", name(*backend)),
        RoutePlan::AnyNode(nodes) => format!("Route any of {} copies", nodes.len()),
        RoutePlan::EveryNode(nodes) => format!("Route all {} copies", nodes.len()),
        RoutePlan::ByKey(ByKey { layout, keys: of, also, unchanged }) => {
            let also: String = also.iter().map(|other| format!(" and {}", keys(other))).collect();
            let unchanged = if unchanged.is_some() { " key unchanged" } else { "" };
            format!(
                "Route {} of {} shards by {} {}{also}{unchanged}{because}",
                shards(of),
                layout.nodes.len(),
                layout.key,
                keys(of)
            )
        }
        RoutePlan::ByRow { layout, rows, .. } => {
            format!("Route {} rows by {} to {} shards", rows.len(), layout.key, layout.nodes.len())
        }
    }
}

fn shards(of: &Keys) -> &'static str {
    match of {
        Keys::All => "all",
        Keys::Equal(_) => "one",
        _ => "some",
    }
}

fn keys(of: &Keys) -> String {
    let joined =
        |parts: &[Keys], with: &str| format!("({})", parts.iter().map(keys).collect::<Vec<_>>().join(with));
    match of {
        Keys::All => "any".to_owned(),
        Keys::Equal(value) => format!("= {}", operand(value)),
        Keys::In(values) if values.len() > 8 => format!("in {} values", values.len()),
        Keys::In(values) => format!("in ({})", values.iter().map(operand).collect::<Vec<_>>().join(", ")),
        Keys::Between(low, high) => {
            let end = |end: &Option<Operand>| end.as_ref().map(operand).unwrap_or_default();
            format!("{}..{}", end(low), end(high))
        }
        Keys::And(parts) => joined(parts, " and "),
        Keys::Or(parts) => joined(parts, " or "),
    }
}

fn operand(of: &Operand) -> String {
    match of {
        Operand::Literal { region, .. } => format!("literal {region}"),
        Operand::Moment { region, .. } => format!("moment {region}"),
        Operand::Parameter(index) => format!("parameter {index}"),
        Operand::Null => "NULL".to_owned(),
        Operand::Computed => "computed".to_owned(),
    }
}

fn limit_text(limit: &Limit) -> String {
    let offset =
        limit.offset.as_ref().map(|offset| format!("skip {}, ", operand(offset))).unwrap_or_default();
    format!("{offset}take {}", operand(&limit.count))
}
