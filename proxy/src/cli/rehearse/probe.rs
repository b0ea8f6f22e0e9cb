//! A client that keeps asking while a rehearsal runs, so that stalls are seen as clients would see them.
//!
//! It reads a row by its shard key, and reads it with a lock, which goes where writes go and changes nothing. Where the
//! source is a copy, it changes rows too, in a column that is part of no key: then double write, the drain of a switch and
//! the way back have something to carry, and what compares the sides afterwards has something to find.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Column, Conn, Opts, Value};

/// Between two statements.
const EVERY: Duration = Duration::from_millis(5);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// Rows that are asked for in turn, so that several shards are.
const ROWS: usize = 16;

/// What the client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// The source is the real one.
    Read,
    Write,
}

/// What the client has seen since it was last asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub read: Option<Duration>,
    pub write: Option<Duration>,
    pub failed: u64,
    /// Changes of rows that were acknowledged.
    pub changes: u64,
}

/// The client.
pub(super) struct Probe {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins to ask for rows of a table by their shard key.
    pub fn start(options: Opts, table: &str, key: &str, may: May) -> Probe {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let (table, key) = (quoted(table), quoted(key));
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let asks = Asking { options, table, key, may, seen: Arc::clone(&seen), stop: Arc::clone(&stop) };
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
    may: May,
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
        let mut values: Vec<Value> =
            connection.query(format!("SELECT {key} FROM {table} LIMIT {ROWS}")).await?;
        if values.is_empty() {
            values.push(Value::Int(0));
        }
        let (read, locking) = (
            format!("SELECT 1 FROM {table} WHERE {key} = ?"),
            format!("SELECT 1 FROM {table} WHERE {key} = ? FOR UPDATE"),
        );
        let change = match self.may {
            May::Read => None,
            May::Write => self.change(&mut connection, &values[0]).await?,
        };
        let mut round = 0;
        while !self.stop.load(Ordering::Acquire) {
            let value = &values[round % values.len()];
            let began = Instant::now();
            connection.exec_drop(&read, (value.clone(),)).await?;
            let read = began.elapsed();
            let began = Instant::now();
            connection.exec_drop(&locking, (value.clone(),)).await?;
            let mut write = began.elapsed();
            let mut changes = 0;
            if let Some(change) = &change {
                let began = Instant::now();
                let new = &change.values[round / values.len() % 2];
                connection.exec_drop(&change.sql, (new.clone(), value.clone())).await?;
                write = write.max(began.elapsed());
                changes = connection.affected_rows();
            }
            self.note(|seen| {
                seen.read = seen.read.max(Some(read));
                seen.write = seen.write.max(Some(write));
                seen.changes += changes;
            });
            round += 1;
            tokio::time::sleep(EVERY).await;
        }
        connection.disconnect().await
    }

    /// How rows can be changed: the first column that takes it. `None`: there is none.
    async fn change(&self, connection: &mut Conn, key: &Value) -> Result<Option<Change>, mysql_async::Error> {
        let (table, named) = (&self.table, &self.key);
        let result = connection.query_iter(format!("SELECT * FROM {table} LIMIT 1")).await?;
        let columns: Vec<Column> = result.columns_ref().to_vec();
        result.drop_result().await?;
        for column in columns {
            let Some(values) = changed(&column) else { continue };
            let name = format!("`{}`", column.name_str().replace('`', "``"));
            let sql = format!("UPDATE {table} SET {name} = ? WHERE {named} = ?");
            match connection.exec_drop(&sql, (values[0].clone(), key.clone())).await {
                Ok(()) => return Ok(Some(Change { sql, values })),
                // A generated column, or a value that a constraint does not allow.
                Err(mysql_async::Error::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A statement that changes a row, with one value and then with the other.
struct Change {
    sql: String,
    values: [Value; 2],
}

/// Two values of a column that is part of no key. `None`: it is, or nobody knows any.
fn changed(column: &Column) -> Option<[Value; 2]> {
    let keys = ColumnFlags::PRI_KEY_FLAG
        | ColumnFlags::UNIQUE_KEY_FLAG
        | ColumnFlags::MULTIPLE_KEY_FLAG
        | ColumnFlags::PART_KEY_FLAG
        | ColumnFlags::ENUM_FLAG
        | ColumnFlags::SET_FLAG;
    if column.flags().intersects(keys) {
        return None;
    }
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_LONGLONG
        | ColumnType::MYSQL_TYPE_NEWDECIMAL => Some([Value::Int(0), Value::Int(1)]),
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_STRING => {
            Some([Value::from("a"), Value::from("b")])
        }
        _ => None,
    }
}
