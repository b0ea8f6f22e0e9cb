//! `[moves.*.copy]`: which rows, in which order, how fast.

use std::collections::{BTreeMap, BTreeSet};

use shardway_routing::document::{Entry, Found, Section};

use super::quantity::Quantity;
use super::read::{Form, Range, amount, choice, is_moved, small};
use super::{CopySettings, Indexes, Locks, Order, Span, Wire};
use crate::copy::WORKERS_MAX;
use crate::filter;

pub(super) fn copy(mut section: Section<'_>, tables: &BTreeSet<String>) -> CopySettings {
    let default = CopySettings::default();
    let bytes = Range(4096.0, (64 << 20) as f64);
    let locks = if section.flag("locking") == Some(true) { Locks::Share } else { Locks::None };
    let parallel = small(&mut section, "parallel", 1, WORKERS_MAX);
    let order = choice(&mut section, "order", &[("asc", Order::Ascending), ("desc", Order::Descending)]);
    if locks == Locks::Share {
        for (key, is_ignored) in
            [("parallel", parallel > Some(1)), ("order", order == Some(Order::Descending))]
        {
            if is_ignored {
                let one = "cannot be beside `locking`, which copies one page at a time and upwards";
                section.report(key, &section.place(), one);
            }
        }
    }
    let copy = CopySettings {
        rows: small(&mut section, "rows", 1, 50_000).unwrap_or(default.rows),
        max_bytes: amount(&mut section, "max_bytes", Quantity::Size, bytes, Form::NumberOrUnit)
            .map_or(default.max_bytes, |bytes| bytes as u64),
        parallel: parallel.unwrap_or(if locks == Locks::Share { 1 } else { default.parallel }),
        pause_ms: pause(&mut section).unwrap_or(default.pause_ms),
        predicates: predicates(&mut section, tables),
        span: span(&mut section),
        order: order.unwrap_or_default(),
        locks,
        wire: if section.flag("compress") == Some(true) { Wire::Compressed } else { Wire::Plain },
        indexes: choice(
            &mut section,
            "indexes",
            &[("now", Indexes::Now), ("after_copy", Indexes::AfterCopy)],
        )
        .unwrap_or_default(),
    };
    section.finish();
    copy
}

fn pause(section: &mut Section<'_>) -> Option<u64> {
    let most = Range(0.0, 60_000.0);
    amount(section, "pause_ms", Quantity::Milliseconds, most, Form::NumberOrUnit).map(|pause| pause as u64)
}

/// One condition for every table, or one for each of some.
fn predicates(section: &mut Section<'_>, tables: &BTreeSet<String>) -> BTreeMap<String, String> {
    let Some(found) = section.entry("where") else { return BTreeMap::new() };
    match found.value {
        Entry::Text(sql) if !sql.trim().is_empty() => {
            if let Some(flaw) = filter::flaw(&sql) {
                section.report("where", &found.at, flaw);
            }
            BTreeMap::from([(String::new(), sql)])
        }
        Entry::Section(mut inner) => {
            let mut predicates = BTreeMap::new();
            for (table, entry) in inner.entries() {
                is_moved(&inner, &table, &entry, tables);
                match entry.value {
                    Entry::Text(sql) if !sql.trim().is_empty() => {
                        if let Some(flaw) = filter::flaw(&sql) {
                            inner.report(&table, &entry.at, flaw);
                        }
                        predicates.insert(table, sql);
                    }
                    _ => inner.report(&table, &entry.at, "must be a condition, as \"status <> 'closed'\""),
                }
            }
            predicates
        }
        _ => {
            let form =
                "must be a condition, as \"status <> 'closed'\", or one for each table: { orders = \"…\" }";
            section.report("where", &found.at, form);
            BTreeMap::new()
        }
    }
}

fn span(section: &mut Section<'_>) -> Option<Span> {
    let is_bounded = section.has("since") || section.has("until");
    let column = section.string("column");
    let since = moment(section, "since");
    let until = moment(section, "until");
    let Some(column) = column else {
        if let Some(end) = since.or(until) {
            section.report("column", &end.at, "is missing: of which column are `since` and `until`?");
        }
        return None;
    };
    if let (Some(since), Some(until)) = (&since, &until)
        && since.value >= until.value
    {
        section.report("until", &until.at, "must be later than `since`");
    }
    if !is_bounded {
        section.report("column", &column.at, "chooses nothing without `since` or `until`");
    }
    let value = |found: Found<String>| found.value;
    Some(Span { column: column.value, since: since.map(value), until: until.map(value) })
}

/// `2024-01-31` or `2024-01-31 12:00:00`, in UTC: the time zone of every session of the engine.
fn moment(section: &mut Section<'_>, key: &'static str) -> Option<Found<String>> {
    let found = section.string(key)?;
    let shape: String = found.value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape == "0000-00-00" || shape == "0000-00-00 00:00:00" {
        return Some(found);
    }
    section.report(key, &found.at, "must be a time like \"2024-01-31\" or \"2024-01-31 12:00:00\" (UTC)");
    None
}
