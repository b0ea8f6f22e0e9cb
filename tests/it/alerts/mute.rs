//! A server that takes connections and answers, until it is asked one thing: then it says nothing more.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands before a real server for as long as the process runs.
pub struct Mute {
    port: u16,
    was_asked: Arc<AtomicBool>,
}

impl Mute {
    /// Before the server of that port; a statement that holds `what` is never answered.
    pub fn before(server: u16, what: &'static str) -> Mute {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let was_asked: Arc<AtomicBool> = Arc::default();
        let noted = Arc::clone(&was_asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, noted) = (client.unwrap(), Arc::clone(&noted));
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, |_| true));
                let answers = move |bytes: &[u8]| {
                    let is_asked = bytes.windows(what.len()).any(|part| part == what.as_bytes());
                    noted.fetch_or(is_asked, Ordering::Relaxed);
                    !is_asked
                };
                std::thread::spawn(move || pass(client, server, answers));
            }
        });
        Mute { port, was_asked }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }
}

/// Passes on what comes, except what is kept back.
fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if passes(&bytes[..count]) && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
