//! What speaks against the tables of a move.

use shardway_routing::key::KeyType;
use shardway_routing::schema::{Column, ColumnKind, Generation};
use shardway_routing::topology::{Capture, DoubleWrite, Seen, Side};

use super::compare::differences;
use super::facts::{Definition, Facts, Flavour, Home, Occupied, Physical, TableFacts, Unnamed};
use super::finding::{self as kind, Finding};

/// How many tables a finding names.
const SHOWN: usize = 20;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let column = match facts.capture.seen(Side::Source) {
        Seen::ByColumn(column) => Some(column),
        Seen::ByLog | Seen::Not => None,
    };
    findings.extend(column.map(|column| kind::DEGRADED.of(&facts.by, format!("`{column}`"))));
    findings.extend(facts.unnamed.iter().map(staying));
    for table in &facts.tables {
        for physical in &table.physical {
            findings.extend(existence(table, physical));
        }
        let Some(model) = table.model() else { continue };
        findings.extend(primary_key(table, model));
        findings.extend(columns(table, model));
        findings.extend(shard_key(table, model));
        findings.extend(unique_keys(table, model));
        findings.extend(column.into_iter().flat_map(|column| time_column(table, model, column)));
        findings.extend(ids(table, model));
        for physical in &table.physical {
            findings.extend(sameness(table, model, physical));
            findings.extend(emptiness(facts, table, physical));
            if facts.capture != Capture::None {
                findings.extend(older_uuids(table, physical));
            }
        }
    }
    findings
}

fn staying(unnamed: &Unnamed) -> Finding {
    let shown: Vec<String> = unnamed.tables.iter().take(SHOWN).map(|table| format!("`{table}`")).collect();
    let more = match unnamed.tables.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let found = format!("{}: {}{more}", unnamed.place, shown.join(", "));
    kind::TABLES_STAY.of(&unnamed.database, found)
}

/// Tables that are not there, or not the same everywhere.
pub(super) fn definitions(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in &facts.tables {
        findings.extend(table.physical.iter().filter_map(|physical| existence(table, physical)));
        let Some(model) = table.model() else { continue };
        findings.extend(table.physical.iter().filter_map(|physical| sameness(table, model, physical)));
    }
    findings
}

fn existence(table: &TableFacts, physical: &Physical) -> Option<Finding> {
    match &physical.definition {
        None if physical.sides.contains(&Side::Source) => {
            Some(kind::TABLE_MISSING.of(&table.name, physical.to_string()))
        }
        Some(found) if found.table_type != "BASE TABLE" || !found.engine.eq_ignore_ascii_case("innodb") => {
            let found = format!("{physical} is a {} of engine `{}`", found.table_type, found.engine);
            Some(kind::NOT_INNODB.of(&table.name, found))
        }
        _ => None,
    }
}

fn older_uuids(table: &TableFacts, physical: &Physical) -> Option<Finding> {
    let why = physical.definition.as_ref()?.older_uuids.as_ref()?;
    Some(kind::OLDER_UUIDS.of(&table.name, format!("{physical}: {why}")))
}

fn primary_key(table: &TableFacts, model: &Definition) -> Option<Finding> {
    if model.schema.primary.is_empty() {
        return Some(kind::NO_PRIMARY_KEY.of(&table.name, ""));
    }
    let inexact = model
        .schema
        .primary
        .iter()
        .filter_map(|name| model.schema.column(name))
        .find(|column| column.generation == Generation::Computed || !column.kind.compares_exactly());
    let found = match (inexact, model.primary_prefixes.first()) {
        (Some(Column { name, generation: Generation::Computed, .. }), _) => format!("`{name}` is computed"),
        (Some(column), _) => format!("`{}` is {:?}", column.name, column.kind),
        (None, Some(column)) => format!("only a prefix of `{column}` counts"),
        (None, None) => return None,
    };
    Some(kind::INEXACT_PRIMARY_KEY.of(&table.name, found))
}

fn columns(table: &TableFacts, model: &Definition) -> Vec<Finding> {
    let unsupported =
        |name: &str, is: &str| kind::UNSUPPORTED_COLUMN.of(&table.name, format!("`{name}` is {is}"));
    let mut findings = Vec::new();
    for (column, text) in model.schema.columns.iter().zip(&model.columns) {
        match &column.kind {
            ColumnKind::Other(name) => findings.push(unsupported(&column.name, name)),
            // Logged in another way than MySQL's.
            ColumnKind::Vector if model.flavour == Flavour::MariaDb => {
                findings.push(unsupported(&column.name, "a VECTOR of MariaDB"));
            }
            _ if text.full_type.to_ascii_uppercase().contains("COMPRESSED*/") => {
                findings.push(unsupported(&column.name, "COMPRESSED"));
            }
            _ => {}
        }
    }
    findings
}

fn shard_key(table: &TableFacts, model: &Definition) -> Option<Finding> {
    let key = table.shard_key()?;
    let Some(column) = model.schema.column(key) else {
        return Some(kind::SHARD_KEY_ABSENT.of(&table.name, format!("there is no column `{key}`")));
    };
    if let Err(reason) = KeyType::of(column) {
        return Some(kind::SHARD_KEY_ABSENT.of(&table.name, reason));
    }
    if column.nullable {
        return Some(kind::SHARD_KEY_NULLABLE.of(&table.name, format!("`{key}`")));
    }
    let inside = model.schema.primary.iter().any(|name| name.eq_ignore_ascii_case(key));
    let primary = model.schema.primary.join(", ");
    (!inside && !primary.is_empty()).then(|| {
        let index = model.schema.primary_index();
        kind::SHARD_KEY_OUTSIDE_PRIMARY
            .of(&table.name, format!("`{key}` is not in the key {index} ({primary})"))
    })
}

fn unique_keys(table: &TableFacts, model: &Definition) -> Vec<Finding> {
    let Home::Sharded { key, .. } = &table.home else { return Vec::new() };
    let without = model
        .schema
        .unique
        .iter()
        .filter(|unique| !unique.columns.iter().any(|column| column.eq_ignore_ascii_case(key)));
    without
        .map(|unique| {
            let found = format!("`{}` on ({})", unique.name, unique.columns.join(", "));
            kind::UNIQUE_ACROSS_SHARDS.of(&table.name, found)
        })
        .collect()
}

fn time_column(table: &TableFacts, model: &Definition, name: &str) -> Vec<Finding> {
    let usable = model.schema.column(name).filter(|column| {
        !column.nullable && matches!(column.kind, ColumnKind::Timestamp | ColumnKind::DateTime)
    });
    if usable.is_none() {
        return vec![kind::TIME_COLUMN.of(&table.name, format!("`{name}`"))];
    }
    let mut findings = Vec::new();
    if !model.indexed.iter().any(|first| first.eq_ignore_ascii_case(name)) {
        findings.push(kind::TIME_COLUMN_SLOW.of(&table.name, format!("`{name}`")));
    }
    let text = model.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    let says = |of: &str| of.to_ascii_lowercase().contains("current_timestamp");
    let is_kept = text.is_some_and(|text| {
        text.extra.to_ascii_lowercase().contains("on update current_timestamp")
            && text.default.as_deref().is_none_or(says)
    });
    if !is_kept {
        findings.push(kind::TIME_COLUMN_KEPT.of(&table.name, format!("`{name}`")));
    }
    findings.extend(layout(table, model));
    findings
}

/// Rows whose stamps tell too little, because of where they are.
fn layout(table: &TableFacts, model: &Definition) -> Option<Finding> {
    if let Some(both) = table.of(Side::Source).find(|physical| physical.sides.contains(&Side::Target)) {
        return Some(kind::TIME_COLUMN_LAYOUT.of(&table.name, format!("rows stay in {both}")));
    }
    let key = table.source_key.as_deref()?;
    let is_inside = model.schema.primary.iter().any(|name| name.eq_ignore_ascii_case(key));
    let are_several = table.of(Side::Source).count() > 1;
    (!is_inside || (are_several && !model.schema.unique.is_empty())).then(|| {
        let found = "several source tables may each have a row under one primary or unique key";
        kind::TIME_COLUMN_LAYOUT.of(&table.name, found)
    })
}

/// Sources that number rows by themselves give the same numbers, unless the number itself says on which one a row is.
fn ids(table: &TableFacts, model: &Definition) -> Option<Finding> {
    let column = model.schema.auto_increment()?;
    if table.source_key.as_deref().is_some_and(|key| key.eq_ignore_ascii_case(&column.name)) {
        return None;
    }
    let ranges: Vec<(String, (i128, i128))> = table
        .of(Side::Source)
        .filter_map(|source| Some((source.to_string(), source.definition.as_ref()?.ids?)))
        .collect();
    for (place, (one, (low, high))) in ranges.iter().enumerate() {
        for (two, (other_low, other_high)) in &ranges[place + 1..] {
            if low <= other_high && other_low <= high {
                let found = format!("`{}` of {one} and {two} overlap", column.name);
                return Some(kind::IDS_MERGED.of(&table.name, found));
            }
        }
    }
    None
}

fn sameness(table: &TableFacts, model: &Definition, physical: &Physical) -> Option<Finding> {
    let other = physical.definition.as_ref()?;
    let mut differ = differences(model, other);
    if matches!(table.home, Home::Whole(_))
        && let Some(column) = model.schema.auto_increment()
        && other.schema.auto_increment().is_none()
    {
        differ.push(format!("`{}` is not AUTO_INCREMENT here", column.name));
    }
    (!differ.is_empty())
        .then(|| kind::SCHEMA_DIFFERS.of(&table.name, format!("{physical}: {}", differ.join("; "))))
}

fn emptiness(facts: &Facts, table: &TableFacts, physical: &Physical) -> Option<Finding> {
    let own = format!("{}/", facts.by);
    let server = facts.servers.iter().find(|server| server.backend == physical.backend);
    let begun = server.is_some_and(|server| {
        server
            .streams
            .iter()
            .any(|(database, stream)| *database == physical.database && stream.starts_with(&own))
    });
    // Under double write rows arrive before the move begins.
    let begun = begun || facts.double_write != DoubleWrite::Off;
    let foreign = physical.rows == Occupied::Yes && !physical.sides.contains(&Side::Source) && !begun;
    foreign.then(|| kind::TARGET_NOT_EMPTY.of(&table.name, physical.to_string()))
}
