//! The proxy: everything of shardway that has a socket, a clock or a file.
//!
//! A statement flows one way: `listen → wire → session → routing's plan → execute → backend → wire → client`.
//! [`execute`] alone sees a plan and a socket together.

pub mod config;
pub mod gate;
pub mod shared;
