//! One client's session: from its login to its end.
//!
//! - Packets are answered strictly in order; a refusal is an answer, and the session goes on after it.
//! - The session is closed when the client's last statement has an unknown outcome, because that is what a lost
//!   connection to a single server would look like.
//! - Whatever ends a session, its transaction is rolled back and no connection in an unknown state is given back.

mod answers;
pub(crate) mod characteristics;
mod commands;
mod fields;
pub(crate) mod held;
pub(crate) mod login;
mod long_data;
mod modes;
mod number;
mod prepared;
mod seen;
mod settings;
mod text;
mod told;
pub mod transaction;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardway_routing::bind::Characters;
use shardway_routing::key::Fractions;
use shardway_routing::lex::{Lexed, Quoting};
use shardway_routing::plan::rights::Account;
use shardway_routing::plan::{Autocommit, Characteristics};
use shardway_routing::refusal::{self, Refusal};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::CommandError;
use crate::backend::connection;
use crate::backend::vars::Vars;
use crate::client::{Client, ReadError};
use crate::session_info::SessionInfo;
use crate::stream::Stream;
use crate::wire::command::Command;
use crate::wire::parse::ErrPacket;
use crate::worker::Worker;

use characteristics::Alone;
pub use held::Held;
pub use number::GivenIds;
use prepared::PreparedStatements;
use seen::Seen;
pub use told::Told;
use transaction::Transaction;

/// The state of one client's session.
#[derive(Debug)]
pub struct Session {
    pub worker: Rc<Worker>,
    pub client: Client,
    pub info: Arc<SessionInfo>,
    /// The current logical database.
    pub database: Option<Rc<str>>,
    /// What the client has set, as every backend connection must have it.
    pub vars: Rc<Vars>,
    pub autocommit: Autocommit,
    pub quoting: Quoting,
    /// What its servers do with fractions of a second that a column does not keep, where it has set a `sql_mode`.
    pub fractions: Fractions,
    pub characters: Characters,
    /// The character set named at login, which a reset brings back.
    login_vars: Rc<Vars>,
    /// Backend connections that outlive a statement.
    pub held: Vec<Held>,
    pub transaction: Option<Transaction>,
    /// Where it has got rows from.
    pub seen: Seen,
    /// Of the statement that runs.
    pub rows: Rows,
    /// What `SET TRANSACTION` has said, until a transaction has ended.
    pub next_transaction: Characteristics,
    alone: Alone,
    prepared: PreparedStatements,
    pub last_insert_id: u64,
    /// The generated ids of the statement that runs.
    pub numbered: Option<GivenIds>,
    /// What `ROW_COUNT()` and `FOUND_ROWS()` answer.
    pub row_count: i64,
    pub found_rows: u64,
    /// Of the last statement, for `SHOW WARNINGS`.
    last_error: Option<ErrPacket>,
    /// What several shards' warnings were, where no connection has all of them.
    listed_warnings: Option<connection::Rows>,
    pub access: Account,
    /// How the statement stands among those of its packet.
    pub part: Part,
    /// What `USER()` answers.
    pub account: Rc<str>,
    /// Answers so far that were errors.
    errors: u64,
    /// Reused from statement to statement.
    lexed: Lexed,
}

/// Does the client get to see rows, or that rows have been written?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Seen,
    NotSeen,
}

/// A statement's place in its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It came alone.
    Only,
    /// Another one comes after it.
    Followed,
    /// Others came before it.
    Last,
}

/// Why a statement was not answered with a result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A coded refusal of ours; the session goes on.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A backend's error; the session goes on.
    #[error("{} {}", .0.code, .0.message)]
    Server(ErrPacket),
    /// MySQL's own error, raised by us; the session goes on.
    #[error("{text}", text = .1)]
    Own(MySqlError, String),
    /// The outcome of the client's last statement is unknown: its connection is closed, as a lost server would.
    #[error("the backend's connection was lost: {0}")]
    Unknown(String),
    /// The client has gone, or the session is over.
    #[error("the session is over")]
    Over,
}

/// Errors that MySQL itself would raise, and we raise in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MySqlError {
    NoDatabase,
    UnknownDatabase,
    UnknownCommand,
    UnknownStatement,
    WrongArguments,
    NoSuchThread,
    NotPreparable,
    NoSavepoint,
    TransactionInProgress,
    WrongValue,
    WrongType,
    MalformedPacket,
    NoCursor,
    EmptyQuery,
    TooLongData,
}

impl MySqlError {
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            MySqlError::NoDatabase => 1046,
            MySqlError::UnknownDatabase => 1049,
            MySqlError::UnknownCommand => 1047,
            MySqlError::UnknownStatement => 1243,
            MySqlError::WrongArguments => 1210,
            MySqlError::NoSuchThread => 1094,
            MySqlError::NotPreparable => 1295,
            MySqlError::NoSavepoint => 1305,
            MySqlError::TransactionInProgress => 1568,
            MySqlError::WrongValue => 1231,
            MySqlError::WrongType => 1232,
            MySqlError::MalformedPacket => 1835,
            MySqlError::NoCursor => 1421,
            MySqlError::EmptyQuery => 1065,
            MySqlError::TooLongData => 1105,
        }
    }

    #[must_use]
    pub fn sql_state(self) -> &'static str {
        match self {
            MySqlError::NoDatabase => "3D000",
            MySqlError::UnknownDatabase
            | MySqlError::NoSavepoint
            | MySqlError::WrongValue
            | MySqlError::WrongType
            | MySqlError::EmptyQuery => "42000",
            MySqlError::TransactionInProgress => "25001",
            MySqlError::UnknownCommand => "08S01",
            _ => "HY000",
        }
    }
}

impl std::fmt::Display for MySqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sql_state())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        match error {
            CommandError::Server(error) => Failure::Server(error),
            CommandError::Lost(error) => Failure::Unknown(error.to_string()),
        }
    }
}

/// Serves one client until it leaves.
pub async fn serve(stream: TcpStream, worker: Rc<Worker>, info: Arc<SessionInfo>) {
    let config = worker.shared.configured();
    let client = Client::new(Stream::Plain(stream), config.limits.max_packet.min(login::PACKET_MAX));
    let login = login::log_in(client, &worker, &info);
    let mut session = match timeout(config.limits.handshake_timeout, login).await {
        Ok(Some(session)) => session,
        Ok(None) => return,
        Err(_) => {
            tracing::info!(session = info.id, peer = %info.peer, "a client did not finish its handshake in time");
            return;
        }
    };
    session.client.admit(config.limits.max_packet);
    session.run(config.limits.idle_timeout).await;
    session.abandon().await;
}

impl Session {
    /// Answers commands until the session ends.
    async fn run(&mut self, idle_timeout: std::time::Duration) {
        let mut packet = Vec::new();
        loop {
            self.info.idle();
            let read = tokio::select! {
                // Killed comes first: a statement that has arrived meanwhile must not run.
                biased;
                () = self.info.killed.notified() => return,
                read = timeout(idle_timeout, self.client.read(&mut packet)) => read,
            };
            let outcome = match read {
                Ok(Ok(())) => self.command(&packet).await,
                Ok(Err(ReadError::Gone)) => {
                    if self.transaction.is_some() || self.client.is_mid_packet() {
                        tracing::info!(session = self.info.id, "a client left in the middle of its work");
                    }
                    return;
                }
                Ok(Err(ReadError::Frame(error))) => {
                    tracing::info!(session = self.info.id, %error, "a client broke the protocol");
                    self.client.seq = 0;
                    self.client.error(1153, "08S01", &format!("Got a packet that is not valid: {error}"));
                    let _ = self.client.flush().await;
                    return;
                }
                Ok(Err(ReadError::Io(error))) => {
                    tracing::info!(session = self.info.id, %error, "a client's connection broke");
                    return;
                }
                Err(_) => {
                    tracing::info!(session = self.info.id, "a client was idle for too long");
                    return;
                }
            };
            let answered = match outcome {
                Ok(()) => self.client.flush().await.map_err(|_| Failure::Over),
                Err(failure) => self.fail(failure).await,
            };
            if answered.is_err() || self.info.is_killed() {
                return;
            }
        }
    }

    async fn command(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let Some((&code, argument)) = packet.split_first() else {
            return Err(Failure::Own(MySqlError::UnknownCommand, "Unknown command".into()));
        };
        match Command::from_byte(code) {
            Some(Command::Query) => self.query(argument).await,
            Some(Command::StmtExecute) => self.execute_prepared(argument).await,
            Some(Command::StmtPrepare) => {
                self.info.starts(argument);
                self.prepare(argument).await
            }
            Some(Command::StmtClose) => self.close_prepared(argument).await,
            Some(Command::StmtReset) => self.reset_prepared(argument),
            Some(Command::StmtFetch) => self.fetch(argument),
            Some(Command::StmtSendLongData) => self.long_data(argument),
            Some(Command::Quit) => Err(Failure::Over),
            Some(Command::Ping) => self.answer_ok(),
            Some(Command::InitDb) => self.use_database(&String::from_utf8_lossy(argument)),
            Some(Command::ResetConnection) => self.reset().await,
            Some(Command::ChangeUser) => self.change_user(argument).await,
            Some(Command::Statistics) => self.statistics(),
            Some(Command::ProcessKill) => self.process_kill(argument).await,
            Some(Command::FieldList) => self.field_list(argument).await,
            Some(Command::SetOption) => self.set_option(argument),
            _ => Err(Failure::Refused(refusal::UNKNOWN_COMMAND.because(format!("command {code}")))),
        }
    }

    /// Answers a failed statement. An error means that the session ends.
    async fn fail(&mut self, failure: Failure) -> Result<(), Failure> {
        self.worker.shared.metrics.failed.fetch_add(1, Ordering::Relaxed);
        let error = match failure {
            Failure::Refused(refusal) => {
                tracing::debug!(session = self.info.id, %refusal, "refused a statement");
                self.worker.shared.metrics.refused(refusal.kind);
                ErrPacket {
                    code: refusal.kind.errno,
                    sql_state: refusal.kind.sql_state.to_owned(),
                    message: refusal.to_string(),
                }
            }
            Failure::Own(kind, message) => {
                ErrPacket { code: kind.code(), sql_state: kind.sql_state().to_owned(), message }
            }
            Failure::Server(error) => error,
            Failure::Unknown(cause) => {
                tracing::warn!(
                    session = self.info.id,
                    cause,
                    "closing a session whose statement's outcome is unknown"
                );
                return Err(Failure::Over);
            }
            Failure::Over => return Err(Failure::Over),
        };
        self.tell(&error);
        self.client.pass_on(&error);
        self.row_count = -1;
        self.last_error = Some(error);
        self.client.flush().await.map_err(|_| Failure::Over)
    }
}
