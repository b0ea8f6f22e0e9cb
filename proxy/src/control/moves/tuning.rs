//! Parameters of the target's servers, which a move changes while it works and puts back as soon as it does not.
//!
//! - Where something is about to be changed is saved with the move's state first; so it is found again after a crash, and
//!   when the rules have forgotten the move. What the old values are, the servers know ([`tune`]).
//! - A move that rests, has failed or has come to any end leaves its servers their own values within seconds. One that
//!   goes on sets its own again.
//! - A server that is away gets them back when it is there again; its own configuration may have brought them by then.

use std::sync::Arc;
use std::time::Duration;

use shardway_migration::cleanup::Holder;
use shardway_migration::phase::{Phase, State};
use shardway_migration::prepare::tune::{self, Tuned};
use shardway_migration::tables::WorkError;
use shardway_routing::topology::{Backend, MoveId, Side, Topology};

use super::Moves;
use super::leftovers::backend_of;

/// Between two looks for parameters that are to be put back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same after one that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long the parameters of one server may take. A buffer pool is resized behind the statement that asks for it.
const SERVER_MAX: Duration = Duration::from_secs(60);

impl Moves {
    /// Sets the parameters that the rules ask for. Doing so again changes nothing.
    ///
    /// # Errors
    /// A parameter that cannot be set, or a server that does not answer.
    pub(super) async fn tune(
        self: &Arc<Self>,
        name: &str,
        topology: &Topology,
        by: MoveId,
    ) -> Result<(), WorkError> {
        let wanted: Vec<(String, String)> = self.settings(name).tune.into_iter().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (moves, name, targets) = (Arc::clone(self), name.to_owned(), targets(topology, by));
        // On its own: this work may be ended at any moment, and a statement that was sent by then must not be overtaken by
        // those that put the old values back.
        let task = tokio::spawn(async move { moves.set_all(&name, &targets, &wanted).await });
        let ended = |error| WorkError::Stopped(format!("setting parameters ended unexpectedly: {error}"));
        task.await.map_err(ended)?
    }

    async fn set_all(
        &self,
        name: &str,
        targets: &[(Backend, String)],
        wanted: &[(String, String)],
    ) -> Result<(), WorkError> {
        let _one_at_a_time = self.tuning.lock().await;
        if !self.may_be_tuned(name) {
            return Err(WorkError::Interrupted("the move rests before its parameters were set".into()));
        }
        let noted = self.states.change(name, |state| {
            for holder in targets.iter().map(holder) {
                if !state.tuned.contains(&holder) {
                    state.tuned.push(holder);
                }
            }
        });
        noted.map_err(WorkError::Stopped)?;
        for (backend, database) in targets {
            let tuned = in_time(backend, tune::apply(backend, database, name, wanted)).await?;
            tell(name, &tuned, "tuned");
        }
        Ok(())
    }

    /// Gives the servers their own parameters back. Safe to run at any time, also after a crash.
    ///
    /// # Errors
    /// The first server that has not got them back; the others have.
    pub(super) async fn restore(&self, name: &str, topology: &Topology, by: MoveId) -> Result<(), WorkError> {
        let _one_at_a_time = self.tuning.lock().await;
        let holders: Vec<Holder> = targets(topology, by).iter().map(holder).collect();
        self.put_back(name, topology, holders).await
    }

    async fn put_back(&self, name: &str, topology: &Topology, on: Vec<Holder>) -> Result<(), WorkError> {
        let mut done: Result<(), WorkError> = Ok(());
        let mut restored: Vec<Holder> = Vec::new();
        for holder in on {
            match put_back(name, topology, &holder).await {
                Ok(()) => restored.push(holder),
                Err(error) => done = done.and(Err(error)),
            }
        }
        if self.of(name).tuned.iter().any(|holder| restored.contains(holder)) {
            let noted = self.states.change(name, |state| state.tuned.retain(|of| !restored.contains(of)));
            noted.map_err(WorkError::Stopped)?;
        }
        done
    }

    /// Puts back what moves that do not work have changed, for as long as the process runs.
    pub(in crate::control) async fn restore_always(self: Arc<Self>) {
        let mut pause = LOOK_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            pause = LOOK_EVERY;
            for name in self.states.names(|state| !state.tuned.is_empty()) {
                let _one_at_a_time = self.tuning.lock().await;
                // Looked at under the lock: one that begins to work sets its parameters after this.
                if self.may_be_tuned(&name) {
                    continue;
                }
                let (snapshot, noted) = (self.shared.snapshot(), self.of(&name).tuned);
                if let Err(error) = self.put_back(&name, &snapshot.topology, noted).await {
                    tracing::warn!(r#move = name, %error, "a server has not got its own parameters back yet");
                    pause = AGAIN_AFTER;
                }
            }
        }
    }

    /// Is the move in force, and does it work at what the parameters are for?
    fn may_be_tuned(&self, name: &str) -> bool {
        let is_in_force = self.shared.snapshot().topology.moves.iter().any(|of| of.name == name);
        let works = matches!(
            self.of(name).state,
            State::Running {
                phase: Phase::Prepare | Phase::Capture | Phase::Copy | Phase::CatchUp | Phase::Index
            }
        );
        is_in_force && works
    }
}

async fn put_back(name: &str, topology: &Topology, holder: &Holder) -> Result<(), WorkError> {
    let backend = backend_of(topology, holder).map_err(WorkError::Stopped)?;
    let tuned = in_time(backend, tune::restore(backend, &holder.database, name)).await?;
    tell(name, &tuned, "restored");
    Ok(())
}

async fn in_time<T>(
    backend: &Backend,
    work: impl Future<Output = Result<T, WorkError>>,
) -> Result<T, WorkError> {
    match tokio::time::timeout(SERVER_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(WorkError::Interrupted(format!(
            "{} has not answered about its parameters within {} s",
            backend.name,
            SERVER_MAX.as_secs()
        ))),
    }
}

fn tell(name: &str, tuned: &[Tuned], what: &str) {
    for Tuned { backend, name: parameter, now, .. } in tuned {
        tracing::info!(r#move = name, backend, parameter, now, "{what}");
    }
}

fn holder((backend, database): &(Backend, String)) -> Holder {
    Holder {
        backend: backend.name.clone(),
        address: format!("{}:{}", backend.primary.host, backend.primary.port),
        database: database.clone(),
    }
}

/// The backends of the target, each once, with a physical database of the move there.
fn targets(topology: &Topology, by: MoveId) -> Vec<(Backend, String)> {
    let mut found: Vec<(Backend, String)> = Vec::new();
    for id in &topology.move_of(by).tables {
        let table = topology.table_of(*id);
        let logical = &topology.database_of(table.database).name;
        for node in table.placement(Side::Target).nodes() {
            let backend = topology.backend(node.backend);
            if found.iter().all(|(known, _)| !known.primary.is_same_process(&backend.primary)) {
                let database = topology.physical_database(node.backend, logical).to_owned();
                found.push((backend.clone(), database));
            }
        }
    }
    found
}
