//! `SET TRANSACTION`: how the next transaction runs, be it a client's own or one statement under autocommit.
//!
//! The session keeps what was said until a transaction has ended, and says it to every backend connection that joins
//! one. No connection is given back with it: a statement under autocommit that did not use it up has it taken back.

use shardway_routing::plan::{Access, Autocommit, Characteristics, DataPlan};

use super::held::{Branch, Warnings};
use super::{Failure, MySqlError, Session};
use crate::execute::{Ran, finish};

/// Does a statement run that is a transaction of its own, with characteristics?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    Yes,
    No,
}

/// Has a connection been told them for the one statement that runs?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Yes,
    No,
}

impl Session {
    /// `SET TRANSACTION` without a scope.
    pub(super) async fn set_next_transaction(&mut self, next: Characteristics) -> Result<(), Failure> {
        if self.is_inside() {
            let message = "Transaction characteristics can't be changed while a transaction is in progress";
            return Err(Failure::Own(MySqlError::TransactionInProgress, message.to_owned()));
        }
        // Under `autocommit = 0` it may have begun here and on no server: it begins again with what is said now.
        let before = self.next_transaction;
        finish::commit(self).await?;
        self.next_transaction = before.changed(next);
        self.answer_ok()
    }

    /// Tells a connection of this session, before its part of a transaction begins there.
    pub(super) async fn tell_characteristics(&mut self, place: usize) -> Result<(), Failure> {
        let Some(statement) = self.next_transaction.statement() else { return Ok(()) };
        if self.transaction.is_none() {
            if self.alone == Alone::No || self.held[place].told == Told::Yes {
                return Ok(());
            }
            self.held[place].told = Told::Yes;
        }
        self.at(place).run(statement).await?;
        Ok(())
    }

    /// Is the statement a transaction of its own that `SET TRANSACTION` has been said for?
    #[must_use]
    pub fn runs_alone(&self, plan: &DataPlan) -> bool {
        self.next_transaction != Characteristics::default()
            && self.transaction.is_none()
            && self.autocommit == Autocommit::On
            && plan.access != Access::Definition
    }

    /// From here on the statement's connections are told.
    pub fn begin_alone(&mut self) -> u64 {
        self.alone = Alone::Yes;
        self.errors
    }

    /// The statement is over; `errors` is what there were before. What it did not use up is for the next one, and taken
    /// back from its connections.
    ///
    /// # Errors
    /// When warnings cannot be had from a connection.
    pub async fn end_alone(
        &mut self,
        plan: &DataPlan,
        ran: Result<Ran, Failure>,
        errors: u64,
    ) -> Result<Ran, Failure> {
        self.alone = Alone::No;
        for place in 0..self.held.len() {
            let told = std::mem::replace(&mut self.held[place].told, Told::No);
            // What a procedure has begun and left open is the client's to end.
            if told == Told::No || self.held[place].branch == Branch::Open {
                continue;
            }
            if !self.at(place).is_reusable() {
                self.at(place).spoil();
                continue;
            }
            if self.held[place].warnings == Warnings::Some {
                self.list_warnings(place).await?;
                self.held[place].warnings = Warnings::None;
            }
            if self.at(place).run("COMMIT").await.is_err() {
                self.at(place).spoil();
            }
        }
        // Servers begin a transaction with the first table, and one that refuses a statement has not begun.
        let names_tables = !plan.tables.is_empty()
            || (!plan.databases.is_empty() && !matches!(plan.verb, "DO" | "SHOW" | "HELP"));
        if matches!(ran, Ok(Ran::Answered)) && self.errors == errors && names_tables {
            self.next_transaction = Characteristics::default();
        }
        ran
    }
}
