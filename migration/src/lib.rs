//! Moving rows between servers.
//!
//! In this version: what a server says about its tables. Copying, healing and verifying follow.

pub mod schema;
