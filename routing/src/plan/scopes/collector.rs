//! One walk over a statement's syntax tree, which finds its scopes and tables.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, Expr, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, Visit, Visitor,
};

use super::{Kind, Qualified, Scopes};
use crate::plan::names::Names;
use crate::plan::parse::Parsed;
use crate::refusal::Refusal;

/// Adds what a statement holds to `scopes`, of which those in `open` are around it.
pub(super) fn run<'a>(
    parsed: &'a Parsed<'a>,
    names: Names<'a>,
    scopes: Scopes,
    open: Vec<usize>,
) -> Result<Scopes, Refusal> {
    let mut collector = Collector { parsed, names, scopes, open, apart: vec![Kind::Root] };
    collector.targets();
    match parsed.statement.visit(&mut collector) {
        ControlFlow::Continue(()) => Ok(collector.scopes),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Collector<'a> {
    parsed: &'a Parsed<'a>,
    names: Names<'a>,
    scopes: Scopes,
    /// The scopes around the current place.
    open: Vec<usize>,
    /// Table factors around the current place that are derived tables: the next query is theirs.
    apart: Vec<Kind>,
}

impl Collector<'_> {
    /// Assigned columns are names, not expressions.
    fn targets(&mut self) {
        let assignments = match &self.parsed.statement {
            Statement::Update(update) => &update.assignments,
            Statement::Insert(insert) => {
                insert.columns.iter().for_each(|name| self.object(name, 1));
                &insert.assignments
            }
            _ => return,
        };
        for assignment in assignments {
            if let AssignmentTarget::ColumnName(name) = &assignment.target {
                self.object(name, 1);
            }
        }
    }

    fn object(&mut self, name: &ObjectName, columns: usize) {
        let idents: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        let qualifiers = idents.len().saturating_sub(columns);
        let (Some(&scope), true) = (self.open.last(), (1..=2).contains(&qualifiers)) else { return };
        let table = idents[qualifiers - 1];
        let start = self.parsed.ident(idents[0]).0;
        let database = (qualifiers == 2).then(|| idents[0].value.clone());
        let at = (start, self.parsed.ident(table).1);
        self.scopes.qualified.push(Qualified { scope, database, table: table.value.clone(), at });
    }
}

impl Visitor for Collector<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        let first = self.open.is_empty();
        if let Some(with) = &query.with {
            let ctes = with.cte_tables.iter().map(|cte| cte.alias.name.value.to_lowercase());
            self.scopes.ctes.extend(ctes);
            self.apart.push(Kind::Apart);
        } else if !matches!(&*query.body, sqlparser::ast::SetExpr::Select(_)) {
            self.apart.push(Kind::Apart);
        } else if !first && self.apart.last() == Some(&Kind::Root) {
            self.apart.push(Kind::Subquery);
        } else {
            self.apart.push(*self.apart.last().expect("the bottom is never popped"));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.apart.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        if matches!(factor, TableFactor::Derived { .. }) {
            self.apart.push(Kind::Apart);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        if matches!(factor, TableFactor::Derived { .. }) {
            self.apart.pop();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        let kind = *self.apart.last().expect("the bottom is never popped");
        let scope = self.scopes.open(self.open.last().copied(), kind, select.selection.clone());
        self.open.push(scope);
        for table in &select.from {
            if let Err(refusal) = self.scopes.from(scope, table, self.parsed, self.names) {
                return ControlFlow::Break(refusal);
            }
        }
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
            {
                self.object(name, 0);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<Refusal> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        if let Expr::CompoundIdentifier(idents) = expr {
            self.object(&ObjectName::from(idents.clone()), 1);
        }
        ControlFlow::Continue(())
    }
}
