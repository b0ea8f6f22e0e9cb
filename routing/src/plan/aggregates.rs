//! Aggregates and windows in a select list: they would have to look at all shards' rows at once.
//!
//! An aggregate inside of a subquery belongs to the outer query where all its columns are that query's:
//! `SELECT (SELECT MAX(users.id)) FROM users` has one row.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Query, Select, TableFactor, TableWithJoins, Visit, Visitor};

use super::names::{Names, Target};
use super::scopes::Scopes;
use crate::refusal::{self, Refusal};
use crate::schema::TableSchema;
use crate::topology::TableId;

/// That a select list has none.
pub(super) fn none(names: Names<'_>, scopes: &Scopes, select: &Select) -> Result<(), Refusal> {
    let mut functions = Functions { names, outer: scopes, depth: 0, inner: Vec::new() };
    for item in &select.projection {
        if let ControlFlow::Break(refusal) = item.visit(&mut functions) {
            return Err(refusal);
        }
    }
    Ok(())
}

struct Functions<'a> {
    names: Names<'a>,
    /// The scopes of the statement, of which the first is the outer query's.
    outer: &'a Scopes,
    depth: u32,
    /// The tables of the subqueries around the current place.
    inner: Vec<Vec<Inner>>,
}

/// A table of a subquery.
struct Inner {
    /// Lower case.
    called: String,
    table: Option<TableId>,
}

impl Visitor for Functions<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        let mut tables = Vec::new();
        for from in &select.from {
            self.collect(from, &mut tables);
        }
        self.inner.push(tables);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<Refusal> {
        self.inner.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_ascii_lowercase();
        let inside = self.depth > 0;
        if function.over.is_some() {
            return if inside {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(refusal::SCATTERED_WINDOW.because(name))
            };
        }
        if is_aggregate(&name) && (!inside || self.is_of_the_outer_query(expr)) {
            return ControlFlow::Break(refusal::SCATTERED_AGGREGATE.because(name));
        }
        ControlFlow::Continue(())
    }
}

impl Functions<'_> {
    fn collect(&self, from: &TableWithJoins, tables: &mut Vec<Inner>) {
        for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => self.collect(table_with_joins, tables),
                TableFactor::Table { name, alias, .. } => {
                    let idents: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
                    let database = idents.iter().rev().nth(1).map(|ident| ident.value.as_str());
                    let Some(written) = idents.last().map(|ident| ident.value.as_str()) else { continue };
                    let table = match self.names.resolve(database, written) {
                        Ok(Target::Named(table)) => Some(table),
                        _ => None,
                    };
                    let called = alias.as_ref().map_or(written, |alias| &alias.name.value).to_lowercase();
                    tables.push(Inner { called, table });
                }
                TableFactor::Derived { alias, .. } => {
                    let called = alias.as_ref().map(|alias| alias.name.value.to_lowercase());
                    tables.push(Inner { called: called.unwrap_or_default(), table: None });
                }
                _ => tables.push(Inner { called: String::new(), table: None }),
            }
        }
    }

    /// Has it columns, and may all of them be the outer query's?
    fn is_of_the_outer_query(&self, aggregate: &Expr) -> bool {
        let mut columns = Columns::default();
        let _ = aggregate.visit(&mut columns);
        !columns.0.is_empty()
            && columns.0.iter().all(|(table, column)| !self.is_inner(table.as_deref(), column))
    }

    fn is_inner(&self, table: Option<&str>, column: &str) -> bool {
        let mut inner = self.inner.iter().flatten();
        match table {
            Some(table) => inner.any(|inner| inner.called == table),
            None => {
                inner.clone().any(|inner| self.has(inner.table, column) == Some(Has::Yes))
                    || (inner.any(|inner| self.has(inner.table, column).is_none())
                        && !self.may_be_outer(column))
            }
        }
    }

    fn may_be_outer(&self, column: &str) -> bool {
        !self.outer.scopes[0].opaque.is_empty()
            || self.outer.of_scope(0).any(|(_, instance)| {
                let table = match instance.target {
                    Target::Named(table) => Some(table),
                    Target::Unnamed(_) | Target::Whole(_) => None,
                };
                self.has(table, column) != Some(Has::No)
            })
    }

    /// `None`: nobody knows the table's columns.
    fn has(&self, table: Option<TableId>, column: &str) -> Option<Has> {
        let schema: &TableSchema = self.names.topology.table_of(table?).schema.as_deref()?;
        Some(if schema.column(column).is_some() { Has::Yes } else { Has::No })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Yes,
    No,
}

/// The columns in an expression, with their tables in lower case.
#[derive(Default)]
struct Columns(Vec<(Option<String>, String)>);

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(column) => self.0.push((None, column.value.clone())),
            Expr::CompoundIdentifier(idents) => {
                if let [.., table, column] = idents.as_slice() {
                    self.0.push((Some(table.value.to_lowercase()), column.value.clone()));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// MySQL's and MariaDB's aggregates.
fn is_aggregate(name: &str) -> bool {
    const NAMES: [&str; 21] = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "group_concat",
        "bit_and",
        "bit_or",
        "bit_xor",
        "std",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "variance",
        "var_pop",
        "var_samp",
        "json_arrayagg",
        "json_objectagg",
        "any_value",
        "st_collect",
        "grouping",
    ];
    NAMES.contains(&name)
}
