//! `INSERT`, `REPLACE`, `UPDATE`, `DELETE`.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, ObjectName, ObjectNamePart, OnInsert,
    Query, SetExpr, TableFactor, TableObject, TableWithJoins, Update,
};

use super::names::{self, Renaming, Target};
use super::planner::Planner;
use super::read::{self, Unsharded};
use super::scopes::Scopes;
use super::sides::Placed;
use super::{Gather, InsertId, Operand, RoutePlan, Row, SidePlan, Span, split};
use crate::lex::words::TokenKind;
use crate::refusal::{self, Refusal};
use crate::schema::TableSchema;
use crate::topology::{Layout, Placement, Side, TableId};

/// A write's parts, whatever its verb.
pub(super) struct Write<'a> {
    pub verb: &'static str,
    pub tables: Vec<TableWithJoins>,
    pub condition: Option<&'a Expr>,
    pub assignments: &'a [Assignment],
    pub limited: Limited,
    pub returning: Returning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limited {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returning {
    Yes,
    No,
}

pub(super) fn of_update(update: &Update) -> Write<'_> {
    Write {
        verb: "UPDATE",
        tables: vec![update.table.clone()],
        condition: update.selection.as_ref(),
        assignments: &update.assignments,
        limited: if update.limit.is_some() { Limited::Yes } else { Limited::No },
        returning: if update.returning.is_some() { Returning::Yes } else { Returning::No },
    }
}

pub(super) fn of_delete(delete: &Delete) -> Write<'_> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let tables = delete.using.as_ref().unwrap_or(from).clone();
    Write {
        verb: "DELETE",
        tables,
        condition: delete.selection.as_ref(),
        assignments: &[],
        limited: if delete.limit.is_some() { Limited::Yes } else { Limited::No },
        returning: if delete.returning.is_some() { Returning::Yes } else { Returning::No },
    }
}

/// Does the `DELETE` name its targets apart from its tables? Those are aliases.
pub(super) fn is_multi_table(delete: &Delete) -> bool {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    !delete.tables.is_empty()
        || delete.using.is_some()
        || from.len() > 1
        || from.iter().any(|table| !table.joins.is_empty())
}

impl Write<'_> {
    /// The only table of the statement's root, if there is just one.
    pub fn only_table(&self, scopes: &Scopes) -> Option<TableId> {
        let mut root = scopes.of_scope(0);
        match (root.next(), root.next()) {
            (Some((_, instance)), None) if scopes.scopes[0].opaque.is_empty() => match instance.target {
                Target::Named(table) => Some(table),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn alias(&self) -> Option<&str> {
        match &self.tables.first()?.relation {
            TableFactor::Table { alias, .. } => alias.as_ref().map(|alias| alias.name.value.as_str()),
            _ => None,
        }
    }
}

/// The plan of one side of an `UPDATE` or `DELETE`.
pub(super) fn side(
    planner: &Planner<'_>,
    write: &Write<'_>,
    scopes: &Scopes,
    side: Side,
    renaming: Renaming,
) -> Result<SidePlan, Refusal> {
    let topology = planner.names.topology;
    let placed = Placed::new(topology, scopes, side);
    let only = write.only_table(scopes);
    let (mut route, because) = match only {
        Some(table) => placed.write(table, &planner.parsed, scopes, planner.home()?)?,
        None => {
            let copied = scopes.of_scope(0).any(|(_, instance)| match instance.target {
                Target::Named(table) => {
                    matches!(topology.table_of(table).placement(side), Placement::Broadcast(_))
                }
                _ => false,
            });
            if copied {
                return Err(refusal::WRITE_MIXED.because(""));
            }
            placed.read(&planner.parsed, scopes, planner.home()?)?
        }
    };
    if let RoutePlan::ByKey(by_key) = &mut route {
        match assigned_keys(write.assignments, &placed, scopes).as_slice() {
            [] => {}
            [value] if only.is_some() => by_key.unchanged = Some(planner.parsed.operand(value)),
            _ => return Err(refusal::SHARD_KEY_CHANGED.because(by_key.layout.key.clone())),
        }
    }
    let mut splices = names::splices(&planner.parsed, topology, scopes, side, renaming);
    splices.extend(planner.fact_splices());
    if split::ignores(planner, write) {
        split::meets_others(planner, scopes, side)?;
    }
    let unkept = match split::writes(planner, scopes, side) {
        Ok(conditions) => {
            splices.extend(conditions);
            None
        }
        Err(refusal) => Some(refusal),
    };
    splices.sort_by_key(|splice| splice.span.start);
    let gather = match &route {
        RoutePlan::EveryNode(_) => Gather::First,
        RoutePlan::ByKey(_) if let Some(refusal) = unkept => Gather::Single(refusal),
        RoutePlan::ByKey(_) if !only_shards_change(planner, scopes, side) => {
            Gather::Single(refusal::SCATTERED_SUBQUERY.because(""))
        }
        _ if write.limited == Limited::Yes => Gather::Single(refusal::SCATTERED_LIMIT.because("on a write")),
        _ if write.returning == Returning::Yes => Gather::Single(refusal::SCATTERED_INTO.because("")),
        _ => Gather::Sum,
    };
    Ok(SidePlan { route, splices, gather, because })
}

/// A row of an unsharded table would be written once for each shard.
fn only_shards_change(planner: &Planner<'_>, scopes: &Scopes, side: Side) -> bool {
    read::rows_come_from_shards(planner.names.topology, scopes, side) == Ok(Unsharded::None)
}

/// What is assigned to shard keys of the tables written.
fn assigned_keys<'a>(assignments: &'a [Assignment], placed: &Placed<'_>, scopes: &Scopes) -> Vec<&'a Expr> {
    let is_key = |assignment: &&Assignment| {
        let AssignmentTarget::ColumnName(name) = &assignment.target else { return true };
        let idents: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        let Some((column, qualifiers)) = idents.split_last() else { return true };
        scopes.of_scope(0).any(|(instance, of)| {
            let named = qualifiers.last().is_none_or(|table| table.value.to_lowercase() == of.called);
            named && placed.key_of(instance).is_some_and(|key| column.value.eq_ignore_ascii_case(key))
        })
    };
    assignments.iter().filter(is_key).map(|assignment| &assignment.value).collect()
}

/// What an assignment writes to the shard key.
fn assigned<'a>(assignments: &'a [Assignment], layout: &Layout) -> Option<&'a Expr> {
    let key = |assignment: &&Assignment| {
        column(assignment).is_none_or(|column| column.eq_ignore_ascii_case(&layout.key))
    };
    assignments.iter().find(key).map(|assignment| &assignment.value)
}

/// The column that an assignment writes; `None` for tuples.
pub(super) fn column(assignment: &Assignment) -> Option<&str> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => last(name),
        AssignmentTarget::Tuple(_) => None,
    }
}

fn last(name: &ObjectName) -> Option<&str> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.as_str())
}

/// The table of an `INSERT`.
pub(super) fn insert_table(insert: &Insert) -> Result<&ObjectName, Refusal> {
    match &insert.table {
        TableObject::TableName(name) => Ok(name),
        _ => Err(refusal::UNPARSED.because("INSERT into something that is no table")),
    }
}

/// The rows of an `INSERT … VALUES` or `INSERT … SET`; `None` for `INSERT … SELECT`.
pub(super) fn rows(insert: &Insert) -> Option<Vec<&[Expr]>> {
    let query: &Query = insert.source.as_deref()?;
    match &*query.body {
        SetExpr::Values(values) => Some(values.rows.iter().map(|row| row.content.as_slice()).collect()),
        _ => None,
    }
}

/// The columns that the rows give, lower case.
pub(super) fn columns(insert: &Insert, schema: Option<&TableSchema>) -> Option<Vec<String>> {
    if !insert.assignments.is_empty() {
        return insert
            .assignments
            .iter()
            .map(|assignment| column(assignment).map(str::to_lowercase))
            .collect();
    }
    if insert.columns.is_empty() {
        return schema.map(|schema| schema.columns.iter().map(|column| column.name.to_lowercase()).collect());
    }
    insert.columns.iter().map(|name| last(name).map(str::to_lowercase)).collect()
}

/// What each row gives a column; `Computed` where it gives none.
pub(super) fn given(planner: &Planner<'_>, insert: &Insert, columns: &[String], name: &str) -> Vec<Operand> {
    let place = columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let operand = |expr: Option<&Expr>| expr.map_or(Operand::Computed, |expr| planner.parsed.operand(expr));
    if !insert.assignments.is_empty() {
        return vec![operand(place.map(|place| &insert.assignments[place].value))];
    }
    let rows = rows(insert).unwrap_or_default();
    rows.iter().map(|row| operand(place.and_then(|place| row.get(place)))).collect()
}

/// The plan of one side of an `INSERT` or `REPLACE` into a table that rules name.
pub(super) fn insert_side(
    planner: &Planner<'_>,
    insert: &Insert,
    scopes: &Scopes,
    table: TableId,
    side: Side,
) -> Result<SidePlan, Refusal> {
    let topology = planner.names.topology;
    let mut splices = names::splices(&planner.parsed, topology, scopes, side, Renaming::Qualifiers);
    splices.extend(planner.fact_splices());
    splices.sort_by_key(|splice| splice.span.start);
    let placed = Placed::new(topology, scopes, side);
    let values = !insert.assignments.is_empty() || rows(insert).is_some();
    let because = String::new();
    let Some(layout) = placed.layout(table) else {
        let (route, because) = placed.write(table, &planner.parsed, scopes, planner.home()?)?;
        let gather = if matches!(route, RoutePlan::EveryNode(_)) { Gather::First } else { Gather::Sum };
        if matches!(route, RoutePlan::ByKey(_)) || (!values && matches!(route, RoutePlan::EveryNode(_))) {
            return Err(refusal::INSERT_SELECT.because(""));
        }
        return Ok(SidePlan { route, splices, gather, because });
    };
    if !values || scopes.instances.len() > 1 {
        return Err(refusal::INSERT_SELECT.because(""));
    }
    if let Some(OnInsert::DuplicateKeyUpdate(assignments)) = &insert.on
        && assigned(assignments, layout).is_some()
    {
        return Err(refusal::SHARD_KEY_CHANGED.because(layout.key.clone()));
    }
    if split::overwrites(planner, insert) {
        split::meets_others(planner, scopes, side)?;
    }
    let schema = topology.table_of(table).schema.as_deref();
    let columns = columns(insert, schema)
        .ok_or_else(|| refusal::SCHEMA_UNKNOWN.because(topology.table_of(table).name.clone()))?;
    // A generated id is there before the statement is bound, which refuses rows that have none.
    let generated = topology.table_of(table).id.as_ref().map(|id| id.column.as_str());
    let key_is_generated = generated.is_some_and(|id| id.eq_ignore_ascii_case(&layout.key));
    if !columns.contains(&layout.key.to_lowercase()) && !key_is_generated {
        return Err(refusal::NO_SHARD_KEY.because(layout.key.clone()));
    }
    let keys = given(planner, insert, &columns, &layout.key);
    let counted = schema.and_then(TableSchema::auto_increment).map(|column| column.name.as_str());
    let ids = generated.or(counted).map(|column| given(planner, insert, &columns, column));
    if generated.is_none() && ids.iter().flatten().any(|id| matches!(id, Operand::Null | Operand::Computed)) {
        return Err(refusal::NO_ID.because(topology.table_of(table).name.clone()));
    }
    let spans = row_spans(planner, keys.len())?;
    let rows = keys.iter().zip(spans).enumerate();
    let id = |row: usize| ids.as_ref().map(|ids| ids[row]);
    let rows = rows.map(|(row, (key, span))| Row { key: *key, id: id(row), span }).collect();
    let gather = match &insert.returning {
        Some(_) => Gather::Single(refusal::SCATTERED_INTO.because("")),
        None => Gather::Sum,
    };
    let insert_id = if planner.parsed.has_word("last_insert_id") { InsertId::Set } else { InsertId::Kept };
    let route = RoutePlan::ByRow { layout: layout.clone(), rows, insert_id };
    Ok(SidePlan { route, splices, gather, because })
}

/// From each row's `(` to its `)`.
fn row_spans(planner: &Planner<'_>, rows: usize) -> Result<Vec<Span>, Refusal> {
    let parsed = &planner.parsed;
    let whole = Span { start: super::Place { after: 0, delta: 0 }, end: super::Place { after: 0, delta: 0 } };
    let values = parsed.word_at_top("values", 0).or_else(|| parsed.word_at_top("value", 0));
    let Some(values) = values else {
        // `INSERT … SET` has one row, which is never taken apart.
        return if rows == 1 {
            Ok(vec![whole])
        } else {
            Err(refusal::UNPARSED.because("the rows of VALUES"))
        };
    };
    let mut spans = Vec::with_capacity(rows);
    let (mut depth, mut start) = (0_u32, None);
    for token in &parsed.tokens[values + 1..] {
        match token.kind {
            TokenKind::Symbol(b'(') => {
                depth += 1;
                start = start.or(Some(token.start));
            }
            TokenKind::Symbol(b')') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let start = start.take().unwrap_or(token.start);
                    let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
                    spans.push(parsed.span(at(start), at(token.end)));
                }
            }
            TokenKind::Symbol(b',') => {}
            TokenKind::Word if depth == 0 && token.is(parsed.sql, "row") => start = Some(token.start),
            _ if depth == 0 => break,
            _ => {}
        }
    }
    if spans.len() == rows { Ok(spans) } else { Err(refusal::UNPARSED.because("the rows of VALUES")) }
}
