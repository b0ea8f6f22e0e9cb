//! Two definitions of the same table, column by column. Pure.

use std::collections::BTreeSet;

use super::facts::{ColumnText, Definition, Flavour};

/// What is different, as sentences; empty when rows of one are rows of the other. Names of further keys, keys that are
/// not unique and `AUTO_INCREMENT` are not looked at.
#[must_use]
pub fn differences(source: &Definition, other: &Definition) -> Vec<String> {
    let mut differences = Vec::new();
    if !source.engine.eq_ignore_ascii_case(&other.engine) {
        differences.push(format!("the engine is {} on the source and {} here", source.engine, other.engine));
    }
    for place in 0..source.columns.len().max(other.columns.len()) {
        match (source.columns.get(place), other.columns.get(place)) {
            (Some(one), Some(two)) if one.name.eq_ignore_ascii_case(&two.name) => {
                differences.extend(columns(one, two, [source.flavour, other.flavour]));
            }
            (one, two) => {
                let name = |column: Option<&ColumnText>| {
                    column.map_or_else(|| "nothing".to_owned(), |column| format!("`{}`", column.name))
                };
                differences.push(format!(
                    "column {} is {} on the source and {} here",
                    place + 1,
                    name(one),
                    name(two)
                ));
            }
        }
    }
    let folded = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
    if folded(&source.schema.primary) != folded(&other.schema.primary) {
        differences.push(format!(
            "the primary key is ({}) on the source and ({}) here",
            source.schema.primary.join(", "),
            other.schema.primary.join(", ")
        ));
    }
    // Their values may be told by the index of one side and are looked for on the other.
    if source.schema.primary_index() != other.schema.primary_index() {
        differences.push(format!(
            "rows are told apart by the key {} on the source and {} here",
            source.schema.primary_index(),
            other.schema.primary_index()
        ));
    }
    let unique = |of: &Definition| -> BTreeSet<Vec<String>> {
        of.schema.unique.iter().map(|key| folded(&key.columns)).collect()
    };
    let (one, two) = (unique(source), unique(other));
    for key in one.symmetric_difference(&two) {
        let side = if one.contains(key) { "the source" } else { "this side" };
        differences.push(format!("only {side} has a unique key on ({})", key.join(", ")));
    }
    differences
}

fn columns(one: &ColumnText, two: &ColumnText, flavours: [Flavour; 2]) -> Vec<String> {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut pairs = vec![
        ("type", plain_type(&one.full_type), plain_type(&two.full_type)),
        ("NULL allowed", one.nullable.clone(), two.nullable.clone()),
        ("character set", plain_charset(&one.charset), plain_charset(&two.charset)),
        ("collation", plain_charset(&one.collation), plain_charset(&two.collation)),
        ("attributes", plain_extra(&one.extra), plain_extra(&two.extra)),
    ];
    // Each flavour writes expressions in its own way.
    if flavours[0] == flavours[1] {
        pairs.push(("expression", optional(&one.expression), optional(&two.expression)));
        pairs.push(("default", optional(&one.default), optional(&two.default)));
    }
    let differ = pairs.into_iter().filter(|(_, one, two)| one != two);
    differ
        .map(|(what, on, here)| format!("`{}`: {what} {on} on the source and {here} here", one.name))
        .collect()
}

/// Without the display width of integers, which newer servers leave out.
fn plain_type(full: &str) -> String {
    const WIDE: [&str; 6] = ["tinyint(", "smallint(", "mediumint(", "int(", "bigint(", "year("];
    let rest = WIDE.iter().find(|name| full.starts_with(**name)).and_then(|_| full.split_once(')'));
    match (full.split_once('('), rest) {
        (Some((name, _)), Some((_, rest))) => format!("{name}{rest}"),
        _ => full.to_owned(),
    }
}

/// With the name that newer servers give to the old `utf8`.
fn plain_charset(name: &Option<String>) -> String {
    let name = name.clone().unwrap_or_default();
    match name.strip_prefix("utf8") {
        Some(rest) if rest.is_empty() || rest.starts_with('_') => format!("utf8mb3{rest}"),
        _ => name,
    }
}

fn plain_extra(extra: &str) -> String {
    let mut plain = extra.to_lowercase().replace("()", "").replace("persistent", "stored");
    for word in ["default_generated", "auto_increment", "invisible", ","] {
        plain = plain.replace(word, "");
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
