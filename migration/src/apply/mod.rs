//! Applying an authority's stream to the other side of a move.
//!
//! - Changes are routed by both row images: the same home is an upsert, another home a deletion there and an upsert here.
//! - A [`Batch`](batch::Batch) keeps the last state of every key, so a backlog shrinks while it is read. Writing a batch
//!   twice changes nothing.
//! - A target's position is committed in the same transaction as the rows it describes, by the connection that commits
//!   last. What a crash leaves behind is at most a batch whose rows are there and whose position is not. A target that dies
//!   may lose what it had committed last, position first; the stream notices before anybody is told that all is there.
//! - Every transaction of ours begins with a row of `shardway_progress`, so that a stream in the other direction can
//!   tell it from an application's.
//! - Shards may each have a row under one primary key; a row is never written over another shard's (`rivals`).
//! - A chunk that is being copied and the stream never write the same row at the same time ([`windows`]).
//!
//! A [`follow::Follower`] reads a log (`by_log`) or, where there is none to be read, the rows that were stamped lately
//! (`by_stamps`). Both feed one `writer`, and for everybody else both are one [`tail::Tail`].

pub mod batch;
mod by_log;
mod by_stamps;
pub mod follow;
mod guarded;
mod lanes;
mod marking;
pub mod progress;
mod rivals;
mod strays;
pub mod tail;
pub mod windows;
mod writer;

pub(crate) use guarded::bring_in_line;
