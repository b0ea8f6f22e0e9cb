//! A model of copying and following a table with one further unique key: whatever an application does with its values, in
//! every interleaving both sides end equal, or somebody is told that two rows want the same value. Without any one of
//! the rules, some interleaving ends otherwise.
//!
//! Rows are read between marks, with or without double write beside the stream.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{Token, WindowId, Windows};
use crate::image::Key;

/// A rule that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Writes the rows of a batch one by one, where all that it touches must go first.
    WritesInPlace,
    /// Takes a row whose value another one has for a row that is there.
    IgnoresConflicts,
    /// Tells of a conflict that may pass.
    NeverWaits,
    /// Writes what the log says beside rows that are newer, and nothing else.
    FollowsTheLetter,
}

/// How rows come to the other side, beside the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Course {
    Windows,
    /// Every write is done to the other side as well, where that has room for it.
    WindowsAndDoubleWrite,
}

const COURSES: [Course; 2] = [Course::Windows, Course::WindowsAndDoubleWrite];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Logged {
    Row(u8, Option<u8>),
    Mark(u64),
}

/// The unique value by primary key.
type Rows = BTreeMap<u8, u8>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Copier {
    Opens,
    Reads,
    Closes(Rows),
    Inserts(Rows),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Call {
    Announce,
    Close(Vec<u8>),
    Touch(u8),
    Mark(u64),
    Finish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    course: Course,
    source: Rows,
    target: Rows,
    log: Vec<Logged>,
    written: usize,
    applied: usize,
    copier: Copier,
    /// Windows cannot be cloned, so they are played again from this.
    calls: Vec<Call>,
    conflicts: u64,
    /// The stream has met a row that it cannot write.
    is_stuck: bool,
}

/// More than the writes of a history can make.
const CONFLICTS_MAX: u64 = 4;

fn key(row: u8) -> Key {
    Key(vec![vec![row]])
}

/// Another row has the value.
struct Conflict;

fn insert(rows: &mut Rows, row: u8, value: u8) -> Result<(), Conflict> {
    if rows.iter().any(|(other, has)| *has == value && *other != row) {
        return Err(Conflict);
    }
    rows.insert(row, value);
    Ok(())
}

/// The windows after some calls, and what the last closing mark said.
fn played(calls: &[Call]) -> (Windows, Option<HashSet<Key>>) {
    let (mut windows, mut touched, mut now) = (Windows::default(), None, WindowId(0));
    for call in calls {
        match call {
            Call::Announce => {
                (now, touched) = (windows.announce(0, Token(2 * windows.next)), None);
            }
            Call::Close(rows) => {
                let keys = Arc::new(rows.iter().copied().map(key).collect());
                let closes = windows.close_at(now, Token(2 * now.0 + 1), keys);
                assert!(closes.is_ok(), "nothing restarts the stream");
            }
            Call::Touch(row) => windows.touch(0, [key(*row)].iter()),
            Call::Mark(token) => {
                if let Some((_, keys)) = windows.at_mark(Token(*token)).pop() {
                    touched = Some(keys);
                }
            }
            Call::Finish => windows.finish(now),
        }
    }
    (windows, touched)
}

impl World {
    fn new(course: Course, source: &[(u8, u8)]) -> World {
        World {
            course,
            source: source.iter().copied().collect(),
            target: Rows::new(),
            log: Vec::new(),
            written: 0,
            applied: 0,
            copier: Copier::Opens,
            calls: Vec::new(),
            conflicts: 0,
            is_stuck: false,
        }
    }

    /// Everything that may happen next.
    fn next(&self, history: &[(u8, Option<u8>)], mutant: Mutant) -> Vec<World> {
        if self.is_stuck || self.is_told(mutant) {
            return Vec::new();
        }
        let batches = [1, 2].map(|rows| self.apply(rows, mutant));
        [self.write(history), self.copy(mutant)].into_iter().chain(batches).flatten().collect()
    }

    fn is_told(&self, mutant: Mutant) -> bool {
        self.conflicts > if mutant == Mutant::NeverWaits { 0 } else { CONFLICTS_MAX }
    }

    fn write(&self, history: &[(u8, Option<u8>)]) -> Option<World> {
        let (row, value) = *history.get(self.written)?;
        let mut after = self.clone();
        after.written += 1;
        after.log.push(Logged::Row(row, value));
        after.source.remove(&row);
        after.source.extend(value.map(|value| (row, value)));
        if self.course == Course::WindowsAndDoubleWrite {
            let mut target = after.target.clone();
            target.remove(&row);
            // What the other side does not take is left to the stream.
            if value.is_none_or(|value| insert(&mut target, row, value).is_ok()) {
                after.target = target;
            }
        }
        Some(after)
    }

    fn copy(&self, mutant: Mutant) -> Option<World> {
        let mut after = self.clone();
        after.copier = match &self.copier {
            Copier::Opens => {
                after.calls.push(Call::Announce);
                after.log.push(Logged::Mark(2 * self.conflicts));
                Copier::Reads
            }
            Copier::Reads => Copier::Closes(self.source.clone()),
            Copier::Closes(chunk) => {
                after.calls.push(Call::Close(chunk.keys().copied().collect()));
                after.log.push(Logged::Mark(2 * self.conflicts + 1));
                Copier::Inserts(chunk.clone())
            }
            Copier::Inserts(chunk) => {
                let touched = played(&self.calls).1?;
                let absent = chunk
                    .iter()
                    .filter(|(row, _)| !touched.contains(&key(**row)) && !self.target.contains_key(*row));
                let rows: Rows = absent.map(|(row, value)| (*row, *value)).collect();
                after.calls.push(Call::Finish);
                after.insert_all(&rows, mutant).map_or(Copier::Opens, |()| Copier::Done)
            }
            Copier::Done => return None,
        };
        if after.conflicts > self.conflicts {
            after.target.clone_from(&self.target);
        }
        Some(after)
    }

    fn insert_all(&mut self, rows: &Rows, mutant: Mutant) -> Result<(), Conflict> {
        for (row, value) in rows {
            let inserted = insert(&mut self.target, *row, *value);
            if inserted.is_err() && mutant != Mutant::IgnoresConflicts {
                self.conflicts += 1;
                return inserted;
            }
        }
        Ok(())
    }

    /// The stream applies a mark, or so many rows in one batch.
    fn apply(&self, rows: usize, mutant: Mutant) -> Option<World> {
        let mut after = self.clone();
        if let Logged::Mark(token) = self.log.get(self.applied)? {
            after.applied += 1;
            after.calls.push(Call::Mark(*token));
            return (rows == 1).then_some(after);
        }
        let mut batch: BTreeMap<u8, Option<u8>> = BTreeMap::new();
        for logged in self.log.get(self.applied..self.applied + rows)? {
            let Logged::Row(row, value) = logged else { return None };
            batch.insert(*row, *value);
            after.calls.push(Call::Touch(*row));
        }
        let keys: Vec<Key> = batch.keys().copied().map(key).collect();
        if !played(&self.calls).0.guards(keys.iter().map(|key| (0, key))).is_empty() {
            return None;
        }
        after.applied += rows;
        // Under double write the other side is never to go back.
        if self.course == Course::WindowsAndDoubleWrite && mutant != Mutant::FollowsTheLetter {
            after.bring_in_line(&batch);
        } else {
            after.is_stuck = after.put(&batch, mutant).is_err();
        }
        Some(after)
    }

    /// What the log says.
    fn put(&mut self, batch: &BTreeMap<u8, Option<u8>>, mutant: Mutant) -> Result<(), Conflict> {
        let is_gone = |row: &u8| match mutant {
            Mutant::WritesInPlace => batch.get(row) == Some(&None),
            _ => batch.contains_key(row),
        };
        self.target.retain(|row, _| !is_gone(row));
        for (row, value) in batch {
            if let Some(value) = value {
                insert(&mut self.target, *row, *value)?;
            }
        }
        Ok(())
    }

    /// What the source has now, where the log does not say what is there. Who has the value of another row is out of date.
    fn bring_in_line(&mut self, batch: &BTreeMap<u8, Option<u8>>) {
        for (row, value) in batch {
            if self.target.get(row) == value.as_ref() {
                continue;
            }
            self.target.remove(row);
            if let Some(now) = self.source.get(row) {
                self.target.retain(|_, has| has != now);
                self.target.insert(*row, *now);
            }
        }
    }
}

/// How the interleavings of a history end.
#[derive(Debug, Default)]
struct Ends {
    equal: usize,
    told: usize,
    /// With a conflict that has passed.
    after_conflicts: usize,
    wrong: Option<World>,
}

fn look(first: World, history: &[(u8, Option<u8>)], mutant: Mutant) -> Ends {
    let (mut seen, mut open, mut ends) = (HashSet::new(), vec![first], Ends::default());
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let next = world.next(history, mutant);
        if next.is_empty() {
            let is_over = world.copier == Copier::Done && world.applied == world.log.len();
            match () {
                () if world.is_told(mutant) => ends.told += 1,
                () if is_over && world.source == world.target => {
                    ends.equal += 1;
                    ends.after_conflicts += usize::from(world.conflicts > 0);
                }
                () => ends.wrong = Some(world),
            }
        }
        open.extend(next);
    }
    ends
}

const ROWS: [(u8, u8); 2] = [(0, 1), (1, 2)];

/// What an application does with rows and their values.
const HISTORIES: [&[(u8, Option<u8>)]; 4] = [
    // Two rows change their values.
    &[(0, Some(9)), (1, Some(1)), (0, Some(2))],
    // A value is freed by a deletion and taken by another row.
    &[(0, None), (2, Some(1)), (0, Some(3))],
    // A value is taken for a moment, before another row takes it.
    &[(2, Some(5)), (2, None), (0, Some(5))],
    // A value goes round.
    &[(1, Some(8)), (2, Some(2)), (2, None), (1, Some(2))],
];

/// Is there an end that should not be?
fn fails(mutant: Mutant) -> Option<World> {
    let of_one = COURSES.iter().flat_map(|course| HISTORIES.map(|history| (*course, history)));
    let of_one = of_one.filter_map(|(course, history)| {
        let ends = look(World::new(course, &ROWS), history, mutant);
        ends.wrong.or((ends.told > 0).then(|| World::new(course, &ROWS)))
    });
    // Of two shards, which may each have a row of the value.
    let of_two =
        COURSES.iter().filter_map(|course| look(World::new(*course, &[(0, 1), (1, 1)]), &[], mutant).wrong);
    of_one.chain(of_two).next()
}

#[test]
fn both_sides_end_equal_whatever_becomes_of_unique_values() {
    let wrong = fails(Mutant::None);
    assert!(wrong.is_none(), "{wrong:#?}");
}

#[test]
fn conflicts_that_pass_are_met_and_those_that_do_not_are_told() {
    let doubled = World::new(Course::WindowsAndDoubleWrite, &ROWS);
    let met = HISTORIES.iter().map(|history| look(doubled.clone(), history, Mutant::None).after_conflicts);
    assert!(met.sum::<usize>() > 0, "none was met");
    for course in COURSES {
        let ends = look(World::new(course, &[(0, 1), (1, 1)]), &[], Mutant::None);
        assert!(ends.told > 0 && ends.equal == 0, "{course:?}: {ends:?}");
    }
}

#[test]
fn without_any_one_of_its_rules_they_do_not() {
    for mutant in
        [Mutant::WritesInPlace, Mutant::IgnoresConflicts, Mutant::NeverWaits, Mutant::FollowsTheLetter]
    {
        assert!(fails(mutant).is_some(), "{mutant:?} harms nobody, so the rule proves nothing");
    }
}
