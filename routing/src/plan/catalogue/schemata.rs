//! Queries on `information_schema`: a backend's own, so they are right only where they can concern nothing else.

use sqlparser::ast::Expr;

use super::super::conditions::Shardings;
use super::super::names::Names;
use super::super::parse::Parsed;
use super::super::rights::{Need, Needs};
use super::super::scopes::{Instance, Scopes};
use super::super::{Keys, Operand};
use super::{is_named_so, is_ruled};
use crate::key::Literal;
use crate::lex::{self, Quoting};
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, Topology, is_system};

/// What is the same on every server, or is about the server alone.
const HARMLESS: [&str; 28] = [
    "applicable_roles",
    "character_sets",
    "client_statistics",
    "collations",
    "collation_character_set_applicability",
    "enabled_roles",
    "engines",
    "events",
    "global_status",
    "global_variables",
    "keywords",
    "optimizer_costs",
    "optimizer_trace",
    "parameters",
    "plugins",
    "processlist",
    "profiling",
    "routines",
    "schemata",
    "schema_privileges",
    "session_status",
    "session_variables",
    "sql_functions",
    "st_geometry_columns",
    "system_variables",
    "user_privileges",
    "user_statistics",
    "views",
];

/// Of which a server shows nothing to an account that may only read, or no text.
const PROGRAMS: [&str; 5] = ["events", "parameters", "routines", "triggers", "views"];

/// What is the same for every account.
const EVERYBODYS: [&str; 17] = [
    "applicable_roles",
    "character_sets",
    "collations",
    "collation_character_set_applicability",
    "enabled_roles",
    "engines",
    "global_status",
    "global_variables",
    "keywords",
    "plugins",
    "profiling",
    "session_status",
    "session_variables",
    "sql_functions",
    "st_spatial_reference_systems",
    "st_units_of_measure",
    "system_variables",
];

/// Refuses a statement whose answer would lack tables that rules name, or name physical ones.
pub(in crate::plan) fn check(parsed: &Parsed<'_>, scopes: &Scopes, names: Names<'_>) -> Result<(), Refusal> {
    let about_tables: Vec<bool> =
        scopes.instances.iter().map(|instance| is_about_tables(parsed, instance, names.database)).collect();
    if !about_tables.contains(&true) || is_simple(names.topology) {
        return Ok(());
    }
    let named = |column: &str| {
        let keys = about_tables.iter().map(|of| of.then(|| column.to_owned())).collect();
        let groups = Shardings { parsed, scopes, keys }.groups();
        groups.iter().map(|keys| literals(parsed, keys)).collect::<Option<Vec<_>>>().map(|all| all.concat())
    };
    let home = names.home()?;
    let (databases, tables) = (named("table_schema"), named("table_name"));
    let is_exact = match (&databases, &tables) {
        (Some(databases), _) if databases.iter().all(|name| is_whole(names.topology, home, name)) => true,
        (databases, Some(tables)) => {
            let known = |name: &String| {
                names.topology.tables.iter().any(|table| table.name.eq_ignore_ascii_case(name))
            };
            let there = match databases {
                Some(databases) => databases.iter().all(|name| is_there(names.topology, home, name)),
                None => names.topology.databases.iter().all(|of| is_there(names.topology, home, &of.name)),
            };
            there && !tables.iter().any(known)
        }
        _ => false,
    };
    if is_exact { Ok(()) } else { Err(refusal::CATALOGUE.because("information_schema")) }
}

/// What an account needs that lists its databases: each table must be asked about them alone, by a condition on every
/// row that names the database; the current one it may use.
pub(in crate::plan) fn needs(parsed: &Parsed<'_>, scopes: &Scopes, names: Names<'_>) -> Needs {
    let mut needs = Needs::default();
    let is_meant = |instance: &&Instance| {
        is_in_information_schema(parsed, instance, names.database)
            && !EVERYBODYS.iter().any(|name| instance.written.eq_ignore_ascii_case(name))
    };
    if !scopes.instances.iter().any(|instance| is_meant(&instance)) {
        return needs;
    }
    let is_program =
        |instance: &Instance| PROGRAMS.iter().any(|of| instance.written.eq_ignore_ascii_case(of));
    if scopes.instances.iter().any(|instance| is_meant(&instance) && is_program(instance)) {
        needs.add(Need::Calls);
    }
    let asked = |by: fn(&str) -> Option<&'static str>| {
        let column = |instance: &Instance| match is_meant(&instance) {
            true => by(&instance.written.to_ascii_lowercase()).map(|column| Some(column.to_owned())),
            false => Some(None),
        };
        let keys: Vec<Option<String>> = scopes.instances.iter().map(column).collect::<Option<_>>()?;
        Shardings { parsed, scopes, keys }.fixed(|value| database(parsed, value))
    };
    match asked(of_database).or_else(|| asked(of_database_otherwise)) {
        Some(databases) => databases.into_iter().flatten().for_each(|name| needs.name(name)),
        None => needs.add(Need::Lists),
    }
    needs
}

/// The database that a value names; `Some(None)`: the current one.
fn database(parsed: &Parsed<'_>, value: &Expr) -> Option<Option<String>> {
    if let Expr::Function(function) = value {
        let written = function.to_string();
        let is_current = ["database()", "schema()"].iter().any(|of| written.eq_ignore_ascii_case(of));
        return is_current.then_some(None);
    }
    literal(parsed, &parsed.operand(value)).map(Some)
}

/// The column that names the database, of tables that have a row for each thing in one.
fn of_database(table: &str) -> Option<&'static str> {
    Some(match table {
        "tables"
        | "columns"
        | "statistics"
        | "views"
        | "partitions"
        | "table_constraints"
        | "key_column_usage"
        | "tables_extensions"
        | "columns_extensions"
        | "st_geometry_columns"
        | "view_table_usage" => "table_schema",
        "referential_constraints" | "check_constraints" => "constraint_schema",
        "triggers" => "trigger_schema",
        "events" => "event_schema",
        "routines" => "routine_schema",
        "parameters" => "specific_schema",
        "schemata" | "column_statistics" => "schema_name",
        _ => return None,
    })
}

fn of_database_otherwise(table: &str) -> Option<&'static str> {
    match table {
        "table_constraints" | "key_column_usage" => Some("constraint_schema"),
        "triggers" => Some("event_object_schema"),
        _ => of_database(table),
    }
}

/// Every database is on one backend under its own name.
fn is_simple(topology: &Topology) -> bool {
    topology.tables.is_empty()
        && topology.databases.iter().all(|of| {
            topology.physical_database(of.default, &of.name) == of.name
                && of.default == topology.databases[0].default
        })
}

fn is_in_information_schema(parsed: &Parsed<'_>, instance: &Instance, current: Option<&str>) -> bool {
    match instance.database {
        Some((start, end)) => is_information_schema(&parsed.sql[start as usize..end as usize]),
        None => current.is_some_and(|name| is_information_schema(name.as_bytes())),
    }
}

fn is_about_tables(parsed: &Parsed<'_>, instance: &Instance, current: Option<&str>) -> bool {
    is_in_information_schema(parsed, instance, current)
        && !HARMLESS.iter().any(|name| instance.written.eq_ignore_ascii_case(name))
}

fn is_information_schema(name: &[u8]) -> bool {
    let bare = name.trim_ascii().strip_prefix(b"`").and_then(|name| name.strip_suffix(b"`")).unwrap_or(name);
    bare.trim_ascii().eq_ignore_ascii_case(b"information_schema")
}

/// A database whose tables are all on the backend that answers, under its own name.
fn is_whole(topology: &Topology, home: BackendId, name: &str) -> bool {
    let ruled = topology.database(name).is_some_and(|id| is_ruled(topology, id));
    !ruled && is_there(topology, home, name)
}

/// A database whose unnamed tables are on the backend that answers, under its own name.
fn is_there(topology: &Topology, home: BackendId, name: &str) -> bool {
    match topology.database(name) {
        Some(id) => topology.database_of(id).default == home && is_named_so(topology, id),
        None => is_system(name),
    }
}

/// The strings that a condition allows, where the statement alone says them.
fn literals(parsed: &Parsed<'_>, keys: &Keys) -> Option<Vec<String>> {
    match keys {
        Keys::Equal(operand) => Some(vec![literal(parsed, operand)?]),
        Keys::In(operands) => operands.iter().map(|operand| literal(parsed, operand)).collect(),
        Keys::And(parts) => parts.iter().find_map(|part| literals(parsed, part)),
        Keys::Or(parts) => {
            Some(parts.iter().map(|part| literals(parsed, part)).collect::<Option<Vec<_>>>()?.concat())
        }
        Keys::All | Keys::Between(..) => None,
    }
}

fn literal(parsed: &Parsed<'_>, operand: &Operand) -> Option<String> {
    // Of a statement with a shape the next one may have other literals.
    let Operand::Literal { region, sign } = *operand else { return None };
    if !parsed.lexed.is_verbatim() {
        return None;
    }
    let mut scratch = Vec::new();
    let region = parsed.lexed.regions[region as usize];
    match lex::literal(parsed.sql, region, sign, Quoting::default(), &mut scratch) {
        // A collation may find other letters equal, and knows no trailing spaces.
        Literal::String(text) if text.is_ascii() && !text.contains(&b'\\') => {
            Some(String::from_utf8_lossy(text).trim_end().to_owned())
        }
        _ => None,
    }
}
