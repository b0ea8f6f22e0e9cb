//! A client that keeps asking while a rehearsal runs, so that stalls are seen as clients would see them.
//!
//! It reads a row by its shard key, and reads it with a lock, which goes where writes go and changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Value};

/// Between two statements.
const EVERY: Duration = Duration::from_millis(5);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// What the client has seen since it was last asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub read: Option<Duration>,
    pub write: Option<Duration>,
    pub failed: u64,
}

/// The client.
pub(super) struct Probe {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins to ask for a row of a table by its shard key.
    pub fn start(options: Opts, table: &str, key: &str) -> Probe {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let (table, key) = (quoted(table), quoted(key));
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let asks = Asking { options, table, key, seen: Arc::clone(&seen), stop: Arc::clone(&stop) };
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                asks.until_stopped(&runtime);
            }
        });
        Probe { seen, stop, thread: Some(thread) }
    }

    /// What has been seen since the last call.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Asking {
    options: Opts,
    table: String,
    key: String,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Asking {
    fn until_stopped(&self, runtime: &tokio::runtime::Runtime) {
        while !self.stop.load(Ordering::Acquire) {
            if runtime.block_on(self.ask()).is_err() {
                self.note(|seen| seen.failed += 1);
                sleep(PAUSE);
            }
        }
    }

    async fn ask(&self) -> Result<(), mysql_async::Error> {
        let mut connection = Conn::new(self.options.clone()).await?;
        let (table, key) = (&self.table, &self.key);
        let value: Option<Value> =
            connection.query_first(format!("SELECT {key} FROM {table} LIMIT 1")).await?;
        let value = value.unwrap_or(Value::Int(0));
        let (read, locking) = (
            format!("SELECT 1 FROM {table} WHERE {key} = ?"),
            format!("SELECT 1 FROM {table} WHERE {key} = ? FOR UPDATE"),
        );
        while !self.stop.load(Ordering::Acquire) {
            let began = Instant::now();
            connection.exec_drop(&read, (value.clone(),)).await?;
            let read = began.elapsed();
            let began = Instant::now();
            connection.exec_drop(&locking, (value.clone(),)).await?;
            let write = began.elapsed();
            self.note(|seen| {
                seen.read = seen.read.max(Some(read));
                seen.write = seen.write.max(Some(write));
            });
            tokio::time::sleep(EVERY).await;
        }
        connection.disconnect().await
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
