//! From a new connection to a session: greeting, authentication, the database named at login.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mysql_common::constants::CapabilityFlags;
use rand::RngCore as _;
use shardway_routing::bind::Characters;
use shardway_routing::key::Fractions;
use shardway_routing::lex::{Flavour, Lexed, Quoting};
use shardway_routing::plan::rights::{Account, Databases, Writes};
use shardway_routing::plan::{Autocommit, Characteristics};
use shardway_routing::refusal;

use super::characteristics::Alone;
use super::prepared::PreparedStatements;
use super::seen::Seen;
use super::{Failure, MySqlError, Part, Rows, Session};
use crate::backend::vars::Vars;
use crate::client::{Client, ReadError};
use crate::config::{Role, User};
use crate::execute::finish;
use crate::session_info::SessionInfo;
use crate::shared::Shared;
use crate::tls::Demand;
use crate::wire::charset::{self, Asked};
use crate::wire::greeting::{self, Accepted, Greeting, Login, LoginStep, OFFERED, Tls};
use crate::worker::Worker;

/// The longest packet of a login: names, a proof, and connection attributes, which servers limit to 64 KiB.
pub(super) const PACKET_MAX: usize = 80 * 1024;

/// Greets and logs in. `None`: the client has been told why not, or has gone.
pub(super) async fn log_in(
    mut client: Client,
    worker: &Rc<Worker>,
    info: &Arc<SessionInfo>,
) -> Option<Session> {
    let salt = salt();
    let plugin = plugin(&worker.shared);
    let (tls, flag) = match worker.shared.configured().tls.as_ref().map(|tls| tls.demand) {
        None => (Tls::Off, CapabilityFlags::empty()),
        Some(Demand::Optional) => (Tls::Offered, CapabilityFlags::CLIENT_SSL),
        Some(Demand::Required) => (Tls::Required, CapabilityFlags::CLIENT_SSL),
    };
    let greeting = Greeting {
        version: &worker.shared.greeting_version(),
        connection_id: u32::try_from(info.id & 0xFFFF_FFFF).unwrap_or(u32::MAX),
        salt,
        capabilities: (OFFERED | flag).bits(),
        plugin,
        collation: worker.shared.greeting_collation(),
    };
    client.seq = 0;
    client.packet(&greeting.payload());
    client.flush().await.ok()?;
    let mut login = Login::new(salt, plugin, tls);
    let mut entered = authenticate(&mut client, worker, info, &mut login).await?;
    if matches!(entered, Entered::AsksForTls) {
        client = secure(client, worker, info).await?;
        login.secured();
        entered = authenticate(&mut client, worker, info, &mut login).await?;
    }
    let Entered::As(accepted) = entered else { return None };
    client.capabilities = accepted.capabilities & OFFERED.bits();
    let mut session = Session {
        worker: Rc::clone(worker),
        client,
        info: Arc::clone(info),
        database: None,
        vars: Rc::new(Vars::default()),
        autocommit: Autocommit::On,
        quoting: Quoting::default(),
        fractions: Fractions::default(),
        characters: Characters::default(),
        login_vars: Rc::new(Vars::default()),
        held: Vec::new(),
        transaction: None,
        seen: Seen::default(),
        rows: Rows::NotSeen,
        next_transaction: Characteristics::default(),
        alone: Alone::No,
        prepared: PreparedStatements::default(),
        last_insert_id: 0,
        numbered: None,
        row_count: 0,
        found_rows: 0,
        last_error: None,
        listed_warnings: None,
        access: Account::new(Databases::All, Writes::Refused),
        part: Part::Only,
        errors: 0,
        account: Rc::from(""),
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

/// What a client has come to.
enum Entered {
    As(Accepted),
    AsksForTls,
}

/// `None`: the handshake failed.
async fn secure(client: Client, worker: &Worker, info: &SessionInfo) -> Option<Client> {
    let configured = worker.shared.configured();
    match client.secure(&configured.tls.as_ref()?.identity).await {
        Ok(client) => Some(client),
        Err(error) => {
            worker.shared.metrics.tls_failed.fetch_add(1, Ordering::Relaxed);
            tracing::info!(session = info.id, peer = %info.peer, %error, "a client's TLS handshake failed");
            None
        }
    }
}

async fn authenticate(
    client: &mut Client,
    worker: &Rc<Worker>,
    info: &Arc<SessionInfo>,
    login: &mut Login,
) -> Option<Entered> {
    let mut packet = Vec::new();
    let host = info.peer.ip().to_string();
    let mut has_spoken = false;
    loop {
        match client.read(&mut packet).await {
            Ok(()) => has_spoken = true,
            Err(ReadError::Frame(error)) => {
                tracing::info!(session = info.id, peer = %info.peer, %error, "a client broke the handshake");
                client.error(1043, "08S01", &format!("Bad handshake: {error}"));
                let _ = client.flush().await;
                return None;
            }
            Err(ReadError::Gone | ReadError::Io(_)) => {
                // Who comes and goes without a word looks whether the port is open, all day long.
                if has_spoken || client.is_mid_packet() {
                    tracing::info!(session = info.id, peer = %info.peer, "a client left before it had logged in");
                }
                return None;
            }
        }
        let configured = worker.shared.configured();
        let step = login.on_packet(&packet, &host, |user| {
            configured.user(user).map(|known| known.password.reveal().as_bytes().to_vec())
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
                return Some(Entered::As(accepted));
            }
            LoginStep::Secure => return Some(Entered::AsksForTls),
            LoginStep::Refused(error) => {
                tracing::info!(session = info.id, peer = %info.peer, error = error.message, "refused a login");
                client.pass_on(&error);
                let _ = client.flush().await;
                return None;
            }
            LoginStep::Insecure(denied) => {
                tracing::info!(session = info.id, peer = %info.peer, "refused a login without TLS");
                let is_mysql = worker.shared.server_version().flavour == Flavour::MySql;
                client.pass_on(&if is_mysql { greeting::insecure() } else { denied });
                let _ = client.flush().await;
                return None;
            }
        }
    }
}

impl Session {
    /// Takes over what the client said when it logged in, and says OK.
    fn enter(&mut self, accepted: &Accepted) -> Result<(), Failure> {
        let config = self.worker.shared.configured();
        let user = config.user(&accepted.user).ok_or(Failure::Over)?;
        self.access = access(user);
        self.info.logged_in(&accepted.user);
        self.account = format!("{}@{}", accepted.user, self.info.peer.ip()).into();
        let shared = &self.worker.shared;
        let vars = match charset::asked(accepted.charset, shared.server_version().flavour) {
            Asked::For(charset) => charset.vars(),
            Asked::Default => shared.default_charset().vars(),
            Asked::Impossible(charset) => {
                let message =
                    format!("Variable 'character_set_client' can't be set to the value of '{charset}'");
                return Err(Failure::Own(MySqlError::WrongValue, message));
            }
        };
        if let Some(name) = charset::unsafe_in(&vars) {
            return Err(refusal::UNSAFE_CHARSET.because(name).into());
        }
        self.login_vars = Rc::new(vars);
        self.vars_are(Rc::clone(&self.login_vars));
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
        self.fractions = Fractions::default();
        self.next_transaction = Characteristics::default();
        self.last_insert_id = 0;
        self.database = None;
        self.forget_diagnostics();
        // Half of the new account and half of the old one is nobody.
        if let Err(error) = self.enter(&accepted) {
            self.fail(error).await?;
            return Err(Failure::Over);
        }
        Ok(())
    }

    async fn authenticate_again(
        &mut self,
        mut login: Login,
        argument: &[u8],
        worker: &Rc<Worker>,
        info: &Arc<SessionInfo>,
    ) -> Result<Accepted, Failure> {
        let host = info.peer.ip().to_string();
        let configured = worker.shared.configured();
        let step = login.on_packet(argument, &host, |user| {
            configured.user(user).map(|known| known.password.reveal().as_bytes().to_vec())
        });
        match step {
            LoginStep::Send(payload) => {
                self.client.packet(&payload);
                self.client.flush().await.map_err(|_| Failure::Over)?;
                match authenticate(&mut self.client, worker, info, &mut login).await {
                    Some(Entered::As(accepted)) => Ok(accepted),
                    _ => Err(Failure::Over),
                }
            }
            LoginStep::Accepted { before, accepted } => {
                if let Some(payload) = before {
                    self.client.packet(&payload);
                }
                Ok(accepted)
            }
            // As a server does: the answer is the error, and the connection ends.
            LoginStep::Refused(error) | LoginStep::Insecure(error) => {
                self.client.pass_on(&error);
                let _ = self.client.flush().await;
                Err(Failure::Over)
            }
            LoginStep::Secure => Err(Failure::Over),
        }
    }
}

fn access(user: &User) -> Account {
    let writes = if user.role == Role::ReadOnly { Writes::Refused } else { Writes::Allowed };
    Account::new(user.databases.clone(), writes)
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
