//! A model of double write in each of its modes: every interleaving of two transactions on one row, of healing, of a target
//! that refuses or whose answer is lost, and of a process that may be killed anywhere, ends with both sides equal once the
//! journal is empty; and under `strict` nothing is there that its client was told is not. Without any one of the rules, some
//! interleaving does not.

use std::collections::BTreeSet;

use crate::interleavings::{each_harms, explore};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Async,
    Sync,
    Strict,
}

const MODES: [Mode; 3] = [Mode::Async, Mode::Sync, Mode::Strict];

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Notes the dirty key in a transaction of its own, after the row.
    NotesLater,
    /// Commits on the other side first.
    CommitsTheOtherSideFirst,
    /// Writes to the other side when the authority's lock is gone.
    WritesUnlocked,
    /// Forgets the key as soon as the authority has committed.
    ForgetsEarly,
    /// Heals from a row that others may change meanwhile.
    HealsUnlocked,
    /// Commits on the authority what the other side refuses.
    CommitsWhatIsRefused,
}

const MUTANTS: [Mutant; 6] = [
    Mutant::NotesLater,
    Mutant::CommitsTheOtherSideFirst,
    Mutant::WritesUnlocked,
    Mutant::ForgetsEarly,
    Mutant::HealsUnlocked,
    Mutant::CommitsWhatIsRefused,
];

impl Mode {
    /// Is what a mutant leaves out a rule of this mode?
    fn has(self, rule: Mutant) -> bool {
        match self {
            // Nothing goes over before the commit, and each write is noted: a healer who is late is followed by another.
            Mode::Async => matches!(rule, Mutant::NotesLater | Mutant::ForgetsEarly),
            Mode::Sync => rule != Mutant::CommitsWhatIsRefused,
            Mode::Strict => true,
        }
    }
}

/// The row of one server, a number that every transaction counts up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Row {
    committed: u8,
    lock: Option<Holder>,
    /// What the holder of the lock has written.
    written: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Transaction(usize),
    Healer,
    /// Of a process that is gone; the server has not noticed yet.
    Orphan(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    /// `COMMIT` is on its way.
    Commit,
    Rollback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Transaction {
    Waits,
    /// The authority's row is locked and written.
    Written,
    /// The other side's as well.
    Mirrored,
    Refused,
    /// The authority has it, and the other side waits for its end.
    Committed,
    /// The authority has it, and nothing is noted: a mutant's.
    Unnoted,
    /// The authority has it, and the other side gets this image without a lock: a mutant's.
    Late(u8),
    Both,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Healer {
    Rests,
    Has(usize, u8),
    Wrote(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    mode: Mode,
    authority: Row,
    other: Row,
    /// On the authority: transactions whose row may be dirty.
    journal: BTreeSet<usize>,
    transactions: [Transaction; 2],
    healer: Healer,
    committed: u8,
    /// Transactions that are there although their client was told that they are not.
    denied: u8,
    failures_left: u8,
    crashes_left: u8,
}

impl Row {
    fn lock(&mut self, holder: Holder, written: u8) {
        self.lock = Some(holder);
        self.written = written;
    }

    fn end(&mut self, end: End) {
        self.lock = None;
        if end == End::Commit {
            self.committed = self.written;
        }
    }
}

impl World {
    fn new(mode: Mode) -> World {
        World {
            mode,
            authority: Row::default(),
            other: Row::default(),
            journal: BTreeSet::new(),
            transactions: [Transaction::Waits; 2],
            healer: Healer::Rests,
            committed: 0,
            denied: 0,
            failures_left: 2,
            crashes_left: 1,
        }
    }

    /// Everything that may happen next.
    fn next(&self, mutant: Mutant) -> Vec<World> {
        let mut all = Vec::new();
        for place in 0..self.transactions.len() {
            self.transact(place, mutant, &mut all);
        }
        self.heal(mutant, &mut all);
        if let Some(Holder::Orphan(end)) = self.authority.lock {
            let mut world = self.clone();
            world.authority.end(end);
            all.push(world);
        }
        if let Some(Holder::Orphan(end)) = self.other.lock {
            let mut world = self.clone();
            world.other.end(end);
            all.push(world);
        }
        if self.crashes_left > 0 {
            all.extend([End::Commit, End::Rollback].map(|sent| self.crashed(sent)));
        }
        all
    }

    fn transact(&self, place: usize, mutant: Mutant, all: &mut Vec<World>) {
        use Transaction::{Both, Committed, Late, Mirrored, Over, Refused, Unnoted, Waits, Written};
        let holder = Holder::Transaction(place);
        let mut may = |state: Transaction, change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            world.transactions[place] = state;
            change(&mut world);
            all.push(world);
        };
        let commit = |world: &mut World| world.commit(place);
        let is_free = self.other.lock.is_none();
        if self.mode == Mode::Async && self.transactions[place] != Waits {
            all.extend(self.transact_alone(place, mutant));
            return;
        }
        match (self.transactions[place], mutant) {
            (Waits, _) if self.authority.lock.is_none() => may(Written, &|world| {
                let next = world.authority.committed + 1;
                world.authority.lock(holder, next);
            }),
            (Written, Mutant::WritesUnlocked) => may(Late(self.authority.written), &commit),
            (Late(image), _) if is_free => may(Both, &|world| world.other.committed = image),
            (Written, _) => {
                if is_free {
                    may(Mirrored, &|world| world.other.lock(holder, world.authority.written));
                }
                if self.failures_left > 0 {
                    may(Refused, &|world| world.failures_left -= 1);
                }
            }
            (Mirrored, Mutant::CommitsTheOtherSideFirst) => {
                may(Refused, &|world| world.other.end(End::Commit));
            }
            (Mirrored, Mutant::NotesLater) => may(Unnoted, &|world| {
                commit(world);
                world.journal.remove(&place);
            }),
            (Unnoted, _) => may(Committed, &|world| {
                world.journal.insert(place);
            }),
            (Mirrored, _) => may(Committed, &|world| {
                commit(world);
                if mutant == Mutant::ForgetsEarly {
                    world.journal.remove(&place);
                }
            }),
            (Refused, Mutant::CommitsWhatIsRefused) => may(Over, &|world| {
                commit(world);
                world.denied += 1;
            }),
            (Refused, _) if self.mode == Mode::Strict => {
                may(Over, &|world| world.authority.end(End::Rollback));
            }
            (Refused, _) => may(Over, &commit),
            (Committed, _) => {
                may(Both, &|world| world.other.end(End::Commit));
                // The connection is lost: what the other side makes of it nobody knows.
                for end in [End::Commit, End::Rollback].into_iter().filter(|_| self.failures_left > 0) {
                    may(Over, &|world| {
                        world.failures_left -= 1;
                        world.other.lock = Some(Holder::Orphan(end));
                    });
                }
            }
            (Both, _) => may(Over, &|world| {
                world.journal.remove(&place);
            }),
            (Waits | Late(_) | Over, _) => {}
        }
    }

    /// The other side is left to healing.
    fn transact_alone(&self, place: usize, mutant: Mutant) -> Option<World> {
        let mut world = self.clone();
        world.transactions[place] = match self.transactions[place] {
            Transaction::Written => {
                world.commit(place);
                if [Mutant::NotesLater, Mutant::ForgetsEarly].contains(&mutant) {
                    world.journal.remove(&place);
                }
                if mutant == Mutant::NotesLater { Transaction::Unnoted } else { Transaction::Over }
            }
            Transaction::Unnoted => {
                world.journal.insert(place);
                Transaction::Over
            }
            _ => return None,
        };
        Some(world)
    }

    /// The authority has the row, and the key is in the journal by the same transaction.
    fn commit(&mut self, place: usize) {
        self.authority.end(End::Commit);
        self.committed += 1;
        self.journal.insert(place);
    }

    fn heal(&self, mutant: Mutant, all: &mut Vec<World>) {
        let mut world = self.clone();
        let is_locked = mutant != Mutant::HealsUnlocked;
        match self.healer {
            Healer::Rests => {
                for dirty in &self.journal {
                    if self.authority.lock.is_none() || !is_locked {
                        let mut world = self.clone();
                        let found = world.authority.committed;
                        if is_locked {
                            world.authority.lock(Holder::Healer, found);
                        }
                        world.healer = Healer::Has(*dirty, found);
                        all.push(world);
                    }
                }
            }
            Healer::Has(dirty, found) if self.other.lock.is_none() => {
                world.other.committed = found;
                world.healer = Healer::Wrote(dirty);
                all.push(world);
            }
            Healer::Has(..) => {}
            Healer::Wrote(dirty) => {
                world.journal.remove(&dirty);
                if is_locked {
                    world.authority.end(End::Rollback);
                }
                world.healer = Healer::Rests;
                all.push(world);
            }
        }
    }

    /// The process is gone, and another one is there. The servers find out some time; what was sent to the other side after
    /// the authority had committed may be on its way.
    fn crashed(&self, sent: End) -> World {
        let mut world = self.clone();
        world.crashes_left -= 1;
        world.healer = Healer::Rests;
        for transaction in world.transactions.iter_mut().filter(|of| **of != Transaction::Waits) {
            *transaction = Transaction::Over;
        }
        let is_ending = |holder| matches!(holder, Holder::Transaction(place) if self.transactions[place] == Transaction::Committed);
        for row in [&mut world.authority, &mut world.other] {
            row.lock = row.lock.map(|holder| match holder {
                Holder::Orphan(end) => Holder::Orphan(end),
                holder if is_ending(holder) => Holder::Orphan(sent),
                _ => Holder::Orphan(End::Rollback),
            });
        }
        world
    }

    /// Nothing is on its way any more.
    fn is_at_rest(&self) -> bool {
        let is_free = self.authority.lock.is_none() && self.other.lock.is_none();
        let is_over = self.transactions.iter().all(|of| *of == Transaction::Over);
        is_free && is_over && self.healer == Healer::Rests && self.journal.is_empty()
    }
}

/// The first world at rest whose sides are not what they should be, and how many worlds there are without one.
fn look(mode: Mode, mutant: Mutant) -> Result<usize, World> {
    let is_right = |world: &World| {
        let sides = [&world.authority, &world.other];
        sides.iter().all(|row| row.committed == world.committed) && world.denied == 0
    };
    explore(World::new(mode), |world| world.next(mutant), |world| world.is_at_rest() && !is_right(world))
}

#[test]
fn double_write_that_may_fail_anywhere_ends_with_equal_sides() {
    for mode in MODES {
        let worlds = look(mode, Mutant::None).unwrap_or_else(|world| panic!("{world:#?}"));
        assert!(worlds > 50, "{mode:?}: {worlds} are hardly every interleaving");
    }
}

#[test]
fn without_any_one_of_its_rules_it_does_not() {
    for mode in MODES {
        each_harms(MUTANTS.into_iter().filter(|rule| mode.has(*rule)), |mutant| look(mode, mutant));
    }
}
