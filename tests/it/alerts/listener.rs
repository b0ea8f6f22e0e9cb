//! Somebody who is told of alerts: a server for webhooks that notes what it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use shardway_tests::until;

/// Listens for as long as the process runs.
pub struct Listener {
    port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Listener {
    pub fn open() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&heard);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let document = document(client.unwrap());
                noted.lock().unwrap().push(document);
            }
        });
        Listener { port, heard }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// The first document that is so, once it has come.
    pub async fn told(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = async || self.heard.lock().unwrap().iter().find(|told| is_it(told)).cloned();
        until("a webhook is called", Duration::from_secs(30), found).await
    }
}

/// Reads a request and answers that all is well.
fn document(mut client: TcpStream) -> Value {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}
