//! `SET`: evaluated once by a backend, kept as values, replayed on every connection that serves the session.

use std::rc::Rc;

use mysql_common::constants::ColumnType;
use shardway_routing::lex::{Backslash, DoubleQuotes, Flavour, Quoting};
use shardway_routing::plan::{Assignment, Autocommit, Pin};
use shardway_routing::refusal;
use shardway_routing::topology::BackendId;

use super::{Failure, Session};
use crate::backend::connection::Rows;
use crate::backend::vars::{Vars, quoted};
use crate::execute::finish;
use crate::wire::command::Command;

impl Session {
    pub(super) async fn set(&mut self, assignments: &[Assignment], sql: &[u8]) -> Result<(), Failure> {
        if let [Assignment::Autocommit(autocommit)] = assignments {
            self.set_autocommit(*autocommit).await?;
            return self.answer_ok();
        }
        if let [Assignment::NextTransaction] = assignments {
            self.next_transaction = Some(sql.to_vec());
            return self.answer_ok();
        }
        if assignments.contains(&Assignment::NextTransaction) {
            return Err(refusal::SET_MIXED.because("SET TRANSACTION beside other assignments").into());
        }
        self.set_on_a_backend(assignments, sql).await?;
        for assignment in assignments {
            if let Assignment::Autocommit(autocommit) = assignment {
                self.set_autocommit(*autocommit).await?;
            }
        }
        self.answer_ok()
    }

    async fn set_autocommit(&mut self, autocommit: Autocommit) -> Result<(), Failure> {
        if autocommit == self.autocommit {
            return Ok(());
        }
        // Switching autocommit on commits what is open.
        if autocommit == Autocommit::On {
            finish::commit(self).await?;
        }
        self.autocommit = autocommit;
        let mut vars = Vars::clone(&self.vars);
        match autocommit {
            Autocommit::On => vars.unset("autocommit"),
            Autocommit::Off => vars.set("autocommit", "0".to_owned()),
        }
        self.vars = Rc::new(vars);
        Ok(())
    }

    /// Runs the statement where the session is, and reads back what it has set.
    async fn set_on_a_backend(&mut self, assignments: &[Assignment], sql: &[u8]) -> Result<(), Failure> {
        let view = self.worker.view();
        let place = match self.held.first() {
            Some(_) => 0,
            None => {
                let home = home(&view.snapshot.topology, self.database.as_deref());
                self.connection(&view, home).await?
            }
        };
        let before = self.at(place).vars().map(Rc::clone);
        self.at(place).vars_are(None);
        self.at(place).simple(Command::Query, sql).await?;
        if assignments.contains(&Assignment::UserVariable) {
            self.held[place].pin = Pin::UserVariable;
        }
        let names = variables(assignments, self.worker.shared.server_version().flavour);
        if names.is_empty() {
            self.at(place).vars_are(before);
            self.settle();
            return Ok(());
        }
        let list: Vec<String> = names.iter().map(|name| format!("@@session.{name}")).collect();
        let rows = self.at(place).rows(format!("SELECT {}", list.join(", ")).as_bytes()).await?;
        let mut vars = Vars::clone(&self.vars);
        keep(&mut vars, &names, &rows)?;
        if let Some(mode) = vars.get("sql_mode") {
            self.quoting = quoting(mode);
        }
        let known = before.is_some_and(|before| before == self.vars);
        self.vars = Rc::new(vars);
        // With autocommit among the assignments the connection has more than the variables read back.
        let exact = known && !assignments.iter().any(|one| matches!(one, Assignment::Autocommit(_)));
        let now = exact.then(|| Rc::clone(&self.vars));
        self.at(place).vars_are(now);
        self.settle();
        Ok(())
    }
}

/// Where statements without tables run: the default backend of the current database, or of the first one.
pub(super) fn home(topology: &shardway_routing::topology::Topology, database: Option<&str>) -> BackendId {
    let current =
        database.and_then(|name| topology.database(name)).map(|id| &topology.databases[usize::from(id.0)]);
    current.or(topology.databases.first()).map_or(BackendId(0), |database| database.default)
}

/// Names of the variables that the assignments change.
fn variables(assignments: &[Assignment], flavour: Flavour) -> Vec<String> {
    let mut names = Vec::new();
    for assignment in assignments {
        match assignment {
            Assignment::Variable(name) => names.push(name.clone()),
            Assignment::Names => {
                let all = ["character_set_client", "character_set_results", "collation_connection"];
                names.extend(all.map(str::to_owned));
            }
            Assignment::SessionTransaction => match flavour {
                Flavour::MySql => {
                    names.extend(["transaction_isolation", "transaction_read_only"].map(str::to_owned));
                }
                Flavour::MariaDb => names.extend(["tx_isolation", "tx_read_only"].map(str::to_owned)),
            },
            Assignment::Autocommit(_) | Assignment::NextTransaction | Assignment::UserVariable => {}
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Notes the values that a backend reported, as literals.
fn keep(vars: &mut Vars, names: &[String], rows: &Rows) -> Result<(), Failure> {
    let Some(row) = rows.rows.first().filter(|row| row.len() == names.len()) else {
        return Err(Failure::Unknown("a backend did not report the variables it has set".into()));
    };
    for ((name, value), column) in names.iter().zip(row).zip(&rows.columns) {
        let literal = match value {
            None => "NULL".to_owned(),
            Some(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if is_number(column.column_type) { text.into_owned() } else { quoted(&text) }
            }
        };
        vars.set(name, literal);
    }
    Ok(())
}

fn is_number(column_type: ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::MYSQL_TYPE_LONGLONG
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_DOUBLE
            | ColumnType::MYSQL_TYPE_NEWDECIMAL
    )
}

/// How a `sql_mode` reads quotes.
fn quoting(mode: &str) -> Quoting {
    let mode = mode.to_ascii_uppercase();
    let has = |flag: &str| mode.contains(flag);
    Quoting {
        double: if has("ANSI") { DoubleQuotes::Identifier } else { DoubleQuotes::String },
        backslash: if has("NO_BACKSLASH_ESCAPES") { Backslash::Literal } else { Backslash::Escapes },
    }
}
