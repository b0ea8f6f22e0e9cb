//! `SET`: evaluated once by a backend, kept as values, replayed on every connection that serves the session.

use std::rc::Rc;

use mysql_common::constants::ColumnType;
use shardway_routing::bind::Characters;
use shardway_routing::lex::Flavour;
use shardway_routing::plan::{Assignment, Autocommit, NewAutocommit, Pin, Set};
use shardway_routing::refusal;

use super::{Failure, MySqlError, Session, modes};
use crate::backend::connection::Rows;
use crate::backend::settings::Reset;
use crate::backend::vars::{Vars, quoted};
use crate::execute::finish;
use crate::wire::charset;
use crate::wire::command::Command;

impl Session {
    pub(super) async fn set(&mut self, set: &Set, sql: &[u8]) -> Result<(), Failure> {
        let autocommit = match &set.autocommit {
            None => None,
            Some(NewAutocommit::Literal(value)) => Some(*value),
            Some(NewAutocommit::Computed(expression)) => Some(self.evaluated(expression, set.pin).await?),
        };
        if !set.others.is_empty() {
            let sql = if autocommit.is_some() { &set.without_autocommit } else { sql };
            self.set_on_a_backend(set, sql).await?;
        }
        if let Some(autocommit) = autocommit {
            self.set_autocommit(autocommit).await?;
        }
        self.answer_ok_with_warnings()
    }

    /// What a computed `autocommit = …` says, or why not, as servers do.
    async fn evaluated(&mut self, expression: &[u8], pin: Pin) -> Result<Autocommit, Failure> {
        let place = self.place_of_variables().await?;
        self.keep_for(place, pin);
        let told = self.at(place).rows(&[b"SELECT (", expression, b")"].concat()).await?;
        let value = told.rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        let value = String::from_utf8_lossy(value.unwrap_or(b"NULL")).into_owned();
        let column_type = told.columns.first().map(|column| column.column_type);
        if column_type.is_some_and(is_fraction) {
            let message = "Incorrect argument type to variable 'autocommit'".to_owned();
            return Err(Failure::Own(MySqlError::WrongType, message));
        }
        let is_text = !column_type.is_some_and(is_number);
        match (is_text, value.to_ascii_uppercase().as_str()) {
            (false, "1") | (true, "ON") => Ok(Autocommit::On),
            (false, "0") | (true, "OFF") => Ok(Autocommit::Off),
            _ => {
                let message = format!("Variable 'autocommit' can't be set to the value of '{value}'");
                Err(Failure::Own(MySqlError::WrongValue, message))
            }
        }
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
            // Said rather than left to a reset, which would take the transaction and user variables of a connection.
            Autocommit::On => vars.set("autocommit", "1".to_owned()),
            Autocommit::Off => vars.set("autocommit", "0".to_owned()),
        }
        self.vars = Rc::new(vars);
        Ok(())
    }

    /// Runs the statement where the session's variables are, and reads back what it has set.
    async fn set_on_a_backend(&mut self, set: &Set, sql: &[u8]) -> Result<(), Failure> {
        let flavour = self.worker.shared.server_version().flavour;
        let names = variables(&set.others, flavour);
        if let Some(name) = unsafe_charset(&names, sql) {
            return Err(refusal::UNSAFE_CHARSET.because(name).into());
        }
        let place = self.place_of_variables().await?;
        self.keep_for(place, set.pin);
        self.at(place).vars_are(None);
        match self.at(place).simple(Command::Query, sql).await {
            Ok(ok) if ok.warnings > 0 => self.list_warnings(place).await?,
            Ok(_) => {}
            Err(error) => {
                // A SET that fails has changed nothing. To doubt it would mean a reset, and an open transaction lost.
                if !self.held[place].is_fresh() {
                    let before = Rc::clone(&self.vars);
                    self.at(place).vars_are(Some(before));
                }
                return Err(error.into());
            }
        }
        if !names.is_empty() {
            let list: Vec<String> = names.iter().map(|name| format!("@@session.{name}")).collect();
            let rows = self.at(place).rows(format!("SELECT {}", list.join(", ")).as_bytes()).await?;
            let mut vars = Vars::clone(&self.vars);
            keep(&mut vars, &names, &rows)?;
            if let Some(mode) = vars.get("sql_mode") {
                self.quoting = modes::quoting(mode);
                self.fractions = modes::fractions(mode, flavour);
            }
            if let Some(name) = charset::unsafe_in(&vars) {
                self.at(place).spoil();
                return Err(Failure::Unknown(format!(
                    "a computed value switched to the character set {name}"
                )));
            }
            self.vars_are(Rc::new(vars));
        }
        let now = Rc::clone(&self.vars);
        self.at(place).vars_are(Some(now));
        Ok(())
    }

    /// Values may leave something behind on the connection that evaluates them: it stays the session's.
    fn keep_for(&mut self, place: usize, pin: Pin) {
        if pin != Pin::None {
            self.held[place].pin = pin;
        }
    }

    /// The connection with the session's user variables, or else any that it holds, with all settings that hold now.
    async fn place_of_variables(&mut self) -> Result<usize, Failure> {
        let pinned = self.held.iter().position(|held| held.pin != Pin::None);
        let Some(place) = pinned.or((!self.held.is_empty()).then_some(0)) else {
            let view = self.worker.view();
            let home = view.snapshot.topology.home(self.database.as_deref())?;
            return self.connection(&view, home).await;
        };
        let vars = Rc::clone(&self.vars);
        let held = &mut self.held[place];
        let reset = if held.is_fresh() { Reset::Allowed } else { Reset::Forbidden };
        held.checkout.connection.prepare_for(&vars, None, reset).await?;
        Ok(place)
    }
}

impl Session {
    /// The variables that hold from here on, on every connection.
    pub(super) fn vars_are(&mut self, vars: Rc<Vars>) {
        let is_utf8 = |variable: &str| {
            vars.get(variable).is_some_and(|value| value.trim_matches('\'').starts_with("utf8"))
        };
        let both = is_utf8("character_set_client") && is_utf8("collation_connection");
        self.characters = if both { Characters::Utf8 } else { Characters::Foreign };
        self.vars = vars;
    }
}

/// The character set, named in the statement, that would make the client's bytes ambiguous.
fn unsafe_charset(names: &[String], sql: &[u8]) -> Option<&'static str> {
    let concerned =
        ["character_set_client", "collation_connection"].iter().any(|of| names.iter().any(|name| name == of));
    let text = String::from_utf8_lossy(sql).to_ascii_lowercase();
    let words = || text.split(|letter: char| !letter.is_ascii_alphanumeric());
    charset::UNSAFE.into_iter().find(|name| concerned && words().any(|word| word == *name))
}

/// Names of the variables that the assignments change.
fn variables(assignments: &[Assignment], flavour: Flavour) -> Vec<String> {
    let mut names = Vec::new();
    for assignment in assignments {
        match assignment {
            // The two are one setting, of which the collation says more.
            Assignment::Variable(name) if name == "character_set_connection" => {
                names.push("collation_connection".to_owned());
            }
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
            Assignment::UserVariable => {}
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

fn is_fraction(column_type: ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::MYSQL_TYPE_FLOAT | ColumnType::MYSQL_TYPE_DOUBLE | ColumnType::MYSQL_TYPE_NEWDECIMAL
    )
}
