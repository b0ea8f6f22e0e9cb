//! From statement to plan, and from shard rows to the answer.
//!
//! Everything here is a function of its arguments: SQL text, bound values and one immutable [`topology::Topology`]
//! go in, a plan or a coded [`refusal::Refusal`] comes out. There is no socket, clock, file, randomness or global
//! state in this crate, so every decision can be tested in microseconds and replayed from a log line.

pub mod bind;
pub mod day;
pub mod document;
pub mod function;
pub mod gray;
pub mod key;
pub mod lex;
pub mod merge;
pub mod moment;
pub mod plan;
pub mod refusal;
pub mod rules;
pub mod schema;
pub mod stored;
pub mod topology;
pub mod transition;
