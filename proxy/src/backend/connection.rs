//! One connection to a backend, thin enough to relay raw packets over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardway_routing::topology::Server;
use tokio::net::TcpStream;

use super::health::Health;
use super::pool::Class;
use super::settings::Applied;
use super::trust::Trust;
use crate::buffer::Buffer;
use crate::session_info::SessionInfo;
use crate::stream::{self, Stream};
use crate::wire::command::Command;
use crate::wire::connect::{Connect, ConnectStep, Login, Security};
use crate::wire::parse::{self, ErrPacket, OkPacket};
use crate::wire::{self, frame, scan};

use super::statements::Statements;

/// Answers that the proxy itself asked for are small; this bounds a packet of them.
const OWN_ANSWER_MAX: usize = 1 << 30;

/// A connection with what it has applied.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Received and not consumed.
    pub input: Buffer,
    /// Prepared on this connection.
    pub(super) statements: Statements,
    /// The server's own id of this connection, for `KILL`.
    pub id: u32,
    version: String,
    capabilities: u32,
    pub(super) applied: Applied,
    health: Arc<Health>,
    usable: Usable,
    /// The session that runs statements on it now. Once it is cut off, nothing is waited for.
    session: Option<Arc<SessionInfo>>,
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
    #[error("no TLS with {address}: {what}")]
    NoTls { address: String, what: String },
    #[error("{address} did not answer in time")]
    TimedOut { address: String },
    #[error("{address} does not speak the protocol: {what}")]
    Protocol { address: String, what: String },
    #[error("{address} cannot be used: {what}")]
    Unfit { address: String, what: String },
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
        trust: Option<&Trust>,
        class: Class,
        health: Arc<Health>,
    ) -> Result<Connection, ConnectError> {
        let address = server.address();
        let opened = async {
            let mut connection = Connection::log_in(server, trust, class, health, &address).await?;
            connection.agree(&address).await?;
            Ok(connection)
        };
        match tokio::time::timeout(class.purpose.connect_max(), opened).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::TimedOut { address: address.clone() }),
        }
    }

    /// A fresh connection reads statements as the proxy does, and commits by itself: other servers would be sent what
    /// means something else to them. What it has found stays so over resets, whatever the server begins with then.
    async fn agree(&mut self, address: &str) -> Result<(), ConnectError> {
        let unfit = |what: String| ConnectError::Unfit { address: address.to_owned(), what };
        let told = self.rows(b"SELECT @@session.sql_mode, @@session.autocommit").await;
        let told = told.map_err(|error| match error {
            CommandError::Lost(error) => ConnectError::Unreachable { address: address.to_owned(), error },
            CommandError::Server(_) => unfit(error.to_string()),
        })?;
        let mut fields = told.rows.into_iter().flatten().map(Option::unwrap_or_default);
        let modes = String::from_utf8_lossy(&fields.next().unwrap_or_default()).into_owned();
        let is_other = |mode: &&str| matches!(*mode, "ANSI_QUOTES" | "NO_BACKSLASH_ESCAPES");
        if let Some(mode) = modes.split(',').find(is_other) {
            return Err(unfit(format!("its sql_mode has {mode}")));
        }
        if fields.next().as_deref() != Some(b"1") {
            return Err(unfit("its autocommit is off".to_owned()));
        }
        self.applied.begins_with(&modes);
        Ok(())
    }

    async fn log_in(
        server: &Server,
        trust: Option<&Trust>,
        class: Class,
        health: Arc<Health>,
        address: &str,
    ) -> Result<Connection, ConnectError> {
        let unreachable = |error| ConnectError::Unreachable { address: address.to_owned(), error };
        let socket = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        stream::look_after(&socket).map_err(unreachable)?;
        let mut stream = Stream::Plain(socket);
        let mut input = Buffer::default();
        let mut login = Connect::new(Login {
            user: &server.user,
            password: &server.password,
            database: server.database.as_deref(),
            capabilities: class.capabilities,
            security: if trust.is_some() { Security::Tls } else { Security::Plain },
        });
        let no_tls = |what: String| ConnectError::NoTls { address: address.to_owned(), what };
        loop {
            let (payload, last_seq) = read_packet(&mut stream, &mut input).await.map_err(unreachable)?;
            let mut seq = last_seq.wrapping_add(1);
            let step = login.on_packet(&payload).map_err(|error| match error {
                wire::connect::ConnectError::NoTls => no_tls(error.to_string()),
                error => ConnectError::Protocol { address: address.to_owned(), what: error.to_string() },
            })?;
            match step {
                ConnectStep::Send(reply) => {
                    send_packet(&mut stream, &reply, &mut seq).await.map_err(unreachable)?;
                }
                ConnectStep::Secure(request) => {
                    send_packet(&mut stream, &request, &mut seq).await.map_err(unreachable)?;
                    // What came before the handshake was said by whoever can write into the connection.
                    let (Stream::Plain(socket), Some(trust), []) = (stream, trust, input.filled()) else {
                        return Err(no_tls("it sent more than a greeting".to_owned()));
                    };
                    stream = trust.secure(socket).await.map_err(|error| no_tls(error.to_string()))?;
                    send_packet(&mut stream, &login.secured(), &mut seq).await.map_err(unreachable)?;
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
                        applied: Applied::fresh(server.database.clone()),
                        health,
                        usable: Usable::Yes,
                        session: None,
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

    /// A session uses it from here on, or nobody does.
    pub fn is_used_by(&mut self, session: Option<Arc<SessionInfo>>) {
        self.session = session;
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
        matches!(self.input.try_fill(&mut self.stream), Ok(None))
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
    pub async fn run(&mut self, sql: impl AsRef<[u8]>) -> Result<OkPacket, CommandError> {
        self.simple(Command::Query, sql.as_ref()).await
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
        let sent = unless_cut_off(self.session.as_deref(), self.stream.write_all(frames)).await;
        sent.inspect_err(|_| self.spoil())
    }

    /// Waits for more bytes of an answer.
    ///
    /// # Errors
    /// When the connection is gone or closed.
    pub async fn read_more(&mut self) -> io::Result<()> {
        let read = unless_cut_off(self.session.as_deref(), self.input.fill(&mut self.stream)).await;
        let read = read.and_then(|bytes| match bytes {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        });
        read.inspect_err(|_| self.spoil())
    }

    /// Reads one whole packet.
    ///
    /// # Errors
    /// When the connection is gone or breaks the protocol.
    pub async fn packet(&mut self) -> io::Result<Vec<u8>> {
        let packet = read_packet(&mut self.stream, &mut self.input);
        let packet = unless_cut_off(self.session.as_deref(), packet).await;
        packet.map(|(payload, _)| payload).inspect_err(|_| self.spoil())
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

/// What a server does for a session, unless that is cut off before.
async fn unless_cut_off<T>(
    session: Option<&SessionInfo>,
    done: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let Some(session) = session else { return done.await };
    tokio::select! {
        biased;
        done = done => done,
        () = session.cut_off() => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the session was killed, and its server did not answer"))
        }
    }
}

async fn send_packet(stream: &mut Stream, payload: &[u8], seq: &mut u8) -> io::Result<()> {
    let mut out = Vec::new();
    frame::write(payload, seq, &mut out);
    stream.write_all(&out).await
}

async fn read_packet(stream: &mut Stream, input: &mut Buffer) -> io::Result<(Vec<u8>, u8)> {
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
