//! The proxy: a MySQL server to its clients, a MySQL client to its backends.

pub mod config;
pub mod gate;
pub mod wire;
