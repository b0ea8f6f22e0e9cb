//! Writes that several shards take part in.
//!
//! They run in one transaction of ours: an error of any shard undoes the statement on all of them. The commits follow
//! each other (`best_effort`): one that fails after another has succeeded is reported with its own code, never hidden.

use shardway_routing::plan::{Access, Gather};
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

/// Runs a write on its only leg and answers the client, where the session knows better which id was inserted last.
pub(super) async fn on_one(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let ok = legs(session, job).await?;
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
    let start = Start::Explicit(b"BEGIN".to_vec());
    session.transaction = Some(Transaction::new(start));
    Own::Yes
}

/// Where the rules want it, a transaction writes on one backend only: counts in those of this statement.
///
/// # Errors
/// When there would be another one.
pub(super) fn on_one_backend(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let topology = job.topology();
    let writes = matches!(job.plan.access, Access::Write | Access::Definition);
    if !writes || topology.across_shards != AcrossShards::Refuse {
        return Ok(());
    }
    let mut backends: Vec<String> =
        session.transaction.as_ref().map(|open| open.written_on.clone()).unwrap_or_default();
    backends.extend(job.route.legs.iter().map(|leg| topology.backend(leg.backend).name.clone()));
    backends.sort_unstable();
    backends.dedup();
    if backends.len() > 1 {
        return Err(refusal::ACROSS_SHARDS
            .because(format!("{} would take part", backends.join(", ")))
            .into());
    }
    if let Some(open) = &mut session.transaction {
        open.written_on = backends;
    }
    Ok(())
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
    // Of ids that an INSERT gives, a server tells the last row's.
    let last_row = job.route.legs.iter().filter_map(|leg| leg.rows.last()).max();
    let mut last_insert_id = None;
    for leg in &job.route.legs {
        let place = session.connection(job.view, leg.backend).await?;
        send::leg(session, place, job, leg).await?;
        let watch = session.watch(place);
        let answer = session.at(place).answer().await;
        drop(watch);
        let ok = match answer {
            Ok(ok) => ok,
            Err(error) => {
                let failure = Failure::from(error);
                if let Failure::Server(error) = &failure {
                    session.after_error(place, error.code).await?;
                }
                return Err(failure);
            }
        };
        session.saw(place, ok.status);
        if ok.warnings > 0 && !(once && total.is_some()) {
            session.list_warnings(place).await?;
        }
        if last_row.is_some() && leg.rows.last() == last_row {
            last_insert_id = Some(ok.last_insert_id);
        }
        match &mut total {
            None => total = Some(ok),
            Some(_) if once => {}
            Some(total) => total.add(&ok),
        }
    }
    let total = total.expect("a route has at least one leg");
    Ok(OkPacket { last_insert_id: last_insert_id.unwrap_or(total.last_insert_id), ..total })
}

/// Sets the savepoint to which [`undo`] goes back, on every leg.
pub(super) async fn save(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    for leg in &job.route.legs {
        let place = session.connection(job.view, leg.backend).await?;
        session.at(place).run(&format!("SAVEPOINT {STATEMENT}")).await?;
    }
    Ok(())
}

/// Undoes what the statement has done on its legs.
pub(super) async fn undo(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    for leg in &job.route.legs {
        let place = session.connection(job.view, leg.backend).await?;
        session.undo_to(place, STATEMENT).await?;
    }
    Ok(())
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
