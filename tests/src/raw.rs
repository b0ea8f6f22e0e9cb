//! A client that says what it is told to, also nonsense.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use mysql_common::scramble::{scramble_native, scramble_sha256};

use crate::server::Flavour;

const NATIVE: &str = "mysql_native_password";

/// Who logs in; the password is the name.
#[derive(Debug, Clone, Copy)]
struct As {
    name: &'static str,
    plugin: &'static str,
}

impl As {
    fn proof(self, salt: &[u8]) -> Vec<u8> {
        let password = self.name.as_bytes();
        if self.plugin == NATIVE {
            scramble_native(salt, password).expect("a password").to_vec()
        } else {
            scramble_sha256(salt, password).expect("a password").to_vec()
        }
    }
}

/// A TCP connection to the proxy, or to a plain server.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// The number of the last packet read.
    pub seq: u8,
}

impl RawClient {
    /// Connects and reads the greeting, whose payload is returned.
    ///
    /// # Panics
    /// When nobody greets.
    #[must_use]
    pub fn connect(port: u16) -> (RawClient, Vec<u8>) {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        let mut client = RawClient { stream, seq: 0 };
        let greeting = client.packet().expect("a greeting");
        (client, greeting)
    }

    /// Logs in as `app` with the native plugin.
    ///
    /// # Panics
    /// When the proxy refuses.
    #[must_use]
    pub fn log_in(port: u16) -> RawClient {
        RawClient::log_in_as(port, 0, 45)
    }

    /// The same, with these client flags besides and this collation.
    ///
    /// # Panics
    /// When the proxy refuses.
    #[must_use]
    pub fn log_in_as(port: u16, flags: u32, collation: u8) -> RawClient {
        let (client, answer) = RawClient::try_log_in(port, flags, collation);
        assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
        client
    }

    /// The same, with the answer to it.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn try_log_in(port: u16, flags: u32, collation: u8) -> (RawClient, Vec<u8>) {
        RawClient::enter(port, As { name: "app", plugin: NATIVE }, flags, collation)
    }

    /// Logs in to a plain server as `shop`, by the server's own plugin. A password over `caching_sha2_password` must be
    /// in the server's cache.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn try_log_in_alone(port: u16, collation: u8) -> (RawClient, Vec<u8>) {
        let plugin = match Flavour::chosen() {
            Flavour::MariaDb => NATIVE,
            Flavour::MySql => "caching_sha2_password",
        };
        RawClient::enter(port, As { name: "shop", plugin }, 0, collation)
    }

    fn enter(port: u16, user: As, flags: u32, collation: u8) -> (RawClient, Vec<u8>) {
        let (mut client, greeting) = RawClient::connect(port);
        let version = greeting[1..].iter().position(|&byte| byte == 0).expect("a version") + 2;
        let salt = [&greeting[version + 4..version + 12], &greeting[version + 31..version + 43]].concat();
        let proof = user.proof(&salt);
        let mut response = (0x000F_A201 | flags).to_le_bytes().to_vec();
        response[1] |= 0x82;
        response.extend_from_slice(&(1_u32 << 24).to_le_bytes());
        response.push(collation);
        response.extend_from_slice(&[0; 23]);
        response.extend_from_slice(user.name.as_bytes());
        response.push(0);
        response.push(u8::try_from(proof.len()).expect("a short proof"));
        response.extend_from_slice(&proof);
        response.extend_from_slice(user.plugin.as_bytes());
        response.push(0);
        client.send(1, &response);
        let mut answer = client.packet().expect("an answer");
        if answer[0] == 0xFE {
            client.send(3, &proof);
            answer = client.packet().expect("an answer");
        }
        if answer == [1, 3] {
            answer = client.packet().expect("an answer");
        }
        (client, answer)
    }

    /// Sends a command of any length.
    pub fn command(&mut self, code: u8, argument: &[u8]) {
        self.bytes(&frames(code, argument));
    }

    /// Runs a statement and reads its whole answer.
    ///
    /// # Panics
    /// When the connection ends.
    pub fn query(&mut self, sql: &[u8]) -> Vec<Vec<u8>> {
        self.command(3, sql);
        self.answer()
    }

    /// Reads an answer's packets to its end.
    ///
    /// # Panics
    /// When the connection ends.
    pub fn answer(&mut self) -> Vec<Vec<u8>> {
        let mut packets = vec![self.packet().expect("an answer")];
        if matches!(packets[0][0], 0 | 0xFF) {
            return packets;
        }
        let columns = usize::from(packets[0][0]);
        loop {
            let packet = self.packet().expect("the rest of the answer");
            let is_end = packet[0] == 0xFE && packet.len() < 100;
            let is_error = packet[0] == 0xFF;
            packets.push(packet);
            // Without DEPRECATE_EOF a first EOF parts columns and rows.
            if is_error || (is_end && packets.len() > columns + 2) {
                return packets;
            }
        }
    }

    /// Sends one packet.
    pub fn send(&mut self, seq: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.bytes(&[&[length[0], length[1], length[2], seq], payload].concat());
    }

    /// Sends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // The proxy may have hung up already, which is what the caller then sees.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads one packet, of however many pieces; `None`: the connection has ended.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).ok()?;
            let length = usize::try_from(u32::from_le_bytes([header[0], header[1], header[2], 0])).ok()?;
            self.seq = header[3];
            let start = payload.len();
            payload.resize(start + length, 0);
            self.stream.read_exact(&mut payload[start..]).ok()?;
            if length < PIECE {
                return Some(payload);
            }
        }
    }
}

/// The longest piece of a packet; one this long is followed by another.
pub const PIECE: usize = 0xFF_FFFF;

/// A command as it goes over the wire, in as many pieces as it needs.
#[must_use]
pub fn frames(code: u8, argument: &[u8]) -> Vec<u8> {
    let payload = [&[code], argument].concat();
    let mut out = Vec::with_capacity(payload.len() + 8);
    for (seq, piece) in (0_u8..).zip(payload.chunks(PIECE)) {
        header(piece.len(), seq, &mut out);
        out.extend_from_slice(piece);
    }
    if payload.len().is_multiple_of(PIECE) {
        header(0, u8::try_from(payload.len() / PIECE).unwrap_or(0), &mut out);
    }
    out
}

fn header(length: usize, seq: u8, out: &mut Vec<u8>) {
    let bytes = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&[bytes[0], bytes[1], bytes[2], seq]);
}
