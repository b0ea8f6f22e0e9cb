//! The proxy: a MySQL server to its clients, a MySQL client to its backends.

pub mod admin;
pub mod backend;
pub mod buffer;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod control;
pub mod control_connection;
pub mod execute;
pub mod gate;
pub mod listen;
pub mod metrics;
pub mod serve;
pub mod session;
pub mod session_info;
pub mod shared;
pub mod wire;
pub mod worker;
