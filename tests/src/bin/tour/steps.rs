//! The main job, step by step; each step is proven before the next one begins.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::client::Client;
use crate::operator::Operator;
use crate::window::Window;
use crate::{Servers, page};

/// A stage is watched for that long, and until that many reads were answered: one in a hundred must be enough to count.
const WATCHED: Duration = Duration::from_secs(2);
const READS: u64 = 3_000;

/// What a stage must look like from outside.
#[derive(Debug, Clone, Copy)]
struct Expected {
    /// Percent of users whose reads shards answer.
    reads: f64,
    /// Percent of new orders that shards take.
    writes: f64,
}

struct Tour<'a> {
    servers: &'a Servers,
    operator: Operator,
    client: Client,
    longest: Duration,
    statements: u64,
}

/// Takes the tour.
pub async fn run(servers: &Servers, proxy: u16, operator: Operator) -> anyhow::Result<()> {
    let client = Client::start(proxy).await?;
    let mut tour = Tour { servers, operator, client, longest: Duration::ZERO, statements: 0 };

    page::step("1  Everything on one server; the client begins and does not stop until the end");
    tour.watch(Expected { reads: 0.0, writes: 0.0 }).await?;

    page::step("2  Double write: what the legacy server takes, the shards get too");
    tour.save("2-double-write", Expected { reads: 0.0, writes: 0.0 }).await?;

    page::step("3  The rows that were there before are carried over");
    tour.carry_over().await?;
    tour.verify().await?;

    page::step("4  Reads of 1 % of the users, then 25 %, then all, from the shards");
    tour.save("3-reads-1", Expected { reads: 1.0, writes: 0.0 }).await?;
    tour.save("4-reads-25", Expected { reads: 25.0, writes: 0.0 }).await?;
    tour.save("5-reads-100", Expected { reads: 100.0, writes: 0.0 }).await?;

    page::step("5  Writes to the shards; the legacy server still gets them, so the way back is open");
    tour.save("6-writes-to-target", Expected { reads: 100.0, writes: 100.0 }).await?;
    tour.verify().await?;

    page::step("6  And back, by saving the file of step 2 again");
    tour.save("2-double-write", Expected { reads: 0.0, writes: 0.0 }).await?;
    tour.verify().await?;

    page::step("7  Nothing lost");
    tour.end(proxy).await
}

impl Tour<'_> {
    async fn save(&mut self, stage: &str, expected: Expected) -> anyhow::Result<()> {
        self.look().await?;
        self.operator.save(stage).await?;
        let switched = self.look().await?;
        page::seen("switch", &format!("longest stall {} ms", switched.longest.as_millis()));
        self.watch(expected).await
    }

    async fn watch(&mut self, expected: Expected) -> anyhow::Result<()> {
        self.look().await?;
        let mut window = Window::default();
        while window.reads.values().sum::<u64>() < READS {
            tokio::time::sleep(WATCHED).await;
            window.add(self.look().await?);
        }
        window.print(self.servers);
        self.prove(&window, expected)
    }

    fn prove(&self, window: &Window, expected: Expected) -> anyhow::Result<()> {
        ensure!(window.statements > 0 && !window.writes.is_empty(), "the client stands still");
        let (reads, writes) = (window.target_reads(self.servers), window.target_writes(self.servers));
        // A few thousand users are asked for, so their share is near the percentage and not exactly it.
        let near = |seen: f64| match expected.reads {
            0.0 => seen == 0.0,
            100.0 => seen > 99.0,
            percent => seen > percent / 4.0 && (seen - percent).abs() < 2.0 + percent / 4.0,
        };
        ensure!(near(reads), "shards answered {reads:.1} % of the reads, not {} %", expected.reads);
        ensure!(
            (writes - expected.writes).abs() < 1.0,
            "shards took {writes:.1} % of the orders, not {} %",
            expected.writes
        );
        if expected.reads > 0.0 && expected.reads < 100.0 {
            let split = window.split_users();
            ensure!(split == 0, "{split} users were answered now by one side, now by the other");
            page::holds("stable", "every user was answered by one side only");
        }
        Ok(())
    }

    async fn carry_over(&mut self) -> anyhow::Result<()> {
        self.look().await?;
        let started = Instant::now();
        let rows = self.operator.carry_over().await?;
        let window = self.look().await?;
        page::seen(
            "copy",
            &format!("{} rows in {:.1} s", page::count(rows), started.elapsed().as_secs_f64()),
        );
        window.print(self.servers);
        Ok(())
    }

    async fn verify(&mut self) -> anyhow::Result<()> {
        self.look().await?;
        self.operator.verify().await?;
        let window = self.look().await?;
        page::seen("client", &format!("longest stall meanwhile {} ms", window.longest.as_millis()));
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<Window> {
        let window = self.client.look().await?;
        self.longest = self.longest.max(window.longest);
        self.statements += window.statements;
        Ok(window)
    }

    async fn end(mut self, proxy: u16) -> anyhow::Result<()> {
        self.look().await?;
        let journal = self.client.stop().await?;
        journal.check(self.servers, proxy).await?;
        let writes = page::count(journal.writes());
        page::holds(
            "journal",
            &format!(
                "{writes} acknowledged values are there, through the proxy, on legacy and on the shards"
            ),
        );
        page::seen(
            "client",
            &format!(
                "{} statements in all, longest stall {} ms",
                page::count(self.statements),
                self.longest.as_millis()
            ),
        );
        Ok(())
    }
}
