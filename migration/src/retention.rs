//! How long a server keeps the part of its log that a stream has not read yet. Pure below [`ask`].
//!
//! A server removes a log file when it has not changed for the retention time. Whatever a stream has not read is no older
//! than its delay, so retention less delay is a time in which nothing of it is lost; it may be longer, never shorter,
//! unless a person purges.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};

use crate::reading::Reading;
use crate::settings::metric::Metric;
use crate::settings::quantity::Quantity;
use crate::settings::{Action, AlertRule, Comparison, Condition, Level};

/// What a server keeps of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Seconds; `None`: for ever.
    pub for_s: Option<u64>,
    /// The oldest file that is there.
    pub oldest: Option<String>,
}

/// Asks a server.
///
/// # Errors
/// When it does not answer, or does not let this user ask.
pub async fn ask(connection: &mut Conn) -> Result<Kept, Error> {
    let variables: Vec<(String, String)> = connection
        .query(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
             ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')",
        )
        .await?;
    let logs: Vec<Row> = connection.query("SHOW BINARY LOGS").await?;
    Ok(Kept { for_s: kept_for(&variables), oldest: logs.first().and_then(|row| row.get(0)) })
}

fn kept_for(variables: &[(String, String)]) -> Option<u64> {
    let value =
        |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if value("binlog_expire_logs_auto_purge").is_some_and(|purges| purges.eq_ignore_ascii_case("off")) {
        return None;
    }
    let number =
        |name: &str| value(name).and_then(|text| text.parse::<f64>().ok()).filter(|value| *value > 0.0);
    let seconds = number("binlog_expire_logs_seconds");
    // Zero keeps everything.
    seconds.or_else(|| Some(number("expire_logs_days")? * 86_400.0)).map(|seconds| seconds as u64)
}

/// Seconds until something is lost that a stream has not read. `file` is the one that it reads, if it reads; `delay_s` how
/// old what it reads is, if that is known.
#[must_use]
pub fn headroom(kept: &Kept, file: Option<&str>, delay_s: Option<f64>) -> Reading {
    // A stream that goes by the numbers of transactions reads no file that is known.
    let numbers = file.and_then(number).zip(kept.oldest.as_deref().and_then(number));
    let is_gone = numbers.is_some_and(|(file, oldest)| file < oldest);
    match (is_gone, kept.for_s, delay_s) {
        (true, ..) => Reading::Is(0.0),
        (false, None, _) => Reading::NotNow,
        (false, Some(_), None) => Reading::Unknown,
        (false, Some(for_s), Some(delay_s)) => Reading::Is((for_s as f64 - delay_s).max(0.0)),
    }
}

/// The number of a log file: `binlog.000042` is 42.
fn number(file: &str) -> Option<u64> {
    file.rsplit('.').next().and_then(|number| number.parse().ok())
}

/// Of several servers, the one where something is lost first.
#[must_use]
pub fn least(readings: impl IntoIterator<Item = Reading>) -> Reading {
    readings.into_iter().fold(Reading::NotNow, |one, other| match (one, other) {
        (Reading::Is(one), Reading::Is(other)) => Reading::Is(one.min(other)),
        (Reading::Is(value), _) | (_, Reading::Is(value)) => Reading::Is(value),
        (Reading::Unknown, _) | (_, Reading::Unknown) => Reading::Unknown,
        (Reading::NotNow, Reading::NotNow) => Reading::NotNow,
    })
}

/// The alert that nobody has to write: a quarter of the retention is left.
#[must_use]
pub fn warning(kept_for_s: u64) -> AlertRule {
    let bound = kept_for_s as f64 / 4.0;
    AlertRule {
        when: Condition { metric: Metric::BinlogHeadroom, comparison: Comparison::Less, bound },
        text: format!("binlog_headroom < {}", Quantity::Duration.show(bound)),
        hold_ms: 0,
        level: Level::Critical,
        message: "a server is about to remove a part of its binary log that the move has not read, and with it the \
                  move or its way back: let the stream catch up, or raise binlog_expire_logs_seconds there"
            .to_owned(),
        actions: vec![Action::Log],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(for_s: Option<u64>) -> Kept {
        Kept { for_s, oldest: Some("binlog.000100".to_owned()) }
    }

    #[test]
    fn what_is_left_is_retention_less_delay() {
        for (for_s, file, delay, expected) in [
            (Some(3600), Some("binlog.000100"), Some(600.0), Reading::Is(3000.0)),
            (Some(3600), Some("binlog.1000000"), Some(7200.0), Reading::Is(0.0)),
            (Some(3600), Some("binlog.000099"), Some(0.0), Reading::Is(0.0)),
            (None, Some("binlog.000099"), None, Reading::Is(0.0)),
            (None, Some("binlog.000100"), Some(9e9), Reading::NotNow),
            (Some(3600), None, Some(1.0), Reading::Is(3599.0)),
            (Some(3600), None, None, Reading::Unknown),
        ] {
            assert_eq!(headroom(&kept(for_s), file, delay), expected, "{for_s:?} {file:?} {delay:?}");
        }
    }

    #[test]
    fn servers_say_how_long_in_different_ways() {
        let of = |list: &[(&str, &str)]| {
            let owned: Vec<_> =
                list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            kept_for(&owned)
        };
        assert_eq!(
            of(&[("binlog_expire_logs_seconds", "3600"), ("expire_logs_days", "0.041667")]),
            Some(3600)
        );
        assert_eq!(of(&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "0.5")]), Some(43_200));
        assert_eq!(of(&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "0")]), None);
        assert_eq!(
            of(&[("binlog_expire_logs_seconds", "9"), ("binlog_expire_logs_auto_purge", "OFF")]),
            None
        );
    }

    #[test]
    fn the_worst_that_is_known_counts() {
        let unknown = [Reading::NotNow, Reading::Unknown];
        assert_eq!(least(unknown), Reading::Unknown);
        assert_eq!(least(unknown.into_iter().chain([Reading::Is(5.0), Reading::Is(3.0)])), Reading::Is(3.0));
    }
}
