//! `shardway serve`: starts the control plane, the workers and the listener, and ends them together.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

use crate::claim::claim;
use crate::config::Config;
use crate::control;
use crate::listen::{self, Arrival, Inbox};
use crate::session;
use crate::shared::Shared;
use crate::worker::Worker;

/// How long open transactions have after SIGTERM before their sessions are cut.
const GRACE: Duration = Duration::from_secs(5);
/// What a thread of the control plane may keep on its stack: moves are deep.
const CONTROL_STACK: usize = 8 << 20;

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// When another process uses the state folder, the rules cannot take effect or a listener cannot be had.
pub fn run(config: Config) -> anyhow::Result<()> {
    let _claim = claim(&config.state_dir)?;
    let config = Arc::new(config);
    let shared = Arc::new(Shared::new(Arc::clone(&config)));
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .thread_stack_size(CONTROL_STACK)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let control = control::start(Arc::clone(&shared)).await?;
        let workers = start_workers(&shared)?;
        let address = config.listen.mysql;
        let listener = listen::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        tracing::info!(%address, workers = workers.len(), "serving");
        control.ready();
        tokio::select! {
            () = listen::accept(listener, Arc::clone(&shared), workers) => {}
            ended = ended() => ended?,
        }
        leave(&shared).await;
        Ok(())
    })
}

/// Lets sessions finish their statement, then their transaction, and ends them.
async fn leave(shared: &Shared) {
    tracing::info!(sessions = shared.sessions.len(), "ending");
    for session in &shared.sessions {
        session.value().kill();
    }
    let ended = async {
        while !shared.sessions.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!(sessions = shared.sessions.len(), "sessions were cut");
    }
}

async fn ended() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

fn start_workers(shared: &Arc<Shared>) -> std::io::Result<Vec<Inbox>> {
    (0..shared.config.workers).map(|number| start_worker(number, shared)).collect()
}

fn start_worker(number: usize, shared: &Arc<Shared>) -> std::io::Result<Inbox> {
    let (arrivals, inbox) = unbounded_channel();
    let sessions = Arc::new(AtomicUsize::new(0));
    let (shared, count) = (Arc::clone(shared), Arc::clone(&sessions));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        LocalSet::new().block_on(&runtime, work(shared, inbox, count));
    })?;
    Ok(Inbox { arrivals, sessions })
}

async fn work(shared: Arc<Shared>, mut inbox: UnboundedReceiver<Arrival>, sessions: Arc<AtomicUsize>) {
    let worker = Rc::new(Worker::new(Arc::clone(&shared)));
    tokio::task::spawn_local({
        let worker = Rc::clone(&worker);
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(30)).await;
                worker.reap();
            }
        }
    });
    tokio::task::spawn_local({
        let worker = Rc::clone(&worker);
        async move { worker.warm_always().await }
    });
    while let Some((stream, peer)) = inbox.recv().await {
        let registered = shared.enter_session(peer);
        let (worker, sessions) = (Rc::clone(&worker), Arc::clone(&sessions));
        tokio::task::spawn_local(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => session::serve(stream, worker, Arc::clone(&registered.info)).await,
                Err(error) => tracing::warn!(%error, "cannot serve a connection"),
            }
            sessions.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
