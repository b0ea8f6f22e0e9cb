//! Moving rows between servers: exact row images, the journal of dirty keys, copying, healing, verifying.
//!
//! What decides is pure; the workers ([`copy`], [`heal`], [`verify`]) only connect, ask and obey.

pub mod alerts;
pub mod apply;
pub mod backoff;
pub mod backup;
pub mod checkpoint;
pub mod cleanup;
pub mod connection;
pub mod converge;
pub mod copy;
pub mod dirty;
pub mod fence;
pub mod filter;
pub mod heal;
pub mod image;
mod line;
pub mod mark;
pub mod mismatches;
pub mod missed;
pub mod patience;
pub mod phase;
pub mod place;
pub mod point;
mod pool;
pub mod position;
pub mod preflight;
pub mod prepare;
pub mod progress;
pub mod pulse;
pub mod reading;
pub mod record;
pub mod repair;
pub mod replication;
pub mod report;
pub mod retention;
mod room;
pub mod schedule;
pub mod schema;
pub mod sequence;
pub mod settings;
pub mod signals;
pub mod stamps;
pub mod stream;
pub mod tables;
pub mod throttle;
pub mod verify;
