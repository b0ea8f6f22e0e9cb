//! The life of a move, as one function from what is and what happens to what is next. Pure.
//!
//! The runner saves the new state first and acts then, so every action may run twice: a process that was killed between
//! the two finds the state and acts again. What an action needs to know it reads from the servers, never from memory.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use shardway_routing::topology::Side;

/// What a move is doing, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The rules name it; nothing has begun.
    Draft,
    /// Looking for what would make it fail.
    Preflight,
    /// Making tables on the target.
    Prepare,
    /// Noting where the streams begin, before the first row is read.
    Capture,
    /// Carrying the rows over while the streams are applied.
    Copy,
    /// Applying what the streams have ahead.
    CatchUp,
    /// Adding the indexes that were left out.
    Index,
    /// Comparing both sides.
    Verify,
    /// Both sides are equal but for a moment's lag. Gray reads and the switch are open.
    Synced,
    /// Each side owns the writes of some keys and follows the other for the rest: the way back is open.
    Divided,
    /// The target owns writes, the source follows: the way back is open.
    ReverseSync,
    /// The way back is closed; the source's tables are being put aside.
    Finishing,
    /// Nothing is left to do.
    Done,
}

/// A move's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Running {
        phase: Phase,
    },
    /// Streams go on; what copies, compares or cleans up rests.
    Paused {
        phase: Phase,
        reason: String,
        #[serde(default)]
        cause: Cause,
    },
    /// It needs a person; then it goes on with this phase.
    Failed {
        phase: Phase,
        reason: String,
    },
}

/// Why a move is paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An operator or an alert wants it.
    #[default]
    Asked,
    /// A server has been away for longer than it is waited for.
    Away,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An operator says go.
    Start,
    /// The phase's work is done.
    Done,
    /// The phase's work cannot go on.
    Failed(String),
    /// The phase's work has waited for a server for too long.
    Away(String),
    /// The streams cannot go on. What they missed can be had again where they stopped.
    StreamStopped(String),
    /// The streams cannot go on, and what they missed is gone.
    StreamLost(String),
    Pause(String),
    Resume,
    /// Writes have gone to this side.
    Switched(Side),
    /// The writes of some keys have gone to the other side, or come back from it.
    Divided,
    /// Writes have gone to the source without waiting for the streams: the target may have rows that the source lacks.
    Parted(String),
    /// An operator closes the way back.
    Finish,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin the phase's work.
    Work(Phase),
    /// End the work that is going on; what it has saved stays.
    Rest,
    /// Follow the streams of a side that owns writes.
    Follow(Side),
    /// Follow no stream.
    Unfollow,
}

/// The event means nothing now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Phase {
    /// The sides whose streams are followed during the phase.
    #[must_use]
    pub fn follows(self) -> &'static [Side] {
        match self {
            Phase::Copy | Phase::CatchUp | Phase::Index | Phase::Verify | Phase::Synced => &[Side::Source],
            Phase::Divided => &[Side::Source, Side::Target],
            Phase::ReverseSync => &[Side::Target],
            Phase::Draft
            | Phase::Preflight
            | Phase::Prepare
            | Phase::Capture
            | Phase::Finishing
            | Phase::Done => &[],
        }
    }

    /// The side that owns writes, or those of the keys that are not the target's.
    #[must_use]
    pub fn authority(self) -> Side {
        match self {
            Phase::ReverseSync | Phase::Finishing | Phase::Done => Side::Target,
            _ => Side::Source,
        }
    }

    /// Does its work wait for a server that is away? Before rows are on their way somebody waits to be told instead.
    #[must_use]
    pub fn is_patient(self) -> bool {
        !self.follows().is_empty() || self == Phase::Finishing
    }

    /// Has the phase work of its own that ends by itself?
    fn works(self) -> bool {
        !matches!(self, Phase::Draft | Phase::Synced | Phase::Divided | Phase::ReverseSync | Phase::Done)
    }

    /// The phase after the work of this one.
    fn next(self) -> Option<Phase> {
        match self {
            Phase::Preflight => Some(Phase::Prepare),
            Phase::Prepare => Some(Phase::Capture),
            Phase::Capture => Some(Phase::Copy),
            Phase::Copy => Some(Phase::CatchUp),
            Phase::CatchUp => Some(Phase::Index),
            Phase::Index => Some(Phase::Verify),
            Phase::Verify => Some(Phase::Synced),
            Phase::Finishing => Some(Phase::Done),
            Phase::Draft | Phase::Synced | Phase::Divided | Phase::ReverseSync | Phase::Done => None,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl State {
    /// Before anything has begun.
    #[must_use]
    pub fn draft() -> State {
        State::Running { phase: Phase::Draft }
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            State::Running { phase } | State::Paused { phase, .. } | State::Failed { phase, .. } => *phase,
        }
    }

    /// `Copy`, `Paused` or `Failed`, as status tells it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            State::Running { phase } => phase.to_string(),
            State::Paused { .. } => "Paused".to_owned(),
            State::Failed { .. } => "Failed".to_owned(),
        }
    }

    /// Why a person must do something before the move goes on; `None` where none must, or one has paused it.
    #[must_use]
    pub fn needs_a_person(&self) -> Option<&str> {
        match self {
            State::Failed { reason, .. } | State::Paused { reason, cause: Cause::Away, .. } => Some(reason),
            State::Running { .. } | State::Paused { .. } => None,
        }
    }

    /// What a process that finds this state begins with.
    #[must_use]
    pub fn resume(&self) -> Vec<Action> {
        match self {
            State::Running { phase } => enter(*phase),
            // The streams of a move that was in step go on trying; a copy that failed waits for a person.
            State::Paused { phase, .. } | State::Failed { phase, .. } => follow(*phase).collect(),
        }
    }

    /// The only way a move changes its state. Says what to do next and does none of it.
    ///
    /// # Errors
    /// [`Refused`] when the event means nothing now; the state stays.
    pub fn on(self, event: Event) -> Result<(State, Vec<Action>), Refused> {
        let phase = self.phase();
        match (self, event) {
            (State::Running { phase: Phase::Draft }, Event::Start) => Ok(run(Phase::Preflight)),
            (State::Failed { .. } | State::Paused { .. }, Event::Start | Event::Resume) => Ok(run(phase)),
            (State::Running { .. }, Event::Done) => match phase.next() {
                Some(next) => Ok(run(next)),
                None => refuse("no work is going on"),
            },
            (State::Running { .. } | State::Paused { .. }, Event::Failed(reason)) => {
                Ok((State::Failed { phase, reason }, vec![Action::Rest]))
            }
            (State::Running { .. } | State::Paused { .. }, Event::StreamStopped(reason)) => {
                let phase = if phase == Phase::Synced { Phase::CatchUp } else { phase };
                Ok((State::Failed { phase, reason }, vec![Action::Rest, Action::Unfollow]))
            }
            (State::Running { .. } | State::Paused { .. }, Event::StreamLost(reason)) => {
                let (phase, reason) = match phase {
                    Phase::ReverseSync => {
                        let ends = "the way back is lost, and `shardway move finish` ends the move";
                        (phase, format!("{ends} ({reason})"))
                    }
                    Phase::Divided => {
                        let ends = "one side can no longer be kept current with the keys that the other owns, and \
                                    `shardway move rollback --emergency` takes all of them to the source";
                        (phase, format!("{ends} ({reason})"))
                    }
                    _ => (Phase::Preflight, reason),
                };
                Ok((State::Failed { phase, reason }, vec![Action::Rest, Action::Unfollow]))
            }
            (State::Running { .. }, Event::Pause(reason)) => {
                Ok((State::Paused { phase, reason, cause: Cause::Asked }, vec![Action::Rest]))
            }
            (State::Running { .. }, Event::Away(reason)) => {
                Ok((State::Paused { phase, reason, cause: Cause::Away }, vec![Action::Rest]))
            }
            (_, Event::Switched(to)) => switched(phase, to),
            (_, Event::Divided) => match phase {
                Phase::Synced | Phase::Divided | Phase::ReverseSync => Ok(run(Phase::Divided)),
                _ => refuse("the sides are not in step"),
            },
            (_, Event::Parted(reason)) if matches!(phase, Phase::Divided | Phase::ReverseSync) => {
                Ok((State::Failed { phase: Phase::Preflight, reason }, vec![Action::Rest, Action::Unfollow]))
            }
            // Whatever ails the way back, it is given up.
            (_, Event::Finish) if phase == Phase::ReverseSync => {
                let (state, mut actions) = run(Phase::Finishing);
                actions.insert(0, Action::Unfollow);
                Ok((state, actions))
            }
            (state, event) => {
                refuse(&format!("{} means nothing to a move that is {}", event.name(), state.name()))
            }
        }
    }
}

impl Event {
    /// Does it end a switch that has been intended?
    #[must_use]
    pub fn is_switch(&self) -> bool {
        matches!(self, Event::Switched(_) | Event::Divided | Event::Parted(_))
    }

    fn name(&self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Done => "the end of the work",
            Event::Failed(_) => "a failure",
            Event::Away(_) => "a server that is away",
            Event::StreamStopped(_) | Event::StreamLost(_) => "the end of a stream",
            Event::Pause(_) => "pause",
            Event::Resume => "resume",
            Event::Switched(_) => "a switch",
            Event::Divided => "a division of keys",
            Event::Parted(_) => "an emergency rollback",
            Event::Finish => "finish",
        }
    }
}

fn switched(phase: Phase, to: Side) -> Result<(State, Vec<Action>), Refused> {
    match (phase, to) {
        (Phase::Synced | Phase::Divided, Side::Target) => Ok(run(Phase::ReverseSync)),
        (Phase::ReverseSync | Phase::Divided, Side::Source) => Ok(run(Phase::Synced)),
        (_, Side::Target) => refuse("the target is not in step with the source"),
        (_, Side::Source) => refuse("the way back is closed"),
    }
}

fn run(phase: Phase) -> (State, Vec<Action>) {
    (State::Running { phase }, enter(phase))
}

fn enter(phase: Phase) -> Vec<Action> {
    follow(phase).chain(phase.works().then_some(Action::Work(phase))).collect()
}

fn follow(phase: Phase) -> impl Iterator<Item = Action> {
    phase.follows().iter().copied().map(Action::Follow)
}

fn refuse(why: &str) -> Result<(State, Vec<Action>), Refused> {
    Err(Refused(why.to_owned()))
}
