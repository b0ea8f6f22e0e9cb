//! SQL for operators: what the status shows, as tables that any MySQL client prints.
//!
//! - Only users with `role = "admin"` log in, with `mysql_native_password`: the library behind this port knows no other.
//! - Nothing here reaches a backend, and the only commands that change anything are `RELOAD` and `KILL`.
//! - The library is fed through `frames`, which keeps it from the inputs that it mishandles. `COM_CHANGE_USER` is
//!   answered with OK and changes nothing: the connection stays the administrator's that it was.
//!
//! A client that breaks the protocol loses its own connection and nothing else.

mod answer;
mod denial;
mod frames;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter,
    OkResponse, ParamParser, QueryResultWriter, StatementMetaWriter,
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Role;
use crate::control::{Control, status};
use crate::session::login;
use crate::wire::greeting::{NATIVE, is_proof};
use crate::wire::reply;
use answer::{Answer, Request};
use denial::{Answers, Denial};
use frames::{Frames, Patience};

/// Operators are few; more connections than this are a mistake somewhere.
const CONNECTIONS: usize = 32;

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(control: Arc<Control>, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tracing::info!(%address, "console");
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        tokio::spawn(serve(Arc::clone(&control), stream, peer, place));
                    }
                    Err(_) => {
                        tokio::spawn(turn_away(stream));
                    }
                },
                Err(error) => {
                    // Out of file descriptors, most likely: some will be free again soon.
                    tracing::error!(%error, "the console cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn turn_away(mut stream: TcpStream) {
    let mut out = Vec::new();
    reply::err(1040, "08004", "Too many connections", &mut 0, &mut out);
    let _ = stream.write_all(&out).await;
}

async fn serve(control: Arc<Control>, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let configured = control.shared.configured();
    let limits = &configured.limits;
    let logged_in = Arc::new(AtomicBool::new(false));
    let patience = Patience {
        logging_in: limits.handshake_timeout,
        idle: limits.idle_timeout,
        logged_in: Arc::clone(&logged_in),
    };
    let (read, write) = stream.into_split();
    let operator = Operator {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        salt: login::salt(),
        version: control.shared.greeting_version(),
        control,
        logged_in,
        host: peer.ip().to_string(),
        denial: Denial::default(),
    };
    let write = Answers::new(BufWriter::new(write), operator.denial.clone());
    let served = AsyncMysqlIntermediary::run_on(operator, Frames::new(read, patience), write).await;
    if let Err(error) = served {
        tracing::info!(%peer, %error, "a console connection ended");
    }
}

/// One connection.
struct Operator {
    control: Arc<Control>,
    id: u32,
    salt: [u8; 20],
    version: String,
    logged_in: Arc<AtomicBool>,
    /// Where the client is.
    host: String,
    denial: Denial,
}

impl Operator {
    async fn answer(&self, sql: &str) -> Answer {
        // The library asks for a password only where it finds a user name; what it lets by without one ends here.
        if !self.logged_in.load(Ordering::Acquire) {
            return Answer::Refused("log in first".to_owned());
        }
        match answer::request(sql) {
            Ok(Request::Reload) => {
                let control = Arc::clone(&self.control);
                // Ended also where the client hangs up: half a change would wait for the next restart.
                let reloaded = tokio::spawn(async move { control.reload("console").await });
                match reloaded.await.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(version) => answer::reloaded(version),
                    Err(error) => Answer::Refused(error),
                }
            }
            Ok(Request::Kill(id)) => {
                let sessions = &self.control.shared.sessions;
                let found = sessions.get(&id).map(|session| Arc::clone(session.value()));
                let Some(session) = found else {
                    return Answer::Refused(format!("there is no session {id}; SHOW SESSIONS lists them"));
                };
                tracing::info!(session = id, "killed on the console");
                session.kill_connection();
                Answer::Done
            }
            Ok(request) => {
                let history = self.control.store.history();
                let sessions: Vec<_> =
                    self.control.shared.sessions.iter().map(|session| session.describe()).collect();
                answer::answer(&request, &status::status(&self.control), &history, sessions, &self.version)
            }
            Err(unknown) => Answer::Refused(unknown),
        }
    }
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Operator {
    type Error = io::Error;

    fn version(&self) -> String {
        self.version.clone()
    }

    fn connect_id(&self) -> u32 {
        self.id
    }

    fn salt(&self) -> [u8; 20] {
        self.salt
    }

    async fn authenticate(&self, plugin: &str, name: &[u8], salt: &[u8], proof: &[u8]) -> bool {
        let Ok(salt) = <&[u8; 20]>::try_from(salt) else { return false };
        let name = String::from_utf8_lossy(name);
        let configured = self.control.shared.configured();
        let user = configured.user(&name).filter(|user| user.role == Role::Admin);
        let password = user.map(|user| user.password.reveal().as_bytes());
        let accepted = plugin == NATIVE && is_proof(plugin, salt, password, proof);
        if accepted {
            self.logged_in.store(true, Ordering::Release);
        } else {
            self.denial.say(&name, &self.host, proof);
        }
        tracing::info!(user = %name, accepted, "console login");
        accepted
    }

    async fn on_prepare<'a>(&'a mut self, _: &'a str, to: StatementMetaWriter<'a, W>) -> io::Result<()> {
        to.error(ErrorKind::ER_UNSUPPORTED_PS, &b"the console prepares no statements; send the text"[..])
            .await
    }

    async fn on_execute<'a>(
        &'a mut self,
        _: u32,
        _: ParamParser<'a>,
        to: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        to.error(ErrorKind::ER_UNSUPPORTED_PS, &b"the console prepares no statements; send the text"[..])
            .await
    }

    async fn on_close<'a>(&'a mut self, _: u32)
    where
        W: 'async_trait,
    {
    }

    async fn on_query<'a>(&'a mut self, sql: &'a str, to: QueryResultWriter<'a, W>) -> io::Result<()> {
        match self.answer(sql).await {
            Answer::Done => to.completed(OkResponse::default()).await,
            Answer::Refused(why) => to.error(ErrorKind::ER_UNKNOWN_ERROR, why.as_bytes()).await,
            Answer::Table { columns, rows } => {
                let columns: Vec<Column> = columns.into_iter().map(column).collect();
                let mut to = to.start(&columns).await?;
                for row in rows {
                    to.write_row(row).await?;
                }
                to.finish().await
            }
        }
    }

    /// There are no databases here; a client that names one is let in all the same.
    async fn on_init<'a>(&'a mut self, _: &'a str, to: InitWriter<'a, W>) -> io::Result<()> {
        to.ok().await
    }
}

fn column(name: String) -> Column {
    Column {
        table: String::new(),
        column: name,
        coltype: ColumnType::MYSQL_TYPE_VAR_STRING,
        colflags: ColumnFlags::empty(),
    }
}
