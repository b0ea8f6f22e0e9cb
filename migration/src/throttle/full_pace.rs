//! What a copy would make with all its workers and without pauses, from what their time has brought. Pure.
//!
//! - Rows count when their chunk ends. Until the next one ends, the time that is being spent counts as well: the copy is
//!   no faster than if every chunk that is under way ended now.
//! - While no worker is at a chunk, as between two pauses, the last that was known stays: a rest says nothing of the
//!   servers.

use crate::reading::Reading;

/// What the workers of a copy have done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    pub rows: u64,
    /// Of all workers together, those included that are at a chunk now.
    pub busy_ms: u64,
    /// How many are at a chunk.
    pub workers: u32,
}

/// What is remembered between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FullPace {
    /// When rows last came.
    counted: Option<Work>,
    /// Of one worker.
    rows_per_ms: Option<f64>,
}

impl FullPace {
    /// Takes in what has been done and says how many rows a second `parallel` workers would make; a chunk has `chunk` rows
    /// at most. Counters that have gone back are another copy's.
    pub fn on(&mut self, work: Work, chunk: u64, parallel: u32) -> Reading {
        let before = self.counted.filter(|before| before.rows <= work.rows && before.busy_ms <= work.busy_ms);
        let Some(before) = before else {
            *self = FullPace { counted: Some(work), rows_per_ms: None };
            return Reading::NotNow;
        };
        let (rows, busy_ms) = (work.rows - before.rows, work.busy_ms - before.busy_ms);
        let mut at_most = None;
        match (rows, busy_ms) {
            (0, 0) => {}
            (0, _) if work.workers > 0 => {
                at_most = Some((u64::from(work.workers) * chunk) as f64 / busy_ms as f64);
            }
            (0, _) => {}
            (_, 0) => self.counted = Some(work),
            (rows, busy_ms) => {
                *self = FullPace { counted: Some(work), rows_per_ms: Some(rows as f64 / busy_ms as f64) };
            }
        }
        let rows_per_ms = [self.rows_per_ms, at_most].into_iter().flatten().reduce(f64::min);
        rows_per_ms.map_or(Reading::NotNow, |rows| Reading::Is(rows * 1_000.0 * f64::from(parallel)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What looks see of these counters, with chunks of 2,000 rows and four workers at full pace.
    fn looks(work: &[(u64, u64, u32)]) -> Vec<Option<f64>> {
        let mut pace = FullPace::default();
        let on = |(rows, busy_ms, workers): &(u64, u64, u32)| {
            pace.on(Work { rows: *rows, busy_ms: *busy_ms, workers: *workers }, 2_000, 4).value()
        };
        work.iter().map(on).collect()
    }

    #[test]
    fn pauses_do_not_count() {
        let seen = looks(&[(0, 0, 0), (2_000, 1_000, 0), (2_000, 1_000, 0), (4_000, 2_000, 1)]);
        assert_eq!(seen, [None, Some(8_000.0), Some(8_000.0), Some(8_000.0)]);
    }

    #[test]
    fn a_chunk_that_does_not_end_is_slow_and_never_a_reason_to_go_faster() {
        let seen =
            looks(&[(0, 0, 1), (2_000, 500, 1), (2_000, 1_500, 1), (2_000, 4_500, 1), (2_000, 40_500, 1)]);
        assert_eq!(seen, [None, Some(16_000.0), Some(8_000.0), Some(2_000.0), Some(200.0)]);
        // Not even one has ended.
        let seen = looks(&[(0, 0, 4), (0, 4_000, 4), (0, 80_000, 4)]);
        assert_eq!(seen, [None, Some(8_000.0), Some(400.0)]);
    }

    #[test]
    fn chunks_that_take_several_looks_are_told_as_fast_as_they_are() {
        let work: Vec<(u64, u64, u32)> =
            (0..12).map(|second| (second / 4 * 2_000, second * 1_000, 1)).collect();
        let seen = looks(&work);
        assert_eq!(seen[4..], [Some(2_000.0); 8]);
    }

    #[test]
    fn another_copy_begins_anew() {
        assert_eq!(looks(&[(5_000, 900, 1), (0, 10, 1), (1_000, 1_010, 1)]), [None, None, Some(4_000.0)]);
    }
}
