//! From the sections of a rule file to [`Settings`]; problems go to their document.
//!
//! A value that is wrong is reported and its default returned, so that one pass finds every problem.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shardway_routing::document::{Entry, Found, Section};
use shardway_routing::plan::whole;
use shardway_routing::rules;

use super::alert::alert;
use super::copy::copy;
use super::quantity::Quantity;
use super::schedule::schedule;
use super::{
    ApplySettings, Assertion, BackupSettings, Baseline, CleanupSettings, MoveSettings, RepairSettings,
    Settings, Throttle, VerifySettings, Window,
};
use crate::patience::WaitMax;
use crate::preflight::finding::{self, Waiver};
use crate::prepare::tune;

/// The least and the most that is allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range(pub f64, pub f64);

/// Whether a quantity may be a mere number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The key's name says the unit.
    NumberOrUnit,
    WithUnit,
}

/// Reads what is not routing's; the rest of the file is not looked at.
pub(super) fn settings(mut root: Section<'_>) -> Settings {
    let mut settings = Settings::default();
    if let Some(mut moves) = root.section("moves") {
        settings.moves =
            moves.named_sections().into_iter().map(|(name, section)| (name, moving(section))).collect();
    }
    settings.alerts = root.sections(rules::ALERTS).into_iter().filter_map(alert).collect();
    settings
}

fn moving(mut section: Section<'_>) -> MoveSettings {
    let tables: BTreeSet<String> =
        section.strings("tables").map(|found| found.value).unwrap_or_default().into_iter().collect();
    let day = Range(1.0, 86_400.0);
    let wait = amount(&mut section, "wait_for_servers", Quantity::Duration, day, Form::WithUnit);
    MoveSettings {
        wait: wait.map(Duration::from_secs_f64).map(WaitMax).unwrap_or_default(),
        copy: section.section("copy").map(|inner| copy(inner, &tables)).unwrap_or_default(),
        apply: section.section("apply").map(apply).unwrap_or_default(),
        throttle: section.section("throttle").map(throttle).unwrap_or_default(),
        tune: section.section("tune").map(tuned).unwrap_or_default(),
        waive: waive(&mut section),
        verify: section.section("verify").map(|inner| verify(inner, &tables)).unwrap_or_default(),
        repair: section.section("repair").map(repair).unwrap_or_default(),
        asserts: asserts(section.sections("assert")),
        baselines: section.sections("baseline").into_iter().filter_map(baseline).collect(),
        schedule: section.section("schedule").and_then(schedule),
        cleanup: section.section("cleanup").map(cleanup).unwrap_or_default(),
        backup: section.section("backup").map(backup).unwrap_or_default(),
    }
}

fn cleanup(mut section: Section<'_>) -> CleanupSettings {
    let default = CleanupSettings::default();
    let year = Range(0.0, 366.0 * 86_400.0);
    let pause = Range(0.0, 60_000.0);
    let cleanup = CleanupSettings {
        grace: amount(&mut section, "grace", Quantity::Duration, year, Form::WithUnit)
            .map_or(default.grace, Duration::from_secs_f64),
        rows: small(&mut section, "rows", 1, 100_000).unwrap_or(default.rows),
        pause_ms: amount(&mut section, "pause_ms", Quantity::Milliseconds, pause, Form::NumberOrUnit)
            .map_or(default.pause_ms, |pause_ms| pause_ms as u64),
    };
    section.finish();
    cleanup
}

fn backup(mut section: Section<'_>) -> BackupSettings {
    let backup = BackupSettings { dump: command(&mut section, "dump"), log: command(&mut section, "log") };
    section.finish();
    backup
}

/// A program, or a list of it and its first arguments.
fn command(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let Some(found) = section.entry(key) else { return Vec::new() };
    let word = |item: Found<Entry<'_>>| match item.value {
        Entry::Text(word) if !word.is_empty() => Some(word),
        _ => None,
    };
    let words = match found.value {
        Entry::Text(word) if !word.is_empty() => Some(vec![word]),
        Entry::List(items) if !items.is_empty() => items.into_iter().map(word).collect(),
        _ => None,
    };
    if words.is_none() {
        section.report(key, &found.at, "must be a program, or a list of a program and its arguments");
    }
    words.unwrap_or_default()
}

fn apply(mut section: Section<'_>) -> ApplySettings {
    let default = ApplySettings::default();
    let bytes = Range(4096.0, (256 << 20) as f64);
    let apply = ApplySettings {
        parallel: small(&mut section, "parallel", 1, 64).unwrap_or(default.parallel),
        batch_rows: small(&mut section, "batch_rows", 1, 50_000).unwrap_or(default.batch_rows),
        batch_bytes: amount(&mut section, "batch_bytes", Quantity::Size, bytes, Form::NumberOrUnit)
            .map_or(default.batch_bytes, |bytes| bytes as u64),
        // Stamps may lack fractions of a second.
        overlap: amount(&mut section, "overlap", Quantity::Duration, Range(2.0, 86_400.0), Form::WithUnit)
            .map_or(default.overlap, Duration::from_secs_f64),
        every: amount(&mut section, "every", Quantity::Duration, Range(0.1, 3_600.0), Form::WithUnit)
            .map_or(default.every, Duration::from_secs_f64),
    };
    section.finish();
    apply
}

fn throttle(mut section: Section<'_>) -> Throttle {
    let number = Form::NumberOrUnit;
    let percent = Range(0.0, 100.0);
    let seconds = Range(0.1, 86_400.0);
    let rate = Quantity::Rate(&["rows"]);
    let throttle = Throttle {
        replica_lag_s: amount(&mut section, "replica_lag_s", Quantity::Duration, seconds, number),
        threads_running: section.number("threads_running", 1, 1_000_000),
        history_length: section.number("history_length", 1, 1_000_000_000),
        latency_ms: amount(&mut section, "latency_ms", Quantity::Milliseconds, Range(0.1, 600_000.0), number),
        disk_free_percent: amount(&mut section, "disk_free_percent", Quantity::Percent, percent, number),
        min_rows_per_s: amount(&mut section, "min_rows_per_s", rate, Range(1.0, 1e9), number),
        check_url: url(&mut section, "check_url"),
        windows: windows(&mut section),
    };
    section.finish();
    throttle
}

fn windows(section: &mut Section<'_>) -> Vec<Window> {
    let Some(found) = section.strings("windows") else { return Vec::new() };
    let read = |text: &String| {
        let window = Window::parse(text);
        if window.is_none() {
            section.report(
                "windows",
                &found.at,
                format!("`{text}` is not a time of the day like \"22:00-06:00\" (UTC)"),
            );
        }
        window
    };
    found.value.iter().filter_map(read).collect()
}

fn tuned(mut section: Section<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, entry) in section.entries() {
        let value = match entry.value {
            Entry::Text(text) => text,
            Entry::Whole(number) => number.to_string(),
            Entry::Fraction(number) => number.to_string(),
            Entry::Flag(flag) => if flag { "ON" } else { "OFF" }.to_owned(),
            other => {
                section.report(&name, &entry.at, format!("must be a text or a number, not {}", other.kind()));
                continue;
            }
        };
        match tune::check(&name, &value) {
            Ok(()) => {
                parameters.insert(name, value);
            }
            Err(problem) => section.report(&name, &entry.at, problem),
        }
    }
    parameters
}

fn waive(section: &mut Section<'_>) -> Vec<String> {
    let Some(found) = section.strings("waive") else { return Vec::new() };
    for text in &found.value {
        if let Some(problem) = not_waivable(text) {
            section.report("waive", &found.at, problem);
        }
    }
    found.value
}

/// What is wrong with `PF209`, `unique_across_shards` or, for one place, `unique_across_shards:users`.
fn not_waivable(text: &str) -> Option<String> {
    let name = text.split(':').next().unwrap_or_default();
    match finding::ALL.iter().find(|kind| kind.id == name || kind.name == name) {
        Some(kind) if kind.waiver == Waiver::Operator => None,
        Some(kind) => Some(format!("`{name}` cannot be waived: {}", kind.remedy)),
        None => Some(format!("`{name}` is no finding of the preflight; docs/preflight.md lists them")),
    }
}

fn verify(mut section: Section<'_>, tables: &BTreeSet<String>) -> VerifySettings {
    let default = VerifySettings::default();
    let percent = Range(0.0, 100.0);
    let year = Range(1.0, 366.0 * 86_400.0);
    let verify = VerifySettings {
        sample: section.number("sample", 1, 100_000_000).unwrap_or(default.sample),
        threshold_percent: amount(&mut section, "threshold", Quantity::Percent, percent, Form::NumberOrUnit)
            .unwrap_or(default.threshold_percent),
        group_by: section.section("group_by").map(|inner| group_by(inner, tables)).unwrap_or_default(),
        parallel: small(&mut section, "parallel", 1, 64).unwrap_or(default.parallel),
        max_age: amount(&mut section, "max_age", Quantity::Duration, year, Form::WithUnit)
            .map_or(default.max_age, Duration::from_secs_f64),
    };
    section.finish();
    verify
}

fn group_by(mut section: Section<'_>, tables: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut columns = BTreeMap::new();
    for (table, entry) in section.entries() {
        is_moved(&section, &table, &entry, tables);
        match entry.value.into_texts() {
            Some(names) if !names.is_empty() => {
                columns.insert(table, names);
            }
            _ => section.report(&table, &entry.at, "must be a list of columns like [\"status\"]"),
        }
    }
    columns
}

pub(super) fn is_moved<T>(section: &Section<'_>, table: &str, found: &Found<T>, tables: &BTreeSet<String>) {
    if !tables.contains(table) {
        let known: Vec<&str> = tables.iter().map(String::as_str).collect();
        let message = format!("is not a table of this move, whose tables are {}", known.join(", "));
        section.report(table, &found.at, message);
    }
}

fn repair(mut section: Section<'_>) -> RepairSettings {
    let cap = section.number("cap", 0, 1_000_000).unwrap_or(RepairSettings::default().cap);
    section.finish();
    RepairSettings { cap }
}

fn asserts(sections: Vec<Section<'_>>) -> Vec<Assertion> {
    let mut asserts: Vec<Assertion> = Vec::new();
    for mut section in sections {
        let name = section.string("name");
        let sql = question(&mut section);
        match &name {
            None => section.report_here("`name` is missing"),
            Some(name) if asserts.iter().any(|known| known.name == name.value) => {
                section.report("name", &name.at, format!("`{}` is the name of another one", name.value));
            }
            Some(_) => {}
        }
        section.finish();
        if let (Some(name), Some(sql)) = (name, sql) {
            asserts.push(Assertion { name: name.value, sql });
        }
    }
    asserts
}

fn baseline(mut section: Section<'_>) -> Option<Baseline> {
    let sql = question(&mut section);
    let rate = Quantity::Count("");
    let ratio = amount(&mut section, "ratio_max", rate, Range(0.1, 1000.0), Form::NumberOrUnit);
    let runs = small(&mut section, "runs", 1, 10_000).unwrap_or(100);
    section.finish();
    Some(Baseline { sql: sql?, ratio_max: ratio.unwrap_or(1.5), runs })
}

/// A statement that only reads.
fn question(section: &mut Section<'_>) -> Option<String> {
    let Some(found) = section.string("sql") else {
        section.report_here("`sql` is missing");
        return None;
    };
    match whole::flaw(&found.value) {
        None => Some(found.value),
        Some(flaw) => {
            section.report("sql", &found.at, flaw);
            None
        }
    }
}

/// One of some words.
pub(super) fn choice<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    known: &[(&str, T)],
) -> Option<T> {
    let found = section.string(key)?;
    let value = known.iter().find(|(name, _)| *name == found.value).map(|(_, value)| *value);
    if value.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        section.report(key, &found.at, format!("`{}` is none of {}", found.value, names.join(", ")));
    }
    value
}

/// A quantity within bounds, in its own unit.
pub(super) fn amount(
    section: &mut Section<'_>,
    key: &'static str,
    quantity: Quantity,
    range: Range,
    form: Form,
) -> Option<f64> {
    let found = section.entry(key)?;
    let value = match (&found.value, form) {
        (Entry::Whole(number), Form::NumberOrUnit) => Some(*number as f64),
        (Entry::Fraction(number), Form::NumberOrUnit) => Some(*number),
        (Entry::Text(text), _) => quantity.parse(text),
        _ => None,
    };
    match value {
        None => {
            let number = if form == Form::NumberOrUnit { "a number or " } else { "" };
            section.report(key, &found.at, format!("must be {number}a text like {}", quantity.example()));
            None
        }
        Some(value) if (range.0..=range.1).contains(&value) => Some(value),
        Some(value) => {
            let (value, least, most) = (quantity.show(value), quantity.show(range.0), quantity.show(range.1));
            section.report(key, &found.at, format!("{value} is not between {least} and {most}"));
            None
        }
    }
}

/// An address that can be asked, plain or inside TLS.
pub(super) fn url(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let found = section.string(key)?;
    let rest = found.value.strip_prefix("http://").or_else(|| found.value.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    if host.is_some_and(|host| !host.is_empty() && !found.value.contains(char::is_whitespace)) {
        return Some(found.value);
    }
    section.report(key, &found.at, "must be an address like \"https://checks.example/path\", or with http");
    None
}

pub(super) fn small(section: &mut Section<'_>, key: &'static str, least: u32, most: u32) -> Option<u32> {
    section.number(key, u64::from(least), u64::from(most)).and_then(|number| u32::try_from(number).ok())
}
