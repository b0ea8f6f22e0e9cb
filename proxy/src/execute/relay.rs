//! One shard's answer, passed on as the packets it came in.

use std::sync::atomic::Ordering;

use shardway_routing::plan::{Access, Pin};

use super::{Job, send};
use crate::backend::CommandError;
use crate::session::{Failure, Session};
use crate::wire::command::Command;
use crate::wire::scan::{Outcome, OutcomeKind, Progress, Scanner};

/// Runs a statement that one shard answers alone.
pub(super) async fn statement(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let leg = &job.route.legs[0];
    let place = session.connection(job.view, leg.backend).await?;
    let scanner =
        send::leg(session, place, job, leg).await.map_err(|failure| session.broke(failure, place))?;
    if job.plan.pin != Pin::None {
        session.held[place].pin = job.plan.pin;
    }
    let outcome = relay(session, place, scanner).await?;
    if job.plan.access == Access::Definition {
        session.at(place).forget_database();
    }
    session.after(place, &outcome).await
}

/// Passes an answer on until its end.
///
/// # Errors
/// [`Failure::Unknown`] when the backend is lost, [`Failure::Over`] when the client has gone (and the statement has
/// been killed).
pub(super) async fn relay(
    session: &mut Session,
    place: usize,
    mut scanner: Scanner,
) -> Result<Outcome, Failure> {
    let watch = session.watch(place);
    let result = loop {
        let connection = &mut session.held[place].checkout.connection;
        let progress = match scanner.advance(connection.input.filled()) {
            Ok(progress) => progress,
            Err(error) => break Err(Failure::from(connection.broken(error))),
        };
        let Progress { forward, end } = progress;
        if forward > 0 {
            if session.client.relay(&connection.input.filled()[..forward]).await.is_err() {
                connection.spoil();
                break Err(Failure::Over);
            }
            connection.input.consume(forward);
            session.worker.shared.metrics.relayed_bytes.fetch_add(forward as u64, Ordering::Relaxed);
        }
        if end.is_done() {
            break Ok(scanner.outcome());
        }
        tokio::select! {
            biased;
            read = connection.read_more() => {
                if let Err(error) = read {
                    break Err(Failure::from(CommandError::Lost(error)));
                }
            }
            () = session.client.gone() => {
                // Nobody waits for the answer: end the statement on the server, and the connection with it.
                connection.spoil();
                watch.kill_query();
                break Err(Failure::Over);
            }
        }
    };
    drop(watch);
    result
}

impl Session {
    /// Runs a statement on a connection that the session holds: `SHOW WARNINGS` where the warnings are.
    ///
    /// # Errors
    /// As any relayed statement.
    pub async fn relay_on(&mut self, place: usize, sql: &[u8]) -> Result<(), Failure> {
        let connection = self.at(place);
        connection.send(Command::Query, sql).await.map_err(CommandError::from)?;
        let scanner = Scanner::query(connection.capabilities());
        relay(self, place, scanner).await?;
        Ok(())
    }

    /// Notes what a statement's answer says about the session.
    pub(super) async fn after(&mut self, place: usize, outcome: &Outcome) -> Result<(), Failure> {
        match &outcome.kind {
            OutcomeKind::Ok { last_insert_id, .. } => {
                if *last_insert_id != 0 {
                    self.last_insert_id = *last_insert_id;
                }
            }
            OutcomeKind::Rows { .. } => {}
            OutcomeKind::Error(error) => {
                self.remember_error(error.clone());
                return self.after_error(place).await;
            }
        }
        if outcome.warnings > 0 {
            self.held[place].warnings = crate::session::held::Warnings::Some;
        }
        self.transaction_goes_on(place, outcome.status).await
    }

    /// A connection failed before or while a statement was sent. Outside of a transaction it is just dropped.
    pub(super) fn broke(&mut self, failure: Failure, place: usize) -> Failure {
        if let Failure::Unknown(_) = failure {
            self.at(place).spoil();
        }
        failure
    }
}
