//! Moving rows between servers: exact row images, the journal of dirty keys, copying, healing, verifying.
//!
//! What decides is pure; the workers ([`copy`], [`heal`], [`verify`]) only connect, ask and obey.

pub mod copy;
pub mod dirty;
pub mod heal;
pub mod image;
pub mod schema;
pub mod tables;
pub mod verify;
