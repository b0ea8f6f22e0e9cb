//! What one worker thread owns: its pools and its plan cache, for the rules in force.
//!
//! A worker runs one current-thread runtime. Nothing here is shared with another thread, so a statement on a known
//! shape takes no lock.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use futures_util::future::join_all;
use shardway_routing::lex::{Lexed, Quoting, ServerVersion};
use shardway_routing::merge::RowProtocol;
use shardway_routing::plan::{self, Context, Plan};
use shardway_routing::topology::{BackendId, Server};

use crate::backend::Pool;
use crate::backend::health::Health;
use crate::backend::pool::{Role, Served};
use crate::backend::warm::Wish;
use crate::session::Told;
use crate::shared::{Shared, Snapshot};

/// Plans of each generation of the cache.
const PLANS: usize = 4096;

/// Longer shapes are bulk inserts, most likely never to be seen again.
const LONGEST: usize = 64 * 1024;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    pub shared: Arc<Shared>,
    /// Errors of its sessions' statements.
    pub told: Told,
    view: RefCell<Rc<View>>,
}

/// The rules in force as one worker sees them.
#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    /// By backend id.
    pools: Vec<Pools>,
    plans: RefCell<PlanCache>,
}

/// Of one backend.
#[derive(Debug)]
struct Pools {
    primary: Rc<Pool>,
    replicas: Vec<Rc<Pool>>,
}

impl Worker {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Worker {
        let snapshot = shared.snapshot();
        let view = View::new(snapshot, None, &shared);
        Worker { shared, told: Told::default(), view: RefCell::new(Rc::new(view)) }
    }

    /// The rules in force now.
    pub fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if !self.shared.is_current(&view.snapshot) {
            *view = Rc::new(View::new(self.shared.snapshot(), Some(&view), &self.shared));
        }
        Rc::clone(&view)
    }

    /// Makes connections that clients are about to need, whenever somebody asks for them.
    pub async fn warm_always(&self) {
        let mut wishes = self.shared.warmth.wishes();
        while wishes.changed().await.is_ok() {
            let Some(wish) = wishes.borrow_and_update().clone() else { continue };
            self.view().warm(&wish).await;
            // Nobody may wait any more.
            let _ = wish.done.send(());
        }
    }

    /// Closes connections that have idled for long.
    pub fn reap(&self) {
        self.view.borrow().every_pool().for_each(|pool| pool.reap());
    }
}

impl View {
    /// Keeps the pools of servers that stay.
    fn new(snapshot: Arc<Snapshot>, before: Option<&View>, shared: &Shared) -> View {
        let ids = (0..).map(BackendId).zip(&snapshot.topology.backends);
        let pools = ids.map(|(id, backend)| {
            let max = (backend.pool_max as usize).div_ceil(shared.config.workers).max(1);
            let pool = |role: Role, server: &Server, health: Arc<Health>| {
                let of = Served { backend: backend.name.clone(), role, server: server.clone() };
                let kept = before.and_then(|view| view.every_pool().find(|pool| pool.is_of(&of, max)));
                kept.map_or_else(|| Rc::new(Pool::new(of, health, max)), Rc::clone)
            };
            let primary = pool(Role::Primary, &backend.primary, shared.health(&backend.name));
            let replicas = backend.replicas.iter().zip(snapshot.replicas(id)).map(|(replica, known)| {
                pool(Role::Replica(Arc::clone(known)), &replica.server, Arc::clone(&known.health))
            });
            Pools { primary, replicas: replicas.collect() }
        });
        let pools = pools.collect();
        View { snapshot, pools, plans: RefCell::default() }
    }

    fn every_pool(&self) -> impl Iterator<Item = &Rc<Pool>> {
        self.pools.iter().flat_map(|of| std::iter::once(&of.primary).chain(&of.replicas))
    }

    async fn warm(&self, wish: &Wish) {
        let primaries = |names: &BTreeSet<String>| {
            let pools = self.pools.iter().map(|of| &of.primary);
            pools.filter(|pool| names.contains(&pool.name)).cloned().collect::<Vec<_>>()
        };
        let from = primaries(&wish.from);
        let Some(class) = from.iter().find_map(|pool| pool.last_client()) else { return };
        let wanted = from.iter().map(|pool| pool.of_clients()).sum();
        join_all(primaries(&wish.to).iter().map(|pool| pool.warm(class, wanted))).await;
    }

    /// Of the backend's primary.
    #[must_use]
    pub fn pool(&self, backend: BackendId) -> &Rc<Pool> {
        &self.pools[usize::from(backend.0)].primary
    }

    /// Of its n-th replica.
    #[must_use]
    pub fn replica_pool(&self, backend: BackendId, replica: usize) -> &Rc<Pool> {
        &self.pools[usize::from(backend.0)].replicas[replica]
    }

    /// The plan of a statement's shape, from the cache or new. The cache's key is the shape and what
    /// else the plan depends on.
    pub fn plan(
        &self,
        sql: &[u8],
        lexed: &mut Lexed,
        database: Option<&str>,
        quoting: Quoting,
        server: ServerVersion,
        protocol: RowProtocol,
    ) -> Rc<Plan> {
        // A byte that no UTF-8 text has parts the database from the shape before it.
        let shape = lexed.shape.len();
        lexed.shape.push(0xFF);
        lexed.shape.push(quoting_tag(quoting) | u8::from(protocol == RowProtocol::Binary) << 2);
        lexed.shape.extend_from_slice(database.unwrap_or_default().as_bytes());
        let topology = &self.snapshot.topology;
        let plan = self.cached(sql, lexed, Context { topology, database, quoting, server, protocol });
        lexed.shape.truncate(shape);
        plan
    }

    fn cached(&self, sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Rc<Plan> {
        let mut plans = self.plans.borrow_mut();
        if let Some(plan) = plans.find(&lexed.shape) {
            return plan;
        }
        let plan = Rc::new(plan::plan(sql, lexed, context));
        if lexed.shape.len() <= LONGEST {
            plans.add(&lexed.shape, Rc::clone(&plan));
        }
        plan
    }
}

fn quoting_tag(quoting: Quoting) -> u8 {
    use shardway_routing::lex::{Backslash, DoubleQuotes};
    let double = u8::from(quoting.double == DoubleQuotes::Identifier);
    let backslash = u8::from(quoting.backslash == Backslash::Literal);
    double | backslash << 1
}

/// Plans by shape, in two generations: what is used moves to the young one, the old one is dropped when that is full.
/// So a plan in use stays, a flood of one-off shapes costs bounded memory, and nothing is ordered on a hit.
#[derive(Debug, Default)]
struct PlanCache {
    young: Option<HashMap<Box<[u8]>, Rc<Plan>>>,
    old: Option<HashMap<Box<[u8]>, Rc<Plan>>>,
}

impl PlanCache {
    fn find(&mut self, shape: &[u8]) -> Option<Rc<Plan>> {
        if let Some(plan) = self.young.as_ref().and_then(|young| young.get(shape)) {
            return Some(Rc::clone(plan));
        }
        let plan = self.old.as_mut()?.remove(shape)?;
        self.add(shape, Rc::clone(&plan));
        Some(plan)
    }

    fn add(&mut self, shape: &[u8], plan: Rc<Plan>) {
        let young = self.young.get_or_insert_with(HashMap::new);
        if young.len() >= PLANS {
            self.old = self.young.replace(HashMap::new());
        }
        self.young.get_or_insert_with(HashMap::new).insert(shape.into(), plan);
    }
}

#[cfg(test)]
mod tests {
    use shardway_routing::plan::SessionCommand;

    use super::*;

    fn plan() -> Rc<Plan> {
        Rc::new(Plan::Session(SessionCommand::Empty))
    }

    #[test]
    fn a_shape_that_is_used_keeps_its_plan_and_a_flood_of_others_is_bounded() {
        let mut plans = PlanCache::default();
        let used = plan();
        plans.add(b"used", Rc::clone(&used));
        plans.add(b"once", plan());
        for number in 0..3 * PLANS {
            plans.add(number.to_string().as_bytes(), plan());
            let found = plans.find(b"used").expect("it is asked for all the time");
            assert!(Rc::ptr_eq(&found, &used));
        }
        assert!(plans.find(b"once").is_none());
        let held = |generation: &Option<HashMap<_, _>>| generation.as_ref().map_or(0, HashMap::len);
        assert!(held(&plans.young) + held(&plans.old) <= 2 * PLANS);
    }
}
