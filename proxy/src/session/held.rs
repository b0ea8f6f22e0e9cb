//! Backend connections that stay with a session between statements.

use std::rc::Rc;
use std::sync::Arc;

use mysql_common::constants::StatusFlags;
use shardway_routing::plan::{Autocommit, Pin};
use shardway_routing::refusal;
use shardway_routing::topology::BackendId;

use super::characteristics::Told;
use super::transaction::{Start, Transaction};
use super::{Failure, Rows, Session};
use crate::backend::pool::Role;
use crate::backend::replicas::Source;
use crate::backend::settings::Reset;
use crate::backend::{Checkout, Class, CommandError, Connection, Pool, Purpose};
use crate::worker::View;

/// A connection with the reason why it stays.
#[derive(Debug)]
pub struct Held {
    pub checkout: Checkout,
    /// Several connections to one backend serve a scattered read outside of a transaction; 0 is the usual one.
    lane: usize,
    pub branch: Branch,
    pub begun: Begun,
    pub pin: Pin,
    /// The last statement left warnings there, which `SHOW WARNINGS` may ask for.
    pub warnings: Warnings,
    pub told: Told,
    used: Used,
}

/// Has the statement that runs been given the connection?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    Yes,
    No,
}

/// Whether the session's transaction has been opened on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    None,
    Open,
}

/// Whether the server has been seen inside of its branch: one that begins by itself does so with the first table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    Yes,
    NotSeen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    None,
    Some,
}

impl Held {
    /// Nothing of the session depends on it.
    pub fn is_fresh(&self) -> bool {
        self.branch == Branch::None && self.pin == Pin::None
    }
}

impl Session {
    /// The connection to use for a statement on that backend: settings applied, and the transaction begun on it if
    /// there is one. Returns its place in [`Session::held`].
    pub async fn connection(&mut self, view: &View, backend: BackendId) -> Result<usize, Failure> {
        self.connection_on(view, backend, 0).await
    }

    /// The same for what needs no transaction and must not open one there.
    pub async fn connection_aside(&mut self, view: &View, backend: BackendId) -> Result<usize, Failure> {
        let transaction = self.transaction.take();
        let place = self.connection(view, backend).await;
        self.transaction = transaction;
        place
    }

    /// The same as [`Session::connection`], on the n-th connection to that backend.
    pub async fn connection_on(
        &mut self,
        view: &View,
        backend: BackendId,
        lane: usize,
    ) -> Result<usize, Failure> {
        self.connection_to(view, backend, view.pool(backend), lane).await
    }

    /// The same, on a server of that backend.
    pub async fn connection_to(
        &mut self,
        view: &View,
        backend: BackendId,
        pool: &Rc<Pool>,
        lane: usize,
    ) -> Result<usize, Failure> {
        let database = self.database.as_deref().filter(|name| view.snapshot.topology.carries(backend, name));
        let physical =
            database.map(|logical| view.snapshot.topology.physical_database(backend, logical).to_owned());
        let vars = Rc::clone(&self.vars);
        let mut tries = 0;
        loop {
            tries += 1;
            let place = self.connection_of(pool, lane).await?;
            let reset = if self.held[place].is_fresh() { Reset::Allowed } else { Reset::Forbidden };
            let connection = &mut self.held[place].checkout.connection;
            match connection.prepare_for(&vars, physical.as_deref(), reset).await {
                Ok(()) => {
                    self.held[place].used = Used::Yes;
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
        let mut checkout = pool.checkout(self.class()).await?;
        checkout.connection.is_used_by(Some(Arc::clone(&self.info)));
        self.held.push(Held {
            checkout,
            lane,
            branch: Branch::None,
            begun: Begun::NotSeen,
            pin: Pin::None,
            warnings: Warnings::None,
            told: Told::No,
            used: Used::No,
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
        if self.held[place].branch == Branch::Open {
            return Ok(());
        }
        self.tell_characteristics(place).await?;
        let Some(transaction) = &self.transaction else { return Ok(()) };
        let begin = match &transaction.start {
            Start::Explicit(statement) => Some(statement),
            Start::Implicit => None,
        };
        let savepoints = transaction.savepoints.iter().map(|(_, sql)| sql);
        let statements: Vec<Vec<u8>> = begin.into_iter().chain(savepoints).cloned().collect();
        self.held[place].branch = Branch::Open;
        self.held[place].begun = Begun::NotSeen;
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

    /// What the transaction's connections have written can be seen from here on.
    pub fn shows_branches(&mut self) {
        self.rows = Rows::Seen;
        for held in self.held.iter_mut().filter(|held| held.branch == Branch::Open) {
            held.used = Used::Yes;
        }
    }

    /// Notes whose rows the client has got.
    fn remember(&mut self) {
        let rows = std::mem::replace(&mut self.rows, Rows::NotSeen);
        let shared = &self.worker.shared;
        let at = (rows == Rows::Seen && shared.replicas.any()).then(|| shared.now());
        for held in &mut self.held {
            let used = std::mem::replace(&mut held.used, Used::No);
            let Some(at) = at.filter(|_| used == Used::Yes) else { continue };
            let pool = held.checkout.pool();
            let from = match &pool.role {
                Role::Primary => Source::Primary,
                Role::Replica(replica) => replica.source(replica.known().life),
            };
            self.seen.note(&pool.name, from, at);
        }
    }

    /// Gives the connections to replicas back: one of them has not answered.
    pub fn drop_replicas(&mut self) {
        let is_replica = |held: &mut Held| matches!(held.checkout.pool().role, Role::Replica(_));
        self.held.extract_if(.., is_replica).for_each(|held| held.checkout.give_back());
    }

    /// Notes what a server says of itself at the end of an answer.
    pub fn saw(&mut self, place: usize, status: u16) {
        if status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() != 0 {
            self.held[place].begun = Begun::Yes;
        }
    }

    /// Is the session inside of a transaction, as one server would have it?
    #[must_use]
    pub fn is_inside(&self) -> bool {
        let begun = || self.held.iter().any(|held| held.branch == Branch::Open && held.begun == Begun::Yes);
        self.transaction.as_ref().is_some_and(|open| open.start != Start::Implicit || begun())
    }

    /// Starts a transaction by itself where `autocommit = 0` says so.
    pub fn begin_implicitly(&mut self) {
        if self.transaction.is_none() && self.autocommit == Autocommit::Off {
            self.transaction = Some(Transaction::new(Start::Implicit));
        }
    }

    /// Gives back what the session no longer needs. Called after every statement. A connection that broke with the
    /// session's transaction or variables on it ends the session: to go on without them would be to lose them silently.
    pub fn settle(&mut self) {
        if self.held.is_empty() {
            self.rows = Rows::NotSeen;
            return;
        }
        self.remember();
        let in_transaction = self.transaction.is_some();
        let mut place = 0;
        while place < self.held.len() {
            let held = &self.held[place];
            let needed = held.pin != Pin::None || (in_transaction && held.branch == Branch::Open);
            let stays = needed || held.warnings == Warnings::Some;
            if stays && held.checkout.connection.is_reusable() {
                place += 1;
                continue;
            }
            if needed {
                tracing::warn!(
                    session = self.info.id,
                    "closing a session that lost a connection it depends on"
                );
                self.info.kill();
            }
            let mut held = self.held.swap_remove(place);
            if stays || held.branch == Branch::Open || held.told == Told::Yes {
                // A branch outside of its transaction, or a pinned connection that broke: nobody may have it next.
                held.checkout.connection.spoil();
            }
            held.checkout.give_back();
        }
    }

    /// Before a statement: what the last one left for `SHOW WARNINGS` is over.
    pub fn forget_diagnostics(&mut self) {
        self.last_error = None;
        self.listed_warnings = None;
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
