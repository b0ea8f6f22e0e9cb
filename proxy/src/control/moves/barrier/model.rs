//! A model of the switch there and back: every interleaving of two clients whose connections may be lost, the streams, a
//! barrier that may give up, and a process that may be killed anywhere ends with both sides equal and every executed write once. Without any one of the
//! rules, some interleaving does not.
//!
//! A row is a number that writes count up, and a log holds the number after each of them: a write at the wrong side, a
//! lost one and a stale image that overwrites a newer one all end in a wrong number.

use Side::{Source, Target};
use shardway_routing::topology::Side;

use crate::interleavings::{each_harms, explore};

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Goes on while statements are inside the closed gates.
    WaitsForNobody,
    /// Does not wait for what an earlier process has sent, or one whose connection is lost.
    NoFence,
    /// Does not wait for the streams.
    NoDrain,
    /// Lets clients write to the new side before that is noted.
    PublishesBeforeItIsNoted,
    /// Finds out where the new streams begin once clients write again.
    BeginsLate,
    /// Goes on with the old streams after a crash.
    ForgetsTheIntent,
    /// Gives up when it is noted already.
    TurnsBackLate,
}

const MUTANTS: [Mutant; 7] = [
    Mutant::WaitsForNobody,
    Mutant::NoFence,
    Mutant::NoDrain,
    Mutant::PublishesBeforeItIsNoted,
    Mutant::BeginsLate,
    Mutant::ForgetsTheIntent,
    Mutant::TurnsBackLate,
];

/// Of one database server. It outlives every process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Database {
    number: u8,
    /// What clients wrote; a stream's own changes are not followed back.
    log: Vec<u8>,
    /// Statements whose process or connection is gone.
    orphans: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Outside {
        writes: u8,
    },
    /// Past the gate, for that side.
    Inside(Side, u8),
    /// The server has the statement.
    Sent(Side, u8),
    Executed(u8),
}

impl Client {
    fn is_inside(self) -> bool {
        !matches!(self, Client::Outside { .. })
    }
}

/// How far a barrier is: what it names is done. The gates are open at the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Open,
    Closed,
    Hold,
    Fence,
    Drain,
    Intent,
    Journal,
    Publish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    authority: Side,
    step: Step,
}

/// Saved before a switch: the side that is to own writes, and where its log is followed from.
type Intent = (Side, usize);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    source: Database,
    target: Database,
    /// The owner of writes by the rules that are noted.
    noted: Side,
    intent: Option<Intent>,
    /// The side whose log is followed, and how much of it the other side has.
    followed: (Side, usize),
    process: Option<Process>,
    clients: [Client; 2],
    executed: u8,
    switches_left: u8,
    failures_left: u8,
}

impl World {
    fn new() -> World {
        World {
            source: Database::default(),
            target: Database::default(),
            noted: Source,
            intent: None,
            followed: (Source, 0),
            process: Some(Process { authority: Source, step: Step::Open }),
            clients: [Client::Outside { writes: 2 }, Client::Outside { writes: 1 }],
            executed: 0,
            switches_left: 2,
            failures_left: 2,
        }
    }

    fn of(&self, side: Side) -> &Database {
        if side == Source { &self.source } else { &self.target }
    }

    fn of_mut(&mut self, side: Side) -> &mut Database {
        if side == Source { &mut self.source } else { &mut self.target }
    }

    fn execute(&mut self, side: Side) {
        let of = self.of_mut(side);
        of.number += 1;
        of.log.push(of.number);
        self.executed += 1;
    }

    fn has_drained(&self) -> bool {
        self.followed.1 == self.of(self.followed.0).log.len()
    }

    /// Nothing is on its way any more.
    fn is_at_rest(&self) -> bool {
        let is_open = self.process.as_ref().is_some_and(|process| process.step == Step::Open);
        let is_quiet = self.source.orphans + self.target.orphans == 0;
        is_open && is_quiet && self.has_drained() && self.clients.iter().all(|client| !client.is_inside())
    }

    /// Everything that may happen next.
    fn next(&self, mutant: Mutant) -> Vec<World> {
        let mut all = Vec::new();
        let mut may = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        for side in [Source, Target] {
            if self.of(side).orphans > 0 {
                may(&|world| {
                    world.of_mut(side).orphans -= 1;
                    world.execute(side);
                });
            }
        }
        let Some(process) = &self.process else {
            may(&|world| world.restart(mutant));
            return all;
        };
        if self.failures_left > 0 {
            may(&World::crash);
        }
        for (place, client) in self.clients.into_iter().enumerate() {
            let becomes = match client {
                Client::Outside { writes: 0 } => continue,
                Client::Outside { .. } if !matches!(process.step, Step::Open | Step::Publish) => continue,
                Client::Outside { writes } => Client::Inside(process.authority, writes - 1),
                Client::Inside(side, left) => Client::Sent(side, left),
                Client::Sent(_, left) => Client::Executed(left),
                Client::Executed(left) => Client::Outside { writes: left },
            };
            may(&|world| {
                if let Client::Sent(side, _) = client {
                    world.execute(side);
                }
                world.clients[place] = becomes;
            });
            if self.failures_left > 0 {
                may(&|world| world.lose(place));
            }
        }
        // Old streams have stopped when the intent is saved.
        if !self.has_drained() && process.step < Step::Intent {
            may(&World::apply);
        }
        if let Some(world) = self.step(process, mutant) {
            all.push(world);
        }
        let is_too_late = if mutant == Mutant::TurnsBackLate { Step::Publish } else { Step::Journal };
        if self.failures_left > 0 && (Step::Closed..is_too_late).contains(&process.step) {
            let mut world = self.clone();
            world.failures_left -= 1;
            world.intent = None;
            world.process = Some(Process { step: Step::Open, ..process.clone() });
            all.push(world);
        }
        all
    }

    /// A stream brings one image, and its position with it.
    fn apply(&mut self) {
        let (side, at) = self.followed;
        let image = self.of(side).log[at];
        self.of_mut(side.other()).number = image;
        self.followed.1 += 1;
    }

    /// The next step of the barrier, if it may be taken.
    fn step(&self, process: &Process, mutant: Mutant) -> Option<World> {
        let owner = process.authority;
        let mut world = self.clone();
        let (step, authority) = match process.step {
            Step::Open if self.switches_left > 0 => (Step::Closed, owner),
            Step::Open => return None,
            Step::Closed => {
                let is_empty = !self.clients.iter().any(|client| client.is_inside());
                (is_empty || mutant == Mutant::WaitsForNobody).then_some((Step::Hold, owner))?
            }
            Step::Hold => {
                let is_past = self.of(owner).orphans == 0;
                (is_past || mutant == Mutant::NoFence).then_some((Step::Fence, owner))?
            }
            Step::Fence => {
                (self.has_drained() || mutant == Mutant::NoDrain).then_some((Step::Drain, owner))?
            }
            Step::Drain => {
                world.intent = Some((owner.other(), self.of(owner.other()).log.len()));
                (Step::Intent, owner)
            }
            Step::Intent => {
                if mutant != Mutant::PublishesBeforeItIsNoted {
                    world.noted = owner.other();
                }
                (Step::Journal, owner)
            }
            Step::Journal => (Step::Publish, owner.other()),
            Step::Publish => {
                world.noted = owner;
                world.settle(mutant);
                world.switches_left -= 1;
                (Step::Open, owner)
            }
        };
        world.process = Some(Process { authority, step });
        Some(world)
    }

    /// What was intended has happened: the streams turn round.
    fn settle(&mut self, mutant: Mutant) {
        let Some((side, start)) = self.intent.take() else { return };
        let start = if mutant == Mutant::BeginsLate { self.of(side).log.len() } else { start };
        self.followed = (side, start);
    }

    fn crash(&mut self) {
        self.failures_left -= 1;
        self.process = None;
        (0..self.clients.len()).for_each(|place| self.leave(place));
    }

    /// The connection to a server is lost while the process goes on: the client has left the gates.
    fn lose(&mut self, place: usize) {
        self.failures_left -= 1;
        self.leave(place);
    }

    /// What a server has got from the client it goes on with.
    fn leave(&mut self, place: usize) {
        self.clients[place] = match self.clients[place] {
            Client::Sent(side, left) => {
                self.of_mut(side).orphans += 1;
                Client::Outside { writes: left }
            }
            Client::Inside(_, left) | Client::Executed(left) => Client::Outside { writes: left },
            outside => outside,
        };
    }

    fn restart(&mut self, mutant: Mutant) {
        let has_happened = self.intent.is_some_and(|(side, _)| side == self.noted);
        if has_happened && mutant != Mutant::ForgetsTheIntent {
            self.settle(mutant);
        }
        self.intent = None;
        self.process = Some(Process { authority: self.noted, step: Step::Open });
    }
}

/// The first world at rest whose sides are not what they should be, and how many worlds there are without one.
fn look(mutant: Mutant) -> Result<usize, World> {
    let is_right =
        |world: &World| [&world.source, &world.target].iter().all(|side| side.number == world.executed);
    explore(World::new(), |world| world.next(mutant), |world| world.is_at_rest() && !is_right(world))
}

#[test]
fn a_switch_that_may_fail_anywhere_ends_with_equal_sides_and_every_write_once() {
    let worlds = look(Mutant::None).unwrap_or_else(|world| panic!("{world:#?}"));
    assert!(worlds > 10_000, "{worlds} are hardly every interleaving");
}

#[test]
fn without_any_one_of_its_rules_it_does_not() {
    each_harms(MUTANTS, look);
}
