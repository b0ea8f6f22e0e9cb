//! A model of the gates: in every interleaving of transactions that enter several of them and of two barriers, no statement
//! of the old rules runs beside one of the new, newcomers wait, nobody waits for ever, and a barrier that gives up leaves
//! the gates as they were. Without any one of the rules, some interleaving does otherwise.
//!
//! What happens to a gate happens to a real one, in the state that the world says; what is told to those who sleep
//! arrives a step later. The limit of the queue is not modelled.

mod barrier;
mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::{ACTIVE, CLOSED, CLOSING, Gate, Queue};
use crate::interleavings::{each_harms, explore};
use barrier::{Barrier, Step};
use client::{Client, Course, Ends};

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Lets newcomers into a closing gate.
    NewPasses,
    /// Lets nobody into a closing gate, not even those that the barrier waits for.
    InsideWaits,
    /// Does not look again whether somebody is inside when all gates have been empty once.
    ClosesUnseen,
    /// Keeps some gates closed while it waits for another one.
    ClosesInTurn,
    /// Runs what was planned before the gate was entered, whatever the rules are by now.
    KeepsItsPlan,
    /// Listens only once it has looked.
    ListensLate,
    /// Opens gates that another barrier holds when it finds them so.
    OpensForOthers,
    /// Publishes although it has given up.
    PublishesAnyway,
}

const MUTANTS: [Mutant; 8] = [
    Mutant::NewPasses,
    Mutant::InsideWaits,
    Mutant::ClosesUnseen,
    Mutant::ClosesInTurn,
    Mutant::KeepsItsPlan,
    Mutant::ListensLate,
    Mutant::OpensForOthers,
    Mutant::PublishesAnyway,
];

const GATES: usize = 3;

/// By gate, the version of the rules that changed its tables last.
type Versions = [u8; GATES];

/// Waiting until something about a gate is so. Whoever listens is told of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wait {
    Comes,
    Listens(Told),
    Sleeps(Told),
    /// It has looked and does not listen yet: a mutant's.
    Looked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Told {
    Nothing,
    Something,
}

impl Wait {
    fn tell(&mut self) {
        match self {
            Wait::Listens(told) | Wait::Sleeps(told) => *told = Told::Something,
            Wait::Comes | Wait::Looked => {}
        }
    }

    /// The next step, if there is one: what the look finds, or how the waiting goes on.
    fn next<Found>(
        self,
        mutant: Mutant,
        look: impl FnOnce() -> Option<Found>,
    ) -> Option<Result<Found, Wait>> {
        match (self, mutant) {
            (Wait::Comes, Mutant::ListensLate) => Some(look().ok_or(Wait::Looked)),
            (Wait::Comes, _) => Some(Err(Wait::Listens(Told::Nothing))),
            (Wait::Looked, _) => Some(Err(Wait::Sleeps(Told::Nothing))),
            (Wait::Listens(told), _) => Some(look().ok_or(Wait::Sleeps(told))),
            (Wait::Sleeps(Told::Something), _) => Some(Err(Wait::Comes)),
            (Wait::Sleeps(Told::Nothing), _) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    gates: [u64; GATES],
    version: u8,
    of: Versions,
    clients: Vec<Client>,
    barriers: Vec<Barrier>,
    /// A newcomer has entered a gate that was being closed.
    is_overtaken: bool,
}

fn gate(state: u64) -> Arc<Gate> {
    let queue = Arc::new(Queue { waiting: AtomicUsize::new(0), limit: 0 });
    Arc::new(Gate { state: AtomicU64::new(state), opened: Notify::new(), drained: Notify::new(), queue })
}

fn state(of: &Gate) -> u64 {
    of.state.load(Ordering::Acquire)
}

impl World {
    fn new(courses: &[Course], barriers: &[&'static [usize]]) -> World {
        let barrier = |gates: &&'static [usize]| Barrier { gates, step: Step::Begins(0), holds: Vec::new() };
        World {
            gates: [0; GATES],
            version: 0,
            of: [0; GATES],
            clients: courses.iter().map(Client::new).collect(),
            barriers: barriers.iter().map(barrier).collect(),
            is_overtaken: false,
        }
    }

    /// Everything that may happen next.
    fn next(&self, mutant: Mutant) -> Vec<World> {
        let out_of_time =
            (0..self.barriers.len()).filter_map(|at| self.after(|world| world.gives_up(at, mutant)));
        self.steps(mutant).chain(out_of_time).collect()
    }

    /// What may happen next whatever the time is.
    fn steps(&self, mutant: Mutant) -> impl Iterator<Item = World> {
        let clients =
            (0..self.clients.len()).filter_map(move |at| self.after(|world| world.client(at, mutant)));
        let barriers =
            (0..self.barriers.len()).filter_map(move |at| self.after(|world| world.barrier(at, mutant)));
        clients.chain(barriers)
    }

    /// The world after a step, if it may be taken.
    fn after(&self, step: impl FnOnce(&mut World) -> Option<()>) -> Option<World> {
        let mut world = self.clone();
        step(&mut world).map(|()| world)
    }

    fn is_wrong(&self, mutant: Mutant) -> bool {
        let is_beside = self.clients.iter().any(|client| {
            client.used.iter().zip(self.of).any(|(used, of)| used.is_some_and(|used| used != of))
        });
        let is_over = self.clients.iter().all(Client::is_over)
            && self.barriers.iter().all(|of| of.step == Step::Opens && of.holds.is_empty());
        // Nobody waits for a barrier to give up.
        let is_stuck = !is_over && self.steps(mutant).next().is_none();
        self.is_overtaken || is_beside || is_stuck || (0..GATES).any(|name| !self.is_as_it_should(name))
    }

    /// A gate knows how many are inside, and whether a barrier holds it.
    fn is_as_it_should(&self, name: usize) -> bool {
        let state = self.gates[name];
        let inside = self.clients.iter().filter(|client| client.inside.contains(&name)).count();
        let is_held = self.barriers.iter().any(|barrier| barrier.holds.contains(&name));
        let is_empty_if_closed = state & CLOSED == 0 || (is_held && inside == 0);
        state & ACTIVE == inside as u64 && (state & CLOSING != 0) == is_held && is_empty_if_closed
    }
}

const ONE_BY_ONE: Ends = Ends::AfterEachStatement;
const TOGETHER: Ends = Ends::WithTheLast;

/// Clients, and the gates of the barriers that come to them.
fn scenes() -> Vec<(Vec<Course>, Vec<&'static [usize]>)> {
    vec![
        // Two transactions that meet.
        (vec![Course(TOGETHER, &[&[0], &[1]]), Course(TOGETHER, &[&[1], &[0]])], vec![&[0, 1]]),
        // A transaction, and a statement of both tables.
        (vec![Course(TOGETHER, &[&[0], &[1]]), Course(ONE_BY_ONE, &[&[1, 0]])], vec![&[0, 1]]),
        // One that comes from a table which nobody holds, and statements of two tables.
        (vec![Course(TOGETHER, &[&[2], &[1], &[0]]), Course(ONE_BY_ONE, &[&[0], &[1]])], vec![&[0, 1]]),
        // Two barriers that meet at one table.
        (vec![Course(TOGETHER, &[&[0], &[2]]), Course(ONE_BY_ONE, &[&[1]])], vec![&[0, 1], &[1, 2]]),
        // Two barriers that do not, with transactions that come from one to the other.
        (vec![Course(TOGETHER, &[&[0], &[1]]), Course(TOGETHER, &[&[2], &[0]])], vec![&[0], &[1, 2]]),
    ]
}

/// The first world that is wrong, and how many there are in all scenes without one.
fn look(mutant: Mutant) -> Result<usize, World> {
    let mut worlds = 0;
    for (courses, barriers) in scenes() {
        let first = World::new(&courses, &barriers);
        worlds += explore(first, |world| world.next(mutant), |world| world.is_wrong(mutant))?;
    }
    Ok(worlds)
}

#[test]
fn old_rules_never_run_beside_new_ones_and_nobody_waits_for_ever() {
    let worlds = look(Mutant::None).unwrap_or_else(|world| panic!("{world:#?}"));
    assert!(worlds > 100_000, "{worlds} are hardly every interleaving");
}

#[test]
fn without_any_one_of_its_rules_they_do() {
    each_harms(MUTANTS, look);
}
