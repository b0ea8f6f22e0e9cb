//! Logging a client in: we are the server.
//!
//! The plain passwords are known, so both plugins can check a scramble at once; no password travels. A client that
//! answers with another plugin than the greeting named, or with nothing, is asked to switch. That goes inside TLS as it
//! does without: a server that knows its passwords has no use for one in the clear.

use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::cursor::{Cursor, Malformed};
use super::parse::ErrPacket;

pub const NATIVE: &str = "mysql_native_password";
pub const CACHING_SHA2: &str = "caching_sha2_password";

/// A client's request for TLS is the head of its response, and no more.
const TLS_REQUEST: usize = 32;

/// What the greeting offers, beside TLS.
pub const OFFERED: CapabilityFlags = CapabilityFlags::from_bits_truncate(
    CapabilityFlags::CLIENT_LONG_PASSWORD.bits()
        | CapabilityFlags::CLIENT_FOUND_ROWS.bits()
        | CapabilityFlags::CLIENT_LONG_FLAG.bits()
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB.bits()
        | CapabilityFlags::CLIENT_IGNORE_SPACE.bits()
        | CapabilityFlags::CLIENT_PROTOCOL_41.bits()
        | CapabilityFlags::CLIENT_INTERACTIVE.bits()
        | CapabilityFlags::CLIENT_TRANSACTIONS.bits()
        | CapabilityFlags::CLIENT_SECURE_CONNECTION.bits()
        | CapabilityFlags::CLIENT_MULTI_STATEMENTS.bits()
        | CapabilityFlags::CLIENT_MULTI_RESULTS.bits()
        | CapabilityFlags::CLIENT_PS_MULTI_RESULTS.bits()
        | CapabilityFlags::CLIENT_PLUGIN_AUTH.bits()
        | CapabilityFlags::CLIENT_CONNECT_ATTRS.bits()
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA.bits()
        | CapabilityFlags::CLIENT_DEPRECATE_EOF.bits(),
);

/// The flags of a client that change how a backend answers it.
pub const BACKEND_CLASS: u32 = CapabilityFlags::CLIENT_FOUND_ROWS.bits()
    | CapabilityFlags::CLIENT_IGNORE_SPACE.bits()
    | CapabilityFlags::CLIENT_DEPRECATE_EOF.bits();

/// The first packet of a connection.
#[derive(Debug)]
pub struct Greeting<'a> {
    pub version: &'a str,
    pub connection_id: u32,
    pub salt: [u8; 20],
    pub capabilities: u32,
    pub plugin: &'static str,
    /// The number of the server's collation.
    pub collation: u8,
}

/// How a login stands to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not offered.
    Off,
    Offered,
    /// Offered, and nobody is let in without.
    Required,
    /// The login goes on inside of it.
    Inside,
}

/// A login under way.
#[derive(Debug)]
pub struct Login {
    salt: [u8; 20],
    plugin: &'static str,
    tls: Tls,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Response,
    /// `COM_CHANGE_USER`, with the capabilities agreed on before.
    ChangeUser(u32),
    Switched(Accepted, &'static str),
}

/// What a login needs next.
#[derive(Debug)]
pub enum LoginStep {
    Send(Vec<u8>),
    /// The connection goes on inside TLS: what the client sends next belongs to its handshake.
    Secure,
    /// `before`: a packet to send before OK.
    Accepted {
        before: Option<Vec<u8>>,
        accepted: Accepted,
    },
    Refused(ErrPacket),
    /// The password is right, and TLS is required and missing. The error is MariaDB's; MySQL's is [`insecure`].
    Insecure(ErrPacket),
}

/// Who has logged in, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    pub user: String,
    pub database: Option<String>,
    /// The collation's number.
    pub charset: u16,
    pub capabilities: u32,
}

impl Greeting<'_> {
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = vec![10];
        let capabilities = self.capabilities.to_le_bytes();
        out.extend_from_slice(self.version.as_bytes());
        out.push(0);
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&self.salt[..8]);
        out.push(0);
        out.extend_from_slice(&capabilities[..2]);
        out.push(self.collation);
        out.extend_from_slice(&StatusFlags::SERVER_STATUS_AUTOCOMMIT.bits().to_le_bytes());
        out.extend_from_slice(&capabilities[2..]);
        out.push(21);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&self.salt[8..]);
        out.push(0);
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(0);
        out
    }
}

impl Login {
    #[must_use]
    pub fn new(salt: [u8; 20], plugin: &'static str, tls: Tls) -> Login {
        Login { salt, plugin, tls, stage: Stage::Response }
    }

    /// The handshake of [`LoginStep::Secure`] has been done.
    pub fn secured(&mut self) {
        self.tls = Tls::Inside;
    }

    /// Of `COM_CHANGE_USER`; its packet comes without the command byte.
    #[must_use]
    pub fn change_user(salt: [u8; 20], plugin: &'static str, capabilities: u32) -> Login {
        // What was required has been had at the first login.
        Login { salt, plugin, tls: Tls::Off, stage: Stage::ChangeUser(capabilities) }
    }

    /// Takes the client's next packet. `password` finds a user's password.
    pub fn on_packet(
        &mut self,
        packet: &[u8],
        host: &str,
        password: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> LoginStep {
        match std::mem::replace(&mut self.stage, Stage::Response) {
            Stage::Response if self.is_request_for_tls(packet) => LoginStep::Secure,
            Stage::Response => match response(packet, self.tls) {
                Ok((accepted, plugin, proof)) => match known(&plugin) {
                    // A password that was not shown may just be waiting for its plugin.
                    Some(plugin) if !proof.is_empty() => self.check(accepted, plugin, &proof, host, password),
                    // Greeted with its own plugin, a client without a password awaits OK; with another, a switch.
                    Some(plugin) if plugin == self.plugin => match password(&accepted.user) {
                        Some(secret) if secret.is_empty() => {
                            self.check(accepted, plugin, &proof, host, password)
                        }
                        _ => self.switch(accepted, plugin),
                    },
                    Some(plugin) => self.switch(accepted, plugin),
                    None => self.switch(accepted, self.plugin),
                },
                Err(refused) => LoginStep::Refused(refused),
            },
            // The client scrambled with the salt of its first login, so it is given a new one.
            Stage::ChangeUser(capabilities) => match change_user(packet, capabilities) {
                Ok((accepted, plugin)) => self.switch(accepted, known(&plugin).unwrap_or(self.plugin)),
                Err(Malformed) => LoginStep::Refused(bad_handshake("malformed COM_CHANGE_USER")),
            },
            Stage::Switched(accepted, plugin) => self.check(accepted, plugin, packet, host, password),
        }
    }

    fn is_request_for_tls(&self, packet: &[u8]) -> bool {
        let asks = Cursor(packet).u32().is_ok_and(|flags| flags & CapabilityFlags::CLIENT_SSL.bits() != 0);
        asks && packet.len() == TLS_REQUEST && matches!(self.tls, Tls::Offered | Tls::Required)
    }

    fn switch(&mut self, accepted: Accepted, plugin: &'static str) -> LoginStep {
        let mut out = vec![0xFE];
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
        out.extend_from_slice(&self.salt);
        out.push(0);
        self.stage = Stage::Switched(accepted, plugin);
        LoginStep::Send(out)
    }

    fn check(
        &self,
        accepted: Accepted,
        plugin: &'static str,
        proof: &[u8],
        host: &str,
        password: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> LoginStep {
        // caching_sha2 clients send an empty password as a single zero byte.
        let proof = if proof == [0] { &[] } else { proof };
        let using = if proof.is_empty() { "NO" } else { "YES" };
        let denied = ErrPacket {
            code: 1045,
            sql_state: "28000".to_owned(),
            message: format!("Access denied for user '{}'@'{host}' (using password: {using})", accepted.user),
        };
        if !is_proof(plugin, &self.salt, password(&accepted.user).as_deref(), proof) {
            LoginStep::Refused(denied)
        } else if self.tls == Tls::Required {
            LoginStep::Insecure(denied)
        } else {
            let before = (plugin == CACHING_SHA2 && !proof.is_empty()).then(|| vec![1, 3]);
            LoginStep::Accepted { before, accepted }
        }
    }
}

/// What MySQL says to a client without TLS that it requires.
#[must_use]
pub fn insecure() -> ErrPacket {
    ErrPacket {
        code: 3159,
        sql_state: "HY000".to_owned(),
        message: "Connections using insecure transport are prohibited while --require_secure_transport=ON."
            .to_owned(),
    }
}

fn known(plugin: &str) -> Option<&'static str> {
    [NATIVE, CACHING_SHA2].into_iter().find(|known| *known == plugin)
}

/// Does the client know the password? Nobody knows that of an unknown user.
#[must_use]
pub fn is_proof(plugin: &str, salt: &[u8; 20], password: Option<&[u8]>, proof: &[u8]) -> bool {
    // An unknown user costs the same as a wrong password.
    let expected = expected(plugin, salt, password.unwrap_or(b"?"));
    same(&expected, proof) && password.is_some()
}

fn expected(plugin: &str, salt: &[u8; 20], secret: &[u8]) -> Vec<u8> {
    if plugin == NATIVE {
        scramble_native(salt, secret).map(|proof| proof.to_vec()).unwrap_or_default()
    } else {
        scramble_sha256(salt, secret).map(|proof| proof.to_vec()).unwrap_or_default()
    }
}

/// Compares without telling by its duration how much is equal.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn bad_handshake(what: &str) -> ErrPacket {
    ErrPacket { code: 1043, sql_state: "08S01".to_owned(), message: format!("Bad handshake: {what}") }
}

/// Who the client says it is, with which plugin and proof.
fn response(packet: &[u8], tls: Tls) -> Result<(Accepted, String, Vec<u8>), ErrPacket> {
    let malformed = |_: Malformed| bad_handshake("malformed response");
    let mut cursor = Cursor(packet);
    let capabilities = cursor.u32().map_err(malformed)?;
    let has = |flag: CapabilityFlags| capabilities & flag.bits() != 0;
    if !has(CapabilityFlags::CLIENT_PROTOCOL_41) || !has(CapabilityFlags::CLIENT_SECURE_CONNECTION) {
        return Err(bad_handshake("a client of MySQL 4.0 or earlier"));
    }
    // Inside TLS the flag is said again.
    match tls {
        Tls::Off if has(CapabilityFlags::CLIENT_SSL) => return Err(bad_handshake("TLS was not offered")),
        Tls::Offered | Tls::Required if has(CapabilityFlags::CLIENT_SSL) => {
            return Err(bad_handshake("a request for TLS with something behind it"));
        }
        _ => {}
    }
    rest(&mut cursor, capabilities).map_err(malformed)
}

fn rest(cursor: &mut Cursor<'_>, capabilities: u32) -> Result<(Accepted, String, Vec<u8>), Malformed> {
    let has = |flag: CapabilityFlags| capabilities & flag.bits() != 0;
    cursor.u32()?;
    let charset = u16::from(cursor.u8()?);
    cursor.bytes(23)?;
    let user = text(cursor.zero_ended()?);
    let proof = if has(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA) {
        cursor.string()?
    } else {
        let length = cursor.u8()?;
        cursor.bytes(usize::from(length))?
    };
    let database =
        if has(CapabilityFlags::CLIENT_CONNECT_WITH_DB) { Some(text(cursor.zero_ended()?)) } else { None };
    // Some clients leave the last zero byte out.
    let plugin = if has(CapabilityFlags::CLIENT_PLUGIN_AUTH) {
        text(cursor.zero_ended().unwrap_or(cursor.0))
    } else {
        NATIVE.to_owned()
    };
    Ok((Accepted { user, database, charset, capabilities }, plugin, proof.to_vec()))
}

fn change_user(packet: &[u8], capabilities: u32) -> Result<(Accepted, String), Malformed> {
    let mut cursor = Cursor(packet);
    let user = text(cursor.zero_ended()?);
    let length = cursor.u8()?;
    cursor.bytes(usize::from(length))?;
    let database = text(cursor.zero_ended()?);
    let charset = cursor.u16().unwrap_or(45);
    let plugin = text(cursor.zero_ended().unwrap_or(cursor.0));
    Ok((Accepted { user, database: Some(database), charset, capabilities }, plugin))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
