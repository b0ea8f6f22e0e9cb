//! Smaller parts of the file, as written: which part of a move's statements goes over, how a backend is connected to.

use std::ops::Range;

use crate::document::{Found, Section};

/// Where old rows end.
#[derive(Debug)]
pub(in crate::rules) struct RawHistory {
    pub at: Range<usize>,
    pub column: Option<Found<String>>,
    pub since: Option<Found<String>>,
}

/// Which statements take part; what is absent stands for all.
#[derive(Debug)]
pub(in crate::rules) struct RawFunctions {
    pub reads_of: Option<Found<Vec<String>>>,
    pub writes_of: Option<Found<Vec<String>>>,
    pub statements: Option<Found<Vec<String>>>,
    pub accounts: Option<Found<Vec<String>>>,
}

/// How connections to a backend are secured.
#[derive(Debug)]
pub(in crate::rules) struct RawTls {
    pub at: Range<usize>,
    pub mode: Option<Found<String>>,
    pub ca: Option<Found<String>>,
}

pub(super) fn tls(section: &mut Section<'_>) -> Option<RawTls> {
    let mut inner = section.section("tls")?;
    let tls = RawTls { at: inner.place(), mode: inner.string("mode"), ca: inner.string("ca") };
    inner.finish();
    Some(tls)
}

pub(super) fn history(section: &mut Section<'_>) -> Option<RawHistory> {
    let mut inner = section.section("history")?;
    let history =
        RawHistory { at: inner.place(), column: inner.string("column"), since: inner.string("since") };
    inner.finish();
    Some(history)
}

pub(super) fn functions(section: &mut Section<'_>) -> Option<RawFunctions> {
    let mut inner = section.section("functions")?;
    let functions = RawFunctions {
        reads_of: inner.strings("reads_of"),
        writes_of: inner.strings("writes_of"),
        statements: inner.strings("statements"),
        accounts: inner.strings("accounts"),
    };
    inner.finish();
    Some(functions)
}
