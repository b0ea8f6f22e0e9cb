//! A model of healing beside double write and a switch there and back: every interleaving of a client, a round that heals, the
//! drain of a barrier, and a process that may be killed anywhere ends with both sides equal and every write once. Without any
//! one of the rules, some interleaving does not.
//!
//! There is one row, a number that writes count up. Nobody follows a log: what double write cannot bring over is in the journal.

use Side::Source;
use shardway_routing::topology::Side;

use crate::interleavings::{each_harms, explore};

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// A round goes on while the authority changes.
    OutlivesASwitch,
    /// Reads the authority's row without a lock.
    LocksNothing,
    /// Removes the entry before the other side has the row.
    ForgetsFirst,
    /// Writes the other side by a statement that commits by itself: one that is late holds no lock meanwhile.
    CommitsByItself,
}

const MUTANTS: [Mutant; 4] =
    [Mutant::OutlivesASwitch, Mutant::LocksNothing, Mutant::ForgetsFirst, Mutant::CommitsByItself];

/// Who heals, and how far he is. `Side` is the authority as he knows it, the number its row as he read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Healer {
    Idle,
    Began(Side),
    /// Holds the authority's row.
    Read(Side, u8),
    /// Holds the other side's row as well.
    Wrote(Side, u8),
    /// The other side has the row; the entry is there still, and so is the lock.
    Committed(Side),
}

/// What a server of this side does when its process has gone: writes the number, and holds the row until then or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Late {
    side: Side,
    number: u8,
    holds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    source: u8,
    target: u8,
    /// The authority's journal has an entry of the row.
    is_dirty: bool,
    authority: Side,
    /// A barrier holds statements.
    is_held: bool,
    /// A round, and the drain of a barrier.
    healers: [Healer; 2],
    late: Option<Late>,
    executed: u8,
    writes_left: u8,
    switches_left: u8,
    failures_left: u8,
}

const ROUND: usize = 0;
const DRAIN: usize = 1;

impl World {
    fn new() -> World {
        World {
            source: 0,
            target: 0,
            is_dirty: false,
            authority: Source,
            is_held: false,
            healers: [Healer::Idle; 2],
            late: None,
            executed: 0,
            writes_left: 4,
            switches_left: 2,
            failures_left: 2,
        }
    }

    fn number(&self, side: Side) -> u8 {
        if side == Source { self.source } else { self.target }
    }

    fn write(&mut self, side: Side, number: u8) {
        *(if side == Source { &mut self.source } else { &mut self.target }) = number;
    }

    /// Does anybody hold the row on this side?
    fn is_locked(&self, side: Side, mutant: Mutant) -> bool {
        let holds = |healer: &Healer| match healer {
            Healer::Idle | Healer::Began(_) => false,
            Healer::Read(of, _) | Healer::Committed(of) => *of == side && mutant != Mutant::LocksNothing,
            Healer::Wrote(of, _) => of.other() == side || mutant != Mutant::LocksNothing,
        };
        self.healers.iter().any(holds) || self.late.is_some_and(|late| late.side == side && late.holds)
    }

    fn is_at_rest(&self) -> bool {
        self.late.is_none()
            && !self.is_dirty
            && !self.is_held
            && self.healers.iter().all(|healer| *healer == Healer::Idle)
    }

    /// Everything that may happen next.
    fn next(&self, mutant: Mutant) -> Vec<World> {
        let mut all = Vec::new();
        let mut may = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        if let Some(late) = self.late {
            may(&|world| {
                world.late = None;
                world.write(late.side, late.number);
            });
        }
        let (owner, other) = (self.authority, self.authority.other());
        if self.writes_left > 0 && !self.is_held && !self.is_locked(owner, mutant) {
            let number = self.number(owner) + 1;
            let execute = |world: &mut World| {
                world.writes_left -= 1;
                world.executed += 1;
                world.write(owner, number);
            };
            may(&|world| {
                execute(world);
                world.is_dirty = true;
            });
            if !self.is_locked(other, mutant) {
                may(&|world| {
                    execute(world);
                    world.write(other, number);
                });
            }
        }
        for place in [ROUND, DRAIN] {
            all.extend(self.heal(place, mutant));
        }
        all.extend(self.switch(mutant));
        if self.failures_left > 0 {
            for ends in self.ends(ROUND, mutant).into_iter().flat_map(|world| world.ends(DRAIN, mutant)) {
                all.push(World { is_held: false, failures_left: self.failures_left - 1, ..ends });
            }
        }
        all
    }

    /// The next step of somebody who heals, if it may be taken.
    fn heal(&self, place: usize, mutant: Mutant) -> Option<World> {
        let mut world = self.clone();
        world.healers[place] = match self.healers[place] {
            Healer::Idle => {
                let may_begin = self.is_dirty && self.is_held == (place == DRAIN);
                may_begin.then_some(Healer::Began(self.authority))?
            }
            Healer::Began(of) => {
                (!self.is_locked(of, mutant)).then_some(Healer::Read(of, self.number(of)))?
            }
            Healer::Read(of, _) if self.is_locked(of.other(), mutant) => return None,
            Healer::Read(of, number) => {
                if mutant == Mutant::ForgetsFirst {
                    world.is_dirty = false;
                }
                if mutant == Mutant::CommitsByItself {
                    world.write(of.other(), number);
                    Healer::Committed(of)
                } else {
                    Healer::Wrote(of, number)
                }
            }
            Healer::Wrote(of, number) => {
                world.write(of.other(), number);
                Healer::Committed(of)
            }
            Healer::Committed(_) => {
                world.is_dirty = false;
                Healer::Idle
            }
        };
        Some(world)
    }

    /// Whoever heals is dropped: what he had written is rolled back, or his commit has been sent and comes late.
    fn ends(&self, place: usize, mutant: Mutant) -> Vec<World> {
        let mut ended = self.clone();
        ended.healers[place] = Healer::Idle;
        let late = match self.healers[place] {
            Healer::Wrote(of, number) => Some(Late { side: of.other(), number, holds: true }),
            Healer::Read(of, number) if mutant == Mutant::CommitsByItself => {
                Some(Late { side: of.other(), number, holds: false })
            }
            _ => None,
        };
        let mut all = vec![ended.clone()];
        // One that is late is enough.
        if late.is_some() && self.late.is_none() {
            all.push(World { late, ..ended });
        }
        all
    }

    /// A barrier begins, changes the authority, or gives up.
    fn switch(&self, mutant: Mutant) -> Vec<World> {
        let mut all = Vec::new();
        let is_idle = |place: usize| self.healers[place] == Healer::Idle;
        if !self.is_held && self.switches_left > 0 {
            // A round gives way.
            let rounds =
                if mutant == Mutant::OutlivesASwitch { vec![self.clone()] } else { self.ends(ROUND, mutant) };
            all.extend(rounds.into_iter().map(|world| World { is_held: true, ..world }));
        }
        if self.is_held && is_idle(DRAIN) {
            all.push(World { is_held: false, ..self.clone() });
            if !self.is_dirty {
                let (authority, switches_left) = (self.authority.other(), self.switches_left - 1);
                all.push(World { is_held: false, authority, switches_left, ..self.clone() });
            }
        }
        all
    }
}

/// The first world at rest whose sides are not what they should be, and how many worlds there are without one.
fn look(mutant: Mutant) -> Result<usize, World> {
    let is_right = |world: &World| [world.source, world.target] == [world.executed; 2];
    explore(World::new(), |world| world.next(mutant), |world| world.is_at_rest() && !is_right(world))
}

#[test]
fn healing_beside_writes_and_switches_ends_with_equal_sides() {
    let worlds = look(Mutant::None).unwrap_or_else(|world| panic!("{world:#?}"));
    assert!(worlds > 1_000, "{worlds} are hardly every interleaving");
}

#[test]
fn without_any_one_of_its_rules_it_does_not() {
    each_harms(MUTANTS, look);
}
