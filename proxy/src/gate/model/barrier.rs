//! Barriers of the model, step by step as [`crate::gate::Gates::hold`] goes.

use super::client::Doing;
use super::{Mutant, Wait, World, gate, state};
use crate::gate::{ACTIVE, Gate};

/// What a barrier does. Gates are counted in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Begins(usize),
    Empties(usize, Round, Wait),
    Closes(usize),
    /// Gates before the busy one, back to closing.
    LetsPass {
        next: usize,
        busy: usize,
    },
    TellsToPass {
        next: usize,
        busy: usize,
    },
    Held,
    Opens,
    /// Whoever waits before this gate.
    Tells(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Round {
    First,
    Again,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Barrier {
    pub(super) gates: &'static [usize],
    pub(super) step: Step,
    /// Gates that it has begun to close and not opened.
    pub(super) holds: Vec<usize>,
}

impl World {
    /// The next step of a barrier, if it may be taken.
    pub(super) fn barrier(&mut self, at: usize, mutant: Mutant) -> Option<()> {
        let barrier = &mut self.barriers[at];
        let names = barrier.gates;
        barrier.step = match barrier.step {
            Step::Begins(number) if number == names.len() => Step::Empties(0, Round::First, Wait::Comes),
            Step::Begins(number) => {
                let gate = gate(self.gates[names[number]]);
                let began = gate.start_closing();
                self.gates[names[number]] = state(&gate);
                if began.is_ok() || mutant == Mutant::OpensForOthers {
                    barrier.holds.push(names[number]);
                }
                if began.is_ok() { Step::Begins(number + 1) } else { Step::Opens }
            }
            Step::Empties(number, round, wait) => {
                let look = || (self.gates[names[number]] & ACTIVE == 0).then_some(());
                match wait.next(mutant, look)? {
                    Ok(()) if round == Round::First && number + 1 < names.len() => {
                        Step::Empties(number + 1, round, Wait::Comes)
                    }
                    Ok(()) => Step::Closes(0),
                    Err(wait) => Step::Empties(number, round, wait),
                }
            }
            Step::Closes(number) if number == names.len() => Step::Held,
            Step::Closes(number) => {
                let gate = gate(self.gates[names[number]]);
                let is_closed = gate.close();
                self.gates[names[number]] = state(&gate);
                if is_closed || mutant == Mutant::ClosesUnseen {
                    Step::Closes(number + 1)
                } else if mutant == Mutant::ClosesInTurn {
                    Step::Empties(number, Round::Again, Wait::Comes)
                } else {
                    Step::LetsPass { next: 0, busy: number }
                }
            }
            Step::LetsPass { next, busy } if next == busy => Step::Empties(busy, Round::Again, Wait::Comes),
            Step::LetsPass { next, busy } => {
                self.gates[names[next]] = told(self.gates[names[next]], Gate::let_pass);
                Step::TellsToPass { next, busy }
            }
            Step::TellsToPass { next, busy } => {
                self.tell_before(names[next]);
                self.barriers[at].step = Step::LetsPass { next: next + 1, busy };
                return Some(());
            }
            Step::Held => {
                self.publish(at);
                return Some(());
            }
            Step::Opens if barrier.holds.is_empty() => return None,
            Step::Opens => {
                let name = barrier.holds.remove(0);
                self.gates[name] = told(self.gates[name], Gate::open);
                Step::Tells(name)
            }
            Step::Tells(name) => {
                self.tell_before(name);
                self.barriers[at].step = Step::Opens;
                return Some(());
            }
        };
        Some(())
    }

    /// Because of the time.
    pub(super) fn gives_up(&mut self, at: usize, mutant: Mutant) -> Option<()> {
        let is_waiting = matches!(self.barriers[at].step, Step::Empties(..));
        if !is_waiting {
            return None;
        }
        match mutant {
            Mutant::PublishesAnyway => self.publish(at),
            _ => self.barriers[at].step = Step::Opens,
        }
        Some(())
    }

    /// The new rules are in force.
    fn publish(&mut self, at: usize) {
        self.version += 1;
        self.barriers[at].gates.iter().for_each(|gate| self.of[*gate] = self.version);
        self.barriers[at].step = Step::Opens;
    }

    /// Tells whoever waits before a gate.
    fn tell_before(&mut self, name: usize) {
        for client in &mut self.clients {
            let gates = client.gates();
            if let Doing::Enters(number, wait) = &mut client.doing
                && gates[*number] == name
            {
                wait.tell();
            }
        }
    }
}

/// The state after something that tells those who wait before the gate.
fn told(before: u64, change: impl FnOnce(&Gate)) -> u64 {
    let gate = gate(before);
    let opened = gate.opened.notified();
    tokio::pin!(opened);
    opened.as_mut().enable();
    change(&gate);
    assert!(opened.as_mut().enable(), "those who wait are not told");
    state(&gate)
}
