//! The shop's client: a few connections that place orders, read them back and look users up, without a break.
//!
//! - Every read of a user or an order is compared with what this client was told before, so a stale answer is noticed.
//! - A transaction that a server asks to repeat (deadlock, lock wait) is repeated; any other error ends the client.
//! - Each worker writes to users of its own, so the last acknowledged value is never in doubt.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use crate::connect;
use crate::journal::{Journal, Order};
use crate::shop::{FIRST_NEW_ORDER, USERS};
use crate::window::Window;

const WORKERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(4);
/// Lookups of users for each order placed.
const LOOKUPS: usize = 5;
/// A statement without an answer for that long is as good as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all workers share.
#[derive(Debug, Default)]
struct Shared {
    window: Mutex<Window>,
    journal: Mutex<Journal>,
    stop: AtomicBool,
    orders: AtomicU64,
    /// Statements that each worker has had an answer to.
    answered: [AtomicU64; WORKERS],
}

impl Shared {
    /// Waits for an answer and counts it.
    async fn timed<T>(
        &self,
        worker: usize,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> anyhow::Result<Result<T, Error>> {
        let started = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        lock(&self.window).took(started.elapsed());
        self.answered[worker].fetch_add(1, Ordering::Relaxed);
        answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))
    }
}

/// The running client.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<anyhow::Result<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Connects and begins.
    pub async fn start(port: u16) -> anyhow::Result<Client> {
        let shared = Arc::new(Shared::default());
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let connection = connect(port, "app", "shop").await?;
            let random = u64::try_from(number)? + 1;
            let worker = Worker { number, connection, shared: Arc::clone(&shared), random };
            workers.push(tokio::spawn(worker.run()));
        }
        Ok(Client { shared, workers })
    }

    /// What the client saw since the last look, with the statements that are under way now.
    pub async fn look(&mut self) -> anyhow::Result<Window> {
        let answered = || self.shared.answered.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<u64> = answered().collect();
        let ended = || self.workers.iter().any(JoinHandle::is_finished);
        while !ended() && answered().zip(&before).any(|(now, before)| now == *before) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some(ended) = self.workers.iter().position(JoinHandle::is_finished) {
            self.workers.swap_remove(ended).await?.context("the client")?;
            bail!("a connection of the client has ended");
        }
        Ok(std::mem::take(&mut *lock(&self.shared.window)))
    }

    /// Lets every worker end what it is doing, and returns what was acknowledged.
    pub async fn stop(mut self) -> anyhow::Result<Journal> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await?.context("the client")?;
        }
        Ok(std::mem::take(&mut *lock(&self.shared.journal)))
    }
}

struct Worker {
    number: usize,
    connection: Conn,
    shared: Arc<Shared>,
    random: u64,
}

impl Worker {
    async fn run(mut self) -> anyhow::Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let user = self.user();
            let id = self.place(user).await.with_context(|| format!("an order of user {user}"))?;
            self.read_back(user, id).await?;
            self.pay(user, id).await?;
            for _ in 0..LOOKUPS {
                let user = self.user();
                self.look_up(user).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// One of this worker's own users, by xorshift.
    fn user(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let (workers, number) = (WORKERS as u64, self.number as u64);
        number + workers * (self.random % (USERS / workers)) + 1
    }

    /// A transaction over three tables; tells the order's id.
    async fn place(&mut self, user: u64) -> anyhow::Result<u64> {
        let id = FIRST_NEW_ORDER + 1 + self.shared.orders.fetch_add(1, Ordering::Relaxed);
        let amount = format!("{}.{:02}", 1 + id % 900, id % 100);
        let placed = lock(&self.shared.journal).placed.get(&user).copied().unwrap_or(0) + 1;
        let statements = [
            "BEGIN".to_owned(),
            format!(
                "INSERT INTO orders (id, user_id, amount, taken_by) VALUES ({id}, {user}, {amount}, @@port)"
            ),
            format!(
                "INSERT INTO order_items (id, order_id, user_id, product, quantity, price) \
                 VALUES ({id}, {id}, {user}, 'product of the day', 1, {amount})"
            ),
            format!("UPDATE users SET orders_placed = {placed} WHERE id = {user}"),
            "COMMIT".to_owned(),
        ];
        while let Repeat::Yes = self.transaction(&statements).await? {
            lock(&self.shared.window).retried += 1;
        }
        let mut journal = lock(&self.shared.journal);
        journal.orders.insert(id, Order { user, amount, status: "new" });
        journal.placed.insert(user, placed);
        Ok(id)
    }

    async fn transaction(&mut self, statements: &[String]) -> anyhow::Result<Repeat> {
        for sql in statements {
            let done = self.shared.timed(self.number, self.connection.query_drop(sql)).await?;
            match done {
                Ok(()) => {}
                // Before its commit nothing of a transaction is there, so it may be repeated.
                Err(Error::Server(error)) if asks_to_repeat(error.code) && sql != "COMMIT" => {
                    self.shared.timed(self.number, self.connection.query_drop("ROLLBACK")).await??;
                    return Ok(Repeat::Yes);
                }
                Err(error) => return Err(error).with_context(|| sql.clone()),
            }
        }
        Ok(Repeat::No)
    }

    /// The order just placed must be there, whoever answers; it says who took it.
    async fn read_back(&mut self, user: u64, id: u64) -> anyhow::Result<()> {
        let sql = format!("SELECT @@port, taken_by FROM orders WHERE user_id = {user} AND id = {id}");
        let found: Option<(u16, u16)> =
            self.shared.timed(self.number, self.connection.query_first(sql)).await??;
        let (answered, took) =
            found.with_context(|| format!("order {id}, just acknowledged, was not found"))?;
        let mut window = lock(&self.shared.window);
        window.read(user, answered);
        window.wrote(took);
        Ok(())
    }

    async fn pay(&mut self, user: u64, id: u64) -> anyhow::Result<()> {
        let sql = format!("UPDATE orders SET status = 'paid' WHERE user_id = {user} AND id = {id}");
        while let Repeat::Yes = self.transaction(std::slice::from_ref(&sql)).await? {
            lock(&self.shared.window).retried += 1;
        }
        if let Some(order) = lock(&self.shared.journal).orders.get_mut(&id) {
            order.status = "paid";
        }
        Ok(())
    }

    async fn look_up(&mut self, user: u64) -> anyhow::Result<()> {
        let sql = "SELECT @@port, orders_placed FROM users WHERE id = ?";
        let found: Option<(u16, u64)> =
            self.shared.timed(self.number, self.connection.exec_first(sql, (user,))).await??;
        let (answered, placed) = found.with_context(|| format!("user {user} was not found"))?;
        let told = lock(&self.shared.journal).placed.get(&user).copied().unwrap_or(0);
        ensure!(
            placed == told,
            "port {answered} says that user {user} has {placed} new orders; {told} were acknowledged"
        );
        lock(&self.shared.window).read(user, answered);
        Ok(())
    }
}

enum Repeat {
    Yes,
    No,
}

/// A deadlock, or a lock that was not to be had in time.
fn asks_to_repeat(code: u16) -> bool {
    matches!(code, 1205 | 1213)
}
