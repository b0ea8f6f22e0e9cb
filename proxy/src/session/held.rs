//! Backend connections that stay with a session between statements.

use std::rc::Rc;

use shardway_routing::plan::{Autocommit, Pin};
use shardway_routing::refusal;
use shardway_routing::topology::BackendId;

use super::transaction::{Start, Transaction};
use super::{Failure, Session};
use crate::backend::{Checkout, Class, CommandError, Connection, Pool, Purpose};
use crate::worker::View;

/// A connection with the reason why it stays.
#[derive(Debug)]
pub struct Held {
    pub checkout: Checkout,
    /// Several connections to one backend serve a scattered read outside of a transaction; 0 is the usual one.
    lane: usize,
    pub branch: Branch,
    pub pin: Pin,
    /// The last statement left warnings there, which `SHOW WARNINGS` may ask for.
    pub warnings: Warnings,
}

/// Whether the session's transaction has begun on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    None,
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    None,
    Some,
}

impl Held {
    /// Nothing of the session depends on it.
    fn is_fresh(&self) -> bool {
        self.branch == Branch::None && self.pin == Pin::None
    }
}

impl Session {
    /// The connection to use for a statement on that backend: settings applied, and the transaction begun on it if
    /// there is one. Returns its place in [`Session::held`].
    pub async fn connection(&mut self, view: &View, backend: BackendId) -> Result<usize, Failure> {
        self.connection_on(view, backend, 0).await
    }

    /// The same, on the n-th connection to that backend.
    pub async fn connection_on(
        &mut self,
        view: &View,
        backend: BackendId,
        lane: usize,
    ) -> Result<usize, Failure> {
        let pool = view.pool(backend);
        let database = self.database.as_deref().filter(|name| view.snapshot.topology.carries(backend, name));
        let physical =
            database.map(|logical| view.snapshot.topology.physical_database(backend, logical).to_owned());
        let vars = Rc::clone(&self.vars);
        let mut tries = 0;
        loop {
            tries += 1;
            let place = self.connection_of(pool, lane).await?;
            let connection = &mut self.held[place].checkout.connection;
            match connection.prepare_for(&vars, physical.as_deref()).await {
                Ok(()) => {
                    self.join_transaction(place).await?;
                    return Ok(place);
                }
                // Nothing of the client's has run on it, so a connection that died while it idled is replaced.
                Err(CommandError::Lost(_)) if self.held[place].is_fresh() => {
                    self.held.swap_remove(place);
                    if tries > 1 {
                        return Err(refusal::BACKEND_DOWN.because(format!("backend {}", pool.name)).into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn at(&mut self, place: usize) -> &mut Connection {
        &mut self.held[place].checkout.connection
    }

    async fn connection_of(&mut self, pool: &Rc<Pool>, lane: usize) -> Result<usize, Failure> {
        if let Some(place) =
            self.held.iter().position(|held| held.lane == lane && Rc::ptr_eq(held.checkout.pool(), pool))
        {
            return Ok(place);
        }
        let checkout = pool.checkout(self.class()).await?;
        self.held.push(Held {
            checkout,
            lane,
            branch: Branch::None,
            pin: Pin::None,
            warnings: Warnings::None,
        });
        Ok(self.held.len() - 1)
    }

    /// The class of connections that answer as this client expects.
    #[must_use]
    pub fn class(&self) -> Class {
        let capabilities = self.client.capabilities & crate::wire::greeting::BACKEND_CLASS;
        Class { capabilities, purpose: Purpose::Client }
    }

    async fn join_transaction(&mut self, place: usize) -> Result<(), Failure> {
        let Some(transaction) = &self.transaction else { return Ok(()) };
        if self.held[place].branch == Branch::Open {
            return Ok(());
        }
        let begin = match &transaction.start {
            Start::Explicit(statements) => statements.as_slice(),
            Start::Implicit => &[],
        };
        let statements: Vec<Vec<u8>> = begin.iter().chain(&transaction.savepoints).cloned().collect();
        self.held[place].branch = Branch::Open;
        for statement in statements {
            let connection = &mut self.held[place].checkout.connection;
            if let Err(error) = connection.simple(crate::wire::command::Command::Query, &statement).await {
                self.held.swap_remove(place);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Places of the transaction's branches.
    #[must_use]
    pub fn branches(&self) -> Vec<usize> {
        (0..self.held.len()).filter(|&place| self.held[place].branch == Branch::Open).collect()
    }

    /// Starts a transaction by itself where `autocommit = 0` says so.
    pub fn begin_implicitly(&mut self) {
        if self.transaction.is_none() && self.autocommit == Autocommit::Off {
            let access = shardway_routing::plan::TransactionAccess::ReadWrite;
            self.transaction = Some(Transaction::new(Start::Implicit, access));
        }
    }

    /// Gives back what the session no longer needs. Called after every statement.
    pub fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let in_transaction = self.transaction.is_some();
        let mut place = 0;
        while place < self.held.len() {
            let held = &self.held[place];
            let stays = held.pin != Pin::None
                || held.warnings == Warnings::Some
                || (in_transaction && held.branch == Branch::Open);
            if stays && held.checkout.connection.is_reusable() {
                place += 1;
                continue;
            }
            let mut held = self.held.swap_remove(place);
            if stays || held.branch == Branch::Open {
                // A branch outside of its transaction, or a pinned connection that broke: nobody may have it next.
                held.checkout.connection.spoil();
            }
            held.checkout.give_back();
        }
    }

    /// Before a statement: what the last one left for `SHOW WARNINGS` is over.
    pub fn forget_diagnostics(&mut self) {
        self.last_error = None;
        for held in &mut self.held {
            held.warnings = Warnings::None;
        }
    }

    /// The connection that the last statement left warnings on.
    #[must_use]
    pub fn with_warnings(&self) -> Option<usize> {
        self.held.iter().position(|held| held.warnings == Warnings::Some)
    }

    /// Ends the session: rolls back by closing the branches.
    pub async fn abandon(mut self) {
        for mut held in self.held.drain(..) {
            if held.branch == Branch::Open || held.pin != Pin::None {
                held.checkout.connection.spoil();
            }
            held.checkout.give_back();
        }
    }
}
