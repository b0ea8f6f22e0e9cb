//! What a move will take: rows, bytes, time, and what it does to the servers. From the servers' own estimates, which may
//! be far off; only the copy knows.

use serde::Serialize;
use shardway_routing::topology::Side;

use super::facts::{Facts, Home, Size, TableFacts};
use crate::settings::quantity;

/// How fast rows travel. Nothing has been measured before a move begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    pub rows_per_s: u64,
    pub bytes_per_s: u64,
}

impl Rate {
    /// What small servers do, to be on the safe side.
    pub const ASSUMED: Rate = Rate { rows_per_s: 20_000, bytes_per_s: 10_000_000 };

    fn seconds(self, rows: u64, bytes: u64) -> u64 {
        rows.div_ceil(self.rows_per_s).max(bytes.div_ceil(self.bytes_per_s))
    }
}

/// The estimate of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// All numbers of rows and bytes are the servers' estimates.
    pub tables: Vec<TableEstimate>,
    pub targets: Vec<TargetEstimate>,
    pub rows: u64,
    pub bytes: u64,
    pub copy_s: u64,
    pub assumed: Rate,
    /// What the move does to the servers, in sentences.
    pub load: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableEstimate {
    pub table: String,
    /// Rows that travel.
    pub rows: u64,
    /// Data and indexes of those rows.
    pub bytes: u64,
}

/// What a target must take up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetEstimate {
    pub backend: String,
    pub rows: u64,
    pub bytes: u64,
    /// Absent where it cannot be read.
    pub disk_free_bytes: Option<u64>,
}

/// Estimates a move.
#[must_use]
pub fn estimate(facts: &Facts) -> Estimate {
    let mut targets: Vec<TargetEstimate> = facts
        .servers
        .iter()
        .filter(|server| server.is(Side::Target))
        .map(|server| TargetEstimate {
            backend: server.backend.clone(),
            rows: 0,
            bytes: 0,
            disk_free_bytes: server.disk_free_bytes,
        })
        .collect();
    let mut tables = Vec::new();
    for table in &facts.tables {
        let mut travels = TableEstimate { table: table.name.clone(), rows: 0, bytes: 0 };
        for (backend, rows, bytes) in shares(table) {
            travels.rows += rows;
            travels.bytes += bytes;
            for target in targets.iter_mut().filter(|target| target.backend == backend) {
                target.rows += rows;
                target.bytes += bytes;
            }
        }
        tables.push(travels);
    }
    let rows = tables.iter().map(|table| table.rows).sum();
    let bytes = tables.iter().map(|table| table.bytes).sum();
    let assumed = Rate::ASSUMED;
    let copy_s = assumed.seconds(rows, bytes);
    Estimate { load: load(facts, &targets, bytes), tables, targets, rows, bytes, copy_s, assumed }
}

/// The rows and bytes that go to each physical table of the target: even shares, less what stays in place.
fn shares(table: &TableFacts) -> Vec<(String, u64, u64)> {
    let sizes =
        table.of(Side::Source).filter_map(|source| source.definition.as_ref().map(|found| found.size));
    let all = sizes.fold(Size::default(), |sum, size| Size {
        rows: sum.rows + size.rows,
        data_bytes: sum.data_bytes + size.data_bytes,
        index_bytes: sum.index_bytes + size.index_bytes,
        row_bytes_max: 0,
    });
    let parts = match table.home {
        Home::Sharded { .. } => table.of(Side::Target).count().max(1) as u64,
        Home::Whole(_) | Home::Copied => 1,
    };
    let arriving = table.of(Side::Target).filter(|target| !target.sides.contains(&Side::Source));
    arriving
        .map(|target| {
            let bytes = (all.data_bytes + all.index_bytes).div_ceil(parts);
            (target.backend.clone(), all.rows.div_ceil(parts), bytes)
        })
        .collect()
}

fn load(facts: &Facts, targets: &[TargetEstimate], bytes: u64) -> Vec<String> {
    let mut load = Vec::new();
    for server in facts.servers.iter().filter(|server| server.is(Side::Source)) {
        if let Some(pool) = server.number("innodb_buffer_pool_size").filter(|pool| bytes > *pool) {
            load.push(format!(
                "{}: the copy reads about {} through a buffer pool of {}, and pushes out pages that clients use",
                server.backend,
                size(bytes),
                size(pool)
            ));
        }
    }
    for target in targets.iter().filter(|target| target.bytes > 0) {
        load.push(format!(
            "{}: about {} are written once more to its redo log and, where it has one, its binary log",
            target.backend,
            size(target.bytes)
        ));
    }
    load
}

/// Bytes for people.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn size(bytes: u64) -> String {
    quantity::size(bytes as f64)
}
