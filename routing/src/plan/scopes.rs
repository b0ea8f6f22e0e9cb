//! The tables of a statement, by the `SELECT` they stand in, with the conditions of each.

mod collector;

use std::ops::Range;

use sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableFactor, TableWithJoins,
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
    pub joins: Vec<Joined>,
    /// Names of derived tables and others that we do not look into.
    pub opaque: Vec<String>,
    pub outer_join: OuterJoin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OuterJoin {
    No,
    Yes,
}

/// A join with what it demands. Its tables are those of a range of instances.
#[derive(Debug)]
pub(super) struct Joined {
    pub demand: Demand,
    /// Everything joined so far, and the table or tables that this join adds.
    pub left: Range<usize>,
    pub right: Range<usize>,
    pub preserves: Preserves,
}

#[derive(Debug)]
pub(super) enum Demand {
    On(Box<Expr>),
    /// Lower case.
    Using(Vec<String>),
    Nothing,
}

/// Whose rows a join keeps that find no partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preserves {
    Nothing,
    Left,
    Right,
}

impl Joined {
    /// The tables whose rows may be missing from the result.
    pub fn optional(&self) -> Option<&Range<usize>> {
        match self.preserves {
            Preserves::Nothing => None,
            Preserves::Left => Some(&self.right),
            Preserves::Right => Some(&self.left),
        }
    }

    /// Are all of this join's tables among `other`?
    pub fn is_within(&self, other: &Range<usize>) -> bool {
        other.start <= self.left.start && self.right.end <= other.end
    }
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
    /// How a statement wants a table to be read, which only a table itself can be.
    pub demand: Option<&'static str>,
    /// `WITH` names, lower case.
    ctes: Vec<String>,
}

impl Scopes {
    /// Of a query: its scopes come from its `SELECT`s.
    pub fn of_query(parsed: &Parsed<'_>, names: Names<'_>) -> Result<Scopes, Refusal> {
        collector::run(parsed, names, Scopes::default(), Vec::new())
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
        collector::run(parsed, names, scopes, vec![root])
    }

    /// Of an `INSERT`: its table alone is the root scope.
    pub fn of_insert(parsed: &Parsed<'_>, names: Names<'_>, table: &ObjectName) -> Result<Scopes, Refusal> {
        let mut scopes = Scopes::default();
        let root = scopes.open(None, Kind::Root, None);
        scopes.table(root, table, None, parsed, names)?;
        collector::run(parsed, names, scopes, vec![root])
    }

    fn open(&mut self, parent: Option<usize>, kind: Kind, condition: Option<Expr>) -> usize {
        self.scopes.push(Scope {
            parent,
            kind,
            condition,
            joins: Vec::new(),
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
        let first = self.instances.len();
        self.factor(scope, &table.relation, parsed, names)?;
        for join in &table.joins {
            self.join(scope, first, join, parsed, names)?;
        }
        Ok(())
    }

    fn join(
        &mut self,
        scope: usize,
        first: usize,
        join: &Join,
        parsed: &Parsed<'_>,
        names: Names<'_>,
    ) -> Result<(), Refusal> {
        let middle = self.instances.len();
        self.factor(scope, &join.relation, parsed, names)?;
        let (constraint, preserves) = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::StraightJoin(constraint) => (Some(constraint), Preserves::Nothing),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                (Some(constraint), Preserves::Left)
            }
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (Some(constraint), Preserves::Right)
            }
            _ => (None, Preserves::Left),
        };
        let of = &mut self.scopes[scope];
        if preserves != Preserves::Nothing {
            of.outer_join = OuterJoin::Yes;
        }
        let demand = match constraint {
            Some(JoinConstraint::On(on)) => Demand::On(Box::new(on.clone())),
            Some(JoinConstraint::Using(columns)) => Demand::Using(columns.iter().map(last_part).collect()),
            _ => Demand::Nothing,
        };
        let (left, right) = (first..middle, middle..self.instances.len());
        of.joins.push(Joined { demand, left, right, preserves });
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
            TableFactor::Table { name, alias, args: None, partitions, index_hints, .. } => {
                self.demand = match (index_hints.is_empty(), partitions.is_empty()) {
                    (false, _) => Some("an index hint"),
                    (true, false) => Some("PARTITION"),
                    (true, true) => self.demand,
                };
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
