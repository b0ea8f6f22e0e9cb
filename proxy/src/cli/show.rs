//! A move's report as lines of text. Pure.

use shardway_migration::report::{
    Evidence, Forecast, LastVerify, MoveReport, Progress, ShadowLatency, ShadowReport, TableReport,
    WorkReport,
};
use shardway_migration::settings::quantity::size;
use shardway_migration::throttle::{ByHand, Limits, State};

use crate::utc::rfc3339;

/// Everything, in a few lines.
pub(super) fn report(of: &MoveReport) -> String {
    let mut lines = vec![format!("{}: {}", of.name, progress(&of.phase, &of.progress))];
    if of.progress.per_table.len() > 1 {
        lines.extend(
            of.progress.per_table.iter().map(|table| format!("  {:<20} {}", table.table, numbers(table))),
        );
    }
    lines.extend(of.work.as_ref().map(|of| format!("{} {}", of.what, work(of))));
    lines.push(format!("reads {}% writes {} double write {}", of.reads, of.writes, of.double_write));
    lines.push(state(of));
    if let Some(last) = &of.last_verify {
        lines.push(verified(last));
    }
    if let Some(last) = &of.last_switch {
        let at = rfc3339(last.at);
        let went = match last.to.as_str() {
            "divided" => "were divided between the sides".to_owned(),
            side => format!("went to the {side}"),
        };
        lines.push(format!("writes {went} at {at}; statements were held for {} ms", last.held_ms));
        lines.push(evidence(&last.evidence));
    }
    lines.extend(of.shadow_reads.iter().flat_map(shadow));
    lines.extend(notices(of));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What was known right before a switch.
fn evidence(of: &Evidence) -> String {
    let lag = of.lag_ms.map_or_else(|| "not measured".to_owned(), |lag_ms| format!("{lag_ms} ms"));
    let compared = match (&of.verify, of.verified_at) {
        (Some(mode), Some(at)) => format!("compared at {} ({mode})", rfc3339(at)),
        _ => "not compared".to_owned(),
    };
    let touched = of.touched.map_or_else(String::new, |touched| {
        format!("; of the rows written last, {} were equal under hold ({} ms)", touched.rows, touched.ms)
    });
    format!(
        "  by version {}: lag {lag}, {} dirty keys, {} mismatches, {compared}{touched}",
        of.version, of.dirty_keys, of.mismatches
    )
}

/// Reads that were run on both sides, and the kinds of statements that did not agree.
fn shadow(of: &ShadowReport) -> Vec<String> {
    const SHOWN: usize = 10;
    let skipped: u64 = of.skipped.values().sum();
    let mut lines = vec![format!(
        "shadow reads {}%: {} equal, {} different, {} broken, {skipped} not compared",
        of.share, of.equal, of.different, of.broken
    )];
    if of.equal + of.different + of.broken > 0 {
        lines.push(format!("  {}", took(&of.authority, &of.other)));
    }
    lines.extend(of.skipped.iter().map(|(why, count)| format!("  {count} not compared: {why}")));
    let unequal = of.statements.iter().filter(|kind| kind.different + kind.broken > 0);
    for kind in unequal.take(SHOWN) {
        lines.push(format!("  {} different, {} broken: {}", kind.different, kind.broken, kind.statement));
        lines.push(format!("    {}", took(&kind.authority, &kind.other)));
        if let Some(sample) = &kind.sample {
            lines.push(format!("    {}", sample.sql));
            lines.push(format!("    authority: {}", sample.authority));
            lines.push(format!("    other:     {}", sample.other));
        }
    }
    lines
}

/// How long reads took on the side that owns writes, and on the other one.
fn took(authority: &ShadowLatency, other: &ShadowLatency) -> String {
    let of = |of: &ShadowLatency| format!("{:.1}, {:.1}, {:.1} ms", of.p50_ms, of.p95_ms, of.p99_ms);
    format!("50, 95, 99 % within {} on the authority, {} on the other side", of(authority), of(other))
}

/// Everything, in one line.
pub(super) fn line(of: &MoveReport) -> String {
    let mut parts = vec![format!("{}: {}", of.name, progress(&of.phase, &of.progress))];
    parts.extend(of.work.as_ref().map(|of| format!("{} {}", of.what, work(of))));
    parts.push(state(of));
    parts.extend(notices(of));
    parts.join("; ")
}

fn progress(phase: &str, of: &Progress) -> String {
    let whole = TableReport {
        rows_copied: of.rows_copied,
        rows_total: of.rows_total,
        percent: of.percent,
        rows_per_s: of.rows_per_s,
        bytes_per_s: of.bytes_per_s,
        eta_s: of.eta_s,
        ..TableReport::default()
    };
    let elapsed = if of.elapsed_s > 0 { format!(", {} elapsed", clock(of.elapsed_s)) } else { String::new() };
    format!("{phase} {}{elapsed}", numbers(&whole))
}

/// How far a table is, in one line.
pub(super) fn numbers(of: &TableReport) -> String {
    let mut text = format!("{:.1}% {}/{} rows", of.percent, of.rows_copied, of.rows_total);
    if of.rows_per_s > 0.0 {
        text += &format!(", {:.0} rows/s", of.rows_per_s);
    }
    if of.bytes_per_s > 0.0 {
        text += &format!(", {}/s", size(of.bytes_per_s));
    }
    match of.eta_s {
        Some(0) | None => {}
        Some(seconds) => text += &format!(", {} left", clock(seconds)),
    }
    text
}

/// How far that is which goes on beside the copy.
pub(super) fn work(of: &WorkReport) -> String {
    let share = of.percent.map_or_else(String::new, |percent| format!("{percent:.1}% "));
    let total = of.total.map_or_else(String::new, |total| format!("/{total}"));
    let mut text = format!("{share}{}{total} {}", of.done, of.unit);
    if of.per_s > 0.0 {
        text += &format!(", {:.0} {}/s", of.per_s, of.unit);
    }
    if of.elapsed_s > 0 {
        text += &format!(", {} elapsed", clock(of.elapsed_s));
    }
    if let Some(seconds @ 1..) = of.eta_s {
        text += &format!(", {} left", clock(seconds));
    }
    if of.different > 0 {
        text += &format!(", {} rows differ so far", of.different);
    }
    text
}

/// How far behind the other side is, and what may differ.
pub(super) fn state(of: &MoveReport) -> String {
    let lag = of.lag_s.map_or_else(|| "lag unknown".to_owned(), |lag| format!("lag {lag:.1} s"));
    let forecast = match (of.forecast, of.caught_up_in_s) {
        (Forecast::NotConverging, _) => " (not converging)".to_owned(),
        (Forecast::Converges, Some(seconds)) => format!(" (caught up in {})", clock(seconds)),
        _ => String::new(),
    };
    let age = of.dirty_age_s.map_or_else(String::new, |age| format!(" (the oldest {age:.1} s)"));
    format!("{lag}{forecast}, dirty keys {}{age}, mismatches {}", of.dirty_keys, of.mismatches)
}

/// What somebody should know: a line each.
pub(super) fn notices(of: &MoveReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(why) = &of.degraded {
        lines.push(format!("degraded: {why}"));
    }
    if let Some(what) = &of.waits_for {
        lines.push(format!("waits for {what}"));
    }
    if let Some(step) = &of.rolling_back {
        lines.push(format!("a rollback is under way: {step}"));
    }
    if let Some(schedule) = &of.schedule {
        lines.push(format!("schedule: {}", schedule.says));
    }
    if let Some(pace) = of.pace.as_ref().filter(|pace| pace.state != State::Running) {
        let why = pace.reason.as_deref().unwrap_or("no reason given");
        lines.push(match pace.state {
            State::Stopped => format!("stopped: {why}"),
            _ => format!("slowed to {} workers, {} ms pause: {why}", pace.concurrency, pace.pause_ms),
        });
    }
    if let Some(set) = &of.by_hand {
        lines.push(by_hand(set));
    }
    if of.mismatches > 0 {
        lines.push("what differs is in shardway_mismatches, on the first node of the target".to_owned());
    }
    for alert in &of.alerts {
        lines.push(format!("{}: {} ({})", alert.level, alert.message, alert.value));
    }
    if let Some(error) = &of.last_error {
        lines.push(format!("last error: {error}"));
    }
    lines
}

/// What people have set of the pace.
pub(super) fn by_hand(of: &ByHand) -> String {
    let parallel = of.parallel.map(|parallel| format!("at most {parallel} workers"));
    let pause = of.pause_ms.map(|pause_ms| format!("at least {pause_ms} ms pause"));
    let limits = (of.limits == Limits::Ignored).then(|| "limits are ignored".to_owned());
    let set: Vec<String> = [parallel, pause, limits].into_iter().flatten().collect();
    if set.is_empty() {
        "the pace is as the rules say".to_owned()
    } else {
        format!("set by hand: {}", set.join(", "))
    }
}

fn verified(of: &LastVerify) -> String {
    let verdict = if of.clean { "clean" } else { "not clean" };
    format!("last verify {}: {verdict}, {} compared, {} differ", of.mode, of.checked, of.different)
}

/// `1:02:03`, `2:03`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Seconds since 1970 as `2024-02-29 07:05:09Z`.
pub(super) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days of years that begin in March, from the year 0 on: a leap day is then the last one.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let (month, day) = ((5 * of_year + 2) / 153, of_year - (153 * ((5 * of_year + 2) / 153) + 2) / 5 + 1);
    let (year, month) = match month {
        0..=9 => (era * 400 + year_of_era, month + 3),
        _ => (era * 400 + year_of_era + 1, month - 9),
    };
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}Z")
}

#[cfg(test)]
mod tests {
    use shardway_migration::alerts::FiringAlert;
    use shardway_migration::throttle::Pace;

    use super::*;

    #[test]
    fn a_moment_is_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(1_709_190_309), "2024-02-29 07:05:09Z");
        assert_eq!(utc(4_102_444_799), "2099-12-31 23:59:59Z");
    }

    fn busy() -> MoveReport {
        let table = |name: &str, copied: u64, percent: f64| TableReport {
            table: name.to_owned(),
            rows_copied: copied,
            rows_total: 1000,
            percent,
            rows_per_s: 125.4,
            bytes_per_s: 2_097_152.0,
            eta_s: Some(7265),
            ..TableReport::default()
        };
        MoveReport {
            name: "shop".to_owned(),
            phase: "Copy".to_owned(),
            progress: Progress {
                rows_copied: 1250,
                rows_total: 2000,
                percent: 62.5,
                elapsed_s: 63,
                per_table: vec![table("users", 1000, 100.0), table("orders", 250, 25.0)],
                ..Progress::default()
            },
            work: Some(WorkReport {
                what: "comparing".to_owned(),
                unit: "rows".to_owned(),
                done: 500,
                total: Some(2000),
                percent: Some(25.0),
                per_s: 100.0,
                elapsed_s: 5,
                eta_s: Some(15),
                different: 2,
            }),
            lag_s: Some(12.34),
            forecast: Forecast::Converges,
            caught_up_in_s: Some(90),
            dirty_keys: 3,
            writes: "source".to_owned(),
            double_write: "off".to_owned(),
            pace: Some(Pace {
                concurrency: 2,
                pause_ms: 100,
                state: State::Slowed,
                reason: Some("replica lag is unknown".to_owned()),
            }),
            alerts: vec![FiringAlert {
                level: "critical".to_owned(),
                message: "behind".to_owned(),
                value: "12 s".to_owned(),
                ..FiringAlert::default()
            }],
            ..MoveReport::default()
        }
    }

    #[test]
    fn a_running_copy_is_told_table_by_table() {
        let expected = "shop: Copy 62.5% 1250/2000 rows, 1:03 elapsed\n\
            \x20 users                100.0% 1000/1000 rows, 125 rows/s, 2 MiB/s, 2:01:05 left\n\
            \x20 orders               25.0% 250/1000 rows, 125 rows/s, 2 MiB/s, 2:01:05 left\n\
            comparing 25.0% 500/2000 rows, 100 rows/s, 0:05 elapsed, 0:15 left, 2 rows differ so far\n\
            reads 0% writes source double write off\n\
            lag 12.3 s (caught up in 1:30), dirty keys 3, mismatches 0\n\
            slowed to 2 workers, 100 ms pause: replica lag is unknown\n\
            critical: behind (12 s)\n";
        assert_eq!(report(&busy()), expected);
    }

    #[test]
    fn one_line_holds_what_matters() {
        let expected = "shop: Copy 62.5% 1250/2000 rows, 1:03 elapsed; comparing 25.0% 500/2000 rows, 100 rows/s, \
            0:05 elapsed, 0:15 left, 2 rows differ so far; lag 12.3 s (caught up in 1:30), dirty keys 3, \
            mismatches 0; slowed to 2 workers, 100 ms pause: replica lag is unknown; critical: behind (12 s)";
        assert_eq!(line(&busy()), expected);
    }

    #[test]
    fn a_server_that_says_little_is_shown_as_far_as_it_goes() {
        let text = r#"{ "name": "shop", "phase": "Draft", "last_error": "gone", "last_verify": { "mode": "hash" } }"#;
        let of: MoveReport = serde_json::from_str(text).unwrap();
        let expected = "shop: Draft 0.0% 0/0 rows\nreads 0% writes  double write \n\
            lag unknown, dirty keys 0, mismatches 0\nlast verify hash: not clean, 0 compared, 0 differ\nlast error: gone\n";
        assert_eq!(report(&of), expected);
    }

    #[test]
    fn what_is_set_by_hand_is_told() {
        assert_eq!(by_hand(&ByHand::default()), "the pace is as the rules say");
        let set = ByHand { parallel: Some(2), pause_ms: Some(50), limits: Limits::Ignored };
        assert_eq!(by_hand(&set), "set by hand: at most 2 workers, at least 50 ms pause, limits are ignored");
    }
}
