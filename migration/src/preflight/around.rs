//! What speaks against a move in the things around its tables: foreign keys, triggers, events, views.

use shardway_routing::topology::Side;

use super::facts::{Body, Facts, ForeignKey, Home, Physical, ServerFacts, TableFacts, Trigger};
use super::finding::{self as kind, Finding};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in &facts.servers {
        findings.extend(server.foreign_keys.iter().flat_map(|key| foreign_key(facts, server, key)));
        for table in &facts.tables {
            for physical in table.physical.iter().filter(|physical| physical.backend == server.backend) {
                findings.extend(server.triggers.iter().filter_map(|trigger| fired(table, physical, trigger)));
                findings.extend(
                    server.events.iter().filter_map(|event| written(table, physical, "event", event)),
                );
                findings.extend(server.views.iter().filter_map(|view| shown(table, physical, view)));
            }
        }
    }
    findings
}

/// What a foreign key has at one end: a physical table of the move.
#[derive(Clone, Copy)]
struct End<'a> {
    table: &'a TableFacts,
    physical: &'a Physical,
}

/// The table of a side that has this name on that server.
fn end<'a>(facts: &'a Facts, server: &ServerFacts, side: Side, named: &(String, String)) -> Option<End<'a>> {
    let is = |physical: &&Physical| physical.backend == server.backend && is_named(physical, named);
    facts.tables.iter().find_map(|table| Some(End { table, physical: table.of(side).find(is)? }))
}

fn is_named(physical: &Physical, (database, table): &(String, String)) -> bool {
    physical.database.eq_ignore_ascii_case(database) && physical.table.eq_ignore_ascii_case(table)
}

/// The preparation makes tables without foreign keys; those of a target's table were there before it. While rows are
/// carried they are not looked at, but clients' statements are under them after the switch.
fn foreign_key(facts: &Facts, server: &ServerFacts, key: &ForeignKey) -> Vec<Finding> {
    let ends = |side| [&key.child, &key.parent].map(|named| end(facts, server, side, named));
    // A table that is split in place is of both sides; what holds of the source is said once.
    let known = [Side::Source, Side::Target].map(|side| (side, ends(side)));
    let Some((side, [child, parent])) = known.into_iter().find(|(_, ends)| ends.iter().any(Option::is_some))
    else {
        return Vec::new();
    };
    let subject = child.or(parent).map(|end| end.table.name.as_str()).unwrap_or_default();
    let found = format!(
        "{}: `{}` of {}.{} to {}.{}",
        server.backend, key.name, key.child.0, key.child.1, key.parent.0, key.parent.1
    );
    let mut findings = Vec::new();
    let acts = |rule: &&String| ["CASCADE", "SET NULL", "SET DEFAULT"].contains(&rule.as_str());
    if let (Some(_), Some(rule)) = (child, key.rules.iter().find(acts)) {
        findings.push(kind::FOREIGN_KEY_CASCADES.of(subject, format!("{found} is {rule}")));
    }
    let is_kept = child.zip(parent).is_some_and(|(child, parent)| are_together(child, parent, side, key));
    match side {
        _ if !is_kept => findings.push(kind::FOREIGN_KEY_CUT.of(subject, found)),
        Side::Source if findings.is_empty() => findings.push(kind::FOREIGN_KEY_DROPPED.of(subject, found)),
        Side::Source | Side::Target => {}
    }
    findings
}

/// Will every child be where its parent is?
fn are_together(child: End<'_>, parent: End<'_>, side: Side, key: &ForeignKey) -> bool {
    match (&child.table.home, &parent.table.home) {
        (_, Home::Copied) => true,
        (Home::Whole(one), Home::Whole(other)) => one == other,
        (Home::Sharded { key: from, group }, Home::Sharded { key: to, group: of }) => {
            let pair = |(child, parent): &(String, String)| {
                child.eq_ignore_ascii_case(from) && parent.eq_ignore_ascii_case(to)
            };
            // Several shards may be in one database.
            let is_one_shard = side == Side::Source || child.physical.shard == parent.physical.shard;
            group == of && is_one_shard && key.columns.iter().any(pair)
        }
        _ => false,
    }
}

fn fired(table: &TableFacts, physical: &Physical, trigger: &Trigger) -> Option<Finding> {
    if !is_named(physical, &trigger.on) {
        return written(table, physical, "trigger", &trigger.body);
    }
    let found = format!("{}: `{}`.`{}`", physical.backend, trigger.body.database, trigger.body.name);
    let kind = if physical.sides.contains(&Side::Source) { &kind::TRIGGER } else { &kind::TARGET_TRIGGER };
    Some(kind.of(&table.name, found))
}

fn written(table: &TableFacts, physical: &Physical, what: &str, body: &Body) -> Option<Finding> {
    let named = mentions(&body.text, &physical.table)
        && (body.database.eq_ignore_ascii_case(&physical.database)
            || mentions(&body.text, &physical.database));
    named.then(|| {
        let found = format!("{what} `{}`.`{}` of {}", body.database, body.name, physical.backend);
        kind::WRITTEN_BY.of(&table.name, found)
    })
}

/// Servers keep the text of a view with every table's full name in backticks.
fn shown(table: &TableFacts, physical: &Physical, view: &Body) -> Option<Finding> {
    let full = format!("`{}`.`{}`", physical.database, physical.table).to_lowercase();
    (physical.sides.contains(&Side::Source) && view.text.to_lowercase().contains(&full)).then(|| {
        let found = format!("`{}`.`{}` of {}", view.database, view.name, physical.backend);
        kind::VIEW.of(&table.name, found)
    })
}

/// Is there such a word in the text? It may be in a comment or a literal: whoever reads the finding can tell.
fn mentions(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}
