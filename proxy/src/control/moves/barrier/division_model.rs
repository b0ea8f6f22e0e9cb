//! A model of a move whose keys have owners on both sides: the owner of one key changes there and back while another one's
//! stays, both logs are followed all the time, and somebody writes past the proxy on a side that does not own the row, while
//! no switch is under way. Every interleaving of that with a client for each key, a barrier that may give up, and a process
//! that may be killed anywhere ends with both sides equal and every executed write once; what was written past the proxy
//! never becomes a row of an owner. Without any one of the rules, some interleaving does not.
//!
//! Rows are numbers as in [`super::model`], which has the fence and the intent of one owner.

use Side::{Source, Target};
use shardway_routing::topology::Side;

use crate::interleavings::{each_harms, explore};

/// The key whose owner changes.
const GOES: usize = 0;
/// The key that is the source's.
const STAYS: usize = 1;
/// What is written past the proxy.
const STRANGE: u8 = 100;

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Goes on while statements are inside the closed gates.
    WaitsForNobody,
    /// Does not wait for what an earlier process has sent.
    NoFence,
    /// Does not wait for the streams.
    NoDrain,
    /// Lets clients write to the new owner before that is noted.
    PublishesBeforeItIsNoted,
    /// Finds out where the new streams begin once clients write again.
    BeginsLate,
    /// Gives up when it is noted already.
    TurnsBackLate,
    /// Carries what a side has logged of rows that it does not own.
    FollowsStrangers,
    /// Lets keys go over without a look at what was written past the proxy.
    ComparesNothing,
}

const MUTANTS: [Mutant; 8] = [
    Mutant::WaitsForNobody,
    Mutant::NoFence,
    Mutant::NoDrain,
    Mutant::PublishesBeforeItIsNoted,
    Mutant::BeginsLate,
    Mutant::TurnsBackLate,
    Mutant::FollowsStrangers,
    Mutant::ComparesNothing,
];

/// Of one database server. It outlives every process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Database {
    numbers: [u8; 2],
    /// Keys and their numbers; a stream's own changes are not followed back.
    log: Vec<(usize, u8)>,
    /// Statements for each key whose process is gone.
    orphans: [u8; 2],
    /// How much of the log the other side has.
    followed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Outside {
        writes: u8,
    },
    /// That side has the statement.
    Sent(Side, u8),
}

/// How far a barrier is: what it names is done. The gates are open at the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Open,
    Closed,
    Fence,
    Drain,
    Intent,
    Journal,
    Publish,
}

/// The owner of the key that goes, by the rules in force there.
type Process = (Side, Step);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    databases: [Database; 2],
    noted: Side,
    /// Saved before a switch: the owner that is to be, and where both logs are followed from.
    intent: Option<(Side, [usize; 2])>,
    process: Option<Process>,
    clients: [Client; 2],
    executed: [u8; 2],
    switches_left: u8,
    failures_left: u8,
    strangers_left: u8,
}

fn owner((of_goes, _): Process, key: usize) -> Side {
    if key == GOES { of_goes } else { Source }
}

impl World {
    fn new() -> World {
        World {
            databases: [Database::default(), Database::default()],
            noted: Source,
            intent: None,
            process: Some((Source, Step::Open)),
            clients: [Client::Outside { writes: 2 }, Client::Outside { writes: 1 }],
            executed: [0; 2],
            switches_left: 2,
            failures_left: 2,
            strangers_left: 1,
        }
    }

    fn of(&self, side: Side) -> &Database {
        &self.databases[usize::from(side == Target)]
    }

    fn of_mut(&mut self, side: Side) -> &mut Database {
        &mut self.databases[usize::from(side == Target)]
    }

    fn execute(&mut self, side: Side, key: usize) {
        let of = self.of_mut(side);
        of.numbers[key] += 1;
        of.log.push((key, of.numbers[key]));
        self.executed[key] += 1;
    }

    fn has_drained(&self) -> bool {
        self.databases.iter().all(|of| of.followed == of.log.len())
    }

    fn is_quiet(&self) -> bool {
        self.databases.iter().all(|of| of.orphans == [0, 0])
    }

    fn is_empty(&self) -> bool {
        self.clients.iter().all(|client| matches!(client, Client::Outside { .. }))
    }

    /// Nothing is on its way any more.
    fn is_at_rest(&self) -> bool {
        matches!(self.process, Some((_, Step::Open)))
            && self.is_quiet()
            && self.has_drained()
            && self.is_empty()
    }

    /// Whoever owns a row has every write of it once, and the other side has the same, or what a stranger left.
    fn is_right(&self) -> bool {
        [GOES, STAYS].into_iter().all(|key| {
            let owner = self.of(if key == GOES { self.noted } else { Source }).numbers[key];
            let strange = |of: &Database| of.numbers[key] >= STRANGE;
            let equal = self.databases.iter().all(|of| of.numbers[key] == owner || strange(of));
            owner == self.executed[key] && equal
        })
    }

    /// Everything that may happen next.
    fn next(&self, mutant: Mutant) -> Vec<World> {
        let mut all = Vec::new();
        let mut may = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        for (side, key) in [(Source, GOES), (Source, STAYS), (Target, GOES), (Target, STAYS)] {
            if self.of(side).orphans[key] > 0 {
                may(&|world| {
                    world.of_mut(side).orphans[key] -= 1;
                    world.execute(side, key);
                });
            }
        }
        let Some(process) = self.process else {
            may(&World::restart);
            return all;
        };
        if self.strangers_left > 0 && process.1 == Step::Open {
            for key in [GOES, STAYS] {
                may(&|world| world.trespass(owner(process, key).other(), key));
            }
        }
        if self.failures_left > 0 {
            may(&World::crash);
        }
        for (key, client) in self.clients.into_iter().enumerate() {
            match client {
                Client::Outside { writes: 0 } => {}
                Client::Outside { writes } if matches!(process.1, Step::Open | Step::Publish) => {
                    may(&|world| world.clients[key] = Client::Sent(owner(process, key), writes - 1));
                }
                Client::Outside { .. } => {}
                Client::Sent(side, left) => may(&|world| {
                    world.execute(side, key);
                    world.clients[key] = Client::Outside { writes: left };
                }),
            }
        }
        // Old streams have stopped when the intent is saved.
        for side in [Source, Target].into_iter().filter(|_| process.1 < Step::Intent) {
            if self.of(side).followed < self.of(side).log.len() {
                may(&|world| world.apply(side, process, mutant));
            }
        }
        let is_too_late = if mutant == Mutant::TurnsBackLate { Step::Publish } else { Step::Journal };
        if self.failures_left > 0 && (Step::Closed..is_too_late).contains(&process.1) {
            may(&|world| {
                world.failures_left -= 1;
                world.intent = None;
                world.process = Some((process.0, Step::Open));
            });
        }
        all.extend(self.step(process, mutant));
        all
    }

    /// Somebody writes on a side what it does not own.
    fn trespass(&mut self, side: Side, key: usize) {
        self.strangers_left -= 1;
        let of = self.of_mut(side);
        of.numbers[key] = STRANGE;
        of.log.push((key, STRANGE));
    }

    /// A stream brings one image, and its position with it.
    fn apply(&mut self, side: Side, process: Process, mutant: Mutant) {
        let of = self.of_mut(side);
        let (key, number) = of.log[of.followed];
        of.followed += 1;
        if owner(process, key) == side || mutant == Mutant::FollowsStrangers {
            self.of_mut(side.other()).numbers[key] = number;
        }
    }

    /// The next step of the barrier, if it may be taken.
    fn step(&self, (of_goes, step): Process, mutant: Mutant) -> Option<World> {
        let mut world = self.clone();
        let may = |rule: bool, without: Mutant| (rule || mutant == without).then_some(());
        let (of_goes, step) = match step {
            Step::Open => (self.switches_left > 0).then_some((of_goes, Step::Closed))?,
            Step::Closed => {
                may(self.is_empty(), Mutant::WaitsForNobody)?;
                may(self.is_quiet(), Mutant::NoFence)?;
                (of_goes, Step::Fence)
            }
            Step::Fence => {
                may(self.has_drained(), Mutant::NoDrain)?;
                // Nobody compares in this world: once somebody was there, no key goes over any more.
                may(self.strangers_left > 0, Mutant::ComparesNothing)?;
                (of_goes, Step::Drain)
            }
            Step::Drain => {
                world.intent = Some((of_goes.other(), self.ends()));
                (of_goes, Step::Intent)
            }
            Step::Intent => {
                if mutant != Mutant::PublishesBeforeItIsNoted {
                    world.noted = of_goes.other();
                }
                (of_goes, Step::Journal)
            }
            Step::Journal => (of_goes.other(), Step::Publish),
            Step::Publish => {
                world.noted = of_goes;
                if mutant == Mutant::BeginsLate {
                    world.intent = Some((of_goes, self.ends()));
                }
                world.settle();
                world.switches_left -= 1;
                (of_goes, Step::Open)
            }
        };
        world.process = Some((of_goes, step));
        Some(world)
    }

    /// Where both logs end.
    fn ends(&self) -> [usize; 2] {
        [Source, Target].map(|side| self.of(side).log.len())
    }

    /// What was intended has happened: new streams begin.
    fn settle(&mut self) {
        let Some((_, starts)) = self.intent.take() else { return };
        for (of, start) in self.databases.iter_mut().zip(starts) {
            of.followed = start;
        }
    }

    /// What servers have got from clients they go on with.
    fn crash(&mut self) {
        self.failures_left -= 1;
        self.process = None;
        for key in [GOES, STAYS] {
            if let Client::Sent(side, left) = self.clients[key] {
                self.of_mut(side).orphans[key] += 1;
                self.clients[key] = Client::Outside { writes: left };
            }
        }
    }

    fn restart(&mut self) {
        if self.intent.is_some_and(|(owner, _)| owner == self.noted) {
            self.settle();
        }
        self.intent = None;
        self.process = Some((self.noted, Step::Open));
    }
}

/// The first world at rest whose sides are not what they should be, and how many worlds there are without one.
fn look(mutant: Mutant) -> Result<usize, World> {
    explore(World::new(), |world| world.next(mutant), |world| world.is_at_rest() && !world.is_right())
}

#[test]
fn owners_that_change_key_by_key_have_every_write_once_whatever_strangers_do() {
    let worlds = look(Mutant::None).unwrap_or_else(|world| panic!("{world:#?}"));
    assert!(worlds > 10_000, "{worlds} are hardly every interleaving");
}

#[test]
fn without_any_one_of_its_rules_they_do_not() {
    each_harms(MUTANTS, look);
}
