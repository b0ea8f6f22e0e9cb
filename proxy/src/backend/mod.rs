//! Connections to backends: one thin connection type, pools of them per worker, and the health everybody sees.
//!
//! - A connection knows what it has applied (session variables, database, prepared statements); what it does not know
//!   for sure it forgets, and is reset or closed before somebody else gets it.
//! - Pools belong to one worker, so a checkout takes no lock and wakes no other thread.

pub mod connection;
pub mod health;
pub mod pool;
pub mod replicas;
pub mod settings;
pub mod statements;
pub mod trust;
pub mod vars;
pub mod warm;

pub use connection::{CommandError, Connection};
pub use pool::{Checkout, Class, Pool, Purpose};
