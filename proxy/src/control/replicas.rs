//! Measuring replicas: one task for each, as long as the rules in force name it.
//!
//! A round notes the moment, asks the primary what it has logged, then the replica what it has applied. Once the replica
//! has that, it is complete until the moment. A primary that does not tell leaves what is known as it is; a replica that
//! does not, or that is no copy of its primary, is known nothing of from there on.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Error;
use shardway_migration::replication::{Applied, Asked, Awaited, Follows, Logged, Unmeasured};
use shardway_routing::topology::{BackendId, Server};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::backend::replicas::{Moment, Replica};
use crate::control_connection;
use crate::shared::Shared;

/// Between two rounds.
const EVERY: Duration = Duration::from_millis(100);
/// Rounds between two proofs of whom a replica follows.
const BETWEEN_PROOFS: u32 = 10;
/// A server that takes longer has not answered.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// A log of 1 GiB is read in less.
const PROVES_WITHIN: Duration = Duration::from_secs(10);

/// Lets every replica of the rules in force be watched.
pub(super) async fn watch_always(shared: Arc<Shared>) {
    loop {
        let snapshot = shared.snapshot();
        let ids = (0..).map(BackendId).take(snapshot.topology.backends.len());
        for replica in ids.flat_map(|id| snapshot.replicas(id)).filter(|replica| replica.takes_watcher()) {
            tokio::spawn(watch(Arc::clone(&shared), Arc::clone(replica)));
        }
        drop(snapshot);
        sleep(EVERY).await;
    }
}

/// A replica with its primary.
struct Pair {
    backend: String,
    primary: Server,
    replica: Server,
}

/// As the rules in force have them; `None`: they name it no more.
fn pair(shared: &Shared, of: &Arc<Replica>) -> Option<Pair> {
    let snapshot = shared.snapshot();
    (0..).map(BackendId).zip(&snapshot.topology.backends).find_map(|(id, backend)| {
        let nth = snapshot.replicas(id).iter().position(|replica| Arc::ptr_eq(replica, of))?;
        let (primary, replica) = (backend.primary.clone(), backend.replicas[nth].server.clone());
        Some(Pair { backend: backend.name.clone(), primary, replica })
    })
}

async fn watch(shared: Arc<Shared>, replica: Arc<Replica>) {
    let mut watcher = Watcher::default();
    while let Some(pair) = pair(&shared, &replica) {
        watcher.round(&shared, &replica, &pair).await;
        sleep(EVERY).await;
    }
    watcher.primary.end().await;
    watcher.replica.end().await;
}

#[derive(Default)]
struct Watcher {
    primary: Line,
    replica: Line,
    awaited: Awaited<Moment>,
    /// What the primary has told last.
    logged: Option<Logged>,
    /// The address that the replica has been proved to follow its primary at.
    proved: Option<String>,
    /// What was told in the round before, when nothing was proved.
    unproved: Option<Applied>,
    /// Rounds until the next proof is tried: a primary reads its log for it.
    pause: u32,
}

impl Watcher {
    async fn round(&mut self, shared: &Shared, of: &Replica, pair: &Pair) {
        let life = of.known().life;
        // Before the question: what is logged later may be missing.
        let at = shared.now();
        let trouble = match self.primary.logged(&pair.primary).await {
            Ok(logged) => {
                self.awaited.note(at, logged.clone());
                self.logged = Some(logged);
                None
            }
            Err(error) => Some(format!("nobody knows what it lacks: {error}")),
        };
        let applied = match self.replica.applied(&pair.replica).await {
            Ok(applied) => applied,
            Err(error) => {
                match &error {
                    Unmeasured::Server(Error::Server(_)) | Unmeasured::Unfit(_) => {}
                    Unmeasured::Server(error) => of.health.failed(&error.to_string()),
                }
                return self.lose(of, pair, &error);
            }
        };
        of.health.answered(self.replica.version());
        let Some(logged) = &self.logged else { return of.lacks(trouble) };
        let fits = applied.fits(logged);
        if let Err(error) = self.prove(pair, fits, applied.clone()).await {
            return self.lose(of, pair, &error);
        }
        if let Some(until) = self.awaited.reached(&applied) {
            of.measured(life, until);
        }
        of.lacks(trouble);
    }

    /// Makes sure that the replica follows its primary, once for each address that it follows.
    async fn prove(
        &mut self,
        pair: &Pair,
        fits: Result<Follows, Unmeasured>,
        applied: Applied,
    ) -> Result<(), Unmeasured> {
        let Follows::OneOfThatId(address) = fits? else { return Ok(()) };
        if self.proved.as_ref() == Some(&address) {
            return Ok(());
        }
        let before = self.unproved.replace(applied.clone());
        if let Some(before) = before.filter(|_| self.pause == 0) {
            self.pause = BETWEEN_PROOFS;
            self.primary.proves(&pair.primary, &before, &applied).await?;
            (self.proved, self.pause) = (Some(address), 0);
            return Ok(());
        }
        self.pause = self.pause.saturating_sub(1);
        Err(Unmeasured::Unfit("nothing proves yet that it replicates from its primary".to_owned()))
    }

    /// Nothing that was measured before counts for a server that comes back.
    fn lose(&mut self, of: &Replica, pair: &Pair, error: &Unmeasured) {
        tracing::debug!(backend = pair.backend, replica = ?pair.replica, %error, "a replica is not measured");
        (self.awaited, self.proved) = (Awaited::default(), None);
        of.lost(&error.to_string());
    }
}

/// A connection that is kept from round to round, until it fails.
#[derive(Default)]
struct Line {
    asked: Option<Asked>,
}

impl Line {
    async fn logged(&mut self, server: &Server) -> Result<Logged, Unmeasured> {
        let told = timeout(ANSWERS_WITHIN, async { self.connected(server).await?.logged().await }).await;
        self.judged(told)
    }

    async fn applied(&mut self, server: &Server) -> Result<Applied, Unmeasured> {
        let told = timeout(ANSWERS_WITHIN, async { self.connected(server).await?.applied().await }).await;
        self.judged(told)
    }

    async fn proves(&mut self, server: &Server, before: &Applied, now: &Applied) -> Result<(), Unmeasured> {
        let told = async { self.connected(server).await?.proves(before, now).await };
        let told = timeout(PROVES_WITHIN, told).await;
        self.judged(told)
    }

    async fn connected(&mut self, server: &Server) -> Result<&mut Asked, Unmeasured> {
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => Asked::over(control_connection::connect(server).await?).await?,
        };
        Ok(self.asked.insert(asked))
    }

    fn judged<T>(&mut self, told: Result<Result<T, Unmeasured>, Elapsed>) -> Result<T, Unmeasured> {
        let told = told.unwrap_or_else(|_| {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(Error::Io(error.into()).into())
        });
        if let Err(Unmeasured::Server(_)) = &told {
            self.asked = None;
        }
        told
    }

    fn version(&self) -> Option<&str> {
        self.asked.as_ref().map(Asked::version)
    }

    async fn end(self) {
        if let Some(asked) = self.asked {
            asked.end().await;
        }
    }
}
