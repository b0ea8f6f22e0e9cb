//! Which primary keys a write to a moving table touches.

use sqlparser::ast::{Insert, OnInsert};

use super::planner::Planner;
use super::scopes::Scopes;
use super::write::{self, Limited, Returning, Write};
use super::{Operand, Picks, Touch, TouchHow, steady};
use crate::lex::RegionKind;
use crate::refusal::{self, Refusal};
use crate::schema::{Generation, TableSchema};
use crate::topology::TableId;

fn schema<'a>(planner: &Planner<'a>, table: TableId) -> Result<&'a TableSchema, Refusal> {
    let table = planner.names.topology.table_of(table);
    table.schema.as_deref().ok_or_else(|| refusal::SCHEMA_UNKNOWN.because(table.name.clone()))
}

/// Of an `UPDATE` or `DELETE`: the rows that its own condition finds.
pub(super) fn of_write(planner: &Planner<'_>, write: &Write<'_>, scopes: &Scopes) -> Result<Touch, Refusal> {
    let table = write.only_table(scopes).filter(|_| scopes.instances.len() == 1);
    let table = table.ok_or_else(|| refusal::UNTOUCHABLE.because("several tables"))?;
    let schema = schema(planner, table)?;
    let changes_key = write.assignments.iter().any(|assignment| {
        write::column(assignment)
            .is_none_or(|column| schema.primary.iter().any(|key| key.eq_ignore_ascii_case(column)))
    });
    if changes_key {
        return Err(refusal::UNTOUCHABLE.because("the primary key is assigned"));
    }
    if write.returning == Returning::Yes {
        return Err(refusal::MIRRORED_RETURNING.because(""));
    }
    let parsed = &planner.parsed;
    let from = ["where", "order", "limit"].iter().filter_map(|word| parsed.word_at_top(word, 0)).min();
    if let Some(word) = from.and_then(|from| steady::fickle(parsed, from)) {
        let because = format!("its condition may find other rows a moment later: {word}");
        return Err(refusal::UNTOUCHABLE.because(because));
    }
    let picks = match write.limited {
        Limited::No => Picks::All,
        Limited::Yes if steady::is_ordered_by(parsed, &schema.primary).is_some() => Picks::First,
        Limited::Yes => {
            return Err(refusal::UNTOUCHABLE.because("LIMIT without the primary key in ORDER BY"));
        }
    };
    let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    let start = from.map_or(parsed.end(), |token| at(parsed.tokens[token].start));
    let end = parsed.end();
    let before = parsed.lexed.regions.iter().take_while(|region| region.start < start);
    let first_placeholder = before.filter(|region| region.kind == RegionKind::Placeholder).count();
    Ok(Touch {
        table,
        how: TouchHow::Select {
            from: parsed.span(start, end),
            first_placeholder: u16::try_from(first_placeholder).unwrap_or(u16::MAX),
            table_alias: write.alias().map(str::to_owned),
            picks,
        },
    })
}

/// Of an `INSERT` or `REPLACE`: the keys it gives.
pub(super) fn of_insert(planner: &Planner<'_>, insert: &Insert, table: TableId) -> Result<Touch, Refusal> {
    let schema = schema(planner, table)?;
    if write::rows(insert).is_none() && insert.assignments.is_empty() {
        return Err(refusal::UNTOUCHABLE.because("INSERT … SELECT"));
    }
    if (insert.replace_into || insert.on.is_some()) && !schema.unique.is_empty() {
        return Err(refusal::UNIQUE_UPSERT.because(""));
    }
    let is_key = |column: &str| schema.primary.iter().any(|key| key.eq_ignore_ascii_case(column));
    if let Some(OnInsert::DuplicateKeyUpdate(assignments)) = &insert.on
        && assignments.iter().any(|assignment| write::column(assignment).is_none_or(is_key))
    {
        return Err(refusal::UNTOUCHABLE.because("the primary key is assigned"));
    }
    if insert.returning.is_some() {
        return Err(refusal::MIRRORED_RETURNING.because(""));
    }
    if planner.parsed.has_word("last_insert_id") {
        return Err(refusal::UNTOUCHABLE.because("LAST_INSERT_ID in an INSERT"));
    }
    let columns = write::columns(insert, Some(schema)).ok_or_else(|| refusal::UNTOUCHABLE.because(""))?;
    let mut keys: Vec<Vec<Operand>> = Vec::new();
    for name in &schema.primary {
        let counted =
            schema.column(name).is_some_and(|column| column.generation == Generation::AutoIncrement);
        let is_named = columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let mut given = write::given(planner, insert, &columns, name);
        if counted && !is_named {
            given.fill(Operand::Null);
        }
        if given.contains(&Operand::Computed) {
            return Err(refusal::UNTOUCHABLE.because(format!("{name} is computed")));
        }
        keys.resize(given.len(), Vec::new());
        for (key, operand) in keys.iter_mut().zip(given) {
            key.push(operand);
        }
    }
    Ok(Touch { table, how: TouchHow::Keys(keys) })
}
