//! How fast a copy, a comparison or a cleanup may go, from what is seen of the servers. Pure: [`decide`] is told everything and does nothing.
//!
//! - A limit that is passed halves the workers and doubles the pause, once for each decision; a limit passed twice over,
//!   a disk that fills up, an external check that says wait or a closed time window stop the copy.
//! - What should be known and is not slows down like a limit that is passed, and is never a reason to go faster.
//! - Speed comes back gently: first the pause halves, then one worker is added at a time; within a fifth of a limit
//!   nothing changes.
//! - A person may set the full pace, or switch the limits off; then nothing here slows the copy.
//!
//! A decision needs the pace before it and nothing else, so a restart begins at the full pace and finds down again.

pub mod full_pace;

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::settings::Throttle;

/// The first pause of a copy that is slowed down, and the longest.
const PAUSE_FIRST_MS: u64 = 100;
const PAUSE_MOST_MS: u64 = 5_000;
/// From this share of a limit on, nothing gets faster.
const NEAR: f64 = 0.8;
/// From this many times a limit on, the copy stops.
const FAR: f64 = 2.0;

/// What is seen of the servers of a move.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Since midnight, UTC.
    pub minute_of_day: u16,
    /// The worst of all replicas.
    pub replica_lag_s: Reading,
    /// The busiest server's.
    pub threads_running: Reading,
    /// The longest.
    pub history_length: Reading,
    /// Of client statements.
    pub latency_ms: Reading,
    pub disk_free_percent: Reading,
    /// What the copy would make at its full pace ([`full_pace`]): a copy must not be taken for slow, and slowed down
    /// further, because it has been slowed down.
    pub rows_per_s: Reading,
    pub check: Check,
}

/// What the external check answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Check {
    #[default]
    Go,
    Wait,
    /// Why nobody knows.
    Unknown(String),
}

/// What a decision follows.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    pub limits: &'a Throttle,
    /// The full pace, as the rules say.
    pub parallel: u32,
    pub pause_ms: u64,
    pub by_hand: &'a ByHand,
}

/// What a person has set while the move runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByHand {
    pub parallel: Option<u32>,
    pub pause_ms: Option<u64>,
    pub limits: Limits,
}

/// Whether the limits of the rules count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    #[default]
    Heeded,
    Ignored,
}

/// How fast the copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Chunks at the same time. A stopped copy has those that it will begin again with.
    pub concurrency: u32,
    /// Between two chunks of a worker.
    pub pause_ms: u64,
    pub state: State,
    /// Why it is not the full pace.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Running,
    Slowed,
    Stopped,
}

/// What one look at the servers asks for; the worst is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Faster,
    Keep(String),
    Slower(String),
    Stop(String),
}

impl Policy<'_> {
    /// The pace when nothing slows the copy down.
    #[must_use]
    pub fn full(&self) -> Pace {
        Pace {
            concurrency: self.by_hand.parallel.unwrap_or(self.parallel).max(1),
            pause_ms: self.by_hand.pause_ms.unwrap_or(self.pause_ms),
            state: State::Running,
            reason: None,
        }
    }

    /// Does the copy rest until a time window opens?
    #[must_use]
    pub fn rests(&self, minute_of_day: u16) -> bool {
        self.by_hand.limits == Limits::Heeded && is_closed(self.limits, minute_of_day)
    }
}

/// The pace from now on.
#[must_use]
pub fn decide(seen: &Seen, policy: Policy<'_>, before: &Pace) -> Pace {
    let full = policy.full();
    if policy.by_hand.limits == Limits::Ignored {
        return full;
    }
    let concurrency = before.concurrency.clamp(1, full.concurrency);
    let pause_ms = before.pause_ms.max(full.pause_ms);
    match verdict(seen, policy.limits) {
        Verdict::Stop(reason) => Pace {
            concurrency: 1,
            pause_ms: pause_ms.max(PAUSE_FIRST_MS),
            state: State::Stopped,
            reason: Some(reason),
        },
        Verdict::Slower(reason) => Pace {
            concurrency: (concurrency / 2).max(1),
            // A pause that is longer already, as one set by hand, is not cut short.
            pause_ms: pause_ms.max((pause_ms.saturating_mul(2)).clamp(PAUSE_FIRST_MS, PAUSE_MOST_MS)),
            state: State::Slowed,
            reason: Some(reason),
        },
        Verdict::Keep(reason) => told(Pace { concurrency, pause_ms, ..full.clone() }, &full, &reason),
        Verdict::Faster => {
            let next = faster(concurrency, pause_ms, &full);
            told(next, &full, "getting faster again")
        }
    }
}

fn faster(concurrency: u32, pause_ms: u64, full: &Pace) -> Pace {
    if pause_ms > full.pause_ms {
        let half = if pause_ms / 2 < PAUSE_FIRST_MS { 0 } else { pause_ms / 2 };
        return Pace { concurrency, pause_ms: half.max(full.pause_ms), ..full.clone() };
    }
    Pace { concurrency: (concurrency + 1).min(full.concurrency), pause_ms, ..full.clone() }
}

fn told(pace: Pace, full: &Pace, reason: &str) -> Pace {
    if pace == *full {
        return pace;
    }
    Pace { state: State::Slowed, reason: Some(reason.to_owned()), ..pace }
}

fn verdict(seen: &Seen, limits: &Throttle) -> Verdict {
    let count = |limit: Option<u64>| limit.map(|limit| limit as f64);
    let verdicts = [
        window(seen, limits),
        at_most("replica lag", seen.replica_lag_s, limits.replica_lag_s, "s"),
        at_most("threads running", seen.threads_running, count(limits.threads_running), "threads"),
        at_most("history list", seen.history_length, count(limits.history_length), "versions"),
        at_most("statement latency", seen.latency_ms, limits.latency_ms, "ms"),
        disk(seen.disk_free_percent, limits.disk_free_percent),
        speed(seen.rows_per_s, limits.min_rows_per_s),
        check(seen, limits),
    ];
    // The order of limits breaks ties, so that the reason stays while the cause does.
    verdicts.into_iter().rev().max_by_key(rank).unwrap_or(Verdict::Faster)
}

fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Faster => 0,
        Verdict::Keep(_) => 1,
        Verdict::Slower(_) => 2,
        Verdict::Stop(_) => 3,
    }
}

fn window(seen: &Seen, limits: &Throttle) -> Verdict {
    if !is_closed(limits, seen.minute_of_day) {
        return Verdict::Faster;
    }
    let times: Vec<String> = limits.windows.iter().map(ToString::to_string).collect();
    Verdict::Stop(format!("waits for {} UTC", times.join(" or ")))
}

fn is_closed(limits: &Throttle, minute_of_day: u16) -> bool {
    let windows = &limits.windows;
    !windows.is_empty() && !windows.iter().any(|window| window.holds(minute_of_day))
}

fn at_most(what: &str, reading: Reading, limit: Option<f64>, unit: &str) -> Verdict {
    let Some(limit) = limit else { return Verdict::Faster };
    let value = match reading {
        Reading::Is(value) => value,
        Reading::Unknown => return Verdict::Slower(format!("{what} is unknown")),
        Reading::NotNow => return Verdict::Faster,
    };
    let reason = || format!("{what} is {value:.1} {unit}, limit {limit:.1}");
    match value / limit {
        share if share > FAR => Verdict::Stop(reason()),
        share if share > 1.0 => Verdict::Slower(reason()),
        share if share > NEAR => Verdict::Keep(reason()),
        _ => Verdict::Faster,
    }
}

/// Going slower does not empty a disk.
fn disk(free: Reading, limit: Option<f64>) -> Verdict {
    let Some(limit) = limit else { return Verdict::Faster };
    match free {
        Reading::Is(free) if free < limit => {
            Verdict::Stop(format!("{free:.1} % of the disk is free, limit {limit:.1} %"))
        }
        Reading::Is(_) | Reading::NotNow => Verdict::Faster,
        Reading::Unknown => Verdict::Slower("free disk space is unknown".to_owned()),
    }
}

fn speed(rows_per_s: Reading, least: Option<f64>) -> Verdict {
    let Some(least) = least else { return Verdict::Faster };
    let reason =
        |speed: f64| format!("only {speed:.0} rows/s at full pace, {least:.0} expected: servers are busy");
    match rows_per_s {
        Reading::Is(speed) if speed < least / 2.0 => Verdict::Slower(reason(speed)),
        Reading::Is(speed) if speed < least => Verdict::Keep(reason(speed)),
        Reading::Is(_) | Reading::NotNow => Verdict::Faster,
        Reading::Unknown => Verdict::Slower("the copy's speed is unknown".to_owned()),
    }
}

fn check(seen: &Seen, limits: &Throttle) -> Verdict {
    let Some(url) = &limits.check_url else { return Verdict::Faster };
    match &seen.check {
        Check::Go => Verdict::Faster,
        Check::Wait => Verdict::Stop(format!("{url} says wait")),
        Check::Unknown(why) => Verdict::Slower(format!("{url}: {why}")),
    }
}

#[cfg(test)]
mod tests;
