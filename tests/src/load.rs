//! Clients that write through the proxy while something else happens, and remember every write that was acknowledged.
//!
//! Each client has rows of its own, so that it knows what they must be; all of them move money between shared rows whose
//! sum never changes. A write whose answer was lost may or may not have taken place; either is right, nothing else is.

mod purchases;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tokio::task::JoinHandle;

use purchases::{Purchases, Question};

/// Rows that clients own begin here; those below are the shared ones.
pub const OWN: u64 = 1_000_000;
/// Shared rows, and what each has at first.
pub const SHARED: u64 = 20;
pub const EACH: u64 = 1_000;

/// The shards of the users, by `mod`.
const SHARDS: u64 = 4;

/// Between which shared rows money is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfers {
    Anywhere,
    /// A transaction over several servers is whole only while none of them, nor the proxy, is killed in its commit.
    WithinShard,
}

/// Running clients.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Journal>>,
}

/// What the clients know.
#[derive(Debug, Default)]
pub struct Journal {
    /// By row: the version that it must have. `None`: it must be gone.
    rows: BTreeMap<u64, Expected>,
    /// Statements that were acknowledged.
    pub acknowledged: u64,
    /// Statements that were refused or whose answer was lost.
    pub failed: u64,
    /// The longest that any client waited for an answer.
    pub longest_stall: Duration,
    /// The first error that any client saw.
    pub first_error: Option<String>,
    /// Reads that were older than what the client had written or read before.
    pub stale: Vec<String>,
    purchases: Purchases,
}

/// How clients speak to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// Text, and every answer is waited for.
    Plain,
    /// Half of them send prepared statements; now and then one leaves without waiting for the answer to its COMMIT. They
    /// buy things, and look at what others buy.
    Rough,
}

/// What a row may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    sure: Option<u64>,
    /// What it may be as well, because an answer was lost.
    perhaps: Vec<Option<u64>>,
}

impl Load {
    /// The shared rows, to be inserted before clients start.
    #[must_use]
    pub fn shared_rows() -> String {
        let rows: Vec<String> = (1..=SHARED).map(|id| format!("({id}, 'shared', {EACH})")).collect();
        format!("INSERT INTO users (id, name, balance) VALUES {}", rows.join(", "))
    }

    /// Starts clients on these connection options.
    #[must_use]
    pub fn start(options: &Opts, clients: u64) -> Load {
        Load::start_with(options, clients, Transfers::Anywhere)
    }

    /// The same, for servers or a proxy that will be killed.
    #[must_use]
    pub fn start_with(options: &Opts, clients: u64, transfers: Transfers) -> Load {
        Load::start_as(options, clients, transfers, Manners::Plain)
    }

    /// The same, with clients that are no better than they must be.
    #[must_use]
    pub fn start_as(options: &Opts, clients: u64, transfers: Transfers, manners: Manners) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let all = clients;
        let clients = (0..all)
            .map(|number| {
                let client = Client {
                    options: options.clone(),
                    number,
                    all,
                    transfers,
                    manners,
                    connection: None,
                    stop: Arc::clone(&stop),
                    done: Arc::clone(&done),
                    journal: Journal::default(),
                };
                tokio::spawn(client.run())
            })
            .collect();
        Load { stop, done, clients }
    }

    /// Acknowledged statements so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more statements have been acknowledged.
    pub async fn more(&self, statements: u64) {
        let wanted = self.done() + statements;
        crate::until("clients go on", Duration::from_secs(180), async || {
            (self.done() >= wanted).then_some(())
        })
        .await;
    }

    /// Ends the clients and tells what they know.
    ///
    /// # Panics
    /// When a client panicked.
    pub async fn stop(self) -> Journal {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Journal::default();
        for client in self.clients {
            let journal = client.await.expect("clients do not panic");
            all.rows.extend(journal.rows);
            all.acknowledged += journal.acknowledged;
            all.failed += journal.failed;
            all.longest_stall = all.longest_stall.max(journal.longest_stall);
            all.first_error = all.first_error.or(journal.first_error);
            all.stale.extend(journal.stale);
            all.purchases.extend(journal.purchases);
        }
        all
    }
}

impl Journal {
    /// Compares what is there with what must be.
    ///
    /// # Panics
    /// When an acknowledged write is lost or doubled.
    pub async fn check(&self, connection: &mut Conn) {
        assert!(self.stale.is_empty(), "reads went backwards: {:?}", self.stale);
        assert!(self.purchases.fewer.is_empty(), "reads went backwards: {:?}", self.purchases.fewer);
        self.purchases.check(connection).await;
        let found: Vec<(u64, String)> =
            connection.query(format!("SELECT id, name FROM users WHERE id >= {OWN}")).await.expect("rows");
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for (id, name) in found {
            let version = name.strip_prefix('v').and_then(|version| version.parse().ok()).expect("a version");
            assert!(seen.insert(id, version).is_none(), "row {id} is there twice");
        }
        for (id, expected) in &self.rows {
            let is = seen.remove(id);
            let allowed = is == expected.sure || expected.perhaps.contains(&is);
            assert!(allowed, "row {id} is {is:?} and must be {expected:?}");
        }
        assert!(seen.is_empty(), "rows that nobody wrote: {seen:?}");
        let shared: Vec<i64> = connection
            .query(format!("SELECT CAST(balance AS SIGNED) FROM users WHERE id BETWEEN 1 AND {SHARED}"))
            .await
            .expect("rows");
        assert_eq!(shared.len() as u64, SHARED, "shared rows are lost");
        assert_eq!(shared.iter().sum::<i64>(), (SHARED * EACH).cast_signed(), "money was lost or made");
    }
}

struct Client {
    options: Opts,
    number: u64,
    /// How many clients there are.
    all: u64,
    transfers: Transfers,
    manners: Manners,
    connection: Option<Conn>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    journal: Journal,
}

impl Client {
    async fn run(mut self) -> Journal {
        let mut step = 0_u64;
        if self.manners == Manners::Rough {
            self.opens_an_account().await;
        }
        while !self.stop.load(Ordering::Relaxed) {
            step += 1;
            let id = Client::first(self.number) + step;
            self.write(id, Some(0), &format!("INSERT INTO users (id, name) VALUES ({id}, 'v0')")).await;
            for version in 1..=2 {
                let update = format!("UPDATE users SET name = 'v{version}' WHERE id = {id}");
                self.write(id, Some(version), &update).await;
            }
            self.read(id).await;
            // An older row goes, or changes once more.
            let old = id - step / 2;
            if step.is_multiple_of(3)
                && self.journal.rows.get(&old).is_some_and(|row| row.sure.is_some() && row.perhaps.is_empty())
            {
                self.write(old, None, &format!("DELETE FROM users WHERE id = {old}")).await;
            }
            self.transfer(step).await;
            if self.manners == Manners::Rough {
                self.buy(id).await;
                self.look_on().await;
            }
            // Several tests share the machine, and none is about how much it can take. Uneven, so that clients drift apart.
            let pause_ms = match self.manners {
                Manners::Plain => 25,
                Manners::Rough => 5,
            };
            let more_ms = (step * 5 + self.number * 3) % 7;
            tokio::time::sleep(Duration::from_millis(pause_ms + more_ms)).await;
        }
        self.journal
    }

    /// The row of a client that buys with; its others follow.
    fn first(number: u64) -> u64 {
        OWN + number * 1_000_000
    }

    async fn opens_an_account(&mut self) {
        let id = Client::first(self.number);
        let is_open = |journal: &Journal| journal.rows.get(&id).is_some_and(|row| row.sure.is_some());
        while !is_open(&self.journal) && !self.stop.load(Ordering::Relaxed) {
            // Where the answer was lost, it may be there.
            let insert = format!("INSERT IGNORE INTO users (id, name) VALUES ({id}, 'v0')");
            if self.run_one(&insert).await.is_ok() {
                self.journal.rows.insert(id, Expected { sure: Some(0), perhaps: Vec::new() });
            }
        }
    }

    async fn buy(&mut self, order: u64) {
        let buyer = Client::first(self.number);
        for statement in purchases::statements(buyer, order) {
            if self.run_one(&statement).await.is_err() {
                self.connection = None;
                return;
            }
        }
        let answer = self.run_one("COMMIT").await;
        self.journal.purchases.committed(buyer, answer);
    }

    /// Looks at what another client has bought.
    async fn look_on(&mut self) {
        let buyer = Client::first((self.number + 1) % self.all);
        for question in [Question::Rows, Question::Sum] {
            let Some(connection) = &mut self.connection else { return };
            let found: Result<Option<u64>, _> = connection.query_first(question.sql(buyer)).await;
            match found {
                Ok(count) => self.journal.purchases.counted(buyer, question, count.unwrap_or(0)),
                Err(_) => self.connection = None,
            }
        }
    }

    async fn write(&mut self, id: u64, version: Option<u64>, sql: &str) {
        let before = self.journal.rows.get(&id).cloned();
        let answer = self.run_one(sql).await;
        let was = before.unwrap_or(Expected { sure: None, perhaps: Vec::new() });
        let expected = match answer {
            Ok(affected) if affected > 0 => Expected { sure: version, perhaps: Vec::new() },
            // It found nothing: an earlier write that was in doubt had not taken place.
            Ok(_) => was,
            Err(_) => {
                let mut perhaps = was.perhaps.clone();
                perhaps.push(version);
                Expected { sure: was.sure, perhaps }
            }
        };
        self.journal.rows.insert(id, expected);
    }

    /// Reads a row of its own, which must be as it was last acknowledged, or later.
    async fn read(&mut self, id: u64) {
        let Some(Expected { sure, perhaps }) = self.journal.rows.get(&id).cloned() else { return };
        let is_prepared = self.is_prepared();
        let Some(connection) = &mut self.connection else { return };
        let sql = format!("SELECT name FROM users WHERE id = {id}");
        let found: Result<Option<String>, _> = match is_prepared {
            true => connection.exec_first("SELECT name FROM users WHERE id = ?", (id,)).await,
            false => connection.query_first(sql).await,
        };
        let Ok(found) = found else {
            self.connection = None;
            return;
        };
        let is = found.and_then(|name| name.strip_prefix('v')?.parse().ok());
        if is != sure && !perhaps.contains(&is) {
            self.journal
                .stale
                .push(format!("row {id} was {is:?} and must be {sure:?} or one of {perhaps:?}"));
        }
    }

    fn is_prepared(&self) -> bool {
        self.manners == Manners::Rough && self.number % 2 == 1
    }

    async fn transfer(&mut self, step: u64) {
        let from = (step * 7 + self.number) % SHARED;
        let to = match self.transfers {
            Transfers::Anywhere => (step * 3 + self.number + 1) % SHARED,
            Transfers::WithinShard => (from + SHARDS * (1 + step % (SHARED / SHARDS - 1))) % SHARED,
        };
        let (from, to) = (1 + from, 1 + to);
        let statements = [
            "BEGIN".to_owned(),
            format!("UPDATE users SET balance = balance - 1 WHERE id = {}", from.min(to)),
            format!("UPDATE users SET balance = balance + 1 WHERE id = {}", from.max(to)),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            if statement == "COMMIT" && self.manners == Manners::Rough && step.is_multiple_of(13) {
                // Whether it has taken place, the sum is the same.
                if let Some(mut connection) = self.connection.take() {
                    let _ = tokio::time::timeout(Duration::from_micros(200), connection.query_drop("COMMIT"))
                        .await;
                }
                return;
            }
            if self.run_one(&statement).await.is_err() {
                // Whatever is open must not be committed by what follows.
                self.connection = None;
                return;
            }
        }
    }

    /// Affected rows, or that the statement failed.
    async fn run_one(&mut self, sql: &str) -> Result<u64, ()> {
        let started = Instant::now();
        let answer = self.ask(sql).await;
        self.journal.longest_stall = self.journal.longest_stall.max(started.elapsed());
        match answer {
            Ok(affected) => {
                self.journal.acknowledged += 1;
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(affected)
            }
            Err(error) => {
                self.journal.failed += 1;
                self.journal.first_error.get_or_insert_with(|| format!("{sql}: {error}"));
                self.connection = None;
                Err(())
            }
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<u64, mysql_async::Error> {
        let is_prepared = self.is_prepared();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let opened = Conn::new(self.options.clone()).await;
                if opened.is_err() {
                    // The proxy is being started again.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                none.insert(opened?)
            }
        };
        // BEGIN and COMMIT are no prepared statements everywhere.
        if is_prepared && sql.starts_with(['I', 'U', 'D']) {
            connection.exec_drop(sql, ()).await?;
        } else {
            connection.query_drop(sql).await?;
        }
        Ok(connection.affected_rows())
    }
}
