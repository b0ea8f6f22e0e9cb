//! What a connection's server-side session has set, and how it is brought to what the next statement needs.
//!
//! A reset is the last resort, and forbidden where it would take a transaction or variables with it: then the connection
//! counts as lost, which its session is told.

use std::rc::Rc;

use super::connection::{CommandError, Connection};
use super::statements::Setting;
use super::vars::{self, Difference, Vars};
use crate::wire::command::Command;

/// May a connection be reset to bring its settings in line?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Allowed,
    /// It holds the session's transaction, or other state of it.
    Forbidden,
}

/// What the server-side session is known to have.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Variables that are not known are reset before the next use.
    now: Setting,
    /// The `sql_mode` it began with, as a literal: a reset takes what the server begins with by then.
    first_mode: String,
}

impl Applied {
    /// Of a new connection.
    pub(super) fn fresh(database: Option<String>) -> Applied {
        Applied { now: Setting { vars: Some(Rc::new(Vars::default())), database }, first_mode: String::new() }
    }

    /// The modes that a new connection has, beside its autocommit.
    pub(super) fn begins_with(&mut self, modes: &str) {
        self.first_mode = vars::quoted(modes);
    }
}

impl Connection {
    /// Brings session variables and database to what the next statement needs.
    ///
    /// # Errors
    /// See [`CommandError`]; the connection is spoiled when its state is not known afterwards.
    pub async fn prepare_for(
        &mut self,
        vars: &Rc<Vars>,
        database: Option<&str>,
        reset: Reset,
    ) -> Result<(), CommandError> {
        if !self.applied.now.vars.as_ref().is_some_and(|applied| Rc::ptr_eq(applied, vars)) {
            self.apply_vars(vars, reset).await?;
        }
        if let Some(wanted) = database
            && self.applied.now.database.as_deref() != Some(wanted)
        {
            self.simple(Command::InitDb, wanted.as_bytes()).await?;
            self.applied.now.database = Some(wanted.to_owned());
        }
        Ok(())
    }

    async fn apply_vars(&mut self, vars: &Rc<Vars>, reset: Reset) -> Result<(), CommandError> {
        let known = self.applied.now.vars.take();
        let difference = match &known {
            Some(applied) => applied.difference(vars),
            None => match Vars::default().difference(vars) {
                Difference::Set(statement) => Difference::Reset(statement),
                other => other,
            },
        };
        let needs_reset = known.is_none() || matches!(difference, Difference::Reset(_));
        if needs_reset && reset == Reset::Forbidden {
            return Err(self.broken("its settings are in doubt, and a reset would lose the transaction"));
        }
        let statement = match difference {
            Difference::None if known.is_some() => String::new(),
            Difference::None => {
                self.reset().await?;
                String::new()
            }
            Difference::Set(statement) => statement,
            Difference::Reset(statement) => {
                self.reset().await?;
                statement
            }
        };
        if !statement.is_empty() {
            self.simple(Command::Query, statement.as_bytes()).await?;
        }
        self.applied.now.vars = Some(Rc::clone(vars));
        Ok(())
    }

    /// The session's variables are exactly these now, because a statement of the client has set them.
    pub fn vars_are(&mut self, vars: Option<Rc<Vars>>) {
        self.applied.now.vars = vars;
    }

    /// The variables in effect, when they are known.
    #[must_use]
    pub fn vars(&self) -> Option<&Rc<Vars>> {
        self.applied.now.vars.as_ref()
    }

    /// The `sql_mode` in effect while its session has set none, as a literal.
    #[must_use]
    pub fn first_mode(&self) -> &str {
        &self.applied.first_mode
    }

    /// The server's id of a statement that this connection has prepared as it is set now.
    pub fn prepared(&mut self, sql: &[u8]) -> Option<u32> {
        self.statements.find(sql, &self.applied.now)
    }

    /// Remembers a statement that it has just prepared; returns the id of one to close for it.
    pub fn has_prepared(&mut self, sql: &[u8], id: u32) -> Option<u32> {
        self.statements.add(sql, id, self.applied.now.clone())
    }

    /// The client's own statement may have changed the database.
    pub fn forget_database(&mut self) {
        self.applied.now.database = None;
    }

    async fn reset(&mut self) -> Result<(), CommandError> {
        self.simple(Command::ResetConnection, b"").await?;
        let mode = &self.applied.first_mode;
        let agreed = format!("SET SESSION sql_mode = {mode}, SESSION autocommit = 1");
        self.run(agreed).await?;
        self.statements.clear();
        Ok(())
    }
}
