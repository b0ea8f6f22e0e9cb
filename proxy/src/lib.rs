//! The proxy: a MySQL server to its clients, a MySQL client to its backends.

pub mod admin;
pub mod backend;
pub mod buffer;
mod claim;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod control;
pub mod control_connection;
pub mod dirty;
mod durable;
pub mod execute;
pub mod followed;
pub mod gate;
pub mod ids;
#[cfg(test)]
mod interleavings;
pub mod latency;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod serve;
pub mod session;
pub mod session_info;
pub mod shadow;
pub mod shared;
pub mod stream;
pub mod tls;
mod utc;
pub mod wire;
pub mod worker;
