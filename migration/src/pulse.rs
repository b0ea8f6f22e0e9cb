//! Whether servers answer at all: so that a statement which takes long is told from a host that has gone silent.
//!
//! Statements of the engine may take as long as they need, but a server that lets nobody in any more, twice in a row,
//! counts as lost with all its connections, and whoever worked with it is told. Nothing is decided by how long a statement
//! takes, so a busy server is not taken for a dead one. What a statement on its way still does there is undone by the
//! server, which finds its connection closed.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use shardway_routing::topology::{Server, Side};
use tokio::sync::watch;

use crate::connection::{plain, within_time};
use crate::tables::{MovingTable, WorkError};

/// Between two questions. One that is not answered takes five seconds more.
const EVERY: Duration = Duration::from_secs(5);
/// How long a server may take to hear that nobody has anything else to ask.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Questions in a row without an answer.
const MISSED_MAX: u32 = 2;

/// The servers of a piece of work.
#[derive(Debug)]
pub struct Pulse {
    servers: Vec<Server>,
    /// Why nobody can work now.
    silent: watch::Sender<Option<String>>,
}

impl Pulse {
    /// Of every server on both sides of the tables.
    #[must_use]
    pub fn of(tables: &[MovingTable]) -> Pulse {
        let mut servers: Vec<Server> = Vec::new();
        for table in tables {
            for end in table.ends(Side::Source).iter().chain(table.ends(Side::Target)) {
                if !servers.iter().any(|server| server.is_same_process(&end.server)) {
                    servers.push(Server { database: None, ..end.server.clone() });
                }
            }
        }
        Pulse { servers, silent: watch::Sender::new(None) }
    }

    /// Does the work, and asks the servers meanwhile. [`Pulse::during`] says what becomes of it.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.ask_always() => match never {},
        }
    }

    /// Does the work to its end, unless a server falls silent.
    ///
    /// # Errors
    /// Those of the work, or which server is silent; that passes.
    pub async fn during<T>(&self, work: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
        let mut silent = self.silent.subscribe();
        tokio::select! {
            biased;
            done = work => done,
            Ok(why) = silent.wait_for(Option::is_some) => {
                Err(WorkError::Interrupted(why.clone().unwrap_or_default()))
            }
        }
    }

    async fn ask_always(&self) -> Infallible {
        let mut missed = vec![0; self.servers.len()];
        loop {
            tokio::time::sleep(EVERY).await;
            let answers = join_all(self.servers.iter().map(answers)).await;
            let mut why = None;
            for ((server, missed), answer) in self.servers.iter().zip(&mut missed).zip(answers) {
                *missed = if answer == Answer::Some { 0 } else { *missed + 1 };
                if *missed >= MISSED_MAX {
                    why.get_or_insert_with(|| format!("{}:{} does not answer", server.host, server.port));
                }
            }
            self.silent.send_if_modified(|before| std::mem::replace(before, why.clone()) != why);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// An error of the server's own is one, too.
    Some,
    None,
}

async fn answers(server: &Server) -> Answer {
    match within_time(plain(server)).await {
        Ok(connection) => {
            // It has answered; the goodbye is for its error log.
            let _ = tokio::time::timeout(GOODBYE_MAX, connection.disconnect()).await;
            Answer::Some
        }
        Err(mysql_async::Error::Server(_)) => Answer::Some,
        Err(_) => Answer::None,
    }
}
