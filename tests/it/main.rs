//! End-to-end tests, one file for each subject.

mod connect;
mod differential;
mod documents;
mod hostile;
mod prepared;
mod rules;
mod statements;
mod tidy;
mod transactions;
