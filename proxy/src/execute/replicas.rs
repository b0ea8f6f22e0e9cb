//! Reads that replicas answer in place of their primaries.
//!
//! - A replica answers where it is complete until a moment that is late enough: for the lag that its rule allows, for
//!   what the session has seen, and for the rules in force. What is not measured is too far behind.
//! - One server of a backend answers all of a statement's parts there.
//! - What a replica fails to answer the primary is asked, as long as nothing of an answer has left: so no statement
//!   fails for being sent to a replica. Whom a hint forbids the primary is told that no replica can answer.

use std::time::Duration;

use shardway_routing::bind::{Hint, Route};
use shardway_routing::plan::{Autocommit, Characteristics, DataPlan, Pin, ServedBy};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{self, BackendId};

use super::{Job, pin_name, relay, scatter};
use crate::backend::replicas::{Known, Moment};
use crate::session::{Failure, Session};
use crate::worker::View;

/// How long a statement that asks for a replica waits for one to get what the session has seen.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Which replicas answer a statement, by backend; the primaries of others do.
#[derive(Debug, Default)]
pub struct Chosen(Vec<(BackendId, usize)>);

impl Chosen {
    /// The backend's replica that answers.
    #[must_use]
    pub fn of(&self, backend: BackendId) -> Option<usize> {
        self.0.iter().find(|(of, _)| *of == backend).map(|(_, replica)| *replica)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Chooses for a statement on its way.
///
/// # Errors
/// When it asks for a replica and none may or can answer.
pub(super) async fn choose(
    session: &Session,
    view: &View,
    plan: &DataPlan,
    route: &Route,
    hint: Hint,
) -> Result<Chosen, Refusal> {
    if hint == Hint::Replica {
        return demanded(session, view, plan, route).await;
    }
    let mut chosen = Chosen::default();
    let is_eligible = plan.served_by == ServedBy::ReplicaToo && hint != Hint::Primary;
    if is_eligible && session.worker.shared.replicas.any() && tie(session).is_none() {
        for leg in &route.legs {
            if chosen.of(leg.backend).is_none()
                && let Ok(replica) = dealt(session, view, leg.backend, Wish::None)
            {
                chosen.0.push((leg.backend, replica));
            }
        }
    }
    Ok(chosen)
}

async fn demanded(session: &Session, view: &View, plan: &DataPlan, route: &Route) -> Result<Chosen, Refusal> {
    if plan.served_by != ServedBy::ReplicaToo {
        return Err(refusal::NOT_FOR_REPLICAS.because(""));
    }
    if let Some(why) = tie(session) {
        return Err(refusal::NOT_FOR_REPLICAS.because(why));
    }
    let mut chosen = Chosen::default();
    let mut waited = Duration::ZERO;
    for leg in &route.legs {
        while chosen.of(leg.backend).is_none() {
            match dealt(session, view, leg.backend, Wish::Replica) {
                Ok(replica) => chosen.0.push((leg.backend, replica)),
                Err(Lack::CatchesUp) if waited < PATIENCE => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    waited += LOOK_AGAIN;
                }
                Err(_) => {
                    let name = &view.snapshot.topology.backend(leg.backend).name;
                    return Err(refusal::NO_REPLICA.because(format!("backend {name}")));
                }
            }
        }
    }
    Ok(chosen)
}

/// What ties a session's reads to primaries.
fn tie(session: &Session) -> Option<&'static str> {
    if session.transaction.is_some() {
        return Some("a transaction is open");
    }
    if session.autocommit == Autocommit::Off {
        return Some("autocommit is off");
    }
    if session.next_transaction != Characteristics::default() {
        return Some("SET TRANSACTION has been said");
    }
    session.held.iter().map(|held| held.pin).find(|pin| *pin != Pin::None).map(pin_name)
}

/// Does the statement ask for a replica?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    None,
    Replica,
}

/// Why no replica of a backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Unusable,
    /// One lacks only what the session has seen, and is about to get it.
    CatchesUp,
}

fn dealt(session: &Session, view: &View, backend: BackendId, wish: Wish) -> Result<usize, Lack> {
    let of = view.snapshot.topology.backend(backend);
    let (mut deal, mut lack) = (Deal::default(), Lack::Unusable);
    if of.replicas.is_empty() {
        return Err(lack);
    }
    let now = session.worker.shared.now();
    for (nth, (rule, replica)) in of.replicas.iter().zip(view.snapshot.replicas(backend)).enumerate() {
        let weight = if wish == Wish::Replica { rule.weight.max(1) } else { rule.weight };
        let known = replica.known();
        let Some(until) = usable_until(rule, known, now).filter(|_| weight > 0) else { continue };
        let admits = session.seen.admits(&of.name, replica.source(known.life), until);
        if admits && until > view.snapshot.since {
            deal.offer(nth, weight, rand::random);
        } else {
            lack = Lack::CatchesUp;
        }
    }
    deal.chosen.ok_or(lack)
}

/// Until when a replica is complete, unless that is too long ago.
#[must_use]
pub fn usable_until(rule: &topology::Replica, known: Known, now: Moment) -> Option<Moment> {
    known.complete_until.filter(|until| now.ms_since(*until) <= rule.max_lag_ms)
}

/// Chooses one of several by weight.
#[derive(Debug, Default)]
struct Deal {
    total: u32,
    chosen: Option<usize>,
}

impl Deal {
    fn offer(&mut self, nth: usize, weight: u16, ticket: impl FnOnce() -> u32) {
        self.total += u32::from(weight);
        if self.chosen.is_none() || ticket() % self.total < u32::from(weight) {
            self.chosen = Some(nth);
        }
    }
}

/// Runs a read on the replicas chosen for it, or on the primaries where they fail.
pub(super) async fn read(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let mark = session.client.mark();
    let failure = match attempt(session, job).await {
        Ok(()) => {
            each(job).for_each(|(_, replica)| replica.has_served());
            return Ok(());
        }
        Err(failure) => failure,
    };
    if !is_of_replica(&failure) || session.client.rewind(mark).is_none() {
        return Err(failure);
    }
    tracing::info!(session = session.info.id, cause = %failure, "a replica has not answered a read");
    give_up(session, job);
    if job.request.hint == Hint::Replica {
        return match failure {
            Failure::Server(error) => Err(Failure::Server(error)),
            _ => Err(refusal::NO_REPLICA.because("it has not answered").into()),
        };
    }
    let (view, plan, request) = (job.view, job.plan, job.request);
    attempt(session, &Job { view, plan, request, route: job.route.clone(), from: Chosen::default() }).await
}

async fn attempt(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    if job.route.legs.len() > 1 {
        scatter::read(session, job).await
    } else {
        relay::statement(session, job).await
    }
}

/// Might a primary answer otherwise? Not where somebody has stopped the statement.
fn is_of_replica(failure: &Failure) -> bool {
    // Killed, or over the time that it may take, on MySQL and on MariaDB.
    const STOPPED: [u16; 3] = [1317, 3024, 1969];
    match failure {
        Failure::Server(error) => !STOPPED.contains(&error.code),
        Failure::Refused(_) | Failure::Unknown(_) => true,
        Failure::Own(..) | Failure::Over => false,
    }
}

/// Leaves the replicas alone, and does not trust those whose connections broke.
fn give_up(session: &mut Session, job: &Job<'_>) {
    for (pool, replica) in each(job) {
        replica.has_failed();
        let broke = session.held.iter().any(|held| {
            std::rc::Rc::ptr_eq(held.checkout.pool(), pool) && !held.checkout.connection.is_usable()
        });
        if broke || replica.health.down().is_some() {
            replica.lost("it has not answered a read");
        }
    }
    session.drop_replicas();
    session.forget_diagnostics();
}

fn each<'a>(
    job: &'a Job<'_>,
) -> impl Iterator<Item = (&'a std::rc::Rc<crate::backend::Pool>, &'a crate::backend::replicas::Replica)> {
    job.from.0.iter().map(|(backend, nth)| {
        let replica = &job.view.snapshot.replicas(*backend)[*nth];
        (job.view.replica_pool(*backend, *nth), &**replica)
    })
}

impl Job<'_> {
    /// A connection to the server that answers the statement's parts on a backend; the n-th of them.
    pub(super) async fn connection(
        &self,
        session: &mut Session,
        backend: BackendId,
        lane: usize,
    ) -> Result<usize, Failure> {
        let pool = match self.from.of(backend) {
            Some(replica) => self.view.replica_pool(backend, replica),
            None => self.view.pool(backend),
        };
        session.connection_to(self.view, backend, pool, lane).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_dealt_by_weight() {
        let count = |weights: [u16; 3]| {
            let mut counts = [0; 3];
            // Every pair of tickets, whatever the remainders.
            for (first, second) in
                (0..60_u32).flat_map(|first| (0..60_u32).map(move |second| (first, second)))
            {
                let mut deal = Deal::default();
                let mut tickets = [second, first].into_iter();
                for (nth, weight) in weights.into_iter().enumerate().filter(|(_, weight)| *weight > 0) {
                    deal.offer(nth, weight, || if nth == 1 { first } else { tickets.next().unwrap() });
                }
                counts[deal.chosen.unwrap()] += 1;
            }
            counts
        };
        assert_eq!(count([3, 2, 1]), [1800, 1200, 600]);
        assert_eq!(count([1, 0, 3]), [900, 0, 2700]);
        assert_eq!(count([0, 7, 0]), [0, 3600, 0]);
        assert_eq!(Deal::default().chosen, None);
    }

    #[test]
    fn what_is_not_measured_or_too_old_is_not_used() {
        let server = topology::Server {
            host: "h".to_owned(),
            port: 1,
            user: "u".to_owned(),
            password: String::new(),
            database: None,
            tls: topology::Tls::Off,
        };
        let rule = topology::Replica { server, weight: 1, max_lag_ms: 300 };
        let until =
            |complete_until| usable_until(&rule, Known { life: 0, complete_until }, Moment(1_000_000));
        assert_eq!(until(None), None);
        assert_eq!(until(Some(Moment(600_000))), None);
        assert_eq!(until(Some(Moment(700_000))), Some(Moment(700_000)));
        assert_eq!(until(Some(Moment(1_000_001))), Some(Moment(1_000_001)), "measured since");
    }
}
