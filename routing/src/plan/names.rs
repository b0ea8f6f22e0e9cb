//! What a table's name means, and how it must be written for a shard.

use super::parse::Parsed;
use super::scopes::{Aliased, Instance, Scopes};
use super::split::own_rows;
use super::{Replacement, Splice, When, Written};
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, Side, TableId, Topology, is_system};

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A table that rules name.
    Named(TableId),
    /// A table of a named database that no rule names.
    Unnamed(DatabaseId),
    /// A table of a database that passes whole, or a system table.
    Whole(BackendId),
}

/// How names are looked up.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub topology: &'a Topology,
    /// The session's current database.
    pub database: Option<&'a str>,
}

impl Names<'_> {
    pub fn resolve(&self, database: Option<&str>, table: &str) -> Result<Target, Refusal> {
        let Some(database) = database.or(self.database) else {
            // `FROM dual` is no table.
            if table.eq_ignore_ascii_case("dual") {
                return Ok(Target::Whole(self.home()?));
            }
            return Err(refusal::NO_DATABASE.because(""));
        };
        if is_system(database) || table.eq_ignore_ascii_case("dual") {
            return Ok(Target::Whole(self.home()?));
        }
        match (self.topology.database(database), self.topology.other_databases) {
            (Some(id), _) => Ok(self.topology.table(id, table).map_or(Target::Unnamed(id), Target::Named)),
            (None, Some(backend)) => Ok(Target::Whole(backend)),
            (None, None) => Err(refusal::UNKNOWN_DATABASE.because(format!("'{database}'"))),
        }
    }

    /// Where statements run that name no table.
    pub fn home(&self) -> Result<BackendId, Refusal> {
        self.topology.home(self.database)
    }
}

/// How a renamed table keeps its columns' qualifiers valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renaming {
    /// `physical AS logical`
    Alias,
    /// Likewise, or `(SELECT … FROM physical WHERE …) AS logical`, where not every row of the node is to be seen.
    Derived,
    /// MariaDB knows no alias there: qualifiers get the physical name too.
    Qualifiers,
}

/// The splices that write one side's physical names. In order of position.
pub(super) fn splices(
    parsed: &Parsed<'_>,
    topology: &Topology,
    scopes: &Scopes,
    side: Side,
    renaming: Renaming,
) -> Vec<Splice> {
    let mut splices = Vec::new();
    for instance in &scopes.instances {
        splices.extend(of_instance(parsed, topology, instance, side, renaming));
    }
    for qualified in &scopes.qualified {
        let matches = |instance: &&Instance| {
            instance.aliased == Aliased::No
                && instance.called == qualified.table.to_lowercase()
                && around(scopes, qualified.scope).any(|scope| scope == instance.scope)
        };
        let Some(instance) = scopes.instances.iter().find(matches) else { continue };
        let (start, end) = qualified.at;
        let with = match (instance.target, renaming) {
            (Target::Named(table), Renaming::Qualifiers) if differs(topology, instance, table, side) => {
                Replacement::Table { table, written: Written::Bare, alias: None, own: None }
            }
            (Target::Named(table), Renaming::Alias | Renaming::Derived)
                if qualified.database.is_some()
                    && (differs(topology, instance, table, side)
                        || own_rows(topology, table, side).is_some()) =>
            {
                Replacement::Text(quoted(&instance.written))
            }
            // `shop.t.c`, where another physical database carries `shop`.
            (Target::Unnamed(logical), _) if qualified.database.is_some() && moved(topology, logical) => {
                Replacement::Text(quoted(&instance.written))
            }
            _ => continue,
        };
        splices.push(Splice { span: parsed.span(start, end), with, when: When::Always });
    }
    splices.sort_by_key(|splice| splice.span.start);
    splices.dedup();
    splices
}

fn around(scopes: &Scopes, scope: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(scope), |scope| scopes.scopes[*scope].parent)
}

fn of_instance(
    parsed: &Parsed<'_>,
    topology: &Topology,
    instance: &Instance,
    side: Side,
    renaming: Renaming,
) -> Option<Splice> {
    let own = match (instance.target, renaming) {
        (Target::Named(table), Renaming::Derived) => own_rows(topology, table, side),
        _ => None,
    };
    let (span, with) = match instance.target {
        Target::Named(table) if own.is_some() || differs(topology, instance, table, side) => {
            let written = if instance.database.is_some() { Written::Qualified } else { Written::Bare };
            let alias = (renaming != Renaming::Qualifiers && instance.aliased == Aliased::No)
                .then(|| instance.written.clone());
            let (start, end) = instance.name;
            (parsed.span(start, end), Replacement::Table { table, written, alias, own })
        }
        Target::Unnamed(logical) if moved(topology, logical) => {
            let (start, end) = instance.database?;
            (parsed.span(start, end), Replacement::Database { logical })
        }
        _ => return None,
    };
    Some(Splice { span, with, when: When::Always })
}

/// Is the table called otherwise on some node of that side?
fn differs(topology: &Topology, instance: &Instance, table: TableId, side: Side) -> bool {
    let of = topology.table_of(table);
    let database = &topology.database_of(of.database).name;
    of.placement(side).nodes().iter().any(|node| {
        node.table != instance.written
            || (instance.database.is_some() && topology.physical_database(node.backend, database) != database)
    })
}

/// Does the default backend carry the database under another name?
fn moved(topology: &Topology, logical: DatabaseId) -> bool {
    let database = topology.database_of(logical);
    topology.physical_database(database.default, &database.name) != database.name
}

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
