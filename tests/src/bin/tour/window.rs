//! What the client saw between two looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Servers, page};

/// Counts since the last look.
#[derive(Debug, Default)]
pub struct Window {
    pub statements: u64,
    /// Transactions that a server asked to try again, and that were.
    pub retried: u64,
    /// The longest that any statement took.
    pub longest: Duration,
    /// Reads by the port of the server that answered.
    pub reads: BTreeMap<u16, u64>,
    /// New orders by the port of the server that ran the insert.
    pub writes: BTreeMap<u16, u64>,
    /// Which servers answered reads of a user.
    pub users: BTreeMap<u64, BTreeSet<u16>>,
}

impl Window {
    pub fn read(&mut self, user: u64, port: u16) {
        *self.reads.entry(port).or_default() += 1;
        self.users.entry(user).or_default().insert(port);
    }

    pub fn wrote(&mut self, port: u16) {
        *self.writes.entry(port).or_default() += 1;
    }

    pub fn took(&mut self, time: Duration) {
        self.statements += 1;
        self.longest = self.longest.max(time);
    }

    /// Adds what was seen right after this.
    pub fn add(&mut self, later: Window) {
        self.statements += later.statements;
        self.retried += later.retried;
        self.longest = self.longest.max(later.longest);
        for (port, count) in later.reads {
            *self.reads.entry(port).or_default() += count;
        }
        for (port, count) in later.writes {
            *self.writes.entry(port).or_default() += count;
        }
        for (user, ports) in later.users {
            self.users.entry(user).or_default().extend(ports);
        }
    }

    /// Percent of the reads that shards answered.
    pub fn target_reads(&self, servers: &Servers) -> f64 {
        share(&self.reads, servers)
    }

    /// Percent of the new orders that shards took.
    pub fn target_writes(&self, servers: &Servers) -> f64 {
        share(&self.writes, servers)
    }

    /// Users whose reads the legacy server and a shard answered.
    pub fn split_users(&self) -> usize {
        self.users.values().filter(|ports| ports.len() > 1).count()
    }

    /// The client's lines of a step.
    pub fn print(&self, servers: &Servers) {
        page::seen("reads", &format!("{} answered: {}", sum(&self.reads), by_server(&self.reads, servers)));
        page::seen("orders", &format!("{} taken: {}", sum(&self.writes), by_server(&self.writes, servers)));
        let retried = if self.retried > 0 { format!(", {} retried", self.retried) } else { String::new() };
        page::seen(
            "client",
            &format!(
                "{} statements, none failed, none stale{retried}, longest stall {} ms",
                page::count(self.statements),
                self.longest.as_millis()
            ),
        );
    }
}

fn sum(by: &BTreeMap<u16, u64>) -> String {
    page::count(by.values().sum())
}

fn percent(part: u64, whole: u64) -> f64 {
    let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { 100.0 * number(part) / number(whole) }
}

fn share(by: &BTreeMap<u16, u64>, servers: &Servers) -> f64 {
    let target = by.iter().filter(|(port, _)| servers.shards.contains(port)).map(|(_, count)| count).sum();
    percent(target, by.values().sum())
}

fn by_server(by: &BTreeMap<u16, u64>, servers: &Servers) -> String {
    let whole = by.values().sum();
    let one =
        |(port, count): (&u16, &u64)| format!("{} {:.1} %", servers.name(*port), percent(*count, whole));
    by.iter().map(one).collect::<Vec<_>>().join(" · ")
}
