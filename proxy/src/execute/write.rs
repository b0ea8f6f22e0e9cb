//! Writes that several shards take part in.
//!
//! They run in one transaction of ours: an error of any shard undoes the statement on all of them. The commits follow
//! each other (`best_effort`): one that fails after another has succeeded is reported with its own code, never hidden.

use shardway_routing::plan::{Gather, TransactionAccess};
use shardway_routing::refusal;
use shardway_routing::topology::AcrossShards;

use super::{Job, finish, send};
use crate::session::transaction::{Start, Transaction};
use crate::session::{Failure, Session};
use crate::wire::parse::OkPacket;

/// The savepoint that undoes a statement which some shard refused.
const STATEMENT: &str = "`shardway statement`";

/// Runs a write on every leg and answers the client.
pub(super) async fn on_several(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let own = begin(session);
    let result = run(session, job).await;
    let ok = match (own, result) {
        (Own::No, result) => result?,
        (Own::Yes, Ok(ok)) => {
            finish::commit(session).await?;
            ok
        }
        (Own::Yes, Err(failure)) => {
            finish::rollback(session).await?;
            return Err(failure);
        }
    };
    session.answer_written(&ok)
}

/// Whether a transaction of ours surrounds the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Yes,
    No,
}

/// Opens a transaction around the statement unless the client has one.
pub(super) fn begin(session: &mut Session) -> Own {
    if session.transaction.is_some() {
        return Own::No;
    }
    let start = Start::Explicit(vec![b"BEGIN".to_vec()]);
    session.transaction = Some(Transaction::new(start, TransactionAccess::ReadWrite));
    Own::Yes
}

/// Runs the statement on all its legs, inside the transaction. On an error nothing of it is left.
pub(super) async fn run(session: &mut Session, job: &Job<'_>) -> Result<OkPacket, Failure> {
    let mut places = Vec::with_capacity(job.route.legs.len());
    for leg in &job.route.legs {
        let place = session.connection(job.view, leg.backend).await?;
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let branches = session.branches().len();
    if branches > 1 && job.topology().across_shards == AcrossShards::Refuse {
        return Err(refusal::ACROSS_SHARDS.because(format!("{branches} backends take part")).into());
    }
    let guard = job.route.legs.len() > 1;
    if guard {
        each(session, &places, &format!("SAVEPOINT {STATEMENT}")).await?;
    }
    let result = legs(session, job).await;
    if guard && matches!(result, Err(Failure::Server(_) | Failure::Refused(_))) {
        // A deadlock has ended the transaction on its server: then there is no savepoint and nothing to undo.
        for &place in &places {
            session.undo_to(place, STATEMENT).await?;
        }
    }
    result
}

async fn legs(session: &mut Session, job: &Job<'_>) -> Result<OkPacket, Failure> {
    let mut total: Option<OkPacket> = None;
    let once = matches!(
        shardway_routing::bind::side_plan(job.plan, job.route.side).map(|side| &side.gather),
        Some(Gather::First)
    );
    for leg in &job.route.legs {
        let place = session.connection(job.view, leg.backend).await?;
        send::leg(session, place, job, leg).await?;
        let ok = match session.at(place).answer().await {
            Ok(ok) => ok,
            Err(error) => {
                let failure = Failure::from(error);
                session.after_error(place).await?;
                return Err(failure);
            }
        };
        match &mut total {
            None => total = Some(ok),
            Some(_) if once => {}
            Some(total) => total.add(&ok),
        }
    }
    Ok(total.expect("a route has at least one leg"))
}

async fn each(session: &mut Session, places: &[usize], statement: &str) -> Result<(), Failure> {
    for &place in places {
        session.at(place).run(statement).await?;
    }
    Ok(())
}

impl Session {
    /// Rolls a branch back to a savepoint, if the transaction still goes on there.
    async fn undo_to(&mut self, place: usize, savepoint: &str) -> Result<(), Failure> {
        if self.transaction.is_none() {
            return Ok(());
        }
        self.at(place).run(&format!("ROLLBACK TO SAVEPOINT {savepoint}")).await?;
        Ok(())
    }
}
