//! End-to-end tests, one file for each subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and helpers of tests are tests")]

mod connect;
mod console;
mod differential;
mod documents;
mod double_write;
mod hostile;
mod prepared;
mod rules;
mod statements;
mod tidy;
mod transactions;
