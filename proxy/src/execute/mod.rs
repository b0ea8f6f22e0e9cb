//! Running plans: the only place that sees a plan and a socket together.
//!
//! One shard's answer is relayed as the packets it came in; the answers of several are gathered (`scatter`); a write
//! that several shards take part in runs inside a transaction of ours (`write`).

mod arrived;
pub mod behind;
pub mod finish;
pub mod mirror;
pub mod names;
mod relay;
pub mod replicas;
mod scatter;
pub mod send;
mod show;
mod write;

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use shardway_routing::bind::{self, Hint, Reads, Route, Values, Wait};
use shardway_routing::key::KeyValue;
use shardway_routing::plan::{
    Access, Characteristics, DataPlan, Gather, InsertId, Pin, Plan, RoutePlan, ServedBy, Sides,
};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, MoveId, Side, TableId, Topology};

use self::behind::{Leaving, LeftRows};
use self::replicas::Chosen;
use crate::metrics::Fallback;
use crate::session::transaction::Gateways;
use crate::session::{Failure, Held, Rows, Session};
use crate::shadow;
use crate::shared::Shared;
use crate::wire::prepared::Execute;
use crate::worker::View;

/// A statement with its values, as text or prepared.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub values: Values<'a>,
    /// The bound parameters of a prepared statement.
    pub execute: Option<&'a Execute<'a>>,
    pub hint: Hint,
}

/// How running a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// The client's answer has been written.
    Answered,
    /// The rules changed before it began: plan again.
    RulesChanged,
}

/// Runs a data plan and answers the client.
///
/// # Errors
/// See [`Failure`]; nothing of an answer has been written then.
pub async fn run(
    session: &mut Session,
    view: &View,
    plan: &DataPlan,
    request: Request<'_>,
) -> Result<Ran, Failure> {
    if !session.runs_alone(plan) {
        return begun(session, view, plan, request).await;
    }
    let errors = session.begin_alone();
    let ran = begun(session, view, plan, request).await;
    session.end_alone(plan, ran, errors).await
}

/// Runs it in the client's transaction, if there is one.
async fn begun(
    session: &mut Session,
    view: &View,
    plan: &DataPlan,
    request: Request<'_>,
) -> Result<Ran, Failure> {
    session.access.may_run(&plan.needs, session.characters)?;
    if plan.access == Access::Definition {
        finish::commit(session).await?;
        session.next_transaction = Characteristics::default();
    } else {
        session.begin_implicitly();
    }
    let mut gates = Gateways::default();
    enter(session, view, plan, &mut gates).await?;
    if !session.worker.shared.is_current(&view.snapshot) {
        return Ok(Ran::RulesChanged);
    }
    let topology = &view.snapshot.topology;
    if let Some(table) =
        plan.tables.iter().map(|table| topology.table_of(*table)).find(|table| table.schema.is_none())
    {
        return Err(refusal::SCHEMA_UNKNOWN.because(table.name.clone()).into());
    }
    let fallback = Cell::new(None);
    let chooser = Chooser { reads: reads(session, request.hint), session, topology, fallback: &fallback };
    let route = bind::route(plan, topology, request.values, request.hint, &chooser)?;
    session.worker.shared.metrics.routed(route.side, route.legs.len());
    if plan.served_by != ServedBy::NoRows {
        session.rows = Rows::Seen;
    }
    let from = replicas::choose(session, view, plan, &route, request.hint).await?;
    let job = Job { view, plan, request, route, from };
    session.check_pin(&job)?;
    let Sides::Moving(moving) = &plan.sides else { return answer(session, &job).await };
    let metrics = view.snapshot.metrics_of(moving.by);
    if let Some(fallback) = fallback.get() {
        metrics.fell_back(fallback);
    }
    let began = Instant::now();
    let answered = moved(session, &job, moving.by).await;
    let served = metrics.of(job.route.side);
    match &answered {
        Ok(_) => {
            served.latency.record(began.elapsed());
            let of = job.topology().move_of(moving.by);
            if of.shadow_reads > 0 {
                shadow::offer(session, &job, of);
            }
        }
        Err(_) => {
            served.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    answered
}

/// A statement on moving tables. It waits for what it needs of the streams, and what it leaves to them its transaction
/// leaves to them.
async fn moved(session: &mut Session, job: &Job<'_>, by: MoveId) -> Result<Ran, Failure> {
    if job.route.wait == Wait::Streams {
        arrived::wait(session, job.topology(), by).await?;
    }
    let left = behind::left(job);
    if left.is_empty() {
        return answer(session, job).await;
    }
    if let Some(open) = &mut session.transaction {
        left.into_iter().for_each(|rows| LeftRows::join(&mut open.left, rows));
        return answer(session, job).await;
    }
    let mut leaving = Leaving::of(left);
    leaving.tell(&session.worker.shared, job.topology());
    let answered = answer(session, job).await;
    leaving.leave(session);
    answered
}

/// Runs the statement. Ids that it gives itself are told, and are not what `LAST_INSERT_ID()` answers.
async fn answer(session: &mut Session, job: &Job<'_>) -> Result<Ran, Failure> {
    let before = session.last_insert_id;
    let ran = dispatch(session, job).await;
    if keeps_insert_id(job) {
        session.last_insert_id = before;
    }
    ran
}

/// Rows of sharded tables never get their ids from a server.
fn keeps_insert_id(job: &Job<'_>) -> bool {
    let route = bind::side_plan(job.plan, job.route.side).map(|side| &side.route);
    matches!(route, Some(RoutePlan::ByRow { insert_id: InsertId::Kept, .. }))
}

async fn dispatch(session: &mut Session, job: &Job<'_>) -> Result<Ran, Failure> {
    if !job.from.is_empty() {
        replicas::read(session, job).await?;
        return Ok(Ran::Answered);
    }
    write::on_one_backend(session, job)?;
    let plan = job.plan;
    if is_mirrored(plan, &job.route, job.topology()) {
        mirror::write(session, job).await?;
    } else if job.route.legs.len() > 1 {
        match plan.access {
            Access::Read | Access::LockingRead => scatter::read(session, job).await?,
            Access::Write | Access::Definition => write::on_several(session, job).await?,
        }
    } else if session.numbered.is_some() && answers_with_ok(job) {
        write::on_one(session, job).await?;
    } else if let Some(shown) = show::shown(job) {
        show::renamed(session, job, shown).await?;
    } else {
        relay::statement(session, job).await?;
    }
    Ok(Ran::Answered)
}

/// A statement on its way: everything that was decided about it.
#[derive(Debug)]
pub struct Job<'a> {
    pub view: &'a View,
    pub plan: &'a DataPlan,
    pub request: Request<'a>,
    pub route: Route,
    /// The replicas that answer it.
    pub from: Chosen,
}

impl Job<'_> {
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.view.snapshot.topology
    }
}

/// Is it a write without `RETURNING`?
fn answers_with_ok(job: &Job<'_>) -> bool {
    job.plan.access == Access::Write
        && bind::side_plan(job.plan, job.route.side).is_some_and(|side| side.gather == Gather::Sum)
}

/// Does the other side have to follow this statement?
fn is_mirrored(plan: &DataPlan, route: &Route, topology: &Topology) -> bool {
    let Sides::Moving(moving) = &plan.sides else { return false };
    let of = topology.move_of(moving.by);
    plan.access == Access::Write
        && route.side == of.writes
        && of.double_write != DoubleWrite::Off
        && (of.functions.writes_of.is_none() || of.functions.writes(&moving_tables(plan, topology)))
}

fn moving_tables(plan: &DataPlan, topology: &Topology) -> Vec<TableId> {
    plan.tables.iter().filter(|table| topology.table_of(**table).moving.is_some()).copied().collect()
}

async fn enter(
    session: &mut Session,
    view: &View,
    plan: &DataPlan,
    statement: &mut Gateways,
) -> Result<(), Failure> {
    let snapshot = &view.snapshot;
    let tables = plan.tables.iter().map(|table| snapshot.table_gate(*table));
    let databases = plan.databases.iter().map(|database| &snapshot.database_gates[usize::from(database.0)]);
    for gate in tables.chain(databases) {
        let gateways = session.transaction.as_mut().map_or(&mut *statement, |open| &mut open.gates);
        if gateways.enter(gate).await.is_err() {
            return Err(refusal::HELD_QUEUE_FULL.because("").into());
        }
    }
    Ok(())
}

fn reads(session: &Session, hint: Hint) -> Reads {
    match hint {
        Hint::Source => Reads::Side(Side::Source),
        Hint::Target => Reads::Side(Side::Target),
        Hint::Primary => Reads::Authority,
        // In a transaction, the side of a key could change between two reads, for one that has seen less.
        Hint::None | Hint::Shard(_) | Hint::Replica if session.transaction.is_some() => Reads::Authority,
        Hint::None | Hint::Shard(_) | Hint::Replica => Reads::ByKey,
    }
}

/// What decides the side of a moving table, besides the statement.
struct Chooser<'a> {
    reads: Reads,
    session: &'a Session,
    topology: &'a Topology,
    /// Why the authority answers what would have gone to the other side.
    fallback: &'a Cell<Option<Fallback>>,
}

impl Chooser<'_> {
    fn fall_back(&self, reason: Fallback, is_so: impl FnOnce(&Shared) -> bool) -> bool {
        let is_so = is_so(&self.session.worker.shared);
        if is_so {
            self.fallback.set(Some(reason));
        }
        is_so
    }
}

impl bind::Sides for Chooser<'_> {
    fn reads(&self) -> Reads {
        self.reads
    }

    fn is_dirty(&self, table: TableId, key: &KeyValue) -> bool {
        self.fall_back(Fallback::Dirty, |shared| {
            !shared.dirty.is_empty() && shared.dirty.contains(&self.topology.full_name(table), key)
        })
    }

    fn any_dirty(&self, table: TableId) -> bool {
        self.fall_back(Fallback::Dirty, |shared| {
            !shared.dirty.is_empty() && shared.dirty.has_table(&self.topology.full_name(table))
        })
    }

    fn is_behind(&self, of: &Move) -> bool {
        self.fall_back(Fallback::Lag, |shared| match of.lag_max() {
            Some(most) => !shared.followed.is_within(&of.name, most),
            None => false,
        })
    }

    fn numbered(&self) -> usize {
        self.session.numbered.map_or(0, |ids| ids.rows)
    }

    fn account(&self) -> &str {
        self.session.user()
    }
}

impl Session {
    /// A statement about the state of a connection must run on that connection, or not at all.
    fn check_pin(&self, job: &Job<'_>) -> Result<(), Failure> {
        if matches!(job.plan.pin, Pin::None | Pin::FoundRows) {
            return Ok(());
        }
        if job.route.legs.len() > 1 {
            return Err(refusal::PINNED_SCATTER.because(pin_name(job.plan.pin)).into());
        }
        let pool = job.view.pool(job.route.legs[0].backend);
        let same = |held: &Held| std::rc::Rc::ptr_eq(held.checkout.pool(), pool);
        let elsewhere = self.held.iter().any(|held| held.pin != Pin::None && !same(held));
        if elsewhere {
            return Err(refusal::PINNED_ELSEWHERE.because(pin_name(job.plan.pin)).into());
        }
        Ok(())
    }
}

/// What a pin is about, for people.
#[must_use]
pub fn pin_name(pin: Pin) -> &'static str {
    match pin {
        Pin::None => "",
        Pin::UserVariable => "user variables",
        Pin::TemporaryTable => "temporary tables",
        Pin::NamedLock => "named locks",
        Pin::TableLock => "table locks",
        Pin::FoundRows => "SQL_CALC_FOUND_ROWS",
        Pin::SqlPrepared => "statements prepared by SQL",
        Pin::Handler => "open handlers",
        Pin::Procedure => "what procedures leave behind",
    }
}

/// The data plan of a statement that has one.
///
/// # Errors
/// Why it has none.
pub fn data(plan: &Plan) -> Result<&DataPlan, Failure> {
    match plan {
        Plan::Data(data) => Ok(data),
        Plan::Refused(refusal) => Err(refusal.clone().into()),
        Plan::Session(_) => Err(refusal::UNSUPPORTED.because("").into()),
    }
}
