//! One connection to a backend, thin enough to relay raw packets over.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shardway_routing::topology::Server;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::health::Health;
use super::pool::Class;
use super::vars::{Difference, Vars};
use crate::buffer::Buffer;
use crate::wire::command::Command;
use crate::wire::connect::{Connect, ConnectStep, Login};
use crate::wire::parse::{self, ErrPacket, OkPacket};
use crate::wire::{frame, scan};

use super::statements::Statements;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers that the proxy itself asked for are small; this bounds a packet of them.
const OWN_ANSWER_MAX: usize = 1 << 30;

/// A connection with what it has applied.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    /// Received and not consumed.
    pub input: Buffer,
    /// Prepared on this connection.
    pub statements: Statements,
    /// The server's own id of this connection, for `KILL`.
    pub id: u32,
    version: String,
    capabilities: u32,
    applied: Applied,
    health: Arc<Health>,
    usable: Usable,
}

/// What the server-side session is known to have.
#[derive(Debug, Default)]
struct Applied {
    /// `None`: unknown, reset before the next use.
    vars: Option<Rc<Vars>>,
    database: Option<String>,
}

/// Whether somebody else may use the connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usable {
    Yes,
    /// An answer is unread, a transaction may be open, or the protocol was broken.
    No,
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to {address}: {error}")]
    Unreachable { address: String, error: io::Error },
    #[error("{address} refused the connection: {code} {message}")]
    Refused { address: String, code: u16, message: String },
    #[error("{address} did not answer in time")]
    TimedOut { address: String },
    #[error("{address} does not speak the protocol: {what}")]
    Protocol { address: String, what: String },
}

/// Why a command of the proxy's own failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server said no; the connection is fine.
    #[error("{} {}", .0.code, .0.message)]
    Server(ErrPacket),
    /// The connection is gone, and whether the command took effect is unknown.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
}

/// A small result set, decoded.
#[derive(Debug, Default)]
pub struct Rows {
    pub columns: Vec<parse::Column>,
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        server: &Server,
        class: Class,
        health: Arc<Health>,
    ) -> Result<Connection, ConnectError> {
        let address = format!("{}:{}", server.host, server.port);
        match tokio::time::timeout(CONNECT_TIMEOUT, Connection::log_in(server, class, health, &address)).await
        {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::TimedOut { address }),
        }
    }

    async fn log_in(
        server: &Server,
        class: Class,
        health: Arc<Health>,
        address: &str,
    ) -> Result<Connection, ConnectError> {
        let unreachable = |error| ConnectError::Unreachable { address: address.to_owned(), error };
        let mut stream =
            TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut input = Buffer::default();
        let mut login = Connect::new(Login {
            user: &server.user,
            password: &server.password,
            database: server.database.as_deref(),
            capabilities: class.capabilities,
        });
        let mut out = Vec::new();
        loop {
            let (payload, last_seq) = read_packet(&mut stream, &mut input).await.map_err(unreachable)?;
            let broken = |what: String| ConnectError::Protocol { address: address.to_owned(), what };
            match login.on_packet(&payload).map_err(|error| broken(error.to_string()))? {
                ConnectStep::Send(reply) => {
                    let mut seq = last_seq.wrapping_add(1);
                    out.clear();
                    frame::write(&reply, &mut seq, &mut out);
                    stream.write_all(&out).await.map_err(unreachable)?;
                }
                ConnectStep::Wait => {}
                ConnectStep::Failed(error) => {
                    let address = address.to_owned();
                    return Err(ConnectError::Refused { address, code: error.code, message: error.message });
                }
                ConnectStep::Connected(session) => {
                    health.open.fetch_add(1, Ordering::Relaxed);
                    return Ok(Connection {
                        stream,
                        input,
                        statements: Statements::default(),
                        id: session.connection_id,
                        version: session.server_version,
                        capabilities: session.capabilities,
                        applied: Applied {
                            vars: Some(Rc::new(Vars::default())),
                            database: server.database.clone(),
                        },
                        health,
                        usable: Usable::Yes,
                    });
                }
            }
        }
    }

    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// The capabilities both ends agreed on.
    #[must_use]
    pub fn capabilities(&self) -> u32 {
        self.capabilities
    }

    /// The server's state is in doubt from here on: the connection will be closed, not given back.
    pub fn spoil(&mut self) {
        self.usable = Usable::No;
    }

    /// Nothing has gone wrong on it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable == Usable::Yes
    }

    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.usable == Usable::Yes && self.input.filled().is_empty()
    }

    /// Whether the server has not closed it; anything it sent unasked counts as closed (a shutdown notice).
    pub fn is_alive(&mut self) -> bool {
        matches!(self.input.try_fill(&self.stream), Ok(None))
    }

    /// Brings session variables and database to what the next statement needs.
    ///
    /// # Errors
    /// See [`CommandError`]; the connection is spoiled when its state is not known afterwards.
    pub async fn prepare_for(&mut self, vars: &Rc<Vars>, database: Option<&str>) -> Result<(), CommandError> {
        if !self.applied.vars.as_ref().is_some_and(|applied| Rc::ptr_eq(applied, vars)) {
            self.apply_vars(vars).await?;
        }
        if let Some(wanted) = database
            && self.applied.database.as_deref() != Some(wanted)
        {
            self.simple(Command::InitDb, wanted.as_bytes()).await?;
            self.applied.database = Some(wanted.to_owned());
        }
        Ok(())
    }

    async fn apply_vars(&mut self, vars: &Rc<Vars>) -> Result<(), CommandError> {
        let known = self.applied.vars.take();
        let difference = match &known {
            Some(applied) => applied.difference(vars),
            None => match Vars::default().difference(vars) {
                Difference::Set(statement) => Difference::Reset(statement),
                other => other,
            },
        };
        let statement = match difference {
            Difference::None if known.is_some() => String::new(),
            Difference::None => {
                self.reset().await?;
                String::new()
            }
            Difference::Set(statement) => statement,
            Difference::Reset(statement) => {
                self.reset().await?;
                statement
            }
        };
        if !statement.is_empty() {
            self.simple(Command::Query, statement.as_bytes()).await?;
        }
        self.applied.vars = Some(Rc::clone(vars));
        Ok(())
    }

    /// The session's variables are exactly these now, because a statement of the client has set them.
    pub fn vars_are(&mut self, vars: Option<Rc<Vars>>) {
        self.applied.vars = vars;
    }

    /// The variables in effect, when they are known.
    #[must_use]
    pub fn vars(&self) -> Option<&Rc<Vars>> {
        self.applied.vars.as_ref()
    }

    /// The client's own statement may have changed the database.
    pub fn forget_database(&mut self) {
        self.applied.database = None;
    }

    async fn reset(&mut self) -> Result<(), CommandError> {
        self.simple(Command::ResetConnection, b"").await?;
        self.statements.clear();
        Ok(())
    }

    /// Sends a command with an OK or ERR answer.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn simple(&mut self, command: Command, argument: &[u8]) -> Result<OkPacket, CommandError> {
        self.send(command, argument).await?;
        self.answer().await
    }

    /// Runs a statement of the proxy's own that has no result set.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn run(&mut self, sql: &str) -> Result<OkPacket, CommandError> {
        self.simple(Command::Query, sql.as_bytes()).await
    }

    /// Reads one OK or ERR packet.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn answer(&mut self) -> Result<OkPacket, CommandError> {
        let payload = self.packet().await?;
        match payload.first() {
            Some(0x00) => parse::ok(&payload).map_err(|error| self.broken(error)),
            Some(0xFF) => {
                Err(CommandError::Server(parse::err(&payload).map_err(|error| self.broken(error))?))
            }
            _ => Err(self.broken("a result set where OK was expected")),
        }
    }

    /// Runs a statement of the proxy's own and reads its whole result set, in the text protocol.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn rows(&mut self, sql: &[u8]) -> Result<Rows, CommandError> {
        self.send(Command::Query, sql).await?;
        let mut scanner = scan::Scanner::query(self.capabilities);
        let mut rows = Rows::default();
        loop {
            let step = scanner.next(self.input.filled()).map_err(|error| self.broken(error))?;
            let Some((event, consumed)) = step else {
                self.read_more().await?;
                continue;
            };
            let bytes = self.input.filled();
            match event {
                scan::Event::Column(payload) => {
                    let column = parse::column(payload.of(bytes)).map_err(|error| self.broken(error))?;
                    rows.columns.push(column);
                }
                scan::Event::Row(payload) => {
                    let row = parse::text_row(payload.of(bytes))
                        .map(|field| field.map(|value| value.map(<[u8]>::to_vec)))
                        .collect::<Result<_, _>>()
                        .map_err(|error| self.broken(error))?;
                    rows.rows.push(row);
                }
                scan::Event::End => {
                    self.input.consume(consumed);
                    return Ok(rows);
                }
                scan::Event::Error(payload) => {
                    let error = parse::err(payload.of(bytes)).map_err(|error| self.broken(error))?;
                    self.input.consume(consumed);
                    return Err(CommandError::Server(error));
                }
                scan::Event::ColumnCount(_) | scan::Event::EndOfColumns => {}
            }
            self.input.consume(consumed);
        }
    }

    /// Sends one command packet. Until its answer is read the connection is not reusable.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, command: Command, argument: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(argument.len() + 5);
        frame::write_command(command, argument, &mut out);
        self.send_frames(&out).await
    }

    /// Sends packets that are already framed.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_frames(&mut self, frames: &[u8]) -> io::Result<()> {
        let sent = self.stream.write_all(frames).await;
        sent.inspect_err(|_| self.spoil())
    }

    /// Waits for more bytes of an answer.
    ///
    /// # Errors
    /// When the connection is gone or closed.
    pub async fn read_more(&mut self) -> io::Result<()> {
        match self.input.fill(&mut self.stream).await {
            Ok(0) => {
                self.spoil();
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.spoil();
                Err(error)
            }
        }
    }

    /// Reads one whole packet.
    ///
    /// # Errors
    /// When the connection is gone or breaks the protocol.
    pub async fn packet(&mut self) -> io::Result<Vec<u8>> {
        let packet = read_packet(&mut self.stream, &mut self.input).await;
        match packet {
            Ok((payload, _)) => Ok(payload),
            Err(error) => {
                self.spoil();
                Err(error)
            }
        }
    }

    /// The server broke the protocol: nothing it says can be trusted any more.
    pub fn broken(&mut self, what: impl std::fmt::Display) -> CommandError {
        self.spoil();
        CommandError::Lost(io::Error::new(io::ErrorKind::InvalidData, what.to_string()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.health.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn read_packet(stream: &mut TcpStream, input: &mut Buffer) -> io::Result<(Vec<u8>, u8)> {
    loop {
        let taken = frame::take(input.filled(), OWN_ANSWER_MAX)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if let Some(taken) = taken {
            let (payload, consumed, seq) = (taken.payload.to_vec(), taken.consumed, taken.last_seq);
            input.consume(consumed);
            return Ok((payload, seq));
        }
        if input.fill(stream).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
