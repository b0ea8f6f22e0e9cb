//! Clients of the model: transactions, and statements outside of one.

use std::sync::Arc;

use super::barrier::Step;
use super::{GATES, Mutant, Versions, Wait, World, gate, state};
use crate::gate::{Pass, Visitor};

/// When a transaction leaves its gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ends {
    AfterEachStatement,
    WithTheLast,
}

/// What a client does: the gates of each statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Course(pub(super) Ends, pub(super) &'static [&'static [usize]]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Plans,
    /// The n-th gate of the statement.
    Enters(usize, Wait),
    Checks,
    Runs,
    Leaves,
    /// Whoever waits for this gate to be empty, that it is.
    Tells(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) course: Course,
    pub(super) statement: usize,
    pub(super) doing: Doing,
    pub(super) inside: Vec<usize>,
    /// The rules of the plan.
    pub(super) planned: (u8, Versions),
    /// By gate, under which version its tables have been used and are not left.
    pub(super) used: [Option<u8>; GATES],
}

impl Client {
    pub(super) fn new(course: &Course) -> Client {
        Client {
            course: course.clone(),
            statement: 0,
            doing: Doing::Plans,
            inside: Vec::new(),
            planned: (0, [0; GATES]),
            used: [None; GATES],
        }
    }

    pub(super) fn gates(&self) -> &'static [usize] {
        self.course.1.get(self.statement).copied().unwrap_or_default()
    }

    /// Past the gates that it is inside of already.
    fn comes_to(&mut self, mut gate: usize) {
        while self.gates().get(gate).is_some_and(|gate| self.inside.contains(gate)) {
            gate += 1;
        }
        self.doing =
            if gate == self.gates().len() { Doing::Checks } else { Doing::Enters(gate, Wait::Comes) };
    }

    pub(super) fn is_over(&self) -> bool {
        self.doing == Doing::Plans && self.gates().is_empty()
    }
}

impl World {
    /// The next step of a client, if it may be taken.
    pub(super) fn client(&mut self, at: usize, mutant: Mutant) -> Option<()> {
        let client = &mut self.clients[at];
        match client.doing {
            Doing::Plans if client.is_over() => return None,
            Doing::Plans => {
                client.planned = (self.version, self.of);
                client.comes_to(0);
            }
            Doing::Enters(number, wait) => {
                let (name, is_new) = (client.gates()[number], client.inside.is_empty());
                let visitor = match mutant {
                    Mutant::NewPasses => Visitor::Inside,
                    Mutant::InsideWaits => Visitor::New,
                    _ if is_new => Visitor::New,
                    _ => Visitor::Inside,
                };
                match wait.next(mutant, || entered(self.gates[name], visitor))? {
                    Ok(state) => {
                        self.gates[name] = state;
                        client.inside.push(name);
                        client.comes_to(number + 1);
                        self.is_overtaken |=
                            is_new && self.barriers.iter().any(|barrier| barrier.holds.contains(&name));
                    }
                    Err(wait) => client.doing = Doing::Enters(number, wait),
                }
            }
            Doing::Checks if client.planned.0 == self.version || mutant == Mutant::KeepsItsPlan => {
                client.gates().iter().for_each(|gate| client.used[*gate] = Some(client.planned.1[*gate]));
                client.doing = Doing::Runs;
            }
            Doing::Checks if client.course.0 == Ends::AfterEachStatement => client.doing = Doing::Leaves,
            Doing::Checks => client.doing = Doing::Plans,
            Doing::Runs => {
                client.statement += 1;
                let is_over = client.gates().is_empty() || client.course.0 == Ends::AfterEachStatement;
                client.doing = if is_over { Doing::Leaves } else { Doing::Plans };
            }
            Doing::Leaves => {
                client.used = [None; GATES];
                client.doing = Doing::Plans;
                if !client.inside.is_empty() {
                    let name = client.inside.remove(0);
                    let (state, tells) = left(self.gates[name]);
                    self.gates[name] = state;
                    client.doing = if tells { Doing::Tells(name) } else { Doing::Leaves };
                }
            }
            Doing::Tells(name) => {
                client.doing = Doing::Leaves;
                for barrier in &mut self.barriers {
                    if let Step::Empties(number, _, wait) = &mut barrier.step
                        && barrier.gates[*number] == name
                    {
                        wait.tell();
                    }
                }
            }
        }
        Some(())
    }
}

fn entered(before: u64, visitor: Visitor) -> Option<u64> {
    let gate = gate(before);
    let pass = gate.try_enter(visitor)?;
    let after = state(&gate);
    drop(pass);
    Some(after)
}

/// The state, and whether those who wait for an empty gate are told.
fn left(before: u64) -> (u64, bool) {
    let gate = gate(before);
    let drained = gate.drained.notified();
    tokio::pin!(drained);
    drained.as_mut().enable();
    drop(Pass(Arc::clone(&gate)));
    (state(&gate), drained.as_mut().enable())
}
