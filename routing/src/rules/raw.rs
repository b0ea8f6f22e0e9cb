//! The rule file as written.

mod backend;
mod parts;
mod percent;

use std::ops::Range;

use toml::de::DeValue;

pub(super) use backend::RawBackend;
pub(super) use parts::{RawFunctions, RawHistory, RawTls};
use parts::{functions, history};
pub(super) use percent::RawWrites;
use percent::{percent, writes};

use crate::document::{Found, Section};
use crate::key::{Exactness, KeyType, KeyValue, Literal};

#[derive(Debug, Default)]
pub(super) struct Raw {
    pub backends: Vec<RawBackend>,
    pub databases: Vec<RawDatabase>,
    pub tables: Vec<RawTable>,
    pub moves: Vec<RawMove>,
    pub across_shards: Option<Found<String>>,
}

#[derive(Debug)]
pub(super) struct RawDatabase {
    pub name: String,
    pub at: Range<usize>,
    pub default: Option<Found<String>>,
}

#[derive(Debug)]
pub(super) struct RawTable {
    /// `table` or `database.table`.
    pub name: String,
    pub at: Range<usize>,
    pub kind: Option<Found<String>>,
    pub shard_key: Option<Found<String>>,
    pub function: Option<RawFunction>,
    pub nodes: Option<Found<Vec<String>>>,
    pub with: Option<Found<String>>,
    pub id: Option<RawId>,
}

/// Which ids of a table are generated.
#[derive(Debug)]
pub(super) struct RawId {
    pub at: Range<usize>,
    pub column: Option<Found<String>>,
    pub generator: Option<Found<String>>,
}

#[derive(Debug)]
pub(super) struct RawFunction {
    pub at: Range<usize>,
    pub kind: Option<Found<String>>,
    pub shards: Option<u32>,
    pub slots: Option<u32>,
    pub owners: Vec<(u32, u32)>,
    pub bounds: Vec<KeyValue>,
    pub values: Vec<Vec<KeyValue>>,
    pub default: Option<u32>,
    pub unit: Option<Found<String>>,
    pub from: Option<Found<String>>,
}

#[derive(Debug)]
pub(super) struct RawMove {
    pub name: String,
    pub at: Range<usize>,
    pub tables: Option<Found<Vec<String>>>,
    pub from: Option<RawFrom>,
    pub capture: Option<Found<String>>,
    pub column: Option<Found<String>>,
    pub double_write: Option<Found<String>>,
    /// Hundredths of a percent.
    pub reads: u16,
    /// Likewise.
    pub shadow_reads: u16,
    pub writes: Option<RawWrites>,
    pub hold_ms: u64,
    pub always: Vec<KeyValue>,
    pub never: Vec<KeyValue>,
    pub history: Option<RawHistory>,
    pub functions: Option<RawFunctions>,
    pub lag_max_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) enum RawFrom {
    Backend(Found<String>),
    /// By table; an empty name stands for every table.
    Layouts(Vec<(String, RawLayout)>),
}

#[derive(Debug)]
pub(super) struct RawLayout {
    pub at: Range<usize>,
    pub function: Option<RawFunction>,
    pub nodes: Option<Found<Vec<String>>>,
}

/// What a move says about how its rows travel. Routing knows only where they go, so whoever carries them reads these
/// from the same text.
pub const TRAVEL: [&str; 13] = [
    "copy",
    "apply",
    "throttle",
    "tune",
    "waive",
    "verify",
    "repair",
    "assert",
    "baseline",
    "schedule",
    "cleanup",
    "backup",
    "wait_for_servers",
];

/// When somebody is to be told; read by those who watch.
pub const ALERTS: &str = "alerts";

/// Reads the whole file; problems go to its document.
pub(super) fn read(mut root: Section<'_>) -> Raw {
    let mut raw = Raw::default();
    if let Some(mut section) = root.section("backends") {
        raw.backends = section
            .named_sections()
            .into_iter()
            .map(|(name, section)| backend::read(name, section))
            .collect();
    }
    if let Some(mut section) = root.section("databases") {
        raw.databases =
            section.named_sections().into_iter().map(|(name, section)| database(name, section)).collect();
    }
    if let Some(mut section) = root.section("tables") {
        raw.tables =
            section.named_sections().into_iter().map(|(name, section)| table(name, section)).collect();
    }
    if let Some(mut section) = root.section("moves") {
        raw.moves =
            section.named_sections().into_iter().map(|(name, section)| moving(name, section)).collect();
    }
    if let Some(mut section) = root.section("transactions") {
        raw.across_shards = section.string("across_shards");
        section.finish();
    }
    let _ = root.skip(ALERTS);
    if raw.backends.is_empty() {
        root.report_here("no [backends.*]: the file says nothing about where rows are");
    }
    root.finish();
    raw
}

fn database(name: String, mut section: Section<'_>) -> RawDatabase {
    let at = section.place();
    let default = section.string("default");
    section.finish();
    RawDatabase { name, at, default }
}

fn table(name: String, mut section: Section<'_>) -> RawTable {
    let at = section.place();
    let kind = section.string("kind");
    let shard_key = section.string("shard_key");
    let function = function(&mut section);
    let nodes = nodes(&mut section);
    let with = section.string("with");
    let id = section.section("id").map(|mut id| {
        let raw = RawId { at: id.place(), column: id.string("column"), generator: id.string("generator") };
        id.finish();
        raw
    });
    section.finish();
    RawTable { name, at, kind, shard_key, function, nodes, with, id }
}

/// One pattern, or a list of them.
fn nodes(section: &mut Section<'_>) -> Option<Found<Vec<String>>> {
    let found = section.value("nodes")?;
    let texts = match &found.value {
        DeValue::String(pattern) => Some(vec![pattern.to_string()]),
        DeValue::Array(items) => {
            items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    if texts.is_none() {
        section.report(
            "nodes",
            &found.at,
            "must be a text like \"s{0..1}.users_{0..3}\", or a list of those",
        );
    }
    texts.map(|value| Found { value, at: found.at })
}

fn function(section: &mut Section<'_>) -> Option<RawFunction> {
    let mut inner = section.section("function")?;
    let at = inner.place();
    let kind = inner.string("kind");
    let shards = inner.number("shards", 1, 16_384).map(small);
    let slots = inner.number("slots", 1, 65_536).map(small);
    let owners = pairs(&mut inner, "owners");
    let bounds = keys(&mut inner, "bounds");
    let values = lists(&mut inner, "values");
    let default = inner.number("default", 0, 16_383).map(small);
    let (unit, from) = (inner.string("unit"), inner.string("from"));
    inner.finish();
    Some(RawFunction { at, kind, shards, slots, owners, bounds, values, default, unit, from })
}

fn moving(name: String, mut section: Section<'_>) -> RawMove {
    let at = section.place();
    let moving = RawMove {
        name,
        at,
        tables: section.strings("tables"),
        from: from(&mut section),
        capture: section.string("capture"),
        column: section.string("column"),
        double_write: section.string("double_write"),
        reads: percent(&mut section, "reads"),
        shadow_reads: percent(&mut section, "shadow_reads"),
        writes: writes(&mut section),
        hold_ms: section.number("hold_ms", 1, 60_000).unwrap_or(3_000),
        always: keys(&mut section, "always"),
        never: keys(&mut section, "never"),
        history: history(&mut section),
        functions: functions(&mut section),
        lag_max_ms: section.number("lag_max_ms", 100, 86_400_000),
    };
    for key in TRAVEL {
        let _ = section.skip(key);
    }
    section.finish();
    moving
}

fn from(section: &mut Section<'_>) -> Option<RawFrom> {
    let found = section.value("from")?;
    match found.value {
        DeValue::String(name) => Some(RawFrom::Backend(Found { value: name.to_string(), at: found.at })),
        DeValue::Table(table) => {
            let whole = table.iter().any(|(key, _)| matches!(key.get_ref().as_ref(), "function" | "nodes"));
            let mut inner = section.nested("from", found.at, table);
            if whole {
                return Some(RawFrom::Layouts(vec![(String::new(), layout(inner))]));
            }
            Some(RawFrom::Layouts(
                inner.named_sections().into_iter().map(|(name, inner)| (name, layout(inner))).collect(),
            ))
        }
        _ => {
            section.report(
                "from",
                &found.at,
                "must be a backend's name or a layout { function = …, nodes = … }",
            );
            None
        }
    }
}

fn layout(mut section: Section<'_>) -> RawLayout {
    let at = section.place();
    let layout = RawLayout { at, function: function(&mut section), nodes: nodes(&mut section) };
    section.finish();
    layout
}

fn key(value: &DeValue<'_>) -> Option<KeyValue> {
    let literal = match value {
        DeValue::Integer(number) => {
            Literal::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::String(text) => Literal::String(text.as_bytes()),
        _ => return None,
    };
    match KeyType::Assumed.compared(literal) {
        Exactness::Value(key) => Some(key),
        Exactness::Nothing | Exactness::Unknown => None,
    }
}

fn keys(section: &mut Section<'_>, name: &'static str) -> Vec<KeyValue> {
    let Some(found) = section.value(name) else { return Vec::new() };
    let read = match &found.value {
        DeValue::Array(items) => items.iter().map(|item| key(item.get_ref())).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    read.unwrap_or_else(|| {
        section.report(name, &found.at, "must be a list of whole numbers or texts");
        Vec::new()
    })
}

fn lists(section: &mut Section<'_>, name: &'static str) -> Vec<Vec<KeyValue>> {
    let Some(found) = section.value(name) else { return Vec::new() };
    let list = |value: &DeValue<'_>| match value {
        DeValue::Array(items) => items.iter().map(|item| key(item.get_ref())).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let read = match &found.value {
        DeValue::Array(items) => items.iter().map(|item| list(item.get_ref())).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    read.unwrap_or_else(|| {
        section.report(name, &found.at, "must be a list of lists: one list of values for each shard");
        Vec::new()
    })
}

fn pairs(section: &mut Section<'_>, name: &'static str) -> Vec<(u32, u32)> {
    let Some(found) = section.value(name) else { return Vec::new() };
    let number = |value: &DeValue<'_>| match value {
        DeValue::Integer(number) => number.as_str().parse::<u32>().ok(),
        _ => None,
    };
    let pair = |value: &DeValue<'_>| match value {
        DeValue::Array(items) if items.len() == 2 => {
            Some((number(items[0].get_ref())?, number(items[1].get_ref())?))
        }
        _ => None,
    };
    let read = match &found.value {
        DeValue::Array(items) => items.iter().map(|item| pair(item.get_ref())).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    read.unwrap_or_else(|| {
        section.report(
            name,
            &found.at,
            "must be a list of pairs [first slot, last slot], one for each shard",
        );
        Vec::new()
    })
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
