//! From a new connection to a session: greeting, authentication, the database named at login.

use std::rc::Rc;
use std::sync::Arc;

use rand::RngCore as _;
use shardway_routing::lex::{Flavour, Lexed, Quoting};
use shardway_routing::plan::Autocommit;

use super::prepared::PreparedStatements;
use super::{Failure, Session, UserAccess, Writes};
use crate::backend::vars::Vars;
use crate::client::{Client, ReadError};
use crate::config::{Databases, Role, User};
use crate::execute::finish;
use crate::session_info::SessionInfo;
use crate::shared::Shared;
use crate::wire::charset;
use crate::wire::greeting::{Accepted, Greeting, Login, LoginStep, OFFERED};
use crate::worker::Worker;

/// Greets and logs in. `None`: the client has been told why not, or has gone.
pub(super) async fn log_in(
    mut client: Client,
    worker: &Rc<Worker>,
    info: &Arc<SessionInfo>,
) -> Option<Session> {
    let salt = salt();
    let plugin = plugin(&worker.shared);
    let greeting = Greeting {
        version: &worker.shared.greeting_version(),
        connection_id: u32::try_from(info.id & 0xFFFF_FFFF).unwrap_or(u32::MAX),
        salt,
        capabilities: OFFERED.bits(),
        plugin,
    };
    client.seq = 0;
    client.packet(&greeting.payload());
    client.flush().await.ok()?;
    let accepted = authenticate(&mut client, worker, info, Login::new(salt, plugin)).await?;
    client.capabilities = accepted.capabilities & OFFERED.bits();
    let mut session = Session {
        worker: Rc::clone(worker),
        client,
        info: Arc::clone(info),
        database: None,
        vars: Rc::new(Vars::default()),
        autocommit: Autocommit::On,
        quoting: Quoting::default(),
        held: Vec::new(),
        transaction: None,
        next_transaction: None,
        prepared: PreparedStatements::default(),
        last_insert_id: 0,
        last_error: None,
        access: UserAccess { databases: Databases::All, writes: Writes::Refused },
        lexed: Lexed::default(),
    };
    match session.enter(&accepted) {
        Ok(()) => {
            session.client.flush().await.ok()?;
            Some(session)
        }
        Err(failure) => {
            let _ = session.fail(failure).await;
            None
        }
    }
}

async fn authenticate(
    client: &mut Client,
    worker: &Rc<Worker>,
    info: &Arc<SessionInfo>,
    mut login: Login,
) -> Option<Accepted> {
    let mut packet = Vec::new();
    let host = info.peer.ip().to_string();
    loop {
        match client.read(&mut packet).await {
            Ok(()) => {}
            Err(ReadError::Frame(error)) => {
                client.error(1043, "08S01", &format!("Bad handshake: {error}"));
                let _ = client.flush().await;
                return None;
            }
            Err(_) => return None,
        }
        let step = login.on_packet(&packet, &host, |user| {
            worker.shared.config.user(user).map(|known| known.password.reveal().as_bytes().to_vec())
        });
        match step {
            LoginStep::Send(payload) => {
                client.packet(&payload);
                client.flush().await.ok()?;
            }
            LoginStep::Accepted { before, accepted } => {
                if let Some(payload) = before {
                    client.packet(&payload);
                }
                return Some(accepted);
            }
            LoginStep::Refused(error) => {
                tracing::info!(session = info.id, peer = %info.peer, error = error.message, "refused a login");
                client.pass_on(&error);
                let _ = client.flush().await;
                return None;
            }
        }
    }
}

impl Session {
    /// Takes over what the client said when it logged in, and says OK.
    fn enter(&mut self, accepted: &Accepted) -> Result<(), Failure> {
        let config = Arc::clone(&self.worker.shared.config);
        let user = config.user(&accepted.user).ok_or(Failure::Over)?;
        self.access = access(user);
        self.info.logged_in(&accepted.user);
        self.vars = Rc::new(charset_vars(accepted.charset, self.worker.shared.server_version().flavour));
        match accepted.database.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.use_database(name),
            None => self.answer_ok(),
        }
    }

    /// `COM_CHANGE_USER`: a new login on the same connection.
    pub(super) async fn change_user(&mut self, argument: &[u8]) -> Result<(), Failure> {
        finish::rollback(self).await?;
        self.drop_pinned();
        self.clear_prepared();
        let salt = salt();
        let login = Login::change_user(salt, plugin(&self.worker.shared), self.client.capabilities);
        let worker = Rc::clone(&self.worker);
        let info = Arc::clone(&self.info);
        let accepted = self.authenticate_again(login, argument, &worker, &info).await?;
        self.autocommit = Autocommit::On;
        self.quoting = Quoting::default();
        self.next_transaction = None;
        self.last_insert_id = 0;
        self.database = None;
        self.enter(&accepted)
    }

    async fn authenticate_again(
        &mut self,
        mut login: Login,
        argument: &[u8],
        worker: &Rc<Worker>,
        info: &Arc<SessionInfo>,
    ) -> Result<Accepted, Failure> {
        let host = info.peer.ip().to_string();
        let step = login.on_packet(argument, &host, |user| {
            worker.shared.config.user(user).map(|known| known.password.reveal().as_bytes().to_vec())
        });
        match step {
            LoginStep::Send(payload) => {
                self.client.packet(&payload);
                self.client.flush().await.map_err(|_| Failure::Over)?;
                authenticate(&mut self.client, worker, info, login).await.ok_or(Failure::Over)
            }
            LoginStep::Accepted { before, accepted } => {
                if let Some(payload) = before {
                    self.client.packet(&payload);
                }
                Ok(accepted)
            }
            // As a server does: the answer is the error, and the connection ends.
            LoginStep::Refused(error) => {
                self.client.pass_on(&error);
                let _ = self.client.flush().await;
                Err(Failure::Over)
            }
        }
    }
}

fn access(user: &User) -> UserAccess {
    let writes = if user.role == Role::ReadOnly { Writes::Refused } else { Writes::Allowed };
    UserAccess { databases: user.databases.clone(), writes }
}

/// Random bytes that no client mistakes for the end of a string.
pub(crate) fn salt() -> [u8; 20] {
    let mut salt = [0; 20];
    rand::rng().fill_bytes(&mut salt);
    salt.map(|byte| 1 + byte % 126)
}

/// The plugin that the clients of the backends' flavour know.
fn plugin(shared: &Shared) -> &'static str {
    match shared.server_version().flavour {
        Flavour::MySql => "caching_sha2_password",
        Flavour::MariaDb => "mysql_native_password",
    }
}

/// The character set named at login, as the session's variables. An unknown one leaves the backend's default.
fn charset_vars(id: u16, flavour: Flavour) -> Vars {
    let Some((charset, mut collation)) = charset::names(id) else { return Vars::default() };
    // MySQL's newer collations are unknown to MariaDB, which then takes the character set's default.
    if flavour == Flavour::MariaDb && collation.contains("_0900_") {
        collation = format!("{charset}_general_ci");
    }
    Vars::of(&[
        ("character_set_client", &format!("'{charset}'")),
        ("character_set_results", &format!("'{charset}'")),
        ("collation_connection", &format!("'{collation}'")),
    ])
}
