//! `[backends.*]` as written.

use std::ops::Range;

use super::parts::{RawTls, tls};
use super::small;
use crate::document::{Found, Section};

#[derive(Debug)]
pub(in crate::rules) struct RawBackend {
    pub name: String,
    pub at: Range<usize>,
    pub primary: Option<Found<String>>,
    pub replicas: Vec<RawReplica>,
    pub pool_max: u32,
    pub tls: Option<RawTls>,
}

#[derive(Debug)]
pub(in crate::rules) struct RawReplica {
    pub url: Found<String>,
    pub weight: u16,
    pub max_lag_ms: u64,
}

/// How far behind a replica may be that says nothing about it.
const MAX_LAG_MS: u64 = 1_000;

/// Lag is measured several times in a second, so less than this would never be seen; more than an hour is no delay
/// that a reader could mean.
const LAG_MS: (u64, u64) = (250, 3_600_000);

pub(super) fn read(name: String, mut section: Section<'_>) -> RawBackend {
    let at = section.place();
    let primary = section.string("primary");
    let replicas = section.sections("replicas").into_iter().filter_map(replica).collect();
    let pool_max = section.section("pool").and_then(|mut pool| {
        let max = pool.number("max", 1, 65_536);
        pool.finish();
        max
    });
    let tls = tls(&mut section);
    section.finish();
    RawBackend { name, at, primary, replicas, pool_max: small(pool_max.unwrap_or(64)), tls }
}

fn replica(mut section: Section<'_>) -> Option<RawReplica> {
    let url = section.string("url");
    if url.is_none() {
        section.report_here("`url` is missing");
    }
    let weight = section.number("weight", 0, 1_000).unwrap_or(0);
    let max_lag_ms = section.number("max_lag_ms", LAG_MS.0, LAG_MS.1).unwrap_or(MAX_LAG_MS);
    section.finish();
    let weight = u16::try_from(weight).unwrap_or_default();
    Some(RawReplica { url: url?, weight, max_lag_ms })
}
