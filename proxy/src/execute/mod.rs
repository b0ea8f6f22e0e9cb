//! Running plans: the only place that sees a plan and a socket together.
//!
//! One shard's answer is relayed as the packets it came in; the answers of several are gathered (`scatter`); a write
//! that several shards take part in runs inside a transaction of ours (`write`).

pub mod finish;
pub mod mirror;
mod relay;
mod scatter;
pub mod send;
mod touch;
mod write;

use shardway_routing::bind::{self, Hint, Reads, Route, Values};
use shardway_routing::key::KeyValue;
use shardway_routing::plan::{Access, DataPlan, Pin, Plan, Sides, TransactionAccess};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Side, TableId, Topology};

use crate::session::transaction::Gateways;
use crate::session::{Failure, Held, MySqlError, Session, Writes};
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
    session.may_run(plan, &view.snapshot.topology)?;
    if plan.access == Access::Definition {
        finish::commit(session).await?;
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
    let chooser = Chooser { reads: reads(session, request.hint), shared: &session.worker.shared, topology };
    let route = bind::route(plan, topology, request.values, request.hint, &chooser)?;
    session.worker.shared.metrics.routed(route.side, route.legs.len());
    let job = Job { view, plan, request, route };
    session.check_pin(&job)?;
    if is_mirrored(plan, &job.route, topology) {
        mirror::write(session, &job).await?;
    } else if job.route.legs.len() > 1 {
        match plan.access {
            Access::Read | Access::LockingRead => scatter::read(session, &job).await?,
            Access::Write | Access::Definition => write::on_several(session, &job).await?,
        }
    } else {
        relay::statement(session, &job).await?;
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
}

impl Job<'_> {
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.view.snapshot.topology
    }
}

/// Does the other side have to follow this statement?
fn is_mirrored(plan: &DataPlan, route: &Route, topology: &Topology) -> bool {
    let Sides::Moving(moving) = &plan.sides else { return false };
    let of = topology.move_of(moving.by);
    plan.access == Access::Write && route.side == of.writes && of.double_write != DoubleWrite::Off
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
        Hint::None | Hint::Shard(_) | Hint::Replica => match &session.transaction {
            Some(open) if open.access == TransactionAccess::ReadWrite => Reads::Authority,
            _ => Reads::ByKey,
        },
    }
}

/// What decides the side of a moving table, besides the statement.
struct Chooser<'a> {
    reads: Reads,
    shared: &'a Shared,
    topology: &'a Topology,
}

impl bind::Sides for Chooser<'_> {
    fn reads(&self) -> Reads {
        self.reads
    }

    fn is_dirty(&self, table: TableId, key: &KeyValue) -> bool {
        !self.shared.dirty.is_empty() && self.shared.dirty.contains(&self.topology.full_name(table), key)
    }

    fn any_dirty(&self, table: TableId) -> bool {
        !self.shared.dirty.is_empty() && self.shared.dirty.has_table(&self.topology.full_name(table))
    }
}

impl Session {
    fn may_run(&self, plan: &DataPlan, topology: &Topology) -> Result<(), Failure> {
        let access = self.user_access();
        if access.writes == Writes::Refused && matches!(plan.access, Access::Write | Access::Definition) {
            let message = "The user is read-only so it cannot execute this statement";
            return Err(Failure::Own(MySqlError::ReadOnly, message.into()));
        }
        let named = plan.tables.iter().map(|table| topology.table_of(*table).database);
        for database in named.chain(plan.databases.iter().copied()) {
            self.may_use(&topology.databases[usize::from(database.0)].name)?;
        }
        Ok(())
    }

    /// A statement about the state of a connection must run on that connection, or not at all.
    fn check_pin(&self, job: &Job<'_>) -> Result<(), Failure> {
        if job.plan.pin == Pin::None {
            return Ok(());
        }
        if job.route.legs.len() > 1 {
            return Err(refusal::PINNED_SCATTER.because(pin_name(job.plan.pin)).into());
        }
        let pool = job.view.pool(job.route.legs[0].backend);
        let same = |held: &Held| std::rc::Rc::ptr_eq(held.checkout.pool(), pool);
        let elsewhere = self.held.iter().any(|held| held.pin != Pin::None && !same(held));
        let lost = job.plan.pin == Pin::Previous && !self.held.iter().any(same);
        if elsewhere || lost {
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
        Pin::Previous => "the previous statement's counters",
        Pin::SqlPrepared => "statements prepared by SQL",
        Pin::Handler => "open handlers",
    }
}

/// The data plan inside, for those who know that there is one.
#[must_use]
pub fn data(plan: &Plan) -> Option<&DataPlan> {
    match plan {
        Plan::Data(data) => Some(data),
        Plan::Session(_) | Plan::Refused(_) => None,
    }
}
