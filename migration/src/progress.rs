//! From counters to what people ask: how far, how fast, how long yet, will it ever end. Pure: the time is passed in.
//!
//! Rates are smoothed over [`SMOOTHED_OVER_S`], so that one slow chunk does not change the estimate and a standstill
//! shows within a minute. Totals are estimates until the end: a copy that finds more rows than estimated moves the
//! total, and nothing is called complete before it is. Rates live in memory; after a restart they are measured anew,
//! and what was there before is no speed.

use crate::reading::Reading;
use crate::report::{Forecast, Progress, TableReport};

/// After this time, a change of speed is shown to 63 percent.
pub const SMOOTHED_OVER_S: f64 = 15.0;

/// Slower than this is standing still.
const STILL: f64 = 0.01;

/// Closer behind than this is level.
const LEVEL_S: f64 = 1.0;

/// A counter's speed, smoothed: an exponentially weighted mean over time, whatever the distance of its readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    seen: Option<(u64, u64)>,
    per_s: Option<f64>,
}

impl Rate {
    /// Takes a reading of the counter in. One that has gone back begins anew.
    pub fn on(&mut self, count: u64, now_ms: u64) {
        let Some((before, at_ms)) = self.seen else {
            self.seen = Some((count, now_ms));
            return;
        };
        if count < before {
            *self = Rate { seen: Some((count, now_ms)), per_s: None };
            return;
        }
        if now_ms <= at_ms {
            return;
        }
        let seconds = (now_ms - at_ms) as f64 / 1000.0;
        let speed = (count - before) as f64 / seconds;
        let weight = 1.0 - (-seconds / SMOOTHED_OVER_S).exp();
        self.per_s = Some(self.per_s.map_or(speed, |mean| mean + weight * (speed - mean)));
        self.seen = Some((count, now_ms));
    }

    /// The last reading.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.seen.map_or(0, |(count, _)| count)
    }

    /// `None` before the second reading.
    #[must_use]
    pub fn per_s(&self) -> Option<f64> {
        self.per_s
    }
}

/// The counters of a copy at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub tables: Vec<TableCounts>,
    /// How long it has run, earlier runs included.
    pub elapsed_s: u64,
}

/// The counters of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCounts {
    pub table: String,
    /// What this run has copied, which is what speed is made of.
    pub rows_now: u64,
    pub bytes_now: u64,
    /// What earlier runs had copied.
    pub rows_before: u64,
    pub bytes_before: u64,
    /// An estimate.
    pub rows_total: u64,
    pub state: TableState,
}

impl TableCounts {
    fn rows(&self) -> u64 {
        self.rows_before + self.rows_now
    }

    fn bytes(&self) -> u64 {
        self.bytes_before + self.bytes_now
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    Copying,
    Complete,
}

/// Watches the counters of one copy.
#[derive(Debug, Clone, Default)]
pub struct Speedometer {
    moved_ms: u64,
    rows: Rate,
    bytes: Rate,
    tables: Vec<(String, Rate, Rate)>,
}

impl Speedometer {
    /// For a copy that begins, or goes on, now.
    #[must_use]
    pub fn new(now_ms: u64) -> Speedometer {
        Speedometer { moved_ms: now_ms, ..Speedometer::default() }
    }

    /// Takes the counters in and says how far the copy is.
    pub fn on(&mut self, counts: &Counts, now_ms: u64) -> Progress {
        let sum = |of: fn(&TableCounts) -> u64| counts.tables.iter().map(of).sum::<u64>();
        let (rows_now, bytes_now) = (sum(|table| table.rows_now), sum(|table| table.bytes_now));
        let (rows_copied, bytes_copied) = (sum(TableCounts::rows), sum(TableCounts::bytes));
        if self.rows.seen.is_none_or(|(before, _)| rows_now > before) {
            self.moved_ms = now_ms;
        }
        self.rows.on(rows_now, now_ms);
        self.bytes.on(bytes_now, now_ms);
        let per_table: Vec<TableReport> =
            counts.tables.iter().map(|table| self.table(table, now_ms)).collect();
        let rows_total = per_table.iter().map(|table| table.rows_total).sum();
        // Without tables nothing is known yet.
        let is_complete = |table: &TableCounts| table.state == TableState::Complete;
        let state = if !counts.tables.is_empty() && counts.tables.iter().all(is_complete) {
            TableState::Complete
        } else {
            TableState::Copying
        };
        Progress {
            rows_copied,
            rows_total,
            percent: percent(rows_copied, rows_total, state),
            rows_per_s: self.rows.per_s().unwrap_or(0.0),
            bytes_copied,
            bytes_per_s: self.bytes.per_s().unwrap_or(0.0),
            elapsed_s: counts.elapsed_s,
            eta_s: eta_s(rows_copied, rows_total, state, self.rows.per_s()),
            per_table,
        }
    }

    /// No copy is meant to run at present. When one does again, its speed is measured anew, and its standstill from then on.
    pub fn rest(&mut self, now_ms: u64) {
        self.moved_ms = now_ms;
        self.rows = Rate::default();
        self.bytes = Rate::default();
        self.tables.clear();
    }

    /// `None`: not known yet.
    #[must_use]
    pub fn rows_per_s(&self) -> Option<f64> {
        self.rows.per_s()
    }

    /// How long no row has been carried over.
    #[must_use]
    pub fn still_for_s(&self, now_ms: u64) -> f64 {
        now_ms.saturating_sub(self.moved_ms) as f64 / 1000.0
    }

    fn table(&mut self, counts: &TableCounts, now_ms: u64) -> TableReport {
        let known = self.tables.iter().position(|(name, ..)| *name == counts.table);
        let at = known.unwrap_or_else(|| {
            self.tables.push((counts.table.clone(), Rate::default(), Rate::default()));
            self.tables.len() - 1
        });
        let (_, rows, bytes) = &mut self.tables[at];
        rows.on(counts.rows_now, now_ms);
        bytes.on(counts.bytes_now, now_ms);
        let copied = counts.rows();
        let total = match counts.state {
            TableState::Complete => copied,
            TableState::Copying => counts.rows_total.max(copied),
        };
        TableReport {
            table: counts.table.clone(),
            rows_copied: copied,
            rows_total: total,
            percent: percent(copied, total, counts.state),
            rows_per_s: rows.per_s().unwrap_or(0.0),
            bytes_copied: counts.bytes(),
            bytes_per_s: bytes.per_s().unwrap_or(0.0),
            eta_s: eta_s(copied, total, counts.state, rows.per_s()),
        }
    }
}

/// With one place behind the point; at most 99.9 before the end.
#[must_use]
pub fn percent(done: u64, total: u64, state: TableState) -> f64 {
    if state == TableState::Complete {
        return 100.0;
    }
    if total == 0 {
        return 0.0;
    }
    let exact = done as f64 / total as f64 * 100.0;
    ((exact * 10.0).floor() / 10.0).min(99.9)
}

/// `None`: nobody can tell.
pub(crate) fn eta_s(done: u64, total: u64, state: TableState, per_s: Option<f64>) -> Option<u64> {
    if state == TableState::Complete {
        return Some(0);
    }
    let per_s = per_s.filter(|per_s| *per_s > STILL)?;
    Some((total.saturating_sub(done) as f64 / per_s).ceil() as u64)
}

/// Will the other side catch up, and in how many seconds? From its delay, the changes that are applied a second and
/// those that clients write a second.
#[must_use]
pub fn forecast(lag_s: Reading, applied_per_s: Reading, written_per_s: Reading) -> (Forecast, Option<u64>) {
    let Reading::Is(lag_s) = lag_s else { return (Forecast::Unknown, None) };
    if lag_s <= LEVEL_S {
        return (Forecast::KeepsUp, Some(0));
    }
    let (Reading::Is(applied), Reading::Is(written)) = (applied_per_s, written_per_s) else {
        return (Forecast::Unknown, None);
    };
    let spare = applied - written;
    if spare <= STILL {
        return (Forecast::NotConverging, None);
    }
    (Forecast::Converges, Some((lag_s * written / spare).ceil() as u64))
}

#[cfg(test)]
mod tests;
