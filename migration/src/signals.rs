//! Measuring the servers of a move and the machine of the proxy, for the throttle and the alerts.
//!
//! What cannot be measured is [`Reading::Unknown`], never zero. The processors are those of the machine that shardway
//! runs on, and the disk is its state folder's: a database server elsewhere shows nothing of its own, but MariaDB the disks
//! of its machine, with its plugin `disks`. Where that matters, `throttle.check_url` asks somebody who knows, and its
//! answer counts instead.

use std::path::Path;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row, Value};

use crate::reading::Reading;

/// What a server says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerSignals {
    /// Statements that run now, some of the server's own threads among them; the one that asks is not counted.
    pub threads_running: Reading,
    /// Old row versions that wait for purge. Unknown on MySQL without the right `PROCESS`.
    pub history_length: Reading,
    /// Percent of the disk that holds its data; nothing where the server tells of no disks.
    pub disk_free: Reading,
}

/// Asks a server.
///
/// # Errors
/// When it does not answer at all.
pub async fn of_server(connection: &mut Conn) -> Result<ServerSignals, Error> {
    let status =
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_running', 'Innodb_history_list_length')";
    let status: Vec<(String, String)> = connection.query(status).await?;
    let told = |name: &str| {
        let found = status.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.parse::<f64>().ok())
    };
    let history = match told("Innodb_history_list_length") {
        Some(length) => Some(length),
        None => history_by_metric(connection).await?,
    };
    Ok(ServerSignals {
        threads_running: told("Threads_running").map(|count| (count - 1.0).max(0.0)).into(),
        history_length: history.into(),
        disk_free: disk(connection).await?.map_or(Reading::NotNow, Disk::free_percent),
    })
}

/// A server's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    pub total_bytes: u64,
    pub available_bytes: u64,
}

impl Disk {
    fn free_percent(self) -> Reading {
        match self.total_bytes {
            0 => Reading::Unknown,
            total => Reading::Is(self.available_bytes as f64 / total as f64 * 100.0),
        }
    }
}

/// The disk that holds a server's data. `None`: it tells of no disks, as all but MariaDB with the plugin `disks` and the
/// right `FILE`.
pub(crate) async fn disk(connection: &mut Conn) -> Result<Option<Disk>, Error> {
    let plugin = "SELECT COUNT(*) FROM information_schema.PLUGINS \
                  WHERE PLUGIN_NAME = 'DISKS' AND PLUGIN_STATUS = 'ACTIVE'";
    if connection.query_first::<u64, _>(plugin).await? != Some(1) {
        return Ok(None);
    }
    let sql = "SELECT Path, CONCAT(Total), CONCAT(Available), @@GLOBAL.datadir FROM information_schema.DISKS";
    let rows: Vec<Row> = match connection.query(sql).await {
        Err(Error::Server(error)) => {
            tracing::debug!(%error, "the disks of a server cannot be measured");
            return Ok(None);
        }
        rows => rows?,
    };
    let told = |row| mysql_async::from_row_opt::<(String, String, String, String)>(row).ok();
    let holding = rows
        .into_iter()
        .filter_map(told)
        .filter(|(path, _, _, folder)| Path::new(folder).starts_with(path))
        .max_by_key(|(path, ..)| path.len());
    // The table counts in KiB.
    let bytes = |kib: &str| kib.parse::<u64>().ok().map(|kib| kib << 10);
    Ok(holding.and_then(|(_, total, available, _)| {
        Some(Disk { total_bytes: bytes(&total)?, available_bytes: bytes(&available)? })
    }))
}

/// MySQL has no status variable for it.
async fn history_by_metric(connection: &mut Conn) -> Result<Option<f64>, Error> {
    let sql = "SELECT CAST(`COUNT` AS CHAR) FROM information_schema.INNODB_METRICS \
               WHERE NAME = 'trx_rseg_history_len' AND STATUS = 'enabled'";
    match connection.query_first::<String, _>(sql).await {
        Ok(length) => Ok(length.and_then(|length| length.parse().ok())),
        Err(Error::Server(error)) => {
            tracing::debug!(%error, "the history list cannot be measured");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How many seconds a replica is behind, by its own account. Unknown when it does not replicate at present, or is none.
///
/// # Errors
/// When it does not answer, or does not let this user ask.
pub async fn replica_lag_s(connection: &mut Conn) -> Result<Reading, Error> {
    const SYNTAX: u16 = 1064;
    let rows: Vec<Row> = match connection.query("SHOW REPLICA STATUS").await {
        // Servers before MySQL 8.0.22 and MariaDB 10.5.
        Err(Error::Server(error)) if error.code == SYNTAX => connection.query("SHOW SLAVE STATUS").await?,
        other => other?,
    };
    Ok(worst(rows.iter().map(behind_s)))
}

/// A server may follow several; it is as late as the latest.
fn worst(lags: impl Iterator<Item = Option<f64>>) -> Reading {
    let lags: Option<Vec<f64>> = lags.collect();
    lags.and_then(|lags| lags.into_iter().reduce(f64::max)).into()
}

fn behind_s(row: &Row) -> Option<f64> {
    let names = ["Seconds_Behind_Source", "Seconds_Behind_Master"];
    let columns = row.columns_ref();
    let at = columns.iter().position(|column| names.contains(&column.name_str().as_ref()))?;
    match row.as_ref(at)? {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::Int(seconds) => Some(*seconds as f64),
        Value::UInt(seconds) => Some(*seconds as f64),
        _ => None,
    }
}

/// Processor time since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// As the kernel tells now; `None` where it does not.
    #[must_use]
    pub fn now() -> Option<CpuTimes> {
        CpuTimes::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// From the text of `/proc/stat`.
    #[must_use]
    pub fn parse(text: &str) -> Option<CpuTimes> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // user nice system idle iowait irq softirq steal; guest time is in user time already.
        let total = ticks.get(..ticks.len().min(8))?.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
        Some(CpuTimes { busy: total - idle, total })
    }

    /// Percent of all processors that were busy since then.
    #[must_use]
    pub fn usage_since(self, before: CpuTimes) -> Reading {
        let (Some(busy), Some(total)) =
            (self.busy.checked_sub(before.busy), self.total.checked_sub(before.total))
        else {
            return Reading::Unknown;
        };
        if total == 0 { Reading::Unknown } else { Reading::Is(busy as f64 / total as f64 * 100.0) }
    }
}

/// Percent of the disk that are free for this process, where `path` is.
#[must_use]
pub fn disk_free_percent(path: &Path) -> Reading {
    match rustix::fs::statvfs(path) {
        Ok(disk) if disk.f_blocks > 0 => Reading::Is(disk.f_bavail as f64 / disk.f_blocks as f64 * 100.0),
        Ok(_) | Err(_) => Reading::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_busy_or_idle() {
        let before = CpuTimes::parse("cpu  100 0 50 800 50 0 0 0 30 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 150, total: 1000 });
        let after = CpuTimes::parse("cpu  160 0 80 850 60 0 0 0 60 0\n").unwrap();
        assert_eq!(after.usage_since(before), Reading::Is(60.0));
        assert_eq!(before.usage_since(before), Reading::Unknown);
        assert_eq!(before.usage_since(after), Reading::Unknown);
        for text in ["", "cpu \n", "cpu  1 2 x 4\n", "cpu0 1 2 3 4\n"] {
            assert_eq!(CpuTimes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert!(CpuTimes::now().is_some());
        let free = disk_free_percent(&std::env::temp_dir()).value().unwrap();
        assert!((0.0..=100.0).contains(&free));
        assert_eq!(disk_free_percent(Path::new("/no/such/folder")), Reading::Unknown);
    }

    #[test]
    fn a_server_is_as_late_as_its_latest_source() {
        assert_eq!(worst([Some(1.0), Some(7.0)].into_iter()), Reading::Is(7.0));
        assert_eq!(worst([Some(1.0), None].into_iter()), Reading::Unknown);
        assert_eq!(worst(std::iter::empty()), Reading::Unknown);
    }
}
