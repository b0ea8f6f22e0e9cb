//! Following one server's stream and applying it, whatever the stream is made of.
//!
//! A lost connection, to either side, begins the stream anew at the saved position, after a growing pause. What cannot be
//! carried exactly stops it for good, with the reason; it never goes on past it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shardway_routing::topology::{Server, Side};
use tokio::task::JoinHandle;

use super::marking::{Logged, Marking, Passed};
use super::progress::StreamName;
use super::tail::Tail;
use super::{by_log, by_stamps};
use crate::position::Position;
use crate::stamps;
use crate::stream::{Missed, StreamError};
use crate::tables::{MovingTable, WorkError};

/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Whose stream is applied where.
#[derive(Debug, Clone)]
pub struct Course {
    pub stream: StreamName,
    /// The server that is followed.
    pub server: Server,
    pub authority: Side,
    pub tables: Arc<Vec<MovingTable>>,
    pub trail: Trail,
    /// Where to begin when nothing has been applied yet.
    pub start: Position,
    pub limits: Limits,
}

/// What its changes are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trail {
    Log,
    Stamps(stamps::Rule),
}

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections to each server that is written.
    pub parallel: usize,
    pub batch_rows: usize,
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { parallel: 4, batch_rows: 4_000, batch_bytes: 8 << 20 }
    }
}

/// A running follower; it stops when dropped.
#[derive(Debug)]
pub struct Follower {
    pub tail: Arc<Tail>,
    /// The side that is followed.
    pub authority: Side,
    task: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
        self.heartbeat.abort();
        self.tail.stop("the stream is no longer followed", Missed::There);
    }
}

impl Follower {
    /// Begins to follow.
    #[must_use]
    pub fn start(course: Course) -> Follower {
        let (server, authority) = (course.server.clone(), course.authority);
        let marking = match course.trail {
            Trail::Log => {
                Marking::Logged(Logged::new(server.clone(), by_log::mark_databases(&course), &course.stream))
            }
            Trail::Stamps(ref rule) => Marking::Passed(Passed::new(rule.clone())),
        };
        let tail = Arc::new(Tail::new(server, marking));
        let task = tokio::spawn(run(course, Arc::clone(&tail)));
        let heartbeat = tokio::spawn(beat(Arc::clone(&tail)));
        Follower { tail, authority, task, heartbeat }
    }

    /// Stops following and waits until nothing is being written any more.
    pub async fn stop(mut self) {
        self.tail.stop("the stream is no longer followed", Missed::There);
        self.heartbeat.abort();
        let _ = (&mut self.task).await;
    }
}

/// One heartbeat a second tells how far behind the stream is, by one clock.
async fn beat(tail: Arc<Tail>) {
    loop {
        if let Err(error) = tail.beat().await {
            tracing::debug!(%error, "no heartbeat could be written");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn run(course: Course, tail: Arc<Tail>) {
    let mut failures = 0_u32;
    while !tail.is_stopped() {
        let before = tail.applied_changes.load(Ordering::Relaxed);
        let followed = match &tail.marking {
            Marking::Logged(marks) => by_log::follow(&course, &tail, marks).await,
            Marking::Passed(passed) => {
                by_stamps::follow(&course, &tail, passed).await.map_err(FollowError::from)
            }
        };
        let Err(error) = followed else { return };
        if !is_passing(&error) {
            tracing::error!(stream = course.stream.0, %error, "the stream has stopped");
            tail.stop(&error.to_string(), error.missed());
            return;
        }
        if tail.applied_changes.load(Ordering::Relaxed) > before {
            failures = 0;
        }
        failures += 1;
        let pause = Duration::from_secs(1 << failures.min(6).saturating_sub(1)).min(PAUSE_MAX);
        tracing::warn!(stream = course.stream.0, %error, pause_s = pause.as_secs(), "the stream begins anew");
        tail.began_anew(&error.to_string());
        tail.pause(pause).await;
    }
}

/// Can the same succeed later without anybody's help?
fn is_passing(error: &FollowError) -> bool {
    match error {
        FollowError::Stream(error) => matches!(error, StreamError::Lost(_)),
        FollowError::Work(error) => error.is_passing(),
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Work(#[from] WorkError),
}

impl FollowError {
    fn missed(&self) -> Missed {
        match self {
            FollowError::Stream(error) => error.missed(),
            // It was read, and could not be written.
            FollowError::Work(_) => Missed::There,
        }
    }
}
