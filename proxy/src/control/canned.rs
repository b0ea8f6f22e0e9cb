//! An HTTP server for tests that gives the answers it is told, one a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// Its address, and what it was asked: the first line and the body of every request.
pub(super) fn serve(answers: Vec<(u16, &'static str)>) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a local socket works");
    let address = format!("http://{}/hook", listener.local_addr().expect("a local socket works"));
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut client, _) = listener.accept().expect("a local socket works");
            let mut reader = BufReader::new(client.try_clone().expect("a local socket works"));
            let mut head = Vec::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a local socket works");
                let line = line.trim_end().to_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a local socket works");
                }
                head.push(line);
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).expect("a local socket works");
            let size = body.len();
            write!(
                client,
                "HTTP/1.1 {status} X\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{body}"
            )
            .expect("a local socket works");
            let _ = asked.send((head.remove(0), String::from_utf8(sent).expect("a local socket works")));
        }
    });
    (address, requests)
}
