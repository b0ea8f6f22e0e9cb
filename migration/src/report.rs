//! The state of a move as one JSON document: what `GET /api/moves/NAME` answers and `shardway move status` reads.
//!
//! The server writes it and the command line reads it, from this one definition. Names that are here stay; a reader
//! takes a field that is missing for its default, so that it gets along with older servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alerts::FiringAlert;
use crate::schedule::ScheduleReport;
use crate::throttle::{ByHand, Pace};

/// One move.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveReport {
    pub name: String,
    pub phase: String,
    /// The logical tables.
    pub tables: Vec<String>,
    #[serde(flatten)]
    pub progress: Progress,
    /// What is under way beside the copy, if something is.
    pub work: Option<WorkReport>,
    /// How far the other side is behind the authority; `null` when unknown.
    pub lag_s: Option<f64>,
    /// What the authority committed longer ago than this is on the other side too; `null` when unknown. For scripts that
    /// wait for rows that were written to a server itself: it becomes less than the time since then.
    pub arrived_s: Option<f64>,
    /// What nobody sees while the source is followed by a time column; `null` where a log is followed.
    pub degraded: Option<String>,
    /// How long servers still keep what the streams have not read; `null` when unknown, or for ever.
    pub binlog_headroom_s: Option<f64>,
    pub forecast: Forecast,
    /// When the other side has caught up, if it does.
    pub caught_up_in_s: Option<u64>,
    pub dirty_keys: u64,
    /// Age of the oldest; `null` when there is none.
    pub dirty_age_s: Option<f64>,
    pub mismatches: u64,
    pub last_verify: Option<LastVerify>,
    /// How writes went over last.
    pub last_switch: Option<LastSwitch>,
    /// Percent of keys.
    pub reads: f64,
    pub writes: String,
    pub double_write: String,
    pub desired_version: u64,
    pub in_force_version: u64,
    pub last_error: Option<String>,
    /// What the move waits for at present.
    pub waits_for: Option<String>,
    /// Reads that go over by themselves, if the rules say so.
    pub schedule: Option<ScheduleReport>,
    /// Reads that are run on both sides, if the rules say so or said so.
    pub shadow_reads: Option<ShadowReport>,
    /// How fast a copy or a comparison goes, while one runs.
    pub pace: Option<Pace>,
    /// What a person has set, if one has.
    pub by_hand: Option<ByHand>,
    /// The step of a rollback that is under way.
    pub rolling_back: Option<String>,
    /// Alerts that fire.
    pub alerts: Vec<FiringAlert>,
}

/// A switch of writes, there or back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastSwitch {
    /// Who has owned writes since: `source` or `target`, or `divided` where each side owns some keys.
    pub to: String,
    /// Seconds since 1970.
    pub at: u64,
    /// How long statements were held.
    pub held_ms: u64,
    /// What of that each step took, in milliseconds.
    pub steps_ms: BTreeMap<String, u64>,
    /// What was known right before.
    pub evidence: Evidence,
}

/// What spoke for a switch of writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Of the rules that asked for it.
    pub version: u64,
    /// How far the streams were behind, in milliseconds; `null`: not known, or there are none.
    pub lag_ms: Option<u64>,
    pub dirty_keys: u64,
    pub mismatches: u64,
    /// The mode of the last comparison.
    pub verify: Option<String>,
    /// When that ended, in seconds since 1970.
    pub verified_at: Option<u64>,
    /// What was compared while statements were held; `null` where every row was.
    pub touched: Option<Touched>,
}

/// Rows that were written shortly before a switch, and found equal under its hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Touched {
    pub rows: u64,
    /// What that took of the hold.
    pub ms: u64,
}

/// Reads that were run on both sides and compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowReport {
    /// Percent of reads.
    pub share: f64,
    pub equal: u64,
    /// The same rows, and another answer.
    pub different: u64,
    /// The side that is not the authority refuses, or fails with an error of its own.
    pub broken: u64,
    /// By reason: not comparable, too many at once, too large, changing all the time, a server that is away.
    pub skipped: BTreeMap<String, u64>,
    /// Of all that were compared: milliseconds of the side that owns writes, and of the other one.
    pub authority: ShadowLatency,
    pub other: ShadowLatency,
    /// Kinds of statements, the worst first.
    pub statements: Vec<ShadowStatement>,
    /// Reads whose kind has no place in the list any more.
    pub unlisted: u64,
}

/// Statements that differ in nothing but values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowStatement {
    pub statement: String,
    pub equal: u64,
    pub different: u64,
    pub broken: u64,
    /// The last difference or error.
    pub sample: Option<ShadowSample>,
    /// Milliseconds of the side that owns writes, and of the other one.
    pub authority: ShadowLatency,
    pub other: ShadowLatency,
}

/// One statement that did not agree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowSample {
    pub sql: String,
    /// The first rows, as text.
    pub authority: String,
    /// Likewise, or the error.
    pub other: String,
}

/// How long statements took, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowLatency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// How many took at most so many milliseconds, and more than those before; what nothing took is left out.
    pub histogram: Vec<(f64, u64)>,
}

/// How far a copy is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub rows_copied: u64,
    /// An estimate until the copy ends.
    pub rows_total: u64,
    /// 100 only at the end.
    pub percent: f64,
    /// Smoothed.
    pub rows_per_s: f64,
    pub bytes_copied: u64,
    pub bytes_per_s: f64,
    pub elapsed_s: u64,
    /// `null` when nobody can tell.
    pub eta_s: Option<u64>,
    pub per_table: Vec<TableReport>,
}

/// How far the copy of one table is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableReport {
    pub table: String,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub percent: f64,
    pub rows_per_s: f64,
    pub bytes_copied: u64,
    pub bytes_per_s: f64,
    pub eta_s: Option<u64>,
}

/// How far a piece of work is that is no copy: a comparison, the building of indexes, catching up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkReport {
    /// `comparing`, `building indexes` or `catching up`.
    pub what: String,
    /// What is counted: `rows`, `tables` or `changes`.
    pub unit: String,
    pub done: u64,
    /// An estimate; `null` when the end is not a matter of counting.
    pub total: Option<u64>,
    /// Never 100: what is done is no work any more.
    pub percent: Option<f64>,
    /// Smoothed.
    pub per_s: f64,
    pub elapsed_s: u64,
    /// `null` when nobody can tell.
    pub eta_s: Option<u64>,
    /// Rows that are known to differ.
    pub different: u64,
}

/// Whether the other side will catch up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    KeepsUp,
    Converges,
    NotConverging,
    #[default]
    #[serde(other)]
    Unknown,
}

/// The last comparison of both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastVerify {
    pub mode: String,
    pub checked: u64,
    pub different: u64,
    /// Those of them that the other side does not have at all; `null` where an older version compared.
    pub missing: Option<u64>,
    pub clean: bool,
    /// Seconds since 1970.
    pub finished_at: u64,
    pub samples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_names_are_there() {
        let report = MoveReport { last_verify: Some(LastVerify::default()), ..MoveReport::default() };
        let json = serde_json::to_value(report).unwrap();
        for name in [
            "name",
            "phase",
            "rows_copied",
            "rows_total",
            "percent",
            "rows_per_s",
            "eta_s",
            "lag_s",
            "dirty_keys",
            "mismatches",
            "last_verify",
            "reads",
            "writes",
            "double_write",
            "desired_version",
            "in_force_version",
            "last_error",
            "waits_for",
            "elapsed_s",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        for name in ["mode", "checked", "different", "clean", "finished_at"] {
            assert!(json["last_verify"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_older_or_newer_server_is_understood() {
        let text = r#"{ "name": "shop", "rows_copied": 7, "forecast": "cloudy", "new": { "a": 1 } }"#;
        let report: MoveReport = serde_json::from_str(text).unwrap();
        assert_eq!((report.name.as_str(), report.progress.rows_copied), ("shop", 7));
        assert_eq!(report.forecast, Forecast::Unknown);
    }

    #[test]
    fn a_report_survives_the_way_there() {
        let table =
            TableReport { table: "users".to_owned(), rows_copied: 3, eta_s: Some(4), ..Default::default() };
        let progress = Progress { percent: 12.5, per_table: vec![table], ..Default::default() };
        let report =
            MoveReport { progress, lag_s: Some(0.25), forecast: Forecast::KeepsUp, ..Default::default() };
        let back: MoveReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(back, report);
    }
}
