//! The tables of a statement, by the `SELECT` they stand in, with the conditions of each.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, Expr, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, Statement, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::names::{Names, Target};
use super::parse::Parsed;
use crate::refusal::Refusal;

/// One occurrence of a table.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub scope: usize,
    pub target: Target,
    /// What columns are qualified with: the alias, or the table's name; lower case.
    pub called: String,
    /// The table's name as written.
    pub written: String,
    pub aliased: Aliased,
    /// The bytes of the whole name.
    pub name: (u32, u32),
    /// The bytes of the database before it.
    pub database: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aliased {
    Yes,
    No,
}

/// Where a scope stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The statement itself.
    Root,
    /// An expression: may refer to the tables around it.
    Subquery,
    /// A table made of a query, or one part of a `UNION`.
    Apart,
}

#[derive(Debug)]
pub(super) struct Scope {
    pub parent: Option<usize>,
    pub kind: Kind,
    pub condition: Option<Expr>,
    /// `ON` of inner joins: as good as the condition.
    pub inner: Vec<Expr>,
    /// `ON` of outer joins: ties tables, restricts none.
    pub outer: Vec<Expr>,
    pub using: Vec<String>,
    /// Names of derived tables and others that we do not look into.
    pub opaque: Vec<String>,
    pub outer_join: OuterJoin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OuterJoin {
    No,
    Yes,
}

/// A column or wildcard with its table, as far as it may have to be rewritten.
#[derive(Debug, Clone)]
pub(super) struct Qualified {
    pub scope: usize,
    pub database: Option<String>,
    pub table: String,
    /// The bytes of `database.table`, or of `table`.
    pub at: (u32, u32),
}

/// All tables of a statement.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    pub scopes: Vec<Scope>,
    pub instances: Vec<Instance>,
    pub qualified: Vec<Qualified>,
    /// `WITH` names, lower case.
    ctes: Vec<String>,
}

impl Scopes {
    /// Of a query: its scopes come from its `SELECT`s.
    pub fn of_query(parsed: &Parsed<'_>, names: Names<'_>) -> Result<Scopes, Refusal> {
        Collector::run(parsed, names, Scopes::default(), Vec::new())
    }

    /// Of a write to `tables` under a condition: those are the root scope.
    pub fn of_write(
        parsed: &Parsed<'_>,
        names: Names<'_>,
        tables: &[TableWithJoins],
        condition: Option<&Expr>,
    ) -> Result<Scopes, Refusal> {
        let mut scopes = Scopes::default();
        let root = scopes.open(None, Kind::Root, condition.cloned());
        for table in tables {
            scopes.from(root, table, parsed, names)?;
        }
        Collector::run(parsed, names, scopes, vec![root])
    }

    /// Of an `INSERT`: its table alone is the root scope.
    pub fn of_insert(parsed: &Parsed<'_>, names: Names<'_>, table: &ObjectName) -> Result<Scopes, Refusal> {
        let mut scopes = Scopes::default();
        let root = scopes.open(None, Kind::Root, None);
        scopes.table(root, table, None, parsed, names)?;
        Collector::run(parsed, names, scopes, vec![root])
    }

    fn open(&mut self, parent: Option<usize>, kind: Kind, condition: Option<Expr>) -> usize {
        self.scopes.push(Scope {
            parent,
            kind,
            condition,
            inner: Vec::new(),
            outer: Vec::new(),
            using: Vec::new(),
            opaque: Vec::new(),
            outer_join: OuterJoin::No,
        });
        self.scopes.len() - 1
    }

    fn from(
        &mut self,
        scope: usize,
        table: &TableWithJoins,
        parsed: &Parsed<'_>,
        names: Names<'_>,
    ) -> Result<(), Refusal> {
        self.factor(scope, &table.relation, parsed, names)?;
        for join in &table.joins {
            self.join(scope, join, parsed, names)?;
        }
        Ok(())
    }

    fn join(
        &mut self,
        scope: usize,
        join: &Join,
        parsed: &Parsed<'_>,
        names: Names<'_>,
    ) -> Result<(), Refusal> {
        self.factor(scope, &join.relation, parsed, names)?;
        let (constraint, outer) = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::StraightJoin(constraint) => (Some(constraint), OuterJoin::No),
            JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint) => (Some(constraint), OuterJoin::Yes),
            _ => (None, OuterJoin::Yes),
        };
        let of = &mut self.scopes[scope];
        if outer == OuterJoin::Yes {
            of.outer_join = OuterJoin::Yes;
        }
        match (constraint, outer) {
            (Some(JoinConstraint::On(on)), OuterJoin::No) => of.inner.push(on.clone()),
            (Some(JoinConstraint::On(on)), OuterJoin::Yes) => of.outer.push(on.clone()),
            (Some(JoinConstraint::Using(columns)), _) => of.using.extend(columns.iter().map(last_part)),
            _ => {}
        }
        Ok(())
    }

    fn factor(
        &mut self,
        scope: usize,
        factor: &TableFactor,
        parsed: &Parsed<'_>,
        names: Names<'_>,
    ) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                self.table(scope, name, alias.as_ref().map(|alias| alias.name.value.as_str()), parsed, names)
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.from(scope, table_with_joins, parsed, names)
            }
            TableFactor::Derived { alias, .. } => {
                let name = alias.as_ref().map(|alias| alias.name.value.to_lowercase());
                self.scopes[scope].opaque.push(name.unwrap_or_default());
                Ok(())
            }
            _ => {
                self.scopes[scope].opaque.push(String::new());
                Ok(())
            }
        }
    }

    fn table(
        &mut self,
        scope: usize,
        name: &ObjectName,
        alias: Option<&str>,
        parsed: &Parsed<'_>,
        names: Names<'_>,
    ) -> Result<(), Refusal> {
        let idents: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        let (database, table) = match idents.as_slice() {
            [table] => (None, *table),
            [database, table] => (Some(*database), *table),
            _ => return Err(crate::refusal::UNPARSED.because(name.to_string())),
        };
        let called = alias.unwrap_or(&table.value).to_lowercase();
        if database.is_none() && self.ctes.contains(&table.value.to_lowercase()) {
            self.scopes[scope].opaque.push(called);
            return Ok(());
        }
        let target = names.resolve(database.map(|ident| ident.value.as_str()), &table.value)?;
        let (end_start, end) = parsed.ident(table);
        let start = database.map_or(end_start, |ident| parsed.ident(ident).0);
        self.instances.push(Instance {
            scope,
            target,
            called,
            written: table.value.clone(),
            aliased: if alias.is_some() { Aliased::Yes } else { Aliased::No },
            name: (start, end),
            database: database.map(|ident| parsed.ident(ident)),
        });
        Ok(())
    }

    /// The tables of one scope, by index.
    pub fn of_scope(&self, scope: usize) -> impl Iterator<Item = (usize, &Instance)> {
        self.instances.iter().enumerate().filter(move |(_, instance)| instance.scope == scope)
    }

    /// How many scopes are around this one.
    pub fn depth(&self, scope: usize) -> usize {
        std::iter::successors(Some(scope), |scope| self.scopes[*scope].parent).count()
    }
}

fn last_part(name: &ObjectName) -> String {
    name.0
        .last()
        .and_then(ObjectNamePart::as_ident)
        .map(|ident| ident.value.to_lowercase())
        .unwrap_or_default()
}

/// Walks the syntax tree once.
struct Collector<'a> {
    parsed: &'a Parsed<'a>,
    names: Names<'a>,
    scopes: Scopes,
    /// The scopes around the current place.
    open: Vec<usize>,
    /// Table factors around the current place that are derived tables: the next query is theirs.
    apart: Vec<Kind>,
}

impl<'a> Collector<'a> {
    fn run(
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

    /// Assigned columns are names, not expressions.
    fn targets(&mut self) {
        let assignments = match &self.parsed.statement {
            Statement::Update(update) => &update.assignments,
            Statement::Insert(insert) => &insert.assignments,
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
