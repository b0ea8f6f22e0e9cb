//! Every interleaving of an application, a copier and the stream over a few rows ends with both sides equal; and without
//! any one of the rules, some interleaving does not.

use std::collections::BTreeMap;

use super::*;

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Inserts rows that the stream touched between the marks.
    KeepsTouched,
    /// Lets the stream pass a chunk that is being inserted.
    GuardsNothing,
    /// Reads the chunk before the opening mark is written.
    ReadsEarly,
}

#[derive(Debug, Clone, Copy)]
enum Logged {
    Row(u8, Option<u8>),
    Mark(Token),
}

type Rows = BTreeMap<u8, u8>;

/// Everything that can differ between two interleavings.
#[derive(Debug, Clone)]
struct World {
    source: Rows,
    target: Rows,
    log: Vec<Logged>,
    writes_done: usize,
    applied: usize,
    copier: usize,
    chunk: Rows,
    /// Windows cannot be cloned, so they are played again from this.
    calls: Vec<Call>,
}

#[derive(Debug, Clone)]
enum Call {
    Announce,
    Close(Vec<u8>),
    Touch(u8),
    Mark(Token),
    Finish,
}

const OPENS: Token = Token(1);
const CLOSES: Token = Token(2);
const ID: WindowId = WindowId(0);

fn key(row: u8) -> Key {
    Key(vec![vec![row]])
}

/// The windows after some calls, and what the closing mark said.
fn played(calls: &[Call]) -> (Windows, Option<HashSet<Key>>) {
    let (mut windows, mut touched) = (Windows::default(), None);
    for call in calls {
        match call {
            Call::Announce => assert_eq!(windows.announce(0, OPENS), ID),
            Call::Close(rows) => {
                let keys = Arc::new(rows.iter().copied().map(key).collect());
                windows.close_at(ID, CLOSES, keys).unwrap();
            }
            Call::Touch(row) => windows.touch(0, [key(*row)].iter()),
            Call::Mark(token) => {
                for (_, keys) in windows.at_mark(*token) {
                    touched = Some(keys);
                }
            }
            Call::Finish => windows.finish(ID),
        }
    }
    (windows, touched)
}

impl World {
    fn new(source: &[(u8, u8)]) -> World {
        World {
            source: source.iter().copied().collect(),
            target: Rows::new(),
            log: Vec::new(),
            writes_done: 0,
            applied: 0,
            copier: 0,
            chunk: Rows::new(),
            calls: Vec::new(),
        }
    }

    fn application(&self, writes: &[(u8, Option<u8>)]) -> Option<World> {
        let (row, value) = *writes.get(self.writes_done)?;
        let mut after = self.clone();
        after.writes_done += 1;
        match value {
            Some(value) => after.source.insert(row, value),
            None => after.source.remove(&row),
        };
        after.log.push(Logged::Row(row, value));
        Some(after)
    }

    fn copy(&self, mutant: Mutant) -> Option<World> {
        let mut after = self.clone();
        after.copier += 1;
        let early = mutant == Mutant::ReadsEarly;
        match self.copier {
            0 if early => after.chunk.clone_from(&self.source),
            0 | 1 if (self.copier == 0) != early => {
                after.calls.push(Call::Announce);
                after.log.push(Logged::Mark(OPENS));
            }
            1 => after.chunk.clone_from(&self.source),
            2 => {
                after.calls.push(Call::Close(after.chunk.keys().copied().collect()));
                after.log.push(Logged::Mark(CLOSES));
            }
            3 => {
                let touched = played(&self.calls).1?;
                for (row, value) in &self.chunk {
                    let leave = touched.contains(&key(*row)) && mutant != Mutant::KeepsTouched;
                    if !leave {
                        after.target.entry(*row).or_insert(*value);
                    }
                }
                after.calls.push(Call::Finish);
            }
            _ => return None,
        }
        Some(after)
    }

    fn apply(&self, mutant: Mutant) -> Option<World> {
        let mut after = self.clone();
        after.applied += 1;
        match *self.log.get(self.applied)? {
            Logged::Row(row, value) => {
                let wanted = [key(row)];
                let guards = played(&self.calls).0.guards(wanted.iter().map(|key| (0, key)));
                if !guards.is_empty() && mutant != Mutant::GuardsNothing {
                    return None;
                }
                after.calls.push(Call::Touch(row));
                match value {
                    Some(value) => after.target.insert(row, value),
                    None => after.target.remove(&row),
                };
            }
            Logged::Mark(token) => after.calls.push(Call::Mark(token)),
        }
        Some(after)
    }
}

/// Plays every interleaving; returns how many ended, and one that did not end equal.
fn explore(world: World, writes: &[(u8, Option<u8>)], mutant: Mutant) -> (u64, Option<World>) {
    let steps = [world.application(writes), world.copy(mutant), world.apply(mutant)];
    let mut ends = 0;
    let mut stuck = true;
    for next in steps.into_iter().flatten() {
        stuck = false;
        let (more, wrong) = explore(next, writes, mutant);
        ends += more;
        if wrong.is_some() {
            return (ends, wrong);
        }
    }
    if stuck {
        assert!(world.copier == 4 && world.applied == world.log.len(), "nobody can go on: {world:?}");
        return (1, (world.source != world.target).then_some(world));
    }
    (ends, None)
}

/// Histories of three writes over three rows, one of them absent at first.
const HISTORIES: &[&[(u8, Option<u8>)]] = &[
    &[(0, Some(10)), (0, None), (1, Some(11))],
    &[(0, None), (0, Some(20)), (2, Some(1))],
    &[(2, Some(5)), (2, None), (0, Some(7))],
    &[(1, None), (2, Some(3)), (1, Some(4))],
];

#[test]
fn every_interleaving_ends_equal() {
    for writes in HISTORIES {
        let (ends, wrong) = explore(World::new(&[(0, 1), (1, 1)]), writes, Mutant::None);
        assert!(wrong.is_none(), "{wrong:?}");
        assert!(ends > 500, "only {ends} interleavings");
    }
}

#[test]
fn each_rule_is_needed() {
    for mutant in [Mutant::KeepsTouched, Mutant::GuardsNothing, Mutant::ReadsEarly] {
        let fails =
            HISTORIES.iter().any(|writes| explore(World::new(&[(0, 1), (1, 1)]), writes, mutant).1.is_some());
        assert!(fails, "{mutant:?} is never wrong");
    }
}

#[test]
fn a_stream_that_begins_anew_loses_open_windows_and_keeps_guards() {
    let mut windows = Windows::default();
    let (open, guarding) = (windows.announce(0, Token(1)), windows.announce(0, Token(2)));
    windows.close_at(guarding, Token(3), Arc::new([key(1)].into())).unwrap();
    assert!(windows.at_mark(Token(2)).is_empty());
    assert_eq!(windows.at_mark(Token(3)), [(guarding, HashSet::new())]);
    assert_eq!(windows.restart(), [open]);
    assert_eq!(windows.close_at(open, Token(4), Keys::default()), Err(WindowLost));
    assert_eq!(windows.guards([(0, &key(1))].into_iter()), [guarding]);
    assert!(windows.guards([(1, &key(1))].into_iter()).is_empty());
    windows.finish(guarding);
    assert!(windows.guards([(0, &key(1))].into_iter()).is_empty());
}
