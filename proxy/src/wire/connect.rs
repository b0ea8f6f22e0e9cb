//! Logging in to a backend: we are the client.

use mysql_common::constants::CapabilityFlags;
use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::cursor::{Cursor, Malformed, put_string};
use super::greeting::{CACHING_SHA2, NATIVE};
use super::key;
use super::parse::{self, ErrPacket};

/// As whom to log in.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub database: Option<&'a str>,
    /// Flags to ask for besides those that are always asked for.
    pub capabilities: u32,
    pub security: Security,
}

/// Where the login goes on after the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    /// Inside TLS, or nowhere.
    Tls,
}

/// A login under way.
#[derive(Debug)]
pub struct Connect<'a> {
    login: Login<'a>,
    stage: Stage,
    session: Session,
    salt: Vec<u8>,
    plugin: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Answer,
    /// The server's RSA key has been asked for.
    Key,
}

/// What a login needs next.
#[derive(Debug)]
pub enum ConnectStep {
    Send(Vec<u8>),
    /// Send this, do the handshake of TLS, and go on with [`Connect::secured`].
    Secure(Vec<u8>),
    /// Another packet of the server.
    Wait,
    Failed(ErrPacket),
    Connected(Session),
}

/// A connection that stands.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub connection_id: u32,
    pub server_version: String,
    /// What both ends agreed on.
    pub capabilities: u32,
}

/// Why a server's login cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("it asks for the authentication plugin {0}, which is not supported")]
    Plugin(String),
    #[error("it does not offer TLS, which the rules ask for")]
    NoTls,
    #[error("it speaks protocol {0}")]
    Protocol(u8),
}

const ALWAYS: CapabilityFlags = CapabilityFlags::from_bits_truncate(
    CapabilityFlags::CLIENT_LONG_PASSWORD.bits()
        | CapabilityFlags::CLIENT_LONG_FLAG.bits()
        | CapabilityFlags::CLIENT_PROTOCOL_41.bits()
        | CapabilityFlags::CLIENT_TRANSACTIONS.bits()
        | CapabilityFlags::CLIENT_SECURE_CONNECTION.bits()
        | CapabilityFlags::CLIENT_MULTI_RESULTS.bits()
        | CapabilityFlags::CLIENT_PS_MULTI_RESULTS.bits()
        | CapabilityFlags::CLIENT_PLUGIN_AUTH.bits(),
);

impl<'a> Connect<'a> {
    #[must_use]
    pub fn new(login: Login<'a>) -> Connect<'a> {
        Connect {
            login,
            stage: Stage::Greeting,
            session: Session::default(),
            salt: Vec::new(),
            plugin: String::new(),
        }
    }

    /// Takes the server's next packet.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn on_packet(&mut self, packet: &[u8]) -> Result<ConnectStep, ConnectError> {
        if packet.first() == Some(&0xFF) {
            return Ok(ConnectStep::Failed(parse::err(packet)?));
        }
        if self.stage == Stage::Greeting {
            return self.greeting(packet);
        }
        match packet.split_first().ok_or(Malformed)? {
            (0x00, _) => Ok(ConnectStep::Connected(self.session.clone())),
            (0xFE, request) => self.switch(request),
            (0x01, [3]) => Ok(ConnectStep::Wait),
            // Only this plugin may ask: under another one the password would leave for no reason.
            (0x01, [4]) if self.plugin == CACHING_SHA2 && self.login.security == Security::Tls => {
                Ok(ConnectStep::Send(self.login.password.bytes().chain([0]).collect()))
            }
            (0x01, [4]) if self.plugin == CACHING_SHA2 => {
                self.stage = Stage::Key;
                Ok(ConnectStep::Send(vec![2]))
            }
            (0x01, key) if self.stage == Stage::Key => {
                self.stage = Stage::Answer;
                Ok(ConnectStep::Send(key::encrypt(&self.masked_password(), key)?))
            }
            _ => Err(Malformed.into()),
        }
    }

    fn greeting(&mut self, packet: &[u8]) -> Result<ConnectStep, ConnectError> {
        let mut cursor = Cursor(packet);
        let protocol = cursor.u8()?;
        if protocol != 10 {
            return Err(ConnectError::Protocol(protocol));
        }
        self.session.server_version = String::from_utf8_lossy(cursor.zero_ended()?).into_owned();
        self.session.connection_id = cursor.u32()?;
        self.salt = cursor.bytes(8)?.to_vec();
        cursor.u8()?;
        let low = cursor.u16()?;
        cursor.bytes(3)?;
        let high = cursor.u16()?;
        let salt_length = usize::from(cursor.u8()?);
        cursor.bytes(10)?;
        let rest = cursor.bytes(salt_length.saturating_sub(8).max(13))?;
        self.salt.extend_from_slice(&rest[..12]);
        self.plugin = String::from_utf8_lossy(cursor.zero_ended().unwrap_or(cursor.0)).into_owned();
        let theirs = u32::from(low) | u32::from(high) << 16;
        let mut ours = ALWAYS.bits() | self.login.capabilities;
        if self.login.database.is_some() {
            ours |= CapabilityFlags::CLIENT_CONNECT_WITH_DB.bits();
        }
        self.session.capabilities = ours & theirs;
        self.stage = Stage::Answer;
        match self.login.security {
            Security::Plain => Ok(ConnectStep::Send(self.response())),
            Security::Tls if theirs & CapabilityFlags::CLIENT_SSL.bits() == 0 => Err(ConnectError::NoTls),
            Security::Tls => Ok(ConnectStep::Secure(self.head())),
        }
    }

    /// The first packet inside TLS.
    #[must_use]
    pub fn secured(&mut self) -> Vec<u8> {
        self.response()
    }

    /// What a response begins with, and all of a request for TLS.
    fn head(&self) -> Vec<u8> {
        const UTF8MB4: u8 = 45;
        let tls = match self.login.security {
            Security::Plain => CapabilityFlags::empty(),
            Security::Tls => CapabilityFlags::CLIENT_SSL,
        };
        let mut out = (self.session.capabilities | tls.bits()).to_le_bytes().to_vec();
        out.extend_from_slice(&(1_u32 << 30).to_le_bytes());
        out.push(UTF8MB4);
        out.extend_from_slice(&[0; 23]);
        out
    }

    fn response(&mut self) -> Vec<u8> {
        // A plugin that we do not know is answered with one we do: the server then asks to switch.
        if ![NATIVE, CACHING_SHA2].contains(&self.plugin.as_str()) {
            NATIVE.clone_into(&mut self.plugin);
        }
        let mut out = self.head();
        out.extend_from_slice(self.login.user.as_bytes());
        out.push(0);
        put_string(&self.proof(), &mut out);
        if let Some(database) = self.login.database {
            out.extend_from_slice(database.as_bytes());
            out.push(0);
        }
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(0);
        out
    }

    fn switch(&mut self, request: &[u8]) -> Result<ConnectStep, ConnectError> {
        let mut cursor = Cursor(request);
        self.plugin = String::from_utf8_lossy(cursor.zero_ended()?).into_owned();
        self.salt = cursor.0.get(..20).ok_or(Malformed)?.to_vec();
        if ![NATIVE, CACHING_SHA2].contains(&self.plugin.as_str()) {
            return Err(ConnectError::Plugin(self.plugin.clone()));
        }
        Ok(ConnectStep::Send(self.proof()))
    }

    fn proof(&self) -> Vec<u8> {
        let password = self.login.password.as_bytes();
        if self.plugin == CACHING_SHA2 {
            scramble_sha256(&self.salt, password).map(|proof| proof.to_vec()).unwrap_or_default()
        } else {
            scramble_native(&self.salt, password).map(|proof| proof.to_vec()).unwrap_or_default()
        }
    }

    fn masked_password(&self) -> Vec<u8> {
        let password = self.login.password.bytes().chain([0]);
        password.zip(self.salt.iter().cycle()).map(|(byte, salt)| byte ^ salt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::greeting::{Greeting, OFFERED};
    use super::*;

    #[test]
    fn a_backend_is_logged_in_to_inside_tls_or_not_at_all() {
        let greeting = |capabilities: CapabilityFlags| {
            let (version, capabilities) = ("9.7.0", capabilities.bits());
            Greeting {
                version,
                connection_id: 7,
                salt: [65; 20],
                capabilities,
                plugin: CACHING_SHA2,
                collation: 45,
            }
            .payload()
        };
        let login =
            Login { user: "u", password: "secret", database: None, capabilities: 0, security: Security::Tls };
        let error = Connect::new(login).on_packet(&greeting(OFFERED)).unwrap_err();
        assert_eq!(error, ConnectError::NoTls);
        let mut connect = Connect::new(login);
        let step = connect.on_packet(&greeting(OFFERED | CapabilityFlags::CLIENT_SSL)).unwrap();
        let ConnectStep::Secure(request) = step else { panic!("{step:?}") };
        let response = connect.secured();
        assert!(request.len() == 32 && response.starts_with(&request) && !response.ends_with(b"secret\0"));
        // The whole password goes as it is: nobody else reads it there.
        let step = connect.on_packet(&[1, 4]).unwrap();
        assert!(matches!(&step, ConnectStep::Send(password) if password == b"secret\0"), "{step:?}");
        assert!(matches!(connect.on_packet(&[0, 0, 0, 2, 0, 0, 0]).unwrap(), ConnectStep::Connected(_)));
    }
}
