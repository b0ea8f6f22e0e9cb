//! What alerts may be about: every metric, listed once. `docs/alerts.md` is written from this list. Pure.

use super::quantity::Quantity;

/// Something that is measured while a move runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    ProgressSpeed,
    NoProgressFor,
    SyncDelay,
    ApplyRate,
    ErrorRate,
    InconsistencyRate,
    MissingRows,
    DirtyKeys,
    DirtyAge,
    ReplicaLag,
    ThreadsRunning,
    HistoryLength,
    StatementLatency,
    CpuUsage,
    DiskFree,
    BinlogHeadroom,
    ShadowMismatches,
    Failed,
    StreamAwayFor,
}

/// What it means for an alert that a metric which should be known is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing: the alert stays as it is.
    KeepsState,
    /// As bad as can be: an unmeasured delay is not a short one.
    TooMuch,
}

/// An entry of the list.
#[derive(Debug)]
pub struct Meter {
    pub metric: Metric,
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub quantity: Quantity,
    pub unknown: Unknown,
    pub meaning: &'static str,
}

const ROWS: Quantity = Quantity::Rate(&["rows", "records"]);
const CHANGES: Quantity = Quantity::Rate(&["changes", "events", "rows"]);
const ERRORS: Quantity = Quantity::Rate(&["errors"]);

macro_rules! meters {
    ($($metric:ident $name:literal $aliases:expr, $quantity:expr, $unknown:ident, $meaning:literal;)*) => {
        /// Every metric, in the order of the documentation.
        pub const ALL: [Meter; 19] = [$(Meter {
            metric: Metric::$metric, name: $name, aliases: &$aliases, quantity: $quantity,
            unknown: Unknown::$unknown, meaning: $meaning,
        }),*];
    };
}

meters! {
    ProgressSpeed "progress_speed" [], ROWS, KeepsState, "Rows that the copy carries over, smoothed. Not there when no copy runs, in its first second, or while it is stopped by hand or by its time windows.";
    NoProgressFor "no_progress_for" [], Quantity::Duration, KeepsState, "Time since the copy last carried a row over, or a comparison last came forward. Not there when neither runs, or while a copy is stopped by hand or by its time windows.";
    SyncDelay "sync_delay" [], Quantity::Duration, TooMuch, "How far the other side is behind the authority, from the heartbeat in the stream; unknown when the stream has stopped. Not there before the first stream.";
    ApplyRate "apply_rate" [], CHANGES, KeepsState, "Changes that the stream writes to the other side, smoothed; unknown when it has stopped. Not there before the first stream.";
    ErrorRate "error_rate" [], ERRORS, KeepsState, "Attempts that failed and are made again, smoothed: at a chunk of the copy, at following a stream and writing what it brings, at the work of a phase as the verification, at healing a dirty key. Lost connections, lock waits, refused statements. What a person started, as `shardway move verify`, does not count.";
    InconsistencyRate "inconsistency_rate" ["data_inconsistency_rate"], Quantity::Percent, KeepsState, "Rows that differed in the last verification, of the rows it compared. Not there before the first.";
    MissingRows "missing_rows" ["missing_records"], Quantity::Count("rows"), KeepsState, "Rows that the last verification did not find on the other side. Not there before the first.";
    DirtyKeys "dirty_keys" [], Quantity::Count("keys"), KeepsState, "Keys that the two sides may hold differently, waiting to be healed.";
    DirtyAge "dirty_age" [], Quantity::Duration, TooMuch, "Age of the oldest dirty key; 0 when there is none.";
    ReplicaLag "replica_lag" [], Quantity::Duration, TooMuch, "The worst delay of the replicas that the rules name. Not there when they name none.";
    ThreadsRunning "threads_running" [], Quantity::Count("threads"), KeepsState, "Statements that run at the same time, on the busiest server of the move.";
    HistoryLength "history_length" [], Quantity::Count(""), KeepsState, "InnoDB's history list, on the server of the move where it is longest: old row versions that wait for purge.";
    StatementLatency "statement_latency" [], Quantity::Duration, KeepsState, "Time in which 95 of 100 statements of clients were answered during the last seconds.";
    CpuUsage "cpu_usage" [], Quantity::Percent, KeepsState, "Busy time of all processors of the proxy's own machine; of another when the answer of `throttle.check_url` holds `cpu_usage`.";
    DiskFree "disk_free" ["disk_space"], Quantity::Percent, KeepsState, "Free space where the proxy keeps its state, or on the fullest disk of a server of the move that tells, as MariaDB with its plugin `disks` and the right FILE does; of another disk when the answer of `throttle.check_url` holds `disk_free`.";
    BinlogHeadroom "binlog_headroom" [], Quantity::Duration, KeepsState, "Time until a server may remove a part of its binary log that a stream of the move has not read: its retention less the stream's delay; 0 when the part is gone. Not there while no stream is followed, or where logs are kept for ever. Below a quarter of the retention an alert fires by itself.";
    ShadowMismatches "shadow_mismatches" [], Quantity::Count("reads"), KeepsState, "Shadow reads that the two sides answered differently, or that only the authority answered, since the process started. Not there while the rules ask for none.";
    Failed "failed" [], Quantity::Count(""), KeepsState, "1 while the move has failed, or has paused because a server was away for too long, and needs a person; otherwise 0. Above 0 an alert fires by itself.";
    StreamAwayFor "stream_away_for" [], Quantity::Duration, KeepsState, "Time for which a stream of the move has not been followed, as its server or the one it is written to is away; it is tried again for ever. 0 while all are followed; not there while none is to be. Above a minute an alert fires by itself.";
}

impl Metric {
    /// The metric of that name or alias.
    #[must_use]
    pub fn named(name: &str) -> Option<Metric> {
        let is_it = |meter: &&Meter| meter.name == name || meter.aliases.contains(&name);
        ALL.iter().find(is_it).map(|meter| meter.metric)
    }

    /// Its entry in the list.
    #[must_use]
    pub fn meter(self) -> &'static Meter {
        ALL.iter().find(|meter| meter.metric == self).expect("every metric is in the list, as a test proves")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_to_their_metric() {
        let mut names = Vec::new();
        for meter in &ALL {
            for name in [meter.name].iter().chain(meter.aliases) {
                assert_eq!(Metric::named(name), Some(meter.metric), "{name}");
                names.push(*name);
            }
            assert_eq!(meter.metric.meter().name, meter.name);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(Metric::named("speed"), None);
    }

    #[test]
    fn the_list_is_in_the_order_of_the_enum_and_whole() {
        let order: Vec<usize> = ALL.iter().map(|meter| meter.metric as usize).collect();
        assert_eq!(order, (0..=Metric::StreamAwayFor as usize).collect::<Vec<_>>());
    }
}
