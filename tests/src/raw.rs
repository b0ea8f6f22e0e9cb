//! A client that says what it is told to, also nonsense.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use mysql_common::scramble::scramble_native;

/// A TCP connection to the proxy.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    /// Connects and reads the greeting, whose payload is returned.
    ///
    /// # Panics
    /// When nobody greets.
    #[must_use]
    pub fn connect(port: u16) -> (RawClient, Vec<u8>) {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut client = RawClient { stream };
        let greeting = client.packet().expect("a greeting");
        (client, greeting)
    }

    /// Logs in as `app` with the native plugin.
    ///
    /// # Panics
    /// When the proxy refuses.
    #[must_use]
    pub fn log_in(port: u16) -> RawClient {
        let (mut client, greeting) = RawClient::connect(port);
        let version = greeting[1..].iter().position(|&byte| byte == 0).expect("a version") + 2;
        let salt = [&greeting[version + 4..version + 12], &greeting[version + 31..version + 43]].concat();
        let proof = scramble_native(&salt, b"app").expect("a password");
        let mut response = 0x000F_A201_u32.to_le_bytes().to_vec();
        response[1] |= 0x82;
        response.extend_from_slice(&(1_u32 << 24).to_le_bytes());
        response.push(45);
        response.extend_from_slice(&[0; 23]);
        response.extend_from_slice(b"app\0\x14");
        response.extend_from_slice(&proof);
        response.extend_from_slice(b"mysql_native_password\0");
        client.send(1, &response);
        let mut answer = client.packet().expect("an answer");
        if answer[0] == 0xFE {
            client.send(3, &proof);
            answer = client.packet().expect("an answer");
        }
        assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
        client
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

    /// Reads one packet; `None`: the connection has ended.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).ok()?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.stream.read_exact(&mut payload).ok()?;
        Some(payload)
    }
}
