//! Chunks that are being copied while the stream goes on. Pure.
//!
//! A chunk is read between two marks. A row that the stream touches between them may have been read before or after
//! that change, so it is left to the stream; every other row is as it was at both marks. When the stream stands at the
//! closing mark, the rest of the chunk may be inserted where absent. From then until the insertion has been committed,
//! the chunk's keys are guarded: a later change of one of them waits, or a deleted row would rise again.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unique;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::image::Key;
use crate::mark::Token;

/// Names a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowId(pub u64);

/// Keys of a chunk.
pub type Keys = Arc<HashSet<Key>>;

/// The windows of one stream.
#[derive(Debug, Default)]
pub struct Windows {
    windows: HashMap<WindowId, Window>,
    next: u64,
}

#[derive(Debug)]
struct Window {
    /// The table of the move whose rows are read.
    table: usize,
    opens: Token,
    /// Known once the chunk has been read.
    closes: Option<(Token, Keys)>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The opening mark has not come by yet.
    Ahead,
    /// Keys that the stream touches are collected.
    Open(HashSet<Key>),
    /// The stream stands behind the closing mark; the chunk's keys are guarded.
    Guarding,
}

/// The stream had to begin anew, so what it touched is not known: the chunk must be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream began anew while a chunk was read")]
pub struct WindowLost;

impl Windows {
    /// A window over `table` that opens when the stream shows the mark. To be called before the mark is written.
    pub fn announce(&mut self, table: usize, opens: Token) -> WindowId {
        let id = WindowId(self.next);
        self.next += 1;
        self.windows.insert(id, Window { table, opens, closes: None, state: State::Ahead });
        id
    }

    /// The chunk with these keys has been read; the window closes when the stream shows the mark. To be called before
    /// the mark is written.
    ///
    /// # Errors
    /// [`WindowLost`].
    pub fn close_at(&mut self, id: WindowId, closes: Token, keys: Keys) -> Result<(), WindowLost> {
        let window = self.windows.get_mut(&id).ok_or(WindowLost)?;
        window.closes = Some((closes, keys));
        Ok(())
    }

    /// The stream touches these keys of a table.
    pub fn touch<'a>(&mut self, table: usize, keys: impl Iterator<Item = &'a Key> + Clone) {
        for window in self.windows.values_mut().filter(|window| window.table == table) {
            if let State::Open(touched) = &mut window.state {
                touched.extend(keys.clone().cloned());
            }
        }
    }

    /// The stream shows a mark. Returns the windows that close there, each with the keys it must leave out: apply
    /// everything before the mark, then let their chunks be inserted.
    pub fn at_mark(&mut self, token: Token) -> Vec<(WindowId, HashSet<Key>)> {
        let mut closing = Vec::new();
        for (id, window) in &mut self.windows {
            match &mut window.state {
                State::Ahead if window.opens == token => window.state = State::Open(HashSet::new()),
                State::Open(touched)
                    if window.closes.as_ref().is_some_and(|(closes, _)| *closes == token) =>
                {
                    closing.push((*id, std::mem::take(touched)));
                    window.state = State::Guarding;
                }
                State::Ahead | State::Open(_) | State::Guarding => {}
            }
        }
        closing
    }

    /// Does a window begin at this mark?
    #[must_use]
    pub fn opens_at(&self, token: Token) -> bool {
        self.windows.values().any(|window| window.opens == token)
    }

    /// Does a window end at this mark?
    #[must_use]
    pub fn closes_at(&self, token: Token) -> bool {
        self.windows.values().any(|window| window.closes.as_ref().is_some_and(|(closes, _)| *closes == token))
    }

    /// The guarded windows that hold one of these keys of a table.
    #[must_use]
    pub fn guards<'a>(&self, keys: impl Iterator<Item = (usize, &'a Key)> + Clone) -> Vec<WindowId> {
        let holds = |window: &Window| match (&window.state, &window.closes) {
            (State::Guarding, Some((_, guarded))) => {
                keys.clone().any(|(table, key)| table == window.table && guarded.contains(key))
            }
            _ => false,
        };
        self.windows.iter().filter(|(_, window)| holds(window)).map(|(id, _)| *id).collect()
    }

    /// The chunk has been inserted, or given up.
    pub fn finish(&mut self, id: WindowId) {
        self.windows.remove(&id);
    }

    /// The stream begins anew: windows that collect know too little from now on. Returns those that are lost. Guarding
    /// ones stay, since what they guard does not depend on where the stream is.
    pub fn restart(&mut self) -> Vec<WindowId> {
        let lost: Vec<WindowId> = self
            .windows
            .iter()
            .filter(|(_, window)| !matches!(window.state, State::Guarding))
            .map(|(id, _)| *id)
            .collect();
        for id in &lost {
            self.windows.remove(id);
        }
        lost
    }
}
